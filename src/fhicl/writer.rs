//! The text that artdaqDB gives back for a document. Production's blobs hold
//! it, so its layout is part of the format: every entry begins with a line for
//! its comment, empty or not; a scalar or sequence ends with a blank, its
//! annotation and a line end; a table ends right after its `}`.

use std::slice;

use super::remarks::Remarks;
use super::tree::{AtomKind, Content, Document, Entry, Value};

/// Writes a document as the text that artdaqDB gives back for it.
#[must_use]
pub fn write(document: &Document) -> String {
    let mut writer = Writer {
        document,
        remarks: Remarks::new(document),
        out: String::new(),
    };
    writer.prolog();
    for entry in &document.main {
        writer.entry(entry);
    }
    writer.out
}

struct Writer<'d> {
    document: &'d Document<'d>,
    remarks: Remarks<'d>,
    out: String,
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

impl<'d> Writer<'d> {
    fn prolog(&mut self) {
        let mut open = false;
        for entry in &self.document.prolog {
            let outside = matches!(entry, Entry::Include { outside: true, .. });
            if open == outside {
                self.out.push_str(if open {
                    "\nEND_PROLOG\n"
                } else {
                    "BEGIN_PROLOG\n"
                });
                open = !open;
            }
            self.entry(entry);
        }
        if open {
            self.out.push_str("\nEND_PROLOG\n");
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
                        self.out.push_str("\n}");
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
                            self.out.push_str(", ");
                        }
                        self.begin_value(element, &mut open);
                    }
                    None => {
                        let line = *line;
                        self.out.push(']');
                        self.annotation(line);
                        open.pop();
                    }
                },
            }
        }
    }

    fn begin_entry(&mut self, entry: &'d Entry<'d>, open: &mut Vec<Open<'d>>) {
        match entry {
            Entry::Assignment { name, value } => {
                self.comment(value.line);
                self.out.push_str(name);
                if let Some(keyword) = value.protection.keyword() {
                    self.out.push(' ');
                    self.out.push_str(keyword);
                }
                self.out.push_str(": ");
                self.begin_value(value, open);
                if matches!(value.content, Content::Atom(..)) {
                    self.annotation(value.line);
                }
            }
            Entry::Include { file, .. } => {
                self.out.push_str(" \n#include \"");
                self.out.push_str(file);
                self.out.push_str("\" \n");
            }
            Entry::Splice { reference, line } => {
                self.comment(*line);
                self.out.push_str(reference);
                self.annotation(*line);
            }
        }
    }

    /// Writes a scalar, or the beginning of another value. A sequence ends with
    /// its annotation, inside another sequence too, where a scalar has none.
    fn begin_value(&mut self, value: &'d Value<'d>, open: &mut Vec<Open<'d>>) {
        match &value.content {
            Content::Atom(kind, text) => {
                let quote = match kind {
                    AtomKind::DoubleQuoted => "\"",
                    AtomKind::SingleQuoted => "'",
                    _ => "",
                };
                self.out.push_str(quote);
                self.out.push_str(text);
                self.out.push_str(quote);
            }
            Content::Sequence(elements) => {
                self.out.push('[');
                open.push(Open::Sequence {
                    elements: elements.iter(),
                    is_first: true,
                    line: value.line,
                });
            }
            Content::Table(entries) => {
                self.out.push_str("{\n");
                open.push(Open::Table(entries.iter()));
            }
        }
    }

    fn comment(&mut self, line: u32) {
        self.out.push_str(self.remarks.comment(line));
        self.out.push('\n');
    }

    fn annotation(&mut self, line: u32) {
        self.out.push(' ');
        self.out.push_str(self.remarks.annotation(line));
        self.out.push('\n');
    }
}
