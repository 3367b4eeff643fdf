//! Documents as BSON: their JSON with its types, `_id` first and as an
//! ObjectId, strings with their escapes resolved. Keys can repeat in BSON as they
//! can in artdaqDB's JSON, and keep their order both ways.

use std::borrow::Cow;

use mongodb::bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::artdaqdb::document::{DocumentError, Json, parse_json};
use crate::artdaqdb::index::Oid;

/// The largest document that MongoDB stores, in bytes.
pub(super) const MAX_SIZE: usize = 16 * 1024 * 1024;
/// How deep documents and arrays may lie in each other in MongoDB: what its own
/// messages name, and what it was measured to take.
const MAX_DEPTH: usize = 180;

/// Why a document can't be stored in MongoDB.
#[derive(Debug, thiserror::Error)]
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
    #[error(transparent)]
    Json(#[from] DocumentError),
    #[error("{0}")]
    Bson(#[from] mongodb::bson::error::Error),
}

/// The BSON of a document's JSON, under that identity.
pub(super) fn to_bson(json: &str, oid: Oid) -> Result<RawDocumentBuf, Unfit> {
    let root = parse_json(json)?;
    let mut writer = Writer {
        out: Vec::with_capacity(json.len()),
    };
    let start = writer.begin();
    writer.out.push(OBJECT_ID);
    writer.key("_id")?;
    writer.out.extend(oid.bytes());
    if let Json::Object(members) = &root {
        for (key, value) in members.iter().filter(|(key, _)| key != "_id") {
            writer.element(key, value, 1)?;
        }
    }
    writer.end(start);
    if writer.out.len() > MAX_SIZE {
        return Err(Unfit::TooLarge(writer.out.len()));
    }
    Ok(RawDocumentBuf::from_bytes(writer.out)?)
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

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn element(&mut self, key: &str, value: &Json, depth: usize) -> Result<(), Unfit> {
        if depth > MAX_DEPTH {
            return Err(Unfit::TooDeep);
        }
        let at = self.out.len();
        self.out.push(0);
        self.key(key)?;
        self.out[at] = match value {
            Json::String(text) => {
                self.length(text.len() + 1);
                self.out.extend(text.as_bytes());
                self.out.push(0);
                STRING
            }
            Json::Object(members) => {
                let start = self.begin();
                for (key, value) in members {
                    self.element(key, value, depth + 1)?;
                }
                self.end(start);
                DOCUMENT
            }
            Json::Array(values) => {
                let start = self.begin();
                for (index, value) in values.iter().enumerate() {
                    self.element(&index.to_string(), value, depth + 1)?;
                }
                self.end(start);
                ARRAY
            }
            Json::Token(token) => self.token(token),
        };
        Ok(())
    }

    fn token(&mut self, token: &str) -> u8 {
        match token {
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
                    let number = token.parse::<f64>().unwrap_or(f64::NAN);
                    self.out.extend(number.to_le_bytes());
                    DOUBLE
                }
            }
        }
    }

    fn key(&mut self, key: &str) -> Result<(), Unfit> {
        if key.contains('\0') {
            return Err(Unfit::NulInKey(key.to_owned()));
        }
        self.out.extend(key.as_bytes());
        self.out.push(0);
        Ok(())
    }

    /// Begins a document or array, whose length comes first.
    fn begin(&mut self) -> usize {
        let start = self.out.len();
        self.length(0);
        start
    }

    fn end(&mut self, start: usize) {
        self.out.push(0);
        let length = self.out.len() - start;
        self.out[start..start + 4].copy_from_slice(&length_bytes(length));
    }

    fn length(&mut self, length: usize) {
        self.out.extend(length_bytes(length));
    }
}

/// A length as BSON has it. What is longer makes a document that is refused as too large.
fn length_bytes(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

/// The tree of a document's BSON, which borrows its texts.
pub(super) fn from_bson(document: &RawDocument) -> Result<Json<'_>, String> {
    let mut members = Vec::new();
    for element in document {
        let (key, value) = element.map_err(|error| error.to_string())?;
        members.push((Cow::Borrowed(key.as_str()), json(key.as_str(), value)?));
    }
    Ok(Json::Object(members))
}

fn array(array: &RawArray) -> Result<Json<'_>, String> {
    let mut values = Vec::new();
    for value in array {
        values.push(json("", value.map_err(|error| error.to_string())?)?);
    }
    Ok(Json::Array(values))
}

fn json<'a>(key: &str, value: RawBsonRef<'a>) -> Result<Json<'a>, String> {
    // Numbers become strings, as artdaqDB keeps those of FHiCL.
    let number = |text: String| Json::String(Cow::Owned(text));
    Ok(match value {
        RawBsonRef::String(text) => Json::String(Cow::Borrowed(text)),
        RawBsonRef::Document(document) => from_bson(document)?,
        RawBsonRef::Array(values) => array(values)?,
        RawBsonRef::Boolean(true) => Json::Token("true"),
        RawBsonRef::Boolean(false) => Json::Token("false"),
        RawBsonRef::Null => Json::Token("null"),
        RawBsonRef::Int32(value) => number(value.to_string()),
        RawBsonRef::Int64(value) => number(value.to_string()),
        RawBsonRef::Double(value) => number(value.to_string()),
        RawBsonRef::ObjectId(id) => Json::Object(vec![(
            Cow::Borrowed("$oid"),
            Json::String(Cow::Owned(id.to_hex())),
        )]),
        other => {
            return Err(format!(
                "{key:?} has the BSON type {:?}, which artdaqDB does not use",
                other.element_type()
            ));
        }
    })
}
