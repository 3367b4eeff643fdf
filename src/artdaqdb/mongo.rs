//! artdaqDB in MongoDB, read and written without the real tools: the documents of
//! a FilesystemDB, each collection one of MongoDB's.
//!
//! A run's documents are inserted in one transaction where the server is a
//! replica set or a cluster. Elsewhere the schema document comes last, and a run
//! without one is partial. Either way a run is visible once it is inserted, and
//! nothing waits in memory for [`publish`](ArtdaqDb::publish) but what is being
//! inserted: one run for each thread.
//!
//! A document's ObjectId is derived from what it documents, so that what is
//! inserted again after a crash or an answer that was lost is there but once.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use mongodb::error::Error as DriverError;

use super::compose::{Composition, collection_of};
use super::document::{self, StoredDocument};
use super::index::Oid;
use super::{
    ArtdaqDb, Configuration, Documents, Inserted, Inspection, NativeDb, Presence, RUN_HISTORY,
    SYSTEM_LAYOUT, choice, run_of, system_metadata,
};
use crate::error::{Disposition, Error, Remedy, Result};
use crate::run::{FclFile, Run};
use crate::shutdown::Shutdown;
use crate::sys::patience::abandonable;
use crate::sys::retry::{Next, RetryPolicy, retry};
use address::Address;
use bson::Bson;
use connection::{BACKOFF, Batch, Connection, Stored, persevere};

pub(super) mod address;
mod bson;
mod connection;
mod failure;
mod kept;
mod tree;

/// How often a write starts over because some of its documents are there, but a
/// majority does not have them yet: some seconds in all.
const RACES: u32 = 7;
/// How often a run that is there is looked at again because something of it is not.
const LOOKS: u32 = 3;

/// An archive in MongoDB.
pub struct MongoDb {
    archive: Arc<Archive>,
}

/// The archive itself. Its calls cannot be interrupted: the driver waits for servers,
/// and for other clients' transactions, as long as it likes. [`MongoDb`] therefore
/// makes each on a thread of its own, and after a shutdown leaves it there.
struct Archive {
    address: Address,
    shutdown: Shutdown,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Whether the index is known to be there.
    is_indexed: bool,
    /// Whether collections, index and SystemMetadata are known to be there.
    is_created: bool,
    /// Runs of which it is not known whether they are stored: the answer was lost.
    unknown: BTreeSet<Run>,
}

impl fmt::Debug for MongoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDb")
            .field("location", &self.archive.address.location)
            .finish_non_exhaustive()
    }
}

impl MongoDb {
    /// The archive at `mongodb://host:port/database` or `mongodb+srv://name/database`.
    /// The URI's options are those of the driver; `ARTDAQ_DATABASE_CLIENT_CERT` and
    /// `ARTDAQ_DATABASE_CA_CERT` are honoured as artdaq_database does. Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// A URI that can't be read or names no database.
    pub fn new(uri: &str) -> Result<MongoDb> {
        let address = Address::parse(uri).map_err(super::address::refused)?;
        Ok(MongoDb::at(&address, &Shutdown::default()))
    }

    /// The archive at an address. The server is waited for only briefly after a
    /// `shutdown`. Nothing is connected yet.
    pub(super) fn at(address: &Address, shutdown: &Shutdown) -> MongoDb {
        MongoDb {
            archive: Arc::new(Archive {
                address: address.clone(),
                shutdown: shutdown.clone(),
                state: Mutex::default(),
            }),
        }
    }

    /// Makes a call of the driver's. After a shutdown it is waited for only briefly,
    /// and what another attempt might mend is not the run's failure.
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Archive) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let archive = Arc::clone(&self.archive);
        let shutdown = &self.archive.shutdown;
        let result = abandonable("mongodb", shutdown, move || call(&archive));
        if let Err(error) = &result
            && error.disposition() == Disposition::RetryRun
            && shutdown.requested()
        {
            log::debug!("Not tried again, as the work is to end: {error}");
            shutdown.check()?;
        }
        result
    }
}

impl Archive {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half-done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, made by the first who needs it while the others wait.
    fn connection(&self) -> Result<Arc<Connection>> {
        let mut state = self.lock();
        if let Some(connection) = &state.connection {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(Connection::open(&self.address, &self.shutdown)?);
        state.connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// The connection of one who reads documents: the index is there if it can be.
    fn reading(&self) -> Result<Arc<Connection>> {
        let connection = self.connection()?;
        let mut state = self.lock();
        if !state.is_indexed {
            connection
                .index(false)
                .map_err(|error| self.failure("make the index", &error))?;
            state.is_indexed = true;
        }
        Ok(connection)
    }

    /// The connection of one who writes: collections and SystemMetadata are there.
    fn writing(&self) -> Result<Arc<Connection>> {
        let connection = self.connection()?;
        let mut state = self.lock();
        if !state.is_created {
            connection
                .index(true)
                .map_err(|error| self.failure("make the collections", &error))?;
            self.create_system_metadata(&connection)?;
            state.is_indexed = true;
            state.is_created = true;
        }
        Ok(connection)
    }

    fn create_system_metadata(&self, connection: &Connection) -> Result<()> {
        let failed = |error: DriverError| self.failure("write SystemMetadata", &error);
        let collection = connection.collection(system_metadata::COLLECTION);
        let found =
            persevere(&self.shutdown, || collection.find_one(doc! {}).run()).map_err(failed)?;
        if found.is_some() {
            return Ok(());
        }
        let location = &self.address.location;
        let facts =
            mongodb::bson::serialize_to_raw_document_buf(&system_metadata::Facts::now(location))
                .map_err(|error| Error::Unexpected(format!("SystemMetadata: {error}")))?;
        let oid = ObjectId::from(system_metadata::oid(location).bytes());
        let document = rawdoc! { "_id": oid, "document": facts };
        match persevere(&self.shutdown, || collection.insert_one(&document).run()) {
            Err(error) if !failure::is_only_duplicates(&error) => Err(failed(error)),
            _ => Ok(()),
        }
    }

    fn failure(&self, action: &str, error: &DriverError) -> Error {
        failure::failure(&self.address.location, action, error)
    }

    fn refuse(&self, problem: String) -> Error {
        Error::artdaqdb(self.address.location.clone(), problem, Disposition::FailRun)
    }

    /// Every document of a run, RunHistory's and SystemLayout's.
    fn stored(
        &self,
        connection: &Connection,
        action: &str,
        run: Run,
    ) -> Result<[Vec<StoredDocument>; 2]> {
        let [documents, schemas] = connection
            .documents(run, |raw| self.read_document(run, raw))
            .map_err(|error| self.failure(&format!("{action} run {run}"), &error))?;
        let all = |documents: Vec<Result<_>>| documents.into_iter().collect::<Result<_>>();
        Ok([all(documents)?, all(schemas)?])
    }

    fn read_document(&self, run: Run, raw: &RawDocumentBuf) -> Result<StoredDocument> {
        let damaged = |problem: String| {
            let id = raw.get_object_id("_id").map(ObjectId::to_hex);
            self.refuse(format!(
                "run {run}: document {}: {problem}",
                id.unwrap_or_else(|_| "without an ObjectId".into())
            ))
            .with_remedy(Remedy::RestoreDocument)
        };
        let root = tree::checked(raw).map_err(damaged)?;
        let stored = document::read_node(root, raw.as_bytes().len());
        stored.map_err(|error| damaged(error.to_string()))
    }

    fn raced(&self, run: Run) -> Error {
        Error::artdaqdb(
            self.address.location.clone(),
            format!(
                "run {run}: some of its documents are there, but can't be seen: another client is \
                 storing them, or a majority of the replica set does not have them yet"
            ),
            Disposition::RetryRun,
        )
    }

    /// The documents of files, each under its identity.
    fn compose(
        &self,
        run: Run,
        version: &str,
        files: &[(&FclFile, Oid)],
        last: Option<Timestamp>,
    ) -> Result<Batch> {
        let mut batch = Batch::default();
        for (file, oid) in files {
            let mut bson = Bson::new(*oid);
            Composition::of(run, file)?.write(version, *oid, last, &mut bson);
            let document = bson.finish().map_err(|unfit| {
                self.refuse(format!(
                    "run {run}: {} can't be stored: {unfit}",
                    file.entity
                ))
            })?;
            match collection_of(&file.entity) {
                SYSTEM_LAYOUT => batch.system_layout.push(document),
                _ => batch.run_history.push(document),
            }
        }
        Ok(batch)
    }

    /// The whole name of a run's configuration, and what there is of the run.
    fn presence(
        &self,
        connection: &Connection,
        run: Run,
    ) -> Result<Option<(String, Presence)>, DriverError> {
        let documents = connection.version(RUN_HISTORY, run)?;
        let schema = connection.version(SYSTEM_LAYOUT, run)?;
        Ok(match (documents, schema) {
            (Some(version), Some(_)) => Some((version, Presence::Whole)),
            (Some(version), None) | (None, Some(version)) => Some((version, Presence::Partial)),
            (None, None) => None,
        })
    }

    /// What the run lacks, each file with the identity that its document gets.
    fn missing<'f>(
        &self,
        connection: &Connection,
        run: Run,
        found: Option<&str>,
        name: &str,
        files: &'f [FclFile],
    ) -> Result<Missing<'f>> {
        let Some(version) = found else {
            let version = format!("{run}/{name}");
            let identity = |entity: &str| Oid::of_names(&[&version, entity, "0"]);
            let all = by_entity(files)
                .map(|file| (file, identity(&file.entity)))
                .collect();
            return Ok(Missing {
                version,
                files: all,
                last: None,
            });
        };
        let stored = self.stored(connection, "read", run)?;
        let stored: Vec<StoredDocument> = stored.into_iter().flatten().collect();
        let taken: BTreeSet<String> = stored.iter().map(|it| it.oid.clone()).collect();
        let last = choice::last_time(&stored);
        let present = choice::newest(run, stored);
        let lacking = by_entity(files).filter(|file| choice::is_missing(file, &present));
        let lacking = lacking.map(|file| (file, free_oid(version, &file.entity, &taken)));
        Ok(Missing {
            version: version.to_owned(),
            files: lacking.collect(),
            last,
        })
    }

    /// Stores a batch and remembers if it is not known whether it is stored.
    fn store(&self, connection: &Connection, run: Run, batch: &Batch) -> Result<Stored> {
        connection.store(run, batch).map_err(|failed| {
            if failed.is_unknown {
                self.lock().unknown.insert(run);
            }
            self.failure(&format!("store run {run}"), &failed.error)
        })
    }
}

impl Archive {
    fn documents(&self, run: Run) -> Result<Option<Documents>> {
        let stored = self.stored(&*self.connection()?, "count", run)?;
        let mut documents = Documents::default();
        for document in stored.into_iter().flatten() {
            for entity in document.entities {
                *documents.entities.entry(entity).or_default() += 1;
            }
            for configuration in document.configurations {
                let name = configuration.name;
                if run_of(&name) == Some(run) && !documents.configurations.contains(&name) {
                    documents.configurations.push(name);
                }
            }
        }
        Ok((!documents.configurations.is_empty()).then_some(documents))
    }

    fn runs(&self) -> Result<BTreeMap<Run, Presence>> {
        let connection = self.connection()?;
        let runs_of = |collection: &str| -> Result<BTreeSet<Run>> {
            let names = connection
                .names(collection)
                .map_err(|error| self.failure("list the runs", &error))?;
            Ok(names.iter().filter_map(|name| run_of(name)).collect())
        };
        let documents = runs_of(RUN_HISTORY)?;
        let schemas = runs_of(SYSTEM_LAYOUT)?;
        let presence = |run: &Run| match documents.contains(run) && schemas.contains(run) {
            true => Presence::Whole,
            false => Presence::Partial,
        };
        Ok(documents
            .union(&schemas)
            .map(|run| (*run, presence(run)))
            .collect())
    }

    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted> {
        let connection = self.writing()?;
        let inserted = Cell::new(Inserted::Now);
        let looks = Cell::new(0);
        self.race(run, || {
            let found = self
                .presence(&connection, run)
                .map_err(|error| self.failure(&format!("look up run {run}"), &error))?;
            if let Some((version, Presence::Whole)) = &found {
                if self.lock().unknown.remove(&run) {
                    log::info!("Run {run}: stored, though the server's answer was lost");
                    return Ok(Stored::Now);
                }
                let stored = self.stored(&connection, "read", run)?;
                let stored = choice::newest(run, stored.into_iter().flatten().collect());
                let differing = choice::differing_files(files, &choice::texts(&stored));
                if differing.is_empty() {
                    choice::note_archived_meanwhile(run);
                    inserted.set(Inserted::Before);
                    return Ok(Stored::Now);
                }
                // Other servers may have all of it a moment later.
                let lacks = |entity: &String| !stored.contains_key(entity);
                if differing.iter().any(lacks) && looks.replace(looks.get() + 1) < LOOKS {
                    return Ok(Stored::Already);
                }
                return Err(self.refuse(choice::conflict(run, version, &differing)));
            }
            let found = found.as_ref().map(|(version, _)| version.as_str());
            let missing = self.missing(&connection, run, found, name, files)?;
            let batch = self.compose(run, &missing.version, &missing.files, missing.last)?;
            let stored = self.store(&connection, run, &batch)?;
            if stored == Stored::Now {
                self.lock().unknown.remove(&run);
            }
            Ok(stored)
        })?;
        Ok(inserted.get())
    }

    /// Adds documents to a run. With `keep`, those of entities that have documents take
    /// the place of the first one, which is the one that the real tools read.
    fn update(&self, run: Run, files: &[FclFile], keep: Option<&Path>) -> Result<()> {
        let connection = self.writing()?;
        self.race(run, || {
            let found = self
                .presence(&connection, run)
                .map_err(|error| self.failure(&format!("look up run {run}"), &error))?;
            let Some((version, _)) = found else {
                return Err(
                    self.refuse(format!("run {run} is not archived, so it can't be updated"))
                );
            };
            let stored = self.stored_as_they_are(&connection, run)?;
            let documents: Vec<StoredDocument> = stored
                .iter()
                .map(|(document, _)| document.clone())
                .collect();
            let taken: BTreeSet<String> = documents.iter().map(|it| it.oid.clone()).collect();
            let last = choice::last_time(&documents);
            // Another archiver may have added the same.
            let lacking = choice::lacking(run, documents, by_entity(files));
            if lacking.is_empty() {
                return Ok(Stored::Now);
            }
            let mut new = Vec::new();
            let mut replaced = Vec::new();
            for file in lacking {
                let is_of = |(document, _): &&(StoredDocument, RawDocumentBuf)| {
                    document.entities.contains(&file.entity)
                };
                match stored.iter().find(is_of).filter(|_| keep.is_some()) {
                    Some(old) => replaced.push((file, old)),
                    None => new.push((file, free_oid(&version, &file.entity, &taken))),
                }
            }
            let mut batch = self.compose(run, &version, &new, last)?;
            for (file, (old, raw)) in replaced {
                let oid = Oid::parse(&old.oid).ok_or_else(|| {
                    self.refuse(format!("run {run}: {} has no ObjectId", file.entity))
                })?;
                if let Some(keep) = keep {
                    kept::keep(keep, run, &file.entity, old, raw)?;
                }
                let one = self.compose(run, &version, &[(file, oid)], last)?;
                let collection = collection_of(&file.entity);
                let documents = one.run_history.into_iter().chain(one.system_layout);
                let id = ObjectId::from(oid.bytes());
                let documents = documents.map(|document| (collection, id, document));
                batch.replaced.extend(documents);
            }
            self.store(&connection, run, &batch)
        })
    }

    /// Every document of a run, and what it is made of. Those that the real tools read
    /// first come first.
    fn stored_as_they_are(
        &self,
        connection: &Connection,
        run: Run,
    ) -> Result<Vec<(StoredDocument, RawDocumentBuf)>> {
        let read = |raw: &RawDocumentBuf| Ok((self.read_document(run, raw)?, raw.clone()));
        let all = connection
            .documents(run, read)
            .map_err(|error| self.failure(&format!("read run {run}"), &error))?;
        all.into_iter().flatten().collect()
    }

    /// Makes `attempt` until what it stores was not there already.
    fn race(&self, run: Run, attempt: impl Fn() -> Result<Stored>) -> Result<()> {
        let policy = RetryPolicy {
            attempts: RACES,
            ..BACKOFF
        };
        let attempt = || match attempt() {
            Ok(Stored::Now) => Ok(()),
            Ok(Stored::Already) => Err(None),
            Err(error) => Err(Some(error)),
        };
        let judge = |failure: &Option<Error>| match failure {
            None => Next::Again { asked: None },
            Some(_) => Next::GiveUp,
        };
        retry(&policy, &self.shutdown, attempt, judge, |_, _| {})
            .map_err(|stopped| stopped.into_failure().unwrap_or_else(|| self.raced(run)))
    }

    fn read(&self, run: Run) -> Result<Configuration> {
        Ok(self.inspect(run)?.configuration)
    }

    fn inspect(&self, run: Run) -> Result<Inspection> {
        let connection = self.reading()?;
        let [documents, schemas] = self.stored(&connection, "read", run)?;
        match (documents.is_empty(), schemas.is_empty()) {
            (false, false) => {}
            (true, true) => return Err(self.refuse(format!("run {run} is not archived"))),
            _ => {
                return Err(self
                    .refuse(format!(
                        "run {run} is archived in part only: its import was cut short."
                    ))
                    .with_remedy(Remedy::ImportAgain));
            }
        }
        let version = first_version(run, &documents);
        let stored = documents.into_iter().chain(schemas).collect();
        Ok(choice::inspection(run, &version, stored))
    }
}

impl NativeDb for MongoDb {
    fn documents(&self, run: Run) -> Result<Option<Documents>> {
        self.call(move |archive| archive.documents(run))
    }
}

impl ArtdaqDb for MongoDb {
    fn location(&self) -> &str {
        &self.archive.address.location
    }

    fn runs(&self) -> Result<BTreeMap<Run, Presence>> {
        self.call(Archive::runs)
    }

    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted> {
        let (name, files) = (name.to_owned(), files.to_vec());
        self.call(move |archive| archive.insert(run, &name, &files))
    }

    fn update(&self, run: Run, files: &[FclFile]) -> Result<()> {
        let files = files.to_vec();
        self.call(move |archive| archive.update(run, &files, None))
    }

    fn supersede(&self, run: Run, files: &[FclFile], keep: &Path) -> Result<()> {
        let (files, keep) = (files.to_vec(), keep.to_path_buf());
        self.call(move |archive| archive.update(run, &files, Some(&keep)))
    }

    fn publish(&self) -> Result<Vec<(Run, Error)>> {
        // What the server answered for is durable and visible.
        Ok(Vec::new())
    }

    fn read(&self, run: Run) -> Result<Configuration> {
        self.call(move |archive| archive.read(run))
    }

    fn try_write(&self) -> Result<()> {
        self.call(|archive| {
            let is_writable = archive.connection()?.is_writable();
            match is_writable.map_err(|error| archive.failure("ask for its state", &error))? {
                true => Ok(()),
                false => Err(Error::artdaqdb(
                    archive.address.location.clone(),
                    "the MongoDB server takes no writes: it is not the primary of its replica set",
                    Disposition::StopStage,
                )
                .with_remedy(Remedy::CheckMongoServer)),
            }
        })
    }

    fn inspect(&self, run: Run) -> Result<Inspection> {
        self.call(move |archive| archive.inspect(run))
    }
}

/// What a run lacks.
struct Missing<'f> {
    /// The whole name of its configuration.
    version: String,
    /// The files, each with the identity that its document gets.
    files: Vec<(&'f FclFile, Oid)>,
    /// The last time stamp of its documents.
    last: Option<Timestamp>,
}

/// The files in the order of their entities; of two of one entity the last counts.
fn by_entity(files: &[FclFile]) -> impl Iterator<Item = &FclFile> {
    let last: BTreeMap<&str, &FclFile> = files
        .iter()
        .map(|file| (file.entity.as_str(), file))
        .collect();
    last.into_values()
}

/// The first identity for a document of this entity that none of those that can be seen
/// has. If one has it that can't be seen yet, storing another one fails.
fn free_oid(version: &str, entity: &str, taken: &BTreeSet<String>) -> Oid {
    let mut number = 0;
    loop {
        let oid = Oid::of_names(&[version, entity, &number.to_string()]);
        if !taken.contains(&oid.to_string()) {
            return oid;
        }
        number += 1;
    }
}

/// The whole name of the configuration that the run got first.
fn first_version(run: Run, documents: &[StoredDocument]) -> String {
    documents
        .iter()
        .flat_map(|document| &document.configurations)
        .filter(|configuration| run_of(&configuration.name) == Some(run))
        .min_by_key(|configuration| (&configuration.assigned, &configuration.name))
        .map_or_else(String::new, |configuration| configuration.name.clone())
}
