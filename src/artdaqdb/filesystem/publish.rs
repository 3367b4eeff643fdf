//! Gives documents their names, and indexes that name them.
//!
//! Several archivers may have the same runs in work. Whatever was known of the archive
//! when a run's documents were written, what counts is what the indexes say once their
//! lock is held: a run that somebody else archived meanwhile is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load::{Load, LoadFile};
use super::{Collections, FilesystemDb, SYSTEM_LAYOUT};
use crate::artdaqdb::document::{self, StoredDocument};
use crate::artdaqdb::index::{Entry, Oid};
use crate::artdaqdb::{Presence, choice};
use crate::durable::{self, Temporary, Unsynced};
use crate::error::{Disposition, Error, Result};
use crate::faults::fs;
use crate::run::Run;
use crate::sys::sync::lock;

/// Documents of a run that wait to be published. Dropped, they are gone.
#[derive(Debug)]
pub(super) struct Waiting {
    pub run: Run,
    /// The configuration's whole name.
    pub version: String,
    /// Whether they are of a run that was not wholly there.
    pub is_insertion: bool,
    /// The run's documents that the indexes named when these were written.
    pub known: BTreeSet<Oid>,
    pub documents: Vec<WaitingDocument>,
    /// Ends when nothing of it waits any more.
    #[allow(dead_code, reason = "held, not read")]
    pub load: Arc<Load>,
}

/// A document that waits to be published.
#[derive(Debug)]
pub(super) struct WaitingDocument {
    pub collection: &'static str,
    pub entry: Entry,
    pub file: Temporary,
}

impl Waiting {
    /// The documents, to be made durable.
    pub(super) fn unsynced(&self) -> Vec<Unsynced> {
        self.documents.iter().map(|it| it.file.unsynced()).collect()
    }
}

impl WaitingDocument {
    /// Its FHiCL, as it would be read from the archive.
    fn text(&self) -> Result<String> {
        let path = self.file.path();
        let text = fs::read_to_string(path).map_err(|source| Error::io("read", path, source))?;
        let stored = document::read(&text);
        stored.map(|it| it.text).map_err(|error| {
            let problem = format!("a document that was just written can't be read: {error}");
            Error::artdaqdb(path.display().to_string(), problem, Disposition::RetryRun)
        })
    }
}

/// What becomes of documents that wait.
enum Fate {
    Published(Waiting),
    /// The run is whole by now: it remains to be compared.
    Overtaken(Waiting),
    /// The archive has got all of it meanwhile.
    Superfluous,
    Refused(Error),
}

impl FilesystemDb {
    /// Makes durable and visible what was written. Returns the runs of which it was
    /// refused.
    pub(super) fn publish_waiting(&self) -> Result<Vec<(Run, Error)>> {
        let _publishing = lock(&self.publishing);
        let (unsynced, count) = {
            let mut collections = self.lock();
            let unsynced = std::mem::take(&mut collections.unsynced);
            (unsynced, collections.waiting.len())
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        // Before the lock is taken: an index names nothing that may be lost.
        let index = unsynced
            .finish(self.volume().map(|volume| &**volume))
            .and_then(|()| self.locks.index());
        let mut collections = self.lock();
        // When something fails, no schema must be left to be published without its run's
        // other documents.
        let waiting: Vec<Waiting> = collections.waiting.drain(..count).collect();
        let index = index?;
        self.check_identity()?;
        let (mut published, mut overtaken, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let is_same = collections.is_current()?;
        for waiting in waiting {
            let run = waiting.run;
            let fate = match is_same {
                true => Fate::Published(waiting),
                false => self.fate(&mut collections, waiting)?,
            };
            match fate {
                Fate::Published(waiting) => published.push(waiting),
                Fate::Overtaken(waiting) => overtaken.push(waiting),
                Fate::Superfluous => choice::note_archived_meanwhile(run),
                Fate::Refused(error) => refused.push((run, error)),
            }
        }
        self.make_visible(&mut collections, published)?;
        drop(collections);
        drop(index);
        for waiting in overtaken {
            match self.compare(&waiting) {
                Ok(()) => choice::note_archived_meanwhile(waiting.run),
                Err(error) => refused.push((waiting.run, error)),
            }
        }
        Ok(refused)
    }

    /// Gives the documents their names, and writes them into the indexes. The caller
    /// holds the lock `index`.
    fn make_visible(&self, collections: &mut Collections, waiting: Vec<Waiting>) -> Result<()> {
        let documents = || waiting.iter().flat_map(|it| &it.documents);
        if documents().next().is_none() {
            return Ok(());
        }
        let named = documents().map(|it| (it.collection, it.entry.oid, it.entry.run.as_str()));
        let file = LoadFile::create(&self.root, named)?;
        // Whatever fails from here on, the file tells what is there; the next load clears
        // it away.
        let (mut run_history, mut system_layout) = (Vec::new(), Vec::new());
        let mut loads = Vec::new();
        for waiting in waiting {
            for document in waiting.documents {
                durable::publish(document.file)?;
                match document.collection {
                    SYSTEM_LAYOUT => system_layout.push(document.entry),
                    _ => run_history.push(document.entry),
                }
            }
            loads.push(waiting.load);
        }
        for (_, collection) in collections.each() {
            durable::sync_directory(collection.directory())?;
        }
        collections.run_history.publish(&run_history)?;
        collections.system_layout.publish(&system_layout)?;
        file.remove();
        Ok(())
    }

    /// What becomes of documents, now that others have written to the archive.
    fn fate(&self, collections: &mut Collections, mut waiting: Waiting) -> Result<Fate> {
        let run = waiting.run;
        if collections.known(run)? == waiting.known {
            return Ok(Fate::Published(waiting));
        }
        if waiting.is_insertion && collections.presence(run)? == Some(Presence::Whole) {
            return Ok(Fate::Overtaken(waiting));
        }
        let changed = |what: &str| {
            let problem = format!("run {run}: {what} meanwhile by another archiver");
            Error::artdaqdb(self.location.clone(), problem, Disposition::RetryRun)
        };
        let version = collections.published_version(run)?;
        if version.is_some_and(|version| version != waiting.version) {
            return Ok(Fate::Refused(changed("another configuration was stored")));
        }
        let stored = match self.read_listed(collections, run) {
            Ok(stored) => choice::newest(run, stored),
            Err(error) => return Ok(Fate::Refused(error)),
        };
        let mut lacking = Vec::new();
        for document in waiting.documents {
            match stored.get(&document.entry.entity) {
                None => lacking.push(document),
                Some(stored) => match document.text() {
                    Ok(text) if text == stored.text => {}
                    Ok(_) => return Ok(Fate::Refused(changed("other documents were added"))),
                    Err(error) => return Ok(Fate::Refused(error)),
                },
            }
        }
        if lacking.is_empty() {
            return Ok(Fate::Superfluous);
        }
        waiting.documents = lacking;
        Ok(Fate::Published(waiting))
    }

    /// Compares a run that is whole with the documents that were to be published.
    fn compare(&self, waiting: &Waiting) -> Result<()> {
        let texts = waiting.documents.iter();
        let texts = texts.map(|it| Ok((it.entry.entity.as_str(), it.text()?)));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let texts = texts.iter().map(|(entity, text)| (*entity, text.as_str()));
        let stored = self.newest(waiting.run)?;
        self.refuse_conflict(
            waiting.run,
            &choice::differing(texts, &choice::texts(&stored)),
        )
    }

    /// The documents of a run that count.
    pub(super) fn newest(&self, run: Run) -> Result<BTreeMap<String, StoredDocument>> {
        Ok(choice::newest(run, self.read_documents(run)?))
    }

    /// An error if something of a run that is whole differs.
    pub(super) fn refuse_conflict(&self, run: Run, differing: &[String]) -> Result<()> {
        if differing.is_empty() {
            return Ok(());
        }
        let version = self.lock().version(run)?.unwrap_or_default();
        Err(self.refuse(choice::conflict(run, &version, differing)))
    }
}
