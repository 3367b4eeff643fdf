//! Writes a document straight from the syntax tree.

use std::iter::Zip;
use std::ops::RangeFrom;
use std::slice;

use super::plain;
use super::sink::{Key, Sink};
use super::text::Text;
use super::{DocumentHead, OUTSIDE};
use crate::fhicl::{
    AtomKind, Content, Document, Entry, INCLUDE_KEY, Protection, Remarks, SPLICE_KEY, Value,
};

/// The JSON of a document, as the real tools write it.
#[must_use]
pub fn write(head: &DocumentHead, document: &Document) -> String {
    let mut out = String::new();
    write_to(&mut Text::whole(&mut out), head, document);
    out
}

/// Writes a document.
pub(in crate::artdaqdb) fn write_to(
    sink: &mut impl Sink,
    head: &DocumentHead,
    document: &Document,
) {
    sink.expect(|| size(document));
    let mut writer = Writer {
        document,
        sink,
        splices: 0,
        remarks: Remarks::new(document),
    };
    writer.whole(head);
}

/// About as many bytes as a document's JSON takes, so that it is not copied over
/// and over as it grows.
pub(in crate::artdaqdb) fn size(document: &Document) -> usize {
    let comments = document.comments.iter().map(|c| c.text.len() * 2 + 40);
    let entries = document.prolog.iter().chain(&document.main).map(entry_size);
    2048 + comments.chain(entries).sum::<usize>()
}

fn entry_size(entry: &Entry) -> usize {
    let mut open = vec![slice::from_ref(entry).iter()];
    let mut values: Vec<&Value> = Vec::new();
    let mut size = 0;
    while let Some(entries) = open.pop() {
        for entry in entries {
            match entry {
                Entry::Assignment { name, value } => {
                    size += name.len() * 2 + 16;
                    values.push(value);
                }
                Entry::Include { file, .. } => size += file.len() + 200,
                Entry::Splice { reference, .. } => size += reference.len() + 200,
            }
        }
        while let Some(value) = values.pop() {
            match &value.content {
                Content::Atom(AtomKind::Number, text) => size += text.len() + 75,
                Content::Atom(_, text) => size += text.len() + 90,
                Content::Sequence(elements) => {
                    size += 100 + 11 * elements.len();
                    values.extend(elements);
                }
                Content::Table(entries) => {
                    size += 80;
                    open.push(entries.iter());
                }
            }
        }
    }
    size
}

const NAME: Key = Key::Known("name");
const TYPE: Key = Key::Known("type");
const COMMENT: Key = Key::Known("comment");
const ANNOTATION: Key = Key::Known("annotation");
const CHILDREN: Key = Key::Known("children");
const PROLOG: Key = Key::Known("prolog");
const MAIN: Key = Key::Known("main");

/// A table or sequence that is not written to its end yet.
enum Open<'d> {
    Table(slice::Iter<'d, Entry<'d>>),
    Sequence(Zip<RangeFrom<u32>, slice::Iter<'d, Value<'d>>>),
}

impl<'d> Open<'d> {
    fn sequence(values: &'d [Value<'d>]) -> Open<'d> {
        Open::Sequence((0..).zip(values))
    }
}

struct Writer<'d, S> {
    document: &'d Document<'d>,
    sink: &'d mut S,
    /// How many `@table::` there were up to here.
    splices: u32,
    remarks: Remarks<'d>,
}

impl<'d, S: Sink> Writer<'d, S> {
    fn whole(&mut self, head: &DocumentHead) {
        let document = self.document;
        self.sink.open_object(Key::None);
        self.sink.open_object(Key::Known("document"));
        self.sink.open_object(Key::Known("data"));
        self.data_table(PROLOG, &document.prolog);
        self.data_table(MAIN, &document.main);
        self.sink.close_object();
        self.splices = 0;
        self.sink.open_object(Key::Known("metadata"));
        self.part(PROLOG, "#prolog", &document.prolog);
        self.part(MAIN, "#main", &document.main);
        self.sink.close_object();
        self.empty_array("search");
        self.sink.close_object();
        self.comments();
        self.administration(head);
        self.sink.close_object();
    }

    fn part(&mut self, key: Key, comment: &str, entries: &'d [Entry<'d>]) {
        self.sink.open_object(key);
        self.sink.string(TYPE, "table");
        self.sink.string(COMMENT, comment);
        self.metadata_table(entries);
        self.sink.close_object();
    }

    fn comments(&mut self) {
        self.sink.open_array(Key::Known("comments"));
        if self.document.comments.is_empty() {
            self.comment(0, "No comments");
        }
        for comment in &self.document.comments {
            self.comment(comment.line, &comment.text);
        }
        self.sink.close_array();
    }

    fn comment(&mut self, line: u32, text: &str) {
        self.sink.open_object(Key::None);
        self.sink.number(Key::Known("linenum"), line);
        self.sink.string(Key::Known("value"), text);
        self.sink.close_object();
    }

    /// Writes the values of a part of the document, without recursion.
    fn data_table(&mut self, key: Key, entries: &'d [Entry<'d>]) {
        self.sink.open_object(key);
        let mut open = vec![Open::Table(entries.iter())];
        while let Some(innermost) = open.last_mut() {
            match innermost {
                Open::Table(entries) => match entries.next() {
                    Some(entry) => {
                        let key = self.key(entry);
                        match entry {
                            Entry::Assignment { value, .. } => self.data(key, value, &mut open),
                            Entry::Include { file, .. } => self.sink.string(key, file),
                            Entry::Splice { reference, .. } => self.sink.string(key, reference),
                        }
                    }
                    None => {
                        self.sink.close_object();
                        open.pop();
                    }
                },
                Open::Sequence(elements) => match elements.next() {
                    Some((_, element)) => self.data(Key::None, element, &mut open),
                    None => {
                        self.sink.close_array();
                        open.pop();
                    }
                },
            }
        }
    }

    /// Writes a scalar, or the beginning of another value.
    fn data(&mut self, key: Key, value: &'d Value<'d>, open: &mut Vec<Open<'d>>) {
        match &value.content {
            Content::Atom(_, text) => self.sink.string(key, text),
            Content::Table(entries) => {
                self.sink.open_object(key);
                open.push(Open::Table(entries.iter()));
            }
            Content::Sequence(values) => {
                self.sink.open_array(key);
                open.push(Open::sequence(values));
            }
        }
    }

    /// Writes the metadata of a table's entries, its `children`.
    fn metadata_table(&mut self, entries: &'d [Entry<'d>]) {
        self.sink.open_object(CHILDREN);
        let mut open = vec![Open::Table(entries.iter())];
        while let Some(innermost) = open.last_mut() {
            let next = match innermost {
                Open::Table(entries) => entries.next().map(|entry| self.entry_metadata(entry)),
                Open::Sequence(elements) => elements
                    .next()
                    .map(|(index, element)| self.metadata(Key::Numbered("", index), element)),
            };
            match next {
                Some(inside) => open.extend(inside),
                None => {
                    self.sink.close_object();
                    open.pop();
                    // The metadata whose `children` these were.
                    if !open.is_empty() {
                        self.sink.close_object();
                    }
                }
            }
        }
    }

    /// Writes the metadata of an entry; if it has `children`, up to these, which
    /// are returned.
    fn entry_metadata(&mut self, entry: &'d Entry<'d>) -> Option<Open<'d>> {
        let key = self.key(entry);
        match entry {
            Entry::Assignment { value, .. } => return self.metadata(key, value),
            Entry::Include { outside, .. } => {
                self.sink.open_object(key);
                self.describe("string_doublequoted", "", Some(""));
                if *outside {
                    self.sink.boolean(Key::Known(OUTSIDE), true);
                }
            }
            Entry::Splice { line, .. } => {
                let comment = self.remarks.comment(*line);
                let annotation = self.remarks.annotation(*line);
                self.sink.open_object(key);
                self.describe("string_unquoted", comment, Some(annotation));
            }
        }
        self.sink.close_object();
        None
    }

    fn metadata(&mut self, key: Key, value: &'d Value<'d>) -> Option<Open<'d>> {
        let comment = self.remarks.comment(value.line);
        let annotation = self.remarks.annotation(value.line);
        if let Content::Atom(kind, _) = value.content
            && value.protection == Protection::None
            && comment.is_empty()
            && annotation.is_empty()
        {
            // As most values are.
            self.sink.plain(key, plain::of(kind));
            return None;
        }
        self.sink.open_object(key);
        match &value.content {
            Content::Atom(kind, _) => self.describe(plain::name(*kind), comment, Some(annotation)),
            Content::Sequence(_) => self.describe("sequence", comment, Some(annotation)),
            Content::Table(_) => self.describe("table", comment, None),
        }
        if let Some(keyword) = value.protection.keyword() {
            self.sink.string(Key::Known("protection"), keyword);
        }
        let inside = match &value.content {
            Content::Atom(..) => {
                self.sink.close_object();
                return None;
            }
            Content::Table(entries) => Open::Table(entries.iter()),
            Content::Sequence(values) => Open::sequence(values),
        };
        self.sink.open_object(CHILDREN);
        Some(inside)
    }

    fn describe(&mut self, kind: &str, comment: &str, annotation: Option<&str>) {
        self.sink.string(TYPE, kind);
        self.sink.string(COMMENT, comment);
        if let Some(annotation) = annotation {
            self.sink.string(ANNOTATION, annotation);
        }
    }

    fn key<'e>(&mut self, entry: &'e Entry) -> Key<'e> {
        match entry {
            Entry::Assignment { name, .. } => Key::Name(name),
            Entry::Include { number, .. } => Key::Numbered(INCLUDE_KEY, *number),
            Entry::Splice { .. } => {
                let number = self.splices;
                self.splices += 1;
                Key::Numbered(SPLICE_KEY, number)
            }
        }
    }

    /// What follows the FHiCL: whose it is, and when that was said.
    fn administration(&mut self, head: &DocumentHead) {
        let run = head.run.to_string();
        let time = head.time;
        self.sink.open_object(Key::Known("origin"));
        self.sink.string(Key::Known("format"), "fhicl");
        self.sink.string(NAME, head.entity);
        self.sink.string(Key::Known("source"), "fhicl_to_json");
        self.sink.string(Key::Known("timestamp"), time);
        self.sink.string(Key::Known("created"), time);
        self.empty_array("rawdata");
        self.sink.close_object();
        self.sink.string(Key::Known("version"), head.version);
        self.assigned_array("entities", head.entity, time);
        self.assigned_array("configurations", head.version, time);
        self.sink.string(Key::Known("changelog"), "notprovided");
        self.sink.open_object(Key::Known("bookkeeping"));
        self.sink.boolean(Key::Known("isdeleted"), false);
        self.sink.boolean(Key::Known("isreadonly"), false);
        self.sink.open_array(Key::Known("updates"));
        for (event, name) in [
            ("addConfiguration", head.version),
            ("setVersion", head.version),
            ("setCollection", head.collection),
            ("addEntity", head.entity),
            ("addRun", &run),
        ] {
            self.sink.open_object(Key::None);
            self.sink.string(Key::Known("event"), event);
            self.sink.string(Key::Known("timestamp"), time);
            self.assigned(Key::Known("value"), name, time);
            self.sink.close_object();
        }
        self.sink.close_array();
        self.sink.string(Key::Known("created"), time);
        self.sink.close_object();
        self.sink.identity(head.oid);
        self.sink.string(Key::Known("collection"), head.collection);
        self.sink.open_object(Key::Known("aliases"));
        self.empty_array("active");
        self.empty_array("history");
        self.sink.close_object();
        self.assigned_array("runs", &run, time);
        self.empty_array("attachments");
        self.sink.string(Key::Known("configtype"), "notprovided");
    }

    fn assigned_array(&mut self, key: &'static str, name: &str, time: &str) {
        self.sink.open_array(Key::Known(key));
        self.assigned(Key::None, name, time);
        self.sink.close_array();
    }

    fn assigned(&mut self, key: Key, name: &str, time: &str) {
        self.sink.open_object(key);
        self.sink.string(NAME, name);
        self.sink.string(Key::Known("assigned"), time);
        self.sink.close_object();
    }

    fn empty_array(&mut self, key: &'static str) {
        self.sink.open_array(Key::Known(key));
        self.sink.close_array();
    }
}
