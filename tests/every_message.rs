//! The connection to a real MongoDB breaks at every message once, in every way: the
//! archiver ends in good order, and the same command again brings what an
//! undisturbed execution brings.
//!
//! With `RUN_RECORD_ARCHIVER_LONG` set, also at every message from the Nth on, and
//! at the messages that the driver sends of its own accord.
#![cfg(feature = "mongodb")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::faulty::snapshot::{Snapshot, without_time_stamps};
use crate::faulty::{Ended, copy, execute, fresh, is_long};
use crate::support::archiver::Test;
use crate::support::mongo_proxy::{Break, MongoProxy, Plan};
use crate::support::mongod::{Kind, Mongod};
use mongodb::bson::{Document, doc};
use mongodb::sync::Client;

/// How many cases are tried at the same time: they mostly wait to try again.
const THREADS: usize = 12;

const COMMAND: &[&str] = &["--incremental"];

const BREAKS: [Break; 3] = [
    Break::BeforeSending,
    Break::BeforeTheAnswer,
    Break::WithinTheAnswer,
];

/// Import and migration of two runs, in a server of this kind.
struct Pipeline {
    kind: Kind,
    client: Client,
    port: u16,
    template: Test,
    /// What an undisturbed execution leaves in MongoDB, and elsewhere.
    documents: BTreeMap<String, String>,
    after: Snapshot,
    messages: usize,
    databases: AtomicUsize,
    executions: AtomicUsize,
    /// How the disturbed executions ended.
    codes: Mutex<BTreeMap<String, usize>>,
}

impl Pipeline {
    fn new(kind: Kind, server: &Mongod) -> Pipeline {
        let mut pipeline = Pipeline {
            kind,
            client: server.client("directConnection=true"),
            port: server.port(),
            template: fresh().records_in(1..=2),
            documents: BTreeMap::new(),
            after: Snapshot::take(&fresh()),
            messages: 0,
            databases: AtomicUsize::new(0),
            executions: AtomicUsize::new(0),
            codes: Mutex::default(),
        };
        let proxy = MongoProxy::start(pipeline.port);
        let (test, database) = pipeline.archiver(&proxy);
        test.run(COMMAND).exits(0);
        pipeline.messages = proxy.messages();
        pipeline.documents = pipeline.stored(&database);
        pipeline.after = Snapshot::take(&test);
        assert!(pipeline.messages > 10, "{}", pipeline.messages);
        pipeline
    }

    /// An archiver with a database of its own.
    fn archiver(&self, proxy: &MongoProxy) -> (Test, String) {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let database = format!("archive{number}");
        let uri = format!(
            "mongodb://127.0.0.1:{}/{database}?directConnection=true&serverSelectionTimeoutMS=3000",
            proxy.port()
        );
        let test = copy(&self.template).set("artdaq_db.database_uri", &uri);
        (test, database)
    }

    /// Every document of every collection, without its times.
    fn stored(&self, database: &str) -> BTreeMap<String, String> {
        let database = self.client.database(database);
        let mut all = BTreeMap::new();
        for collection in database.list_collection_names().run().unwrap() {
            let documents = database.collection::<Document>(&collection);
            for (number, document) in documents.find(doc! {}).run().unwrap().enumerate() {
                let document = document.unwrap();
                // This one holds the archive's address.
                let (name, text) = match collection == "SystemMetadata" {
                    true => (format!("{collection} {number}"), String::new()),
                    false => (
                        format!("{collection} {}", document.get_object_id("_id").unwrap()),
                        without_time_stamps(&serde_json::to_string(&document).unwrap()),
                    ),
                };
                all.insert(name, text);
            }
        }
        all
    }

    /// Whether there was an Nth message; what is wrong, if anything.
    fn case(&self, plan: Plan) -> Result<bool, String> {
        let proxy = MongoProxy::start(self.port);
        let (test, database) = self.archiver(&proxy);
        let mut said = String::new();
        let mut run = |arguments: &[&str]| {
            self.executions.fetch_add(1, Ordering::SeqCst);
            let ended = execute(&test, arguments, None);
            said.push_str(&format!("--- {arguments:?}\n{}", ended.stderr));
            ended
        };
        proxy.plan(Some(plan));
        let disturbed = run(COMMAND);
        let was_there = proxy.messages() >= plan.number;
        proxy.plan(None);
        if was_there {
            let code = disturbed.status.to_string();
            *self.codes.lock().unwrap().entry(code).or_default() += 1;
        }
        let result = self.judge(&test, &database, &disturbed).and_then(|()| {
            // A broken connection is tried again several times before it is the run
            // that failed.
            let mut succeeds = |arguments: &[&str]| match run(arguments).status {
                status if status.success() => Ok(()),
                status => Err(format!("{arguments:?} ended with {status}")),
            };
            succeeds(COMMAND)?;
            if !test.failures("import_failures.log").is_empty() {
                succeeds(&["--retry-failed-import"])?;
                succeeds(COMMAND)?;
            }
            if !test.failures("migrate_failures.log").is_empty() {
                succeeds(&["--retry-failed-migrate"])?;
            }
            self.compare(&test, &database)
        });
        self.client.database(&database).drop().run().unwrap();
        result
            .map(|()| was_there)
            .map_err(|problem| format!("{:?}, {plan:?}: {problem}\n{said}", self.kind))
    }

    fn judge(&self, test: &Test, database: &str, ended: &Ended) -> Result<(), String> {
        if ended.stderr.contains("panicked") {
            return Err("it panicked".into());
        }
        match ended.status.code() {
            Some(1) => Ok(()),
            Some(0) => self
                .compare(test, database)
                .map_err(|problem| format!("it ended with 0, but {problem}")),
            _ => Err(format!("it ended with {}", ended.status)),
        }
    }

    fn compare(&self, test: &Test, database: &str) -> Result<(), String> {
        let stored = self.stored(database);
        if stored != self.documents {
            let names = |all: &BTreeMap<String, String>| all.keys().cloned().collect::<Vec<_>>();
            return Err(format!(
                "MongoDB has the documents {:?} and should have {:?}, or one differs",
                names(&stored),
                names(&self.documents)
            ));
        }
        self.after.compare(&Snapshot::take(test))
    }

    /// Every message, every way to break.
    fn sweep(&self, for_ever: bool, counts_hello: bool) {
        let started = Instant::now();
        // The driver's own messages come when they come: some more are tried.
        let last = self.messages + if counts_hello { 15 } else { 3 };
        let cases: Vec<Plan> = BREAKS
            .iter()
            .flat_map(|how| {
                (1..=last).map(move |number| Plan {
                    number,
                    how: *how,
                    for_ever,
                    counts_hello,
                })
            })
            .collect();
        let (next, tried) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed = Mutex::new(Vec::new());
        self.executions.store(0, Ordering::SeqCst);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(plan) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                        match self.case(*plan) {
                            Ok(was_there) => {
                                tried.fetch_add(usize::from(was_there), Ordering::SeqCst);
                            }
                            Err(problem) => failed.lock().unwrap().push(problem),
                        }
                    }
                });
            }
        });
        println!(
            "{:?}{}{}: {} messages, {} ways to break; {} cases, {} executions in {:.0} s; the disturbed ones ended {:?}",
            self.kind,
            match for_ever {
                true => ", from the Nth message on",
                false => "",
            },
            match counts_hello {
                true => ", the driver's own messages too",
                false => "",
            },
            self.messages,
            BREAKS.len(),
            tried.load(Ordering::SeqCst),
            self.executions.load(Ordering::SeqCst),
            started.elapsed().as_secs_f64(),
            std::mem::take(&mut *self.codes.lock().unwrap())
        );
        let failed = failed.into_inner().unwrap();
        assert!(
            failed.is_empty(),
            "{} cases failed:\n\n{}",
            failed.len(),
            failed.join("\n\n")
        );
    }
}

fn every_message(kind: Kind) {
    let Some(server) = Mongod::start(kind) else {
        return;
    };
    let pipeline = Pipeline::new(kind, &server);
    pipeline.sweep(false, false);
    if is_long() {
        pipeline.sweep(true, false);
        pipeline.sweep(false, true);
    }
}

#[test]
fn to_a_replica_set_breaks() {
    every_message(Kind::ReplicaSet);
}

#[test]
fn to_a_single_server_breaks() {
    every_message(Kind::Standalone);
}
