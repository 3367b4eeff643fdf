//! The log file: rotation by size and age, what operators do to it, trouble
//! with the disk, and two processes that share it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{ToSpan, ZonedDateTime};
use run_record_archiver::logging::rotate::{Limits, RotatingFile};

const LIMITS: Limits = Limits {
    max_bytes: 100,
    max_age: Duration::from_secs(3600),
    backups: 3,
};

struct Log {
    directory: tempfile::TempDir,
    file: RotatingFile,
    now: ZonedDateTime,
}

impl Log {
    fn new() -> Log {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archiver.log");
        Log {
            file: RotatingFile::new(path, LIMITS),
            directory,
            now: ZonedDateTime::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Appends a line of exactly 50 bytes that ends in `mark`.
    fn line(&mut self, mark: &str) -> Option<String> {
        let stamp = self.now.strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
        let line = format!("{stamp} - {mark:>23}\n");
        assert_eq!(line.len(), 50);
        self.file.append(&line, &self.now)
    }

    fn lines(&mut self, marks: &[&str]) {
        for mark in marks {
            assert_eq!(self.line(mark), None);
        }
    }

    /// The marks of the lines in a file, or `-` where there is no such file.
    fn marks(&self, name: &str) -> String {
        marks(&self.path(name))
    }
}

fn marks(path: &Path) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join(" "),
        Err(_) => "-".into(),
    }
}

#[test]
fn rotates_by_size_and_drops_the_oldest() {
    let mut log = Log::new();
    log.lines(&["a", "b"]);
    assert_eq!(log.marks("archiver.log.1"), "-");
    log.lines(&["c", "d", "e", "f", "g", "h", "i"]);
    assert_eq!(log.marks("archiver.log"), "i");
    assert_eq!(log.marks("archiver.log.1"), "g h");
    assert_eq!(log.marks("archiver.log.2"), "e f");
    assert_eq!(log.marks("archiver.log.3"), "c d");
    assert_eq!(log.marks("archiver.log.4"), "-");
}

#[test]
fn the_default_limits_are_the_manuals() {
    let limits = Limits::default();
    assert_eq!(limits.max_bytes, 524_288_000);
    assert_eq!(limits.max_age.as_secs(), 2_592_000);
    assert_eq!(limits.backups, 5);
}

#[test]
fn rotates_by_the_age_of_the_first_record_across_restarts() {
    let mut log = Log::new();
    log.lines(&["a"]);
    // A restart, in which only the file itself tells its age.
    log.file = RotatingFile::new(log.path("archiver.log"), LIMITS);
    log.now = log.now.checked_add(59.minutes()).unwrap();
    log.lines(&["b"]);
    assert_eq!(log.marks("archiver.log"), "a b");
    log.file = RotatingFile::new(log.path("archiver.log"), LIMITS);
    log.now = log.now.checked_add(2.minutes()).unwrap();
    log.lines(&["c"]);
    assert_eq!(log.marks("archiver.log"), "c");
    assert_eq!(log.marks("archiver.log.1"), "a b");
}

#[test]
fn compressed_backups_move_along() {
    let mut log = Log::new();
    for number in 1..=3 {
        fs::write(
            log.path(&format!("archiver.log.{number}.gz")),
            number.to_string(),
        )
        .unwrap();
    }
    log.lines(&["a", "b", "c"]);
    assert_eq!(log.marks("archiver.log.1"), "a b");
    assert_eq!(log.marks("archiver.log.1.gz"), "-");
    assert_eq!(log.marks("archiver.log.2.gz"), "1");
    assert_eq!(log.marks("archiver.log.3.gz"), "2");
}

#[test]
fn a_log_that_was_moved_deleted_or_emptied_goes_on() {
    let mut log = Log::new();
    log.lines(&["a"]);
    fs::rename(
        log.path("archiver.log"),
        log.path("archiver.log.manual_20251024"),
    )
    .unwrap();
    log.lines(&["b"]);
    assert_eq!(log.marks("archiver.log.manual_20251024"), "a");
    assert_eq!(log.marks("archiver.log"), "b");
    fs::remove_file(log.path("archiver.log")).unwrap();
    log.lines(&["c", "d"]);
    fs::write(log.path("archiver.log"), "").unwrap();
    log.lines(&["e"]);
    assert_eq!(log.marks("archiver.log"), "e");
    assert_eq!(log.marks("archiver.log.1"), "-");
}

#[test]
fn a_linked_log_rotates_where_it_really_is() {
    let mut log = Log::new();
    let disk = tempfile::tempdir().unwrap();
    let real = disk.path().join("archiver.log");
    symlink(&real, log.path("archiver.log")).unwrap();
    log.lines(&["a", "b", "c"]);
    assert!(log.path("archiver.log").is_symlink());
    assert_eq!(marks(&real), "c");
    assert_eq!(marks(&disk.path().join("archiver.log.1")), "a b");
    assert_eq!(log.marks("archiver.log.1"), "-");
}

#[test]
fn a_line_cut_short_by_a_crash_is_ended_first() {
    let mut log = Log::new();
    fs::write(log.path("archiver.log"), "half a li").unwrap();
    log.lines(&["a"]);
    assert_eq!(log.marks("archiver.log"), "li a");
}

#[test]
fn only_the_group_may_read_and_the_directory_is_made() {
    let mut log = Log::new();
    let path = log.path("new/archiver.log");
    log.file = RotatingFile::new(path.clone(), LIMITS);
    log.lines(&["a"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path) & 0o137, 0);
    assert_eq!(mode(path.parent().unwrap()) & 0o027, 0);
}

#[test]
fn trouble_is_told_once_and_the_gap_is_marked() {
    let mut log = Log::new();
    // Linux's disk that is always full.
    let path = log.path("archiver.log");
    symlink("/dev/full", &path).unwrap();
    let complaint = log.line("a").unwrap();
    assert!(
        complaint.contains("archiver.log: No space left"),
        "{complaint}"
    );
    assert_eq!(log.line("b"), None);
    fs::remove_file(&path).unwrap();
    log.lines(&["c"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("WARNING - 2 record(s) are missing here"),
        "{text}"
    );
    assert!(text.ends_with(" c\n"));
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn a_directory_that_does_not_exist_is_no_end() {
    let mut log = Log::new();
    log.file = RotatingFile::new(log.path("no/such/archiver.log"), LIMITS);
    assert!(log.line("a").unwrap().contains("cannot write the log file"));
    assert_eq!(log.line("b"), None);
}

/// Writers do not tear each other's lines, and lose none, while they rotate.
#[test]
fn two_writers_share_a_log() {
    let log = Log::new();
    let path = log.path("archiver.log");
    let limits = Limits {
        max_bytes: 5000,
        backups: 1000,
        ..LIMITS
    };
    const EACH: usize = 500;
    std::thread::scope(|scope| {
        for writer in ["x", "y"] {
            let path = path.clone();
            let now = log.now.clone();
            scope.spawn(move || {
                let mut file = RotatingFile::new(path, limits);
                for number in 0..EACH {
                    let line = format!("{writer}{number:03} {}\n", writer.repeat(40));
                    assert_eq!(file.append(&line, &now), None);
                }
            });
        }
    });
    let mut seen = Vec::new();
    for entry in fs::read_dir(log.directory.path()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let writer = &line[..1];
            assert_eq!(&line[5..], writer.repeat(40));
            seen.push(line[..4].to_owned());
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2 * EACH);
}
