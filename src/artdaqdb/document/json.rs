//! JSON as artdaqDB's tools write it, without loss: keys keep their order and
//! can repeat, strings can hold raw control characters.
//!
//! Reading takes no recursion, so that no document can exhaust the stack; the
//! depth is limited all the same, as that of FHiCL is.

use std::borrow::Cow;

use super::DocumentError;
use super::plain;
use super::tree::{Builder, Tree};
use crate::fhicl;

/// How deep arrays and objects may lie in each other. A FHiCL value takes two
/// levels of metadata, and a few lie around it.
const MAX_DEPTH: usize = 2 * fhicl::MAX_DEPTH + 16;

/// About how many bytes of a document stand for a value, those of its metadata
/// among them.
const BYTES_PER_VALUE: usize = 18;

/// Reads a JSON text.
pub(super) fn parse(text: &str) -> Result<Tree<'_>, DocumentError> {
    let mut reader = Reader { text, at: 0 };
    let tree = reader.document()?;
    reader.skip();
    if reader.at < text.len() {
        return Err(reader.error("nothing after the document"));
    }
    Ok(tree)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Tree<'a>, DocumentError> {
        let mut tree = Builder::with_capacity(self.text.len() / BYTES_PER_VALUE);
        let mut key = Cow::Borrowed("");
        loop {
            self.skip();
            let name = std::mem::take(&mut key);
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    if bracket == b'{'
                        && let Some(plain) = plain::at_start(&self.text.as_bytes()[self.at..])
                    {
                        self.at += plain.text.len();
                        tree.plain(name, plain);
                    } else {
                        if tree.depth() == MAX_DEPTH {
                            return Err(self.error("fewer objects and arrays in each other"));
                        }
                        self.at += 1;
                        self.skip();
                        if bracket == b'{' {
                            tree.open_object(name);
                            if !self.take(b'}') {
                                key = self.key()?;
                                continue;
                            }
                        } else {
                            tree.open_array(name);
                            if !self.take(b']') {
                                continue;
                            }
                        }
                        tree.close();
                    }
                }
                Some(b'"') => tree.string(name, self.string()?),
                _ => tree.token(name, self.token()?),
            }
            // What the value ends.
            while let Some(is_in_array) = tree.is_in_array() {
                self.skip();
                if self.take(b',') {
                    if !is_in_array {
                        self.skip();
                        key = self.key()?;
                    }
                    break;
                }
                match is_in_array {
                    true if !self.take(b']') => return Err(self.error("`,` or `]`")),
                    false if !self.take(b'}') => return Err(self.error("`,` or `}`")),
                    _ => tree.close(),
                }
            }
            if tree.depth() == 0 {
                return Ok(tree.finish());
            }
        }
    }

    fn key(&mut self) -> Result<Cow<'a, str>, DocumentError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a key in double quotes"));
        }
        let key = self.string()?;
        self.skip();
        if !self.take(b':') {
            return Err(self.error("`:` after a key"));
        }
        Ok(key)
    }

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

    fn string(&mut self) -> Result<Cow<'a, str>, DocumentError> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut end = start;
        let mut escapes = false;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(self.error("a closing `\"`"));
            };
            end += length;
            if bytes[end] == b'"' {
                break;
            }
            escapes = true;
            end += 2;
        }
        let raw = &self.text[start..end];
        let value = if escapes {
            Cow::Owned(self.unescape(raw)?)
        } else {
            Cow::Borrowed(raw)
        };
        self.at = end + 1;
        Ok(value)
    }

    fn unescape(&self, raw: &str) -> Result<String, DocumentError> {
        let mut out = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(backslash) = rest.find('\\') {
            out.push_str(&rest[..backslash]);
            let mut chars = rest[backslash + 1..].chars();
            let escape = chars.next();
            out.push(match escape {
                Some(c @ ('"' | '\\' | '/')) => c,
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => unicode(&mut chars).ok_or_else(|| self.error("four hex digits"))?,
                _ => return Err(self.error("a known escape in the string")),
            });
            rest = chars.as_str();
        }
        out.push_str(rest);
        Ok(out)
    }

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

    fn error(&self, expected: &'static str) -> DocumentError {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        DocumentError::NotJson {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            expected,
        }
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
