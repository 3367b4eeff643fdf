//! The tokens of FHiCL: blanks, comments, numbers and words.
//!
//! The rules of where a token ends are those of fhicl-cpp's token parsers; they
//! decide between a number, a word and an error.

use std::borrow::Cow;

use super::character;
use super::error::SyntaxError;
use super::tree::{Ambiguity, AtomKind, Comment};

/// What the lexer and the parser give; boxed, so that a result stays small.
pub(super) type Result<T> = std::result::Result<T, Box<SyntaxError>>;

/// A position in the text.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// The line of `at`, counted from 1. `\n`, `\r\n` and `\r` end a line.
    pub(super) line: u32,
    pub(super) comments: Vec<Comment<'a>>,
    /// How many includes there were up to here. Those that are commented out
    /// count: artdaqDB numbers them along with the others.
    pub(super) includes: u32,
    /// The first of each kind, with its line.
    pub(super) ambiguities: Vec<(Ambiguity, u32)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor {
            text,
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
            comments: Vec::new(),
            includes: 0,
            ambiguities: Vec::new(),
        }
    }

    /// Notes what other programs read in another way.
    pub(super) fn ambiguous(&mut self, what: Ambiguity, line: u32) {
        if self.ambiguities.iter().all(|(noted, _)| *noted != what) {
            self.ambiguities.push((what, line));
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn starts_with(&self, word: &str) -> bool {
        // Mostly the first byte tells.
        self.peek() == word.bytes().next() && self.bytes[self.at..].starts_with(word.as_bytes())
    }

    pub(super) fn error(&self, expected: impl Into<String>) -> Box<SyntaxError> {
        SyntaxError::new(self.text, self.at, expected)
    }

    /// Takes a byte if it stands here.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Skips white space and comments where an entry can stand, up to a token or
    /// an `#include`. An indented one that names no file is a comment.
    pub(super) fn skip_to_entry(&mut self) {
        self.skip_blanks(|cursor| !cursor.is_indented() || included(cursor.rest_of_line()).is_ok());
    }

    /// Skips white space and comments where no entry can stand, up to a token or
    /// an `#include` at the beginning of its line. An indented one is a comment.
    pub(super) fn skip(&mut self) {
        self.skip_blanks(|cursor| !cursor.is_indented());
    }

    fn skip_blanks(&mut self, is_live: impl Fn(&Self) -> bool) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | 0x0b | 0x0c) => {
                    self.at += 1;
                    // Indents are much of a file's bytes.
                    while self.bytes[self.at..].first_chunk() == Some(b"        ") {
                        self.at += 8;
                    }
                }
                Some(b'\n' | b'\r') => self.end_line(),
                Some(b'#') => {
                    if self.at_include() {
                        if is_live(self) {
                            return;
                        }
                        self.ambiguous(Ambiguity::CommentedInclude, self.line);
                    }
                    self.comment();
                }
                Some(b'/') if self.byte(self.at + 1) == Some(b'/') => self.comment(),
                _ => return,
            }
        }
    }

    /// Passes the line end that stands here.
    pub(super) fn end_line(&mut self) {
        let crlf = self.bytes[self.at..].starts_with(b"\r\n");
        self.at += if crlf { 2 } else { 1 };
        self.line += 1;
    }

    /// The rest of the line from here.
    pub(super) fn rest_of_line(&self) -> &'a str {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        &self.text[self.at..self.at + length]
    }

    fn comment(&mut self) {
        let comment = self.rest_of_line();
        for (index, directive) in comment.match_indices("#include") {
            let rest = &comment[index + directive.len()..];
            let file = rest.trim_start();
            if file.len() < rest.len() && file.starts_with(['"', '\'']) {
                self.includes += 1;
            }
        }
        self.comments.push(Comment {
            line: self.line,
            text: Cow::Borrowed(comment),
        });
        self.at += comment.len();
    }

    /// Whether an `#include` stands here: as the first on its line, and not
    /// the beginning of a longer word.
    pub(super) fn at_include(&self) -> bool {
        const DIRECTIVE: &str = "#include";
        self.starts_with(DIRECTIVE)
            && matches!(
                self.byte(self.at + DIRECTIVE.len()),
                None | Some(b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'')
            )
            && matches!(
                self.bytes[..self.at]
                    .iter()
                    .rfind(|byte| !matches!(byte, b' ' | b'\t')),
                None | Some(b'\n' | b'\r')
            )
    }

    /// Whether an `#include` that stands here has blanks before it: to art it is
    /// a comment then.
    fn is_indented(&self) -> bool {
        self.at > 0 && matches!(self.byte(self.at - 1), Some(b' ' | b'\t'))
    }

    /// Reads the `#include` that stands here, to the end of its line, and
    /// gives the file.
    pub(super) fn include(&mut self) -> Result<&'a str> {
        let line = self.rest_of_line();
        self.comments.push(Comment {
            line: self.line,
            text: Cow::Borrowed(line),
        });
        if self.is_indented() {
            self.ambiguous(Ambiguity::IndentedInclude, self.line);
        }
        let file = included(line).map_err(|problem| {
            self.at += problem.at;
            let error = self.error(problem.expected);
            match problem.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        self.at += line.len();
        Ok(file)
    }

    /// Takes letters, digits and `_`, if a name begins here.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        if !self
            .peek()
            .is_some_and(|b| is_word(b) && !b.is_ascii_digit())
        {
            return None;
        }
        let end = self.run(self.at, is_word);
        let word = &self.text[self.at..end];
        self.at = end;
        Some(word)
    }

    /// Takes decimal digits, at least one.
    pub(super) fn digits(&mut self) -> Option<&'a str> {
        let end = self.run(self.at, |byte| byte.is_ascii_digit());
        let digits = &self.text[self.at..end];
        self.at = end;
        (!digits.is_empty()).then_some(digits)
    }

    /// Where the bytes from `at` on cease to be of a class.
    fn run(&self, at: usize, class: impl Fn(u8) -> bool) -> usize {
        let rest = &self.bytes[at..];
        at + rest
            .iter()
            .position(|byte| !class(*byte))
            .unwrap_or(rest.len())
    }

    /// Whether a token ends at `at`: at a blank, or at one of `marks`.
    pub(super) fn ends(&self, at: usize, marks: &[u8]) -> bool {
        self.byte(at)
            .is_none_or(|b| b <= b' ' || b == 0x7f || marks.contains(&b))
    }

    /// Takes a number, if one stands here.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        const MARKS: &[u8] = b"#/,]})";
        let start = self.at;
        let integer = self.run(start, |byte| byte.is_ascii_digit());
        let end = if integer > start && self.ends(integer, MARKS) {
            integer
        } else {
            let sign = usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.bytes[start + sign..].starts_with(b"infinity")
                && self.ends(start + sign + 8, MARKS)
            {
                start + sign + 8
            } else {
                let class = match (self.peek(), self.byte(start + 1)) {
                    (Some(b'0'), Some(b'x' | b'X')) => |b: u8| b.is_ascii_hexdigit(),
                    (Some(b'0'), Some(b'b' | b'B')) => |b: u8| matches!(b, b'0' | b'1'),
                    _ => return self.decimal(MARKS),
                };
                let end = self.run(start + 2, class);
                if end == start + 2 || !self.ends(end, MARKS) {
                    return None;
                }
                end
            }
        };
        self.at = end;
        Some(&self.text[start..end])
    }

    fn decimal(&mut self, marks: &[u8]) -> Option<&'a str> {
        let start = self.at;
        let end = self.run(start, |byte| {
            matches!(byte, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E')
        });
        if !self.ends(end, marks) || !is_decimal(&self.bytes[start..end]) {
            return None;
        }
        self.at = end;
        Some(&self.text[start..end])
    }

    /// Reads a scalar that has no quotes and no parentheses.
    pub(super) fn bare(&mut self) -> Result<(AtomKind, &'a str)> {
        // fhicl-cpp takes `true#` for a string, but `true #` for a bool. artdaqDB
        // gives it back with the blank, so both are a bool here.
        const MARKS: &[u8] = b"#/,]}";
        const WORD_MARKS: &[u8] = b"#/,]}.[:";
        let start = self.at;
        let keyword = match self.peek() {
            Some(b'@') => Some(("@nil", AtomKind::Nil)),
            Some(b't') => Some(("true", AtomKind::Bool)),
            Some(b'f') => Some(("false", AtomKind::Bool)),
            _ => None,
        };
        if let Some((token, kind)) = keyword
            && self.starts_with(token)
            && self.ends(start + token.len(), MARKS)
        {
            self.at += token.len();
            self.word_before_comment();
            return Ok((kind, &self.text[start..self.at]));
        }
        if let Some(number) = self.number() {
            if number.ends_with('y') {
                self.word_before_comment();
            }
            return Ok((AtomKind::Number, number));
        }
        let end = self.run(start, is_word);
        let digit = self.peek().is_some_and(|byte| byte.is_ascii_digit());
        if end > start && self.ends(end, MARKS) {
            self.at = end;
            return Ok((AtomKind::Unquoted, &self.text[start..end]));
        }
        if end > start && !digit && self.ends(end, WORD_MARKS) {
            return Err(
                SyntaxError::new(self.text, end, "white space after a bare word")
                    .hint("put a string that is not one word in quotes"),
            );
        }
        let mut end = self.run(start, is_reference);
        if self.peek() == Some(b'@') {
            end = self.indices(end);
        }
        if digit || end == start || !self.ends(end, WORD_MARKS) {
            return Err(self.not_a_value());
        }
        self.referred(start, end)?;
        self.at = end;
        Ok((AtomKind::Unquoted, &self.text[start..end]))
    }

    /// Where a reference ends that may go on with indices: `[0].x[1]`.
    fn indices(&self, mut end: usize) -> usize {
        while self.byte(end) == Some(b'[') {
            let close = self.run(end + 1, |byte| byte.is_ascii_digit());
            if close == end + 1 || self.byte(close) != Some(b']') {
                break;
            }
            end = self.run(close + 1, is_reference);
        }
        end
    }

    /// Notes a comment right behind a word that means something.
    fn word_before_comment(&mut self) {
        if matches!(self.peek(), Some(b'#' | b'/')) {
            self.ambiguous(Ambiguity::WordBeforeComment, self.line);
        }
    }

    /// Checks that a reference names something.
    fn referred(&self, start: usize, end: usize) -> Result<()> {
        let word = &self.text[start..end];
        for kind in ["@local::", "@sequence::", "@table::", "@db::"] {
            if let Some(name) = word.strip_prefix(kind)
                && !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            {
                let expected = format!("a name right after `{kind}`");
                return Err(SyntaxError::new(self.text, start + kind.len(), expected));
            }
        }
        Ok(())
    }

    fn not_a_value(&self) -> Box<SyntaxError> {
        let mut word = self.text[self.at..].char_indices();
        let odd = word
            .find(|(_, c)| c.is_ascii_whitespace() || character::describe(*c).is_some())
            .filter(|(at, c)| *at > 0 && character::describe(*c).is_some());
        if let Some((at, _)) = odd {
            return SyntaxError::new(self.text, self.at + at, "white space after the value");
        }
        let error = self.error("a value");
        match self.peek() {
            None | Some(b',' | b']' | b'}' | b')' | b':' | b'#') => error,
            _ if error.found.ends_with(";`") => error.hint(NO_SEMICOLON),
            _ => error.hint("put a string that is not one word of letters, digits and _ in quotes"),
        }
    }
}

/// Why a line is no `#include`.
struct NoInclude {
    /// Where in the line it ceases to be one.
    at: usize,
    expected: &'static str,
    hint: Option<&'static str>,
}

/// The file of a line that begins with `#include`.
fn included(line: &str) -> std::result::Result<&str, NoInclude> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let no = |at, expected| NoInclude {
        at,
        expected,
        hint: None,
    };
    let word_end = "#include".len();
    let quoted = line[word_end..].trim_start_matches(BLANKS);
    let open = line.len() - quoted.len();
    let Some(quote @ ('"' | '\'')) = quoted.chars().next() else {
        return Err(NoInclude {
            hint: Some("if this is a comment, put a blank after the `#`"),
            ..no(open, "the file to include, in quotes")
        });
    };
    if open == word_end {
        return Err(no(open, "a blank between `#include` and the file"));
    }
    let start = open + 1;
    let Some(length) = line[start..].find(quote) else {
        return Err(no(open, "a closing quote on the same line"));
    };
    let file = &line[start..start + length];
    if file.is_empty() || file.contains(['"', '\\']) {
        let expected = "the name of a file, without quotes or backslashes in it";
        return Err(no(open, expected));
    }
    let rest = line[start + length + 1..].trim_start_matches(BLANKS);
    if !(rest.is_empty() || rest.starts_with('#') || rest.starts_with("//")) {
        let end = line.len() - rest.len();
        return Err(no(end, "the end of the line after `#include`"));
    }
    Ok(file)
}

pub(super) const NO_SEMICOLON: &str = "FHiCL has no `;`: white space alone stands between entries";

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_reference(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b':' | b'.' | b'@')
}

/// Whether this is a sign, digits with a point among them, and an exponent.
fn is_decimal(token: &[u8]) -> bool {
    fn digits(rest: &mut &[u8]) -> usize {
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        *rest = &rest[count..];
        count
    }
    fn take(rest: &mut &[u8], bytes: &[u8]) -> bool {
        let taken = rest.first().is_some_and(|byte| bytes.contains(byte));
        *rest = &rest[usize::from(taken)..];
        taken
    }
    let mut rest = token;
    take(&mut rest, b"+-");
    let mut mantissa = digits(&mut rest);
    if take(&mut rest, b".") {
        mantissa += digits(&mut rest);
    }
    let mut exponent = 1;
    if take(&mut rest, b"eE") {
        take(&mut rest, b"+-");
        exponent = digits(&mut rest);
    }
    mantissa > 0 && exponent > 0 && rest.is_empty()
}
