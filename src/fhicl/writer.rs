//! The text that artdaqDB gives back for a document. Production's blobs hold
//! it, so its layout is part of the format: every entry begins with a line for
//! its comment, empty or not; a scalar or sequence ends with a blank, its
//! annotation and a line end; a table ends right after its `}`.

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

impl Writer<'_> {
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

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Assignment { name, value } => {
                self.comment(value.line);
                self.out.push_str(name);
                if let Some(keyword) = value.protection.keyword() {
                    self.out.push(' ');
                    self.out.push_str(keyword);
                }
                self.out.push_str(": ");
                self.value(value);
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

    /// A value; a sequence with its annotation, which it has inside another
    /// sequence, too, where a scalar has none.
    fn value(&mut self, value: &Value) {
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
            Content::Sequence(values) => {
                self.out.push('[');
                for (index, element) in values.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(", ");
                    }
                    self.value(element);
                }
                self.out.push(']');
                self.annotation(value.line);
            }
            Content::Table(entries) => {
                self.out.push_str("{\n");
                for entry in entries {
                    self.entry(entry);
                }
                self.out.push_str("\n}");
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
