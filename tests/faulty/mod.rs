//! Executions of which one operation fails, and what must come of them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

#[cfg(feature = "fault-injection")]
pub mod operations;
pub mod snapshot;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;

/// Whether every case is to be tried, however long it takes.
pub fn is_long() -> bool {
    std::env::var_os("RUN_RECORD_ARCHIVER_LONG").is_some_and(|value| value != "0")
}

/// How long an execution may take; an undisturbed one takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// What an execution left behind.
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
    /// The operation that was made to fail, if it came to that.
    pub struck: Option<String>,
    /// How many there were, if they can be counted.
    pub operations: usize,
}

/// Runs the command, with a fault or without.
pub fn execute(test: &Test, arguments: &[&str], fault: Option<&str>) -> Ended {
    let (said, list) = (test.path().join("stderr"), test.path().join("operations"));
    let _ = fs::remove_file(&list);
    let mut command = test.command(arguments);
    command
        .stdout(File::create(test.path().join("stdout")).unwrap())
        .stderr(File::create(&said).unwrap())
        .env("RUN_RECORD_ARCHIVER_OPERATIONS", &list);
    if let Some(fault) = fault {
        command.env("RUN_RECORD_ARCHIVER_FAULT", fault);
    }
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let status = child.wait().unwrap();
            panic!(
                "{fault:?}: it hung ({status})\n{}",
                fs::read_to_string(&said).unwrap()
            );
        }
        thread::sleep(Duration::from_millis(1));
    };
    let list = fs::read_to_string(&list).unwrap_or_default();
    Ended {
        status,
        stderr: String::from_utf8_lossy(&fs::read(&said).unwrap()).into_owned(),
        struck: list
            .lines()
            .find(|line| line.starts_with('!'))
            .map(|line| line.replace(&test.path().display().to_string(), "")),
        operations: list.lines().filter(|line| !line.starts_with('!')).count(),
    }
}

/// An archiver of which one worker does one thing after the other.
pub fn fresh() -> Test {
    let test = Test::in_memory();
    let metrics = test.path().join("archiver.prom").display().to_string();
    test.set("app.parallel_workers", "1")
        .set("metrics.prometheus_textfile", &metrics)
}

/// Another one with the same records, databases and state.
pub fn copy(template: &Test) -> Test {
    let test = fresh();
    let (from, to) = (template.path().join("."), test.path());
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
    test
}

/// Every file under a directory, links followed.
fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}
