//! The history of executions and the dashboard, from the outside.

use std::fs;

use crate::support::archiver::Test;
use run_record_archiver::reporter::history::{self, Execution};

fn executions(test: &Test) -> Vec<Execution> {
    let history = history::read(&test.work(history::FILE), 100).unwrap();
    assert_eq!(history.unreadable, 0);
    history.executions
}

#[test]
fn each_execution_leaves_a_line() {
    let test = Test::new().records_in([7, 8, 9]);
    fs::write(test.records().join("8/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&["--import-only", "--dry-run"]).exits(0);
    test.run(&["--report-status"]).exits(0);
    test.run(&["--check"]);
    test.run(&["--dashboard"]).exits(0);
    assert!(executions(&test).is_empty());

    test.run(&["--incremental"]).exits(1);
    test.run(&["--retry-failed-import"]).exits(1);
    test.run(&["--recover-import-state"]).exits(0);
    let found = executions(&test);
    let modes: Vec<(&str, u8)> = found
        .iter()
        .map(|e| (e.mode.as_str(), e.exit_code))
        .collect();
    assert_eq!(
        modes,
        [
            ("Full Pipeline (incremental)", 1),
            ("Retry Failed Imports", 1),
            ("Recover Import State", 0),
        ]
    );
    let import = found[0].import.as_ref().unwrap();
    assert_eq!((import.archived, import.failed, import.failures), (2, 1, 1));
    assert_eq!(found[0].migrate.as_ref().unwrap().archived, 2);
    assert!(found[1].migrate.is_none() && found[2].import.is_none());
    assert!(found[0].start <= found[0].end && found[0].duration_seconds < 60.0);
    assert_eq!(found[0].version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn an_execution_that_could_not_begin_says_why() {
    let test = Test::new().record(7);
    fs::create_dir(test.path().join("work")).unwrap();
    let lock = run_record_archiver::lock::LockGuard::acquire(&test.work(".archiver.lock")).unwrap();
    test.run(&["--incremental"]).exits(1);
    drop(lock);
    let error = executions(&test)[0].error.clone().unwrap();
    assert!(error.contains("Another process may be running"), "{error}");
}

#[test]
fn a_history_that_is_of_no_use_is_a_warning() {
    let test = Test::new().record(7);
    fs::create_dir_all(test.work(history::FILE)).unwrap();
    test.run(&[])
        .exits(0)
        .says("WARNING - This execution is missing from the history");
    test.run(&["--report-status"])
        .exits(0)
        .says("WARNING - The history of executions is left out");
    let dashboard = test.run(&["--dashboard"]).exits(0);
    assert!(
        dashboard.stdout.contains("Last executions: ! "),
        "{}",
        dashboard.stdout
    );
    fs::remove_dir(test.work(history::FILE)).unwrap();

    fs::write(test.work(history::FILE), "not JSON\n").unwrap();
    test.run(&[]).exits(0);
    test.run(&["--report-status"])
        .exits(0)
        .says("1 line(s) are no executions and are passed over");
    let text = fs::read_to_string(test.work(history::FILE)).unwrap();
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn the_dashboard_has_the_manuals_sections() {
    let test = Test::new().records_in([7, 8]);
    let empty = test.run(&["--dashboard"]).exits(1).stdout;
    assert!(empty.contains("Last executions: none on record"), "{empty}");
    assert!(!test.path().join("work").exists());

    fs::write(test.records().join("8/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&[]).exits(1);
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    let dashboard = test.run(&["--dashboard"]).exits(0);
    assert_eq!(dashboard.stderr, "");
    assert_eq!(fs::read_to_string(test.work("archiver.log")).unwrap(), log);
    let headings: Vec<&str> = dashboard
        .stdout
        .split("--------------------------------------\n")
        .map(|part| part.trim_end().lines().last().unwrap())
        .collect();
    assert_eq!(
        headings[..5],
        [
            "EXECUTION STATUS",
            "STATE TRACKING",
            "FAILURE COUNTS",
            "DISK USAGE",
            "LAST 5 LOG ENTRIES"
        ]
    );
    let last_lines: Vec<&str> = log.lines().rev().take(5).collect();
    for part in [
        "Active: no execution is under way\n",
        "✗ Full Pipeline (full): imported 1, migrated 1, failed 1, ",
        "Import State:\n{\"last_contiguous_run\": 7, \"last_attempted_run\": 8}\n",
        "Migration State:\n{\"last_contiguous_run\": 7, \"last_attempted_run\": 7}\n",
        "Import failures: 1\n",
        "Migration failures: 0\n",
        "Ignored runs: 0\n",
        "% free: ",
    ]
    .into_iter()
    .chain(last_lines)
    {
        assert!(
            dashboard.stdout.contains(part),
            "no {part:?} in {}",
            dashboard.stdout
        );
    }
    fs::remove_file(test.work("migrate_failures.log")).unwrap();
    fs::create_dir(test.work("migrate_failures.log")).unwrap();
    let broken = test.run(&["--dashboard"]).exits(1);
    assert!(
        broken.stdout.contains("Migration failures: ✗ "),
        "{}",
        broken.stdout
    );
    assert!(broken.stdout.contains("LAST 5 LOG ENTRIES"));
}

#[test]
fn the_dashboard_asks_no_database() {
    let test = Test::new()
        .record(7)
        .set("artdaq_db.database_uri", "filesystemdb:///no/such/archive")
        .set("ucon_db.server_url", "http://127.0.0.1:9/app");
    fs::create_dir(test.path().join("work")).unwrap();
    test.run(&["--dashboard"]).exits(0);
}
