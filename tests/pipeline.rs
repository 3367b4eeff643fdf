//! The main job, end to end, by the binary itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::archiver::Test;
use crate::support::{project, shared, text_of};
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::blob;
use run_record_archiver::run::Run;

const NOTHING_NEW: &str = "Import Stage: No new runs to import.";

/// Lines of a blob of the existing pipeline that ours must not repeat: its tools
/// take a `#` after an escaped quote in a string for the beginning of a comment.
const INVENTED: &str = "setup_script: ";

#[test]
fn every_real_record_is_archived_as_the_existing_system_archives_it() {
    let Some(records) = shared("corpus/run_records") else {
        return;
    };
    let Some(golden) = shared("golden/blob") else {
        return;
    };
    let test = Test::new()
        .records_of(&records)
        .set("artdaq_db.fcl_conf_dir", &golden.display().to_string());
    test.run(&[])
        .exits(0)
        .says("Import Stage: Found 14 runs to import.")
        .says("✓ Run 20101 imported successfully")
        .says("✓ Run 20101 migrated successfully")
        .says("Without stop time: 3 run(s) (906, 951, 1001506)")
        .says("✓ EXECUTION COMPLETED SUCCESSFULLY");
    let runs = [
        901, 902, 903, 904, 905, 906, 907, 950, 951, 8001, 8003, 20101, 20102, 1_001_506,
    ];
    assert_eq!(test.imported(), runs);
    assert_eq!(test.migrated(), runs);

    for run in [20101, 8001, 904, 950] {
        let ours = test.blob(run);
        let theirs = fs::read_to_string(golden.join(format!("{run}.blob"))).unwrap();
        let lines = |blob: &str| -> Vec<String> {
            blob.lines()
                .filter(|line| !line.starts_with("Packed on "))
                .map(str::to_owned)
                .collect()
        };
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        assert_eq!(ours.len(), theirs.len(), "run {run}");
        let mut invented = 0;
        for (number, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            if our != their {
                assert!(
                    our.starts_with(INVENTED) && their.starts_with(our.as_str()),
                    "run {run}, line {number}: {our:.200}"
                );
                assert!(
                    their[our.len()..].starts_with("#"),
                    "run {run}: {:.200}",
                    &their[our.len()..]
                );
                invented += 1;
            }
        }
        assert_eq!(
            invented,
            usize::from(run == 20101 || run == 8001),
            "run {run}"
        );
    }

    // The existing system archives these empty, for the space in their configuration's name.
    for run in [901, 903, 905, 907] {
        let configuration = test.artdaqdb().read(Run(run)).unwrap();
        assert!(configuration.name.contains(' '), "{}", configuration.name);
        let files = blob::unpack(&test.blob(run)).unwrap();
        let record = records.join(run.to_string());
        let mut entities = 0;
        for entry in fs::read_dir(&record).unwrap() {
            let path = entry.unwrap().path();
            let entity = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                !text_of(&files, entity).trim().is_empty(),
                "run {run}: {entity}"
            );
            entities += 1;
        }
        // The schema, and the two made from metadata.txt.
        assert_eq!(files.len(), entities + 3, "run {run}");
    }

    test.run(&[])
        .exits(0)
        .says(NOTHING_NEW)
        .says("Migrate Stage: No new runs to migrate.");
}

#[test]
fn the_samples_are_archived_and_then_there_is_nothing_new() {
    let test = Test::new().records_of(&project("samples/run_records")).set(
        "artdaq_db.fcl_conf_dir",
        &project("samples/schema").display().to_string(),
    );
    test.run(&[])
        .exits(0)
        .says("Without stop time: 2 run(s) (12503, 12507)")
        .says("Next: nothing to do until there are new runs");
    let imported = test.imported();
    assert!(imported.len() >= 8, "{imported:?}");
    assert_eq!(test.migrated(), imported);
    let last = *imported.last().unwrap();
    assert_eq!(test.state("importer_state.json"), (last, last));
    assert_eq!(test.state("migrator_state.json"), (last, last));
    for arguments in [
        &[][..],
        &["--incremental"],
        &["--import-only"],
        &["--migrate-only", "--incremental"],
    ] {
        test.run(arguments)
            .exits(0)
            .does_not_say("→ Processing")
            .says("EXECUTION COMPLETED SUCCESSFULLY");
    }
}

#[test]
fn incremental_takes_a_batch_at_a_time_and_goes_on_where_it_was() {
    let test = Test::new().records_in(101..=110).set("app.batch_size", "4");
    test.run(&["--import-only", "--incremental"])
        .exits(0)
        .says("Limited to 4 runs by app.batch_size. 6 runs remain")
        .says("Progress: 4/4 runs processed (4 successful, 0 failed)")
        .says("--incremental (6 run(s) still to import)")
        .says("--migrate-only (4 run(s) are in artdaqDB and not known to be in UconDB)");
    assert_eq!(test.imported(), [101, 102, 103, 104]);
    assert_eq!(test.migrated(), [0; 0]);
    assert_eq!(test.state("importer_state.json"), (104, 104));
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.imported().len(), 8);
    assert_eq!(test.migrated(), [101, 102, 103, 104]);
    test.run(&["--incremental"]).exits(0);
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.imported().len(), 10);
    assert_eq!(test.migrated().len(), 10);
    assert_eq!(test.state("migrator_state.json"), (110, 110));
}

#[test]
fn a_full_execution_takes_everything_and_a_batch_size_of_zero_is_no_limit() {
    let test = Test::new().records_in(1..=25).set("app.batch_size", "2");
    test.run(&["--import-only"]).exits(0).does_not_say("remain");
    assert_eq!(test.imported().len(), 25);
    let test = Test::new().records_in(1..=25).set("app.batch_size", "0");
    test.run(&["--import-only", "--incremental"]).exits(0);
    assert_eq!(test.imported().len(), 25);
}

/// Bad input of one run never touches another run.
#[test]
fn broken_records_fail_alone_and_say_why() {
    let test = Test::new()
        .records_in([1, 3, 5, 7, 9])
        .set("app.batch_size", "0");
    let records = test.records();
    fs::create_dir(records.join("2")).unwrap();
    fs::create_dir(records.join("4")).unwrap();
    fs::write(records.join("4/tpc01.fcl"), "a: [1, 2\nb: 3\n").unwrap();
    fs::create_dir(records.join("6")).unwrap();
    fs::write(records.join("6/tpc01.fcl"), [0, 159, 146, 150, 255, 10]).unwrap();
    fs::write(records.join("8"), "a file").unwrap();
    fs::create_dir(records.join("10.bak")).unwrap();
    std::os::unix::fs::symlink("nowhere", records.join("11")).unwrap();

    let ended = test
        .run(&[])
        .exits(1)
        .says("✗ Run 2 import failed")
        .says("4/tpc01.fcl: not FHiCL: line 2, column 1")
        .says("b: 3")
        .says("3 run(s) failed and are in the failure log")
        .says("--retry-failed-import (takes the 3 run(s) of its failure log)")
        .says("✗ EXECUTION COMPLETED WITH FAILURES (exit code: 1)");
    // What is at fault is the run's own: to try again would be useless.
    ended
        .says("→ Processing run 4 (attempt 1/3)")
        .does_not_say("Retrying run");
    assert_eq!(test.imported(), [1, 3, 5, 7, 9]);
    assert_eq!(test.migrated(), [1, 3, 5, 7, 9]);
    assert_eq!(test.failures("import_failures.log"), [2, 4, 6]);
    assert_eq!(test.state("importer_state.json"), (1, 9));

    // What was put right leaves the failure log, the rest stays.
    fs::write(records.join("4/tpc01.fcl"), "a: [1, 2]\nb: 3\n").unwrap();
    test.run(&["--retry-failed-import"])
        .exits(1)
        .says("✓ Run 4 imported successfully")
        .does_not_say("Processing run 1 ");
    assert_eq!(test.failures("import_failures.log"), [2, 6]);
    fs::remove_dir_all(records.join("2")).unwrap();
    fs::remove_dir_all(records.join("6")).unwrap();
    test.run(&["--retry-failed-import"])
        .exits(0)
        .says("source no longer has them: 2, 6");
    assert_eq!(test.failures("import_failures.log"), [2, 6]);
    // Run 4 was imported below where migration had come: it is taken all the same.
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 3, 4, 5, 7, 9]);
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
}

#[test]
fn the_broken_samples_show_what_failures_look_like() {
    let test = Test::new().records_of(&project("samples/broken")).set(
        "artdaq_db.fcl_conf_dir",
        &project("samples/schema").display().to_string(),
    );
    test.run(&[]).exits(1);
    assert!(!test.imported().is_empty());
    assert_eq!(test.migrated(), test.imported());
    assert!(!test.failures("import_failures.log").is_empty());
}

#[test]
fn a_late_arrival_is_taken_after_the_new_runs() {
    let test = Test::new().records_in([10, 20]);
    test.run(&["--incremental"]).exits(0);
    let test = test.record(15).record(21);
    test.run(&["--incremental"])
        .exits(0)
        .says("1 run(s) came late")
        .says("✓ EXECUTION COMPLETED SUCCESSFULLY");
    assert_eq!(test.migrated(), [10, 15, 20, 21]);
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
    for state in ["importer_state.json", "migrator_state.json"] {
        assert_eq!(test.state(state), (21, 21));
    }
}

#[test]
fn only_the_selected_runs_are_taken() {
    let test = Test::new().records_in(1..=9);
    test.run(&["--runs", "2-4,8"]).exits(0);
    assert_eq!(test.migrated(), [2, 3, 4, 8]);
    // Runs below 8 were never attempted, so an incremental execution must see them.
    assert_eq!(test.state("importer_state.json"), (0, 0));
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated().len(), 9);
}

#[test]
fn failures_on_purpose_are_retried_and_recorded() {
    let test = Test::new()
        .records_in(1..=3)
        .set("app_fuzz.random_error_percent", "100");
    test.run(&["--import-only"])
        .exits(1)
        .says("Run 1 failed (attempt 1/3): ArchiverError: failed on purpose")
        .says("Retrying run 1 in 0.01 seconds...")
        .says("→ Processing run 1 (attempt 3/3)")
        .says("✗ Run 1 import failed");
    assert_eq!(test.failures("import_failures.log"), [1, 2, 3]);
    assert_eq!(test.state("importer_state.json"), (0, 3));
    let test = test.set("app_fuzz.random_error_percent", "0");
    test.run(&["--retry-failed-import"]).exits(0);
    assert_eq!(test.imported(), [1, 2, 3]);
    assert_eq!(test.state("importer_state.json"), (3, 3));
}

/// A database that is not there is nobody's failure.
#[test]
fn what_is_not_the_runs_fault_stops_the_stage() {
    let test = Test::new()
        .records_in(1..=3)
        .set("ucon_db.server_url", "http://127.0.0.1:9/app")
        .set("ucon_db.timeout_seconds", "1");
    test.run(&["--incremental"])
        .exits(1)
        .says("Migrate Stage did not begin: UconDBError")
        .says("127.0.0.1:9")
        .does_not_say("swordfish");
    assert_eq!(test.imported(), [1, 2, 3]);
    assert!(!test.work("migrator_state.json").exists());
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);

    let test = Test::new()
        .record(1)
        .set("source_files.run_records_dir", "/nowhere/at/all");
    test.run(&[])
        .exits(1)
        .says("/nowhere/at/all")
        .says("Import Stage did not begin");
    let test = Test::new()
        .record(1)
        .set("artdaq_db.fcl_conf_dir", "/nowhere");
    test.run(&[])
        .exits(1)
        .says("/nowhere/schema.fcl")
        .says("artdaq_db.fcl_conf_dir");
}

#[test]
fn a_broken_state_or_failure_log_is_never_taken_for_empty() {
    let test = Test::new().records_in([1, 2]);
    fs::create_dir(test.path().join("work")).unwrap();
    fs::write(test.work("importer_state.json"), "{\"last_cont").unwrap();
    test.run(&["--incremental"])
        .exits(1)
        .says("importer_state.json")
        .says("--recover-import-state");
    assert_eq!(
        fs::read_to_string(test.work("importer_state.json")).unwrap(),
        "{\"last_cont"
    );
    assert_eq!(test.imported(), [0; 0]);

    test.run(&["--recover-import-state"])
        .exits(0)
        .says("Kept ")
        .says("state rebuilt");
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.imported(), [1, 2]);

    // An operator's remark is no reason to stop, and stays.
    fs::write(test.work("migrate_failures.log"), "1\nrun two\n").unwrap();
    test.run(&["--incremental"]).exits(0);
    assert_eq!(
        fs::read_to_string(test.work("migrate_failures.log")).unwrap(),
        "run two\n"
    );
}

#[test]
fn state_is_rebuilt_from_the_source_and_the_archive() {
    let test = Test::new().records_in([1, 2, 4, 5, 7]);
    test.run(&["--runs", "1-2,5"]).exits(0);
    for name in ["importer_state.json", "migrator_state.json"] {
        fs::remove_file(test.work(name)).unwrap();
    }
    test.run(&["--recover-import-state"])
        .exits(0)
        .says("Missing from the archive: 2 run(s): 4, 7. --incremental takes them");
    assert_eq!(test.state("importer_state.json"), (2, 2));
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
    test.run(&["--recover-migrate-state"]).exits(0);
    assert_eq!(test.state("migrator_state.json"), (5, 5));
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 2, 4, 5, 7]);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let test = Test::new().records_in([1, 2, 3]).set("app.batch_size", "2");
    test.run(&["--incremental", "--dry-run"])
        .exits(0)
        .says("Import Stage: 2 run(s) would be imported in")
        .says("The migrate stage would go on with what the import brings: 1-2")
        .does_not_say("→ Processing");
    assert!(!test.path().join("archive").exists());
    let files: Vec<_> = fs::read_dir(test.path().join("work"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, ["archiver.log"]);
    test.run(&["--recover-import-state", "--dry-run"]).exits(0);
    assert!(!test.work("importer_state.json").exists());
}

#[test]
fn a_lost_index_is_rebuilt_when_asked_for() {
    let test = Test::new().records_in([1, 2]);
    test.run(&[]).exits(0);
    fs::remove_file(test.path().join("archive/RunHistory/index.json")).unwrap();
    test.run(&["--incremental"])
        .exits(1)
        .says("RunHistory/index.json: the index can't be used: it is missing")
        .says("--rebuild-index");
    test.run(&["--rebuild-index"])
        .exits(1)
        .says("add --yes")
        .says("nothing was done");
    test.run(&["--rebuild-index", "--yes"])
        .exits(0)
        .says("10 documents");
    test.run(&[]).exits(0).says(NOTHING_NEW);
    assert_eq!(test.imported(), [1, 2]);
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_one_clear_message() {
    let test = Test::new();
    let mut command = test.command(&[]);
    let config = test.path().join("config.yaml");
    let mut cases: BTreeMap<&str, Box<dyn Fn()>> = BTreeMap::new();
    cases.insert(
        "config.yaml",
        Box::new(|| fs::remove_file(&config).unwrap()),
    );
    cases.insert(
        "config.yaml:3",
        Box::new(|| fs::write(&config, "app:\n  work_dir: [1\n").unwrap()),
    );
    for (expected, spoil) in cases {
        spoil();
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(expected), "no {expected} in {text}");
        assert!(
            text.starts_with("ArchiverError: Configuration validation failed"),
            "{text}"
        );
    }
}

#[test]
fn quiet_is_quiet_and_the_log_file_has_it_all() {
    let test = Test::new().record(1);
    let ended = test.run(&["--quiet"]).exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    assert!(
        log.contains("run_record_archiver.importer - INFO - ✓ Run 1 imported successfully"),
        "{log}"
    );
    assert_eq!(
        fs::metadata(test.work("archiver.log"))
            .unwrap()
            .permissions()
            .mode()
            & 0o137,
        0
    );
}

/// The source is never written to.
#[test]
fn a_source_without_write_permission_is_all_it_takes() {
    let test = Test::new().records_in([1, 2]);
    for run in ["1", "2"] {
        let record = test.records().join(run);
        for entry in fs::read_dir(&record).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o444)).unwrap();
        }
        fs::set_permissions(&record, fs::Permissions::from_mode(0o555)).unwrap();
    }
    test.run(&[]).exits(0);
    assert_eq!(test.migrated(), [1, 2]);
    for run in ["1", "2"] {
        fs::set_permissions(test.records().join(run), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
