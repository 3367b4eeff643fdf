//! JSON as artdaqDB's tools write it, without loss: keys keep their order and
//! can repeat, strings can hold raw control characters.
//!
//! A text is checked once, and then read from any of its values on. Neither takes
//! recursion, so that no document can exhaust the stack; the depth is limited all
//! the same, as that of FHiCL is.

use std::borrow::Cow;

use super::DocumentError;
use super::node::{Kind, Node};
use super::plain::{self, Plain};
use crate::fhicl;

/// How deep arrays and objects may lie in each other. A FHiCL value takes two
/// levels of metadata, and a few lie around it.
const MAX_DEPTH: usize = 2 * fhicl::MAX_DEPTH + 16;

/// Objects and arrays of fewer bytes are read through to find their ends; the ends of
/// longer ones are kept, so that each takes the same time to pass over.
const SHORT: usize = 256;

/// A JSON text that was checked.
#[derive(Debug)]
pub(super) struct Document<'a> {
    text: &'a str,
    /// Where its value begins.
    root: usize,
    /// Where each object and array begins and ends that is not [`SHORT`], in the
    /// order in which they begin.
    extents: Vec<(usize, usize)>,
}

/// Checks a JSON text.
pub(super) fn check(text: &str) -> Result<Document<'_>, DocumentError> {
    let mut checker = Checker {
        cursor: Cursor { text, at: 0 },
        extents: Vec::new(),
        open: Vec::new(),
    };
    checker.cursor.skip();
    let root = checker.cursor.at;
    checker.value()?;
    checker.cursor.skip();
    if checker.cursor.at < text.len() {
        return Err(checker.cursor.error("nothing after the document"));
    }
    Ok(Document {
        text,
        root,
        extents: checker.extents,
    })
}

struct Checker<'a> {
    cursor: Cursor<'a>,
    extents: Vec<(usize, usize)>,
    /// The objects and arrays that are not at their end yet, the innermost last:
    /// their places in `extents`, and whether they are arrays.
    open: Vec<(usize, bool)>,
}

impl Checker<'_> {
    fn value(&mut self) -> Result<(), DocumentError> {
        loop {
            self.cursor.skip();
            match self.cursor.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if !self.cursor.take_plain() {
                        if self.open.len() == MAX_DEPTH {
                            return Err(self
                                .cursor
                                .error("fewer objects and arrays in each other"));
                        }
                        self.open.push((self.extents.len(), bracket == b'['));
                        self.extents.push((self.cursor.at, 0));
                        self.cursor.at += 1;
                        self.cursor.skip();
                        let end = if bracket == b'[' { b']' } else { b'}' };
                        if !self.cursor.take(end) {
                            if bracket == b'{' {
                                self.key()?;
                            }
                            continue;
                        }
                        self.close();
                    }
                }
                Some(b'"') => self.string()?,
                _ => {
                    self.cursor.token()?;
                }
            }
            // What the value ends.
            while let Some((_, is_array)) = self.open.last().copied() {
                self.cursor.skip();
                if self.cursor.take(b',') {
                    if !is_array {
                        self.cursor.skip();
                        self.key()?;
                    }
                    break;
                }
                match is_array {
                    true if !self.cursor.take(b']') => {
                        return Err(self.cursor.error("`,` or `]`"));
                    }
                    false if !self.cursor.take(b'}') => {
                        return Err(self.cursor.error("`,` or `}`"));
                    }
                    _ => self.close(),
                }
            }
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Notes the end of the innermost object or array.
    fn close(&mut self) {
        let Some((place, _)) = self.open.pop() else {
            return;
        };
        if let Some(extent) = self.extents.get_mut(place) {
            extent.1 = self.cursor.at;
            if extent.1 - extent.0 < SHORT {
                // What lies in it is short as well, and dropped already.
                self.extents.truncate(place);
            }
        }
    }

    fn key(&mut self) -> Result<(), DocumentError> {
        if self.cursor.peek() != Some(b'"') {
            return Err(self.cursor.error("a key in double quotes"));
        }
        self.string()?;
        self.cursor.skip();
        if !self.cursor.take(b':') {
            return Err(self.cursor.error("`:` after a key"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), DocumentError> {
        let raw = self.cursor.string();
        let raw = raw.ok_or_else(|| self.cursor.error("a closing `\"`"))?;
        if raw.is_escaped {
            // The error is of the line on which the string begins.
            let at = self.cursor.at;
            self.cursor.at = raw.start - 1;
            raw.unescape(&mut |_| {})
                .map_err(|expected| self.cursor.error(expected))?;
            self.cursor.at = at;
        }
        Ok(())
    }
}

/// A position in a JSON text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn skip(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a scalar's plain metadata, if such stands here.
    fn take_plain(&mut self) -> bool {
        let plain = plain::at_start(&self.text.as_bytes()[self.at..]);
        self.at += plain.map_or(0, |plain| plain.text.len());
        plain.is_some()
    }

    /// Takes a number, `true`, `false` or `null`.
    fn token(&mut self) -> Result<&'a str, DocumentError> {
        let rest = &self.text[self.at..];
        let length = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
            .unwrap_or(rest.len());
        let token = &rest[..length];
        let number = token.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        if !number && !matches!(token, "true" | "false" | "null") {
            return Err(self.error("a value"));
        }
        self.at += length;
        Ok(token)
    }

    /// Takes the string that begins here; nothing is taken if it does not end.
    fn string(&mut self) -> Option<Raw<'a>> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut end = start;
        let mut is_escaped = false;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            end += memchr::memchr2(b'"', b'\\', rest)?;
            if bytes[end] == b'"' {
                break;
            }
            is_escaped = true;
            end += 2;
        }
        self.at = end + 1;
        Some(Raw {
            text: &self.text[start..end],
            start,
            is_escaped,
        })
    }

    fn error(&self, expected: &'static str) -> DocumentError {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        DocumentError::NotJson {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            expected,
        }
    }
}

/// A string as it stands in the text, between its quotes.
struct Raw<'a> {
    text: &'a str,
    start: usize,
    is_escaped: bool,
}

impl<'a> Raw<'a> {
    fn value(&self) -> Cow<'a, str> {
        if !self.is_escaped {
            return Cow::Borrowed(self.text);
        }
        let mut value = String::with_capacity(self.text.len());
        // Its escapes were checked.
        let _ = self.unescape(&mut |piece| value.push_str(piece));
        Cow::Owned(value)
    }

    /// Gives `out` what the string says, piece by piece. The error is what was expected.
    fn unescape(&self, out: &mut dyn FnMut(&str)) -> Result<(), &'static str> {
        let mut rest = self.text;
        while let Some(backslash) = rest.find('\\') {
            out(&rest[..backslash]);
            let mut chars = rest[backslash + 1..].chars();
            let escape = chars.next();
            let meant = match escape {
                Some(c @ ('"' | '\\' | '/')) => c,
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => unicode(&mut chars).ok_or("four hex digits")?,
                _ => return Err("a known escape in the string"),
            };
            out(meant.encode_utf8(&mut [0; 4]));
            rest = chars.as_str();
        }
        out(rest);
        Ok(())
    }
}

/// Reads what follows `\u`: a character, or a pair of surrogates.
fn unicode(chars: &mut std::str::Chars) -> Option<char> {
    let high = four_digits(chars)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    if chars.next()? != '\\' || chars.next()? != 'u' {
        return None;
    }
    let low = four_digits(chars)?.checked_sub(0xdc00)?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
}

fn four_digits(chars: &mut std::str::Chars) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}

impl<'a> Document<'a> {
    /// The whole of it.
    pub(super) fn root<'d>(&'d self) -> Json<'d, 'a> {
        Json {
            document: self,
            start: self.root,
            end: self.text.len(),
        }
    }

    /// Where the value ends that begins at `start`.
    fn end(&self, start: usize) -> usize {
        let mut cursor = Cursor {
            text: self.text,
            at: start,
        };
        match cursor.peek() {
            Some(b'"') => {
                cursor.string();
            }
            Some(b'{' | b'[') if !cursor.take_plain() => {
                let known = self.extents.binary_search_by_key(&start, |extent| extent.0);
                match known {
                    Ok(place) => return self.extents[place].1,
                    Err(_) => cursor.pass(),
                }
            }
            Some(b'{' | b'[') => {}
            _ => {
                let _ = cursor.token();
            }
        }
        cursor.at
    }
}

impl Cursor<'_> {
    /// Passes over the object or array that begins here.
    fn pass(&mut self) {
        let mut depth = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' if self.take_plain() => continue,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// A value of a JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'d, 'a> {
    document: &'d Document<'a>,
    start: usize,
    end: usize,
}

impl<'d, 'a> Node<'d> for Json<'d, 'a> {
    type Members = Members<'d, 'a>;

    fn kind(self) -> Kind<'d, Members<'d, 'a>> {
        let text = self.document.text;
        let mut cursor = Cursor {
            text,
            at: self.start,
        };
        let members = |is_object| Members {
            document: self.document,
            at: self.start + 1,
            is_object,
        };
        match cursor.peek() {
            Some(b'{') => Kind::Object(members(true)),
            Some(b'[') => Kind::Array(members(false)),
            Some(b'"') => Kind::String(match cursor.string() {
                Some(raw) => raw.value(),
                None => Cow::Borrowed(""),
            }),
            _ => Kind::Token(text[self.start..self.end].trim_end()),
        }
    }

    fn plain(self) -> Option<&'static Plain> {
        plain::of_text(&self.document.text[self.start..self.end])
    }
}

/// The members of an object, or the elements of an array.
#[derive(Debug)]
pub(super) struct Members<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
    is_object: bool,
}

impl<'d, 'a> Iterator for Members<'d, 'a> {
    type Item = (Cow<'d, str>, Json<'d, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = Cursor {
            text: self.document.text,
            at: self.at,
        };
        cursor.skip();
        if cursor.take(b',') {
            cursor.skip();
        }
        let key = match self.is_object {
            true => {
                if cursor.peek() != Some(b'"') {
                    return None;
                }
                let key = cursor.string()?.value();
                cursor.skip();
                cursor.take(b':');
                cursor.skip();
                key
            }
            false if cursor.peek() == Some(b']') => return None,
            false => Cow::Borrowed(""),
        };
        let start = cursor.at;
        let end = self.document.end(start);
        self.at = end;
        let value = Json {
            document: self.document,
            start,
            end,
        };
        Some((key, value))
    }
}
