//! One collection of a FilesystemDB: a directory of documents and its index.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::catalogue::Catalogue;
use super::merge::{Failure, merge};
use super::rebuild;
use crate::artdaqdb::index::{Entry, Index, Oid};
use crate::artdaqdb::run_of;
use crate::durable::{self, LargeFile, Temporary};
use crate::error::{Disposition, Error, Remedy, Result};
use crate::faults::fs::{self, Metadata};
use crate::regular_file;
use crate::run::Run;

/// A collection with what is known of its index.
#[derive(Debug)]
pub(super) struct Collection {
    directory: PathBuf,
    /// The file that all of this is known of.
    read: Read,
    /// The configurations of each run.
    runs: HashMap<Run, Vec<String>>,
    /// The weights of each run's documents, added up.
    stamps: HashMap<Run, u64>,
    /// What readers need of the index. It can be large, so no more than is needed
    /// is in memory.
    catalogue: Option<Catalogue>,
    /// The whole index.
    index: Option<Box<Index>>,
}

/// Whether, and in which file, the index was read or written.
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

impl Read {
    fn of(file: &Metadata) -> Read {
        Read::File(Stamp {
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}

impl Collection {
    pub(super) fn new(directory: PathBuf) -> Collection {
        Collection {
            directory,
            read: Read::Not,
            runs: HashMap::new(),
            stamps: HashMap::new(),
            catalogue: None,
            index: None,
        }
    }

    /// The collection's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Forgets the index as it was read.
    pub(super) fn forget(&mut self) {
        self.read = Read::Not;
        self.catalogue = None;
        self.index = None;
    }

    /// Whether the index on disk is the one that is known. Forgets it if not.
    pub(super) fn is_current(&mut self) -> Result<bool> {
        let is_same = self.read != Read::Not && self.on_disk()? == self.read;
        if !is_same {
            self.forget();
        }
        Ok(is_same)
    }

    /// Where a document stands.
    pub(super) fn document(&self, oid: Oid) -> PathBuf {
        self.directory.join(format!("{oid}.json"))
    }

    fn index_file(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    /// The whole index, read once.
    pub(super) fn index(&mut self) -> Result<&Index> {
        let index = match self.index.take() {
            Some(index) => index,
            None => self.load()?,
        };
        Ok(self.index.insert(index))
    }

    /// The configurations of each run, by their whole names `<run>/<name>`.
    pub(super) fn runs(&mut self) -> Result<&HashMap<Run, Vec<String>>> {
        if self.read == Read::Not {
            self.survey()?;
        }
        Ok(&self.runs)
    }

    /// A number for each run that is another one when its documents are others.
    pub(super) fn stamps(&mut self) -> Result<&HashMap<Run, u64>> {
        self.runs()?;
        Ok(&self.stamps)
    }

    /// The documents of a run, whatever its configurations.
    pub(super) fn oids(&mut self, run: Run) -> Result<BTreeSet<Oid>> {
        if self.catalogue.is_none() && self.index.is_none() {
            self.survey()?;
        }
        if let Some(catalogue) = &self.catalogue
            && let Some(oids) = self.catalogued(run, catalogue)?
        {
            return Ok(oids);
        }
        self.index()?;
        let names = self.runs.get(&run).into_iter().flatten();
        let oids = names.flat_map(|name| self.index.iter().flat_map(|it| it.documents(name)));
        Ok(oids.copied().collect())
    }

    /// The documents of a run by the catalogue. Nothing, if it can't be gone by.
    fn catalogued(&self, run: Run, catalogue: &Catalogue) -> Result<Option<BTreeSet<Oid>>> {
        let path = self.index_file();
        let failed = |source| Error::io("read", &path, source);
        let mut oids = BTreeSet::new();
        for name in self.runs.get(&run).into_iter().flatten() {
            match catalogue.documents(name).map_err(failed)? {
                Some(documents) => oids.extend(documents),
                None => return Ok(None),
            }
        }
        // The real tools write into the file as it stands.
        let is_same = Read::of(&catalogue.file().metadata().map_err(failed)?) == self.read;
        Ok(is_same.then_some(oids))
    }

    /// Makes the directory and an empty index, where they are missing: a
    /// collection of ours always has an index before it has a document, so that
    /// documents without an index always mean that something is wrong.
    pub(super) fn create(&mut self) -> Result<()> {
        durable::create_directory(&self.directory, 0o777)?;
        if self.on_disk()? == Read::Missing {
            self.extend(&[])?;
        }
        Ok(())
    }

    /// Merges entries into the index on disk and replaces it. The caller holds
    /// the archive's lock, so only a foreign tool can write beside us; its changes
    /// are seen by the file's stamp and merged.
    pub(super) fn publish(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        loop {
            let is_published = match self.merge(entries)? {
                Some(is_published) => is_published,
                None => self.extend(entries)?,
            };
            if is_published {
                for entry in entries {
                    note_run(&mut self.runs, &entry.configuration);
                    let weight = entry.oid.weight();
                    add_stamp(&mut self.stamps, &entry.configuration, weight);
                }
                return Ok(());
            }
            log::warn!(
                "{}: another program changed the index while it was being written; merging",
                self.index_file().display()
            );
        }
    }

    /// Copies the index with entries added, as [`replace`](Self::replace) says.
    /// Nothing, if it is not laid out for that or not there, and nothing is written.
    fn merge(&mut self, entries: &[Entry]) -> Result<Option<bool>> {
        let path = self.index_file();
        let failed = |source| Error::io("read", &path, source);
        // What changes from here on is seen when the file is replaced.
        let read = self.on_disk()?;
        let mut old = match regular_file::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        if self.read != read {
            // The runs of another program are known when they are asked for.
            self.forget();
        }
        let (temporary, new) = durable::open_temporary(&path, durable::SHARED)?;
        let mut new = LargeFile::new(new);
        let is_merged = merge(&mut old, entries, &mut new).map_err(|failure| match failure {
            Failure::Read(source) => failed(source),
            Failure::Write(source) => Error::io("write", &path, source),
        })?;
        if !is_merged {
            log::debug!(
                "{}: not laid out as the real tools lay it out; reading all of it",
                path.display()
            );
            return Ok(None);
        }
        new.finish()
            .map_err(|source| Error::io("synchronise", &path, source))?;
        self.replace(temporary, read).map(Some)
    }

    /// Writes the whole index anew with entries added, as [`replace`](Self::replace)
    /// says.
    fn extend(&mut self, entries: &[Entry]) -> Result<bool> {
        let mut index = self.load()?;
        let read = self.read;
        index.extend(entries);
        let text = index.write();
        drop(index);
        let temporary =
            durable::write_temporary(&self.index_file(), text.as_bytes(), durable::SHARED)?;
        self.replace(temporary, read)
    }

    /// Replaces the index on disk by a new one, made of that which was `read`. If
    /// another stands there by now, nothing is changed, and the answer is false.
    fn replace(&mut self, new: Temporary, read: Read) -> Result<bool> {
        if self.on_disk()? != read {
            self.forget();
            return Ok(false);
        }
        let is_known = self.read == read;
        self.forget();
        durable::publish(new)?;
        durable::sync_directory(&self.directory)?;
        if is_known {
            // Its runs are those that were known, and the new ones.
            self.read = self.on_disk()?;
        }
        Ok(true)
    }

    /// Reads what readers need; the whole index, if it takes that.
    fn survey(&mut self) -> Result<()> {
        let path = self.index_file();
        let file = match regular_file::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.index = Some(self.load()?);
                return Ok(());
            }
            file => file.map_err(|source| Error::io("read", &path, source))?,
        };
        let failed = |source| Error::io("read", &path, source);
        let read = Read::of(&file.metadata().map_err(failed)?);
        let Some(catalogue) = Catalogue::read(file).map_err(failed)? else {
            self.index = Some(self.load()?);
            return Ok(());
        };
        self.runs = runs(catalogue.configurations());
        self.stamps = stamps(catalogue.stamps());
        self.catalogue = Some(catalogue);
        self.read = read;
        Ok(())
    }

    /// Reads the whole index, and its runs.
    fn load(&mut self) -> Result<Box<Index>> {
        self.forget();
        let path = self.index_file();
        let on_disk = self.on_disk()?;
        let index = match on_disk {
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
                let text =
                    regular_file::read_to_string(&path).map_err(|source| match source.kind() {
                        io::ErrorKind::InvalidData => self.damaged("it is not UTF-8".into()),
                        _ => Error::io("read", &path, source),
                    })?;
                Index::parse(&text).map_err(|error| self.damaged(error.to_string()))?
            }
        };
        self.runs = runs(index.configurations());
        self.stamps = stamps(index.configurations().map(|name| {
            let weights = index.documents(name).iter().map(|oid| oid.weight());
            (name, weights.fold(0, u64::wrapping_add))
        }));
        self.read = on_disk;
        Ok(Box::new(index))
    }

    fn on_disk(&self) -> Result<Read> {
        let path = self.index_file();
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Read::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Read::Missing),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    fn damaged(&self, problem: String) -> Error {
        Error::artdaqdb(
            self.index_file().display().to_string(),
            format!("the index can't be used: {problem}. Nothing was changed."),
            Disposition::StopStage,
        )
        .with_remedy(Remedy::RebuildIndex)
    }
}

/// The configurations of each run, in the order in which they come.
fn runs<'a>(configurations: impl Iterator<Item = &'a str>) -> HashMap<Run, Vec<String>> {
    let mut runs = HashMap::new();
    for configuration in configurations {
        note_run(&mut runs, configuration);
    }
    runs
}

/// The stamp of each run.
fn stamps<'a>(configurations: impl Iterator<Item = (&'a str, u64)>) -> HashMap<Run, u64> {
    let mut stamps = HashMap::new();
    for (configuration, weight) in configurations {
        add_stamp(&mut stamps, configuration, weight);
    }
    stamps
}

fn add_stamp(stamps: &mut HashMap<Run, u64>, configuration: &str, weight: u64) {
    if let Some(run) = run_of(configuration) {
        let stamp = stamps.entry(run).or_default();
        *stamp = stamp.wrapping_add(weight);
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
