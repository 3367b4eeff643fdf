//! A document's JSON as the real tools lay it out: no indent,
//! `{\n"k" : v,\n...\n}`, no line end at the end.

use std::io::{self, Write};

use super::plain::Plain;
use super::sink::{Key, Sink};

/// How much JSON is collected before it goes into a file: it stays in the
/// processor's cache until it is copied.
const FULL: usize = 128 * 1024;

/// JSON as it grows: collected in a buffer, and written into a file whenever that
/// is full.
#[derive(Debug)]
pub(in crate::artdaqdb) struct Text<'b, W> {
    out: &'b mut String,
    /// Whether something stands before in the innermost object or array.
    is_next: bool,
    file: W,
    full: usize,
    /// Why the file could not be written; nothing is written after that.
    failed: Option<io::Error>,
}

impl<'b> Text<'b, io::Sink> {
    /// Collects all of it in `out`.
    pub(super) fn whole(out: &'b mut String) -> Text<'b, io::Sink> {
        Text {
            out,
            is_next: false,
            file: io::sink(),
            full: usize::MAX,
            failed: None,
        }
    }
}

impl<'b, W: Write> Text<'b, W> {
    /// Writes it into `file`. `buffer` is used on the way; what it holds is lost.
    pub(in crate::artdaqdb) fn new(buffer: &'b mut String, file: W) -> Text<'b, W> {
        buffer.clear();
        buffer.reserve(2 * FULL);
        Text {
            out: buffer,
            is_next: false,
            file,
            full: FULL,
            failed: None,
        }
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// The file could not be written, now or before.
    pub(in crate::artdaqdb) fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }

    /// Writes what is collected.
    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(self.out.as_bytes()).err();
        }
        self.out.clear();
    }

    /// Begins a value: writes what stands before it, up to its first byte `open`. As
    /// `keyed` it ends the name as well. Few pieces: each takes longer than its bytes.
    #[inline]
    fn begin(&mut self, key: Key<'_>, keyed: &str, open: &str) {
        if self.out.len() >= self.full {
            self.flush();
        }
        let is_next = std::mem::replace(&mut self.is_next, true);
        if let Key::None = key {
            self.out.push_str(if is_next { ",\n" } else { "" });
            self.out.push_str(open);
            return;
        }
        self.out.push_str(if is_next { ",\n\"" } else { "\"" });
        match key {
            Key::None => {}
            Key::Known(name) => self.out.push_str(name),
            Key::Name(name) => self.push_escaped(name),
            Key::Numbered(name, number) => {
                self.out.push_str(name);
                self.out.push_str(itoa::Buffer::new().format(number));
            }
        }
        self.out.push_str(keyed);
    }

    fn close(&mut self, bracket: &str) {
        self.out.push_str(bracket);
        self.is_next = true;
    }

    /// Writes what stands between the quotes of a JSON string.
    #[inline]
    fn push_escaped(&mut self, text: &str) {
        let mut done = 0;
        for (at, byte) in text.as_bytes().iter().enumerate() {
            // Most have nothing to escape.
            if IS_ESCAPED[usize::from(*byte)] {
                self.push(&text[done..at]);
                self.out.push_str(ESCAPES[usize::from(*byte)]);
                done = at + 1;
            }
        }
        self.push(&text[done..]);
    }

    /// Writes a part of a string, which can be long.
    #[inline]
    fn push(&mut self, part: &str) {
        if self.out.len() + part.len() > self.full {
            self.push_long(part);
        } else {
            self.out.push_str(part);
        }
    }

    fn push_long(&mut self, mut part: &str) {
        while self.out.len() + part.len() > self.full {
            let mut room = self.full.saturating_sub(self.out.len());
            while !part.is_char_boundary(room) {
                room -= 1;
            }
            let (now, later) = part.split_at(room);
            self.out.push_str(now);
            self.flush();
            part = later;
        }
        self.out.push_str(part);
    }
}

impl<W: Write> Sink for Text<'_, W> {
    fn expect(&mut self, bytes: impl FnOnce() -> usize) {
        if self.full == usize::MAX {
            self.out.reserve(bytes());
        }
    }

    fn open_object(&mut self, key: Key<'_>) {
        self.begin(key, "\" : {\n", "{\n");
        self.is_next = false;
    }

    fn close_object(&mut self) {
        self.close("\n}");
    }

    fn open_array(&mut self, key: Key<'_>) {
        self.begin(key, "\" : [\n", "[\n");
        self.is_next = false;
    }

    fn close_array(&mut self) {
        self.close("\n]");
    }

    fn string(&mut self, key: Key<'_>, text: &str) {
        self.begin(key, "\" : \"", "\"");
        self.push_escaped(text);
        self.out.push('"');
    }

    fn number(&mut self, key: Key<'_>, number: u32) {
        self.begin(key, "\" : ", "");
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    fn boolean(&mut self, key: Key<'_>, value: bool) {
        self.begin(key, "\" : ", "");
        self.out.push_str(if value { "true" } else { "false" });
    }

    fn plain(&mut self, key: Key<'_>, plain: &'static Plain) {
        self.begin(key, plain.keyed, plain.text);
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

/// Which bytes something else stands for.
const IS_ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut byte = 0;
    while byte < escaped.len() {
        escaped[byte] = !ESCAPES[byte].is_empty();
        byte += 1;
    }
    escaped
};
