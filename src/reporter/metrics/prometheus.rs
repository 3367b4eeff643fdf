//! Metrics for Prometheus: a file for the textfile collector of node_exporter.
//!
//! The file is also what is remembered of earlier executions: counters go on
//! from it, and a stage that did not run keeps what it had.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::durable;
use crate::error::Error;
use crate::regular_file;

use super::{StageFacts, is_failure};

/// What every metric's name begins with.
const PREFIX: &str = "run_record_archiver_";

/// Name, type and meaning of each metric, in the order of the file.
const FAMILIES: [(&str, &str, &str); 24] = [
    (
        "build_info",
        "gauge",
        "1, labelled with the version of the archiver.",
    ),
    (
        "execution_running",
        "gauge",
        "Whether an execution holds the lock: 1 from its begin to its end, also after a crash.",
    ),
    (
        "execution_start_timestamp_seconds",
        "gauge",
        "When the last execution began.",
    ),
    (
        "last_execution_timestamp_seconds",
        "gauge",
        "When the last execution ended.",
    ),
    (
        "last_success_timestamp_seconds",
        "gauge",
        "When the last execution with exit code 0 ended.",
    ),
    (
        "last_exit_code",
        "gauge",
        "Exit code of the last execution.",
    ),
    (
        "consecutive_failures",
        "gauge",
        "Executions in a row that failed; those that somebody stopped are not counted.",
    ),
    ("executions_total", "counter", "Executions that ended."),
    (
        "executions_failed_total",
        "counter",
        "Executions that ended with a failure.",
    ),
    (
        "runs_processed_total",
        "counter",
        "Runs archived by the stage.",
    ),
    (
        "runs_failed_total",
        "counter",
        "Runs that failed in the stage.",
    ),
    (
        "last_runs_processed",
        "gauge",
        "Runs archived by the stage when it last ran.",
    ),
    (
        "last_runs_failed",
        "gauge",
        "Runs that failed in the stage when it last ran.",
    ),
    (
        "last_duration_seconds",
        "gauge",
        "How long the stage took when it last ran.",
    ),
    (
        "stage_stopped",
        "gauge",
        "Whether the stage stopped or did not begin when it last ran: a database unreachable, a disk full, credentials refused.",
    ),
    (
        "backlog_runs",
        "gauge",
        "Runs that the stage's source has and its archive has not.",
    ),
    (
        "gap_runs",
        "gauge",
        "Runs below the highest archived one that are not archived.",
    ),
    (
        "last_contiguous_run",
        "gauge",
        "The highest run up to which every known run is archived.",
    ),
    (
        "last_attempted_run",
        "gauge",
        "The highest run up to which every known run is archived or in the failure log.",
    ),
    (
        "last_progress_timestamp_seconds",
        "gauge",
        "When last_contiguous_run was last seen to have grown.",
    ),
    (
        "state_updated_timestamp_seconds",
        "gauge",
        "When the stage's state file was last written.",
    ),
    (
        "failure_log_runs",
        "gauge",
        "Runs in the stage's failure log.",
    ),
    (
        "filesystem_avail_bytes",
        "gauge",
        "Free space where the directory lies.",
    ),
    (
        "filesystem_size_bytes",
        "gauge",
        "Size of the file system where the directory lies.",
    ),
];

/// The metrics, by family and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Textfile(BTreeMap<(usize, String), f64>);

impl Textfile {
    /// Reads what an earlier execution wrote. A file that isn't there, and
    /// lines that are not ours, count for nothing.
    #[must_use]
    pub fn read(path: &Path) -> Textfile {
        match regular_file::read_to_string(path) {
            Ok(text) => Textfile::parse(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!(
                        "{} can't be read: {error}; its counters begin anew",
                        path.display()
                    );
                }
                Textfile::default()
            }
        }
    }

    fn parse(text: &str) -> Textfile {
        let series = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix(PREFIX)?.rsplit_once(' ')?;
            let (name, labels) = name.split_at(name.find('{').unwrap_or(name.len()));
            let family = FAMILIES.iter().position(|(known, ..)| *known == name)?;
            Some(((family, labels.to_owned()), value.parse().ok()?))
        });
        Textfile(series.collect())
    }

    /// Replaces the file at once, readable by every user: node_exporter is another one.
    /// The temporary file's name does not end in `.prom`, so that it is not read.
    ///
    /// # Errors
    /// It can't be written; the old file is then as it was.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace_for_all(path, self.text().as_bytes()).map_err(|error| match error {
            Error::Io { source, .. } => {
                io::Error::new(source.kind(), format!("{}: {source}", path.display()))
            }
            error => io::Error::other(error),
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut described = None;
        for ((family, labels), value) in &self.0 {
            let (name, kind, help) = FAMILIES[*family];
            // Writing to a String can't fail.
            if described.replace(*family) != Some(*family) {
                let _ = writeln!(text, "# HELP {PREFIX}{name} {help}");
                let _ = writeln!(text, "# TYPE {PREFIX}{name} {kind}");
            }
            let _ = writeln!(text, "{PREFIX}{name}{labels} {value}");
        }
        text
    }

    pub(super) fn began(&mut self, now: SystemTime) {
        self.set("execution_running", "", 1.0);
        self.set("execution_start_timestamp_seconds", "", seconds(now));
    }

    pub(super) fn ended(&mut self, now: SystemTime, exit_code: u8, stages: &[StageFacts]) {
        let now = seconds(now);
        let info = index("build_info");
        self.0.retain(|(family, _), _| *family != info);
        let version = env!("CARGO_PKG_VERSION");
        self.set("build_info", &format!("{{version=\"{version}\"}}"), 1.0);
        self.set("execution_running", "", 0.0);
        self.set("last_execution_timestamp_seconds", "", now);
        self.set("last_exit_code", "", f64::from(exit_code));
        let failed = is_failure(exit_code);
        if exit_code == 0 {
            self.set("last_success_timestamp_seconds", "", now);
            self.set("consecutive_failures", "", 0.0);
        }
        self.add("consecutive_failures", "", f64::from(u8::from(failed)));
        self.add("executions_total", "", 1.0);
        self.add("executions_failed_total", "", f64::from(u8::from(failed)));
        for stage in stages {
            self.stage(now, stage);
        }
    }

    fn stage(&mut self, now: f64, stage: &StageFacts) {
        let labels = &format!("{{stage=\"{}\"}}", stage.name);
        if let Some(standing) = stage.standing {
            let contiguous = standing.contiguous as f64;
            let before = self.get("last_contiguous_run", labels);
            if before.is_none_or(|before| before < contiguous) {
                self.set("last_progress_timestamp_seconds", labels, now);
            }
            self.set("last_contiguous_run", labels, contiguous);
            self.set("last_attempted_run", labels, standing.attempted as f64);
            self.set("failure_log_runs", labels, standing.failures as f64);
            if let Some(updated) = standing.updated {
                self.set("state_updated_timestamp_seconds", labels, seconds(updated));
            }
        }
        let Some(ran) = stage.ran else { return };
        let stopped = f64::from(u8::from(ran.stopped));
        self.set("stage_stopped", labels, stopped);
        if let Some(done) = ran.done {
            let (processed, failed) = (done.processed as f64, done.failed as f64);
            self.add("runs_processed_total", labels, processed);
            self.add("runs_failed_total", labels, failed);
            self.set("last_runs_processed", labels, processed);
            self.set("last_runs_failed", labels, failed);
            let duration = (done.seconds * 1000.0).round() / 1000.0;
            self.set("last_duration_seconds", labels, duration);
            self.set("backlog_runs", labels, done.backlog as f64);
            self.set("gap_runs", labels, done.gaps as f64);
        }
    }

    /// Notes the space where a directory lies, if that can be asked.
    pub(super) fn space(&mut self, name: &str, directory: &Path) {
        let Ok(space) = rustix::fs::statvfs(directory) else {
            return;
        };
        let labels = &format!("{{directory=\"{name}\"}}");
        let bytes = |blocks: u64| (blocks * space.f_frsize) as f64;
        self.set("filesystem_avail_bytes", labels, bytes(space.f_bavail));
        self.set("filesystem_size_bytes", labels, bytes(space.f_blocks));
    }

    fn get(&self, name: &str, labels: &str) -> Option<f64> {
        self.0.get(&(index(name), labels.to_owned())).copied()
    }

    fn set(&mut self, name: &str, labels: &str, value: f64) {
        self.0.insert((index(name), labels.to_owned()), value);
    }

    fn add(&mut self, name: &str, labels: &str, value: f64) {
        *self.0.entry((index(name), labels.to_owned())).or_default() += value;
    }
}

/// A metric's place in [`FAMILIES`].
fn index(name: &str) -> usize {
    let place = FAMILIES.iter().position(|(known, ..)| *known == name);
    debug_assert!(place.is_some(), "{name} is described");
    place.unwrap_or_default()
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0.0, |time| time.as_secs() as f64)
}

#[cfg(test)]
mod tests {
    use crate::faults::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::reporter::metrics::{Done, Ran, Standing};
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn import(processed: usize, contiguous: u64) -> [StageFacts; 1] {
        [StageFacts {
            name: "import",
            ran: Some(Ran {
                stopped: false,
                done: Some(Done {
                    processed,
                    failed: 1,
                    seconds: 1.5,
                    backlog: 9,
                    gaps: 2,
                }),
            }),
            standing: Some(Standing {
                contiguous,
                attempted: contiguous,
                failures: 3,
                updated: Some(at(50)),
            }),
        }]
    }

    const IMPORT: &str = "{stage=\"import\"}";

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.prom");
        let mut file = Textfile::read(&path);
        assert_eq!(file, Textfile::default());
        file.began(at(90));
        file.ended(at(100), 0, &import(5, 7));
        file.space("work_dir", directory.path());
        file.write(&path).unwrap();
        assert_eq!(Textfile::read(&path), file);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn counters_go_on_and_gauges_follow() {
        let mut file = Textfile::default();
        file.began(at(90));
        assert_eq!(file.get("execution_running", ""), Some(1.0));
        file.ended(at(100), 0, &import(5, 7));
        file.ended(at(200), 1, &import(2, 7));
        file.ended(at(300), 1, &[]);
        file.ended(at(400), EXIT_INTERRUPTED, &[]);
        for (name, labels, value) in [
            ("runs_processed_total", IMPORT, 7.0),
            ("runs_failed_total", IMPORT, 2.0),
            ("last_runs_processed", IMPORT, 2.0),
            ("last_progress_timestamp_seconds", IMPORT, 100.0),
            ("state_updated_timestamp_seconds", IMPORT, 50.0),
            ("last_success_timestamp_seconds", "", 100.0),
            ("last_execution_timestamp_seconds", "", 400.0),
            ("execution_start_timestamp_seconds", "", 90.0),
            ("last_exit_code", "", 130.0),
            ("consecutive_failures", "", 2.0),
            ("executions_total", "", 4.0),
            ("executions_failed_total", "", 2.0),
            ("execution_running", "", 0.0),
        ] {
            assert_eq!(file.get(name, labels), Some(value), "{name}");
        }
        file.ended(at(500), 0, &import(0, 8));
        assert_eq!(file.get("consecutive_failures", ""), Some(0.0));
        let progress = file.get("last_progress_timestamp_seconds", IMPORT);
        assert_eq!(progress, Some(500.0));
    }

    #[test]
    fn lines_of_others_count_for_nothing() {
        let text = "# HELP x y\nother 1\nrun_record_archiver_nonsense 2\n\
                    run_record_archiver_last_exit_code x\nrun_record_archiver_\n\
                    run_record_archiver_last_exit_code 2\n";
        let mut expected = Textfile::default();
        expected.set("last_exit_code", "", 2.0);
        assert_eq!(Textfile::parse(text), expected);
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = Textfile::default()
            .write(Path::new("/no/such/a.prom"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/no/such/a.prom"), "{error}");
    }

    use crate::shutdown::EXIT_INTERRUPTED;
}
