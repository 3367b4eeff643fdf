//! The text that artdaqDB gives back for a document. Production's blobs hold
//! it, so its layout is part of the format: every entry begins with a line for
//! its comment, empty or not; a scalar or sequence ends with a blank, its
//! annotation and a line end; a table ends right after its `}`.

use std::slice;

use super::remarks::Remarks;
use super::tree::{AtomKind, Content, Document, Entry, Protection, Value};

/// Writes a document as the text that artdaqDB gives back for it.
#[must_use]
pub fn write(document: &Document) -> String {
    let mut writer = TreeWriter {
        remarks: Remarks::new(document),
        out: Writer::default(),
    };
    writer.document(document);
    writer.out.finish()
}

/// Writes FHiCL as artdaqDB lays it out, piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
    is_in_prolog: bool,
}

impl Writer {
    /// For a text of about so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Writer {
        Writer {
            out: String::with_capacity(bytes),
            is_in_prolog: false,
        }
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Begins or ends a block of the prolog, as the next of the prolog's entries needs
    /// it: it `is_outside`, or not.
    pub(crate) fn prolog_entry(&mut self, is_outside: bool) {
        if self.is_in_prolog && is_outside {
            self.end_prolog();
        } else if !self.is_in_prolog && !is_outside {
            self.out.push_str("BEGIN_PROLOG\n");
            self.is_in_prolog = true;
        }
    }

    /// Ends the prolog.
    pub(crate) fn end_prolog(&mut self) {
        if std::mem::take(&mut self.is_in_prolog) {
            self.out.push_str("\nEND_PROLOG\n");
        }
    }

    /// Begins an entry; its value follows.
    pub(crate) fn begin_entry(&mut self, comment: &str, name: &str, protection: Protection) {
        self.comment(comment);
        self.out.push_str(name);
        if let Some(keyword) = protection.keyword() {
            self.out.push(' ');
            self.out.push_str(keyword);
        }
        self.out.push_str(": ");
    }

    /// Writes an `#include`.
    pub(crate) fn include(&mut self, file: &str) {
        self.out.push_str(" \n#include \"");
        self.out.push_str(file);
        self.out.push_str("\" \n");
    }

    /// Writes an `@table::`.
    pub(crate) fn splice(&mut self, comment: &str, reference: &str, annotation: &str) {
        self.comment(comment);
        self.out.push_str(reference);
        self.annotation(annotation);
    }

    /// Writes a scalar. That of an entry is followed by its annotation.
    pub(crate) fn atom(&mut self, kind: AtomKind, text: &str) {
        let quote = match kind {
            AtomKind::DoubleQuoted => "\"",
            AtomKind::SingleQuoted => "'",
            _ => "",
        };
        self.out.push_str(quote);
        self.out.push_str(text);
        self.out.push_str(quote);
    }

    pub(crate) fn begin_table(&mut self) {
        self.out.push_str("{\n");
    }

    pub(crate) fn end_table(&mut self) {
        self.out.push_str("\n}");
    }

    pub(crate) fn begin_sequence(&mut self) {
        self.out.push('[');
    }

    /// Writes what stands before an element that is not the first.
    pub(crate) fn next_element(&mut self) {
        self.out.push_str(", ");
    }

    /// Ends a sequence with its annotation, inside another sequence too, where a
    /// scalar has none.
    pub(crate) fn end_sequence(&mut self, annotation: &str) {
        self.out.push(']');
        self.annotation(annotation);
    }

    fn comment(&mut self, comment: &str) {
        self.out.push_str(comment);
        self.out.push('\n');
    }

    pub(crate) fn annotation(&mut self, annotation: &str) {
        self.out.push(' ');
        self.out.push_str(annotation);
        self.out.push('\n');
    }
}

struct TreeWriter<'d> {
    remarks: Remarks<'d>,
    out: Writer,
}

/// A table or sequence that is not written to its end yet.
enum Open<'d> {
    Table(slice::Iter<'d, Entry<'d>>),
    Sequence {
        elements: slice::Iter<'d, Value<'d>>,
        is_first: bool,
        line: u32,
    },
}

impl<'d> TreeWriter<'d> {
    fn document(&mut self, document: &'d Document<'d>) {
        for entry in &document.prolog {
            let is_outside = matches!(entry, Entry::Include { outside: true, .. });
            self.out.prolog_entry(is_outside);
            self.entry(entry);
        }
        self.out.end_prolog();
        for entry in &document.main {
            self.entry(entry);
        }
    }

    /// Writes an entry, without recursion.
    fn entry(&mut self, entry: &'d Entry<'d>) {
        let mut open = Vec::new();
        self.begin_entry(entry, &mut open);
        while let Some(innermost) = open.last_mut() {
            match innermost {
                Open::Table(entries) => match entries.next() {
                    Some(entry) => self.begin_entry(entry, &mut open),
                    None => {
                        self.out.end_table();
                        open.pop();
                    }
                },
                Open::Sequence {
                    elements,
                    is_first,
                    line,
                } => match elements.next() {
                    Some(element) => {
                        if !std::mem::take(is_first) {
                            self.out.next_element();
                        }
                        self.begin_value(element, &mut open);
                    }
                    None => {
                        self.out.end_sequence(self.remarks.annotation(*line));
                        open.pop();
                    }
                },
            }
        }
    }

    fn begin_entry(&mut self, entry: &'d Entry<'d>, open: &mut Vec<Open<'d>>) {
        match entry {
            Entry::Assignment { name, value } => {
                let comment = self.remarks.comment(value.line);
                self.out.begin_entry(comment, name, value.protection);
                self.begin_value(value, open);
                if matches!(value.content, Content::Atom(..)) {
                    self.out.annotation(self.remarks.annotation(value.line));
                }
            }
            Entry::Include { file, .. } => self.out.include(file),
            Entry::Splice { reference, line } => {
                let comment = self.remarks.comment(*line);
                let annotation = self.remarks.annotation(*line);
                self.out.splice(comment, reference, annotation);
            }
        }
    }

    /// Writes a scalar, or the beginning of another value.
    fn begin_value(&mut self, value: &'d Value<'d>, open: &mut Vec<Open<'d>>) {
        match &value.content {
            Content::Atom(kind, text) => self.out.atom(*kind, text),
            Content::Sequence(elements) => {
                self.out.begin_sequence();
                open.push(Open::Sequence {
                    elements: elements.iter(),
                    is_first: true,
                    line: value.line,
                });
            }
            Content::Table(entries) => {
                self.out.begin_table();
                open.push(Open::Table(entries.iter()));
            }
        }
    }
}
