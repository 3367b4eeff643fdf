//! `--check` from the outside: what it finds, and that it leaves no trace.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use crate::support::archiver::{Ended, Test};
use crate::support::copy_program;
use crate::support::ucondb_server::{FOLDER, OBJECT, Options, PASSWORD, USER, UconDbServer};

/// The lines that begin with a mark, without those about the machine's disk,
/// which may be full for reasons of its own.
fn lines(ended: &Ended, mark: char) -> Vec<String> {
    ended
        .stdout
        .lines()
        .filter(|line| line.starts_with(mark) && !line.contains("Disk space"))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn has(lines: &[String], part: &str) {
    assert!(
        lines.iter().any(|line| line.contains(part)),
        "no {part:?} in {lines:#?}"
    );
}

/// Every file and directory with its size, time and content.
fn everything(directory: &Path) -> BTreeMap<PathBuf, (i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        let content = match metadata.is_dir() {
            true => {
                found.extend(everything(&path));
                Vec::new()
            }
            false => fs::read(&path).unwrap(),
        };
        found.insert(path, (metadata.mtime(), metadata.mtime_nsec(), content));
    }
    found
}

#[test]
fn all_is_well_and_nothing_is_written() {
    let test = Test::new().records_in([7, 8]);
    test.run(&[]).exits(0);
    let _ = test.command(&[]);
    let before = everything(test.path());
    let ended = test.run(&["--check"]);
    assert_eq!(ended.stderr, "");
    assert_eq!(lines(&ended, '✗'), [""; 0], "{}", ended.stdout);
    assert_eq!(lines(&ended, '!'), [""; 0], "{}", ended.stdout);
    let good = lines(&ended, '✓');
    for part in [
        "Configuration valid: ",
        "Work directory writable: ",
        "Import state: last contiguous run 8",
        "Migration failure log: 0 run(s)",
        "Run records: 2 runs readable in ",
        "Schema valid: ",
        "ArtdaqDB: 2 runs accessible",
        "ArtdaqDB writable: ",
        "ArtdaqDB index of RunHistory agrees with its ",
        "ArtdaqDB index of SystemLayout agrees with its 2 documents",
        "UconDB: a directory with 2 runs, writable",
        "Mail: off",
        "Slack: off",
        "Clock: ",
        "Lock: free",
    ] {
        has(&good, part);
    }
    // The configuration alone is written again by the test itself.
    let config = test.path().join("config.yaml");
    let changed: Vec<_> = everything(test.path())
        .into_iter()
        .filter(|(path, content)| *path != config && before.get(path) != Some(content))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, [""; 0].map(PathBuf::from));
    assert_eq!(everything(test.path()).len(), before.len());
}

#[test]
fn what_the_first_execution_makes_is_no_failure() {
    let test = Test::new().record(7);
    let ended = test.run(&["--check"]);
    assert_eq!(lines(&ended, '✗'), [""; 0], "{}", ended.stdout);
    has(&lines(&ended, '!'), "the first execution makes it");
    has(&lines(&ended, '!'), "the first import makes it");
    assert!(!test.path().join("work").exists());
    assert!(!test.path().join("archive").exists());
    assert!(!test.path().join("ucondb").exists());
}

#[test]
fn a_configuration_with_faults() {
    let test = Test::new()
        .record(7)
        .set("app.batchsize", "5")
        .set("app_fuzz.random_error_percent", "5");
    let ended = test.run(&["--check"]).exits(1);
    has(
        &lines(&ended, '✗'),
        "app.batchsize: there is no such setting: did you mean `batch_size`?",
    );
    has(&lines(&ended, '!'), "app_fuzz");

    let test = test
        .set("app.batch_size", "x")
        .set("app.parallel_workers", "0");
    let ended = test.run(&["--check"]).exits(1);
    assert_eq!(lines(&ended, '✗').len(), 2, "{}", ended.stdout);
    has(&lines(&ended, '✗'), "Configuration error: ");
    assert!(
        ended.stdout.ends_with("2 failed, 0 well\n"),
        "{}",
        ended.stdout
    );
}

#[test]
fn what_would_fail_is_named_with_the_way_out() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    fs::write(test.work("importer_state.json"), "{").unwrap();
    fs::remove_file(test.work("migrate_failures.log")).unwrap();
    fs::create_dir(test.work("migrate_failures.log")).unwrap();
    fs::write(test.path().join("schema/schema.fcl"), "a: [\n").unwrap();
    fs::write(test.path().join("archive/RunHistory/index.json"), "{").unwrap();
    fs::remove_dir_all(test.records()).unwrap();
    let ended = test.run(&["--check"]).exits(1);
    let failed = lines(&ended, '✗');
    for part in [
        "--recover-import-state",
        "migrate_failures.log",
        "Schema: ",
        "ArtdaqDB: ",
        "--rebuild-index",
        "source_files.run_records_dir",
    ] {
        has(&failed, part);
    }
    assert_eq!(failed.len(), 6, "{failed:#?}");
    for line in ended.stdout.lines() {
        let is_last = line.contains(" failed, ");
        assert!(line.starts_with(['✓', '✗', '!']) || is_last, "{line}");
    }
}

#[test]
fn an_index_that_disagrees_with_its_documents() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    let directory = test.path().join("archive/RunHistory");
    let documents: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "index.json")
        .collect();
    let other = directory.join("0123456789abcdef01234567.json");
    fs::rename(&documents[0], &other).unwrap();
    let ended = test.run(&["--check"]).exits(1);
    has(
        &lines(&ended, '✗'),
        "1 document(s) that it names are missing",
    );
    has(&lines(&ended, '✗'), "--rebuild-index");
    has(&lines(&ended, '!'), "0123456789abcdef01234567.json");
}

/// What an import left that was cut short is no reason to rebuild the index.
#[test]
fn documents_of_an_import_that_came_to_nothing() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    let directory = test.path().join("archive/RunHistory");
    let oid = "0123456789abcdef01234567";
    fs::write(directory.join(format!("{oid}.json")), "{").unwrap();
    let load = test.path().join("archive/.run_record_archiver.load.boot.0");
    fs::write(load, format!("RunHistory/{oid}.json 8\n")).unwrap();
    let ended = test.run(&["--check"]).exits(0);
    has(&lines(&ended, '✓'), "came to nothing");
    assert!(
        !ended.stdout.contains("--rebuild-index"),
        "{}",
        ended.stdout
    );
    test.run(&["--rebuild-index", "--yes"])
        .exits(0)
        .says("1 document(s) were left out")
        .says(oid);
    test.run(&["--verify"]).exits(0);
}

#[test]
fn a_clock_behind_its_own_files_and_a_stale_lock() {
    let test = Test::new().record(7);
    test.run(&[]).exits(0);
    let file = fs::File::create(test.work("note")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    fs::write(test.work(".archiver.lock"), "999999999\n").unwrap();
    let ended = test.run(&["--check"]).exits(1);
    has(&lines(&ended, '✗'), "note was written");
    has(&lines(&ended, '!'), "process 999999999 left it");
    assert!(test.work(".archiver.lock").exists());
}

#[test]
fn mail_and_slack_settings() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let yaml = |port: u16| {
        format!(
            "{{enabled: true, recipient_email: \"a@example.com\", sender_email: \"b@example.com\", \
             smtp_host: 127.0.0.1, smtp_port: {port}}}"
        )
    };
    let slack = |token: &str| format!("{{enabled: true, bot_token: {token}, channel: \"#a\"}}");
    let test = Test::new()
        .record(7)
        .set("reporting.email", &yaml(port))
        .set("reporting.slack", &slack("xoxb-1-secret"));
    let ended = test.run(&["--check"]);
    has(
        &lines(&ended, '✓'),
        &format!("Mail: 127.0.0.1:{port} accepts connections"),
    );
    has(
        &lines(&ended, '✓'),
        "Slack: settings complete; failures are posted to #a",
    );
    drop(listener);
    let ended = test
        .set("reporting.slack", &slack("xoxp-1-secret"))
        .run(&["--check"])
        .exits(1);
    has(
        &lines(&ended, '✗'),
        &format!("Mail: 127.0.0.1:{port} can't be reached"),
    );
    has(&lines(&ended, '✗'), "no bot's token");
    assert!(!ended.stdout.contains("secret"));
}

#[test]
fn a_ucondb_server_is_asked_and_nothing_is_stored() {
    let server = UconDbServer::start(Options::default());
    server.put(OBJECT, Some("7"), b"there before");
    let ask = |folder: &str, password: &str| {
        let test = Test::new()
            .record(7)
            .set("ucon_db.server_url", &server.url())
            .set("ucon_db.timeout_seconds", "5")
            .set("ucon_db.folder_name", folder)
            .set("ucon_db.object_name", OBJECT)
            .set("ucon_db.writer_user", USER)
            .set("ucon_db.writer_password", &format!("'{password}'"));
        let ended = test.run(&["--check"]);
        assert!(!ended.stdout.contains(password), "{}", ended.stdout);
        ended
    };
    let ended = ask(FOLDER, PASSWORD);
    has(
        &lines(&ended, '✓'),
        "with 1 runs; user \"writer\" may write",
    );
    has(
        &lines(&ask(FOLDER, "wrong-one").exits(1), '✗'),
        "refused user \"writer\"",
    );
    has(
        &lines(&ask("elsewhere", PASSWORD).exits(1), '✗'),
        "elsewhere",
    );
    assert_eq!(server.versions(OBJECT).len(), 1);
}

#[test]
fn tools_that_are_not_there() {
    let test = Test::new()
        .record(7)
        .set("artdaq_db.use_tools", "true")
        .set("artdaq_db.tools_dir", "/no/such/tools");
    let ended = test.run(&["--check"]).exits(1);
    has(&lines(&ended, '✗'), "/no/such/tools/bulkloader is missing");
    has(
        &lines(&ended, '✗'),
        "/no/such/tools/bulkdownloader is missing",
    );
    has(&lines(&ended, '✗'), "artdaq_db.tools_dir");
    // One that is there and can't be started, as its libraries are missing.
    let tools = test.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["bulkloader", "bulkdownloader"] {
        let says = "#!/bin/sh\necho 'libpq.so.5: cannot open shared object file' >&2\nexit 127\n";
        fs::write(tools.join(tool), says).unwrap();
        fs::set_permissions(tools.join(tool), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let test = test.set("artdaq_db.tools_dir", &tools.display().to_string());
    let ended = test.run(&["--check"]).exits(1);
    let failed = lines(&ended, '✗');
    has(
        &failed,
        "bulkloader --help ended with exit code 127. It said: libpq.so.5",
    );
    assert!(!test.path().join("archive").exists());
}

/// As an ordinary user, whom rights keep out; root may do anything.
#[test]
fn rights_are_those_of_the_user() {
    let test = Test::new().record(7);
    let ended = test.run(&[]).exits(0);
    assert!(ended.stderr.contains("SUCCESSFULLY"));
    let is_root = fs::metadata(test.path()).unwrap().uid() == 0;
    if !is_root {
        // The owner can be kept out too.
        for name in ["work", "archive", "archive/RunHistory"] {
            let read_only = fs::Permissions::from_mode(0o555);
            fs::set_permissions(test.path().join(name), read_only).unwrap();
        }
    }
    fs::set_permissions(test.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(test.path().join("work"), fs::Permissions::from_mode(0o555)).unwrap();
    let binary = test.path().join("archiver");
    copy_program(env!("CARGO_BIN_EXE_run_record_archiver"), &binary);
    let _ = test.command(&[]);
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(test.path().join("config.yaml"), readable).unwrap();
    let mut command = std::process::Command::new(&binary);
    command
        .arg(test.path().join("config.yaml"))
        .arg("--check")
        .current_dir("/")
        .stdin(Stdio::null());
    if is_root {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let ended = Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
    .exits(1);
    let failed = lines(&ended, '✗');
    has(&failed, "Work directory ");
    has(&failed, "not writable: Permission denied");
    has(&failed, "ArtdaqDB: ");
    fs::set_permissions(test.path().join("work"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_store_that_is_not_mounted_is_not_ready() {
    let test = Test::new().records_in([7, 8]);
    test.run(&[]).exits(0);
    let run_records = test.records();
    let archive = test.path().join("archive");
    let ucondb = test.path().join("ucondb/test/configuration");
    for (directory, name, flag) in [
        (
            &run_records,
            "The run record directory",
            "--recover-import-state",
        ),
        (&archive, "artdaqDB", "--recover-import-state"),
        (&ucondb, "UconDB", "--recover-migrate-state"),
    ] {
        let away = directory.with_extension("away");
        fs::rename(directory, &away).unwrap();
        fs::create_dir(directory).unwrap();
        let ended = test.run(&["--check"]).exits(1);
        let failed = lines(&ended, '✗');
        has(&failed, &format!("{name} at "));
        has(
            &failed,
            &format!(
                "has 0 of 2 known runs: is it mounted? If it was emptied or moved on purpose: {flag}"
            ),
        );
        assert_eq!(failed.len(), 1, "{failed:#?}");
        // An execution says the same.
        let said = failed[0].trim_start_matches("✗ ").to_owned();
        let execution = test.run(&["--incremental"]).exits(1);
        assert!(
            execution.stderr.contains(&said),
            "{said}: {}",
            execution.stderr
        );
        fs::remove_dir_all(directory).unwrap();
        fs::rename(&away, directory).unwrap();
    }
    let ended = test.run(&["--check"]).exits(0);
    assert_eq!(lines(&ended, '!'), [""; 0], "{}", ended.stdout);
}

#[test]
fn a_store_with_few_of_its_runs_or_at_another_address_is_worth_a_look() {
    let test = Test::new().records_in(7..=10);
    test.run(&[]).exits(0);
    for run in 7..=9 {
        let blob = format!("ucondb/test/configuration/{run}.blob");
        fs::remove_file(test.path().join(blob)).unwrap();
    }
    let ended = test.run(&["--check"]).exits(0);
    has(&lines(&ended, '!'), "has 1 of 4 known runs");
    let other = test.path().join("other");
    fs::create_dir(&other).unwrap();
    let test = test.set("ucon_db.server_url", &format!("file://{}", other.display()));
    let ended = test.run(&["--check"]);
    has(
        &lines(&ended, '!'),
        "for the first time; 4 runs are known at",
    );
}
