//! Something else in the place of a file: FIFOs, devices and links, where the archiver
//! reads, writes, locks or removes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::archiver::{Ended, Test};
use rustix::process::{Pid, Signal, kill_process};

/// Runs the archiver, which must not wait for ever for anything.
fn run(test: &Test, arguments: &[&str]) -> Ended {
    let command = test.command(arguments);
    let output = Command::new("timeout")
        .args(["--signal=KILL", "120"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn make_fifo(path: &Path) {
    let _ = fs::remove_file(path);
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

/// A device such as /dev/null; for who may make none, a link to it, as it can't be
/// harmed then.
fn make_device(path: &Path) {
    let _ = fs::remove_file(path);
    let made = Command::new("mknod")
        .arg(path)
        .args(["c", "1", "3"])
        .stderr(Stdio::null())
        .status();
    if !made.unwrap().success() {
        symlink("/dev/null", path).unwrap();
    }
}

#[track_caller]
fn assert_device(path: &Path) {
    let kind = fs::metadata(path).unwrap().file_type();
    assert!(kind.is_char_device(), "{}", path.display());
}

/// An archive of three runs, and a record that is not archived.
fn archived() -> Test {
    let test = Test::new().records_in(1..=3);
    run(&test, &["--incremental"]).exits(0);
    test.record(4)
}

#[test]
fn a_fifo_is_waited_for_nowhere() {
    let incremental: &[&str] = &["--incremental"];
    for (file, arguments, names_it) in [
        ("work/importer_state.json", incremental, true),
        ("work/migrator_state.json", incremental, true),
        ("work/import_failures.log", incremental, true),
        ("work/migrate_failures.log", incremental, true),
        ("work/import_failures.json", incremental, true),
        ("work/journal.json", incremental, true),
        ("work/incomplete_runs.json", incremental, true),
        ("work/history.jsonl", incremental, true),
        ("work/.archiver.lock", incremental, true),
        ("work/.archiver.lock.holder", incremental, true),
        ("work/archiver.log", incremental, true),
        ("work/in_progress.json", incremental, false),
        ("archive/RunHistory/index.json", incremental, true),
        ("archive/SystemLayout/index.json", incremental, true),
        ("schema/schema.fcl", incremental, true),
        ("run_records/4/tpc01.fcl", incremental, true),
        ("run_records/4/metadata.txt", incremental, true),
        ("ucondb/test/configuration/4.blob", incremental, true),
        ("archive/RunHistory/index.json", &["--check"], true),
        ("work/importer_state.json", &["--dashboard"], true),
        ("work/archiver.log", &["--dashboard"], true),
        ("work/.archiver.lock", &["--dashboard"], true),
        ("work/importer_state.json", &["--report-status"], true),
        ("work/journal.json", &["--check"], true),
    ] {
        let test = archived();
        let path = test.path().join(file);
        make_fifo(&path);
        let ended = run(&test, arguments);
        let what = format!("{file} {arguments:?}: {ended:?}");
        assert!(matches!(ended.code, Some(0 | 1)), "{what}");
        assert!(!ended.stderr.contains("panicked"), "{what}");
        let said = ended.stderr + &ended.stdout;
        let is_named = said.contains("it is a FIFO") || said.contains("not a regular file");
        assert!(!names_it || is_named, "{what}\n{said}");
        // It is as it was, but where it was a note that nothing depends on.
        if names_it {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            assert!(kind.is_fifo(), "{what}");
        }
    }
}

#[test]
fn a_document_that_is_a_fifo_fails_its_run() {
    let test = archived();
    let documents = || -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(test.path().join("archive/RunHistory")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let before = documents();
    run(&test, &["--import-only", "--incremental"]).exits(0);
    let document = documents().difference(&before).next().unwrap().clone();
    make_fifo(&document);
    run(&test, &["--migrate-only", "--incremental"])
        .exits(1)
        .says("it is a FIFO");
    run(&test, &["--rebuild-index", "--yes"])
        .exits(1)
        .says("it is a FIFO");
}

#[test]
fn a_configuration_or_secret_that_is_a_fifo_is_refused() {
    let test = archived();
    let (config, secret) = (test.path().join("fifo.yaml"), test.path().join("secret"));
    make_fifo(&config);
    make_fifo(&secret);
    let command = test.command(&[]);
    let output = Command::new("timeout")
        .args(["--signal=KILL", "120"])
        .arg(command.get_program())
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it is a FIFO"), "{said}");
    let test = test.set("ucon_db.writer_password", "null").set(
        "ucon_db.writer_password_file",
        &secret.display().to_string(),
    );
    run(&test, &["--incremental"]).exits(1).says("it is a FIFO");
}

#[test]
fn a_device_is_written_into_or_refused() {
    for format in ["text", "json", "html"] {
        let test = archived();
        let device = test.path().join("null");
        make_device(&device);
        let path = device.to_str().unwrap();
        run(
            &test,
            &["--report-status", "--format", format, "--output", path],
        )
        .exits(0);
        assert_device(&device);
    }
    for (key, says) in [
        ("app.lock_file", true),
        ("app.import_state_file", true),
        ("app.migrate_state_file", true),
        ("app.import_failure_log", true),
        ("app.migrate_failure_log", true),
        ("metrics.prometheus_textfile", true),
        ("app.log_file", false),
    ] {
        let test = archived();
        let device = test.path().join("null.prom");
        make_device(&device);
        let test = test.set(key, &device.display().to_string());
        let ended = run(&test, &["--incremental"]);
        assert!(matches!(ended.code, Some(0 | 1)), "{key}: {ended:?}");
        let is_told = ended.stderr.contains("it is a device");
        assert_eq!(is_told, says, "{key}: {ended:?}");
        for arguments in ["--recover-import-state", "--recover-migrate-state"] {
            let ended = run(&test, &[arguments]);
            assert!(matches!(ended.code, Some(0 | 1)), "{key}: {ended:?}");
        }
        assert_device(&device);
    }
}

/// What stands in an output already, and what comes after, is not lost.
#[test]
fn a_report_goes_into_an_open_file_as_it_is() {
    let test = archived();
    let output = test.path().join("output");
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/fd/3"] {
        let command = test.command(&["--report-status", "--output", name]);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "{ echo before; \"$@\"; echo after; } 3>&1", "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        let mut file = fs::File::create(&output).unwrap();
        writeln!(file, "first").unwrap();
        let status = shell.stdout(file).status().unwrap();
        assert!(status.success(), "{name}");
        let text = fs::read_to_string(&output).unwrap();
        if name == "/dev/fd/3" {
            // Its place in the file is known to who opened it alone.
            assert!(text.contains("Run"), "{name}: {text}");
            continue;
        }
        assert!(text.starts_with("first\nbefore\n"), "{name}: {text}");
        assert!(text.ends_with("\nafter\n"), "{name}: {text}");
    }
}

#[test]
fn links_stay_and_the_files_behind_them_are_replaced() {
    let test = Test::new().records_in(1..=3);
    let elsewhere = test.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(test.work("")).unwrap();
    let names = [
        "importer_state.json",
        "migrator_state.json",
        "import_failures.log",
        "migrate_failures.log",
        "journal.json",
        "history.jsonl",
        "archiver.log",
        ".archiver.lock",
        ".archiver.lock.holder",
    ];
    for name in names {
        symlink(elsewhere.join(name), test.work(name)).unwrap();
    }
    let report = test.path().join("report.html");
    symlink(elsewhere.join("report.html"), &report).unwrap();
    for _ in 0..2 {
        run(&test, &["--incremental"]).exits(0);
        let path = report.to_str().unwrap();
        run(
            &test,
            &["--report-status", "--format", "html", "--output", path],
        )
        .exits(0);
        for name in names {
            let found = fs::symlink_metadata(test.work(name)).unwrap();
            assert!(found.is_symlink(), "{name}");
            let target = elsewhere.join(name);
            assert_eq!(target.exists(), !name.contains(".lock"), "{name}");
        }
        assert!(fs::symlink_metadata(&report).unwrap().is_symlink());
        assert!(elsewhere.join("report.html").exists());
    }
    assert_eq!(test.state("importer_state.json"), (3, 3));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), names.len() - 1);
}

/// Who can write to the work directory can put a link where a temporary file was
/// expected.
#[test]
fn a_planted_link_is_not_written_through() {
    let test = Test::new().records_in(1..=3);
    let victim = test.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(test.work("")).unwrap();
    for name in [
        "in_progress.json",
        "importer_state.json",
        "migrator_state.json",
        "import_failures.log",
        "journal.json",
    ] {
        for planted in [format!(".{name}.tmp"), format!("{name}.tmp")] {
            symlink(&victim, test.work(&planted)).unwrap();
        }
    }
    run(&test, &["--incremental"]).exits(0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// An execution that works until it is asked to end.
fn start_endless(test: &Test) -> std::process::Child {
    let child = test.start(&[]);
    let begun = Instant::now();
    while !test.work(".archiver.lock.holder").exists() || !test.work(".archiver.lock").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn without_its_lock_file_an_execution_still_works_alone() {
    let test = Test::new()
        .record(1)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let mut child = start_endless(&test);
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    // So that it does not end before the others have tried.
    kill_process(pid, Signal::STOP).unwrap();
    fs::remove_file(test.work(".archiver.lock")).unwrap();
    for arguments in [&["--incremental"][..], &[], &["--recover-import-state"]] {
        let ended = run(&test, arguments).exits(1);
        let said = format!("process {}, at work since", child.id());
        let ended = ended.says("Another process may be running").says(&said);
        ended.says("its lock file was removed");
        assert!(!test.work(".archiver.lock").exists());
    }
    // With another lock file it is the same work directory.
    let elsewhere = test.path().join("other.lock").display().to_string();
    let other = test.set("app.lock_file", &elsewhere);
    run(&other, &["--incremental"])
        .exits(1)
        .says("Another process may be running");
    kill_process(pid, Signal::CONT).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130));
    let after = other.set("app_fuzz.random_error_percent", "0");
    run(&after, &["--incremental"]).exits(0);
    assert_eq!(after.imported(), [1]);
}
