//! The operations manual's log review on a real log: each of its greps finds
//! what it says.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::archiver::Test;
use crate::support::{project, send, wait_until};

fn grep(arguments: &[&str], test: &Test) -> Vec<String> {
    let output = Command::new("grep")
        .args(arguments)
        .arg(test.work("archiver.log"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_manuals_greps_find_what_it_says() {
    let test = Test::new().records_in(1..=12);
    fs::create_dir(test.records().join("13")).unwrap();
    fs::write(test.records().join("13/tpc01.fcl"), "a: [1\n").unwrap();
    test.run(&[]).exits(1);
    test.run(&["--incremental"]).exits(0);
    let test = test.set("app_fuzz.random_error_percent", "100").record(20);
    test.run(&["--incremental", "-v"]).exits(1);

    for (arguments, at_least) in [
        (&["-i", "error\\|critical\\|exception"][..], 3),
        (&["-i", "warning"], 1),
        (&["EXECUTION COMPLETED"], 3),
        (&["✓ EXECUTION COMPLETED SUCCESSFULLY"], 1),
        (&["Run Record Archiver Starting"], 3),
        (&["-E", "✓ Run [0-9]+ imported successfully"], 12),
        (&["-E", "✓ Run [0-9]+ migrated successfully"], 12),
        (&["✓ ArtdaqDB query complete"], 3),
        (&["✓ UconDB query complete"], 3),
        (&["-E", "Retrying run 20 in [0-9.]+ seconds\\.\\.\\."], 2),
        (&["-E", "Import Stage completed in [0-9]+ seconds"], 3),
        (
            &[
                "-E",
                "Progress: 10/13 runs processed \\([0-9]+ successful, [01] failed\\)",
            ],
            1,
        ),
        (&["-E", "ERROR - ✗ Run 13 import failed"], 1),
        (&["-E", "ERROR - Run 20 failed \\(attempt 3/3\\)"], 1),
        (&["Import Stage: Found 13 runs to import."], 1),
        (&["DEBUG - State:"], 1),
        (
            &[
                "-E",
                "^[0-9-]{10} [0-9:]{8},[0-9]{3} - run_record_archiver\\.importer - INFO - → Processing run 12 \\(attempt 1/3\\)$",
            ],
            1,
        ),
    ] {
        let found = grep(arguments, &test);
        assert!(found.len() >= at_least, "{arguments:?} found {found:#?}");
    }

    // `sed -n '/<time of the start>/,/EXECUTION COMPLETED/p'` shows one execution.
    let start = grep(&["Run Record Archiver Starting"], &test)[1].clone();
    let time = &start[..23];
    let output = Command::new("sed")
        .args(["-n", &format!("/{time}/,/EXECUTION COMPLETED/p")])
        .arg(test.work("archiver.log"))
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("No new runs to import"), "{shown}");
    assert_eq!(shown.matches("EXECUTION COMPLETED").count(), 1, "{shown}");
}

#[test]
fn the_failure_logs_are_there_from_the_first_execution_on() {
    let test = Test::new().records_in(1..=2);
    test.run(&["--import-only", "--dry-run"]).exits(0);
    assert!(!test.work("import_failures.log").exists());
    test.run(&["--import-only"]).exits(0);
    for command in [
        "wc -l import_failures.log migrate_failures.log",
        "sort -u import_failures.log migrate_failures.log",
    ] {
        let status = Command::new("sh")
            .args(["-c", command])
            .current_dir(test.work(""))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{command}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let test = Test::new().records_in(1..=3);
    test.run(&[]).exits(0);
    for flag in [
        "--report-status",
        "--compare-state",
        "--check",
        "--dashboard",
        "--man",
    ] {
        let mut command = test.command(&[flag]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), ""),
            "{flag}"
        );
    }
}

/// `ps aux | grep run_archiver`, `pgrep -f run_record_archiver`, `top | grep run_archiver`.
#[test]
fn the_running_program_is_found_by_both_names_and_once() {
    let test = Test::new()
        .records_in(1..=2)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("run_archiver.sh");
    fs::copy(project("run_archiver.sh"), &script).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_run_record_archiver"),
        home.path().join("run_record_archiver"),
    )
    .unwrap();
    // As cron does it.
    let _writes_the_configuration = test.command(&[]);
    let config = test.path().join("config.yaml");
    let line = format!("exec {} {}", script.display(), config.display());
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let proc = format!("/proc/{}", child.id());
    wait_until("the archiver", || {
        fs::read_to_string(format!("{proc}/comm")).unwrap() == "run_archiver\n"
    });
    let line = fs::read_to_string(format!("{proc}/cmdline")).unwrap();
    assert!(
        line.starts_with("run_archiver:run_record_archiver\0"),
        "{line:?}"
    );
    let children = fs::read_to_string(format!("{proc}/task/{}/children", child.id()));
    assert_eq!(children.unwrap_or_default(), "", "nothing beside it");
    // Before it listens to signals, it ends as any program does.
    send(&child, Signal::TERM);
    let status = child.wait().unwrap();
    assert!(
        status.code() == Some(130) || status.signal() == Some(15),
        "{status}"
    );
}
