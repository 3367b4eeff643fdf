//! artdaqDB: where a run's configuration lives as documents, one for each
//! .fcl file.

mod address;
mod choice;
mod compose;
pub mod document;
pub mod filesystem;
pub mod index;
#[cfg(feature = "mongodb")]
pub mod mongo;
mod system_metadata;
pub mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

pub use self::address::ArtdaqUri;
use self::address::Kind;
use crate::clock;
use crate::error::{Error, Result};
use crate::run::{FclFile, Run, SCHEMA_ENTITY};
use crate::shutdown::Shutdown;

/// The collection of all documents but schemas.
pub const RUN_HISTORY: &str = "RunHistory";
/// The collection of the schema documents.
pub const SYSTEM_LAYOUT: &str = "SystemLayout";

/// One run's configuration as artdaqDB holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The configuration's name without the run: `BootDAQ`.
    pub name: String,
    /// Every file, `schema` included, in the order of their entity names.
    pub files: Vec<FclFile>,
}

impl Configuration {
    /// The FHiCL of the files, by entity.
    fn texts(&self) -> BTreeMap<&str, &str> {
        let files = self.files.iter();
        files
            .map(|file| (file.entity.as_str(), file.text.as_str()))
            .collect()
    }
}

/// What artdaqDB holds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Whole: its documents and its schema document.
    Whole,
    /// A load that was cut short: it has no schema document, or nothing else.
    Partial,
}

/// What an insertion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The run's documents are stored with the next [`publish`](ArtdaqDb::publish).
    Now,
    /// Nothing was stored: the archive has the run with the same content.
    Before,
}

/// An artdaqDB. Every implementation passes the contract suite in
/// `tests/artdaqdb_contract.rs`.
///
/// A run becomes visible wholly or not at all, and durable and visible to every
/// other process with [`publish`](ArtdaqDb::publish) at the latest. A database
/// that makes a run visible earlier does so with the call that inserts it: what
/// belongs to a run from its start is therefore inserted in one call. Two things
/// differ where the real tools write: a run is [`Presence::Partial`] from the
/// first document on until it is published, and an update of a run that is whole
/// shows at once.
pub trait ArtdaqDb: Send + Sync {
    /// The database for messages: its URI without credentials.
    fn location(&self) -> &str;

    /// Every run of the archive.
    ///
    /// # Errors
    /// The database can't be reached or read. A missing archive is empty; one
    /// that is damaged is an error.
    fn runs(&self) -> Result<BTreeMap<Run, Presence>>;

    /// Stores a run's documents as configuration `<run>/<name>`. A run that is
    /// partly there is completed: what it has is kept, and what it lacks, or has
    /// with other content, is added. One that is wholly there is left as it is.
    ///
    /// # Errors
    /// A run that is wholly there with other content; a file that is not FHiCL; the
    /// database.
    fn insert(&self, run: Run, name: &str, files: &[FclFile]) -> Result<Inserted>;

    /// Adds documents to a run that is there, or in the course of being inserted. What
    /// it has already is not added again. Of an entity that has documents, the new one
    /// counts from then on, for the real tools, too.
    ///
    /// # Errors
    /// A run that is not there; a file that is not FHiCL; the database.
    fn update(&self, run: Run, files: &[FclFile]) -> Result<()>;

    /// Like [`update`](ArtdaqDb::update); what a database can only keep once is written
    /// below the directory `keep` before it is replaced.
    ///
    /// # Errors
    /// Those of [`update`](ArtdaqDb::update); `keep` can't be written.
    fn supersede(&self, run: Run, files: &[FclFile], keep: &Path) -> Result<()> {
        let _ = keep;
        self.update(run, files)
    }

    /// Makes durable and visible what was inserted and updated up to now, and returns
    /// the runs of which it was refused, because others stored something else
    /// meanwhile.
    ///
    /// # Errors
    /// The database; nothing since the last `publish` counts as stored then.
    fn publish(&self) -> Result<Vec<(Run, Error)>>;

    /// Whether the archive is there, empty or not. One that can only be known by
    /// asking a server is taken to be there.
    ///
    /// # Errors
    /// Its place cannot be looked at.
    fn exists(&self) -> Result<bool> {
        Ok(true)
    }

    /// Tries what can be tried of writing documents without writing one. A success
    /// does not prove that one can be written.
    ///
    /// # Errors
    /// They cannot be written.
    fn try_write(&self) -> Result<()> {
        Ok(())
    }

    /// Identifies the documents of a run: another text means that others came or
    /// went. `None` if it cannot be told cheaply.
    ///
    /// # Errors
    /// The database cannot be read.
    fn fingerprint(&self, run: Run) -> Result<Option<String>> {
        let _ = run;
        Ok(None)
    }

    /// How many bytes the documents of a run have. `None` if it cannot be told cheaply.
    ///
    /// # Errors
    /// The database cannot be read.
    fn weight(&self, run: Run) -> Result<Option<u64>> {
        let _ = run;
        Ok(None)
    }

    /// Reads a run back.
    ///
    /// # Errors
    /// A run that is not there or not whole; a document that can't be read.
    fn read(&self, run: Run) -> Result<Configuration>;

    /// Reads a run back, with what its documents tell of how it came to be.
    ///
    /// # Errors
    /// Those of [`read`](ArtdaqDb::read).
    fn inspect(&self, run: Run) -> Result<Inspection> {
        Ok(Inspection {
            configuration: self.read(run)?,
            first: None,
            last: None,
            superseded: BTreeSet::new(),
            misordered: BTreeSet::new(),
        })
    }

    /// A number for each run that is another one when the run's documents are others.
    /// `None` if that takes reading them.
    ///
    /// # Errors
    /// The database can't be reached or read.
    fn stamps(&self) -> Result<Option<BTreeMap<Run, u64>>> {
        Ok(None)
    }

    /// The same for one run, after it was published.
    ///
    /// # Errors
    /// The database can't be reached or read.
    fn stamp(&self, run: Run) -> Result<Option<u64>> {
        let _ = run;
        Ok(None)
    }
}

/// A run as artdaqDB holds it, and how it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The files that count.
    pub configuration: Configuration,
    /// When the first of its documents was stored, if that is known.
    pub first: Option<Timestamp>,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// The entities that have documents which do not count.
    pub superseded: BTreeSet<String>,
    /// Of them, those of which the real tools read a document that says something else
    /// than the one that counts.
    pub misordered: BTreeSet<String>,
}

/// An artdaqDB that the archiver reads and writes itself, and against which the
/// work of the real tools is therefore checked.
pub trait NativeDb: ArtdaqDb {
    /// Which documents a run has at this moment, whoever wrote them, and whether
    /// or not it is whole. `None` if it has none.
    ///
    /// # Errors
    /// The database can't be reached or read.
    fn documents(&self, run: Run) -> Result<Option<Documents>>;
}

/// The documents of a run, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// The whole names of its configurations, `<run>/<name>`: mostly one.
    pub configurations: Vec<String>,
    /// How many documents there are of each entity, `schema` included.
    pub entities: BTreeMap<String, usize>,
}

impl Documents {
    /// Whole with a schema and at least one other document.
    #[must_use]
    pub fn presence(&self) -> Presence {
        match self.entities.contains_key(SCHEMA_ENTITY) && self.entities.len() > 1 {
            true => Presence::Whole,
            false => Presence::Partial,
        }
    }

    /// The name of the first configuration, without the run.
    #[must_use]
    pub fn name(&self) -> &str {
        self.configurations
            .first()
            .and_then(|configuration| configuration.split_once('/'))
            .map_or("", |(_, name)| name)
    }
}

/// The run of a configuration's whole name `<run>/<name>`, white space before it
/// allowed, as the real tools list runs.
#[must_use]
pub fn run_of(configuration: &str) -> Option<Run> {
    let (run, _) = configuration.split_once('/')?;
    Run::parse(run.trim_ascii_start())
}

/// The name of a configuration without the run.
fn name_of(configuration: &str) -> &str {
    configuration.split_once('/').map_or("", |(_, name)| name)
}

/// The time of now as documents hold it: `2026-11-23T07:35:14.122+0000`, local
/// time with its offset.
#[must_use]
pub fn time_stamp() -> String {
    time_stamp_after(None)
}

/// The same, but later than the last time stamp of the run: those of a run's
/// documents only grow, whatever the clock does, as the latest document counts.
fn time_stamp_after(last: Option<Timestamp>) -> String {
    let least = last.and_then(|last| last.checked_add(SignedDuration::from_millis(1)).ok());
    let now = clock::local();
    let time = now.timestamp().max(least.unwrap_or(Timestamp::MIN));
    time.to_zoned_datetime(now.time_zone().clone())
        .strftime("%Y-%m-%dT%H:%M:%S%.3f%z")
        .to_string()
}

/// Opens the artdaqDB of an address, to be read and written by the archiver
/// itself or, given their settings, by the real tools. Waits end early after a
/// `shutdown`. Nothing is read or created yet.
#[must_use]
pub fn open(
    uri: &ArtdaqUri,
    tools: Option<tools::Settings>,
    shutdown: &Shutdown,
) -> Box<dyn ArtdaqDb> {
    open_limited(uri, tools, shutdown, MAX_DOCUMENT)
}

/// The largest document of a FilesystemDB unless the configuration says otherwise, in
/// bytes.
pub const MAX_DOCUMENT: u64 = 1024 * 1024 * 1024;

/// The same with another limit for documents. MongoDB has one of its own.
#[must_use]
pub fn open_limited(
    uri: &ArtdaqUri,
    tools: Option<tools::Settings>,
    shutdown: &Shutdown,
    max_document: u64,
) -> Box<dyn ArtdaqDb> {
    match (&uri.kind, tools) {
        (Kind::Directory(root), None) => {
            let db = filesystem::FilesystemDb::at(root).heeding(shutdown);
            Box::new(db.limited(max_document))
        }
        (Kind::Directory(root), Some(settings)) => {
            Box::new(tools::ToolsDb::directory(root, settings))
        }
        #[cfg(feature = "mongodb")]
        (Kind::Server(address), None) => Box::new(mongo::MongoDb::at(address, shutdown)),
        #[cfg(feature = "mongodb")]
        (Kind::Server(address), Some(settings)) => {
            let native = Box::new(mongo::MongoDb::at(address, shutdown));
            Box::new(tools::ToolsDb::server(address.written(), native, settings))
        }
    }
}
