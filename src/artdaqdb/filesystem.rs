//! artdaqDB's FilesystemDB, read and written without the real tools: documents
//! as files, one index for each collection.
//!
//! Order of writes: the documents where they wait; the file that names them; their
//! own names; RunHistory's index; SystemLayout's. A run counts as whole only when both
//! indexes name it, so that a kill between any two leaves a run that is invisible or
//! known to be partial.
//!
//! A document's oid is derived from what it documents. Writing a run again after
//! a kill, or from two hosts at once, therefore replaces the same files instead
//! of leaving documents that no index names.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use jiff::Timestamp;

use self::load::Load;
use self::lock::ArchiveLock;
use self::publish::{Waiting, WaitingDocument};
use super::compose::{Composition, collection_of};
use super::document::{self, StoredDocument, Text};
use super::index::{Entry, Oid};
use super::{
    ArtdaqDb, ArtdaqUri, Configuration, Documents, Inserted, Inspection, NativeDb, Presence,
    RUN_HISTORY, SYSTEM_LAYOUT, address, choice, system_metadata,
};
use crate::clock;
use crate::durable::{self, Volume, WriteOut};
use crate::error::{Disposition, Error, Remedy, Result};
use crate::faults;
use crate::faults::fs;
use crate::regular_file;
use crate::run::{FclFile, Run};
use crate::shutdown::Shutdown;
use crate::sys::sync::lock;
use crate::sys::url::InvalidAddress;
use collection::Collection;

use leftovers::Schemas;
pub use rebuild::{Comparison, Rebuilt};

mod catalogue;
mod collection;
mod leftovers;
mod load;
pub(super) mod lock;
mod merge;
mod precedence;
mod publish;
mod rebuild;

/// A FilesystemDB archive.
#[derive(Debug)]
pub struct FilesystemDb {
    root: PathBuf,
    location: String,
    /// No lock of the archive is waited for while this is held.
    collections: Mutex<Collections>,
    /// Held by the thread that publishes, from the documents to the last index.
    publishing: Mutex<()>,
    volume: OnceLock<Option<Arc<Volume>>>,
    locks: ArchiveLock,
    /// The load under way, shared by all threads that write documents.
    load: Mutex<Weak<Load>>,
    /// Whether the archive's directories are known to exist.
    is_created: AtomicBool,
    /// Identifies the directory whose runs were listed last, if it existed.
    listed: Mutex<Option<(u64, u64)>>,
    /// The largest document, in bytes.
    max_document: u64,
}

#[derive(Debug)]
struct Collections {
    run_history: Collection,
    system_layout: Collection,
    /// Documents to be made durable before an index names them.
    unsynced: WriteOut,
    /// The documents that wait to be published, by run.
    waiting: Vec<Waiting>,
}

impl FilesystemDb {
    /// The archive at `filesystemdb:///absolute/path`. Nothing is read or created
    /// yet.
    ///
    /// # Errors
    /// A URI that names no absolute path, or a variable that is not set.
    pub fn new(uri: &str) -> Result<FilesystemDb> {
        let uri = ArtdaqUri::parse(uri).map_err(address::refused)?;
        let root = uri.directory();
        root.map(FilesystemDb::at).ok_or_else(|| {
            let problem = "a FilesystemDB's URI begins with filesystemdb://";
            address::refused(InvalidAddress(problem.into()))
        })
    }

    /// The archive in a directory. Nothing is read or created yet.
    #[must_use]
    pub fn at(root: &Path) -> FilesystemDb {
        FilesystemDb {
            location: address::location(root),
            collections: Mutex::new(Collections {
                run_history: Collection::new(root.join(RUN_HISTORY)),
                system_layout: Collection::new(root.join(SYSTEM_LAYOUT)),
                unsynced: WriteOut::default(),
                waiting: Vec::new(),
            }),
            publishing: Mutex::default(),
            volume: OnceLock::new(),
            locks: ArchiveLock::new(root, &Shutdown::default()),
            load: Mutex::default(),
            is_created: AtomicBool::new(false),
            listed: Mutex::default(),
            max_document: super::MAX_DOCUMENT,
            root: root.to_path_buf(),
        }
    }

    /// Waits for other programs only briefly once the work is to end.
    #[must_use]
    pub fn heeding(self, shutdown: &Shutdown) -> FilesystemDb {
        FilesystemDb {
            locks: ArchiveLock::new(&self.root, shutdown),
            ..self
        }
    }

    /// Reads and writes no document that is larger, in bytes.
    #[must_use]
    pub fn limited(self, max_document: u64) -> FilesystemDb {
        FilesystemDb {
            max_document,
            ..self
        }
    }

    /// An error if a document is too large.
    fn check_size(&self, run: Run, what: &str, size: u64) -> Result<()> {
        if size <= self.max_document {
            return Ok(());
        }
        let limit = self.max_document / (1024 * 1024);
        let problem =
            format!("run {run}: the document of {what} has {size} bytes, more than {limit} MiB");
        Err(self.refuse(problem).with_remedy(Remedy::RaiseDocumentLimit))
    }

    /// The directory of the archive.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Compares each collection's index with its documents: by their names, so that it
    /// stays quick in a large archive; only documents that no index names are read. An
    /// archive that does not exist yet has no collections.
    ///
    /// # Errors
    /// An index or a directory can't be read.
    pub fn compare_indexes(&self) -> Result<Vec<(&'static str, Comparison)>> {
        let loads = load::open_loads(&self.root)?;
        let mut collections = self.lock();
        let mut comparisons = Vec::new();
        let mut schemas = Schemas::default();
        // Which documents are left over depends on the schemas.
        for (name, collection) in collections.each().into_iter().rev() {
            collection.forget();
            if faults::is_dir(collection.directory()) {
                let directory = collection.directory().to_path_buf();
                let index = collection.index()?;
                let comparison = rebuild::compare(&directory, index, &loads, &mut schemas)?;
                comparisons.insert(0, (name, comparison));
            }
        }
        Ok(comparisons)
    }

    /// Makes new indexes of the documents; the old ones are kept beside the collections.
    /// What is left of imports that were cut short or failed is left out.
    ///
    /// # Errors
    /// There is no archive; a document can't be read; an index can't be written.
    /// An index is replaced only when all documents were read.
    pub fn rebuild_indexes(&self) -> Result<Vec<Rebuilt>> {
        let _documents = self.locks.all_documents()?;
        let _index = self.locks.index()?;
        let loads = load::open_loads(&self.root)?;
        let mut collections = self.lock();
        let suffix = clock::local().strftime("%Y%m%d_%H%M%S").to_string();
        let mut schemas = Schemas::default();
        let mut plans = Vec::new();
        for (_, collection) in collections.each().into_iter().rev() {
            collection.forget();
            if faults::is_dir(collection.directory()) {
                plans.push(rebuild::plan(collection.directory(), &loads, &mut schemas)?);
            }
        }
        let plans = plans.into_iter().rev();
        plans.map(|plan| plan.carry_out(&suffix)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Collections> {
        // A panic elsewhere leaves nothing half-done here that a reload would not settle.
        self.collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Identifies the directory that is there now.
    fn identity(&self) -> Option<(u64, u64)> {
        let found = fs::metadata(self.root.join(RUN_HISTORY)).ok()?;
        Some((found.dev(), found.ino()))
    }

    /// Makes sure that the archive is still the one whose runs were listed: a new
    /// one would be made in the mount point of a disk that was unmounted.
    fn check_identity(&self) -> Result<()> {
        let listed = *lock(&self.listed);
        if listed.is_none() || listed == self.identity() {
            return Ok(());
        }
        Err(Error::artdaqdb(
            &self.location,
            "the archive is not there any more whose runs were listed a moment ago: is it mounted?",
            Disposition::StopStage,
        ))
    }

    /// Returns why an operation failed: above all, because the archive is gone.
    fn cause(&self, error: Error) -> Error {
        self.check_identity().err().unwrap_or(error)
    }

    /// Joins the load under way, or begins one.
    fn load(&self) -> Result<Arc<Load>> {
        let under_way = || self.load.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(load) = under_way().upgrade() {
            return Ok(load);
        }
        if let Err(error) = self.clear_leftovers() {
            log::warn!(
                "What an import left that was cut short can't be cleared away; it does no harm: {error}"
            );
        }
        // Waited for without the mutex. Two threads that come here at once have two
        // loads, which is as good as one.
        let load = Arc::new(Load::new(&self.root, self.locks.documents()?));
        *under_way() = Arc::downgrade(&load);
        Ok(load)
    }

    /// Removes what earlier loads left that did not end in good order.
    fn clear_leftovers(&self) -> Result<()> {
        load::clear(&self.root, &self.locks, |run| {
            let mut collections = self.lock();
            collections.is_current()?;
            collections.known(run)
        })
    }

    /// Creates what is missing of the archive, before its first document.
    fn create(&self) -> Result<()> {
        if self.is_created.load(Ordering::Acquire) {
            return Ok(());
        }
        let _index = self.locks.index()?;
        // Another thread may have held the lock meanwhile.
        if self.is_created.load(Ordering::Acquire) {
            return Ok(());
        }
        self.create_system_metadata()?;
        let mut collections = self.lock();
        collections.run_history.create()?;
        collections.system_layout.create()?;
        self.is_created.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes the document into `SystemMetadata`, unless that has one. A directory
    /// alone is what an execution leaves that ended between the two.
    fn create_system_metadata(&self) -> Result<()> {
        let directory = self.root.join(system_metadata::COLLECTION);
        durable::create_directory(&directory, 0o777)?;
        if !rebuild::documents(&directory)?.is_empty() {
            return Ok(());
        }
        let oid = system_metadata::oid(&self.location);
        durable::replace(
            &directory.join(format!("{oid}.json")),
            system_metadata::text(&self.location)?.as_bytes(),
            durable::SHARED,
        )
    }

    /// The archive's file system, if it can be made durable as a whole.
    fn volume(&self) -> Option<&Arc<Volume>> {
        let volume = || {
            let collections = [RUN_HISTORY, SYSTEM_LAYOUT].map(|name| self.root.join(name));
            Volume::of(&collections).map(Arc::new)
        };
        self.volume.get_or_init(volume).as_ref()
    }

    /// Writes documents for `files`, each under its oid.
    fn write_documents(
        &self,
        load: &Load,
        run: Run,
        version: &str,
        files: &[(&FclFile, Oid)],
        last: Option<Timestamp>,
    ) -> Result<Vec<WaitingDocument>> {
        // Before the first document.
        self.volume();
        let mut written = Vec::with_capacity(files.len());
        let mut buffer = String::new();
        for (file, oid) in files {
            let collection = collection_of(&file.entity);
            let path = self.root.join(collection).join(format!("{oid}.json"));
            let composition = Composition::of(run, file)?;
            self.check_size(run, &format!("{}.fcl", file.entity), composition.size())?;
            let (temporary, file_of_document) = load.create(collection, &path)?;
            let mut text = Text::new(&mut buffer, file_of_document);
            let assigned = composition.write(version, *oid, last, &mut text);
            text.finish()
                .map_err(|source| Error::io("write", &path, source))?;
            written.push(WaitingDocument {
                collection,
                entry: Entry {
                    oid: *oid,
                    version: version.to_owned(),
                    configuration: version.to_owned(),
                    entity: file.entity.clone(),
                    run: run.to_string(),
                    assigned,
                },
                file: temporary,
            });
        }
        Ok(written)
    }

    fn read_document(&self, path: &Path, run: Run) -> Result<StoredDocument> {
        let damaged = |problem: String| {
            Error::artdaqdb(
                path.display().to_string(),
                format!("run {run}: {problem}"),
                Disposition::FailRun,
            )
            .with_remedy(Remedy::RestoreDocument)
        };
        if let Ok(found) = fs::metadata(path) {
            self.check_size(run, &path.display().to_string(), found.len())?;
        }
        let bytes = regular_file::read(path).map_err(|source| match source.kind() {
            // One document can be lost, or all with the disk that they are on.
            std::io::ErrorKind::NotFound => Error::artdaqdb(
                path.display().to_string(),
                format!("run {run}: the index names this document, but it is missing"),
                Disposition::RetryRun,
            )
            .with_remedy(Remedy::RestoreDocument)
            .caused_by(source),
            _ => Error::io("read", path, source),
        })?;
        let text =
            String::from_utf8(bytes).map_err(|error| damaged(format!("not UTF-8: {error}")))?;
        let stored = document::read(&text).map_err(|error| damaged(error.to_string()))?;
        let is_ours = stored
            .configurations
            .iter()
            .any(|configuration| super::run_of(&configuration.name) == Some(run));
        if !is_ours {
            return Err(damaged(format!(
                "the index gives this document to run {run}, but it belongs to {}",
                stored.version
            )));
        }
        Ok(stored)
    }

    /// Where every document of a run stands that the indexes name, in the order
    /// of their oids.
    ///
    /// # Errors
    /// An index can't be read.
    pub(super) fn document_paths(&self, run: Run) -> Result<Vec<PathBuf>> {
        self.lock().document_paths(run)
    }

    fn read_documents(&self, run: Run) -> Result<Vec<StoredDocument>> {
        let paths = self.document_paths(run)?;
        paths.iter().map(|it| self.read_document(it, run)).collect()
    }

    /// Reads the documents of a run while the indexes stay as they are.
    fn read_listed(&self, collections: &mut Collections, run: Run) -> Result<Vec<StoredDocument>> {
        let paths = collections.document_paths(run)?;
        paths.iter().map(|it| self.read_document(it, run)).collect()
    }

    /// Writes the documents of a run.
    fn add(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted> {
        if !self.is_created.load(Ordering::Acquire) {
            durable::create_directory(&self.root, 0o777)?;
        }
        let load = self.load()?;
        self.create()?;
        let (presence, version, known) = {
            let mut collections = self.lock();
            let version = match collections.version(run)? {
                Some(version) => version,
                None => format!("{run}/{name}"),
            };
            (collections.presence(run)?, version, collections.known(run)?)
        };
        let documents = match presence {
            None => Vec::new(),
            Some(_) => self.read_documents(run)?,
        };
        let last = choice::last_time(&documents);
        let present = choice::newest(run, documents);
        if presence == Some(Presence::Whole) {
            self.refuse_conflict(
                run,
                &choice::differing_files(files, &choice::texts(&present)),
            )?;
            choice::note_archived_meanwhile(run);
            return Ok(Inserted::Before);
        }
        let mut missing = Vec::new();
        for file in files
            .iter()
            .filter(|file| choice::is_missing(file, &present))
        {
            let oid = match present.contains_key(&file.entity) {
                false => Oid::of_names(&[&version, &file.entity, "0"]),
                true => self.lock().next_oid(run, &version, &file.entity)?,
            };
            missing.push((file, oid));
        }
        let documents = self.write_documents(&load, run, &version, &missing, last)?;
        self.wait(Waiting {
            run,
            version,
            is_insertion: true,
            known,
            documents,
            load,
        });
        Ok(Inserted::Now)
    }

    /// Writes documents that are added to a run. They count from their publication on,
    /// instead of others of their entities.
    fn add_to(&self, run: Run, files: &[FclFile]) -> Result<()> {
        let (version, known) = {
            let mut collections = self.lock();
            (collections.version(run)?, collections.known(run)?)
        };
        let version = version.ok_or_else(|| {
            self.refuse(format!("run {run} is not archived, so it can't be updated"))
        })?;
        let load = self.load()?;
        let documents = self.read_documents(run)?;
        let mut collections = self.lock();
        let pending = collections.pending_of(run);
        let instants = pending
            .iter()
            .filter_map(|it| choice::instant(&it.assigned));
        let last = instants.chain(choice::last_time(&documents)).max();
        // Another archiver may have added the same.
        let mut chosen = Vec::new();
        for file in choice::lacking(run, documents.clone(), files.iter()) {
            let stored = documents.iter();
            let stored = stored.filter(|document| document.entities.contains(&file.entity));
            let stored = stored.filter_map(|document| Oid::parse(&document.oid));
            let waiting = pending.iter().filter(|it| it.entity == file.entity);
            let lowest = stored.chain(waiting.map(|it| it.oid)).min();
            let oid = match lowest {
                None => collections.next_oid(run, &version, &file.entity)?,
                Some(lowest) => lowest
                    .before(&[&version, &file.entity, &lowest.to_string()])
                    .ok_or_else(|| {
                        self.refuse(format!("run {run}: no identity sorts before {lowest}"))
                    })?,
            };
            chosen.push((file, oid));
        }
        drop(collections);
        let documents = self.write_documents(&load, run, &version, &chosen, last)?;
        self.wait(Waiting {
            run,
            version,
            is_insertion: false,
            known,
            documents,
            load,
        });
        Ok(())
    }

    /// Lets documents wait until they are published.
    fn wait(&self, waiting: Waiting) {
        let volume = self.volume();
        let mut collections = self.lock();
        collections.unsynced.add(waiting.unsynced(), volume);
        collections.waiting.push(waiting);
    }

    /// The whole name of a whole run.
    fn version_of_whole(&self, run: Run) -> Result<String> {
        let version = {
            let mut collections = self.lock();
            match collections.presence(run)? {
                Some(Presence::Whole) => {}
                Some(Presence::Partial) => {
                    return Err(self
                        .refuse(format!(
                            "run {run} is archived in part only: its import was cut short."
                        ))
                        .with_remedy(Remedy::ImportAgain));
                }
                None => return Err(self.refuse(format!("run {run} is not archived"))),
            }
            collections.version(run)?.unwrap_or_default()
        };
        Ok(version)
    }

    /// Reads the newest documents of a run.
    fn read_run(&self, run: Run) -> Result<Configuration> {
        let version = self.version_of_whole(run)?;
        let newest = choice::newest(run, self.read_documents(run)?);
        Ok(choice::configuration(&version, newest))
    }

    fn inspect_run(&self, run: Run) -> Result<Inspection> {
        let version = self.version_of_whole(run)?;
        Ok(choice::inspection(run, &version, self.read_documents(run)?))
    }

    fn refuse(&self, problem: String) -> Error {
        Error::artdaqdb(self.location.clone(), problem, Disposition::FailRun)
    }
}

impl Collections {
    /// The collections, in the order in which their indexes are written.
    fn each(&mut self) -> [(&'static str, &mut Collection); 2] {
        [
            (RUN_HISTORY, &mut self.run_history),
            (SYSTEM_LAYOUT, &mut self.system_layout),
        ]
    }

    fn presence(&mut self, run: Run) -> Result<Option<Presence>> {
        let documents = self.run_history.runs()?.contains_key(&run);
        let schema = self.system_layout.runs()?.contains_key(&run);
        Ok(match (documents, schema) {
            (true, true) => Some(Presence::Whole),
            (false, false) => None,
            _ => Some(Presence::Partial),
        })
    }

    /// Whether the indexes are those that are known. If not, they are read again when
    /// something of them is asked for.
    fn is_current(&mut self) -> Result<bool> {
        let is_same = [
            self.run_history.is_current()?,
            self.system_layout.is_current()?,
        ];
        Ok(is_same == [true; 2])
    }

    /// Every document of a run that the indexes name.
    fn known(&mut self, run: Run) -> Result<BTreeSet<Oid>> {
        let mut known = BTreeSet::new();
        for (_, collection) in self.each() {
            if collection.runs()?.contains_key(&run) {
                known.extend(collection.oids(run)?);
            }
        }
        Ok(known)
    }

    /// Where every document of a run stands that the indexes name.
    fn document_paths(&mut self, run: Run) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for (_, collection) in self.each() {
            let oids = collection.oids(run)?;
            paths.extend(oids.into_iter().map(|oid| collection.document(oid)));
        }
        Ok(paths)
    }

    /// The configuration's whole name, `<run>/<name>`, published or waiting.
    fn version(&mut self, run: Run) -> Result<Option<String>> {
        let mut waiting = self.waiting.iter().rev();
        match waiting.find(|it| it.run == run) {
            Some(waiting) => Ok(Some(waiting.version.clone())),
            None => self.published_version(run),
        }
    }

    /// The configuration's whole name, `<run>/<name>`, in an index.
    fn published_version(&mut self, run: Run) -> Result<Option<String>> {
        for (_, collection) in self.each() {
            if let Some(names) = collection.runs()?.get(&run) {
                return Ok(names.first().cloned());
            }
        }
        Ok(None)
    }

    /// The documents of a run that wait to be published.
    fn pending_of(&self, run: Run) -> Vec<Entry> {
        let waiting = self.waiting.iter().filter(|it| it.run == run);
        let documents = waiting.flat_map(|it| &it.documents);
        documents.map(|it| it.entry.clone()).collect()
    }

    /// An oid for another document of this entity: the first that is not taken.
    fn next_oid(&mut self, run: Run, version: &str, entity: &str) -> Result<Oid> {
        let mut taken = self.known(run)?;
        let waiting = self.waiting.iter().filter(|it| it.run == run);
        taken.extend(waiting.flat_map(|it| it.documents.iter().map(|it| it.entry.oid)));
        let mut number = 0;
        loop {
            let oid = Oid::of_names(&[version, entity, &number.to_string()]);
            if !taken.contains(&oid) {
                return Ok(oid);
            }
            number += 1;
        }
    }
}

impl ArtdaqDb for FilesystemDb {
    fn location(&self) -> &str {
        &self.location
    }

    fn runs(&self) -> Result<BTreeMap<Run, Presence>> {
        *lock(&self.listed) = self.identity();
        let mut collections = self.lock();
        let mut runs: BTreeMap<Run, Presence> = BTreeMap::new();
        for run in collections.run_history.runs()?.keys() {
            runs.insert(*run, Presence::Partial);
        }
        for run in collections.system_layout.runs()?.keys() {
            runs.entry(*run)
                .and_modify(|presence| *presence = Presence::Whole)
                .or_insert(Presence::Partial);
        }
        Ok(runs)
    }

    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted> {
        self.check_identity()?;
        self.add(run, name, files)
            .map_err(|error| self.cause(error))
    }

    fn update(&self, run: Run, files: &[FclFile]) -> Result<()> {
        self.add_to(run, files)
    }

    fn publish(&self) -> Result<Vec<(Run, Error)>> {
        self.publish_waiting().map_err(|error| self.cause(error))
    }

    fn exists(&self) -> Result<bool> {
        let directory = self.root.join(RUN_HISTORY);
        fs::exists(&directory).map_err(|source| Error::io("look for", &directory, source))
    }

    fn try_write(&self) -> Result<()> {
        let _load = self.load()?;
        let _index = self.locks.index()?;
        for collection in [RUN_HISTORY, SYSTEM_LAYOUT] {
            let probe = self.root.join(collection).join("write_probe");
            // Gone again when it is dropped.
            drop(durable::write_temporary(&probe, b"probe", durable::SHARED)?);
        }
        Ok(())
    }

    fn fingerprint(&self, run: Run) -> Result<Option<String>> {
        let mut names = String::new();
        for (_, collection) in self.lock().each() {
            for oid in collection.oids(run)? {
                names.push_str(&oid.to_string());
            }
        }
        Ok(Some(Oid::of_names(&[&names]).to_string()))
    }

    fn weight(&self, run: Run) -> Result<Option<u64>> {
        let paths = self.document_paths(run)?;
        let sizes = paths.iter().filter_map(|path| fs::metadata(path).ok());
        Ok(Some(sizes.map(|found| found.len()).sum()))
    }

    fn read(&self, run: Run) -> Result<Configuration> {
        self.read_run(run).map_err(|error| self.cause(error))
    }

    fn inspect(&self, run: Run) -> Result<Inspection> {
        self.inspect_run(run).map_err(|error| self.cause(error))
    }

    fn stamps(&self) -> Result<Option<BTreeMap<Run, u64>>> {
        let mut collections = self.lock();
        let stamps = collections.run_history.stamps()?;
        Ok(Some(
            stamps.iter().map(|(run, stamp)| (*run, *stamp)).collect(),
        ))
    }

    fn stamp(&self, run: Run) -> Result<Option<u64>> {
        Ok(self.lock().run_history.stamps()?.get(&run).copied())
    }
}

impl NativeDb for FilesystemDb {
    fn documents(&self, run: Run) -> Result<Option<Documents>> {
        let mut documents = Documents::default();
        let mut collections = self.lock();
        for (_, collection) in collections.each() {
            // Another program may have written since.
            collection.forget();
            // Entities take the whole index; the catalogue would be read in vain.
            collection.index()?;
            let oids: Vec<Oid> = collection.oids(run)?.into_iter().collect();
            for (entity, count) in collection.index()?.entities(&oids) {
                *documents.entities.entry(entity).or_default() += count;
            }
            for name in collection.runs()?.get(&run).into_iter().flatten() {
                if !documents.configurations.contains(name) {
                    documents.configurations.push(name.clone());
                }
            }
        }
        Ok((!documents.configurations.is_empty()).then_some(documents))
    }
}
