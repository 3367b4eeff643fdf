//! The status report from the outside: on records, databases and state files.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::support::archiver::Test;
use crate::support::{fcl, shared};
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;

/// Puts runs into the three sources without running a stage.
fn sources(
    test: &Test,
    records: impl IntoIterator<Item = u64>,
    imported: impl IntoIterator<Item = u64>,
    migrated: impl IntoIterator<Item = u64>,
) {
    for run in records {
        fs::create_dir(test.records().join(run.to_string())).unwrap();
    }
    let db = test.artdaqdb();
    let files = [fcl("boot", "x: 1\n"), fcl("schema", "y: 2\n")];
    for run in imported {
        db.insert(Run(run), "std", &files).unwrap();
    }
    db.publish().unwrap();
    let object = test.path().join("ucondb/test/configuration");
    fs::create_dir_all(&object).unwrap();
    for run in migrated {
        fs::write(object.join(format!("{run}.blob")), "").unwrap();
    }
}

fn without(run: u64) -> impl Fn(&u64) -> bool {
    move |other| *other != run
}

/// The example of the operations manual, from the manual itself, with the
/// numbers that its own ranges give: it says 523, 510 and 495 runs, and counts
/// 13 and 15 in a range of 24.
#[test]
fn the_manuals_example_line_by_line() {
    let Some(manual) = shared("specs/operations-manual.md") else {
        return;
    };
    let manual = fs::read_to_string(manual).unwrap();
    let (_, example) = manual.split_once("**Example Output:**\n```\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let test = Test::new();
    sources(
        &test,
        (12000..=12522).filter(without(12101)),
        (12000..=12498).filter(without(12101)),
        (12000..=12498).filter(without(12101)),
    );
    let expected = example
        .replace("/daq/run_records", &test.records().display().to_string())
        .replace(
            "/data/artdaqdb_archive",
            &test.path().join("archive").display().to_string(),
        )
        .replace(
            "https://ucondb.example.com:9443/instance/app",
            &format!("file://{}", test.path().join("ucondb").display()),
        )
        .replace("production/configuration", "test/configuration")
        .replace("Total Runs:      523", "Total Runs:      522")
        .replace("Total Runs:      510", "Total Runs:      498")
        .replace("Total Runs:      495", "Total Runs:      498")
        .replace("IMPORTER: 13 run(s)", "IMPORTER: 24 run(s)")
        .replace(
            "2. Run MIGRATOR: 15 run(s) in artdaqDB not in UconDB (range: 12499-12522)\n3. ",
            "2. ",
        );
    let ended = test.run(&["--report-status"]).exits(0);
    assert_eq!(ended.stdout, expected);
}

#[test]
fn before_and_after_an_execution() {
    let test = Test::new().records_in(12500..=12502);
    let ended = test.run(&["--report-status", "-q"]).exits(0);
    assert_eq!(ended.stderr, "");
    assert!(
        ended.stdout.contains(
            "1. Run IMPORTER: 3 run(s) on filesystem not in artdaqDB (range: 12500-12502)"
        ),
        "{}",
        ended.stdout
    );
    test.run(&[]).exits(0);
    let ended = test.run(&["--compare-state"]).exits(0);
    for part in [
        "  Contiguous:      12500-12502\n",
        "IMPORT STAGE (filesystem to artdaqDB)\n",
        "  Last Contiguous: 12502\n",
        "  Missing:         none missing from expected range 12500-12502\n",
        "None: every run on filesystem is in artdaqDB and in UconDB\n",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
    let both = test.run(&["--report-status", "--compare-state"]).exits(0);
    assert_eq!(both.stdout, ended.stdout);
    let plain = test.run(&["--report-status"]).exits(0);
    assert!(!plain.stdout.contains("STATE COMPARISON"));
}

#[test]
fn runs_that_failed_are_recommended_for_a_retry() {
    let test = Test::new().records_in([7, 8, 10]);
    fs::write(test.records().join("8/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&["--import-only"]).exits(1);
    let ended = test.run(&["--compare-state"]).exits(0);
    for part in [
        "1. Run MIGRATOR: 2 run(s) in artdaqDB not in UconDB (range: 7, 10)\n",
        "2. Run IMPORTER with --retry-failed-import: 1 run(s) are in its failure log (range: 8). They \
         fail until their record is corrected:\n   ./run_archiver.sh ",
        "config.yaml --retry-failed-import\n",
        "WARNING: 2 run(s) failed in all stages (8-9)\n",
        "  Last Contiguous: 7\n",
        "  Last Attempted:  10\n",
        "  Failures:        1 (8)\n",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
}

#[test]
fn a_run_still_going_is_no_backlog() {
    let test = Test::new()
        .records_in([7, 8])
        .set("source_files.incomplete_runs", "wait");
    let metadata = test.records().join("8/metadata.txt");
    let text = fs::read_to_string(&metadata).unwrap();
    let (going, _) = text.split_once("DAQInterface stop time").unwrap();
    fs::write(&metadata, going).unwrap();
    test.run(&[]).exits(0);
    let report = test.run(&["--compare-state"]).exits(0).stdout;
    assert!(
        report.contains("1. NOTE: 1 run(s) in artdaqDB wait for their stop time"),
        "{report}"
    );
    assert!(
        !report.contains("Run MIGRATOR") && !report.contains("New:             1"),
        "{report}"
    );
    fs::write(test.work("incomplete_runs.json"), "{").unwrap();
    let report = test.run(&["--report-status"]).exits(1).stdout;
    assert!(
        report.contains("1. WARNING: ") && report.contains("incomplete_runs.json"),
        "{report}"
    );
}

#[test]
fn a_run_that_is_there_in_part_is_not_counted() {
    let test = Test::new().record(7);
    sources(&test, [], [6], []);
    let db = test.artdaqdb();
    db.insert(Run(7), "std", &[fcl("boot", "x: 1\n")]).unwrap();
    db.publish().unwrap();
    let ended = test.run(&["--report-status"]).exits(0);
    for part in [
        "Run IMPORTER: 1 run(s) on filesystem not in artdaqDB (range: 7)",
        "WARNING: 1 run(s) in artdaqDB in part only (7)",
        "WARNING: 1 run(s) in artdaqDB but not on filesystem (6)",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
}

#[test]
fn a_database_that_is_down_does_not_hide_the_others() {
    // Nobody listens on the discard port of the loopback.
    let test = Test::new()
        .records_in([7, 8])
        .set("ucon_db.server_url", "http://127.0.0.1:9/app")
        .set("ucon_db.timeout_seconds", "1");
    test.run(&["--import-only"]).exits(0);
    let ended = test
        .run(&["--report-status"])
        .exits(1)
        .says("UconDB can't be reached");
    for part in [
        "  Server URL:      http://127.0.0.1:9/app\n",
        "  Status:          UNREACHABLE\n",
        "ARTDAQDB (Intermediate Storage)\n",
        "  Total Runs:      2\n",
        "1. WARNING: UconDB can't be reached: ",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
    assert!(!ended.stdout.contains("swordfish"));
    let json = test
        .run(&["--report-status", "--format", "json"])
        .exits(1)
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["sources"]["ucondb"]["reached"], false);
    assert_eq!(json["sources"]["artdaqdb"]["runs"]["count"], 2);
}

#[test]
fn a_broken_state_file_is_shown_and_left_alone() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    fs::write(test.work("importer_state.json"), "{").unwrap();
    let ended = test.run(&["--compare-state"]).exits(1);
    assert!(
        ended.stdout.contains("  Status:          UNREADABLE\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("--recover-import-state"),
        "{}",
        ended.stdout
    );
    assert_eq!(
        fs::read_to_string(test.work("importer_state.json")).unwrap(),
        "{"
    );
}

#[test]
fn a_report_goes_to_a_file_in_one_piece() {
    let test = Test::new().record(7);
    let file = test.path().join("status.html");
    fs::write(&file, "old").unwrap();
    let path = file.display().to_string();
    let arguments = ["--report-status", "--format", "html", "--output", &path];
    let ended = test.run(&arguments).exits(0);
    assert_eq!(ended.stdout, "");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    let left: Vec<_> = fs::read_dir(test.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("status"))
        .collect();
    assert_eq!(left, ["status.html"]);
    let nowhere = test.path().join("none/status.json").display().to_string();
    test.run(&["--report-status", "--output", &nowhere])
        .exits(1)
        .says("none/");
}

#[test]
fn reports_work_beside_an_execution() {
    let test = Test::new()
        .records_in([7, 8])
        .set("app.work_dir", "/dev/null/none");
    // A work directory that can't be made is an error before the report.
    test.run(&["--report-status"]).exits(1).says("/dev/null");

    let test = Test::new().records_in([7, 8]);
    test.run(&[]).exits(0);
    let lock = run_record_archiver::lock::LockGuard::acquire(&test.work(".archiver.lock")).unwrap();
    test.run(&["--incremental"])
        .exits(1)
        .says("LockExistsError");
    let report = test.run(&["--compare-state"]).exits(0);
    assert!(report.stdout.contains("None: every run"));
    let dashboard = test.run(&["--dashboard"]).exits(0);
    let ours = format!("Active: running, process {} since ", std::process::id());
    assert!(dashboard.stdout.contains(&ours), "{}", dashboard.stdout);
    let check = test.run(&["--check"]);
    assert!(
        check.stdout.contains("an execution is under way"),
        "{}",
        check.stdout
    );
    drop(lock);
    assert!(!test.work(".archiver.lock").exists());
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let test = Test::new().record(7);
    let mut child = test
        .command(&["--report-status", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn the_manual_page_is_printed_without_a_configuration() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_run_record_archiver"))
        .arg("--man")
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(".TH run_record_archiver 1")
    );
}

#[test]
fn a_report_goes_where_its_output_is_no_file() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    let plain = test.run(&["--report-status", "--format", "json"]).exits(0);
    let arguments = [
        "--report-status",
        "--format",
        "json",
        "--output",
        "/dev/stdout",
    ];
    let piped = test.run(&arguments).exits(0);
    assert_eq!(piped.stdout.lines().count(), plain.stdout.lines().count());
    test.run(&["--report-status", "--output", "/dev/null"])
        .exits(0);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
