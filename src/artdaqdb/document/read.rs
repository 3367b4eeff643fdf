//! Reads a document and regenerates its FHiCL, which is written as data and metadata
//! are read in step: nothing is kept of them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::{Kind, Node};
use super::{Assigned, DocumentError, OUTSIDE, StoredDocument};
use super::{json, plain};
use crate::fhicl::{AtomKind, INCLUDE_KEY, Protection, SPLICE_KEY, Writer, comment_above};

/// About how many bytes of a document stand for one of its FHiCL.
const BYTES_PER_BYTE: usize = 8;

type Result<T> = std::result::Result<T, DocumentError>;

/// Reads a document of artdaqDB.
///
/// # Errors
/// What is not JSON, what has no FHiCL in it, and data without its metadata.
/// What belongs to the document's administration may lack.
pub fn read(json: &str) -> Result<StoredDocument> {
    read_node(json::check(json)?.root(), json.len())
}

/// Reads a document of so many bytes, as [`read`] does.
pub(in crate::artdaqdb) fn read_node<'d>(
    root: impl Node<'d>,
    bytes: usize,
) -> Result<StoredDocument> {
    let mut text_of_it = Writer::with_capacity(bytes / BYTES_PER_BYTE);
    write_fhicl(root, &mut text_of_it)?;
    let mut fhicl = text_of_it.finish();
    // It waits with those of the whole run.
    fhicl.shrink_to_fit();
    Ok(StoredDocument {
        oid: text(root.get("_id").and_then(|id| id.get("$oid"))),
        collection: text(root.get("collection")),
        version: text(root.get("version")),
        entities: names(root.get("entities")),
        configurations: assigned(root.get("configurations")),
        runs: names(root.get("runs")),
        aliases_active: names(root.get("aliases").and_then(|a| a.get("active"))),
        text: fhicl,
    })
}

fn text<'d>(value: Option<impl Node<'d>>) -> String {
    value.and_then(Node::text).unwrap_or_default().into_owned()
}

fn assigned<'d>(list: Option<impl Node<'d>>) -> Vec<Assigned> {
    list.into_iter()
        .flat_map(Node::elements)
        .map(|item| Assigned {
            name: text(item.get("name")),
            assigned: text(item.get("assigned")),
        })
        .collect()
}

fn names<'d>(list: Option<impl Node<'d>>) -> Vec<String> {
    assigned(list).into_iter().map(|item| item.name).collect()
}

/// Writes the FHiCL of a document: its prolog, and its main part.
fn write_fhicl<'d, N: Node<'d>>(root: N, out: &mut Writer) -> Result<()> {
    let part = |kind, name| {
        let part = root.get("document").and_then(|d| d.get(kind)?.get(name));
        part.ok_or_else(|| wrong(&format!("document.{kind}.{name}"), "is missing"))
    };
    for name in ["prolog", "main"] {
        let data = part("data", name)?;
        let metadata = Metadata::of(part("metadata", name)?);
        let mut reader = Reader {
            out: &mut *out,
            open: Vec::new(),
            is_prolog: name == "prolog",
        };
        reader
            .part(data, &metadata)
            .map_err(|error| error.within(name).within("document.data"))?;
        out.end_prolog();
    }
    Ok(())
}

/// Reads one part of a document.
struct Reader<'d, 'w, N: Node<'d>> {
    out: &'w mut Writer,
    /// The tables and sequences that are not read to their ends yet, the innermost last.
    open: Vec<Open<'d, N>>,
    is_prolog: bool,
}

impl<'d, N: Node<'d>> Reader<'d, '_, N> {
    fn part(&mut self, data: N, metadata: &Metadata<'d, N>) -> Result<()> {
        let Kind::Object(members) = data.kind() else {
            return Err(wrong("", "is not an object"));
        };
        self.open.push(Open::table(members, metadata)?);
        self.nested().map_err(|error| {
            let around = self.open.iter().rev();
            around.fold(error, |error, open| error.within(&open.name()))
        })
    }

    /// Reads what is in the one table that is open, without recursion.
    fn nested(&mut self) -> Result<()> {
        loop {
            let depth = self.open.len();
            match self.open.last_mut() {
                None => return Ok(()),
                Some(Open::Table(table)) => match table.next()? {
                    Some((value, metadata)) => self.entry(value, &metadata, depth == 1)?,
                    None => {
                        if depth > 1 {
                            self.out.end_table();
                        }
                        self.open.pop();
                    }
                },
                Some(Open::Sequence(sequence)) => match sequence.next()? {
                    Some((element, metadata)) => {
                        if sequence.begun > 1 {
                            self.out.next_element();
                        }
                        self.value(element, &metadata)?;
                    }
                    None => {
                        self.out.end_sequence(&sequence.annotation);
                        self.open.pop();
                    }
                },
            }
        }
    }

    /// Writes an entry of the innermost table; if its value is a table or sequence,
    /// only its beginning.
    fn entry(&mut self, value: N, metadata: &Metadata<'d, N>, is_outermost: bool) -> Result<()> {
        let Some(Open::Table(table)) = self.open.last() else {
            return Ok(());
        };
        let key = &*table.key;
        let is_in_prolog = self.is_prolog && is_outermost;
        if is_key(key, INCLUDE_KEY)
            && let Kind::String(file) = value.kind()
        {
            if is_in_prolog {
                self.out.prolog_entry(metadata.is_outside);
            }
            self.out.include(&file);
            return Ok(());
        }
        if is_in_prolog {
            self.out.prolog_entry(false);
        }
        let comment = comment_above(&metadata.comment);
        if is_key(key, SPLICE_KEY)
            && let Kind::String(reference) = value.kind()
            && reference.starts_with("@table::")
        {
            self.out.splice(comment, &reference, &metadata.annotation);
            return Ok(());
        }
        self.out.begin_entry(comment, key, metadata.protection);
        if self.value(value, metadata)? {
            self.out.annotation(&metadata.annotation);
        }
        Ok(())
    }

    /// Writes a scalar, or the beginning of another value. Returns whether it is a scalar.
    fn value(&mut self, value: N, metadata: &Metadata<'d, N>) -> Result<bool> {
        match value.kind() {
            Kind::String(token) => self.out.atom(metadata.kind(&token), &token),
            Kind::Token(token) => self.out.atom(AtomKind::Unquoted, token),
            Kind::Object(members) => {
                let table = Open::table(members, metadata)?;
                self.out.begin_table();
                self.open.push(table);
                return Ok(false);
            }
            Kind::Array(elements) => {
                let sequence = Open::sequence(elements, metadata)?;
                self.out.begin_sequence();
                self.open.push(sequence);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A table or sequence that is not read to its end yet.
enum Open<'d, N: Node<'d>> {
    Table(Table<'d, N>),
    Sequence(Sequence<'d, N>),
}

struct Table<'d, N: Node<'d>> {
    members: N::Members,
    children: Children<'d, N>,
    /// The name of the entry that is read.
    key: Cow<'d, str>,
}

struct Sequence<'d, N: Node<'d>> {
    elements: N::Members,
    /// The keys are "0", "1", ... in this order.
    children: N::Members,
    /// How many elements are read, the one that is being read included.
    begun: usize,
    annotation: Cow<'d, str>,
}

impl<'d, N: Node<'d>> Open<'d, N> {
    fn table(members: N::Members, metadata: &Metadata<'d, N>) -> Result<Open<'d, N>> {
        Ok(Open::Table(Table {
            members,
            children: Children::new(metadata.children()?),
            key: Cow::Borrowed(""),
        }))
    }

    fn sequence(elements: N::Members, metadata: &Metadata<'d, N>) -> Result<Open<'d, N>> {
        Ok(Open::Sequence(Sequence {
            elements,
            children: metadata.children()?,
            begun: 0,
            annotation: metadata.annotation.clone(),
        }))
    }

    /// The name or number of what is read in it.
    fn name(&self) -> Cow<'_, str> {
        match self {
            Open::Table(table) => Cow::Borrowed(&table.key),
            Open::Sequence(sequence) => Cow::Owned(sequence.begun.saturating_sub(1).to_string()),
        }
    }
}

impl<'d, N: Node<'d>> Table<'d, N> {
    /// The next value, whose name is then `key`.
    fn next(&mut self) -> Result<Option<(N, Metadata<'d, N>)>> {
        let Some((key, value)) = self.members.next() else {
            return Ok(None);
        };
        self.key = key;
        match self.children.next(&self.key) {
            Some(metadata) => Ok(Some((value, Metadata::of(metadata)))),
            None => Err(wrong("", "has no metadata")),
        }
    }
}

impl<'d, N: Node<'d>> Sequence<'d, N> {
    fn next(&mut self) -> Result<Option<(N, Metadata<'d, N>)>> {
        let Some((_, element)) = self.elements.next() else {
            return Ok(None);
        };
        self.begun += 1;
        match self.children.next() {
            Some((_, metadata)) => Ok(Some((element, Metadata::of(metadata)))),
            None => Err(wrong("", "has no metadata")),
        }
    }
}

/// What a document says of a value beside the value itself. Of members that
/// repeat the first counts.
struct Metadata<'d, N> {
    kind: Option<AtomKind>,
    comment: Cow<'d, str>,
    annotation: Cow<'d, str>,
    protection: Protection,
    is_outside: bool,
    children: Option<N>,
}

impl<'d, N: Node<'d>> Metadata<'d, N> {
    fn of(node: N) -> Metadata<'d, N> {
        let mut metadata = Metadata {
            kind: None,
            comment: Cow::Borrowed(""),
            annotation: Cow::Borrowed(""),
            protection: Protection::None,
            is_outside: false,
            children: None,
        };
        if let Some(plain) = node.plain() {
            metadata.kind = Some(plain.kind);
            return metadata;
        }
        let [
            mut kind,
            mut comment,
            mut annotation,
            mut protection,
            mut outside,
        ] = [None; 5];
        for (key, value) in node.members().into_iter().flatten() {
            let field = match &*key {
                "type" => &mut kind,
                "comment" => &mut comment,
                "annotation" => &mut annotation,
                "protection" => &mut protection,
                "children" => &mut metadata.children,
                OUTSIDE => &mut outside,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        let text = |field: Option<N>| field.and_then(Node::text).unwrap_or_default();
        metadata.kind = plain::kind(&text(kind));
        metadata.comment = text(comment);
        metadata.annotation = text(annotation);
        let keyword = text(protection);
        metadata.protection = [Protection::Ignore, Protection::Error]
            .into_iter()
            .find(|protection| protection.keyword() == Some(&*keyword))
            .unwrap_or_default();
        metadata.is_outside = outside.is_some();
        metadata
    }

    /// The kind of a scalar. A plain `string`, or none, is how editors of
    /// configurations leave them: such a one gets quotes where it needs them.
    fn kind(&self, token: &str) -> AtomKind {
        self.kind.unwrap_or_else(|| {
            if token.contains([' ', '.', '%', '(', ')', '/', '-', '\\']) {
                AtomKind::DoubleQuoted
            } else {
                AtomKind::Unquoted
            }
        })
    }

    fn children(&self) -> Result<N::Members> {
        self.children
            .and_then(Node::members)
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

/// The metadata of a table's entries. Names can repeat: the second of a name
/// in the data goes with the second in the metadata.
struct Children<'d, N: Node<'d>> {
    /// As a rule they stand in the order of the data.
    rest: N::Members,
    /// The rest by their names, the first of a name last; filled if the order is
    /// not the same.
    by_name: HashMap<Cow<'d, str>, Vec<N>>,
}

impl<'d, N: Node<'d>> Children<'d, N> {
    fn new(children: N::Members) -> Self {
        Children {
            rest: children,
            by_name: HashMap::new(),
        }
    }

    fn next(&mut self, key: &str) -> Option<N> {
        if self.by_name.is_empty() {
            let (name, metadata) = self.rest.next()?;
            if name == key {
                return Some(metadata);
            }
            let mut members = vec![(name, metadata)];
            members.extend(&mut self.rest);
            for (name, metadata) in members.into_iter().rev() {
                self.by_name.entry(name).or_default().push(metadata);
            }
        }
        self.by_name.get_mut(key)?.pop()
    }
}
