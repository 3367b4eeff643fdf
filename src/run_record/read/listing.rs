//! What a run record's directory holds, and what of it is archived.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use log::Level;

use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs::{self, DirEntry};
use crate::run::SCHEMA_ENTITY;

use super::super::Generated;
use super::Voice;

/// How deep directories below a record are looked into.
const DEPTH: u32 = 4;

/// How many files are named that look like files that should be archived.
const LEFT_OUT: usize = 100;
/// How many others.
const OTHER: usize = 8;

/// The files of a run record that are read.
#[derive(Debug)]
pub(super) struct Listing {
    voice: Voice,
    /// The .fcl files by entity, each with its path within the record.
    pub fcl: BTreeMap<String, OsString>,
    /// The names of the .txt files.
    pub txt: BTreeSet<String>,
    /// Everything else.
    other: BTreeSet<OsString>,
    /// Of everything else, what looks like a file that should be archived.
    left_out: BTreeSet<OsString>,
}

/// A directory that is listed.
struct Place<'a> {
    /// Its path within the record, with a slash at its end; empty for the record.
    prefix: &'a OsStr,
    /// How many levels below it are looked into.
    depth: u32,
}

impl Place<'_> {
    fn is_record(&self) -> bool {
        self.prefix.is_empty()
    }

    /// The path of an entry within the record.
    fn name(&self, entry: &DirEntry) -> OsString {
        let mut name = self.prefix.to_os_string();
        name.push(entry.file_name());
        name
    }
}

impl Listing {
    /// Lists a run record and the directories below it. Logs what is left out: in a
    /// warning where it is named like a file that is archived, and once for all that
    /// only looks like one.
    pub fn read(voice: Voice, path: &Path) -> Result<Listing> {
        let mut listing = Listing {
            voice,
            fcl: BTreeMap::new(),
            txt: BTreeSet::new(),
            other: BTreeSet::new(),
            left_out: BTreeSet::new(),
        };
        let record = Place {
            prefix: OsStr::new(""),
            depth: DEPTH,
        };
        listing.take_directory(path, &record)?;
        if !listing.left_out.is_empty() {
            voice.say(
                Level::Info,
                format_args!(
                    "left out, as their names do not end in .fcl or are no .txt file that is \
                     archived: {}",
                    names(&listing.left_out, LEFT_OUT)
                ),
            );
        }
        if !listing.other.is_empty() {
            let other = names(&listing.other, OTHER);
            voice.say(Level::Debug, format_args!("not archived: {other}"));
        }
        Ok(listing)
    }

    /// Lists a directory: its files first, as they are taken before those of the
    /// directories below.
    fn take_directory(&mut self, path: &Path, place: &Place) -> Result<()> {
        let failed = |source| Error::io("read", path, source);
        let mut below: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        let mut files: BTreeMap<OsString, DirEntry> = BTreeMap::new();
        for entry in faults::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type();
            let kind = kind.map_err(|source| Error::io("read", entry.path(), source))?;
            let name = entry.file_name();
            let is_plain =
                !name.as_bytes().starts_with(b".") && !name.as_bytes().ends_with(b".fcl");
            if kind.is_dir() && is_plain {
                below.insert(place.name(&entry), entry.path());
            } else {
                files.insert(name, entry);
            }
        }
        for entry in files.into_values() {
            self.take(&entry, place)?;
        }
        for (mut prefix, path) in below {
            if place.depth == 0 {
                let name = latin1(&prefix);
                self.warn(format_args!(
                    "{name} is left out: too deep below the record"
                ));
                self.other.insert(prefix);
                continue;
            }
            prefix.push("/");
            let place = Place {
                prefix: &prefix,
                depth: place.depth - 1,
            };
            self.take_directory(&path, &place)?;
        }
        Ok(())
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        self.voice.say(Level::Warn, text);
    }

    fn take(&mut self, entry: &DirEntry, place: &Place) -> Result<()> {
        let name = place.name(entry);
        let text = latin1(&name);
        let own = latin1(&entry.file_name());
        let entity = own.strip_suffix(".fcl");
        let source = Generated::ALL.iter().any(|one| one.source() == own);
        if entity.is_none() && !(source && place.is_record()) {
            match looks_archived(&own) {
                true => self.left_out.insert(name),
                false => self.other.insert(name),
            };
            return Ok(());
        }
        if own.starts_with(['.', '#']) {
            self.warn(format_args!("{text} is left out: an editor's file"));
            self.other.insert(name);
            return Ok(());
        }
        if let Some(problem) = irregular(entry)? {
            self.warn(format_args!("{text} is left out: {problem}"));
            self.other.insert(name);
            return Ok(());
        }
        match entity {
            Some(SCHEMA_ENTITY) => {
                self.voice.say(
                    Level::Info,
                    format_args!(
                        "{text} of the record is left out: the one of fcl_conf_dir is archived"
                    ),
                );
                self.other.insert(name);
            }
            Some(entity) => self.take_fcl(entity, name, entry, place)?,
            None => {
                self.txt.insert(text);
            }
        }
        Ok(())
    }

    /// Takes an .fcl file. In a directory below the record, it has its name as if it
    /// were in the record, as with the existing tools.
    fn take_fcl(
        &mut self,
        entity: &str,
        name: OsString,
        entry: &DirEntry,
        place: &Place,
    ) -> Result<()> {
        let text = latin1(&name);
        // No reader of a blob finds a file whose name is not on one line.
        let plain = entity.replace(char::is_control, "_");
        if let (Some(other), false) = (self.fcl.get(&plain), place.is_record()) {
            let other = latin1(other);
            self.warn(format_args!(
                "{text} is left out: {other} has the same name and is archived"
            ));
            self.other.insert(name);
            return Ok(());
        }
        if name.to_str().is_none() {
            self.warn(format_args!(
                "a file name is not UTF-8, archived as {plain:?}.fcl"
            ));
        } else if plain != entity {
            self.warn(format_args!(
                "the file name {text:?} has control characters, archived as {plain:?}.fcl"
            ));
        }
        if let Some(other) = self.fcl.insert(plain.clone(), name) {
            let run = self.voice.run;
            return Err(Error::RunRecord {
                path: entry.path(),
                problem: format!(
                    "run {run}: it would be archived as {plain:?}, as would {other:?}; rename one \
                     of them"
                ),
            });
        }
        Ok(())
    }

    /// Which files to make: those that are asked for, whose source is there
    /// and that the record does not have itself.
    pub fn wanted(&self, generate: &BTreeSet<Generated>) -> Vec<Generated> {
        generate
            .iter()
            .copied()
            .filter(|one| self.txt.contains(one.source()))
            .filter(|one| {
                let own = self.fcl.contains_key(one.entity());
                if own {
                    let source = one.source();
                    self.warn(format_args!(
                        "{one}.fcl is the record's own, none is made from {source}"
                    ));
                }
                !own
            })
            .collect()
    }

    /// The sources that are not there of files that are to be made.
    pub fn missing_sources(&self, generate: &BTreeSet<Generated>) -> BTreeSet<&'static str> {
        generate
            .iter()
            .filter(|one| !self.fcl.contains_key(one.entity()))
            .map(|one| one.source())
            .filter(|source| !self.txt.contains(*source))
            .collect()
    }

    /// What is there, for the error that there is nothing to archive.
    pub fn found(&self) -> String {
        let mut found = &self.other | &self.left_out;
        found.extend(self.txt.iter().map(OsString::from));
        if found.is_empty() {
            "its directory is empty".to_string()
        } else {
            format!("only {}", names(&found, OTHER))
        }
    }
}

/// Whether a name that is not archived looks like one that should be: an .fcl or .txt
/// file in capitals, compressed, saved by an editor, or half copied.
fn looks_archived(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut sources = Generated::ALL.iter().map(|one| one.source());
    name.contains(".fcl")
        || sources.any(|source| name.contains(source))
        || [".tmp", ".part", ".partial", ".swp", "~"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Why an entry can't be read as a file: opening it could wait for ever or fail.
fn irregular(entry: &DirEntry) -> Result<Option<&'static str>> {
    let path = entry.path();
    let failed = |source| Error::io("read", &path, source);
    let mut kind = entry.file_type().map_err(failed)?;
    if kind.is_symlink() {
        kind = match fs::metadata(&path) {
            Ok(target) => target.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some("a dangling link"));
            }
            Err(error) => return Err(failed(error)),
        };
    }
    Ok(if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else {
        Some("not a regular file")
    })
}

/// A file name as text; what is not UTF-8 in it is read as Latin-1.
fn latin1(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    text
}

/// The first few of some names.
fn names(all: &BTreeSet<OsString>, limit: usize) -> String {
    let mut shown: Vec<String> = all.iter().take(limit).map(|name| latin1(name)).collect();
    if all.len() > limit {
        shown.push(format!("and {} more", all.len() - limit));
    }
    shown.join(", ")
}
