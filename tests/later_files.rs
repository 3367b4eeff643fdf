//! What a record gains after its run was archived, and what becomes of a record that
//! is another one by then.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::document;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::run::Run;

use crate::support::archiver::{Ended, Test};
use crate::support::text_of;

const DAY: i64 = 24 * 3600;

/// Runs the archiver so many seconds from now.
fn run_in(test: &Test, seconds: i64, arguments: &[&str]) -> Ended {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_secs()).unwrap() + seconds;
    let mut command = test.command(arguments);
    command.env("RUN_RECORD_ARCHIVER_NOW", now.to_string());
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn record(test: &Test, run: u64) -> PathBuf {
    test.records().join(run.to_string())
}

fn entities(test: &Test, run: u64) -> Vec<String> {
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    stored.files.into_iter().map(|file| file.entity).collect()
}

/// Whether artdaqDB, as the real tools read it, and UconDB have the stop time.
#[track_caller]
fn assert_stop_time(test: &Test, run: u64) {
    let lowest = lowest_document(test.path(), run, "RunHistory2");
    assert!(lowest.contains("DAQInterface_stop_time"), "{lowest}");
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    assert_eq!(text_of(&stored.files, "RunHistory2"), lowest);
    assert!(test.blob(run).contains("DAQInterface_stop_time"));
}

/// The document that the real tools read of an entity: that with the lowest identity.
fn lowest_document(path: &Path, run: u64, entity: &str) -> String {
    let collection = path.join("archive/RunHistory");
    let index = fs::read_to_string(collection.join("index.json")).unwrap();
    let index = Index::parse(&index).unwrap();
    let names = index.configurations();
    let name = names
        .into_iter()
        .find(|name| name.starts_with(&format!("{run}/")));
    for oid in index.documents(name.unwrap()) {
        let text = fs::read_to_string(collection.join(format!("{oid}.json"))).unwrap();
        let document = document::read(&text).unwrap();
        if document.entities.iter().any(|it| it == entity) {
            return document.text;
        }
    }
    panic!("no {entity}")
}

fn lose_work_directory(test: &Test) {
    fs::remove_dir_all(test.work("")).unwrap();
    for mode in ["--recover-import-state", "--recover-migrate-state"] {
        test.run(&[mode]).exits(0);
    }
}

#[test]
fn a_stop_time_is_found_after_the_work_directory_was_lost() {
    let test = Test::new().records_in([1, 2, 3]).still_going(2);
    test.run(&["--incremental"]).exits(0);
    lose_work_directory(&test);
    test.ends(2);
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 2: stop time added in artdaqDB");
    assert_stop_time(&test, 2);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
}

#[test]
fn runs_wait_for_their_stop_time_after_the_list_of_them_was_lost() {
    let test = Test::new()
        .records_in([1, 2])
        .still_going(2)
        .set("source_files.incomplete_runs", "wait");
    test.run(&["--incremental"]).exits(0);
    fs::remove_file(test.work("incomplete_runs.json")).unwrap();
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1]);
    test.ends(2);
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 2]);
    assert_stop_time(&test, 2);
}

/// Two archivers with work directories of their own share artdaqDB.
#[test]
fn a_stop_time_that_another_archiver_added_reaches_ucondb() {
    let test = Test::new().records_in([1, 2]).still_going(2);
    test.run(&["--incremental"]).exits(0);
    test.ends(2);
    let mine = test.work("");
    let other = test.path().join("work_of_another");
    for (from, to) in [(&mine, &test.path().join("mine")), (&other, &mine)] {
        let _ = fs::create_dir(&other);
        fs::rename(from, to).unwrap();
    }
    test.run(&["--import-only", "--incremental"])
        .exits(0)
        .says("✓ Run 2: stop time added in artdaqDB");
    assert!(!test.blob(2).contains("DAQInterface_stop_time"));
    fs::remove_dir_all(&mine).unwrap();
    fs::rename(test.path().join("mine"), &mine).unwrap();
    test.run(&["--incremental"]).exits(0);
    assert_stop_time(&test, 2);
}

/// The work directory is lost between the two databases.
#[test]
fn a_stop_time_that_only_artdaqdb_has_reaches_ucondb_after_a_loss() {
    let test = Test::new().records_in([1, 2]).still_going(2);
    test.run(&["--incremental"]).exits(0);
    test.ends(2);
    test.run(&["--import-only", "--incremental"]).exits(0);
    lose_work_directory(&test);
    test.run(&["--incremental"]).exits(0);
    assert_stop_time(&test, 2);
}

#[test]
fn a_clock_that_was_ahead_or_behind_at_the_import_hides_no_stop_time() {
    for (at_import, later) in [(40 * 60, 60), (-40 * 60, 0), (30 * DAY, 3600)] {
        let test = Test::new().record(2).still_going(2);
        run_in(&test, at_import, &["--incremental"]).exits(0);
        test.ends(2);
        run_in(&test, later, &["--incremental"]).exits(0);
        assert_stop_time(&test, 2);
        run_in(&test, later + 60, &["--incremental"])
            .exits(0)
            .does_not_say("→ Processing");
    }
}

#[test]
fn files_that_came_after_the_import_are_added_in_both_databases() {
    let test = Test::new().records_in([6, 7]);
    let record = record(&test, 7);
    let crt = fs::read(record.join("crt01.fcl")).unwrap();
    fs::remove_file(record.join("crt01.fcl")).unwrap();
    test.run(&["--incremental"]).exits(0);
    let before = entities(&test, 7);
    fs::write(record.join("crt01.fcl"), crt).unwrap();
    fs::create_dir(record.join("late")).unwrap();
    fs::write(record.join("late/pds03.fcl"), "late: 3\n").unwrap();
    fs::write(record.join("settings.txt"), "log_directory: /tmp\n").unwrap();
    test.run(&["--incremental"])
        .exits(0)
        .says("Run 7: added to artdaqDB, as its record has it by now: crt01.fcl, pds03.fcl, settings.fcl")
        .says("✓ Run 7: brought up to date in artdaqDB")
        .says("✓ Run 7 migrated successfully");
    assert_eq!(entities(&test, 7).len(), before.len() + 3);
    let blob = test.blob(7);
    for file in ["crt01.fcl:", "pds03.fcl:", "settings.fcl:"] {
        assert!(blob.contains(file), "{file}");
    }
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("→ Processing")
        .does_not_say("lacks");
    test.run(&["--verify"]).exits(0);
}

#[test]
fn what_records_gain_comes_after_the_new_runs_and_at_most_a_batch_of_it() {
    let test = Test::new().records_in(1..=4).set("app.batch_size", "3");
    test.run(&[]).exits(0);
    for run in 1..=4 {
        fs::write(record(&test, run).join("late.fcl"), "late: 1\n").unwrap();
    }
    let test = test.record(5);
    let ended = test.run(&["--incremental"]).exits(0);
    let at = |text: &str| ended.stderr.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(at("→ Processing run 5") < at("→ Processing run 1"));
    let have = |run| entities(&test, run).contains(&"late".to_owned());
    assert_eq!([1, 2, 3, 4].map(have), [true, true, true, false]);
    // What is still lacking is said.
    ended.says("artdaqDB lacks what the records of these runs have");
    test.run(&["--incremental"]).exits(0);
    assert!(have(4) && test.blob(4).contains("late.fcl:"));
}

#[test]
fn a_record_that_changes_after_months_is_completed_by_itself() {
    let test = Test::new().record(7);
    test.run(&["--incremental"]).exits(0);
    // Its directory is all that is looked at by now.
    run_in(&test, 90 * DAY, &["--incremental"])
        .exits(0)
        .does_not_say("→ Processing");
    fs::write(record(&test, 7).join("late.fcl"), "late: 1\n").unwrap();
    run_in(&test, 90 * DAY + 3600, &["--incremental"])
        .exits(0)
        .says("✓ Run 7: brought up to date in artdaqDB");
    assert!(test.blob(7).contains("late.fcl:"));
}

#[test]
fn what_an_old_archive_lacks_is_reported_and_left() {
    let test = Test::new().records_in([7, 8]);
    fs::remove_file(record(&test, 7).join("crt01.fcl")).unwrap();
    test.run(&["--incremental"]).exits(0);
    lose_work_directory(&test);
    fs::write(record(&test, 7).join("crt01.fcl"), "hosts: []\n").unwrap();
    let before = test.blob(7);
    for hours in [0, 1] {
        run_in(&test, 60 * DAY + hours * 3600, &["--incremental"])
            .exits(0)
            .says("artdaqDB lacks what the records of these runs have")
            .says("    7: crt01.fcl")
            .does_not_say("→ Processing");
    }
    assert_eq!(test.blob(7), before);
    let report = run_in(&test, 60 * DAY, &["--report-status"]).stdout;
    assert!(report.contains("    7: crt01.fcl\n"), "{report}");
    // The site's own choice of what is recent.
    let test = test.set("source_files.recheck_days", "100");
    lose_work_directory(&test);
    run_in(&test, 60 * DAY, &["--incremental"]).exits(0);
    assert!(test.blob(7).contains("crt01.fcl:"));
}

#[test]
fn records_that_only_look_new_are_left_alone() {
    let test = Test::new().records_in([7, 8]);
    test.run(&["--incremental"]).exits(0);
    let before = [test.blob(7), test.blob(8)];
    for hour in 1..4 {
        for file in fs::read_dir(record(&test, 7)).unwrap() {
            let path = file.unwrap().path();
            let mode = if hour % 2 == 0 { 0o644 } else { 0o444 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            // As cp -al does.
            let copy = test.path().join(format!("copy{hour}"));
            fs::create_dir_all(&copy).unwrap();
            fs::hard_link(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        // Touched, and the same.
        let file = fs::File::options()
            .append(true)
            .open(record(&test, 8).join("tpc01.fcl"));
        let time = SystemTime::now() - Duration::from_secs(60 * hour);
        file.unwrap().set_modified(time).unwrap();
        run_in(
            &test,
            i64::try_from(hour).unwrap() * 3600,
            &["--incremental"],
        )
        .exits(0)
        .does_not_say("another one")
        .does_not_say("→ Processing");
    }
    assert_eq!([test.blob(7), test.blob(8)], before);
}

#[test]
fn a_changed_record_is_told_once_by_file_and_nothing_is_overwritten() {
    let test = Test::new().records_in([7, 8]);
    fs::write(record(&test, 7).join("settings.txt"), "log_level: 3\n").unwrap();
    fs::write(record(&test, 7).join("boot.txt"), "debug level: 3\n").unwrap();
    test.run(&["--incremental"]).exits(0);
    let before = test.blob(7);
    // One byte, the size and the time of modification kept.
    for (name, old, new) in [
        ("tpc01.fcl", "mark: 7", "mark: 9"),
        ("settings.txt", "log_level: 3", "log_level: 4"),
        ("boot.txt", "debug level: 3", "debug level: 5"),
        ("metadata.txt", "Component #0: tpc01", "Component #0: tpc03"),
    ] {
        let path = record(&test, 7).join(name);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{name}");
        fs::write(&path, text.replace(old, new)).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        let ended = test.run(&["--incremental"]).exits(1);
        let ended = ended.says("Run 7: its record is another one than was archived");
        let line = ended
            .stderr
            .lines()
            .find(|line| line.contains("another one"))
            .unwrap();
        assert!(line.contains(name), "{line}");
        // It is in the summary of the first execution, and in the report from then on.
        test.run(&["--incremental"])
            .exits(0)
            .does_not_say("another one")
            .does_not_say("→ Processing");
    }
    assert_eq!(test.blob(7), before);
    let report = test.run(&["--report-status"]).exits(0).stdout;
    let line = "    7: boot.txt, metadata.txt, settings.txt, tpc01.fcl\n";
    assert!(report.contains(line), "{report}");
}

#[test]
fn times_that_metadata_gains_are_no_change() {
    let test = Test::new().record(7).still_going(7);
    test.run(&["--incremental"]).exits(0);
    let metadata = |test: &Test| {
        let stored = test.artdaqdb().read(Run(7)).unwrap();
        text_of(&stored.files, "metadata").to_owned()
    };
    let before = metadata(&test);
    test.ends(7);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("another one")
        .says("stop time added");
    assert_eq!(metadata(&test), before);
    assert_stop_time(&test, 7);
    // Another stop time is a change.
    let path = record(&test, 7).join("metadata.txt");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("19:02:11", "19:02:12")).unwrap();
    test.run(&["--incremental"])
        .exits(1)
        .says("nothing was changed: metadata.txt");
}

#[test]
fn a_record_that_is_gone_or_emptied_is_no_fault() {
    let test = Test::new().records_in([6, 7, 8]);
    test.run(&["--incremental"]).exits(0);
    fs::remove_dir_all(record(&test, 7)).unwrap();
    fs::remove_file(record(&test, 8).join("tpc01.fcl")).unwrap();
    fs::remove_file(record(&test, 8).join("crt01.fcl")).unwrap();
    for _ in 0..2 {
        test.run(&["--incremental"])
            .exits(0)
            .does_not_say("→ Processing");
    }
    assert_eq!(test.migrated(), [6, 7, 8]);
}

#[test]
fn a_record_that_is_being_written_to_again_is_looked_at_when_it_has_settled() {
    let test = Test::new()
        .record(7)
        .set("source_files.settle_seconds", "2");
    std::thread::sleep(Duration::from_millis(2_100));
    test.run(&["--incremental"]).exits(0);
    fs::write(record(&test, 7).join("late.fcl"), "late: [1,\n").unwrap();
    test.run(&["--incremental"]).exits(0).does_not_say("late");
    fs::write(record(&test, 7).join("late.fcl"), "late: [1, 2]\n").unwrap();
    std::thread::sleep(Duration::from_millis(2_100));
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 7: brought up to date in artdaqDB");
    assert!(test.blob(7).contains("late: [1, 2]"));
}

/// A backup of the archive from before the stop time was added.
#[test]
fn an_archive_that_was_restored_from_a_backup_gets_the_stop_time_again() {
    let test = Test::new().records_in([1, 2]).still_going(2);
    test.run(&["--incremental"]).exits(0);
    let index = test.path().join("archive/RunHistory/index.json");
    let backup = fs::read(&index).unwrap();
    test.ends(2);
    test.run(&["--incremental"]).exits(0);
    assert_stop_time(&test, 2);
    fs::write(&index, backup).unwrap();
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 2: stop time added in artdaqDB");
    assert_stop_time(&test, 2);
}

/// The run is archived: it is in no failure log, and nobody is told twice.
#[test]
fn a_run_that_cannot_be_completed_is_told_once() {
    let test = Test::new().records_in([6, 7]);
    test.run(&["--incremental"]).exits(0);
    let collection = test.path().join("archive/RunHistory");
    let index = fs::read_to_string(collection.join("index.json")).unwrap();
    let index = Index::parse(&index).unwrap();
    let document = collection.join(format!("{}.json", index.documents("7/test")[0]));
    let whole = fs::read_to_string(&document).unwrap();
    fs::write(&document, "{").unwrap();
    fs::write(record(&test, 7).join("late.fcl"), "late: 1\n").unwrap();
    let test = test.record(8);
    test.run(&["--incremental"])
        .exits(1)
        .says("1 archived run(s) could not be brought up to date");
    assert_eq!(test.migrated(), [6, 7, 8]);
    test.run(&["--incremental"])
        .exits(0)
        .says("1 archived run(s) could not be brought up to date");
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
    fs::write(&document, whole).unwrap();
    test.run(&["--incremental"]).exits(0);
    assert!(test.blob(7).contains("late.fcl:"));
}
