//! A machine that has no more threads, or a clock that is out of range: an error or an
//! execution as always, and never a panic.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::archiver::Test;
use crate::support::copy_program;
use crate::support::ucondb_server::{FOLDER, OBJECT, Options, PASSWORD, USER, UconDbServer};

/// A user that has no processes.
const NOBODY: u32 = 64_731;

/// Gives a directory and all below it to that user.
fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

#[track_caller]
fn assert_calm(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{what}: {:?}: {said}",
        output.status
    );
    assert!(!said.contains("panicked"), "{what}: {said}");
    if output.status.code() == Some(1) {
        let said = said + String::from_utf8_lossy(&output.stdout);
        let is_named = ["rror", "ERROR", "✗"]
            .iter()
            .any(|part| said.contains(part));
        assert!(is_named, "{what}: no error named: {said}");
    }
}

/// Runs the archiver with so many processes and threads in all. The limit of root is
/// none, and that of another user counts what else they do.
fn with_threads(test: &Test, count: usize, arguments: &[&str]) -> Output {
    let command = test.command(arguments);
    let program = test.path().join("archiver");
    if !program.exists() {
        copy_program(command.get_program(), &program);
    }
    give(test.path());
    let id = NOBODY.to_string();
    Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh", "-c"])
        .arg(format!("ulimit -u {count}; exec \"$0\" \"$@\""))
        .arg(program)
        .args(command.get_args())
        .output()
        .unwrap()
}

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert!(
        root || std::env::var_os("CI").is_none(),
        "needs root, to be a user without other processes"
    );
    root
}

#[test]
fn without_threads_an_execution_ends_with_an_error() {
    if !is_root() {
        return;
    }
    let server = UconDbServer::start(Options::default());
    let url = server.url();
    let by_name = url.replace("127.0.0.1", "localhost");
    for url in [None, Some(&url), Some(&by_name)] {
        let mut succeeded = false;
        // The process itself is the first thread.
        for count in 1..20 {
            let mut test = Test::new()
                .records_in(1..=5)
                .set("app.parallel_workers", "4");
            if let Some(url) = url {
                test = test
                    .set("ucon_db.server_url", url)
                    .set("ucon_db.folder_name", FOLDER)
                    .set("ucon_db.object_name", OBJECT)
                    .set("ucon_db.writer_user", USER)
                    .set("ucon_db.writer_password", &format!("'{PASSWORD}'"));
            }
            let what = format!("{count} threads, {url:?}");
            let output = with_threads(&test, count, &["--incremental"]);
            assert_calm(&output, &what);
            succeeded = output.status.success();
            // No run is to blame for it.
            assert_eq!(test.failures("import_failures.log"), [0; 0], "{what}");
            assert_eq!(test.failures("migrate_failures.log"), [0; 0], "{what}");
            test.run(&["--incremental"]).exits(0);
            assert_eq!(test.imported(), [1, 2, 3, 4, 5], "{what}");
        }
        assert!(succeeded, "{url:?}: 19 threads are not enough");
    }
}

/// Runs the archiver at another time of day.
fn at(time: &str, test: &Test, arguments: &[&str]) -> Output {
    let command = test.command(arguments);
    Command::new("faketime")
        .arg(time)
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap()
}

#[test]
fn no_time_of_day_is_too_early_or_too_late() {
    if Command::new("faketime").arg("--version").output().is_err() {
        let is_ci = std::env::var_os("CI").is_some();
        assert!(!is_ci, "faketime is not there (Debian package faketime)");
        return;
    }
    for time in [
        "9999-12-31 23:59:50",
        "9999-12-30 21:59:58",
        "1970-01-01 00:00:02",
        "2038-01-19 03:14:06",
        "2262-04-11 23:47:15",
    ] {
        let test = Test::new()
            .records_in(1..=3)
            .still_going(3)
            .set("source_files.settle_seconds", "300");
        crate::support::peer::spoil(&test.records(), 2);
        for arguments in [
            &["--incremental"][..],
            &["--incremental", "-v"],
            &["--runs", "1-3"],
            &["--check"],
            &["--dashboard"],
            &["--report-status", "--format", "html"],
            &["--report-status", "--format", "json"],
            &["--verify"],
            &["--recover-import-state"],
            &["--ignore", "2", "--reason", "broken"],
            &["--rebuild-index", "--yes"],
        ] {
            let output = at(time, &test, arguments);
            assert_calm(&output, &format!("{time} {arguments:?}"));
        }
        // Back in our time, the work goes on.
        let test = test.set("source_files.settle_seconds", "0");
        test.ends(3);
        let ended = test.run(&["--incremental"]);
        assert!(matches!(ended.code, Some(0 | 1)), "{time}: {ended:?}");
        assert!(test.imported().contains(&1), "{time}: {ended:?}");
    }
}
