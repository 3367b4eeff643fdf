//! The grammar of FHiCL.

use std::borrow::Cow;

use super::character;
use super::error::SyntaxError;
use super::lexer::{Cursor, NO_SEMICOLON, Result};
use super::table::{Table, has_weaker_inside};
use super::tree::{
    Ambiguity, AtomKind, Content, Document, Entry, INCLUDE_KEY, Protection, SPLICE_KEY, Value,
};

/// How deep tables and sequences may lie in each other. fhicl-cpp has no limit
/// but its stack. Nothing here recurses but [`Clone`] and [`Debug`](std::fmt::Debug).
pub const MAX_DEPTH: usize = 10_000;

/// Reads a FHiCL text. A byte order mark at its beginning is skipped.
///
/// # Errors
/// The first place where the text is not FHiCL, with what FHiCL has there.
pub fn parse(text: &str) -> std::result::Result<Document<'_>, SyntaxError> {
    let mut parser = Parser {
        cursor: Cursor::new(text.strip_prefix('\u{feff}').unwrap_or(text)),
        elements: Vec::new(),
        last_end: None,
    };
    parser.document().map_err(|error| *error)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    /// The elements so far of the sequences that are open, the innermost last:
    /// no sequence has to be copied as it grows.
    elements: Vec<Value<'a>>,
    /// The line on which the last value or `@table::` ends.
    last_end: Option<u32>,
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

    fn expected_entry(self) -> &'static str {
        match self {
            Place::Prolog => "a name with its `:`, or END_PROLOG",
            Place::Main => "a name with its `:`, or the end of the file",
            Place::Table => "a name with its `:`, or `}`",
        }
    }
}

/// An entry, or what stands before its value.
enum Beginning<'a> {
    /// An include or an `@table::`.
    Whole(Entry<'a>),
    Assignment(Assignment<'a>),
}

/// What stands before the value of an entry.
struct Assignment<'a> {
    name: Cow<'a, str>,
    protection: Protection,
    /// Where the name begins.
    start: usize,
    /// Where the colon ends.
    end: usize,
    /// The line of the colon.
    line: u32,
}

/// A table or sequence whose end has not come yet.
enum Open<'a> {
    Table {
        table: Table<'a>,
        /// The entry whose value comes.
        next: Option<Assignment<'a>>,
        /// The line of its bracket.
        line: u32,
    },
    Sequence {
        /// Where its elements begin.
        start: usize,
        /// Whether none has come yet.
        is_first: bool,
        /// The line of its bracket.
        line: u32,
    },
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Result<Document<'a>> {
        self.refuse_utf16()?;
        let mut prolog: Vec<Entry> = Vec::new();
        // Includes that stand outside of a prolog, with none after them yet.
        let mut includes = Vec::new();
        loop {
            self.cursor.skip_to_entry();
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
            if self.at_keyword("BEGIN_PROLOG") && !self.is_name("BEGIN_PROLOG") {
                return Err(self
                    .cursor
                    .error("a name or the end of the file")
                    .hint("prologs stand before everything else, one after the other"));
            }
            if self.at_keyword("END_PROLOG") && !self.is_name("END_PROLOG") {
                let error = self.cursor.error("a name or the end of the file");
                return Err(error.hint("no prolog is open here"));
            }
            let entry = self.entry(Place::Main)?;
            main.push(entry);
            self.cursor.skip_to_entry();
        }
        Ok(Document {
            prolog,
            main,
            comments: std::mem::take(&mut self.cursor.comments),
            ambiguities: std::mem::take(&mut self.cursor.ambiguities),
        })
    }

    /// Text of UTF-16, as it looks when its bytes are read as they are.
    fn refuse_utf16(&self) -> Result<()> {
        let text = self.cursor.text;
        let expected = "FHiCL in UTF-8 or ASCII";
        for (mark, found) in [
            ("\u{ff}\u{fe}", "U+00FF U+00FE"),
            ("\u{fe}\u{ff}", "U+00FE U+00FF"),
        ] {
            if text.starts_with(mark) {
                let found = format!("{found}, the byte order mark of UTF-16");
                return Err(SyntaxError::found(text, 0, expected, found).hint(character::CONVERT));
            }
        }
        match text.bytes().take(2).position(|byte| byte == 0) {
            Some(at) => Err(SyntaxError::new(text, at, expected)),
            None => Ok(()),
        }
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        self.cursor.starts_with(keyword)
            && !self.cursor.text[self.cursor.at + keyword.len()..]
                .starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    /// Whether the keyword that stands here is the name of an entry, as fhicl-cpp
    /// reads it wherever an entry can stand.
    fn is_name(&self, keyword: &str) -> bool {
        let mut after = Cursor::new(&self.cursor.text[self.cursor.at + keyword.len()..]);
        after.skip();
        after.peek() == Some(b':') || after.starts_with("@protect_")
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let here = self.at_keyword(keyword);
        self.cursor.at += if here { keyword.len() } else { 0 };
        here
    }

    fn prolog(&mut self, prolog: &mut Vec<Entry<'a>>) -> Result<()> {
        let line = self.cursor.line;
        loop {
            self.cursor.skip_to_entry();
            if self.cursor.peek().is_none() {
                let error = self.cursor.error("a name or END_PROLOG");
                return Err(error.hint(format!("the prolog of line {line} is never ended")));
            }
            if self.at_keyword("END_PROLOG") && !self.is_name("END_PROLOG") {
                self.cursor.at += "END_PROLOG".len();
                return Ok(());
            }
            if self.at_keyword("BEGIN_PROLOG") && !self.is_name("BEGIN_PROLOG") {
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
        match self.beginning(place)? {
            Beginning::Whole(entry) => Ok(entry),
            Beginning::Assignment(assignment) => {
                let value = self.value(&assignment)?;
                self.assign(assignment, value)
            }
        }
    }

    /// Reads an entry up to its value, if it has one.
    fn beginning(&mut self, place: Place) -> Result<Beginning<'a>> {
        if self.cursor.at_include() {
            return self.include().map(Beginning::Whole);
        }
        if self.cursor.starts_with("@table::") {
            return self.splice().map(Beginning::Whole);
        }
        let start = self.cursor.at;
        let line = self.cursor.line;
        let name = self.name(place)?;
        let protection = self.binding(place, start, line)?;
        Ok(Beginning::Assignment(Assignment {
            name,
            protection,
            start,
            end: self.cursor.at,
            line: self.cursor.line,
        }))
    }

    fn assign(&mut self, assignment: Assignment<'a>, mut value: Value<'a>) -> Result<Entry<'a>> {
        let Assignment {
            name, protection, ..
        } = assignment;
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
        if reference["@table::".len()..].contains([':', '@']) {
            self.cursor.at = start;
            return Err(self.cursor.error("the name of a table after `@table::`"));
        }
        self.last_end = Some(line);
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
        let line = self.cursor.line;
        if self.cursor.word().is_none() {
            return Err(self.not_a_name(place));
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
        if !is_word && place == Place::Table {
            self.cursor.ambiguous(Ambiguity::DottedName, line);
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

    fn not_a_name(&self, place: Place) -> Box<SyntaxError> {
        let error = self.cursor.error(place.expected());
        match self.cursor.peek() {
            Some(byte) if byte.is_ascii_digit() => error.hint("no name begins with a digit"),
            Some(b';') => error.hint(NO_SEMICOLON),
            Some(b',') => error.hint("white space alone stands between entries"),
            Some(b':') => error.hint("the word before it is a value already"),
            Some(0x80..) => error.hint("a name is made of ASCII letters, digits and _"),
            _ => error,
        }
    }

    /// Reads the colon after the name that begins at `start` on `line`, and the
    /// protection before it.
    fn binding(&mut self, place: Place, start: usize, line: u32) -> Result<Protection> {
        let mut protection = Protection::None;
        for candidate in [Protection::Ignore, Protection::Error] {
            let keyword = candidate.keyword().unwrap_or_default();
            if self.cursor.starts_with(keyword) {
                self.cursor.at += keyword.len();
                protection = candidate;
                break;
            }
        }
        if self.cursor.take(b':') {
            return Ok(protection);
        }
        let text = self.cursor.text;
        let name: &str = text[start..]
            .split(|c| !is_of_name(c))
            .next()
            .unwrap_or_default();
        let end = start + name.len();
        let is_apart = self.cursor.at > end || self.cursor.peek().is_none();
        if is_apart && protection == Protection::None {
            if self.last_end == Some(line) {
                // A word too many after a value.
                let error = SyntaxError::new(text, start, place.expected_entry());
                return Err(error.hint("a value of several words stands in quotes"));
            }
            if self.cursor.line > line || self.cursor.peek().is_none() {
                let expected = format!("`:` after `{name}`");
                let found = match self.cursor.peek() {
                    None => "the end of the file",
                    Some(_) => "the end of the line",
                };
                return Err(SyntaxError::found(text, end, expected, found));
            }
        }
        let error = self.cursor.error("`:` after a name");
        Err(match self.cursor.peek() {
            Some(b'-' | b'+' | b'/' | b'$' | b'%' | 0x80..) => {
                error.hint("a name is made of ASCII letters, digits and _")
            }
            Some(b'=') => error.hint("FHiCL assigns with `:`"),
            Some(b' ' | b'\t') => error.hint("no blank stands after a protection"),
            _ => error,
        })
    }

    /// Reads the value of an entry, without recursion: a text that nests deep
    /// must not exhaust the stack.
    fn value(&mut self, assignment: &Assignment<'a>) -> Result<Value<'a>> {
        let mut open = Vec::new();
        self.nested(assignment, &mut open).map_err(|error| {
            error.incomplete(|| match open.last() {
                Some(Open::Table { line, .. }) => {
                    format!("the `{{` of line {line} is never closed")
                }
                Some(Open::Sequence { line, .. }) => {
                    format!("the `[` of line {line} is never closed")
                }
                None => String::new(),
            })
        })
    }

    fn nested(
        &mut self,
        outermost: &Assignment<'a>,
        open: &mut Vec<Open<'a>>,
    ) -> Result<Value<'a>> {
        loop {
            // Here a value begins.
            self.cursor.skip();
            let line = self.cursor.line;
            let mut done = match self.cursor.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if open.len() == MAX_DEPTH {
                        let expected =
                            format!("at most {MAX_DEPTH} tables and sequences in each other");
                        return Err(self.cursor.error(expected));
                    }
                    self.cursor.at += 1;
                    open.push(if bracket == b'{' {
                        Open::Table {
                            table: Table::default(),
                            next: None,
                            line,
                        }
                    } else {
                        Open::Sequence {
                            start: self.elements.len(),
                            is_first: true,
                            line,
                        }
                    });
                    None
                }
                _ => {
                    let assignment = match open.last() {
                        None => Some(outermost),
                        Some(Open::Table { next, .. }) => next.as_ref(),
                        Some(Open::Sequence { .. }) => None,
                    };
                    Some((self.scalar(assignment)?, line))
                }
            };
            // Goes on with what is open until another value begins.
            loop {
                let value = done.take().map(|(content, line)| Value {
                    content,
                    line,
                    protection: Protection::None,
                });
                if value.is_some() {
                    self.last_end = Some(self.cursor.line);
                }
                done = match open.last_mut() {
                    None => match value {
                        Some(value) => return Ok(value),
                        None => return Err(self.cursor.error("a value")),
                    },
                    Some(Open::Table { table, next, line }) => {
                        if let (Some(assignment), Some(value)) = (next.take(), value) {
                            let start = assignment.start;
                            let entry = self.assign(assignment, value)?;
                            self.insert(table, start, entry)?;
                        }
                        if !self.table(table, next)? {
                            break;
                        }
                        let entries = std::mem::take(&mut table.entries);
                        Some((Content::Table(entries), *line))
                    }
                    Some(Open::Sequence {
                        start,
                        is_first,
                        line,
                    }) => {
                        self.elements.extend(value);
                        if !self.sequence(is_first, *line)? {
                            break;
                        }
                        let elements = self.elements.split_off(*start);
                        Some((Content::Sequence(elements), *line))
                    }
                };
                open.pop();
            }
        }
    }

    /// Reads a scalar, the value of an entry or of none.
    fn scalar(&mut self, assignment: Option<&Assignment<'a>>) -> Result<Content<'a>> {
        if let Some(assignment) = assignment
            && assignment.line < self.cursor.line
        {
            self.not_the_next_entry(assignment)?;
        }
        Ok(match self.cursor.peek() {
            Some(b'(') => Content::Atom(AtomKind::Complex, self.complex()?),
            Some(b'"' | b'\'') => {
                let (kind, text) = self.cursor.string()?;
                Content::Atom(kind, text)
            }
            _ => {
                let (kind, text) = self.cursor.bare()?;
                Content::Atom(kind, Cow::Borrowed(text))
            }
        })
    }

    /// Checks that what stands below a colon is a value.
    fn not_the_next_entry(&self, assignment: &Assignment<'a>) -> Result<()> {
        let rest = &self.cursor.text[self.cursor.at..];
        let word = rest.split(|c| !is_of_name(c)).next().unwrap_or_default();
        let after = rest[word.len()..].trim_start_matches([' ', '\t']);
        let is_name =
            !word.is_empty() && (after.starts_with(':') || after.starts_with("@protect_"));
        if !is_name && !rest.is_empty() && !rest.starts_with(['}', ']', ')', ',', ':']) {
            return Ok(());
        }
        let (at, name, line) = (self.cursor.at, &assignment.name, assignment.line);
        let error = SyntaxError::before(self.cursor.text, assignment.end, at, "a value");
        Err(error.hint(format!("`{name}` of line {line} has no value")))
    }

    /// Goes on with a sequence. Returns whether it ends here; else an element
    /// comes.
    fn sequence(&mut self, is_first: &mut bool, line: u32) -> Result<bool> {
        self.cursor.skip();
        if self.cursor.take(b']') {
            return Ok(true);
        }
        let first = std::mem::take(is_first);
        let comma = self.cursor.at;
        if !self.cursor.take(b',') {
            if !first {
                let error = self.cursor.error("`,` or `]`");
                return Err(if error.is_end_of_file() || line == self.cursor.line {
                    error
                } else {
                    error.hint(format!("the `[` of line {line} is still open"))
                });
            }
        } else {
            // fhicl-cpp takes a comma before the first element for nothing.
            self.cursor.skip();
            if self.cursor.peek() == Some(b']') {
                let (text, at) = (self.cursor.text, self.cursor.at);
                let error = SyntaxError::before(text, comma, at, "a value after the comma");
                return Err(error.hint("FHiCL has no trailing comma"));
            }
        }
        if self.cursor.at_include() {
            let error = self.cursor.error("a value");
            return Err(error.hint("`#include` stands between entries, not in a sequence"));
        }
        Ok(false)
    }

    /// Goes on with a table. Returns whether it ends here; else a value comes
    /// for the `next` entry.
    fn table(&mut self, table: &mut Table<'a>, next: &mut Option<Assignment<'a>>) -> Result<bool> {
        loop {
            self.cursor.skip_to_entry();
            if self.cursor.take(b'}') {
                table.entries.shrink_to_fit();
                return Ok(true);
            }
            let start = self.cursor.at;
            match self.beginning(Place::Table)? {
                Beginning::Whole(entry) => self.insert(table, start, entry)?,
                Beginning::Assignment(assignment) => {
                    *next = Some(assignment);
                    return Ok(false);
                }
            }
        }
    }

    fn insert(&self, table: &mut Table<'a>, start: usize, entry: Entry<'a>) -> Result<()> {
        table.insert(entry).map_err(|(expected, found)| {
            SyntaxError::found(self.cursor.text, start, expected, found)
        })
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
}

/// Whether a character can stand in a name, dots and indices included.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']')
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
