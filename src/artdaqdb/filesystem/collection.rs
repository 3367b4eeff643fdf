//! One collection of a FilesystemDB: a directory of documents and its index.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::rebuild;
use crate::artdaqdb::index::{Entry, Index, Oid};
use crate::artdaqdb::run_of;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::faults::fs;
use crate::run::Run;

/// A collection with its index as last read or written, and the entries that
/// wait to be published.
#[derive(Debug)]
pub(super) struct Collection {
    directory: PathBuf,
    index: Index,
    /// The configurations of each run: a view of the index, made with it.
    runs: HashMap<Run, Vec<String>>,
    /// The file that `index` was read from or written to.
    read: Read,
    pending: Vec<Entry>,
}

/// Whether, and from which file, the index was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Not,
    /// There was none, and there were no documents either.
    Missing,
    File(Stamp),
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Collection {
    pub(super) fn new(directory: PathBuf) -> Collection {
        Collection {
            directory,
            index: Index::default(),
            runs: HashMap::new(),
            read: Read::Not,
            pending: Vec::new(),
        }
    }

    /// The collection's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Forgets the index as it was read.
    pub(super) fn forget(&mut self) {
        self.read = Read::Not;
    }

    /// Where a document stands.
    pub(super) fn document(&self, oid: Oid) -> PathBuf {
        self.directory.join(format!("{oid}.json"))
    }

    fn index_file(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    /// The index, read once.
    pub(super) fn index(&mut self) -> Result<&Index> {
        if self.read == Read::Not {
            self.load()?;
        }
        Ok(&self.index)
    }

    /// The configurations of each run, by their whole names `<run>/<name>`.
    pub(super) fn runs(&mut self) -> Result<&HashMap<Run, Vec<String>>> {
        self.index()?;
        Ok(&self.runs)
    }

    /// The documents of a run, whatever its configurations.
    pub(super) fn oids(&mut self, run: Run) -> Result<BTreeSet<Oid>> {
        let names = self.runs()?.get(&run).cloned().unwrap_or_default();
        let oids = names.iter().flat_map(|name| self.index.documents(name));
        Ok(oids.copied().collect())
    }

    /// Adds documents, to become visible with [`publish`](Self::publish).
    pub(super) fn add(&mut self, entries: Vec<Entry>) {
        self.pending.extend(entries);
    }

    /// The entries that wait to be published.
    pub(super) fn pending(&self) -> &[Entry] {
        &self.pending
    }

    /// Drops what waits to be published; its documents stay unnamed.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// Makes the directory and an empty index, where they are missing: a
    /// collection of ours always has an index before it has a document, so that
    /// documents without an index always mean that something is wrong.
    pub(super) fn create(&mut self) -> Result<()> {
        durable::create_directory(&self.directory, 0o777)?;
        self.index()?;
        if self.read == Read::Missing {
            self.replace()?;
        }
        Ok(())
    }

    /// Merges what is pending into the index on disk and replaces it. The caller
    /// holds the archive's lock, so only a foreign tool can write beside us; its
    /// changes are seen by the file's stamp and merged.
    pub(super) fn publish(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        loop {
            if self.read == Read::Not || self.read != self.on_disk()? {
                self.load()?;
            }
            self.index.extend(&pending);
            if self.replace()? {
                for entry in pending {
                    note_run(&mut self.runs, &entry.configuration);
                }
                return Ok(());
            }
            log::warn!(
                "{}: another program changed the index while it was being written; merging",
                self.index_file().display()
            );
        }
    }

    /// Replaces the index on disk, unless it is no longer the one that was read:
    /// then nothing is written, the index counts as not read, and the answer is false.
    fn replace(&mut self) -> Result<bool> {
        // Until the new index is in place, ours must not be taken for it.
        let read = std::mem::replace(&mut self.read, Read::Not);
        let path = self.index_file();
        let text = self.index.write();
        let temporary = durable::write_temporary(&path, text.as_bytes(), durable::SHARED)?;
        if self.on_disk()? != read {
            return Ok(false);
        }
        durable::publish(temporary, &path)?;
        durable::sync_directory(&self.directory)?;
        self.read = self.on_disk()?;
        Ok(true)
    }

    fn load(&mut self) -> Result<()> {
        self.read = Read::Not;
        let path = self.index_file();
        let on_disk = self.on_disk()?;
        self.index = match on_disk {
            Read::Missing => {
                let exists = fs::exists(&self.directory)
                    .map_err(|source| Error::io("look for", &self.directory, source))?;
                let count = match exists {
                    true => rebuild::documents(&self.directory)?.len(),
                    false => 0,
                };
                if count > 0 {
                    return Err(
                        self.damaged(format!("it is missing, though there are {count} documents"))
                    );
                }
                Index::default()
            }
            _ => {
                let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
                    io::ErrorKind::InvalidData => self.damaged("it is not UTF-8".into()),
                    _ => Error::io("read", &path, source),
                })?;
                Index::parse(&text).map_err(|error| self.damaged(error.to_string()))?
            }
        };
        self.runs = HashMap::new();
        for configuration in self.index.configurations() {
            note_run(&mut self.runs, configuration);
        }
        self.read = on_disk;
        Ok(())
    }

    fn on_disk(&self) -> Result<Read> {
        let path = self.index_file();
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Read::File(Stamp {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Read::Missing),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    fn damaged(&self, problem: String) -> Error {
        Error::ArtdaqDb {
            location: self.index_file().display().to_string(),
            problem: format!(
                "the index can't be used: {problem}. Nothing was changed. Restore the index \
                 from a backup, or have a new one made of the documents beside it with \
                 --rebuild-index"
            ),
            kind: ErrorKind::Unreachable,
        }
    }
}

fn note_run(runs: &mut HashMap<Run, Vec<String>>, configuration: &str) {
    if let Some(run) = run_of(configuration) {
        let names = runs.entry(run).or_default();
        if !names.iter().any(|name| name == configuration) {
            names.push(configuration.to_owned());
        }
    }
}
