//! `--ignore` and `--unignore` from the outside, what the reports say of runs that
//! are not archived, and `source_files.first_run`.

use std::fs;

use serde_json::Value;

use crate::support::archiver::Test;

const REASON: &str = "disk lost, see ticket 4711";

/// Run 8 is broken; the others are archived.
fn with_a_broken_run() -> Test {
    let test = Test::new().records_in([7, 8, 9]);
    fs::write(test.records().join("8/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&[]).exits(1);
    assert_eq!(test.failures("import_failures.log"), [8]);
    test
}

fn json(test: &Test) -> Value {
    let report = test.run(&["--report-status", "--format", "json", "-q"]);
    serde_json::from_str(&report.exits(0).stdout).unwrap()
}

#[test]
fn an_ignored_run_is_no_failure_and_is_listed() {
    let test = with_a_broken_run();
    let history = fs::read_to_string(test.work("history.jsonl")).unwrap();
    let mut command = test.command(&["--ignore", "8,20", "--reason", REASON]);
    command.env("SUDO_USER", "anna");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "=== Execution Mode: Ignore Runs ===",
        "2 run(s) are ignored from now on: 8, 20. Reason: disk lost, see ticket 4711 (anna)",
        "Import Stage: 1 of them leave the failure log ",
        "import_failures.log: 8",
        "To take it back: --unignore 8,20",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(test.failures("import_failures.log").is_empty());
    let after = fs::read_to_string(test.work("history.jsonl")).unwrap();
    assert_eq!(after, history, "it archives nothing");

    test.run(&["--incremental"])
        .exits(0)
        .says("1 run(s) are ignored, as declared with --ignore: 8")
        .does_not_say("failed");
    assert_eq!(test.state("importer_state.json").0, 9);
    let lines = [
        test.run(&["--report-status"]).exits(0).stdout,
        test.run(&["--dashboard"]).exits(0).stdout,
        test.run(&["--check"]).exits(0).stdout,
    ];
    for text in lines {
        assert!(
            text.contains("8, 20: disk lost, see ticket 4711 (anna, 20"),
            "{text}"
        );
        assert!(!text.contains("Run IMPORTER"), "{text}");
    }
    let report = json(&test);
    assert_eq!(report["ignored"][0]["reason"], REASON);
    assert_eq!(report["ignored"][0]["user"], "anna");
    assert_eq!(report["to_import"]["count"], 0);
    let page = test.run(&["--report-status", "--format", "html"]).exits(0);
    assert!(page.stdout.contains(REASON) && page.stdout.contains("anna"));
}

#[test]
fn what_is_no_longer_ignored_is_taken() {
    let test = with_a_broken_run();
    test.run(&["--unignore", "8"])
        .exits(1)
        .says("none of the runs 8 is ignored")
        .says("Ignored are: none");
    test.run(&["--ignore", "8", "--reason", REASON]).exits(0);
    let page = test.run(&["--report-status"]).exits(0).stdout;
    assert!(
        page.contains("in UconDB, except 1 that are ignored or below first_run"),
        "{page}"
    );
    fs::write(test.records().join("8/tpc01.fcl"), "a: [1]\n").unwrap();
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.imported(), [7, 9]);
    test.run(&["--unignore", "8-10"])
        .exits(0)
        .says("=== Execution Mode: Unignore Runs ===")
        .says("2 of the named run(s) were not ignored: 9-10")
        .says("1 run(s) are no longer ignored: 8. The next execution takes those");
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [7, 8, 9]);
}

#[test]
fn a_dry_run_decides_nothing() {
    let test = with_a_broken_run();
    let journal = || fs::read_to_string(test.work("journal.json")).unwrap();
    let before = journal();
    test.run(&["--ignore", "8", "--reason", REASON, "--dry-run"])
        .exits(0)
        .says("1 run(s) would be ignored from now on: 8")
        .says("1 of them would leave the failure log");
    assert_eq!(test.failures("import_failures.log"), [8]);
    assert_eq!(journal(), before);
    test.run(&["--ignore", "8", "--reason", REASON]).exits(0);
    let before = journal();
    test.run(&["--unignore", "8", "--dry-run"])
        .exits(0)
        .says("1 run(s) would be no longer ignored: 8");
    assert_eq!(journal(), before);
}

#[test]
fn no_database_is_asked_and_no_other_execution_is_disturbed() {
    let test = Test::new()
        .set("artdaq_db.database_uri", "mongodb://127.0.0.1:9/none")
        .set("ucon_db.server_url", "http://127.0.0.1:9/app");
    test.run(&["--ignore", "99999999", "--reason", "no run"])
        .exits(0);
    let lock = run_record_archiver::lock::LockGuard::acquire(&test.work(".archiver.lock")).unwrap();
    test.run(&["--ignore", "5", "--reason", "x"])
        .exits(1)
        .says("LockExistsError");
    test.run(&["--unignore", "99999999"])
        .exits(1)
        .says("LockExistsError");
    drop(lock);
    test.run(&["--unignore", "99999999"]).exits(0);
    test.run(&["--ignore", "5"])
        .exits(1)
        .says("--reason <TEXT>");
}

#[test]
fn a_stray_directory_is_held_back_and_fails_nowhere() {
    let test = Test::new().records_in([12500, 12502]);
    test.run(&[]).exits(0);
    let test = test.record(99_999_999).record(12503);
    test.run(&["--incremental"]).exits(1).says("held back");
    let page = test.run(&["--compare-state"]).exits(0).stdout;
    for part in [
        "  Held back:       1 run(s) (far above the highest archived run): 99999999\n",
        "config.yaml --runs 99999999\n",
        "config.yaml --ignore 99999999 --reason TEXT\n",
        "WARNING: 1 run(s) failed in all stages (12501)\n",
        "  New:             none available since last state update\n",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(!page.contains("Run IMPORTER"), "{page}");
    let report = json(&test);
    let backlog = &report["stages"]["import"]["backlog"];
    assert_eq!(
        backlog["held_back"]["ranges"],
        serde_json::json!([[99_999_999, 99_999_999]])
    );
    test.run(&["--ignore", "99999999", "--reason", "made by mistake"])
        .exits(0);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("held back");
    let page = test.run(&["--report-status"]).exits(0).stdout;
    assert!(!page.contains("no record"), "{page}");
}

#[test]
fn how_runs_failed_is_in_the_report() {
    let test = with_a_broken_run();
    fs::remove_dir_all(test.records().join("9")).unwrap();
    fs::write(test.work("migrate_failures.log"), "55\n").unwrap();
    let page = test.run(&["--report-status"]).exits(0).stdout;
    for part in [
        "  Failed:          import of run 8 (permanent, since 20",
        "1 attempt(s)): ",
        "not FHiCL",
        "  Failed:          migration of run 55 (transient): the reason is not known\n",
        "config.yaml --retry-failed-import\n",
        "WARNING: 1 run(s) of the migrate failure log are no longer in artdaqDB (55).",
        "config.yaml --ignore 55 --reason TEXT\n",
        "WARNING: 1 run(s) failed in all stages (8)\n",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(!page.contains("Run IMPORTER: "), "{page}");
    let failed = &json(&test)["stages"]["import"]["failed_runs"][0];
    assert_eq!(
        (&failed["run"], &failed["class"], &failed["attempts"]),
        (&8.into(), &"permanent".into(), &1.into())
    );
    assert!(failed["next_try"].is_null() && failed["since"].is_string());
}

#[test]
fn runs_below_the_first_one_are_left_alone_and_counted() {
    let test = Test::new()
        .records_in(1..=5)
        .set("source_files.first_run", "4");
    test.run(&[])
        .exits(0)
        .says("3 run(s) are below source_files.first_run: 1-3");
    assert_eq!(test.migrated(), [4, 5]);
    let page = test.run(&["--compare-state"]).exits(0).stdout;
    for part in [
        "  Below first:     3 run(s) (below source_files.first_run): 1-3\n",
        "  Missing:         none missing",
        "in UconDB, except 3 that are ignored or below first_run\n",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    test.run(&["--runs", "2"]).exits(0);
    assert_eq!(test.migrated(), [2, 4, 5]);
    test.set("source_files.first_run", "0")
        .run(&["--check"])
        .exits(1);
}

#[test]
fn runs_left_by_an_earlier_archiver_are_recommended_by_number() {
    let test = Test::new().records_in([5, 6, 7]);
    test.run(&["--runs", "5,7"]).exits(0);
    fs::remove_file(test.work("journal.json")).unwrap();
    for name in ["importer_state.json", "migrator_state.json"] {
        let state = r#"{"last_contiguous_run": 5, "last_attempted_run": 7}"#;
        fs::write(test.work(name), state).unwrap();
    }
    for _ in 0..2 {
        let page = test.run(&["--compare-state"]).exits(0).stdout;
        for part in [
            "  Left:            1 run(s) (by an earlier archiver, taken only with --runs): 6\n",
            "NOTE: 1 run(s) on filesystem were left by an earlier archiver",
            "config.yaml --runs 6\n",
            "  Missing:         none missing from expected range 5-7\n",
        ] {
            assert!(page.contains(part), "no {part:?} in {page}");
        }
        assert!(!page.contains("Run IMPORTER"), "{page}");
        test.run(&["--incremental"]).exits(0);
    }
    test.run(&["--runs", "6"]).exits(0);
    let page = test.run(&["--compare-state"]).exits(0).stdout;
    assert!(page.contains("None: every run"), "{page}");
}

#[test]
fn a_broken_journal_is_named_by_all_reports() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    fs::write(test.work("journal.json"), "{").unwrap();
    let page = test.run(&["--report-status"]).exits(1).stdout;
    assert!(
        page.contains("1. WARNING: ") && page.contains("journal.json"),
        "{page}"
    );
    assert!(!page.contains("2. "), "{page}");
    let dashboard = test.run(&["--dashboard"]).exits(1).stdout;
    assert!(dashboard.contains("Ignored runs: ✗ "), "{dashboard}");
    let check = test.run(&["--check"]).exits(1).stdout;
    assert!(check.contains("✗ Journal: "), "{check}");
    assert_eq!(fs::read_to_string(test.work("journal.json")).unwrap(), "{");
}

#[test]
fn a_record_that_is_still_being_written_is_nothing_to_import_yet() {
    let test = Test::new()
        .record(7)
        .set("source_files.settle_seconds", "300");
    let page = test.run(&["--report-status"]).exits(0).stdout;
    assert!(page.contains("  Settling:        1 run(s) "), "{page}");
    assert!(!page.contains("Run IMPORTER"), "{page}");
    assert!(!page.contains("None: every run"), "{page}");
}
