//! Reads a document and regenerates its FHiCL.

use std::borrow::Cow;
use std::collections::HashMap;

use super::json::{self, Json};
use super::write::type_name;
use super::{Assigned, DocumentError, OUTSIDE, StoredDocument};
use crate::fhicl::{
    self, AtomKind, Comment, Content, Document, Entry, INCLUDE_KEY, Protection, SPLICE_KEY, Value,
};

type Result<T> = std::result::Result<T, DocumentError>;

/// Reads a document of artdaqDB.
///
/// # Errors
/// What is not JSON, what has no FHiCL in it, and data without its metadata.
/// What belongs to the document's administration may lack.
pub fn read(json: &str) -> Result<StoredDocument> {
    read_tree(&json::parse(json)?)
}

/// Reads a document that is a tree already, as [`read`] does.
pub(in crate::artdaqdb) fn read_tree(root: &Json) -> Result<StoredDocument> {
    let tree = Reader::default().document(root)?;
    Ok(StoredDocument {
        oid: text(root.get("_id").and_then(|id| id.get("$oid"))),
        collection: text(root.get("collection")),
        version: text(root.get("version")),
        entities: names(root.get("entities")),
        configurations: assigned(root.get("configurations")),
        runs: names(root.get("runs")),
        aliases_active: names(root.get("aliases").and_then(|a| a.get("active"))),
        text: fhicl::write(&tree),
    })
}

fn text(value: Option<&Json>) -> String {
    value.and_then(Json::str).unwrap_or_default().to_owned()
}

fn assigned(list: Option<&Json>) -> Vec<Assigned> {
    let list = list.map(Json::array).unwrap_or_default();
    list.iter()
        .map(|item| Assigned {
            name: text(item.get("name")),
            assigned: text(item.get("assigned")),
        })
        .collect()
}

fn names(list: Option<&Json>) -> Vec<String> {
    assigned(list).into_iter().map(|item| item.name).collect()
}

/// Builds the syntax tree. Stored metadata has no line numbers, but comments
/// of its own for each value: so each value gets two lines of its own, the
/// first for its comment, the second for its annotation.
#[derive(Default)]
struct Reader<'j> {
    comments: Vec<Comment<'j>>,
    line: u32,
}

impl<'j> Reader<'j> {
    fn document(mut self, root: &'j Json<'j>) -> Result<Document<'j>> {
        let part = |kind, name| {
            let part = root.get("document").and_then(|d| d.get(kind)?.get(name));
            part.ok_or_else(|| {
                let path = format!("document.{kind}.{name}");
                wrong(&path, "is missing")
            })
        };
        let mut parts = Vec::new();
        for name in ["prolog", "main"] {
            let entries = self.entries(part("data", name)?, part("metadata", name)?);
            parts.push(entries.map_err(|error| error.within(name).within("document.data"))?);
        }
        let main = parts.pop().unwrap_or_default();
        let prolog = parts.pop().unwrap_or_default();
        Ok(Document {
            prolog,
            main,
            comments: self.comments,
        })
    }

    fn entries(&mut self, data: &'j Json<'j>, metadata: &'j Json<'j>) -> Result<Vec<Entry<'j>>> {
        let Json::Object(members) = data else {
            return Err(wrong("", "is not an object"));
        };
        let children = children(metadata)?;
        let mut children = Children::new(children);
        let mut entries = Vec::with_capacity(members.len());
        for (key, value) in members {
            let metadata = children
                .next(key)
                .ok_or_else(|| wrong(key, "has no metadata"))?;
            entries.push(match value {
                Json::String(file) if is_key(key, INCLUDE_KEY) => Entry::Include {
                    file: Cow::Borrowed(file.as_ref()),
                    number: 0,
                    outside: metadata.get(OUTSIDE).is_some(),
                },
                Json::String(reference)
                    if is_key(key, SPLICE_KEY) && reference.starts_with("@table::") =>
                {
                    Entry::Splice {
                        reference: Cow::Borrowed(reference.as_ref()),
                        line: self.line(metadata),
                    }
                }
                _ => Entry::Assignment {
                    name: Cow::Borrowed(key.as_ref()),
                    value: self
                        .value(value, metadata)
                        .map_err(|error| error.within(key))?,
                },
            });
        }
        Ok(entries)
    }

    fn value(&mut self, data: &'j Json<'j>, metadata: &'j Json<'j>) -> Result<Value<'j>> {
        let line = self.line(metadata);
        let content = match data {
            Json::String(token) => Content::Atom(kind(metadata, token), Cow::Borrowed(token)),
            Json::Token(token) => Content::Atom(AtomKind::Unquoted, Cow::Borrowed(token)),
            Json::Object(_) => Content::Table(self.entries(data, metadata)?),
            Json::Array(elements) => {
                let children = children(metadata)?;
                let mut values = Vec::with_capacity(elements.len());
                // The keys are "0", "1", ... in this order.
                for (index, element) in elements.iter().enumerate() {
                    let value = match children.get(index) {
                        Some((_, metadata)) => self.value(element, metadata),
                        None => Err(wrong("", "has no metadata")),
                    };
                    values.push(value.map_err(|error| error.within(&index.to_string()))?);
                }
                Content::Sequence(values)
            }
        };
        let protection = [Protection::Ignore, Protection::Error]
            .into_iter()
            .find(|p| p.keyword() == metadata.get("protection").and_then(Json::str))
            .unwrap_or_default();
        Ok(Value {
            content,
            line,
            protection,
        })
    }

    /// Keeps the comment and the annotation of a value, and gives its line.
    fn line(&mut self, metadata: &'j Json<'j>) -> u32 {
        for field in ["comment", "annotation"] {
            self.line += 1;
            let comment = metadata.get(field).and_then(Json::str).unwrap_or_default();
            if !comment.is_empty() {
                self.comments.push(Comment {
                    line: self.line,
                    text: Cow::Borrowed(comment),
                });
            }
        }
        self.line
    }
}

fn children<'j>(metadata: &'j Json<'j>) -> Result<&'j [(Cow<'j, str>, Json<'j>)]> {
    match metadata.get("children") {
        Some(Json::Object(children)) => Ok(children),
        _ => Err(wrong("", "has metadata without children")),
    }
}

fn wrong(path: &str, problem: &'static str) -> DocumentError {
    DocumentError::NotADocument {
        path: path.to_owned(),
        problem,
    }
}

fn is_key(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The kind of a scalar. A plain `string`, or none, is how editors of
/// configurations leave them: such a one gets quotes where it needs them.
fn kind(metadata: &Json, token: &str) -> AtomKind {
    let name = metadata.get("type").and_then(Json::str).unwrap_or_default();
    const KINDS: [AtomKind; 8] = [
        AtomKind::Number,
        AtomKind::DoubleQuoted,
        AtomKind::Unquoted,
        AtomKind::Bool,
        AtomKind::SingleQuoted,
        AtomKind::Nil,
        AtomKind::Complex,
        AtomKind::TableId,
    ];
    let known = KINDS.into_iter().find(|kind| type_name(*kind) == name);
    known.unwrap_or_else(|| {
        if token.contains([' ', '.', '%', '(', ')', '/', '-', '\\']) {
            AtomKind::DoubleQuoted
        } else {
            AtomKind::Unquoted
        }
    })
}

/// The metadata of a table's entries. Names can repeat: the second of a name
/// in the data goes with the second in the metadata.
struct Children<'j> {
    children: &'j [(Cow<'j, str>, Json<'j>)],
    /// Where the next one is expected: as a rule they stand in the same order.
    at: usize,
    /// Where those of each name stand, the first one last; filled if the order
    /// is not the same.
    places: HashMap<&'j str, Vec<usize>>,
}

impl<'j> Children<'j> {
    fn new(children: &'j [(Cow<'j, str>, Json<'j>)]) -> Self {
        Children {
            children,
            at: 0,
            places: HashMap::new(),
        }
    }

    fn next(&mut self, key: &str) -> Option<&'j Json<'j>> {
        if self.places.is_empty() {
            if let Some((name, metadata)) = self.children.get(self.at)
                && name == key
            {
                self.at += 1;
                return Some(metadata);
            }
            let rest = self.children.iter().enumerate().skip(self.at).rev();
            for (place, (name, _)) in rest {
                self.places.entry(name).or_default().push(place);
            }
        }
        let place = self.places.get_mut(key)?.pop()?;
        Some(&self.children[place].1)
    }
}
