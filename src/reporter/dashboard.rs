//! The dashboard: state, failures, disk, last executions and last log lines on
//! one page of text, without asking a database. The layout is that of the
//! operations manual's "Simple Text Dashboard".

use std::fmt::Write;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock;
use crate::config::App;
use crate::disk::{Level, Usage};
use crate::error::Error;
use crate::lock::observe::{Seen, observe};
use crate::regular_file;
use crate::reporter::backlog::Declaration;
use crate::reporter::history::{self, Counts, Execution};
use crate::state::StateStore;

const RULE: &str = "======================================";
const LINE: &str = "--------------------------------------";

/// How many executions are shown.
const EXECUTIONS: usize = 5;

/// How many lines of the log are shown.
const LOG_LINES: usize = 5;

/// How much of the log's end is searched for them, in bytes.
const LOG_TAIL: u64 = 64 * 1024;

/// The dashboard.
#[derive(Debug)]
pub struct Dashboard {
    /// What is printed.
    pub text: String,
    /// Whether everything on it could be read.
    pub is_complete: bool,
}

/// Reads what the work directory has, and lays it out.
#[must_use]
pub fn render(
    app: &App,
    import: &StateStore,
    migrate: &StateStore,
    ignored: Result<Vec<Declaration>, Error>,
) -> Dashboard {
    let mut page = Page {
        text: String::new(),
        is_complete: true,
    };
    page.line(RULE);
    page.line("Run Record Archiver Dashboard");
    let now = clock::local();
    page.line(&format!(
        "Generated: {}",
        now.strftime("%a %b %e %H:%M:%S %Z %Y")
    ));
    page.line(RULE);

    page.section("EXECUTION STATUS");
    let active = active(&app.lock_file);
    page.either("Active: ", active);
    page.executions(&app.work_dir.join(history::FILE));

    page.section("STATE TRACKING");
    for (title, store) in [("Import State:", import), ("Migration State:", migrate)] {
        page.line(title);
        let state = state(store);
        page.either("", state);
    }

    page.section("FAILURE COUNTS");
    for (title, store) in [
        ("Import failures: ", import),
        ("Migration failures: ", migrate),
    ] {
        page.either(title, store.failures().map(|runs| runs.len().to_string()));
    }

    page.ignored(ignored);

    page.section("DISK USAGE");
    let usage = Usage::of(&app.work_dir).map(|usage| {
        let warning = match usage.level() {
            Level::Critical => "  IMMEDIATE CLEANUP REQUIRED",
            Level::Low => "  plan a cleanup",
            Level::Enough => "",
        };
        format!("{usage} ({}){warning}", app.work_dir.display())
    });
    page.either("", usage);

    page.section("LAST 5 LOG ENTRIES");
    match &app.log_file {
        None => page.line("no log file: app.log_file is null"),
        Some(file) => match last_lines(file) {
            Ok(lines) if lines.is_empty() => page.line("none"),
            Ok(lines) => lines.iter().for_each(|line| page.line(line)),
            Err(error) => page.either("", Err(Error::io("read", file, error))),
        },
    }
    page.line(RULE);
    Dashboard {
        text: page.text,
        is_complete: page.is_complete,
    }
}

struct Page {
    text: String,
    is_complete: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn section(&mut self, title: &str) {
        for line in ["", title, LINE] {
            self.line(line);
        }
    }

    /// What was read, or why it could not be.
    fn either(&mut self, title: &str, value: Result<String, Error>) {
        match value {
            Ok(value) => self.line(&format!("{title}{value}")),
            Err(error) => {
                self.is_complete = false;
                self.line(&format!("{title}✗ {error}"));
            }
        }
    }

    fn ignored(&mut self, ignored: Result<Vec<Declaration>, Error>) {
        let declarations = match ignored {
            Ok(declarations) => declarations,
            Err(error) => return self.either("Ignored runs: ", Err(error)),
        };
        let counts = declarations.iter().map(|it| it.runs.len());
        let count = counts.fold(0, u64::saturating_add);
        self.line(&format!("Ignored runs: {count}"));
        for declaration in declarations {
            self.line(&format!("  {}", declaration.sentence()));
        }
    }

    fn executions(&mut self, path: &Path) {
        let history = match history::read(path, EXECUTIONS) {
            Ok(history) => history,
            // Nothing depends on the history.
            Err(error) => return self.line(&format!("Last executions: ! {error}")),
        };
        if history.executions.is_empty() {
            return self.line("Last executions: none on record");
        }
        self.line("Last executions:");
        for execution in history.executions.iter().rev() {
            self.line(&format!("  {}", sentence(execution)));
        }
    }
}

/// Whether an execution is under way.
fn active(lock_file: &Path) -> Result<String, Error> {
    let since = |since: Option<Timestamp>| {
        since.map_or_else(String::new, |since| format!(" since {}", local(since)))
    };
    Ok(match observe(lock_file)? {
        Seen::Free => "no execution is under way".to_owned(),
        Seen::Held {
            pid,
            host,
            since: time,
        } => {
            let process = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            let host = host.map_or_else(String::new, |host| format!(" on host {host}"));
            format!("running{process}{}{host}", since(time))
        }
        Seen::Elsewhere(holder) => format!(
            "process {} on host {} took the lock at {}; this host can't see whether it lives",
            holder.pid,
            holder.host,
            holder.since()
        ),
        Seen::Stale { pid: Some(pid), .. } => format!(
            "no execution is under way; process {pid} left its lock file, which the next one \
             takes over"
        ),
        Seen::Stale { .. } => {
            "no execution is under way; there is a lock file that nobody holds".to_owned()
        }
        Seen::Doubtful { pid } => format!("process {pid} runs, but does not hold the lock"),
    })
}

/// The state file's text, once it is known to be one.
fn state(store: &StateStore) -> Result<String, Error> {
    let path = store.state_file();
    store.read("Rebuild it with --recover-import-state or --recover-migrate-state")?;
    match regular_file::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok("none yet: the first execution writes it".to_owned())
        }
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// `2025-10-24 03:00:00  ✓ Full Pipeline (incremental): imported 45, migrated 42, failed 3, 823 s, exit code 1`
fn sentence(execution: &Execution) -> String {
    let mark = match execution.exit_code {
        0 => '✓',
        130 => '!',
        _ => '✗',
    };
    let mut text = format!("{}  {mark} {}:", local(execution.start), execution.mode);
    // Writing to a String can't fail.
    let mut counts = |done: &str, counts: &Option<Counts>| {
        if let Some(counts) = counts {
            let _ = write!(text, " {done} {},", counts.archived);
        }
    };
    counts("imported", &execution.import);
    counts("migrated", &execution.migrate);
    if execution.failed() > 0 {
        let _ = write!(text, " failed {},", execution.failed());
    }
    let seconds = execution.duration_seconds;
    let digits = if seconds < 10.0 { 1 } else { 0 };
    let _ = write!(
        text,
        " {seconds:.digits$} s, exit code {}",
        execution.exit_code
    );
    if let Some(error) = &execution.error {
        let _ = write!(text, ": {error}");
    }
    text
}

/// The last lines of a log, without reading the rest of it.
fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = match regular_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    Ok(lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fs;

    #[test]
    fn the_end_of_a_long_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archiver.log");
        assert!(last_lines(&path).unwrap().is_empty());
        let text: String = (0..20_000).map(|n| format!("é line {n}\n")).collect();
        fs::write(&path, text).unwrap();
        let lines = last_lines(&path).unwrap();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            (lines[0].as_str(), lines[4].as_str()),
            ("é line 19995", "é line 19999")
        );
        fs::write(&path, "one\ntwo").unwrap();
        assert_eq!(last_lines(&path).unwrap(), ["one", "two"]);
    }

    #[test]
    fn an_execution_in_one_line() {
        let execution = Execution {
            start: "2025-10-24T08:00:00Z".parse().unwrap(),
            duration_seconds: 823.5,
            import: Some(Counts {
                archived: 45,
                failed: 3,
                ..Counts::default()
            }),
            migrate: Some(Counts::default()),
            ..Execution::ending_now(Timestamp::now(), "Full Pipeline (incremental)".into(), 1)
        };
        let text = sentence(&execution);
        assert!(
            text.ends_with(
                "✗ Full Pipeline (incremental): imported 45, migrated 0, failed 3, 824 s, exit code 1"
            ),
            "{text}"
        );
    }
}
