//! Reads a document and regenerates its FHiCL.

use std::borrow::Cow;
use std::collections::HashMap;

use super::tree::{Json, Kind, Members, Tree};
use super::{Assigned, DocumentError, OUTSIDE, StoredDocument};
use super::{json, plain};
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
pub(in crate::artdaqdb) fn read_tree(tree: &Tree) -> Result<StoredDocument> {
    let root = tree.root();
    let document = Reader::default().document(root)?;
    Ok(StoredDocument {
        oid: text(root.get("_id").and_then(|id| id.get("$oid"))),
        collection: text(root.get("collection")),
        version: text(root.get("version")),
        entities: names(root.get("entities")),
        configurations: assigned(root.get("configurations")),
        runs: names(root.get("runs")),
        aliases_active: names(root.get("aliases").and_then(|a| a.get("active"))),
        text: fhicl::write(&document),
    })
}

fn borrowed<'j>(value: Option<Json<'j>>) -> &'j str {
    value.and_then(Json::str).unwrap_or_default()
}

fn text(value: Option<Json>) -> String {
    borrowed(value).to_owned()
}

fn assigned(list: Option<Json>) -> Vec<Assigned> {
    list.into_iter()
        .flat_map(Json::elements)
        .map(|item| Assigned {
            name: text(item.get("name")),
            assigned: text(item.get("assigned")),
        })
        .collect()
}

fn names(list: Option<Json>) -> Vec<String> {
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
    fn document(mut self, root: Json<'j>) -> Result<Document<'j>> {
        let part = |kind, name| {
            let part = root.get("document").and_then(|d| d.get(kind)?.get(name));
            part.ok_or_else(|| {
                let path = format!("document.{kind}.{name}");
                wrong(&path, "is missing")
            })
        };
        let mut parts = Vec::new();
        for name in ["prolog", "main"] {
            let data = part("data", name)?;
            let metadata = Metadata::of(part("metadata", name)?);
            let entries = match data.kind() {
                Kind::Object(members) => self.entries(members, data.count(), &metadata),
                _ => Err(wrong("", "is not an object")),
            };
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

    fn entries(
        &mut self,
        members: Members<'j>,
        count: usize,
        metadata: &Metadata<'j>,
    ) -> Result<Vec<Entry<'j>>> {
        let mut children = Children::new(metadata.children()?);
        let mut entries = Vec::with_capacity(count);
        for (key, value) in members {
            let metadata = children
                .next(key)
                .map(Metadata::of)
                .ok_or_else(|| wrong(key, "has no metadata"))?;
            entries.push(match value.kind() {
                Kind::String(file) if is_key(key, INCLUDE_KEY) => Entry::Include {
                    file: Cow::Borrowed(file),
                    number: 0,
                    outside: metadata.outside.is_some(),
                },
                Kind::String(reference)
                    if is_key(key, SPLICE_KEY) && reference.starts_with("@table::") =>
                {
                    Entry::Splice {
                        reference: Cow::Borrowed(reference),
                        line: self.line(&metadata),
                    }
                }
                _ => Entry::Assignment {
                    name: Cow::Borrowed(key),
                    value: self
                        .value(value, &metadata)
                        .map_err(|error| error.within(key))?,
                },
            });
        }
        Ok(entries)
    }

    fn value(&mut self, data: Json<'j>, metadata: &Metadata<'j>) -> Result<Value<'j>> {
        let line = self.line(metadata);
        let content = match data.kind() {
            Kind::String(token) => {
                Content::Atom(kind(borrowed(metadata.kind), token), Cow::Borrowed(token))
            }
            Kind::Token(token) => Content::Atom(AtomKind::Unquoted, Cow::Borrowed(token)),
            Kind::Object(members) => {
                Content::Table(self.entries(members, data.count(), metadata)?)
            }
            Kind::Array(_) => {
                // The keys are "0", "1", ... in this order.
                let mut children = metadata.children()?;
                let mut values = Vec::with_capacity(data.count());
                for (index, element) in data.elements().enumerate() {
                    let value = match children.next() {
                        Some((_, metadata)) => self.value(element, &Metadata::of(metadata)),
                        None => Err(wrong("", "has no metadata")),
                    };
                    values.push(value.map_err(|error| error.within(&index.to_string()))?);
                }
                Content::Sequence(values)
            }
        };
        Ok(Value {
            content,
            line,
            protection: metadata.protection(),
        })
    }

    /// Keeps the comment and the annotation of a value, and gives its line.
    fn line(&mut self, metadata: &Metadata<'j>) -> u32 {
        for comment in [metadata.comment, metadata.annotation].map(borrowed) {
            self.line += 1;
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

/// What a document says of a value beside the value itself. Of members that
/// repeat the first counts.
#[derive(Default)]
struct Metadata<'j> {
    kind: Option<Json<'j>>,
    comment: Option<Json<'j>>,
    annotation: Option<Json<'j>>,
    protection: Option<Json<'j>>,
    outside: Option<Json<'j>>,
    children: Option<Json<'j>>,
}

impl<'j> Metadata<'j> {
    fn of(json: Json<'j>) -> Metadata<'j> {
        let mut metadata = Metadata::default();
        for (key, value) in json.members().into_iter().flatten() {
            let field = match key {
                "type" => &mut metadata.kind,
                "comment" => &mut metadata.comment,
                "annotation" => &mut metadata.annotation,
                "protection" => &mut metadata.protection,
                "children" => &mut metadata.children,
                OUTSIDE => &mut metadata.outside,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        metadata
    }

    fn protection(&self) -> Protection {
        let keyword = self.protection.and_then(Json::str);
        [Protection::Ignore, Protection::Error]
            .into_iter()
            .find(|protection| keyword.is_some() && protection.keyword() == keyword)
            .unwrap_or_default()
    }

    fn children(&self) -> Result<Members<'j>> {
        self.children
            .and_then(Json::members)
            .ok_or_else(|| wrong("", "has metadata without children"))
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
fn kind(name: &str, token: &str) -> AtomKind {
    plain::kind(name).unwrap_or_else(|| {
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
    /// As a rule they stand in the order of the data.
    rest: Members<'j>,
    /// The rest by their names, the first of a name last; filled if the order is
    /// not the same.
    by_name: HashMap<&'j str, Vec<Json<'j>>>,
}

impl<'j> Children<'j> {
    fn new(children: Members<'j>) -> Self {
        Children {
            rest: children,
            by_name: HashMap::new(),
        }
    }

    fn next(&mut self, key: &str) -> Option<Json<'j>> {
        if self.by_name.is_empty() {
            let mut rest = self.rest.clone();
            if let Some((name, metadata)) = rest.next()
                && name == key
            {
                self.rest = rest;
                return Some(metadata);
            }
            let members: Vec<_> = self.rest.clone().collect();
            for (name, metadata) in members.into_iter().rev() {
                self.by_name.entry(name).or_default().push(metadata);
            }
        }
        self.by_name.get_mut(key)?.pop()
    }
}
