//! The grammar of FHiCL, by recursive descent.

use std::borrow::Cow;

use super::error::SyntaxError;
use super::lexer::{Cursor, NO_SEMICOLON, Result};
use super::table::{Table, has_weaker_inside};
use super::tree::{AtomKind, Content, Document, Entry, INCLUDE_KEY, Protection, SPLICE_KEY, Value};

/// How deep tables and sequences may lie in each other. Every real file stays
/// far below; a stack of 2 MB holds several times as much.
pub const MAX_DEPTH: usize = 256;

/// Reads a FHiCL text. A byte order mark at its beginning is skipped.
///
/// # Errors
/// The first place where the text is not FHiCL, with what FHiCL has there.
pub fn parse(text: &str) -> std::result::Result<Document<'_>, SyntaxError> {
    let mut parser = Parser {
        cursor: Cursor::new(text.strip_prefix('\u{feff}').unwrap_or(text)),
        depth: 0,
        elements: Vec::new(),
    };
    parser.document().map_err(|error| *error)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    /// The elements so far of the sequences that are open, the innermost last:
    /// no sequence has to be copied as it grows.
    elements: Vec<Value<'a>>,
}

/// Where a list of entries stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Prolog,
    Main,
    Table,
}

impl Place {
    fn expected(self) -> &'static str {
        match self {
            Place::Prolog => "a name or END_PROLOG",
            Place::Main => "a name or the end of the file",
            Place::Table => "a name or `}`",
        }
    }
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Result<Document<'a>> {
        let mut prolog: Vec<Entry> = Vec::new();
        // Includes that stand outside of a prolog, with none after them yet.
        let mut includes = Vec::new();
        loop {
            self.cursor.skip();
            if self.cursor.at_include() {
                includes.push(self.include()?);
            } else if self.keyword("BEGIN_PROLOG") {
                prolog.extend(includes.drain(..).map(outside));
                self.prolog(&mut prolog)?;
            } else {
                break;
            }
        }
        // The same after a prolog without entries, which leaves no trace.
        let inside = prolog
            .iter()
            .rposition(|entry| !matches!(entry, Entry::Include { outside: true, .. }))
            .map_or(0, |last| last + 1);
        let mut main: Vec<Entry> = prolog.drain(inside..).map(inside_again).collect();
        main.append(&mut includes);
        while self.cursor.peek().is_some() {
            if self.at_keyword("BEGIN_PROLOG") {
                return Err(self
                    .cursor
                    .error("a name or the end of the file")
                    .hint("prologs stand before everything else, one after the other"));
            }
            if self.at_keyword("END_PROLOG") {
                let error = self.cursor.error("a name or the end of the file");
                return Err(error.hint("no prolog is open here"));
            }
            let entry = self.entry(Place::Main)?;
            main.push(entry);
            self.cursor.skip();
        }
        Ok(Document {
            prolog,
            main,
            comments: std::mem::take(&mut self.cursor.comments),
        })
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        self.cursor.starts_with(keyword)
            && !self.cursor.text[self.cursor.at + keyword.len()..]
                .starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let here = self.at_keyword(keyword);
        self.cursor.at += if here { keyword.len() } else { 0 };
        here
    }

    fn prolog(&mut self, prolog: &mut Vec<Entry<'a>>) -> Result<()> {
        let line = self.cursor.line;
        loop {
            self.cursor.skip();
            if self.cursor.peek().is_none() {
                let error = self.cursor.error("a name or END_PROLOG");
                return Err(error.hint(format!("the prolog of line {line} is never ended")));
            }
            if self.keyword("END_PROLOG") {
                return Ok(());
            }
            if self.at_keyword("BEGIN_PROLOG") {
                let error = self.cursor.error("a name or END_PROLOG");
                return Err(error.hint("a prolog can't stand inside another"));
            }
            prolog.push(self.entry(Place::Prolog)?);
        }
    }

    fn include(&mut self) -> Result<Entry<'a>> {
        let file = Cow::Borrowed(self.cursor.include()?);
        let number = self.cursor.includes;
        self.cursor.includes += 1;
        Ok(Entry::Include {
            file,
            number,
            outside: false,
        })
    }

    fn entry(&mut self, place: Place) -> Result<Entry<'a>> {
        if self.cursor.at_include() {
            return self.include();
        }
        if self.cursor.starts_with("@table::") {
            return self.splice();
        }
        let name = self.name(place)?;
        let protection = self.binding()?;
        let line = self.cursor.line;
        let mut value = self.value().map_err(|error| {
            error.incomplete(|| format!("`{name}` of line {line} has no value"))
        })?;
        if protection == Protection::Error && has_weaker_inside(&value) {
            return Err(SyntaxError::found(
                self.cursor.text,
                self.cursor.at.saturating_sub(1),
                "a value without weaker protections inside",
                "one with @protect_ignore in an @protect_error",
            ));
        }
        value.protection = protection;
        Ok(Entry::Assignment { name, value })
    }

    fn splice(&mut self) -> Result<Entry<'a>> {
        let line = self.cursor.line;
        let start = self.cursor.at;
        let (_, reference) = self.cursor.bare()?;
        let name = &reference["@table::".len()..];
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || name.contains([':', '@']) {
            self.cursor.at = start;
            return Err(self.cursor.error("the name of a table after `@table::`"));
        }
        Ok(Entry::Splice {
            reference: Cow::Borrowed(reference),
            line,
        })
    }

    /// Takes `.name` or `[0]`.
    fn part_of_name(&mut self) -> Result<bool> {
        if self.cursor.take(b'.') {
            self.cursor.skip();
            if self.cursor.word().is_none() {
                return Err(self.cursor.error("a name after `.`"));
            }
        } else if self.cursor.take(b'[') {
            self.cursor.skip();
            if self.cursor.digits().is_none() {
                return Err(self.cursor.error("an index, a decimal number"));
            }
            self.cursor.skip();
            if !self.cursor.take(b']') {
                return Err(self.cursor.error("`]` after the index"));
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn name(&mut self, place: Place) -> Result<Cow<'a, str>> {
        let start = self.cursor.at;
        if self.cursor.word().is_none() {
            let error = self.cursor.error(place.expected());
            return Err(match self.cursor.peek() {
                Some(byte) if byte.is_ascii_digit() => error.hint("no name begins with a digit"),
                Some(b';') => error.hint(NO_SEMICOLON),
                Some(b':') => error.hint("the word before it is a value already"),
                Some(0x80..) => error.hint("a name is made of ASCII letters, digits and _"),
                _ => error,
            });
        }
        let mut end;
        let mut is_word = true;
        loop {
            end = self.cursor.at;
            self.cursor.skip();
            if !self.part_of_name()? {
                break;
            }
            is_word = false;
        }
        let name = &self.cursor.text[start..end];
        if name.starts_with(INCLUDE_KEY) || name.starts_with(SPLICE_KEY) {
            let error = SyntaxError::new(self.cursor.text, start, "another name");
            return Err(error.hint("artdaqDB keeps `#include` and `@table::` under such names"));
        }
        let compact = is_word
            || name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.[]".contains(&b));
        Ok(if compact {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(without_blanks(name))
        })
    }

    /// Reads the colon after a name, and the protection before it.
    fn binding(&mut self) -> Result<Protection> {
        let mut protection = Protection::None;
        for candidate in [Protection::Ignore, Protection::Error] {
            let keyword = candidate.keyword().unwrap_or_default();
            if self.cursor.starts_with(keyword) {
                self.cursor.at += keyword.len();
                protection = candidate;
                break;
            }
        }
        if !self.cursor.take(b':') {
            let error = self.cursor.error("`:` after a name");
            return Err(match self.cursor.peek() {
                Some(b'-' | b'+' | b'/' | b'$' | b'%' | 0x80..) => {
                    error.hint("a name is made of ASCII letters, digits and _")
                }
                Some(b'=') => error.hint("FHiCL assigns with `:`"),
                Some(b' ' | b'\t') => error.hint("no blank stands after a protection"),
                _ => error,
            });
        }
        Ok(protection)
    }

    fn value(&mut self) -> Result<Value<'a>> {
        self.cursor.skip();
        let line = self.cursor.line;
        let content = match self.cursor.peek() {
            Some(b'{') => self.nested(Self::table)?,
            Some(b'[') => self.nested(Self::sequence)?,
            Some(b'(') => Content::Atom(AtomKind::Complex, self.complex()?),
            Some(b'"' | b'\'') => {
                let (kind, text) = self.cursor.string()?;
                Content::Atom(kind, text)
            }
            _ => {
                let (kind, text) = self.cursor.bare()?;
                Content::Atom(kind, Cow::Borrowed(text))
            }
        };
        Ok(Value {
            content,
            line,
            protection: Protection::None,
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Content<'a>>) -> Result<Content<'a>> {
        if self.depth == MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} tables and sequences in each other");
            return Err(self.cursor.error(expected));
        }
        let bracket = &self.cursor.text[self.cursor.at..=self.cursor.at];
        let line = self.cursor.line;
        self.depth += 1;
        self.cursor.at += 1;
        let content = read(self).map_err(|error| {
            error.incomplete(|| format!("the `{bracket}` of line {line} is never closed"))
        });
        self.depth -= 1;
        content
    }

    fn sequence(&mut self) -> Result<Content<'a>> {
        let start = self.elements.len();
        self.cursor.skip();
        if !self.cursor.take(b']') {
            loop {
                let element = self.element(self.elements.len() > start)?;
                self.elements.push(element);
                self.cursor.skip();
                if self.cursor.take(b']') {
                    break;
                }
                if !self.cursor.take(b',') {
                    return Err(self.cursor.error("`,` or `]`"));
                }
            }
        }
        Ok(Content::Sequence(self.elements.split_off(start)))
    }

    fn element(&mut self, after_comma: bool) -> Result<Value<'a>> {
        self.cursor.skip();
        if self.cursor.at_include() {
            let error = self.cursor.error("a value");
            return Err(error.hint("`#include` stands between entries, not in a sequence"));
        }
        if after_comma && self.cursor.peek() == Some(b']') {
            let error = self.cursor.error("a value after the comma");
            return Err(error.hint("FHiCL has no trailing comma"));
        }
        self.value()
    }

    fn complex(&mut self) -> Result<Cow<'a, str>> {
        let start = self.cursor.at;
        let line = self.cursor.line;
        let comments = self.cursor.comments.len();
        self.cursor.at += 1;
        let real = self.part("the real part of a complex number")?;
        if !self.cursor.take(b',') {
            return Err(self.cursor.error("`,` and the imaginary part"));
        }
        let imaginary = self.part("the imaginary part of a complex number")?;
        if !self.cursor.take(b')') {
            return Err(self.cursor.error("`)`"));
        }
        if self.cursor.line == line && self.cursor.comments.len() == comments {
            Ok(Cow::Borrowed(&self.cursor.text[start..self.cursor.at]))
        } else {
            Ok(Cow::Owned(format!("({real}, {imaginary})")))
        }
    }

    fn part(&mut self, expected: &str) -> Result<&'a str> {
        self.cursor.skip();
        let number = self.cursor.number();
        let number = number.ok_or_else(|| self.cursor.error(expected))?;
        self.cursor.skip();
        Ok(number)
    }

    fn table(&mut self) -> Result<Content<'a>> {
        let mut table = Table::default();
        loop {
            self.cursor.skip();
            if self.cursor.take(b'}') {
                table.entries.shrink_to_fit();
                return Ok(Content::Table(table.entries));
            }
            let start = self.cursor.at;
            let entry = self.entry(Place::Table)?;
            table.insert(entry).map_err(|(expected, found)| {
                SyntaxError::found(self.cursor.text, start, expected, found)
            })?;
        }
    }
}

fn outside(mut entry: Entry) -> Entry {
    if let Entry::Include { outside, .. } = &mut entry {
        *outside = true;
    }
    entry
}

fn inside_again(mut entry: Entry) -> Entry {
    if let Entry::Include { outside, .. } = &mut entry {
        *outside = false;
    }
    entry
}

/// A name without the white space and comments that may stand around its dots
/// and brackets.
fn without_blanks(name: &str) -> String {
    let mut cursor = Cursor::new(name);
    let mut compact = String::with_capacity(name.len());
    loop {
        cursor.skip();
        let Some(c) = cursor.text[cursor.at..].chars().next() else {
            return compact;
        };
        compact.push(c);
        cursor.at += c.len_utf8();
    }
}
