//! Strings in quotes.

use std::borrow::Cow;

use super::error::SyntaxError;
use super::lexer::{Cursor, Result};
use super::tree::AtomKind;

const BACKSLASH_AT_END: &str =
    r#"a string in double quotes can't end in a backslash: FHiCL takes `\"` for a quote in it"#;

impl<'a> Cursor<'a> {
    /// Reads a string in the quotes that stand here, and gives it without them.
    pub(super) fn string(&mut self) -> Result<(AtomKind, Cow<'a, str>)> {
        let open = self.at;
        let double = self.peek() == Some(b'"');
        let quote = if double { b'"' } else { b'\'' };
        let mut escaped = false;
        let mut carriage_return = false;
        self.at += 1;
        let line = self.line;
        loop {
            let Some(byte) = self.peek() else {
                self.at = open;
                return Err(self.unterminated(open, quote));
            };
            // A quote after a backslash never ends a string, not even where
            // that backslash is itself escaped: so fhicl-cpp reads it.
            if byte == quote && !(double && self.bytes[self.at - 1] == b'\\') {
                break;
            }
            match byte {
                b'\\' if double && !escaped => {
                    escaped = true;
                    self.at += 1;
                    continue;
                }
                _ if escaped && !matches!(byte, b'"' | b'\'' | b'\\' | b'n' | b't') => {
                    return Err(self.unknown_escape());
                }
                b'\n' | b'\r' => {
                    carriage_return |= byte == b'\r';
                    self.end_line();
                }
                b'\t' => self.at += 1,
                0..=0x1f | 0x7f => {
                    return Err(self.error("a printable character in the string"));
                }
                _ => self.at += 1,
            }
            escaped = false;
        }
        let content = &self.text[open + 1..self.at];
        self.at += 1;
        if !self.ends(self.at, b",]}") {
            if self.line > line && !(double && content.contains("\\\\\"")) {
                let expected = format!("a closing `{}`", char::from(quote));
                let found = format!("a string that goes on to line {}", self.line);
                let error = SyntaxError::found(self.text, open, expected, found);
                return Err(error.hint("is its closing quote missing?"));
            }
            let error = self.error("white space, `,`, `]` or `}` after the string");
            return Err(if double && content.contains("\\\\\"") {
                error.hint(BACKSLASH_AT_END)
            } else {
                error
            });
        }
        let kind = if double {
            AtomKind::DoubleQuoted
        } else {
            AtomKind::SingleQuoted
        };
        let content = if carriage_return {
            Cow::Owned(content.replace("\r\n", "\n").replace('\r', "\n"))
        } else {
            Cow::Borrowed(content)
        };
        Ok((kind, content))
    }

    /// The error for the escape whose second character stands here.
    fn unknown_escape(&self) -> Box<SyntaxError> {
        let expected = r#"one of the escapes \" \' \\ \n \t in the string"#;
        let second = self.text[self.at..].chars().next();
        let found = match second {
            Some(c) if !c.is_control() => format!("`\\{c}`"),
            _ => "a backslash at the end of the line".to_owned(),
        };
        SyntaxError::found(self.text, self.at - 1, expected, found)
            .hint(r"write a backslash as `\\`, or put the string in single quotes")
    }

    fn unterminated(&self, open: usize, quote: u8) -> Box<SyntaxError> {
        let found = "a string that never ends";
        let expected = format!("a closing `{}`", char::from(quote));
        let error = SyntaxError::found(self.text, open, expected, found);
        if quote == b'"' && self.rest_of_line().contains("\\\\\"") {
            error.hint(BACKSLASH_AT_END)
        } else {
            error
        }
    }
}
