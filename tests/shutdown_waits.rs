//! SIGTERM while every worker waits for another program: the execution ends below
//! six seconds, however many workers there are, and no run is booked.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::send;
use crate::support::sshd::Sshd;
use crate::support::tools::StandIns;
use rustix::process::Signal;

/// How long an execution may take to end. Five seconds are promised for the wait.
const MOST: Duration = Duration::from_secs(6);

const WORKERS: [usize; 4] = [1, 2, 4, 8];

const HELD: &str = "another program has held this lock";
const LEFT: &str = "is left for the next execution";

const INDEX: &str = "archive/.run_record_archiver.lock";
const DOCUMENTS: &str = "archive/.run_record_archiver.documents.lock";

/// An archiver with this many workers, run 1 in its archive and others to come.
fn archiver(workers: usize) -> Test {
    let test = Test::new()
        .record(1)
        .set("app.parallel_workers", &workers.to_string());
    test.run(&["--import-only"]).exits(0);
    test.records_in(2..=30)
}

/// Starts an execution for each number of workers, ends it with SIGTERM once all
/// of its workers have begun a run, and looks how long that takes and what it says.
#[track_caller]
fn assert_ends<P>(says: &str, set: impl Fn(usize) -> (Test, P) + Sync) {
    assert_ends_within(MOST, says, set);
}

#[track_caller]
fn assert_ends_within<P>(most: Duration, says: &str, set: impl Fn(usize) -> (Test, P) + Sync) {
    let figures = thread::scope(|scope| {
        let set = &set;
        let playing =
            WORKERS.map(|workers| scope.spawn(move || (workers, play(workers, says, set))));
        playing.map(|thread| thread.join().unwrap())
    });
    println!("ended after {figures:?}");
    for (workers, took) in figures {
        assert!(took < most, "{workers} workers: {took:?}");
    }
}

fn play<P>(workers: usize, says: &str, set: &impl Fn(usize) -> (Test, P)) -> Duration {
    let (test, _prop) = set(workers);
    let (mut child, words) = test.start_and_listen(&["--import-only"]);
    let begun = Instant::now();
    let log = || fs::read_to_string(test.work("archiver.log")).unwrap_or_default();
    // The log also has the execution before.
    let count = || log().matches("→ Processing run").count() - 1;
    while count() < workers {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", log());
        sleep(Duration::from_millis(10));
    }
    // A moment to get to where they wait.
    sleep(Duration::from_millis(700));
    let signalled = Instant::now();
    send(&child, Signal::TERM);
    let status = child.wait().unwrap();
    let took = signalled.elapsed();
    let words = words.join().unwrap();
    assert_eq!(status.code(), Some(130), "{words}");
    assert!(words.contains("GRACEFUL SHUTDOWN COMPLETED"), "{words}");
    assert!(words.contains(says), "no {says:?} in {words}");
    assert!(!words.contains(" failed"), "{words}");
    assert_eq!(test.failures("import_failures.log"), [0; 0], "{words}");
    took
}

fn lock(test: &Test, name: &str, is_shared: bool) -> fs::File {
    let path = test.path().join(name);
    let file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    match is_shared {
        true => file.lock_shared().unwrap(),
        false => file.lock().unwrap(),
    }
    file
}

#[test]
fn while_another_program_holds_the_lock_of_the_index() {
    assert_ends(HELD, |workers| {
        let test = archiver(workers);
        let lock = lock(&test, INDEX, false);
        (test, lock)
    });
}

#[test]
fn while_another_program_rebuilds_the_index() {
    assert_ends(HELD, |workers| {
        let test = archiver(workers);
        let lock = lock(&test, DOCUMENTS, false);
        (test, lock)
    });
}

fn with_tools(test: Test, tools: &StandIns) -> Test {
    test.set("artdaq_db.use_tools", "true")
        .set("artdaq_db.tools_dir", &tools.path().display().to_string())
}

#[test]
fn while_another_program_holds_the_lock_of_the_index_in_tools_mode() {
    assert_ends(HELD, |workers| {
        let test = archiver(workers);
        // Shared: the runs can be listed, and none can be loaded.
        let lock = lock(&test, INDEX, true);
        let tools = StandIns::new(test.path().join("tools"));
        (with_tools(test, &tools), (lock, tools))
    });
}

#[test]
fn while_another_program_holds_the_lock_of_the_index_on_another_host() {
    let Some(sshd) = Sshd::start() else { return };
    let options = sshd.options("user", "known_hosts").join(" ");
    // Four ssh servers and their shells start and end beside other tests.
    assert_ends_within(MOST * 2, LEFT, |workers| {
        let test = archiver(workers);
        let lock = lock(&test, INDEX, true);
        let tools = StandIns::new(test.path().join("tools"));
        let test = with_tools(test, &tools)
            .set("artdaq_db.remote_host", "127.0.0.1")
            .set("artdaq_db.ssh_options", &format!("\"{options}\""));
        (test, (lock, tools))
    });
}

#[cfg(feature = "mongodb")]
mod mongodb {
    use super::*;
    use crate::support::mongod::{Kind, Mongod};
    use ::mongodb::bson::{Document, doc};
    use run_record_archiver::artdaqdb::ArtdaqDb;

    /// An archiver with this many workers and run 1 in its archive.
    fn archiver_at(server: &Mongod, workers: usize) -> Test {
        let test = Test::new()
            .record(1)
            .set("artdaq_db.database_uri", &format!("'{}'", server.uri("")))
            .set("app.parallel_workers", &workers.to_string());
        test.run(&["--import-only"]).exits(0);
        test.records_in(2..=30)
    }

    #[test]
    fn while_another_client_holds_a_transaction_on_the_documents() {
        assert_ends("another transaction holds", |workers| {
            let server = Mongod::start(Kind::ReplicaSet).expect("a mongod");
            let test = archiver_at(&server, workers);
            // The documents that the archiver is about to store: as another one stores
            // them, in a transaction that does not end.
            test.run(&["--import-only", "--runs", "2-10"]).exits(0);
            let client = server.client("directConnection=true");
            let names = ["RunHistory", "SystemLayout"];
            let stored = names.map(|name| (name, server.documents(name)));
            let archive = client.database("archive");
            for name in names {
                let all = archive.collection::<Document>(name);
                all.delete_many(doc! { "configurations.name": { "$not": { "$regex": "^1/" } } })
                    .run()
                    .unwrap();
            }
            let mut session = client.start_session().run().unwrap();
            session.start_transaction().run().unwrap();
            for (name, documents) in stored {
                let is_first = |document: &Document| format!("{document}").contains("\"1/");
                let others = documents.into_iter().filter(|document| !is_first(document));
                let collection = archive.collection::<Document>(name);
                collection
                    .insert_many(others)
                    .session(&mut session)
                    .run()
                    .unwrap();
            }
            assert_eq!(server.archive().runs().unwrap().len(), 1);
            fs::remove_dir_all(test.path().join("work")).unwrap();
            fs::create_dir(test.path().join("work")).unwrap();
            let log = "→ Processing run 1 of the execution before\n";
            fs::write(test.work("archiver.log"), log).unwrap();
            (test, (session, client, server))
        });
    }

    #[test]
    fn while_the_server_hangs() {
        assert_ends(LEFT, |workers| {
            let server = Mongod::start(Kind::ReplicaSet).expect("a mongod");
            let test = archiver_at(&server, workers);
            server.fail(
                "alwaysOn",
                doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 60_000,
                "errorCode": 91 },
            );
            (test, server)
        });
    }
}
