//! Where and why a text is not FHiCL.

use std::borrow::Cow;
use std::fmt;

use super::character;

const END_OF_FILE: &str = "the end of the file";

/// How much of a long line an error shows before and after its column.
const BEFORE: usize = 60;
const AFTER: usize = 40;

/// Where and why a text is not FHiCL.
///
/// Printed, it is several lines: the place with what was expected and found,
/// then the line itself with a caret below the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What FHiCL has at this place.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What to do about it, or nothing.
    pub hint: Cow<'static, str>,
    /// The line, or, of a long line, the part around the column.
    pub source_line: String,
    /// The position of the column in `source_line`, in characters from 0.
    caret: usize,
}

impl SyntaxError {
    /// An error at the byte `at` of `text`, with what stands there.
    pub(super) fn new(text: &str, at: usize, expected: impl Into<String>) -> Box<SyntaxError> {
        let error = Self::found(text, at, expected, token(&text[at..]));
        match text[at..].chars().next().and_then(character::advice) {
            Some(advice) => error.hint(advice),
            None => error,
        }
    }

    /// An error at the byte `at` of `text` for what comes further on, at `cause`,
    /// if that is on a later line.
    pub(super) fn before(
        text: &str,
        at: usize,
        cause: usize,
        expected: impl Into<String>,
    ) -> Box<SyntaxError> {
        let found = token(&text[cause..]);
        let lines = line_ends(&text[..cause]) - line_ends(&text[..at]);
        if lines == 0 || found == END_OF_FILE {
            return Self::found(text, at, expected, found);
        }
        let line = 1 + line_ends(&text[..cause]);
        Self::found(text, at, expected, format!("{found} on line {line}"))
    }

    /// An error at the byte `at` of `text`, with words of its own for what
    /// stands there.
    pub(super) fn found(
        text: &str,
        at: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Box<SyntaxError> {
        let mut line = 1;
        let mut start = 0;
        let bytes = text.as_bytes();
        for (index, byte) in bytes[..at].iter().enumerate() {
            let crlf = *byte == b'\r' && bytes.get(index + 1) == Some(&b'\n');
            if (*byte == b'\n' || *byte == b'\r') && !crlf {
                line += 1;
                start = index + 1;
            }
        }
        let end = text[at..]
            .find(['\n', '\r'])
            .map_or(text.len(), |length| at + length);
        let before: Vec<char> = text[start..at].chars().collect();
        let after: Vec<char> = text[at..end].chars().take(AFTER + 1).collect();
        let cut_before = before.len().saturating_sub(BEFORE);
        let mut source_line = String::new();
        let mut caret = before.len() - cut_before;
        if cut_before > 0 {
            source_line.push_str("...");
            caret += 3;
        }
        source_line.extend(before[cut_before..].iter().copied().map(character::shown));
        source_line.extend(after.iter().take(AFTER).copied().map(character::shown));
        if after.len() > AFTER {
            source_line.push_str("...");
        }
        Box::new(SyntaxError {
            line,
            column: before.len() + 1,
            expected: expected.into(),
            found: found.into(),
            hint: Cow::Borrowed(""),
            source_line,
            caret,
        })
    }

    /// The same error with advice, if it has none.
    pub(super) fn hint(
        mut self: Box<Self>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Box<SyntaxError> {
        if self.hint.is_empty() {
            self.hint = hint.into();
        }
        self
    }

    /// Whether the file ends too early.
    pub(super) fn is_end_of_file(&self) -> bool {
        self.found == END_OF_FILE
    }

    /// The same error; if the file ends too early, with what is not complete.
    pub(super) fn incomplete(self: Box<Self>, what: impl FnOnce() -> String) -> Box<SyntaxError> {
        if self.is_end_of_file() {
            self.hint(what())
        } else {
            self
        }
    }
}

/// How many lines end in a text.
fn line_ends(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(index, byte)| {
        **byte == b'\n' || (**byte == b'\r' && bytes.get(index + 1) != Some(&b'\n'))
    });
    ends.count()
}

/// The word at the beginning of `rest`, for an error.
fn token(rest: &str) -> String {
    let Some(first) = rest.chars().next() else {
        return END_OF_FILE.to_owned();
    };
    if first == '\n' || first == '\r' {
        return "the end of the line".to_owned();
    }
    if let Some(name) = character::describe(first) {
        return name;
    }
    if first.is_whitespace() {
        return "white space".to_owned();
    }
    let alone = !first.is_alphanumeric() && !"_@+-.%$\\".contains(first);
    let word: String = if alone {
        first.to_string()
    } else {
        rest.chars()
            .take_while(|c| {
                !c.is_whitespace() && !",]})".contains(*c) && character::describe(*c).is_none()
            })
            .take(40)
            .collect()
    };
    format!("`{word}`")
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: expected {}, found {}",
            self.line, self.column, self.expected, self.found
        )?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        let margin = " ".repeat(self.line.to_string().len());
        // A tab above a tab keeps the caret in its place on every terminal.
        let indent: String = self
            .source_line
            .chars()
            .take(self.caret)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(
            f,
            "\n{} | {}\n{margin} | {indent}^",
            self.line, self.source_line
        )
    }
}

impl std::error::Error for SyntaxError {}
