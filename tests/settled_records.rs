//! A record is archived when it is whole: while it is being copied, it waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;

use crate::support::archiver::Test;
use crate::support::copy_tree;

/// An archiver for which a record has settled after two seconds.
fn archiver() -> Test {
    Test::new().set("source_files.settle_seconds", "2")
}

/// A record of some files, which is not where the archiver looks.
fn record(test: &Test) -> PathBuf {
    let record = test.path().join("source");
    fs::create_dir(&record).unwrap();
    for file in 0..12 {
        let text = format!("threshold: 150{file}\nchannels: [1, 2, {file}]\n");
        fs::write(record.join(format!("tpc{file:02}.fcl")), text).unwrap();
    }
    let metadata = "Config name: test\nComponent #0: tpc00\n\n\
                    DAQInterface start time: Wed Mar 18 18:02:11 UTC 2026\n\
                    DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";
    fs::write(record.join("metadata.txt"), metadata).unwrap();
    record
}

fn files(record: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(record)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Waits until the record has settled, and archives it.
#[track_caller]
fn archive_whole(test: &Test, run: u64, files: usize) {
    sleep(Duration::from_millis(2_100));
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 7 migrated successfully");
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    // metadata.txt makes three files, and the schema is one.
    assert_eq!(stored.files.len(), files + 3);
    let blob = test.blob(run);
    for file in 0..12 {
        assert!(blob.contains(&format!("threshold: 150{file}")), "{file}");
    }
}

#[test]
fn the_archiver_may_come_by_after_every_file_and_in_the_middle_of_one() {
    let test = archiver();
    let source = record(&test);
    let target = test.records().join("7");
    fs::create_dir(&target).unwrap();
    test.run(&["--incremental"]).exits(0);
    for file in files(&source) {
        let text = fs::read(&file).unwrap();
        let to = target.join(file.file_name().unwrap());
        for length in [text.len() / 2, text.len()] {
            fs::write(&to, &text[..length]).unwrap();
            test.run(&["--incremental", "--quiet"]).exits(0);
        }
    }
    assert_eq!(test.imported(), [0; 0]);
    test.run(&[])
        .exits(0)
        .says("1 run(s) still being written: 7")
        .says("Next: run the same command again from");
    // Who names the run hears that it is not archived.
    test.run(&["--runs", "7"])
        .exits(1)
        .says("1 of the selected runs are not imported: 7");
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
    archive_whole(&test, 7, files(&source).len());
}

#[test]
fn records_come_whole_by_whatever_tool_they_are_copied() {
    for tool in ["cp -a", "tar", "mv of a copy", "a copy with old times"] {
        let test = archiver();
        let source = record(&test);
        let target = test.records().join("7");
        let shell = |script: &str| {
            let status = Command::new("sh")
                .args(["-ec", script])
                .env("FROM", &source)
                .env("TO", &target)
                .status();
            assert!(status.unwrap().success(), "{script}");
        };
        match tool {
            "cp -a" => shell("cp -a \"$FROM\" \"$TO\""),
            "tar" => shell("mkdir \"$TO\"; tar -C \"$FROM\" -c . | tar -C \"$TO\" -xp"),
            "mv of a copy" => {
                shell("cp -a \"$FROM\" \"$TO.tmp\"; mv \"$TO.tmp\" \"$TO\"");
            }
            _ => {
                copy_tree(&source, &target);
                // The modification times of years ago say nothing.
                shell("touch -d 2020-01-01 \"$TO\"/*");
            }
        }
        test.run(&["--incremental"]).exits(0);
        assert_eq!(test.imported(), [0; 0], "{tool}");
        archive_whole(&test, 7, files(&source).len());
    }
}

#[test]
fn an_empty_directory_waits_and_stops_nothing() {
    let test = archiver().record(1).record(3);
    fs::create_dir(test.records().join("2")).unwrap();
    sleep(Duration::from_millis(2_100));
    test.run(&["--incremental"])
        .exits(0)
        .says("1 run(s) still being written: 2");
    assert_eq!(test.migrated(), [1, 3]);
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
}

#[test]
fn waiting_runs_take_no_place_in_a_batch() {
    let test = archiver().set("app.batch_size", "2").records_in(1..=2);
    sleep(Duration::from_millis(2_100));
    let test = test.records_in(3..=9);
    for name in ["1", "2"] {
        assert!(test.records().join(name).exists());
    }
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 2]);
}
