//! Runs that are archived while they are still going, and blobs that are
//! replaced on purpose.

use std::fs;

use crate::support::archiver::Test;
use crate::support::text_of;
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::UconDb;
use run_record_archiver::ucondb::directory::DirectoryUconDb;

fn has_stop_time(test: &Test, run: u64) -> (bool, bool) {
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    let in_artdaqdb = text_of(&stored.files, "RunHistory2").contains("DAQInterface_stop_time");
    (
        in_artdaqdb,
        test.blob(run).contains("DAQInterface_stop_time"),
    )
}

fn folder(test: &Test, name: &str) -> Vec<u64> {
    let url = format!("file://{}", test.path().join("ucondb").display());
    let ucondb = DirectoryUconDb::from_url(&url, name, "configuration").unwrap();
    ucondb
        .runs()
        .unwrap()
        .into_iter()
        .map(|run| run.0)
        .collect()
}

fn documents(test: &Test) -> usize {
    let comparison = &test.artdaqdb().compare_indexes().unwrap()[0].1;
    assert!(comparison.lost.is_empty() && comparison.unnamed.is_empty());
    comparison.documents
}

#[test]
fn a_late_stop_time_reaches_both_databases_once() {
    let test = Test::new().records_in([1, 2, 3]).still_going(2);
    test.run(&["--incremental"])
        .exits(0)
        .says("Without stop time: 1 run(s) (2)");
    assert_eq!(has_stop_time(&test, 1), (true, true));
    assert_eq!(has_stop_time(&test, 2), (false, false));
    assert_eq!(test.migrated(), [1, 2, 3]);
    let before = documents(&test);

    // Nothing happens until it is there.
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
    test.ends(2);
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 2: stop time added in artdaqDB")
        .says("a new version is stored under its key")
        .says("✓ Run 2 migrated successfully")
        .does_not_say("came late");
    assert_eq!(has_stop_time(&test, 2), (true, true));
    assert_eq!(documents(&test), before + 1);
    assert_eq!(test.state("migrator_state.json"), (3, 3));
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);

    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("stop time")
        .does_not_say("→ Processing");
    assert_eq!(documents(&test), before + 1);
}

#[test]
fn the_two_databases_can_get_it_in_executions_apart() {
    let test = Test::new().records_in([1, 2]).still_going(1);
    test.run(&[]).exits(0);
    test.ends(1);
    test.run(&["--import-only", "--incremental"]).exits(0);
    assert_eq!(has_stop_time(&test, 1), (true, false));
    test.run(&["--import-only", "--incremental"]).exits(0);
    test.run(&["--migrate-only", "--incremental"]).exits(0);
    assert_eq!(has_stop_time(&test, 1), (true, true));
    let documents_before = documents(&test);
    test.run(&[]).exits(0).does_not_say("→ Processing");
    assert_eq!(documents(&test), documents_before);
}

/// As after a kill between artdaqDB and the list of incomplete runs.
#[test]
fn a_stop_time_that_artdaqdb_has_already_is_not_added_again() {
    let test = Test::new().records_in([1]).still_going(1);
    test.run(&[]).exits(0);
    let list = fs::read(test.work("incomplete_runs.json")).unwrap();
    test.ends(1);
    test.run(&[]).exits(0);
    let (documents_before, blob) = (documents(&test), test.blob(1));
    fs::write(test.work("incomplete_runs.json"), list).unwrap();
    test.run(&[])
        .exits(0)
        .says("Run 1 is in UconDB already, with the same content");
    assert_eq!(documents(&test), documents_before);
    assert_eq!(test.blob(1), blob);
}

#[test]
fn a_run_can_wait_for_its_stop_time() {
    let test = Test::new()
        .records_in([1, 2, 3])
        .still_going(2)
        .set("source_files.incomplete_runs", "wait");
    test.run(&["--incremental"])
        .exits(0)
        .says("1 run(s) wait for their stop time: 2");
    assert_eq!(
        (test.imported(), test.migrated()),
        (vec![1, 2, 3], vec![1, 3])
    );
    assert_eq!(test.state("migrator_state.json"), (1, 1));
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
    test.ends(2);
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 2, 3]);
    assert_eq!(has_stop_time(&test, 2), (true, true));

    // It does not wait for ever.
    let test = Test::new()
        .record(1)
        .still_going(1)
        .set("source_files.incomplete_runs", "wait")
        .set("source_files.incomplete_after_hours", "0");
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1]);
}

#[test]
fn runs_still_going_can_have_a_folder_of_their_own() {
    let test = Test::new()
        .records_in([1, 2, 3])
        .still_going(2)
        .set("ucon_db.pending_folder", "test_pending");
    test.run(&["--incremental"]).exits(0);
    assert_eq!(
        (folder(&test, "test"), folder(&test, "test_pending")),
        (vec![1, 3], vec![2])
    );
    assert_eq!(test.state("migrator_state.json"), (3, 3));
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
    test.ends(2);
    test.run(&["--incremental"]).exits(0).says("came late");
    assert_eq!(
        (folder(&test, "test"), folder(&test, "test_pending")),
        (vec![1, 2, 3], vec![2])
    );
    assert_eq!(has_stop_time(&test, 2), (true, true));
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
}

#[test]
fn a_record_that_differs_is_never_overwritten_but_on_purpose() {
    let test = Test::new().records_in([1, 2]);
    test.run(&["--import-only"]).exits(0);
    let foreign = bytes::Bytes::from_static(b"Start of Record\nsomething else\n");
    let stored = test.ucondb().upload(
        Run(1),
        foreign.clone(),
        run_record_archiver::ucondb::Override::No,
    );
    assert!(stored.is_ok());

    // The listing has the key; but it was there before the run was compared.
    test.run(&["--migrate-only"])
        .exits(1)
        .says("UconDB has another record under this key: 31 bytes, where this one has ")
        .says("--migrate-only --override-existing --runs 1");
    assert_eq!(test.failures("migrate_failures.log"), [1]);
    assert_eq!(test.blob(1).as_bytes(), foreign);
    test.run(&["--migrate-only", "--override-existing"])
        .exits(1)
        .says("--runs");
    test.run(&["--migrate-only", "--runs", "1-2", "--override-existing"])
        .exits(0)
        .says("a new version is stored under its key")
        .says("Run 2 is in UconDB already, with the same content");
    assert!(test.blob(1).contains("Run Number: 1\n"));
}

/// As after a kill between an upload and reading it back.
#[test]
fn a_blob_that_was_never_compared_is_compared_before_it_counts() {
    let test = Test::new().records_in([1, 2, 3]);
    test.run(&[]).exits(0);
    assert_eq!(
        fs::read_to_string(test.work("unverified_runs.log")).unwrap(),
        ""
    );
    let whole = test.blob(2);
    fs::write(test.work("unverified_runs.log"), "2\n").unwrap();
    test.run(&["--incremental"])
        .exits(0)
        .says("1 run(s) are in UconDB, but were not compared before the last execution ended: 2")
        .says("Run 2 is in UconDB already, with the same content");
    assert_eq!(
        fs::read_to_string(test.work("unverified_runs.log")).unwrap(),
        ""
    );

    // Cut short on the way, and nobody noticed.
    let cut = bytes::Bytes::from(whole[..whole.len() / 2].to_owned());
    test.ucondb()
        .upload(Run(2), cut, run_record_archiver::ucondb::Override::Yes)
        .unwrap();
    fs::write(test.work("unverified_runs.log"), "2\n").unwrap();
    for arguments in [&["--incremental"][..], &["--retry-failed-migrate"]] {
        test.run(arguments)
            .exits(1)
            .says("UconDB has another record under this key");
        assert_eq!(test.failures("migrate_failures.log"), [2]);
    }
    test.run(&["--migrate-only", "--runs", "2", "--override-existing"])
        .exits(0);
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    test.run(&["--verify"]).exits(0);
}
