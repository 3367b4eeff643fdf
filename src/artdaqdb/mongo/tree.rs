//! A document's values as they are read from BSON.

use std::borrow::Cow;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawArray, RawBsonRef, RawDocument};

use super::bson::plain_of;
use crate::artdaqdb::document::plain::Plain;
use crate::artdaqdb::document::{Kind, Node};

/// Checks a document, and returns it as a value.
///
/// # Errors
/// It is no BSON, or has types that artdaqDB does not use.
pub(super) fn checked(document: &RawDocument) -> Result<Value<'_>, String> {
    check_document(document)?;
    Ok(Value::Bson(RawBsonRef::Document(document)))
}

fn check_document(document: &RawDocument) -> Result<(), String> {
    for element in document {
        let (key, value) = element.map_err(|error| error.to_string())?;
        check(key.as_str(), value)?;
    }
    Ok(())
}

fn check(key: &str, value: RawBsonRef<'_>) -> Result<(), String> {
    match value {
        RawBsonRef::Document(document) => match plain_of(document.as_bytes()) {
            Some(_) => Ok(()),
            None => check_document(document),
        },
        RawBsonRef::Array(values) => {
            for value in values {
                check("", value.map_err(|error| error.to_string())?)?;
            }
            Ok(())
        }
        RawBsonRef::String(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::ObjectId(_) => Ok(()),
        other => Err(format!(
            "{key:?} has the BSON type {:?}, which artdaqDB does not use",
            other.element_type()
        )),
    }
}

/// A value of a document that was checked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'d> {
    Bson(RawBsonRef<'d>),
    /// An ObjectId's digits.
    Digits(ObjectId),
}

/// What lies in a document, an array or an ObjectId.
pub(super) enum Members<'d> {
    Document(<&'d RawDocument as IntoIterator>::IntoIter),
    Array(<&'d RawArray as IntoIterator>::IntoIter),
    Id(Option<ObjectId>),
}

impl<'d> Node<'d> for Value<'d> {
    type Members = Members<'d>;

    fn kind(self) -> Kind<'d, Members<'d>> {
        let value = match self {
            Value::Digits(id) => return Kind::String(Cow::Owned(id.to_hex())),
            Value::Bson(value) => value,
        };
        match value {
            RawBsonRef::Document(document) => Kind::Object(Members::Document(document.into_iter())),
            RawBsonRef::Array(values) => Kind::Array(Members::Array(values.into_iter())),
            RawBsonRef::ObjectId(id) => Kind::Object(Members::Id(Some(id))),
            RawBsonRef::String(text) => Kind::String(Cow::Borrowed(text)),
            RawBsonRef::Boolean(true) => Kind::Token("true"),
            RawBsonRef::Boolean(false) => Kind::Token("false"),
            // Numbers become strings, as artdaqDB keeps those of FHiCL.
            RawBsonRef::Int32(value) => Kind::String(Cow::Owned(value.to_string())),
            RawBsonRef::Int64(value) => Kind::String(Cow::Owned(value.to_string())),
            RawBsonRef::Double(value) => Kind::String(Cow::Owned(value.to_string())),
            // There are no others.
            _ => Kind::Token("null"),
        }
    }

    fn plain(self) -> Option<&'static Plain> {
        match self {
            Value::Bson(RawBsonRef::Document(document)) => plain_of(document.as_bytes()),
            _ => None,
        }
    }
}

impl<'d> Iterator for Members<'d> {
    type Item = (Cow<'d, str>, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Members::Document(elements) => {
                let (key, value) = elements.next()?.ok()?;
                Some((Cow::Borrowed(key.as_str()), Value::Bson(value)))
            }
            Members::Array(values) => {
                let value = values.next()?.ok()?;
                Some((Cow::Borrowed(""), Value::Bson(value)))
            }
            Members::Id(id) => Some((Cow::Borrowed("$oid"), Value::Digits(id.take()?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use mongodb::bson::{RawBson, RawDocumentBuf, cstr, oid::ObjectId, rawdoc};

    #[test]
    fn keys_can_repeat_and_keep_their_order() {
        let mut raw = RawDocumentBuf::new();
        raw.append(cstr!("b"), "1");
        raw.append(cstr!("a"), "2");
        raw.append(cstr!("b"), "3");
        let keys = checked(&raw)
            .unwrap()
            .members()
            .unwrap()
            .map(|(key, _)| key);
        assert_eq!(keys.collect::<Vec<_>>(), ["b", "a", "b"]);
    }

    #[test]
    fn every_type_of_artdaqdb_becomes_what_json_would_have() {
        let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
        let raw = rawdoc! {
            "_id": id, "values": ["text", true, false, RawBson::Null, 5, 5_i64, 1.5, {}, []],
        };
        let root = checked(&raw).unwrap();
        assert_eq!(
            root.get("_id").unwrap().get("$oid").unwrap().text(),
            Some(id.to_hex().into())
        );
        let values: Vec<String> = root
            .get("values")
            .unwrap()
            .elements()
            .map(|value| match value.kind() {
                Kind::String(text) => format!("String({text:?})"),
                Kind::Token(token) => format!("Token({token:?})"),
                Kind::Object(members) => format!("Object({})", members.count()),
                Kind::Array(elements) => format!("Array({})", elements.count()),
            })
            .collect();
        let expected = [
            "String(\"text\")",
            "Token(\"true\")",
            "Token(\"false\")",
            "Token(\"null\")",
            "String(\"5\")",
            "String(\"5\")",
            "String(\"1.5\")",
            "Object(0)",
            "Array(0)",
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_artdaqdb_does_not_use_is_refused() {
        let raw = rawdoc! { "when": mongodb::bson::DateTime::MIN };
        let problem = checked(&raw).map(drop).unwrap_err();
        assert!(
            problem.contains("\"when\"") && problem.contains("DateTime"),
            "{problem}"
        );
    }
}
