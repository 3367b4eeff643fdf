//! Documents as BSON: their JSON with its types, `_id` first and as an
//! ObjectId, strings with their escapes resolved. Keys can repeat in BSON as they
//! can in artdaqDB's JSON, and keep their order both ways.

use std::borrow::Cow;
use std::sync::LazyLock;

use mongodb::bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::artdaqdb::document::plain::{self, Plain};
use crate::artdaqdb::document::{Builder, Tree};
use crate::artdaqdb::index::Oid;

/// The largest document that MongoDB stores, in bytes.
pub(super) const MAX_SIZE: usize = 16 * 1024 * 1024;
/// How deep documents and arrays may lie in each other in MongoDB: what its own
/// messages name, and what it was measured to take.
const MAX_DEPTH: usize = 180;
/// About how many bytes of a document stand for a value.
const BYTES_PER_VALUE: usize = 18;

/// Why a document can't be stored in MongoDB.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("its document is {0} bytes in BSON, and MongoDB stores {MAX_SIZE} at most")]
    TooLarge(usize),
    #[error(
        "its tables and sequences lie too deep in each other: MongoDB stores {MAX_DEPTH} levels of \
         a document, and each level of FHiCL takes two"
    )]
    TooDeep,
    #[error("MongoDB has no keys with a NUL character, as in {0:?}")]
    NulInKey(String),
    #[error("its JSON is not what it should be at byte {0}")]
    Json(usize),
}

/// The BSON of a document's JSON, under that identity. The JSON is of our own
/// making: of its syntax no more is checked than is needed to read it.
pub(super) fn to_bson(json: &str, oid: Oid) -> Result<RawDocumentBuf, Unfit> {
    let mut writer = Writer {
        json,
        at: 0,
        out: Vec::with_capacity(json.len()),
    };
    writer.document(oid)?;
    let size = writer.out.len();
    if size > MAX_SIZE {
        return Err(Unfit::TooLarge(size));
    }
    writer.out.shrink_to_fit();
    RawDocumentBuf::from_bytes(writer.out).map_err(|_| Unfit::TooLarge(size))
}

// BSON's element types.
const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const OBJECT_ID: u8 = 0x07;
const BOOLEAN: u8 = 0x08;
const NULL: u8 = 0x0a;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;

/// Writes BSON as it goes through the JSON, once from its beginning to its end.
struct Writer<'j> {
    json: &'j str,
    at: usize,
    out: Vec<u8>,
}

/// An object or array that is not at its end yet.
struct Open {
    /// Where its length stands in the BSON.
    start: usize,
    /// The index of an array's next element; none in an object.
    next: Option<usize>,
    /// Where to cut the BSON off at its end, if it is not to be kept.
    drop_to: Option<usize>,
}

impl Writer<'_> {
    fn document(&mut self, oid: Oid) -> Result<(), Unfit> {
        let mut open = vec![self.open(None, None)];
        self.expect(b'{')?;
        self.out.push(OBJECT_ID);
        self.out.extend(b"_id\0");
        self.out.extend(oid.bytes());
        while let Some(level) = open.last_mut() {
            let end = if level.next.is_some() { b']' } else { b'}' };
            if self.take(end) {
                self.close(level);
                open.pop();
                self.take(b',');
                continue;
            }
            // The element's type comes before its key, and is known after it.
            let element = self.out.len();
            self.out.push(0);
            match &mut level.next {
                Some(index) => {
                    self.out.extend(index.to_string().bytes());
                    *index += 1;
                }
                None => {
                    self.key()?;
                    self.expect(b':')?;
                }
            }
            self.out.push(0);
            let is_id = open.len() == 1 && self.out[element + 1..] == *b"_id\0";
            let drop_to = is_id.then_some(element);
            if open.len() > MAX_DEPTH {
                return Err(Unfit::TooDeep);
            }
            self.skip();
            if let Some(plain) = plain::at_start(&self.json.as_bytes()[self.at..]) {
                if open.len() == MAX_DEPTH {
                    return Err(Unfit::TooDeep);
                }
                self.at += plain.text.len();
                self.out[element] = DOCUMENT;
                write_plain(&mut self.out, plain);
                self.take(b',');
                continue;
            }
            self.out[element] = match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    open.push(self.open(None, drop_to));
                    DOCUMENT
                }
                Some(b'[') => {
                    self.at += 1;
                    open.push(self.open(Some(0), drop_to));
                    ARRAY
                }
                Some(b'"') => {
                    let start = self.out.len();
                    self.out.extend([0; 4]);
                    self.string()?;
                    self.out.push(0);
                    let length = self.out.len() - start - 4;
                    self.out[start..start + 4].copy_from_slice(&length_bytes(length));
                    STRING
                }
                _ => self.token()?,
            };
            if !matches!(self.out[element], DOCUMENT | ARRAY) {
                self.take(b',');
            }
        }
        Ok(())
    }

    fn open(&mut self, next: Option<usize>, drop_to: Option<usize>) -> Open {
        let start = self.out.len();
        self.out.extend([0; 4]);
        Open {
            start,
            next,
            drop_to,
        }
    }

    fn close(&mut self, level: &Open) {
        self.out.push(0);
        let length = self.out.len() - level.start;
        self.out[level.start..level.start + 4].copy_from_slice(&length_bytes(length));
        if let Some(length) = level.drop_to {
            self.out.truncate(length);
        }
    }

    fn key(&mut self) -> Result<(), Unfit> {
        self.skip();
        let start = self.out.len();
        self.string()?;
        let key = &self.out[start..];
        match key.contains(&0) {
            true => Err(Unfit::NulInKey(String::from_utf8_lossy(key).into_owned())),
            false => Ok(()),
        }
    }

    /// Copies a string, its escapes resolved.
    fn string(&mut self) -> Result<(), Unfit> {
        self.expect(b'"')?;
        loop {
            let rest = &self.json.as_bytes()[self.at..];
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\'))
                .ok_or(Unfit::Json(self.at))?;
            self.out.extend_from_slice(&rest[..length]);
            self.at += length + 1;
            if rest[length] == b'"' {
                return Ok(());
            }
            self.escape()?;
        }
    }

    /// Resolves an escape, behind its backslash.
    fn escape(&mut self) -> Result<(), Unfit> {
        let wrong = Unfit::Json(self.at);
        let escape = self.peek();
        self.at += 1;
        let byte = match escape {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let digits = self.json.get(self.at..self.at + 4);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let character = code.and_then(char::from_u32).ok_or(wrong)?;
                self.at += 4;
                let mut utf8 = [0; 4];
                self.out.extend(character.encode_utf8(&mut utf8).bytes());
                return Ok(());
            }
            _ => return Err(wrong),
        };
        self.out.push(byte);
        Ok(())
    }

    /// A number, `true`, `false` or `null`; gives its type.
    fn token(&mut self) -> Result<u8, Unfit> {
        let rest = &self.json[self.at..];
        let length = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
            .unwrap_or(rest.len());
        let token = &rest[..length];
        let kind = match token {
            "null" => NULL,
            "true" | "false" => {
                self.out.push(u8::from(token == "true"));
                BOOLEAN
            }
            _ => {
                if let Ok(number) = token.parse::<i32>() {
                    self.out.extend(number.to_le_bytes());
                    INT32
                } else if let Ok(number) = token.parse::<i64>() {
                    self.out.extend(number.to_le_bytes());
                    INT64
                } else {
                    let number: f64 = token.parse().map_err(|_| Unfit::Json(self.at))?;
                    self.out.extend(number.to_le_bytes());
                    DOUBLE
                }
            }
        };
        self.at += length;
        Ok(kind)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unfit> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(Unfit::Json(self.at)),
        }
    }

    /// Takes this byte if it comes next, white space before it aside.
    fn take(&mut self, byte: u8) -> bool {
        self.skip();
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn skip(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }
}

/// Writes a scalar's plain metadata.
fn write_plain(out: &mut Vec<u8>, plain: &Plain) {
    let start = out.len();
    out.extend([0; 4]);
    for (key, text) in plain.fields() {
        out.push(STRING);
        out.extend(key.as_bytes());
        out.push(0);
        out.extend(length_bytes(text.len() + 1));
        out.extend(text.as_bytes());
        out.push(0);
    }
    out.push(0);
    let length = out.len() - start;
    out[start..start + 4].copy_from_slice(&length_bytes(length));
}

/// The scalar's plain metadata that this document is, if it is one.
fn plain_of(document: &RawDocument) -> Option<&'static Plain> {
    static BSON: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let bson = |plain| {
            let mut out = Vec::new();
            write_plain(&mut out, plain);
            out
        };
        plain::ALL.iter().map(bson).collect()
    });
    let bytes = document.as_bytes();
    let mut candidates = plain::ALL.iter().zip(BSON.iter());
    candidates
        .find(|(_, bson)| bson.as_slice() == bytes)
        .map(|(plain, _)| plain)
}

/// A length as BSON has it. What is longer makes a document that is refused as too large.
fn length_bytes(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

/// The tree of a document's BSON, which borrows its texts.
pub(super) fn from_bson(document: &RawDocument) -> Result<Tree<'_>, String> {
    let mut tree = Builder::with_capacity(document.as_bytes().len() / BYTES_PER_VALUE);
    add_document(&mut tree, "", document)?;
    Ok(tree.finish())
}

fn add_document<'a>(
    tree: &mut Builder<'a>,
    key: &'a str,
    document: &'a RawDocument,
) -> Result<(), String> {
    tree.open_object(Cow::Borrowed(key));
    for element in document {
        let (key, value) = element.map_err(|error| error.to_string())?;
        add(tree, key.as_str(), value)?;
    }
    tree.close();
    Ok(())
}

fn add_array<'a>(tree: &mut Builder<'a>, key: &'a str, array: &'a RawArray) -> Result<(), String> {
    tree.open_array(Cow::Borrowed(key));
    for value in array {
        add(tree, "", value.map_err(|error| error.to_string())?)?;
    }
    tree.close();
    Ok(())
}

fn add<'a>(tree: &mut Builder<'a>, key: &'a str, value: RawBsonRef<'a>) -> Result<(), String> {
    let name = Cow::Borrowed(key);
    match value {
        RawBsonRef::String(text) => tree.string(name, Cow::Borrowed(text)),
        RawBsonRef::Document(document) => match plain_of(document) {
            Some(plain) => tree.plain(name, plain),
            None => add_document(tree, key, document)?,
        },
        RawBsonRef::Array(values) => add_array(tree, key, values)?,
        RawBsonRef::Boolean(true) => tree.token(name, "true"),
        RawBsonRef::Boolean(false) => tree.token(name, "false"),
        RawBsonRef::Null => tree.token(name, "null"),
        // Numbers become strings, as artdaqDB keeps those of FHiCL.
        RawBsonRef::Int32(value) => tree.string(name, Cow::Owned(value.to_string())),
        RawBsonRef::Int64(value) => tree.string(name, Cow::Owned(value.to_string())),
        RawBsonRef::Double(value) => tree.string(name, Cow::Owned(value.to_string())),
        RawBsonRef::ObjectId(id) => {
            tree.open_object(name);
            tree.string(Cow::Borrowed("$oid"), Cow::Owned(id.to_hex()));
            tree.close();
        }
        other => {
            return Err(format!(
                "{key:?} has the BSON type {:?}, which artdaqDB does not use",
                other.element_type()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

    const OID: &str = "0123456789abcdef01234567";

    fn bson(json: &str) -> Result<RawDocumentBuf, Unfit> {
        to_bson(json, Oid::parse(OID).unwrap())
    }

    /// The document that the driver reads in what `to_bson` makes.
    fn read(json: &str) -> Document {
        let raw = bson(json).unwrap();
        Document::try_from(raw).unwrap()
    }

    #[test]
    fn json_becomes_bson_with_its_types_and_the_identity_first() {
        let id = Bson::ObjectId(ObjectId::parse_str(OID).unwrap());
        assert_eq!(
            read("{\n\"a\" : {\n\n},\n\"b\" : [\n\n],\n\"_id\" : {\"$oid\" : \"x\"},\"c\":\"\"}"),
            doc! { "_id": id.clone(), "a": {}, "b": [], "c": "" }
        );
        let numbers = r#"{"n": [0, -5, 2147483648, 1.5, true, false, null], "o": {"_id": "kept"}}"#;
        let expected = doc! {
            "_id": id, "n": [0, -5, 2_147_483_648_i64, 1.5, true, false, Bson::Null],
            "o": { "_id": "kept" },
        };
        assert_eq!(format!("{:?}", read(numbers)), format!("{expected:?}"));
        let keys: Vec<String> = read(r#"{"z": "1", "_id": "2", "a": "3"}"#)
            .keys()
            .cloned()
            .collect();
        assert_eq!(keys, ["_id", "z", "a"]);
    }

    #[test]
    fn escapes_are_resolved_and_all_else_is_kept() {
        let read = read(r#"{"a.b": "\"\\\/\b\f\n\r\t\u001f\u00fc", "$\t": "ü µ"}"#);
        assert_eq!(read.get_str("a.b").unwrap(), "\"\\/\u{8}\u{c}\n\r\t\u{1f}ü");
        assert_eq!(read.get_str("$\t").unwrap(), "ü µ");
    }

    #[test]
    fn keys_can_repeat_both_ways() {
        let raw = bson(r#"{"a": "1", "b": ["x"], "a": {"c": "2", "c": "3"}}"#).unwrap();
        let tree = from_bson(&raw).unwrap();
        let members: Vec<_> = tree.root().members().unwrap().collect();
        let keys: Vec<&str> = members.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["_id", "a", "b", "a"]);
        let inner = members[3].1.members().unwrap();
        assert_eq!(inner.map(|(key, _)| key).collect::<Vec<_>>(), ["c", "c"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let nested = |depth| {
            format!(
                "{}{}",
                "{\"a\":".repeat(depth),
                "\"\"".to_owned() + &"}".repeat(depth)
            )
        };
        assert!(bson(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(bson(&nested(MAX_DEPTH + 1)), Err(Unfit::TooDeep));
        assert_eq!(
            bson("{\"a\u{0}b\": \"\"}"),
            Err(Unfit::NulInKey("a\0b".into()))
        );
        let text = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_SIZE));
        assert!(matches!(bson(&text), Err(Unfit::TooLarge(_))));
        for json in [
            "",
            "[]",
            "{",
            "{\"a\"}",
            "{\"a\": x}",
            "{\"a\": \"",
            "{\"a\": \"\\x\"}",
            "{a: 1}",
        ] {
            assert!(matches!(bson(json), Err(Unfit::Json(_))), "{json}");
        }
    }
}
