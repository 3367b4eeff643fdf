//! Documents as BSON: what JSON would say, with its types, `_id` first and as an
//! ObjectId. Keys can repeat in BSON as they can in artdaqDB's JSON, and keep
//! their order.

use std::sync::LazyLock;

use mongodb::bson::RawDocumentBuf;

use crate::artdaqdb::document::plain::{self, Plain};
use crate::artdaqdb::document::{Key, Sink};
use crate::artdaqdb::index::Oid;

/// The largest document that MongoDB stores, in bytes.
const MAX_SIZE: usize = 16 * 1024 * 1024;
/// How deep documents and arrays may lie in each other in MongoDB: what its own
/// messages name, and what it was measured to take.
const MAX_DEPTH: usize = 180;

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
}

// BSON's element types.
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const OBJECT_ID: u8 = 0x07;
const BOOLEAN: u8 = 0x08;
const INT32: u8 = 0x10;
const INT64: u8 = 0x12;

/// BSON as it grows.
#[derive(Debug)]
pub(super) struct Bson {
    out: Vec<u8>,
    oid: Oid,
    /// The documents and arrays that are not at their end yet, the innermost last.
    open: Vec<Open>,
    /// What was met first of what MongoDB does not store.
    unfit: Option<Unfit>,
    /// How many bytes of a document that is too large were dropped already.
    dropped: usize,
}

/// A document or array that is not at its end yet.
#[derive(Debug)]
struct Open {
    /// Where its length stands in the BSON.
    start: usize,
    /// The index of an array's next element.
    next: u32,
}

impl Bson {
    /// For a document of that identity.
    pub(super) fn new(oid: Oid) -> Bson {
        Bson {
            out: Vec::new(),
            oid,
            open: Vec::new(),
            unfit: None,
            dropped: 0,
        }
    }

    /// The document, once it is complete.
    ///
    /// # Errors
    /// One that MongoDB does not store.
    pub(super) fn finish(mut self) -> Result<RawDocumentBuf, Unfit> {
        let size = self.dropped + self.out.len();
        if size > MAX_SIZE {
            self.unfit.get_or_insert(Unfit::TooLarge(size));
        }
        if let Some(unfit) = self.unfit {
            return Err(unfit);
        }
        // It waits with those of the whole run.
        self.out.shrink_to_fit();
        RawDocumentBuf::from_bytes(self.out).map_err(|_| Unfit::TooLarge(size))
    }

    /// Begins an element. `levels` is how many it has within itself.
    fn element(&mut self, kind: u8, key: Key<'_>, levels: usize) {
        if self.open.len() + levels > MAX_DEPTH {
            self.unfit.get_or_insert(Unfit::TooDeep);
        }
        if self.out.len() > MAX_SIZE {
            // It is refused: its size alone still counts.
            self.dropped += self.out.len();
            self.out.clear();
        }
        self.out.push(kind);
        match key {
            Key::None => {
                if let Some(array) = self.open.last_mut() {
                    let mut digits = itoa::Buffer::new();
                    self.out
                        .extend_from_slice(digits.format(array.next).as_bytes());
                    array.next += 1;
                }
            }
            Key::Known(name) => self.out.extend_from_slice(name.as_bytes()),
            Key::Name(name) => {
                if name.contains('\0') {
                    self.unfit.get_or_insert(Unfit::NulInKey(name.to_owned()));
                }
                self.out.extend_from_slice(name.as_bytes());
            }
            Key::Numbered(name, number) => {
                self.out.extend_from_slice(name.as_bytes());
                let mut digits = itoa::Buffer::new();
                self.out.extend_from_slice(digits.format(number).as_bytes());
            }
        }
        self.out.push(0);
    }

    fn begin(&mut self, kind: u8, key: Key<'_>) {
        let is_whole = self.open.is_empty();
        if !is_whole {
            self.element(kind, key, 0);
        }
        self.open.push(Open {
            start: self.out.len(),
            next: 0,
        });
        self.out.extend_from_slice(&[0; 4]);
        if is_whole {
            self.out.push(OBJECT_ID);
            self.out.extend_from_slice(b"_id\0");
            self.out.extend_from_slice(&self.oid.bytes());
        }
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(ended) if self.dropped == 0 => end_document(&mut self.out, ended.start),
            _ => self.out.push(0),
        }
    }
}

impl Sink for Bson {
    fn expect(&mut self, bytes: impl FnOnce() -> usize) {
        // BSON has no white space, and more than fits is never sent.
        self.out.reserve((bytes() * 9 / 10).min(MAX_SIZE));
    }

    fn open_object(&mut self, key: Key<'_>) {
        self.begin(DOCUMENT, key);
    }

    fn close_object(&mut self) {
        self.end();
    }

    fn open_array(&mut self, key: Key<'_>) {
        self.begin(ARRAY, key);
    }

    fn close_array(&mut self) {
        self.end();
    }

    fn string(&mut self, key: Key<'_>, text: &str) {
        self.element(STRING, key, 0);
        push_string(&mut self.out, text);
    }

    fn number(&mut self, key: Key<'_>, number: u32) {
        match i32::try_from(number) {
            Ok(number) => {
                self.element(INT32, key, 0);
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            Err(_) => {
                self.element(INT64, key, 0);
                self.out.extend_from_slice(&i64::from(number).to_le_bytes());
            }
        }
    }

    fn boolean(&mut self, key: Key<'_>, value: bool) {
        self.element(BOOLEAN, key, 0);
        self.out.push(u8::from(value));
    }

    fn plain(&mut self, key: Key<'_>, plain: &'static Plain) {
        self.element(DOCUMENT, key, 1);
        self.out.extend_from_slice(bson_of(plain));
    }

    fn identity(&mut self, _: &str) {
        // It stands at the beginning.
    }
}

/// Each plain metadata with its BSON.
static PLAINS: LazyLock<Vec<(&'static Plain, Vec<u8>)>> = LazyLock::new(|| {
    let bson = |plain: &Plain| {
        let mut out = vec![0; 4];
        for (key, text) in plain.fields() {
            out.push(STRING);
            out.extend_from_slice(key.as_bytes());
            out.push(0);
            push_string(&mut out, text);
        }
        end_document(&mut out, 0);
        out
    };
    plain::ALL
        .iter()
        .map(|plain| (plain, bson(plain)))
        .collect()
});

fn bson_of(plain: &'static Plain) -> &'static [u8] {
    let mut all = PLAINS.iter();
    // Each is in the list.
    all.find(|(it, _)| std::ptr::eq(*it, plain))
        .map_or(&[], |(_, bson)| bson)
}

/// The scalar's plain metadata that a document is, if it is one.
pub(super) fn plain_of(document: &[u8]) -> Option<&'static Plain> {
    let mut all = PLAINS.iter();
    all.find(|(_, bson)| bson.as_slice() == document)
        .map(|(plain, _)| *plain)
}

/// Writes a string's length, the string and its end.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length_bytes(text.len() + 1));
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Ends the document that begins at `start`.
fn end_document(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let length = out.len() - start;
    out[start..start + 4].copy_from_slice(&length_bytes(length));
}

/// A length as BSON has it. What is longer makes a document that is refused as too large.
fn length_bytes(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    use mongodb::bson::{Bson as Value, Document, doc, oid::ObjectId};

    const OID: &str = "0123456789abcdef01234567";

    fn new() -> Bson {
        Bson::new(Oid::parse(OID).unwrap())
    }

    /// The document that the driver reads in what is written.
    fn read(bson: Bson) -> Document {
        Document::try_from(bson.finish().unwrap()).unwrap()
    }

    #[test]
    fn values_have_their_types_and_the_identity_comes_first() {
        let mut bson = new();
        bson.open_object(Key::None);
        bson.open_object(Key::Known("empty"));
        bson.close_object();
        bson.open_array(Key::Name("ü.$ µ"));
        bson.string(Key::None, "\"\\\n");
        bson.number(Key::None, 5);
        bson.number(Key::None, u32::MAX);
        bson.boolean(Key::None, true);
        bson.open_array(Key::None);
        bson.close_array();
        bson.open_object(Key::None);
        bson.identity("no more than a name here");
        bson.close_object();
        bson.close_array();
        bson.identity(OID);
        bson.boolean(Key::Numbered("include_", 12), false);
        bson.close_object();
        let id = Value::ObjectId(ObjectId::parse_str(OID).unwrap());
        let expected = doc! {
            "_id": id,
            "empty": {},
            "ü.$ µ": ["\"\\\n", 5, 4_294_967_295_i64, true, [], {}],
            "include_12": false,
        };
        assert_eq!(format!("{:?}", read(bson)), format!("{expected:?}"));
    }

    #[test]
    fn the_eleventh_element_has_two_digits() {
        let mut bson = new();
        bson.open_object(Key::None);
        bson.open_array(Key::Known("a"));
        (0..11).for_each(|number| bson.number(Key::None, number));
        bson.close_array();
        bson.close_object();
        let raw = bson.finish().unwrap();
        assert!(raw.as_bytes().windows(3).any(|bytes| bytes == b"10\0"));
        let numbers = Document::try_from(raw).unwrap();
        assert_eq!(numbers.get_array("a").unwrap().len(), 11);
    }

    #[test]
    fn plain_metadata_is_what_its_members_would_be() {
        for plain in &plain::ALL {
            let mut bson = new();
            bson.open_object(Key::None);
            bson.plain(Key::Known("whole"), plain);
            bson.open_object(Key::Known("members"));
            for (key, text) in plain.fields() {
                bson.string(Key::Known(key), text);
            }
            bson.close_object();
            bson.close_object();
            let read = read(bson);
            assert_eq!(read.get("whole"), read.get("members"));
            assert!(std::ptr::eq(plain_of(bson_of(plain)).unwrap(), plain));
        }
        assert!(plain_of(b"\x05\0\0\0\0").is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let nested = |depth, with: fn(&mut Bson)| {
            let mut bson = new();
            bson.open_object(Key::None);
            (1..depth).for_each(|_| bson.open_object(Key::Known("a")));
            with(&mut bson);
            (0..depth).for_each(|_| bson.close_object());
            bson.finish()
        };
        let string = |bson: &mut Bson| bson.string(Key::Known("a"), "");
        let plain = |bson: &mut Bson| bson.plain(Key::Known("a"), &plain::ALL[0]);
        assert!(nested(MAX_DEPTH, string).is_ok());
        assert_eq!(nested(MAX_DEPTH + 1, string), Err(Unfit::TooDeep));
        assert!(nested(MAX_DEPTH - 1, plain).is_ok());
        assert_eq!(nested(MAX_DEPTH, plain), Err(Unfit::TooDeep));
        let nul = |bson: &mut Bson| bson.number(Key::Name("a\0b"), 1);
        assert_eq!(nested(1, nul), Err(Unfit::NulInKey("a\0b".into())));
        let large = |bson: &mut Bson| bson.string(Key::Known("a"), &"x".repeat(MAX_SIZE));
        assert!(matches!(nested(1, large), Err(Unfit::TooLarge(_))));
    }
}
