//! artdaqDB's FilesystemDB, read and written without the real tools: documents
//! as files, one index for each collection.
//!
//! Order of writes: the documents, then RunHistory's index, then SystemLayout's.
//! A run counts as whole only when both indexes name it, so that a kill between
//! any two leaves a run that is invisible or known to be partial.
//!
//! A document's oid is derived from what it documents. Writing a run again after
//! a kill, or from two hosts at once, therefore replaces the same files instead
//! of leaving documents that no index names.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use self::lock::{ArchiveLock, Held};
use super::compose::{Composition, collection_of};
use super::document::{self, StoredDocument, Text};
use super::index::{Entry, Oid};
use super::{
    ArtdaqDb, ArtdaqUri, Configuration, Documents, NativeDb, Presence, RUN_HISTORY, SYSTEM_LAYOUT,
    address, choice, system_metadata,
};
use crate::clock;
use crate::durable::{self, Unsynced, Volume, WriteOut};
use crate::error::{Disposition, Error, Remedy, Result};
use crate::faults;
use crate::faults::fs;
use crate::regular_file;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};
use crate::shutdown::Shutdown;
use crate::sys::sync::lock;
use crate::sys::url::InvalidAddress;
use collection::Collection;

pub use rebuild::{Comparison, Rebuilt};

mod catalogue;
mod collection;
pub(super) mod lock;
mod merge;
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
}

#[derive(Debug)]
struct Collections {
    run_history: Collection,
    system_layout: Collection,
    /// Documents to be made durable before an index names them.
    unsynced: WriteOut,
    /// The loads to which the documents belong that wait to be published.
    loads: Vec<Arc<Load>>,
}

/// Documents on their way into the archive: from the first that is written until
/// an index names them, or they are given up. Until then a rebuild of the indexes
/// would take some of them for a run, so it is kept off.
#[derive(Debug)]
struct Load {
    _documents: Held,
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
                loads: Vec::new(),
            }),
            publishing: Mutex::default(),
            volume: OnceLock::new(),
            locks: ArchiveLock::new(root, &Shutdown::default()),
            load: Mutex::default(),
            is_created: AtomicBool::new(false),
            listed: Mutex::default(),
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

    /// The directory of the archive.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Compares each collection's index with its documents: names alone, so that
    /// it stays quick in a large archive. An archive that does not exist yet has
    /// no collections.
    ///
    /// # Errors
    /// An index or a directory can't be read.
    pub fn compare_indexes(&self) -> Result<Vec<(&'static str, Comparison)>> {
        let mut collections = self.lock();
        let mut comparisons = Vec::new();
        for (name, collection) in collections.each() {
            collection.forget();
            if faults::is_dir(collection.directory()) {
                let directory = collection.directory().to_path_buf();
                comparisons.push((name, rebuild::compare(&directory, collection.index()?)?));
            }
        }
        Ok(comparisons)
    }

    /// Makes new indexes of the documents; the old ones are kept beside them.
    ///
    /// # Errors
    /// There is no archive; a document can't be read; an index can't be written.
    /// An index is replaced only when all documents of its collection were read.
    pub fn rebuild_indexes(&self) -> Result<Vec<Rebuilt>> {
        let _documents = self.locks.all_documents()?;
        let _index = self.locks.index()?;
        let mut collections = self.lock();
        let suffix = clock::local().strftime("%Y%m%d_%H%M%S").to_string();
        let mut rebuilt = Vec::new();
        for (_, collection) in collections.each() {
            collection.forget();
            if faults::is_dir(collection.directory()) {
                rebuilt.push(rebuild::rebuild(collection.directory(), &suffix)?);
            }
        }
        Ok(rebuilt)
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
        // Waited for without the mutex. Two threads that come here at once have two
        // loads, which is as good as one.
        let load = Arc::new(Load {
            _documents: self.locks.documents()?,
        });
        *under_way() = Arc::downgrade(&load);
        Ok(load)
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

    /// Makes documents and their names durable. Workers go on meanwhile.
    fn sync(&self, documents: WriteOut) -> Result<()> {
        documents.finish(self.volume().map(|volume| &**volume))?;
        durable::sync_directory(&self.root.join(RUN_HISTORY))?;
        durable::sync_directory(&self.root.join(SYSTEM_LAYOUT))
    }

    /// Writes documents for `files` and gives their index entries, by collection.
    fn write_documents(
        &self,
        run: Run,
        version: &str,
        files: &[(&FclFile, Oid)],
    ) -> Result<Written> {
        // Before the first document.
        self.volume();
        let mut written = Written::default();
        let mut buffer = String::new();
        for (file, oid) in files {
            let collection = collection_of(&file.entity);
            let path = self.root.join(collection).join(format!("{oid}.json"));
            let composition = Composition::of(run, file)?;
            let (temporary, file_of_document) = durable::open_temporary(&path, durable::SHARED)?;
            let mut text = Text::new(&mut buffer, file_of_document);
            let assigned = composition.write(version, *oid, &mut text);
            text.finish()
                .map_err(|source| Error::io("write", &path, source))?;
            written
                .unsynced
                .push(durable::publish_entry(temporary, &path)?);
            let entries = match collection {
                SYSTEM_LAYOUT => &mut written.system_layout,
                _ => &mut written.run_history,
            };
            entries.push(Entry {
                oid: *oid,
                version: version.to_owned(),
                configuration: version.to_owned(),
                entity: file.entity.clone(),
                run: run.to_string(),
                assigned,
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
        let mut paths = Vec::new();
        let mut collections = self.lock();
        for (_, collection) in collections.each() {
            let oids = collection.oids(run)?;
            paths.extend(oids.into_iter().map(|oid| collection.document(oid)));
        }
        Ok(paths)
    }

    fn read_documents(&self, run: Run) -> Result<Vec<StoredDocument>> {
        self.document_paths(run)?
            .iter()
            .map(|path| self.read_document(path, run))
            .collect()
    }

    /// Writes the documents of a run.
    fn add(&self, run: Run, name: &str, files: &[FclFile]) -> Result<()> {
        if !self.is_created.load(Ordering::Acquire) {
            durable::create_directory(&self.root, 0o777)?;
        }
        let load = self.load()?;
        self.create()?;
        let (presence, version) = {
            let mut collections = self.lock();
            let version = match collections.version(run)? {
                Some(version) => version,
                None => format!("{run}/{name}"),
            };
            (collections.presence(run)?, version)
        };
        if presence == Some(Presence::Whole) {
            return Err(self.refuse(format!("run {run} is archived already, as {version}")));
        }
        let present = match presence {
            None => BTreeMap::new(),
            Some(_) => choice::newest(run, self.read_documents(run)?),
        };
        let mut missing = Vec::new();
        for file in files
            .iter()
            .filter(|file| choice::is_missing(file, &present))
        {
            // What was written but never published is written again in its place.
            let oid = match present.contains_key(&file.entity) {
                false => Oid::of_names(&[&version, &file.entity, "0"]),
                true => self.lock().next_oid(run, &version, &file.entity)?,
            };
            missing.push((file, oid));
        }
        let written = self.write_documents(run, &version, &missing)?;
        self.lock().add(load, written, self.volume());
        Ok(())
    }

    /// Makes durable and visible what was written.
    fn publish_pending(&self) -> Result<()> {
        let _publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The loads end with this call, published or given up.
        let (documents, counts, _loads) = {
            let mut collections = self.lock();
            let documents = std::mem::take(&mut collections.unsynced);
            let loads = std::mem::take(&mut collections.loads);
            let counts = collections.each().map(|(_, it)| it.pending().len());
            (documents, counts, loads)
        };
        if counts == [0, 0] {
            return Ok(());
        }
        // An index names nothing that may be lost.
        let index = self.sync(documents).and_then(|()| self.locks.index());
        let mut collections = self.lock();
        // Both at once: when something fails, there must be no schema left to be
        // published without its run's other documents.
        let run_history = collections.run_history.take_pending(counts[0]);
        let system_layout = collections.system_layout.take_pending(counts[1]);
        let _index = index?;
        self.check_identity()?;
        collections.run_history.publish(&run_history)?;
        collections.system_layout.publish(&system_layout)
    }

    /// Reads the newest documents of a run.
    fn read_run(&self, run: Run) -> Result<Configuration> {
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
        let newest = choice::newest(run, self.read_documents(run)?);
        Ok(choice::configuration(&version, newest))
    }

    fn refuse(&self, problem: String) -> Error {
        Error::artdaqdb(self.location.clone(), problem, Disposition::FailRun)
    }
}

/// What writing documents leaves to be published.
#[derive(Debug, Default)]
struct Written {
    run_history: Vec<Entry>,
    system_layout: Vec<Entry>,
    unsynced: Vec<Unsynced>,
}

impl Collections {
    fn add(&mut self, load: Arc<Load>, written: Written, volume: Option<&Arc<Volume>>) {
        if !self.loads.iter().any(|known| Arc::ptr_eq(known, &load)) {
            self.loads.push(load);
        }
        self.run_history.add(written.run_history);
        self.system_layout.add(written.system_layout);
        self.unsynced.add(written.unsynced, volume);
    }

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

    /// The configuration's whole name, `<run>/<name>`, published or pending.
    fn version(&mut self, run: Run) -> Result<Option<String>> {
        let number = run.to_string();
        let pending = self.run_history.pending().iter().rev();
        if let Some(entry) = pending.clone().find(|entry| entry.run == number) {
            return Ok(Some(entry.version.clone()));
        }
        for (_, collection) in self.each() {
            if let Some(names) = collection.runs()?.get(&run) {
                return Ok(names.first().cloned());
            }
        }
        Ok(None)
    }

    /// An oid for another document of this entity: the first that is not taken.
    fn next_oid(&mut self, run: Run, version: &str, entity: &str) -> Result<Oid> {
        let collection = match entity {
            SCHEMA_ENTITY => &mut self.system_layout,
            _ => &mut self.run_history,
        };
        let published = collection.oids(run)?;
        let mut number = 0;
        loop {
            let oid = Oid::of_names(&[version, entity, &number.to_string()]);
            let taken = published.contains(&oid)
                || collection.pending().iter().any(|entry| entry.oid == oid);
            if !taken {
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

    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<()> {
        self.check_identity()?;
        self.add(run, name, files)
            .map_err(|error| self.cause(error))
    }

    fn update(&self, run: Run, files: &[FclFile]) -> Result<()> {
        let known = self.lock().version(run)?;
        let version = known.ok_or_else(|| {
            self.refuse(format!("run {run} is not archived, so it can't be updated"))
        })?;
        let load = self.load()?;
        let files = {
            let mut collections = self.lock();
            files
                .iter()
                .map(|file| Ok((file, collections.next_oid(run, &version, &file.entity)?)))
                .collect::<Result<Vec<_>>>()?
        };
        let written = self.write_documents(run, &version, &files)?;
        self.lock().add(load, written, self.volume());
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        self.publish_pending().map_err(|error| self.cause(error))
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

    fn read(&self, run: Run) -> Result<Configuration> {
        self.read_run(run).map_err(|error| self.cause(error))
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
