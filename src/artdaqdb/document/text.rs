//! A document's JSON as the real tools lay it out: no indent,
//! `{\n"k" : v,\n...\n}`, no line end at the end.

use super::plain::Plain;
use super::sink::{Key, Sink};

/// JSON as it grows.
#[derive(Debug, Default)]
pub(in crate::artdaqdb) struct Text {
    out: String,
    /// Whether something stands before in the innermost object or array.
    is_next: bool,
}

impl Text {
    /// The JSON.
    pub(in crate::artdaqdb) fn finish(self) -> String {
        self.out
    }

    /// What comes before a value.
    fn begin(&mut self, key: Key<'_>) {
        if self.is_next {
            self.out.push_str(",\n");
        }
        self.is_next = true;
        match key {
            Key::None => return,
            Key::Known(name) => {
                self.out.push('"');
                self.out.push_str(name);
                self.out.push('"');
            }
            Key::Name(name) => push_string(&mut self.out, name),
            Key::Numbered(name, number) => {
                self.out.push('"');
                self.out.push_str(name);
                self.out.push_str(itoa::Buffer::new().format(number));
                self.out.push('"');
            }
        }
        self.out.push_str(" : ");
    }

    fn open(&mut self, key: Key<'_>, bracket: &str) {
        self.begin(key);
        self.out.push_str(bracket);
        self.is_next = false;
    }

    fn close(&mut self, bracket: &str) {
        self.out.push_str(bracket);
        self.is_next = true;
    }
}

impl Sink for Text {
    fn expect(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    fn open_object(&mut self, key: Key<'_>) {
        self.open(key, "{\n");
    }

    fn close_object(&mut self) {
        self.close("\n}");
    }

    fn open_array(&mut self, key: Key<'_>) {
        self.open(key, "[\n");
    }

    fn close_array(&mut self) {
        self.close("\n]");
    }

    fn string(&mut self, key: Key<'_>, text: &str) {
        self.begin(key);
        push_string(&mut self.out, text);
    }

    fn number(&mut self, key: Key<'_>, number: u32) {
        self.begin(key);
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    fn boolean(&mut self, key: Key<'_>, value: bool) {
        self.begin(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    fn plain(&mut self, key: Key<'_>, plain: &'static Plain) {
        self.begin(key);
        self.out.push_str(plain.text);
    }

    fn identity(&mut self, oid: &str) {
        self.open_object(Key::Known("_id"));
        self.string(Key::Known("$oid"), oid);
        self.close_object();
    }
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
