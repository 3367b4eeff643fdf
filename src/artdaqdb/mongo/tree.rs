//! The tree of a document that comes as BSON.

use std::borrow::Cow;

use mongodb::bson::{RawArray, RawBsonRef, RawDocument};

use super::bson::plain_of;
use crate::artdaqdb::document::{Builder, Tree};

/// About how many bytes of a document stand for a value.
const BYTES_PER_VALUE: usize = 18;

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
        RawBsonRef::Document(document) => match plain_of(document.as_bytes()) {
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

    use mongodb::bson::{RawBson, RawDocumentBuf, cstr, oid::ObjectId, rawdoc};

    #[test]
    fn keys_can_repeat_and_keep_their_order() {
        let mut raw = RawDocumentBuf::new();
        raw.append(cstr!("b"), "1");
        raw.append(cstr!("a"), "2");
        raw.append(cstr!("b"), "3");
        let tree = from_bson(&raw).unwrap();
        let keys = tree.root().members().unwrap().map(|(key, _)| key);
        assert_eq!(keys.collect::<Vec<_>>(), ["b", "a", "b"]);
    }

    #[test]
    fn every_type_of_artdaqdb_becomes_what_json_would_have() {
        let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
        let raw = rawdoc! {
            "_id": id, "values": ["text", true, false, RawBson::Null, 5, 5_i64, 1.5, {}, []],
        };
        let tree = from_bson(&raw).unwrap();
        let root = tree.root();
        assert_eq!(
            root.get("_id").unwrap().get("$oid").unwrap().str(),
            Some(&*id.to_hex())
        );
        let values: Vec<String> = root
            .get("values")
            .unwrap()
            .elements()
            .map(|value| format!("{:?}", value.kind()))
            .collect();
        let expected = [
            "String(\"text\")",
            "Token(\"true\")",
            "Token(\"false\")",
            "Token(\"null\")",
            "String(\"5\")",
            "String(\"5\")",
            "String(\"1.5\")",
            "Object(Members([]))",
            "Array(Members([]))",
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_artdaqdb_does_not_use_is_refused() {
        let raw = rawdoc! { "when": mongodb::bson::DateTime::MIN };
        let problem = from_bson(&raw).unwrap_err();
        assert!(
            problem.contains("\"when\"") && problem.contains("DateTime"),
            "{problem}"
        );
    }
}
