//! Directories that others can write to, a umask that hides nothing, and the
//! rights of what the archiver makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::peer::spoil;
use crate::support::ucondb_server::{FOLDER, OBJECT, Options, PASSWORD, USER, UconDbServer};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_everybody_can_write_to_is_warned_about() {
    let test = Test::new().record(1);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("every user can write");
    let config = test.path().join("config.yaml");
    for (path, what) in [
        (test.work(""), "the work directory"),
        (config, "the configuration file"),
        (test.work("archiver.log"), "the log file"),
        (test.work("importer_state.json"), "the state file"),
        (test.work("import_failures.log"), "the failure log"),
    ] {
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        let before = fs::metadata(&path).unwrap().permissions();
        set_mode(&path, before.mode() | 0o002);
        let shown = path.display().to_string();
        let shown = shown.trim_end_matches('/');
        let warning = format!("every user can write to {what} {shown} ");
        let command = format!("chmod o-w {shown}");
        test.run(&["--incremental"])
            .exits(0)
            .says(&warning)
            .says(&command);
        let check = test.run(&["--check"]).exits(0).stdout;
        assert!(
            check.contains(&format!("! Rights: {warning}")) && check.contains(&command),
            "{check}"
        );
        // The command does what it is for.
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success());
        test.run(&["--incremental"])
            .exits(0)
            .does_not_say("every user can write");
    }
}

/// The same command with a umask that takes no right away.
fn without_umask(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    shell
}

/// Everything in the work directory is nobody else's business.
fn assert_private(test: &Test, when: &str) -> Vec<String> {
    let work = fs::metadata(test.work("")).unwrap().permissions().mode();
    assert_eq!(work & 0o027, 0, "{when}: the work directory: {work:o}");
    let mut names = Vec::new();
    for entry in fs::read_dir(test.work("")).unwrap() {
        let entry = entry.unwrap();
        // A temporary file may be gone again.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let mode = found.permissions().mode() & 0o777;
        let name = entry.file_name().into_string().unwrap();
        assert_eq!(mode & 0o137, 0, "{when}: {name}: {mode:o}");
        names.push(name);
    }
    names
}

#[test]
fn files_of_ours_are_private_whatever_the_umask() {
    let server = UconDbServer::start(Options::default());
    let test = Test::new()
        .records_in([1, 2, 3])
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"));
    spoil(&test.records(), 3);
    let metadata = test.records().join("2/metadata.txt");
    let text = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, text.replace("stop time", "went on")).unwrap();
    let mut seen = Vec::new();
    for arguments in [
        &["--incremental", "-v"][..],
        &["--incremental"],
        &["--retry-failed-import"],
        &["--verify", "--incremental"],
        &["--recover-import-state"],
        &["--recover-migrate-state"],
        &["--dashboard"],
        &["--check"],
    ] {
        without_umask(&test.command(arguments)).status().unwrap();
        seen.extend(assert_private(&test, &format!("{arguments:?}")));
    }
    for name in [
        "archiver.log",
        "history.jsonl",
        "import_failures.log",
        "importer_state.json",
        "incomplete_runs.json",
        "journal.json",
        "migrator_state.json",
        "ucondb_listing_ev01.json",
        "unverified_runs.log",
        "verify.json",
    ] {
        assert!(seen.iter().any(|seen| seen == name), "no {name}: {seen:?}");
    }
    assert!(
        seen.iter()
            .any(|name| name.starts_with("importer_state.json.")),
        "{seen:?}"
    );
    // What it extracts holds what the experiment keeps to itself.
    let output = test.path().join("extracted/of/1");
    let to = output.to_str().unwrap();
    without_umask(&test.command(&["--extract", "1", "--output", to]))
        .status()
        .unwrap();
    for directory in output.ancestors().take(3) {
        let mode = fs::metadata(directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750, "{}: {mode:o}", directory.display());
    }
    for entry in fs::read_dir(&output).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }
}

#[test]
fn the_lock_is_private_while_it_is_held() {
    let test = Test::new()
        .record(1)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let mut child = without_umask(&test.command(&[])).spawn().unwrap();
    let begun = Instant::now();
    while !test.work(".archiver.lock.holder").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let names = assert_private(&test, "while it is held");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(names.contains(&".archiver.lock".to_owned()), "{names:?}");
}

/// The password reaches no file of the work directory and no argument.
#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    let test = Test::new().record(1);
    let secret = test.path().join("password");
    fs::write(&secret, "swordfish\n").unwrap();
    let test = test.set("ucon_db.writer_password", "null").set(
        "ucon_db.writer_password_file",
        &secret.display().to_string(),
    );
    for (mode, is_warned) in [(0o644, true), (0o600, false), (0o640, false)] {
        set_mode(&secret, mode);
        let ended = test.run(&["--incremental"]).exits(0);
        let warning = format!("every user can read the secret in {}", secret.display());
        assert_eq!(ended.stderr.contains(&warning), is_warned, "{mode:o}");
    }
}
