//! Executions that something ends early, and those that follow them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::{documents_in, send, wait_until};
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::run::Run;
use rustix::process::Signal;

fn log_has(test: &Test, text: &str) -> bool {
    fs::read_to_string(test.work("archiver.log")).is_ok_and(|log| log.contains(text))
}

/// Every document of every run is there once: what the index names is what there is.
fn assert_every_run_once(test: &Test, runs: impl Iterator<Item = u64> + Clone) {
    assert_eq!(test.imported(), runs.clone().collect::<Vec<_>>());
    let db = test.artdaqdb();
    for run in runs.clone() {
        let files = db.read(Run(run)).unwrap().files;
        // Two processes, metadata, both histories and the schema.
        assert_eq!(files.len(), 6, "run {run}");
    }
    for (collection, documents) in [("RunHistory", 5), ("SystemLayout", 1)] {
        let directory = test.path().join("archive").join(collection);
        let index =
            Index::parse(&fs::read_to_string(directory.join("index.json")).unwrap()).unwrap();
        assert_eq!(
            index.len(),
            runs.clone().count() * documents,
            "{collection}"
        );
        assert_eq!(index.len(), documents_in(&directory), "{collection}");
    }
}

#[test]
fn a_kill_in_the_middle_of_an_import_loses_nothing_and_doubles_nothing() {
    const RUNS: std::ops::RangeInclusive<u64> = 1..=200;
    let test = Test::new().records_in(RUNS).set("app.batch_size", "0");
    let documents = test.path().join("archive/RunHistory");
    // At several depths into the import: first before, then after an index was written.
    for kill_at in [1, 150, 400, 700] {
        let mut child = test.start(&["--import-only"]);
        wait_until("documents", || {
            documents.is_dir() && documents_in(&documents) >= kill_at
        });
        send(&child, Signal::KILL);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // Whatever the kill left can be read.
        test.artdaqdb().runs().unwrap();
    }
    test.run(&["--import-only"]).exits(0);
    assert_every_run_once(&test, RUNS);
    assert_eq!(test.state("importer_state.json"), (200, 200));

    let mut child = test.start(&["--migrate-only"]);
    wait_until("blobs", || test.migrated().len() >= 40);
    send(&child, Signal::KILL);
    child.wait().unwrap();
    test.run(&[]).exits(0);
    assert_eq!(test.migrated(), RUNS.collect::<Vec<_>>());
    assert_every_run_once(&test, RUNS);
}

/// A test whose archiver is busy for long: it waits to try a run again.
fn waiting() -> (Test, Child) {
    let test = Test::new()
        .records_in(1..=5)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let child = test.start(&[]);
    wait_until("a retry", || {
        log_has(&test, "Retrying run 1 in 600 seconds...")
    });
    (test, child)
}

#[test]
fn one_signal_ends_the_work_in_good_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let (test, mut child) = waiting();
        let started = Instant::now();
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        for text in [
            "GRACEFUL SHUTDOWN REQUESTED",
            "✓ GRACEFUL SHUTDOWN COMPLETED",
            "Reason: ",
        ] {
            assert!(log_has(&test, text), "{text}");
        }
        assert!(!test.work(".archiver.lock").exists());
        // A run that was left is neither failed nor attempted.
        assert_eq!(test.failures("import_failures.log"), [0; 0]);
        let test = test.set("app_fuzz.random_error_percent", "0");
        test.run(&["--incremental"]).exits(0);
        assert_eq!(test.migrated(), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_signal_lets_the_runs_under_way_end_and_saves_the_state() {
    let test = Test::new().records_in(1..=300).set("app.batch_size", "0");
    let mut child = test.start(&["--import-only"]);
    wait_until("the first runs", || log_has(&test, "→ Processing run 20 "));
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let imported = test.imported();
    assert!((19..300).contains(&imported.len()), "{}", imported.len());
    let last = *imported.last().unwrap();
    assert_eq!(test.state("importer_state.json"), (last, last));
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    for run in imported {
        assert!(
            log.contains(&format!("✓ Run {run} imported successfully")),
            "{run}"
        );
    }
    assert!(log.contains("were left because of the shutdown"));
}

#[test]
fn three_signals_end_it_at_once() {
    let (test, mut child) = waiting();
    for _ in 0..3 {
        send(&child, Signal::INT);
        sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(test);
}

#[test]
fn without_its_lock_file_it_ends_in_good_order() {
    let (test, mut child) = waiting();
    let lock = test.work(".archiver.lock");
    assert_eq!(
        fs::read_to_string(&lock).unwrap().trim(),
        child.id().to_string()
    );
    fs::remove_file(&lock).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(log_has(
        &test,
        "LOCK FILE REMOVED - INITIATING GRACEFUL SHUTDOWN"
    ));
    assert!(log_has(&test, "Reason: Lock file removed"));
}

#[test]
fn a_second_instance_names_the_first_and_does_nothing() {
    let (test, mut child) = waiting();
    test.run(&[])
        .exits(1)
        .says("LockExistsError")
        .says("LockExistsError: Another process may be running")
        .says(&child.id().to_string())
        .does_not_say("→ Processing");
    send(&child, Signal::KILL);
    child.wait().unwrap();
    // The lock file of a dead process stops nobody.
    assert!(test.work(".archiver.lock").exists());
    let test = test.set("app_fuzz.random_error_percent", "0");
    test.run(&[]).exits(0).does_not_say("LockExistsError");
    assert!(!test.work(".archiver.lock").exists());
}
