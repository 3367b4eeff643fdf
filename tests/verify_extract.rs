//! Comparing the databases run by run, and getting a blob back as files.

use std::fs;

use crate::support::archiver::Test;
use crate::support::fcl;
use bytes::Bytes;
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::{Override, UconDb};

/// Runs 1 to 4, all in both databases.
fn archived() -> Test {
    let test = Test::new().records_in(1..=4);
    test.run(&[]).exits(0);
    test
}

#[test]
fn databases_that_agree_are_said_to() {
    archived()
        .run(&["--verify"])
        .exits(0)
        .says("Same in artdaqDB and UconDB: 4 run(s)")
        .does_not_say("Differ:");
}

#[test]
fn every_kind_of_difference_is_named() {
    let test = archived().record(5);
    test.run(&["--import-only"]).exits(0);
    let foreign = test.blob(1).replace("Run Number: 1", "Run Number: 9");
    test.ucondb()
        .upload(Run(9), Bytes::from(foreign), Override::No)
        .unwrap();
    let changed = test.blob(2).replace("mark: 2 ", "mark: 22 ");
    test.ucondb()
        .upload(Run(2), Bytes::from(changed), Override::Yes)
        .unwrap();
    let db = test.artdaqdb();
    db.insert(Run(6), "test", &[fcl("tpc01", "a: 1\n")])
        .unwrap();
    db.publish().unwrap();
    test.run(&["--verify"])
        .exits(1)
        .says("Run 2: artdaqDB (-) and UconDB (+) differ")
        .says("- mark: 2 ")
        .says("+ mark: 22")
        .says("Same in artdaqDB and UconDB: 3 run(s)")
        .says("Differ: 1 run(s): 2.")
        .says("Only in artdaqDB: 1 run(s): 5. Next: --migrate-only")
        .says("Only in UconDB: 1 run(s): 9.")
        .says("In artdaqDB in part only: 1 run(s): 6. Next: --import-only");
    test.run(&["--verify", "--runs", "1,3-4"])
        .exits(0)
        .says("3 run(s)");
}

#[test]
fn a_share_at_a_time_comes_to_all_and_begins_again() {
    let test = Test::new().records_in(1..=25).set("app.batch_size", "1");
    for _ in 0..3 {
        test.run(&["--migrate-only"]);
        test.run(&["--import-only"]);
    }
    test.run(&["--migrate-only"]);
    test.run(&["--migrate-only"]);
    assert_eq!(test.migrated().len(), 25);
    for expected in ["10 run(s)", "10 run(s)", "5 run(s)", "10 run(s)"] {
        test.run(&["--verify", "--incremental"])
            .exits(0)
            .says(&format!("Same in artdaqDB and UconDB: {expected}"));
    }
    fs::write(test.work("verify_progress"), "ten").unwrap();
    test.run(&["--verify", "--incremental"])
        .exits(1)
        .says("verify_progress")
        .says("Remove the file");
}

#[test]
fn a_blob_comes_back_as_its_files() {
    let test = archived();
    let output = test.path().join("run 3");
    let to = output.to_str().unwrap();
    test.run(&["--extract", "3", "--output", to])
        .exits(0)
        .says("6 files written");
    for file in test.artdaqdb().read(Run(3)).unwrap().files {
        let path = output.join(format!("{}.fcl", file.entity));
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            file.text,
            "{}",
            file.entity
        );
    }
    test.run(&["--extract", "3", "--output", to])
        .exits(1)
        .says("exists; nothing was written");
    let other = test.path().join("other");
    test.run(&["--extract", "99", "--output", other.to_str().unwrap()])
        .exits(1)
        .says("99");
    assert!(!other.exists());
}

#[test]
fn a_blob_can_not_write_outside_its_directory() {
    let test = archived();
    let output = test.path().join("a/b");
    fs::create_dir_all(&output).unwrap();
    for (run, name) in [
        (11, "../up"),
        (12, "/etc/x"),
        (13, "sub/x"),
        (14, ""),
        (15, ".hidden"),
        (16, "a\u{7}b"),
    ] {
        let blob = format!(
            "Start of Record\nRun Number: {run}\nPacked on Oct 26 14:30 UTC\n\n#####\ngood.fcl:\n#####\na: 1\n\
             \n#####\n{name}.fcl:\n#####\nb: 1\n\nEnd of Record\nRun Number: {run}\nPacked on Oct 26 14:30 UTC\n"
        );
        test.ucondb()
            .upload(Run(run), Bytes::from(blob), Override::No)
            .unwrap();
        let run = run.to_string();
        test.run(&["--extract", &run, "--output", output.to_str().unwrap()])
            .exits(1)
            .says("nothing was written");
        assert_eq!(fs::read_dir(&output).unwrap().count(), 0, "{name:?}");
    }
    assert!(!test.path().join("a/up.fcl").exists());
    test.ucondb()
        .upload(Run(20), Bytes::from_static(b"<html>"), Override::No)
        .unwrap();
    test.run(&["--extract", "20", "--output", output.to_str().unwrap()])
        .exits(1)
        .says("this is no blob");
}
