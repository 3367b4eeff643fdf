//! The archiver itself with `use_tools: true`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::sshd::Sshd;
use crate::support::tools::StandIns;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::run::Run;

fn with_tools() -> (Test, StandIns) {
    let test = Test::new();
    let tools = StandIns::new(test.path().join("tools"));
    let test = test
        .set("artdaq_db.use_tools", "true")
        .set("artdaq_db.tools_dir", &tools.path().display().to_string());
    fs::create_dir(test.path().join("tmp")).unwrap();
    (test, tools)
}

fn through(test: Test, sshd: &Sshd) -> Test {
    let options = sshd.options("user", "known_hosts").join(" ");
    test.set("artdaq_db.remote_host", "127.0.0.1")
        .set("artdaq_db.ssh_options", &format!("'{options}'"))
}

fn command(test: &Test, arguments: &[&str]) -> Command {
    let mut command = test.command(arguments);
    command
        .env("TMPDIR", test.path().join("tmp"))
        .env("FHICL_FILE_PATH", "/fhicl/files")
        .env("LD_LIBRARY_PATH", "/libraries");
    command
}

/// Runs the archiver; gives its exit code and what it said.
fn run(test: &Test, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(test, arguments).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn left_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn runs_go_through_the_tools_into_ucondb() {
    let native = Test::new().records_in([7, 8, 9]);
    native.run(&[]).exits(0);
    let (test, tools) = with_tools();
    let mut tests = vec![(test, tools, None)];
    if let Some(sshd) = Sshd::start() {
        let (test, tools) = with_tools();
        tests.push((through(test, &sshd), tools, Some(sshd)));
    }
    for (test, tools, sshd) in tests {
        let test = test.records_in([7, 8, 9]).set("app.parallel_workers", "3");
        let (code, said) = run(&test, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(test.imported(), [7, 8, 9]);
        assert_eq!(test.migrated(), [7, 8, 9]);
        for run in [7, 8, 9] {
            let stored = test.artdaqdb().read(Run(run)).unwrap();
            assert_eq!(stored, native.artdaqdb().read(Run(run)).unwrap());
        }
        for call in tools.calls() {
            assert_eq!(call.fhicl_path, "/fhicl/files");
            assert_eq!(call.library_path, "/libraries");
            assert!(call.arguments.ends_with("-t 1"));
        }
        assert!(
            tools
                .calls()
                .iter()
                .any(|call| call.tool == "bulkdownloader")
        );
        assert_eq!(
            left_in(&test.path().join("tmp")),
            [""; 0].map(PathBuf::from)
        );
        if let Some(sshd) = sshd {
            assert_eq!(sshd.temporary_files(), [""; 0].map(PathBuf::from));
        }
    }
}

#[test]
fn a_tool_that_fails_now_and_then_costs_an_attempt() {
    let (test, tools) = with_tools();
    let test = test.records_in([7, 8]);
    tools.set("bulkloader", "crash 1 once");
    tools.set("bulkdownloader", "lose 1 once");
    let (code, said) = run(&test, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bulkloader crashed (signal 6)"), "{said}");
    assert!(said.contains("files are missing"), "{said}");
    assert_eq!(test.migrated(), [7, 8]);
}

#[test]
fn a_missing_tool_stops_the_stage_and_fails_no_run() {
    let (test, _tools) = with_tools();
    let test = test.record(7).set("artdaq_db.tools_dir", "/nonexistent");
    let (code, said) = run(&test, &["--import-only"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("/nonexistent/bulkloader is missing"),
        "{said}"
    );
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
}

#[test]
fn an_index_is_not_rebuilt_of_another_machines_directory() {
    let (test, _tools) = with_tools();
    let test = test.set("artdaq_db.remote_host", "daq01");
    let (code, said) = run(&test, &["--rebuild-index", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the archive is on daq01"), "{said}");
}

/// Starts an import, and kills the archiver while its tool hangs.
fn kill_while_a_tool_hangs(test: &Test, tools: &StandIns) {
    tools.set("bulkloader", "hang 2");
    let mut archiver = command(test, &["--import-only", "-q"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while tools
        .left("pids")
        .is_none_or(|pids| pids.lines().count() < 2)
    {
        assert!(Instant::now() < deadline, "the tool was not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    archiver.kill().unwrap();
    archiver.wait().unwrap();
    assert_eq!(test.artdaqdb().runs().unwrap()[&Run(7)], Presence::Partial);
    tools.set("bulkloader", "well");
}

#[test]
fn an_archiver_that_was_killed_is_taken_up_where_it_was() {
    let (test, tools) = with_tools();
    let test = test
        .records_in([7, 8])
        // So that it is run 7 whose tool hangs.
        .set("app.parallel_workers", "1")
        .set("artdaq_db.tools_timeout_seconds", "2");
    kill_while_a_tool_hangs(&test, &tools);

    // Its tool still works on the archive, and nobody else may.
    let (code, said) = run(&test, &["--import-only"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("another program has held this lock for 2 s"),
        "{said}"
    );
    for pid in tools.left("pids").unwrap().lines() {
        let status = Command::new("kill").args(["-9", pid]).status();
        assert!(status.unwrap().success());
    }
    let (code, said) = run(&test, &["--import-only"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Run 7 is in artdaqDB in part only"), "{said}");
    assert_eq!(test.imported(), [7, 8]);
}

#[test]
fn an_archiver_that_was_killed_leaves_nothing_on_the_remote_host() {
    let Some(sshd) = Sshd::start() else { return };
    let (test, tools) = with_tools();
    let test = through(test, &sshd)
        .record(7)
        .set("artdaq_db.tools_timeout_seconds", "2");
    kill_while_a_tool_hangs(&test, &tools);
    assert!(tools.all_gone());
    assert_eq!(sshd.temporary_files(), [""; 0].map(PathBuf::from));
    let (code, said) = run(&test, &["--import-only"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(test.imported(), [7]);
}
