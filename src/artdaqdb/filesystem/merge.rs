//! Adds documents to an index without the index: what is there is copied, in
//! pieces, at nearly the speed of memory, and what is new written in between.
//! An index of 100,000 runs has 1 GB; of it no more is kept than a line.

use std::collections::{BTreeSet, btree_set};
use std::io::{self, BufWriter, Read, Write};
use std::iter::Peekable;

use indexmap::IndexMap;
use memchr::memchr;

use super::catalogue::{LONGEST_LINE, OID_LINE, PIECE, is_oid, key, oid, oid_lines};
use crate::artdaqdb::index::{ALIASES, ASSIGNED, Entry, MEMBERS, OIDS, write_string};

/// Why a merge failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The index can't be read.
    Read(io::Error),
    /// The new one can't be written.
    Write(io::Error),
}

/// Writes the index `old` with these documents added to `new`: what `Index` would
/// write, but for names that are spelled otherwise or stand twice in a map, which
/// are left as they are. False, if the old one is not laid out as the real tools lay
/// it out, is not whole, or has a list that is not sorted: then it has to be parsed,
/// and what was written is nothing.
pub(super) fn merge(
    old: &mut impl Read,
    entries: &[Entry],
    new: &mut impl Write,
) -> Result<bool, Failure> {
    let mut merger = Merger::new(entries);
    let mut new = BufWriter::with_capacity(PIECE, new);
    let mut buffer = vec![0; PIECE];
    // What is in the buffer of a line that has not ended yet.
    let mut kept = 0;
    loop {
        let read = match old.read(&mut buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(Failure::Read)?,
        };
        let filled = kept + read;
        let mut start = 0;
        let mut copied = 0;
        loop {
            start += merger.pass(&buffer[start..filled]);
            let (end, is_last) = match memchr(b'\n', &buffer[start..filled]) {
                Some(length) => (start + length, false),
                // The last line has no line end.
                None if read == 0 => (filled, true),
                None => break,
            };
            if !merger.take(&buffer[start..end]) {
                return Ok(false);
            }
            for (at, text) in [(start, &merger.before), (end, &merger.behind)] {
                if !text.is_empty() {
                    new.write_all(&buffer[copied..at])
                        .and_then(|()| new.write_all(text.as_bytes()))
                        .map_err(Failure::Write)?;
                    copied = at;
                }
            }
            if is_last {
                new.write_all(&buffer[copied..end])
                    .and_then(|()| new.flush())
                    .map_err(Failure::Write)?;
                return Ok(merger.place == Place::After);
            }
            start = end + 1;
        }
        new.write_all(&buffer[copied..start])
            .map_err(Failure::Write)?;
        buffer.copy_within(start..filled, 0);
        kept = filled - start;
        if kept > LONGEST_LINE {
            return Ok(false);
        }
    }
}

/// Texts for a list, sorted.
type Texts = BTreeSet<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    /// Between the members of the index.
    Top,
    /// In a member that is a map, between its lists.
    Map(Within),
    /// In a list, of the member that has no map or of a map.
    List(Within),
    After,
}

/// Where in a map or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Before anything, or at the empty line that stands for nothing.
    Beginning,
    /// Behind a comma.
    Middle,
    /// Behind what has no comma.
    End,
}

/// Goes through an index line by line, and says what to insert.
struct Merger {
    place: Place,
    /// How many members of the index have begun.
    begun: usize,
    /// What is still to be added to each member. The one that is no map has one
    /// list, without a name.
    members: [IndexMap<String, Texts>; MEMBERS.len()],
    /// What is still to be added to the list at hand.
    list: Peekable<btree_set::IntoIter<String>>,
    /// The text before in the list at hand; empty at its beginning.
    last: Vec<u8>,
    /// What is to be inserted before the line, and behind it.
    before: String,
    behind: String,
}

impl Merger {
    fn new(entries: &[Entry]) -> Merger {
        let mut members: [IndexMap<String, Texts>; MEMBERS.len()] = Default::default();
        for entry in entries {
            for (name, member) in MEMBERS.iter().zip(&mut members) {
                if let Some((key, text)) = entry.listed(name) {
                    let texts = member.entry(key.to_owned()).or_default();
                    texts.insert(text);
                }
            }
        }
        Merger {
            place: Place::Before,
            begun: 0,
            members,
            list: Texts::new().into_iter().peekable(),
            last: Vec::new(),
            before: String::new(),
            behind: String::new(),
        }
    }

    /// Passes over the documents of a list with which the text begins, up to where one is
    /// to be added. Returns how many bytes they are.
    #[inline]
    fn pass(&mut self, text: &[u8]) -> usize {
        let is_in_list = matches!(self.place, Place::List(Within::Beginning | Within::Middle));
        if !is_in_list || [ASSIGNED, ALIASES].contains(&self.member()) {
            return 0;
        }
        let added: Option<[u8; 24]> =
            match self.list.peek().map(|added| added.as_bytes().try_into()) {
                None => None,
                Some(Ok(added)) => Some(added),
                // No document: left to the line by line.
                Some(Err(_)) => return 0,
            };
        let mut last: Option<&[u8; 24]> = self.last.first_chunk();
        let mut passed = 0;
        for line in oid_lines(text) {
            let Some(oid) = oid(line) else { break };
            if last.is_some_and(|last| last >= oid) || added.is_some_and(|added| added <= *oid) {
                break;
            }
            last = Some(oid);
            passed += OID_LINE;
        }
        if passed > 0 {
            let last = last.copied();
            self.last.clear();
            self.last.extend(last.into_iter().flatten());
            self.place = Place::List(Within::Middle);
        }
        passed
    }

    /// Takes a line; whether it is one that stands there in an index.
    fn take(&mut self, line: &[u8]) -> bool {
        use Within::{Beginning, End, Middle};
        self.before.clear();
        self.behind.clear();
        let next = match (self.place, line) {
            // Most lines by far.
            (Place::List(Beginning | Middle), [b'"', text @ .., b'"', b',']) => {
                self.text(text).then_some(Place::List(Middle))
            }
            (Place::List(Beginning | Middle), [b'"', text @ .., b'"']) => {
                let is_fit = self.text(text);
                self.end_list(",\n");
                is_fit.then_some(Place::List(End))
            }
            (Place::List(Beginning), []) => {
                self.end_list("");
                Some(Place::List(End))
            }
            (Place::List(End), b"]" | b"],") => self.close_list(line.ends_with(b",")),
            (Place::Map(Beginning), []) => {
                self.end_map("");
                Some(Place::Map(End))
            }
            (Place::Map(Beginning | Middle), line) => self.open_list(line),
            (Place::Map(End), b"}" | b"},") => self.close_member(line.ends_with(b",")),
            (Place::Before, b"{") => Some(Place::Top),
            (Place::Top, b"}") if self.begun == MEMBERS.len() => Some(Place::After),
            (Place::Top, line) => self.open_member(line),
            (Place::After, []) => Some(Place::After),
            _ => None,
        };
        self.place = next.unwrap_or(self.place);
        next.is_some()
    }

    /// The name of the member at hand.
    fn member(&self) -> &'static str {
        MEMBERS[self.begun - 1]
    }

    fn open_member(&mut self, line: &[u8]) -> Option<Place> {
        let name = MEMBERS.get(self.begun)?;
        self.begun += 1;
        if *name == OIDS {
            self.begin_list("");
            return (key(line, b" : [")? == *name).then_some(Place::List(Within::Beginning));
        }
        (key(line, b" : {")? == *name).then_some(Place::Map(Within::Beginning))
    }

    fn open_list(&mut self, line: &[u8]) -> Option<Place> {
        let key = key(line, b" : [")?;
        self.begin_list(&key);
        Some(Place::List(Within::Beginning))
    }

    fn begin_list(&mut self, key: &str) {
        let texts = self.members[self.begun - 1].shift_remove(key);
        self.list = texts.unwrap_or_default().into_iter().peekable();
        self.last.clear();
    }

    /// Takes a text of a list. Not one that should not be there, or not behind
    /// the one before it.
    fn text(&mut self, text: &[u8]) -> bool {
        let is_text = match self.member() {
            ASSIGNED => is_plain(text),
            _ => text.try_into().is_ok_and(is_oid),
        };
        // The order of an alias's documents is left as it is.
        if !is_text || (self.last.as_slice() >= text && self.member() != ALIASES) {
            return false;
        }
        while let Some(added) = self.list.next_if(|added| added.as_bytes() <= text) {
            if added.as_bytes() < text {
                write_string(&mut self.before, &added);
                self.before.push_str(",\n");
            }
        }
        self.last.clear();
        self.last.extend_from_slice(text);
        true
    }

    /// Adds what comes last in the list at hand, the first text with `separator`.
    fn end_list(&mut self, separator: &str) {
        write_texts(&mut self.behind, separator, &mut self.list);
    }

    fn close_list(&mut self, is_next: bool) -> Option<Place> {
        if self.member() == OIDS {
            return is_next.then_some(Place::Top);
        }
        if is_next {
            return Some(Place::Map(Within::Middle));
        }
        self.end_map(",\n");
        Some(Place::Map(Within::End))
    }

    /// Adds the lists that are new in the map at hand, the first with `separator`.
    fn end_map(&mut self, mut separator: &str) {
        for (key, texts) in self.members[self.begun - 1].drain(..) {
            self.behind.push_str(separator);
            write_string(&mut self.behind, &key);
            self.behind.push_str(" : [\n");
            write_texts(&mut self.behind, "", texts);
            self.behind.push_str("\n]");
            separator = ",\n";
        }
    }

    fn close_member(&self, is_next: bool) -> Option<Place> {
        (is_next == (self.begun < MEMBERS.len())).then_some(Place::Top)
    }
}

/// Writes texts of a list, the first with `separator`.
fn write_texts(out: &mut String, mut separator: &str, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        out.push_str(separator);
        write_string(out, &text);
        separator = ",\n";
    }
}

/// Whether this can stand between quotes as it is.
fn is_plain(text: &[u8]) -> bool {
    let is_other = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    !text.iter().any(is_other) && str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests;
