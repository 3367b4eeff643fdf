//! A connected archive: its collections, queries and writes.

use std::time::{Duration, Instant};

use mongodb::IndexModel;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error as DriverError, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::sync::{Client, Collection, Database};

use super::address::Address;
use super::failure::{
    NAMESPACE_NOT_FOUND, UNAUTHORIZED, WRITE_CONFLICT, code, failure, is_only_duplicates,
    is_passing,
};
use crate::artdaqdb::{RUN_HISTORY, SYSTEM_LAYOUT};
use crate::error::Result;
use crate::run::Run;
use crate::shutdown::Shutdown;
use crate::sys::retry::{Next, RetryPolicy, Stopped, retry};

/// The field by which runs are found.
const NAME: &str = "configurations.name";
/// How long a write may wait for another one's transaction. A server ends a
/// transaction that its client left open after 60 seconds.
const PATIENCE: Duration = Duration::from_secs(75);
/// How often what the network or a change of the primary broke is tried.
pub(super) const BACKOFF: RetryPolicy = RetryPolicy {
    attempts: 5,
    pause: Duration::from_millis(50),
    longest_pause: Duration::from_secs(2),
};
/// How many bytes of documents one request stores, unless one alone has more. Driver
/// and server copy each request several times: for small ones they use the same
/// memory again, large ones make the kernel clear new pages for every copy.
const REQUEST_SIZE: usize = 1 << 19;
/// How many documents one answer brings: about as many bytes. What is read in them
/// takes a third of the memory.
const ANSWER_DOCUMENTS: u32 = 16;
/// The server's code for a list of distinct values beyond 16 MB.
const DISTINCT_TOO_BIG: i32 = 17217;
/// In a regular expression, how a name goes on that goes on with no digit: at
/// the end of its run, or with white space before it.
const OTHER: &str = "[^0-9]";

/// A connected archive.
pub(super) struct Connection {
    client: Client,
    database: Database,
    location: String,
    shutdown: Shutdown,
    /// Whether the server is part of a replica set or a cluster.
    has_transactions: bool,
}

/// A run's documents on their way, by collection.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) run_history: Vec<RawDocumentBuf>,
    pub(super) system_layout: Vec<RawDocumentBuf>,
    /// Documents that take the place of those with their identity, by collection.
    pub(super) replaced: Vec<(&'static str, ObjectId, RawDocumentBuf)>,
}

/// How a write ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// All of it is stored.
    Now,
    /// Nothing was stored: some of it was there already.
    Already,
}

/// A write that failed.
#[derive(Debug)]
pub(super) struct StoreError {
    pub(super) error: DriverError,
    /// Whether it can be stored all the same.
    pub(super) is_unknown: bool,
}

impl From<DriverError> for StoreError {
    fn from(error: DriverError) -> StoreError {
        StoreError {
            error,
            is_unknown: false,
        }
    }
}

impl Connection {
    /// Connects, and learns what kind of server it is.
    pub(super) fn open(address: &Address, shutdown: &Shutdown) -> Result<Connection> {
        let options = address.options()?;
        let connect = || {
            let client = Client::with_options(options)?;
            let database = client.database(&address.database);
            let hello = database.run_command(doc! { "hello": 1 }).run()?;
            Ok((client, database, hello))
        };
        let (client, database, hello) =
            connect().map_err(|error| failure(&address.location, "connect", &error))?;
        let has_transactions = hello.contains_key("setName")
            || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        if !has_transactions {
            log::debug!(
                "{}: not a replica set, so no transactions: schema documents are written last",
                address.location
            );
        }
        Ok(Connection {
            client,
            database,
            location: address.location.clone(),
            shutdown: shutdown.clone(),
            has_transactions,
        })
    }

    fn persevere<T>(
        &self,
        operation: impl Fn() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        persevere(&self.shutdown, operation)
    }

    /// Whether the server takes writes now: one that is no primary does not.
    pub(super) fn is_writable(&self) -> Result<bool, DriverError> {
        let hello = self.persevere(|| self.database.run_command(doc! { "hello": 1 }).run())?;
        Ok(hello.get_bool("isWritablePrimary").unwrap_or(true))
    }

    pub(super) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    /// Every configuration's name of a collection, without reading its documents.
    pub(super) fn names(&self, collection: &str) -> Result<Vec<String>, DriverError> {
        let mut names = Vec::new();
        // The distinct values of one answer are limited: each name below a prefix
        // that has too many is asked for by one more character.
        let mut prefixes = vec![String::new()];
        while let Some(prefix) = prefixes.pop() {
            let pattern = format!("^{prefix}");
            let filter = match prefix.is_empty() {
                true => doc! {},
                false => doc! { NAME: { "$regex": pattern } },
            };
            let distinct = || {
                let collection = self.collection(collection);
                collection.distinct(NAME, filter.clone()).run()
            };
            match self.persevere(distinct) {
                Ok(values) => names.extend(values.into_iter().filter_map(|value| match value {
                    Bson::String(name) => Some(name),
                    _ => None,
                })),
                Err(error)
                    if code(&error) == Some(DISTINCT_TOO_BIG) && !prefix.ends_with(OTHER) =>
                {
                    prefixes.extend(('0'..='9').map(|digit| format!("{prefix}{digit}")));
                    prefixes.push(format!("{prefix}{OTHER}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// What selects a run's documents.
    fn of_run(run: Run) -> Document {
        doc! { NAME: { "$regex": format!("^{run}/") } }
    }

    /// What selects a run's documents if its number is written in an unusual
    /// way, such as with white space before it. Needs a look at every name.
    fn of_run_unusual(run: Run) -> Document {
        doc! { NAME: { "$regex": format!("^\\s*0*{run}/") } }
    }

    /// The name of one of a run's configurations in a collection.
    pub(super) fn version(
        &self,
        collection: &str,
        run: Run,
    ) -> Result<Option<String>, DriverError> {
        let collection: Collection<Document> = self.database.collection(collection);
        let found = self.persevere(|| {
            collection
                .find_one(Self::of_run(run))
                .projection(doc! { "_id": 0, "configurations": 1 })
                .selection_criteria(primary())
                .run()
        })?;
        let configurations = found.and_then(|mut found| found.remove("configurations"));
        let Some(Bson::Array(configurations)) = configurations else {
            return Ok(None);
        };
        Ok(configurations.iter().find_map(|configuration| {
            let name = configuration.as_document()?.get_str("name").ok()?;
            (crate::artdaqdb::run_of(name) == Some(run)).then(|| name.to_owned())
        }))
    }

    /// What is read in every document of a run, RunHistory's and SystemLayout's.
    pub(super) fn documents<T>(
        &self,
        run: Run,
        read: impl Fn(&RawDocumentBuf) -> T,
    ) -> Result<[Vec<T>; 2], DriverError> {
        for filter in [Self::of_run(run), Self::of_run_unusual(run)] {
            let documents = [
                self.find(RUN_HISTORY, &filter, &read)?,
                self.find(SYSTEM_LAYOUT, &filter, &read)?,
            ];
            if documents.iter().any(|documents| !documents.is_empty()) {
                return Ok(documents);
            }
        }
        Ok([Vec::new(), Vec::new()])
    }

    /// What is read in every document that a filter selects.
    fn find<T>(
        &self,
        collection: &str,
        filter: &Document,
        read: impl Fn(&RawDocumentBuf) -> T,
    ) -> Result<Vec<T>, DriverError> {
        let collection = self.collection(collection);
        let find = || {
            let ask = || {
                let question = collection.find(filter.clone());
                question.batch_size(ANSWER_DOCUMENTS).run()
            };
            let answers = self.persevere(ask).map_err(Broken::Question)?;
            answers
                .map(|document| document.map(|document| read(&document)))
                .collect::<Result<Vec<T>, DriverError>>()
                .map_err(Broken::Answers)
        };
        // The answers end with the server that gives them, whatever the error; another
        // one has the same documents. If there is none, it is the question that fails
        // next.
        let judge = |broken: &Broken| match broken {
            Broken::Question(_) => Next::GiveUp,
            Broken::Answers(_) => Next::Again { asked: None },
        };
        retry(&BACKOFF, &self.shutdown, find, judge, |broken, _| {
            log::debug!("Asking MongoDB anew after: {}", broken.error().kind);
        })
        .map_err(|stopped| match stopped.into_failure() {
            Broken::Question(error) | Broken::Answers(error) => error,
        })
    }

    /// Makes the index by which runs are found, where a collection has none.
    /// Without the right to do so the archive works, but slowly.
    pub(super) fn index(&self, may_create_collection: bool) -> Result<(), DriverError> {
        for name in [RUN_HISTORY, SYSTEM_LAYOUT] {
            match self.persevere(|| self.index_collection(name, may_create_collection)) {
                Err(error) if code(&error) == Some(UNAUTHORIZED) => log::warn!(
                    "{}: {name} has no index on {NAME}, and this user may not make one: runs are \
                     found slowly. As an administrator: db.{name}.createIndex({{\"{NAME}\": 1}})",
                    self.location
                ),
                other => other?,
            }
        }
        Ok(())
    }

    fn index_collection(&self, name: &str, may_create: bool) -> Result<(), DriverError> {
        let collection = self.collection(name);
        let indexes: Result<Vec<IndexModel>, DriverError> =
            collection.list_indexes().run().and_then(Iterator::collect);
        match indexes {
            Ok(indexes) => {
                let is_ours =
                    |index: &IndexModel| index.keys.keys().next().is_some_and(|k| k == NAME);
                if indexes.iter().any(is_ours) {
                    return Ok(());
                }
                log::info!("{}: making the index on {NAME} of {name}", self.location);
            }
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => {
                if !may_create {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
        let index = IndexModel::builder().keys(doc! { NAME: 1 }).build();
        collection.create_index(index).run().map(drop)
    }

    /// Stores documents: all or none where the server has transactions, else the
    /// schema document last, so that a run without it is known to be partial.
    pub(super) fn store(&self, run: Run, batch: &Batch) -> Result<Stored, StoreError> {
        let started = Instant::now();
        let mut is_waiting = false;
        let mut broken = 0;
        let attempt = || {
            let result = match self.has_transactions {
                true => self.store_in_transaction(batch),
                false => self.store_in_order(batch),
            };
            match result {
                Ok(()) => Ok(Stored::Now),
                Err(failed) if is_only_duplicates(&failed.error) => Ok(Stored::Already),
                Err(failed) => Err(failed),
            }
        };
        let is_held = |failed: &StoreError| code(&failed.error) == Some(WRITE_CONFLICT);
        let judge = |failed: &StoreError| {
            let may_retry = match is_held(failed) {
                true => started.elapsed() < PATIENCE,
                false => {
                    broken += 1;
                    broken < BACKOFF.attempts && is_passing(&failed.error)
                }
            };
            match may_retry && !failed.is_unknown {
                true => Next::Again { asked: None },
                false => Next::GiveUp,
            }
        };
        // The judge counts: a transaction of another client is waited for by time.
        let policy = RetryPolicy {
            attempts: u32::MAX,
            ..BACKOFF
        };
        retry(&policy, &self.shutdown, attempt, judge, |failed, _| {
            if !is_held(failed) {
                log::debug!("Run {run}: writing again after: {}", failed.error.kind);
            } else if !std::mem::replace(&mut is_waiting, true) {
                log::info!(
                    "Run {run}: another transaction holds some of its documents, of an import that \
                     is under way or was cut short; waiting for it"
                );
            }
        })
        .map_err(|stopped| {
            let failed = stopped.into_failure();
            StoreError {
                // Without transactions the last answer alone may have been lost.
                is_unknown: failed.is_unknown || !self.has_transactions,
                ..failed
            }
        })
    }

    fn store_in_transaction(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut session = self.client.start_session().run()?;
        session
            .start_transaction()
            .selection_criteria(primary())
            .run()?;
        for (name, documents) in batch.parts() {
            self.collection(name)
                .insert_many(documents)
                .session(&mut session)
                .run()?;
        }
        for (name, id, document) in &batch.replaced {
            self.collection(name)
                .replace_one(doc! { "_id": id }, document)
                .session(&mut session)
                .run()?;
        }
        // The same commit twice is one: it carries the transaction's number.
        let commit = || session.commit_transaction().run();
        let is_unknown =
            |error: &DriverError| error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
        let judge = |error: &DriverError| match is_unknown(error) && is_passing(error) {
            true => Next::Again { asked: None },
            false => Next::GiveUp,
        };
        retry(&BACKOFF, &self.shutdown, commit, judge, |_, _| {}).map_err(|stopped| {
            let error = stopped.into_failure();
            StoreError {
                is_unknown: is_unknown(&error),
                error,
            }
        })
    }

    fn store_in_order(&self, batch: &Batch) -> Result<(), StoreError> {
        for (name, documents) in batch.parts() {
            // Documents that are there already are those of an earlier attempt:
            // their identities are made of what they document.
            match self
                .collection(name)
                .insert_many(documents)
                .ordered(false)
                .run()
            {
                Err(error) if !is_only_duplicates(&error) => return Err(error.into()),
                _ => {}
            }
        }
        for (name, id, document) in &batch.replaced {
            let collection = self.collection(name);
            collection.replace_one(doc! { "_id": id }, document).run()?;
        }
        Ok(())
    }
}

impl Batch {
    /// What each request stores, and in which collection: SystemLayout's last.
    fn parts(&self) -> impl Iterator<Item = (&'static str, &[RawDocumentBuf])> {
        let history = requests(&self.run_history).map(|part| (RUN_HISTORY, part));
        let layout = requests(&self.system_layout).map(|part| (SYSTEM_LAYOUT, part));
        history.chain(layout)
    }
}

/// Divides documents among requests.
fn requests(documents: &[RawDocumentBuf]) -> impl Iterator<Item = &[RawDocumentBuf]> {
    let mut size = 0;
    documents.chunk_by(move |document, next| {
        size += document.as_bytes().len();
        let fits = size + next.as_bytes().len() <= REQUEST_SIZE;
        if !fits {
            size = 0;
        }
        fits
    })
}

/// Does what can be done twice, again and again while the network or a change of
/// the primary breaks it.
pub(super) fn persevere<T>(
    shutdown: &Shutdown,
    operation: impl Fn() -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    let judge = |error: &DriverError| match is_passing(error) {
        true => Next::Again { asked: None },
        false => Next::GiveUp,
    };
    retry(&BACKOFF, shutdown, operation, judge, |error, _| {
        log::debug!("Asking MongoDB again after: {}", error.kind);
    })
    .map_err(Stopped::into_failure)
}

/// What of a question for documents failed.
enum Broken {
    Question(DriverError),
    Answers(DriverError),
}

impl Broken {
    fn error(&self) -> &DriverError {
        match self {
            Broken::Question(error) | Broken::Answers(error) => error,
        }
    }
}

/// Where what is about to be written is looked up, whatever the URI prefers.
fn primary() -> SelectionCriteria {
    SelectionCriteria::ReadPreference(ReadPreference::Primary)
}
