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
            ambiguities: Vec::new(),
        })
    }

    fn entries(
        &mut self,
        members: Members<'j>,
        count: usize,
        metadata: &Metadata<'j>,
    ) -> Result<Vec<Entry<'j>>> {
        let mut open = vec![Open::table(members, count, metadata, 0)?];
        self.nested(&mut open).map_err(|error| {
            let around = open.iter().rev();
            around.fold(error, |error, open| error.within(&open.name()))
        })
    }

    /// Reads the entries of the one table that is open, without recursion.
    fn nested(&mut self, open: &mut Vec<Open<'j>>) -> Result<Vec<Entry<'j>>> {
        loop {
            let next = match open.last_mut() {
                Some(Open::Table(table)) => match self.next_entry(table)? {
                    Next::Entry(entry) => {
                        table.entries.push(entry);
                        continue;
                    }
                    Next::Value(value, metadata) => Some((value, metadata)),
                    Next::End => None,
                },
                Some(Open::Sequence(sequence)) => sequence.next()?,
                None => None,
            };
            let value = match next {
                Some((data, metadata)) => {
                    let line = self.line(&metadata);
                    let content = match data.kind() {
                        Kind::String(token) => {
                            let kind = kind(borrowed(metadata.kind), token);
                            Content::Atom(kind, Cow::Borrowed(token))
                        }
                        Kind::Token(token) => {
                            Content::Atom(AtomKind::Unquoted, Cow::Borrowed(token))
                        }
                        Kind::Object(members) => {
                            open.push(Open::table(members, data.count(), &metadata, line)?);
                            continue;
                        }
                        Kind::Array(elements) => {
                            open.push(Open::sequence(elements, data.count(), &metadata, line)?);
                            continue;
                        }
                    };
                    Value {
                        content,
                        line,
                        protection: metadata.protection(),
                    }
                }
                None => match open.pop() {
                    Some(Open::Table(table)) if open.is_empty() => return Ok(table.entries),
                    Some(Open::Table(table)) => Value {
                        content: Content::Table(table.entries),
                        line: table.line,
                        protection: table.protection,
                    },
                    Some(Open::Sequence(sequence)) => Value {
                        content: Content::Sequence(sequence.values),
                        line: sequence.line,
                        protection: sequence.protection,
                    },
                    None => return Ok(Vec::new()),
                },
            };
            match open.last_mut() {
                Some(Open::Table(table)) => table.entries.push(Entry::Assignment {
                    name: Cow::Borrowed(table.key),
                    value,
                }),
                Some(Open::Sequence(sequence)) => sequence.values.push(value),
                None => {}
            }
        }
    }

    fn next_entry(&mut self, table: &mut OpenTable<'j>) -> Result<Next<'j>> {
        let Some((key, value)) = table.members.next() else {
            return Ok(Next::End);
        };
        table.key = key;
        let metadata = table
            .children
            .next(key)
            .map(Metadata::of)
            .ok_or_else(|| wrong("", "has no metadata"))?;
        Ok(match value.kind() {
            Kind::String(file) if is_key(key, INCLUDE_KEY) => Next::Entry(Entry::Include {
                file: Cow::Borrowed(file),
                number: 0,
                outside: metadata.outside.is_some(),
            }),
            Kind::String(reference)
                if is_key(key, SPLICE_KEY) && reference.starts_with("@table::") =>
            {
                Next::Entry(Entry::Splice {
                    reference: Cow::Borrowed(reference),
                    line: self.line(&metadata),
                })
            }
            _ => Next::Value(value, metadata),
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

/// What comes next in a table.
enum Next<'j> {
    /// An include or an `@table::`.
    Entry(Entry<'j>),
    /// The value of an assignment.
    Value(Json<'j>, Metadata<'j>),
    End,
}

/// A table or sequence that is not read to its end yet.
enum Open<'j> {
    Table(OpenTable<'j>),
    Sequence(OpenSequence<'j>),
}

struct OpenTable<'j> {
    members: Members<'j>,
    children: Children<'j>,
    entries: Vec<Entry<'j>>,
    /// The name of the entry that is read.
    key: &'j str,
    line: u32,
    protection: Protection,
}

struct OpenSequence<'j> {
    elements: Members<'j>,
    /// The keys are "0", "1", ... in this order.
    children: Members<'j>,
    values: Vec<Value<'j>>,
    line: u32,
    protection: Protection,
}

impl<'j> Open<'j> {
    fn table(
        members: Members<'j>,
        count: usize,
        metadata: &Metadata<'j>,
        line: u32,
    ) -> Result<Open<'j>> {
        Ok(Open::Table(OpenTable {
            members,
            children: Children::new(metadata.children()?),
            entries: Vec::with_capacity(count),
            key: "",
            line,
            protection: metadata.protection(),
        }))
    }

    fn sequence(
        elements: Members<'j>,
        count: usize,
        metadata: &Metadata<'j>,
        line: u32,
    ) -> Result<Open<'j>> {
        Ok(Open::Sequence(OpenSequence {
            elements,
            children: metadata.children()?,
            values: Vec::with_capacity(count),
            line,
            protection: metadata.protection(),
        }))
    }

    /// The name or number of what is read in it.
    fn name(&self) -> String {
        match self {
            Open::Table(table) => table.key.to_owned(),
            Open::Sequence(sequence) => sequence.values.len().to_string(),
        }
    }
}

impl<'j> OpenSequence<'j> {
    fn next(&mut self) -> Result<Option<(Json<'j>, Metadata<'j>)>> {
        let Some((_, element)) = self.elements.next() else {
            return Ok(None);
        };
        match self.children.next() {
            Some((_, metadata)) => Ok(Some((element, Metadata::of(metadata)))),
            None => Err(wrong("", "has no metadata")),
        }
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
