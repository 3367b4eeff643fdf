//! What readers need of an index, without the index: the names of the
//! configurations, and where in the file each one's list of documents stands.
//!
//! An index of 10,000 runs has more than 100 MB, nearly all of it lists of
//! documents. They are passed over here, in pieces, at the speed of memory, and
//! no more is kept than a name and a number for each run.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use indexmap::IndexMap;
use memchr::memchr;

use crate::artdaqdb::index::{CONFIGURATIONS, OIDS, Oid, weight};
use crate::faults::fs::File;

/// How much of the file is in memory at a time.
pub(super) const PIECE: usize = 1 << 20;
/// A longer line is none of an index as the real tools and the archiver lay it out.
pub(super) const LONGEST_LINE: usize = 1 << 16;

/// The configurations of an index file.
#[derive(Debug)]
pub(super) struct Catalogue {
    file: File,
    /// The lists of a configuration's documents; mostly one.
    lists: IndexMap<String, Vec<List>>,
}

/// A list of documents.
#[derive(Debug)]
struct List {
    /// Where it begins.
    at: u64,
    /// The weights of its documents, added up.
    stamp: u64,
}

impl Catalogue {
    /// Reads an index. Nothing, if it is not laid out as the real tools lay it
    /// out, or is not whole: then the index has to be parsed.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn read(mut file: File) -> io::Result<Option<Catalogue>> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; PIECE];
        // What is in the buffer of a line that has not ended yet.
        let mut kept = 0;
        loop {
            let read = match file.read(&mut buffer[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let filled = kept + read;
            let mut start = lines.pass(&buffer[..filled]);
            while let Some(length) = memchr(b'\n', &buffer[start..filled]) {
                if !lines.take(&buffer[start..start + length]) {
                    return Ok(None);
                }
                start += length + 1;
                start += lines.pass(&buffer[start..filled]);
            }
            if read == 0 {
                // The last line has no line end.
                let is_whole = lines.take(&buffer[start..filled]) && lines.is_whole();
                return Ok(is_whole.then_some(Catalogue {
                    file,
                    lists: lines.lists,
                }));
            }
            buffer.copy_within(start..filled, 0);
            kept = filled - start;
            if kept > LONGEST_LINE {
                return Ok(None);
            }
        }
    }

    /// The names of all configurations, in the index's order.
    pub(super) fn configurations(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }

    /// The names of all configurations, each with the weights of its documents, added
    /// up.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&str, u64)> {
        let sum = |lists: &[List]| {
            let stamps = lists.iter().map(|list| list.stamp);
            stamps.fold(0, u64::wrapping_add)
        };
        let lists = self.lists.iter();
        lists.map(move |(name, lists)| (name.as_str(), sum(lists)))
    }

    /// The file that was read.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The documents of exactly this configuration. Nothing, if the file has
    /// something else where its list was.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn documents(&self, configuration: &str) -> io::Result<Option<Vec<Oid>>> {
        let mut oids = Vec::new();
        for list in self.lists.get(configuration).into_iter().flatten() {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(list.at))?;
            let mut is_whole = false;
            for line in BufReader::new(file).split(b'\n') {
                match line?.as_slice() {
                    [b'"', oid @ .., b'"'] | [b'"', oid @ .., b'"', b','] => {
                        let Some(oid) = str::from_utf8(oid).ok().and_then(Oid::parse) else {
                            return Ok(None);
                        };
                        oids.push(oid);
                    }
                    [] => {}
                    line => {
                        is_whole = matches!(line, b"]" | b"],");
                        break;
                    }
                }
            }
            if !is_whole {
                return Ok(None);
            }
        }
        Ok(Some(oids))
    }
}

/// Goes through an index line by line.
#[derive(Default)]
struct Lines {
    place: Place,
    /// Where the next line begins.
    at: u64,
    has_oids: bool,
    lists: IndexMap<String, Vec<List>>,
    /// Whose list is at hand.
    current: usize,
    /// The weights of the list at hand so far, where it is that of a configuration.
    stamp: u64,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    /// Between the members of the index.
    Top,
    /// In a list that is a member of the index.
    List,
    /// Between the lists of a map; in that of the configurations, if so.
    Map(bool),
    /// In a list of a map.
    MapList(bool),
    After,
}

impl Lines {
    /// Passes over the documents of a list with which the text begins. Returns how many
    /// bytes they are.
    #[inline]
    fn pass(&mut self, text: &[u8]) -> usize {
        if !matches!(self.place, Place::List | Place::MapList(_)) {
            return 0;
        }
        let passed = match self.place {
            Place::MapList(true) => {
                let oids = oid_lines(text).map_while(oid);
                oids.fold(0, |passed, oid| {
                    self.stamp = self.stamp.wrapping_add(weight(oid));
                    passed + OID_LINE
                })
            }
            _ => {
                let lines = oid_lines(text).take_while(|line| oid(line).is_some());
                lines.count() * OID_LINE
            }
        };
        self.at += passed as u64;
        passed
    }

    /// Takes a line; whether it is one that stands there in an index.
    fn take(&mut self, line: &[u8]) -> bool {
        self.at += line.len() as u64 + 1;
        self.place = match (self.place, line) {
            // Most lines by far. What is something else behind the quote may be the end of
            // the list in a damaged line.
            (
                place @ (Place::List | Place::MapList(_)),
                [b'"', text @ .., b'"'] | [b'"', text @ .., b'"', b','],
            ) => {
                if let (Place::MapList(true), Ok(oid)) = (place, text.try_into()) {
                    self.stamp = self.stamp.wrapping_add(weight(oid));
                }
                place
            }
            (place @ (Place::List | Place::MapList(_)), []) => place,
            (Place::List, b"]" | b"],") => Place::Top,
            (Place::MapList(is_configurations), b"]" | b"],") => {
                let place = self.current;
                if let (true, Some((_, lists))) =
                    (is_configurations, self.lists.get_index_mut(place))
                    && let Some(list) = lists.last_mut()
                {
                    list.stamp = self.stamp;
                }
                Place::Map(is_configurations)
            }
            (Place::Map(_), b"}" | b"},") => Place::Top,
            (place @ Place::Map(_), []) => place,
            (Place::Map(is_configurations), line) => {
                let Some(key) = key(line, b" : [") else {
                    return false;
                };
                if is_configurations {
                    let at = self.at;
                    let entry = self.lists.entry(key);
                    self.current = entry.index();
                    entry.or_default().push(List { at, stamp: 0 });
                    self.stamp = 0;
                }
                Place::MapList(is_configurations)
            }
            (Place::Before, b"{") => Place::Top,
            (Place::Top, b"}") => Place::After,
            (Place::Top, line) => {
                if let Some(key) = key(line, b" : [") {
                    self.has_oids |= key == OIDS;
                    Place::List
                } else if let Some(key) = key(line, b" : {") {
                    Place::Map(key == CONFIGURATIONS)
                } else {
                    return false;
                }
            }
            (Place::After, []) => Place::After,
            _ => return false,
        };
        true
    }

    fn is_whole(&self) -> bool {
        self.place == Place::After && self.has_oids
    }
}

/// The length of a line that has a document and is not the last of its list. Nearly all
/// lines are such, and looked at without searching for their ends.
pub(super) const OID_LINE: usize = 28;

/// A text in pieces of that length.
pub(super) fn oid_lines(text: &[u8]) -> impl Iterator<Item = &[u8; OID_LINE]> {
    text.as_chunks().0.iter()
}

/// The document in a line, if it has one and ends where the piece ends.
#[inline]
pub(super) fn oid(line: &[u8; OID_LINE]) -> Option<&[u8; 24]> {
    let [b'"', text @ .., b'"', b',', b'\n'] = line else {
        return None;
    };
    is_oid(text).then_some(text)
}

/// Whether these are the digits of a document's identity.
#[inline]
pub(super) fn is_oid(text: &[u8; 24]) -> bool {
    let is_digit = |byte: &u8| byte.wrapping_sub(b'0') < 10 || byte.wrapping_sub(b'a') < 6;
    // Every digit is looked at: that takes fewer steps than to stop at a wrong one.
    text.iter().fold(true, |all, byte| all & is_digit(byte))
}

/// The key in a line that ends with `opening`.
pub(super) fn key(line: &[u8], opening: &[u8]) -> Option<String> {
    let key = line.strip_suffix(opening)?;
    serde_json::from_slice(key).ok()
}

#[cfg(test)]
pub(super) mod tests;
