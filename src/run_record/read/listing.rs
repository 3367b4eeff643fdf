//! What a run record's directory holds, and what of it is archived.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs::{self, DirEntry};
use crate::run::{Run, SCHEMA_ENTITY};

use super::super::Generated;

/// The files of a run record that are read.
#[derive(Debug)]
pub(super) struct Listing {
    run: Run,
    /// The .fcl files by entity.
    pub fcl: BTreeMap<String, OsString>,
    /// The names of the .txt files.
    pub txt: BTreeSet<String>,
    /// Everything else.
    other: BTreeSet<OsString>,
}

impl Listing {
    /// Lists a run record. Logs what is left out: in a warning where it looks
    /// like a file that should be archived.
    pub fn read(run: Run, path: &Path) -> Result<Listing> {
        let failed = |source| Error::io("read", path, source);
        let mut listing = Listing {
            run,
            fcl: BTreeMap::new(),
            txt: BTreeSet::new(),
            other: BTreeSet::new(),
        };
        for entry in faults::read_dir(path).map_err(failed)? {
            listing.take(run, &entry.map_err(failed)?)?;
        }
        if !listing.other.is_empty() {
            log::debug!("run {run}: not archived: {}", names(&listing.other));
        }
        Ok(listing)
    }

    fn take(&mut self, run: Run, entry: &DirEntry) -> Result<()> {
        let name = entry.file_name();
        let text = latin1(&name);
        let entity = text.strip_suffix(".fcl");
        let source = Generated::ALL.iter().any(|one| one.source() == text);
        if entity.is_none() && !source {
            self.other.insert(name);
            return Ok(());
        }
        if text.starts_with(['.', '#']) {
            log::warn!("run {run}: {text} is left out: an editor's file");
            self.other.insert(name);
            return Ok(());
        }
        if let Some(problem) = irregular(entry)? {
            log::warn!("run {run}: {text} is left out: {problem}");
            self.other.insert(name);
            return Ok(());
        }
        match entity {
            Some(SCHEMA_ENTITY) => {
                log::info!(
                    "run {run}: {text} of the record is left out: the one of fcl_conf_dir is archived"
                );
                self.other.insert(name);
            }
            Some(entity) => {
                // No reader of a blob finds a file whose name is not on one line.
                let plain = entity.replace(char::is_control, "_");
                if name.to_str().is_none() {
                    log::warn!("run {run}: a file name is not UTF-8, archived as {plain:?}.fcl");
                } else if plain != entity {
                    log::warn!(
                        "run {run}: the file name {text:?} has control characters, archived as \
                         {plain:?}.fcl"
                    );
                }
                if let Some(other) = self.fcl.insert(plain.clone(), name) {
                    return Err(Error::RunRecord {
                        path: entry.path(),
                        problem: format!(
                            "run {run}: it would be archived as {plain:?}, as would {other:?}; \
                             rename one of them"
                        ),
                    });
                }
            }
            None => {
                self.txt.insert(text);
            }
        }
        Ok(())
    }

    /// Which files to make: those that are asked for, whose source is there
    /// and that the record does not have itself.
    pub fn wanted(&self, generate: &BTreeSet<Generated>) -> Vec<Generated> {
        let run = self.run;
        let sources: BTreeSet<&str> = generate.iter().map(|one| one.source()).collect();
        let missing: Vec<&str> = sources
            .iter()
            .copied()
            .filter(|source| !self.txt.contains(*source))
            .collect();
        if missing.len() == sources.len() && !missing.is_empty() {
            log::info!(
                "run {run}: none of its .txt files is there, only its .fcl files are archived"
            );
        } else if !missing.is_empty() {
            log::warn!(
                "run {run}: not there, and so not archived: {}",
                missing.join(", ")
            );
        }
        generate
            .iter()
            .copied()
            .filter(|one| self.txt.contains(one.source()))
            .filter(|one| {
                let own = self.fcl.contains_key(one.entity());
                if own {
                    log::warn!(
                        "run {run}: {one}.fcl is the record's own, none is made from {}",
                        one.source()
                    );
                }
                !own
            })
            .collect()
    }

    /// What is there, for the error that there is nothing to archive.
    pub fn found(&self) -> String {
        let mut found = self.other.clone();
        found.extend(self.txt.iter().map(OsString::from));
        if found.is_empty() {
            "its directory is empty".to_string()
        } else {
            format!("only {}", names(&found))
        }
    }
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
fn names(all: &BTreeSet<OsString>) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(|name| latin1(name)).collect();
    if all.len() > SHOWN {
        shown.push(format!("and {} more", all.len() - SHOWN));
    }
    shown.join(", ")
}
