//! Writes a document's JSON straight from the syntax tree.

use super::{DocumentHead, OUTSIDE, plain};
use crate::fhicl::{
    AtomKind, Content, Document, Entry, INCLUDE_KEY, Protection, Remarks, SPLICE_KEY, Value,
};

/// Writes a document as the real tools do: no indent, `{\n"k" : v,\n...\n}`,
/// no line end at the end.
#[must_use]
pub fn write(head: &DocumentHead, document: &Document) -> String {
    let mut size = 2048 + document.comments.len() * 40;
    for comment in &document.comments {
        size += comment.text.len() * 2;
    }
    for entry in document.prolog.iter().chain(&document.main) {
        size += entry_size(entry);
    }
    let mut writer = Writer {
        document,
        out: String::with_capacity(size),
        splices: 0,
        remarks: Remarks::new(document),
    };
    writer.whole(head);
    writer.out
}

/// About as many bytes as an entry takes, so that the text is not copied over
/// and over as it grows.
fn entry_size(entry: &Entry) -> usize {
    match entry {
        Entry::Assignment { name, value } => name.len() * 2 + 16 + value_size(value),
        Entry::Include { file, .. } => file.len() + 200,
        Entry::Splice { reference, .. } => reference.len() + 200,
    }
}

fn value_size(value: &Value) -> usize {
    match &value.content {
        Content::Atom(AtomKind::Number, text) => text.len() + 75,
        Content::Atom(_, text) => text.len() + 90,
        Content::Sequence(values) => 100 + values.iter().map(|v| 11 + value_size(v)).sum::<usize>(),
        Content::Table(entries) => 80 + entries.iter().map(entry_size).sum::<usize>(),
    }
}

struct Writer<'d> {
    document: &'d Document<'d>,
    out: String,
    /// How many `@table::` there were up to here.
    splices: u32,
    remarks: Remarks<'d>,
}

impl Writer<'_> {
    fn whole(&mut self, head: &DocumentHead) {
        let document = self.document;
        self.push("{\n\"document\" : {\n\"data\" : {\n\"prolog\" : ");
        self.data_table(&document.prolog);
        self.push(",\n\"main\" : ");
        self.data_table(&document.main);
        self.push("\n},\n\"metadata\" : {\n");
        self.splices = 0;
        self.push(
            "\"prolog\" : {\n\"type\" : \"table\",\n\"comment\" : \"#prolog\",\n\"children\" : ",
        );
        self.metadata_table(&document.prolog);
        self.push(
            "\n},\n\"main\" : {\n\"type\" : \"table\",\n\"comment\" : \"#main\",\n\"children\" : ",
        );
        self.metadata_table(&document.main);
        self.push("\n}\n},\n\"search\" : [\n\n]\n},\n\"comments\" : [\n");
        self.comments();
        self.push("\n],\n");
        self.administration(head);
    }

    fn comments(&mut self) {
        if self.document.comments.is_empty() {
            self.push("{\n\"linenum\" : 0,\n\"value\" : \"No comments\"\n}");
        }
        for (index, comment) in self.document.comments.iter().enumerate() {
            self.separate(index);
            self.push("{\n\"linenum\" : ");
            self.number(comment.line);
            self.push(",\n\"value\" : ");
            self.string(&comment.text);
            self.push("\n}");
        }
    }

    fn data_table(&mut self, entries: &[Entry]) {
        self.push("{\n");
        for (index, entry) in entries.iter().enumerate() {
            self.separate(index);
            self.key(entry);
            match entry {
                Entry::Assignment { value, .. } => self.data(value),
                Entry::Include { file, .. } => self.string(file),
                Entry::Splice { reference, .. } => self.string(reference),
            }
        }
        self.push("\n}");
    }

    fn data(&mut self, value: &Value) {
        match &value.content {
            Content::Atom(_, text) => self.string(text),
            Content::Table(entries) => self.data_table(entries),
            Content::Sequence(values) => {
                self.push("[\n");
                for (index, element) in values.iter().enumerate() {
                    self.separate(index);
                    self.data(element);
                }
                self.push("\n]");
            }
        }
    }

    fn metadata_table(&mut self, entries: &[Entry]) {
        self.push("{\n");
        for (index, entry) in entries.iter().enumerate() {
            self.separate(index);
            self.key(entry);
            match entry {
                Entry::Assignment { value, .. } => self.metadata(value),
                Entry::Include { outside, .. } => {
                    self.push("{\n\"type\" : \"string_doublequoted\",\n\"comment\" : \"\",\n\"annotation\" : \"\"");
                    if *outside {
                        self.push(",\n\"");
                        self.push(OUTSIDE);
                        self.push("\" : true");
                    }
                    self.push("\n}");
                }
                Entry::Splice { line, .. } => {
                    let comment = self.remarks.comment(*line);
                    let annotation = self.remarks.annotation(*line);
                    self.describe("string_unquoted", comment);
                    self.annotation(annotation);
                    self.push("\n}");
                }
            }
        }
        self.push("\n}");
    }

    fn metadata(&mut self, value: &Value) {
        let comment = self.remarks.comment(value.line);
        let annotation = self.remarks.annotation(value.line);
        if let Content::Atom(kind, _) = value.content
            && value.protection == Protection::None
            && comment.is_empty()
            && annotation.is_empty()
        {
            // As most values are.
            self.push(plain::of(kind).text);
            return;
        }
        let kind = match &value.content {
            Content::Atom(kind, _) => plain::name(*kind),
            Content::Sequence(_) => "sequence",
            Content::Table(_) => "table",
        };
        self.describe(kind, comment);
        if !matches!(value.content, Content::Table(_)) {
            self.annotation(annotation);
        }
        if let Some(keyword) = value.protection.keyword() {
            self.push(",\n\"protection\" : ");
            self.string(keyword);
        }
        match &value.content {
            Content::Atom(..) => {}
            Content::Table(entries) => {
                self.push(",\n\"children\" : ");
                self.metadata_table(entries);
            }
            Content::Sequence(values) => {
                self.push(",\n\"children\" : {\n");
                for (index, element) in values.iter().enumerate() {
                    self.separate(index);
                    self.push("\"");
                    self.number(u32::try_from(index).unwrap_or(u32::MAX));
                    self.push("\" : ");
                    self.metadata(element);
                }
                self.push("\n}");
            }
        }
        self.push("\n}");
    }

    fn describe(&mut self, kind: &str, comment: &str) {
        self.push("{\n\"type\" : \"");
        self.push(kind);
        self.push("\",\n\"comment\" : ");
        self.string(comment);
    }

    fn annotation(&mut self, annotation: &str) {
        self.push(",\n\"annotation\" : ");
        self.string(annotation);
    }

    /// An entry's key, with the ` : ` after it.
    fn key(&mut self, entry: &Entry) {
        match entry {
            Entry::Assignment { name, .. } => self.string(name),
            Entry::Include { number, .. } => {
                self.push("\"");
                self.push(INCLUDE_KEY);
                self.number(*number);
                self.push("\"");
            }
            Entry::Splice { .. } => {
                self.push("\"");
                self.push(SPLICE_KEY);
                self.number(self.splices);
                self.splices += 1;
                self.push("\"");
            }
        }
        self.push(" : ");
    }

    /// What follows the FHiCL: whose it is, and when that was said.
    fn administration(&mut self, head: &DocumentHead) {
        let run = head.run.to_string();
        let assigned = |name: &str| {
            format!(
                "{{\n\"name\" : {},\n\"assigned\" : {}\n}}",
                quoted(name),
                quoted(head.time)
            )
        };
        let event = |event: &str, name: &str| {
            format!(
                "{{\n\"event\" : \"{event}\",\n\"timestamp\" : {},\n\"value\" : {}\n}}",
                quoted(head.time),
                assigned(name)
            )
        };
        let updates = [
            event("addConfiguration", head.version),
            event("setVersion", head.version),
            event("setCollection", head.collection),
            event("addEntity", head.entity),
            event("addRun", &run),
        ]
        .join(",\n");
        let time = quoted(head.time);
        let text = format!(
            "\"origin\" : {{\n\"format\" : \"fhicl\",\n\"name\" : {entity},\n\
             \"source\" : \"fhicl_to_json\",\n\"timestamp\" : {time},\n\
             \"created\" : {time},\n\"rawdata\" : [\n\n]\n}},\n\
             \"version\" : {version},\n\
             \"entities\" : [\n{entity_assigned}\n],\n\
             \"configurations\" : [\n{version_assigned}\n],\n\
             \"changelog\" : \"notprovided\",\n\
             \"bookkeeping\" : {{\n\"isdeleted\" : false,\n\"isreadonly\" : false,\n\
             \"updates\" : [\n{updates}\n],\n\"created\" : {time}\n}},\n\
             \"_id\" : {{\n\"$oid\" : {oid}\n}},\n\
             \"collection\" : {collection},\n\
             \"aliases\" : {{\n\"active\" : [\n\n],\n\"history\" : [\n\n]\n}},\n\
             \"runs\" : [\n{run_assigned}\n],\n\
             \"attachments\" : [\n\n],\n\
             \"configtype\" : \"notprovided\"\n}}",
            entity = quoted(head.entity),
            version = quoted(head.version),
            oid = quoted(head.oid),
            collection = quoted(head.collection),
            entity_assigned = assigned(head.entity),
            version_assigned = assigned(head.version),
            run_assigned = assigned(&run),
        );
        self.push(&text);
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.push(",\n");
        }
    }

    fn number(&mut self, number: u32) {
        let mut digits = [0; 10];
        let mut rest = number;
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out
            .extend(digits[start..].iter().copied().map(char::from));
    }

    fn string(&mut self, text: &str) {
        push_string(&mut self.out, text);
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// What stands for each byte in a JSON string; nothing for those that stand for
/// themselves. The real tools leave other control characters as they are.
const ESCAPES: [&str; 256] = {
    let mut escapes = [""; 256];
    escapes[b'"' as usize] = "\\\"";
    escapes[b'\\' as usize] = "\\\\";
    escapes[0x08] = "\\b";
    escapes[0x0c] = "\\f";
    escapes[b'\n' as usize] = "\\n";
    escapes[b'\r' as usize] = "\\r";
    escapes[b'\t' as usize] = "\\t";
    escapes
};

/// Writes a JSON string.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let bytes = text.as_bytes();
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let escape = ESCAPES[usize::from(bytes[at])];
        if !escape.is_empty() {
            out.push_str(&text[done..at]);
            out.push_str(escape);
            done = at + 1;
        }
        at += 1;
    }
    out.push_str(&text[done..]);
    out.push('"');
}
