//! The history of executions: one JSON object a line in the work directory, the
//! oldest first. The dashboard and the status report read it; nothing that the
//! archiver does depends on it, so whoever can't write or read it warns and
//! goes on.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs::{self, File, Metadata, OpenOptions};
use crate::regular_file;
use crate::run::StageKind;
use crate::sys::text::one_line;

use super::stage_report::StageReport;

/// The name of the file in the work directory.
pub const FILE: &str = "history.jsonl";

/// How many executions are kept: at one an hour, more than half a year.
pub const KEPT: usize = 5000;

/// How much of a reason is kept, in characters.
const LONGEST_REASON: usize = 500;

/// One execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// How long it took.
    pub duration_seconds: f64,
    /// What was asked for, in the words of the log: `Full Pipeline (incremental)`.
    pub mode: String,
    /// How it ended, as the operations manual lists the codes.
    pub exit_code: u8,
    /// The archiver's version.
    pub version: String,
    /// What the import stage did, if it was asked to.
    #[serde(default)]
    pub import: Option<Counts>,
    /// What the migrate stage did, if it was asked to.
    #[serde(default)]
    pub migrate: Option<Counts>,
    /// Why nothing was done, where the execution could not begin.
    #[serde(default)]
    pub error: Option<String>,
}

/// What a stage did in one execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Runs archived.
    pub archived: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Runs not done because of a shutdown or a stop.
    pub left: usize,
    /// Runs beyond the limit of the execution.
    pub beyond_limit: usize,
    /// Runs in the failure log at the end.
    pub failures: usize,
    /// How long the stage took.
    pub duration_seconds: f64,
    /// Why it stopped, or did not begin.
    #[serde(default)]
    pub stopped: Option<String>,
}

impl Counts {
    /// The counts of what a stage did.
    #[must_use]
    pub fn of(report: &StageReport) -> Counts {
        Counts {
            archived: report.archived.len(),
            failed: report.failed.len(),
            left: report.left,
            beyond_limit: report.beyond_limit,
            failures: report.failures,
            duration_seconds: match report.has_begun() {
                true => rounded(report.duration.as_secs_f64()),
                false => 0.0,
            },
            stopped: report.obstacle().map(|error| reason(&error.to_string())),
        }
    }
}

impl Execution {
    /// The execution that began at `start` and ends now; what it did is filled
    /// in by the caller.
    #[must_use]
    pub fn ending_now(start: Timestamp, mode: String, exit_code: u8) -> Execution {
        let end = clock::actual();
        Execution {
            start,
            end,
            duration_seconds: rounded(end.duration_since(start).as_secs_f64().max(0.0)),
            mode,
            exit_code,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            import: None,
            migrate: None,
            error: None,
        }
    }

    /// Takes in what a stage did.
    pub fn note(&mut self, report: &StageReport) {
        let counts = Some(Counts::of(report));
        match report.kind {
            StageKind::Import => self.import = counts,
            StageKind::Migrate => self.migrate = counts,
        }
    }

    /// Runs archived by both stages.
    #[must_use]
    pub fn archived(&self) -> usize {
        self.stages().map(|counts| counts.archived).sum()
    }

    /// Runs that failed in either stage.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.stages().map(|counts| counts.failed).sum()
    }

    fn stages(&self) -> impl Iterator<Item = &Counts> {
        self.import.iter().chain(&self.migrate)
    }
}

/// What a history file holds.
#[derive(Debug, Default)]
pub struct History {
    /// The executions, the oldest first.
    pub executions: Vec<Execution>,
    /// Lines that are not of the history's form and were passed over.
    pub unreadable: usize,
}

/// Reads the last `limit` executions. A file that does not exist is an empty history.
///
/// # Errors
/// The file can't be read.
pub fn read(path: &Path, limit: usize) -> Result<History> {
    let text = text_of(path)?;
    let mut history = History::default();
    for line in last_lines(&text, limit) {
        match serde_json::from_str(line) {
            Ok(execution) => history.executions.push(execution),
            Err(_) => history.unreadable += 1,
        }
    }
    Ok(history)
}

/// Adds an execution, dropping the oldest ones beyond [`KEPT`]. The file is
/// replaced as a whole; lines that are not understood move along.
///
/// # Errors
/// The file can't be read or replaced; it is then as it was.
pub fn append(path: &Path, execution: &Execution) -> Result<()> {
    // Two executions can end at the same time: one that was refused because of
    // the other's lock.
    let _lock = lock(path).map_err(|error| Error::io("lock", path, error))?;
    let old = text_of(path)?;
    let line = serde_json::to_string(execution)
        .map_err(|error| Error::Unexpected(format!("the history's line: {error}")))?;
    let mut text = String::with_capacity(old.len() + line.len() + 1);
    for line in last_lines(&old, KEPT - 1)
        .into_iter()
        .chain([line.as_str()])
    {
        text.push_str(line);
        text.push('\n');
    }
    durable::replace(path, text.as_bytes(), durable::PRIVATE)
}

/// Waits for the right to replace the file, which lasts until the answer is dropped.
/// The work directory is locked by the execution that works there.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = regular_file::open_with(options.mode(durable::PRIVATE), path)?;
        file.lock()?;
        // Who had the lock before may have put another file into its place.
        let identity = |found: &Metadata| (found.dev(), found.ino());
        match fs::metadata(path) {
            Ok(found) if identity(&found) == identity(&file.metadata()?) => return Ok(file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

fn text_of(path: &Path) -> Result<String> {
    match regular_file::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// The last lines that are not blank, in their order.
fn last_lines(text: &str, limit: usize) -> VecDeque<&str> {
    let mut lines = VecDeque::new();
    for line in text.lines().rev().filter(|line| !line.trim().is_empty()) {
        if lines.len() == limit {
            break;
        }
        lines.push_front(line);
    }
    lines
}

/// To the millisecond: more is noise.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// An error as one short line.
#[must_use]
pub fn reason(error: &str) -> String {
    let error = one_line(error);
    let mut short: String = error.chars().take(LONGEST_REASON).collect();
    if error.chars().nth(LONGEST_REASON).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(number: usize) -> Execution {
        Execution {
            import: Some(Counts {
                archived: number,
                ..Counts::default()
            }),
            ..Execution::ending_now(Timestamp::now(), "Import Only (full)".into(), 0)
        }
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert!(read(&path, 10).unwrap().executions.is_empty());
        let written: Vec<Execution> = (0..3).map(execution).collect();
        for execution in &written {
            append(&path, execution).unwrap();
        }
        assert_eq!(read(&path, 10).unwrap().executions, written);
        assert_eq!(read(&path, 2).unwrap().executions, written[1..]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_of_others_are_kept_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, b"{\"start\":\n\n\xff\xfe\n{\"note\": 1}").unwrap();
        append(&path, &execution(1)).unwrap();
        let history = read(&path, 10).unwrap();
        assert_eq!((history.executions.len(), history.unreadable), (1, 3));
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(text.starts_with("{\"start\":\n") && text.contains("\n{\"note\": 1}\n"));
    }

    #[test]
    fn the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let line = serde_json::to_string(&execution(1)).unwrap();
        fs::write(&path, format!("{line}\n").repeat(KEPT + 7)).unwrap();
        append(&path, &execution(2)).unwrap();
        let executions = read(&path, usize::MAX).unwrap().executions;
        assert_eq!(executions.len(), KEPT);
        assert_eq!(executions.last().unwrap().archived(), 2);
    }

    #[test]
    fn executions_that_end_at_the_same_time_are_both_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || append(path, &execution(number)).unwrap());
            }
        });
        assert_eq!(read(&path, 100).unwrap().executions.len(), 8);
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason("a\nb\u{1b}c"), "a b c");
        assert_eq!(reason(&"é".repeat(600)).chars().count(), LONGEST_REASON + 1);
    }
}
