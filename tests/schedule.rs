//! The hourly execution: it brings in every run that can be brought in, and says
//! done only when it is. Whose fault a failure is, it finds out by trying.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::doc;
use run_record_archiver::artdaqdb::ArtdaqDb;
use rustix::process::Signal;

use crate::support::archiver::Test;
use crate::support::mongod::{Kind, Mongod};
use crate::support::peer::spoil;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, Transport, USER, UconDbServer,
};
use crate::support::{copy_program, send, wait_until};

const HOURLY: &[&str] = &["--incremental", "--quiet"];
const DONE: &str = "✓ EXECUTION COMPLETED SUCCESSFULLY";

/// An archiver whose UconDB is this server, and which is quick to give up.
fn archiver(server: &UconDbServer) -> Test {
    Test::new()
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "1")
        .set("app.run_process_retries", "0")
        .set("app.parallel_workers", "4")
        .set("app.batch_size", "0")
}

fn server() -> UconDbServer {
    UconDbServer::start(Options {
        transport: Transport::KeepAlive,
        ..Options::default()
    })
}

#[track_caller]
fn no_run_counts_as_failed(test: &Test) {
    for log in ["import_failures.log", "migrate_failures.log"] {
        assert_eq!(test.failures(log), [0; 0], "{log}");
    }
}

/// The documents that artdaqDB has of a run.
fn documents(test: &Test, run: u64) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for collection in fs::read_dir(test.path().join("archive")).unwrap() {
        let Ok(entries) = fs::read_dir(collection.unwrap().path()) else {
            continue;
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            !path.ends_with("index.json") && text.contains(&format!("\"{run}/test\""))
        }));
    }
    found
}

#[test]
fn a_stray_directory_is_held_back_and_stops_no_other_run() {
    let test = Test::new().records_in([12_498, 12_499]);
    test.run(&["--incremental"]).exits(0);
    let strays = ["99999999", "20251024"];
    for stray in strays {
        fs::create_dir(test.records().join(stray)).unwrap();
    }
    let test = test.record(12_500);
    test.run(HOURLY)
        .exits(1)
        .says("2 run(s) are held back")
        .says("20251024, 99999999");
    let checked = test.run(&["--check"]).exits(1).stdout;
    assert!(
        checked.contains("✗ Held back: 20251024, 99999999"),
        "{checked}"
    );
    assert_eq!(test.migrated(), [12_498, 12_499, 12_500]);
    let test = test.record(12_501).record(12_497);
    test.run(&["--incremental"])
        .exits(1)
        .says("--runs 20251024,99999999 (if these numbers are runs)");
    assert_eq!(test.migrated(), [12_497, 12_498, 12_499, 12_500, 12_501]);
    assert_eq!(test.state("importer_state.json"), (12_501, 12_501));
    no_run_counts_as_failed(&test);

    for stray in strays {
        fs::remove_dir(test.records().join(stray)).unwrap();
    }
    test.run(&["--incremental"]).exits(0).says(DONE);
}

#[test]
fn a_ucondb_that_cannot_store_makes_no_run_fail() {
    let page = |status| Action::Answer(Reply::html(status, "no"));
    type Breaks = Box<dyn Fn(&UconDbServer) + Send>;
    let put = || Fault::on("POST", "/data/").always();
    let cases: Vec<(&str, Breaks)> = vec![
        (
            "its database is down",
            Box::new(|server| server.set_database_down(true)),
        ),
        (
            "500",
            Box::new(move |server| server.fault(put().then(page(500)))),
        ),
        (
            "502",
            Box::new(move |server| server.fault(put().then(page(502)))),
        ),
        (
            "504",
            Box::new(move |server| server.fault(put().then(page(504)))),
        ),
        (
            "405",
            Box::new(move |server| server.fault(put().then(page(405)))),
        ),
        (
            "507",
            Box::new(move |server| server.fault(put().then(page(507)))),
        ),
        (
            "frozen",
            Box::new(move |server| server.fault(put().then(Action::StallAnswer))),
        ),
    ];
    std::thread::scope(|scope| {
        for (case, breaks) in cases {
            scope.spawn(move || {
                let server = server();
                let test = archiver(&server).records_in(1..=3);
                test.run(&["--incremental"]).exits(0);
                // Only what stores is broken: the listing answers.
                let test = test.records_in(4..=24).set("app.batch_size", "8");
                breaks(&server);
                for _ in 0..2 {
                    let ended = test.run(HOURLY).exits(1);
                    assert!(ended.stderr.contains("ERROR"), "{case}: {}", ended.stderr);
                    no_run_counts_as_failed(&test);
                }
                server.set_database_down(false);
                server.no_faults();
                for _ in 0..3 {
                    test.run(HOURLY).exits(0);
                }
                assert_eq!(server.blobs(OBJECT).len(), 24, "{case}");
            });
        }
    });
}

#[test]
fn a_mongodb_that_cannot_store_makes_no_run_fail() {
    let Some(mut server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let uri = server.uri("directConnection=true&serverSelectionTimeoutMS=2000");
    let test = Test::new()
        .set("artdaq_db.database_uri", &uri)
        .set("app.run_process_retries", "0")
        .set("app.parallel_workers", "4")
        .set("app.batch_size", "0")
        .records_in(1..=2);
    test.run(&["--incremental"]).exits(0);
    let mut test = test;
    let mut runs = 2;
    let more = |test: Test, runs: &mut u64| {
        let added = *runs + 1..=*runs + 12;
        *runs += 12;
        test.records_in(added)
    };
    let stays_down = |test: &Test, case: &str| {
        for _ in 0..2 {
            let ended = test.run(HOURLY).exits(1);
            assert!(ended.stderr.contains("ERROR"), "{case}: {}", ended.stderr);
            no_run_counts_as_failed(test);
        }
    };
    let takes_all = |test: &Test, server: &Mongod, runs: u64| {
        for _ in 0..2 {
            test.run(HOURLY).exits(0);
        }
        assert_eq!(server.archive().runs().unwrap().len() as u64, runs);
        assert_eq!(test.migrated().len() as u64, runs);
    };
    // Out of space; stepped down; something that is known to nobody.
    for code in [14_031, 10_107, 8] {
        test = more(test, &mut runs);
        let insert = doc! { "failCommands": ["insert"], "errorCode": code };
        server.fail("alwaysOn", insert.clone());
        stays_down(&test, &code.to_string());
        server.fail("off", insert);
        takes_all(&test, &server, runs);
    }
    test = more(test, &mut runs);
    server.kill();
    stays_down(&test, "dead");
    server.restart();
    takes_all(&test, &server, runs);

    // Killed in the middle.
    test = more(test, &mut runs);
    server.fail(
        "alwaysOn",
        doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 400 },
    );
    let before = server.archive().runs().unwrap().len();
    let mut child = test.start(HOURLY);
    wait_until("a new run in MongoDB", || {
        server.archive().runs().unwrap().len() > before
    });
    server.kill();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    no_run_counts_as_failed(&test);
    server.restart();
    takes_all(&test, &server, runs);
}

#[test]
fn one_blob_that_ucondb_refuses_stops_no_other_run() {
    let server = server();
    let test = archiver(&server)
        .records_in(1..=6)
        .set("app.parallel_workers", "1");
    server.fault(
        Fault::on("POST", "key=3&")
            .always()
            .then(Action::Answer(Reply::html(500, "bad blob"))),
    );
    test.run(HOURLY).exits(1).says("run 3: upload of");
    assert_eq!(test.failures("migrate_failures.log"), [3]);
    assert_eq!(server.blobs(OBJECT).len(), 5);
    // Not before an hour is over, and then it is no news.
    let test = test.record(7);
    test.run(HOURLY).exits(0);
    assert_eq!(server.blobs(OBJECT).len(), 6);
    let in_hours = |hours: i64, command: &mut std::process::Command| {
        let now = jiff::Timestamp::now().as_second() + 3600 * hours;
        let output = command
            .env("RUN_RECORD_ARCHIVER_NOW", now.to_string())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    if cfg!(feature = "fault-injection") {
        let (code, said) = in_hours(2, &mut test.command(HOURLY));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(test.failures("migrate_failures.log"), [3]);
        server.no_faults();
        let (code, said) = in_hours(5, &mut test.command(HOURLY));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(server.blobs(OBJECT).len(), 7);
        assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    }
}

#[test]
fn an_archive_of_another_user_makes_no_run_fail() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs another user");
        eprintln!("not root: there is no other user to be");
        return;
    }
    const NOBODY: u32 = 65_534;
    let test = Test::new().records_in([1]).set("app.batch_size", "0");
    test.run(&[]).exits(0);
    let test = test.records_in(2..=9);
    fs::set_permissions(test.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for place in ["work", "ucondb"] {
        give_away(&test.path().join(place), NOBODY);
    }
    let as_nobody = || {
        // Under /root a program cannot be started by everybody.
        let program = test.path().join("archiver");
        if !program.exists() {
            copy_program(env!("CARGO_BIN_EXE_run_record_archiver"), &program);
        }
        let planned = test.command(HOURLY);
        chown(test.path().join("config.yaml"), Some(NOBODY), Some(NOBODY)).unwrap();
        let output = std::process::Command::new(&program)
            .args(planned.get_args())
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for _ in 0..2 {
        let (code, said) = as_nobody();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("check the rights of the user"), "{said}");
        no_run_counts_as_failed(&test);
    }
    // A lock file that somebody else left is enough to keep all documents out.
    give_away(&test.path().join("archive"), NOBODY);
    for lock in [
        ".run_record_archiver.lock",
        ".run_record_archiver.documents.lock",
    ] {
        let lock = test.path().join("archive").join(lock);
        chown(&lock, Some(0), Some(0)).unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        let (code, said) = as_nobody();
        assert_eq!(code, Some(1), "{said}");
        no_run_counts_as_failed(&test);
        chown(&lock, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let (code, said) = as_nobody();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(test.migrated().len(), 9);
}

/// Gives a directory and all below it to a user.
fn give_away(path: &std::path::Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn records_that_vanish_in_mid_import_make_no_run_fail() {
    let test = Test::new()
        .records_in(1..=40)
        .set("app.batch_size", "0")
        .set("app.run_process_retries", "0")
        .set("app.parallel_workers", "2");
    let away = test.path().join("unmounted");
    let log = test.work("archiver.log");
    let mut child = test.start(&["--incremental"]);
    wait_until("the first run", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("→ Processing run"))
    });
    fs::rename(test.records(), &away).unwrap();
    fs::create_dir(test.records()).unwrap();
    child.wait().unwrap();
    no_run_counts_as_failed(&test);
    // An empty mount point, as long as it is one.
    test.run(HOURLY)
        .exits(1)
        .says("The run record directory at")
        .says("is it mounted?");
    no_run_counts_as_failed(&test);
    fs::remove_dir(test.records()).unwrap();
    fs::rename(&away, test.records()).unwrap();
    test.run(HOURLY).exits(0);
    assert_eq!(test.migrated().len(), 40);
}

#[test]
fn stores_that_go_away_in_the_middle_make_no_run_fail_and_are_not_made_anew() {
    for (place, stage) in [("archive", "importer"), ("ucondb", "migrator")] {
        let test = Test::new()
            .records_in(1..=60)
            .set("app.batch_size", "0")
            .set("app.run_process_retries", "0");
        test.run(&["--runs", "1-3"]).exits(0);
        let (there, away) = (test.path().join(place), test.path().join("away"));
        let log = test.work("archiver.log");
        let mut child = test.start(&["--incremental"]);
        let working = format!("run_record_archiver.{stage} - INFO - → Processing run 9 ");
        wait_until("run 9", || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains(&working))
        });
        // As after umount: an empty directory.
        fs::rename(&there, &away).unwrap();
        fs::create_dir(&there).unwrap();
        let code = child.wait().unwrap().code();
        // All may have been done before the store went away.
        assert!(matches!(code, Some(0 | 1)), "{place}: {code:?}");
        for made in ["RunHistory", "SystemLayout", "test"] {
            assert!(!there.join(made).exists(), "{place}: {made}");
        }
        no_run_counts_as_failed(&test);
        fs::remove_dir_all(&there).unwrap();
        fs::rename(&away, &there).unwrap();
        test.run(HOURLY).exits(0);
        assert_eq!(test.migrated().len(), 60, "{place}");
    }
}

#[test]
fn a_known_failure_that_is_due_stops_nothing() {
    if !cfg!(feature = "fault-injection") {
        return;
    }
    let server = server();
    let test = archiver(&server).records_in(1..=3);
    server.fault(
        Fault::on("POST", "key=2&")
            .always()
            .then(Action::Answer(Reply::html(500, "bad blob"))),
    );
    // No later run shows that UconDB works: only the second execution is sure.
    for _ in 0..2 {
        test.run(HOURLY).exits(1);
    }
    assert_eq!(test.failures("migrate_failures.log"), [2]);
    for day in 1..=3 {
        let test = &test;
        let now = jiff::Timestamp::now().as_second() + day * 25 * 3600;
        let output = test
            .command(HOURLY)
            .env("RUN_RECORD_ARCHIVER_NOW", now.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "day {day}: {said}");
    }
    assert_eq!(test.failures("migrate_failures.log"), [2]);
}

#[test]
fn numbers_that_are_asked_for_in_vain_are_named_by_every_mode() {
    let test = Test::new().records_in(1..=3);
    test.run(&[]).exits(0);
    test.run(&["--verify", "--runs", "1,99999"])
        .exits(1)
        .says("--runs 99999: there is no such run");
    test.run(&["--retry-failed-import", "--runs", "1"])
        .exits(1)
        .says("--runs 1: there is no such run in the failure log");
    test.run(&["--ignore", "2", "--reason", "test"]).exits(0);
    fs::create_dir(test.records().join("4")).unwrap();
    test.run(&["--ignore", "4", "--reason", "never finished"])
        .exits(0);
    test.run(&["--runs", "4"])
        .exits(1)
        .says("--unignore takes it back");
    no_run_counts_as_failed(&test);
}

#[test]
fn an_input_output_error_of_one_record_or_document_is_that_runs_failure_alone() {
    let test = Test::new()
        .records_in(1..=5)
        .set("app.run_process_retries", "0");
    let broken = test.records().join("3/tpc01.fcl");
    fs::remove_file(&broken).unwrap();
    // Reading it fails with EIO.
    symlink("/proc/self/mem", &broken).unwrap();
    test.run(HOURLY).exits(1).says("3/tpc01.fcl");
    assert_eq!(test.migrated(), [1, 2, 4, 5]);
    assert_eq!(test.failures("import_failures.log"), [3]);

    let test = test.records_in(6..=9);
    test.run(&["--import-only", "--incremental"]).exits(0);
    let document = fs::read_dir(test.path().join("archive/RunHistory"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).unwrap().contains("\"7/test\""))
        .unwrap();
    fs::remove_file(&document).unwrap();
    symlink("/proc/self/mem", &document).unwrap();
    test.run(HOURLY).exits(1).says("Run 7");
    assert_eq!(test.migrated(), [1, 2, 4, 5, 6, 8, 9]);
    assert_eq!(test.failures("migrate_failures.log"), [7]);
    let test = test.record(10);
    test.run(HOURLY).exits(0);
    assert_eq!(test.migrated().len(), 8);
    test.run(&["--verify"])
        .exits(1)
        .says("Agree: 8 of 9 run(s)")
        .says("Run 7: artdaqDB cannot be read:");
}

#[test]
fn one_bad_document_stops_nothing_where_migrated_runs_were_removed_from_artdaqdb() {
    let test = Test::new().records_in(1..=3);
    test.run(&["--incremental"]).exits(0);
    // As a site does to whom artdaqDB became too large.
    for document in documents(&test, 3) {
        fs::remove_file(document).unwrap();
    }
    test.run(&["--rebuild-index", "--yes"]).exits(0);
    assert_eq!(test.imported(), [1, 2]);
    let test = test.records_in(4..=6);
    test.run(&["--import-only", "--incremental"]).exits(0);
    fs::write(documents(&test, 4).remove(0), "{").unwrap();
    test.run(HOURLY).exits(1).says("Run 4");
    assert_eq!(test.failures("migrate_failures.log"), [4]);
    assert_eq!(test.migrated(), [1, 2, 3, 5, 6]);
}

#[test]
fn a_store_that_is_not_mounted_is_not_taken_for_an_empty_one() {
    let test = Test::new().records_in(1..=4);
    test.run(&["--incremental"]).exits(0);
    let test = test.record(5);
    for (place, name, flag) in [
        (
            "run_records",
            "The run record directory at",
            "--recover-import-state",
        ),
        ("archive", "artdaqDB at", "--recover-import-state"),
        ("ucondb", "UconDB at", "--recover-migrate-state"),
    ] {
        let (mounted, away) = (test.path().join(place), test.path().join("away"));
        for is_there in [true, false] {
            fs::rename(&mounted, &away).unwrap();
            if is_there {
                fs::create_dir(&mounted).unwrap();
            }
            let ended = test.run(HOURLY).exits(1);
            if place != "run_records" || is_there {
                ended.says(name).says("is it mounted?").says(flag);
            }
            no_run_counts_as_failed(&test);
            let report = test.run(&["--report-status"]).exits(1).stdout;
            assert!(!report.contains("Run IMPORTER: 5"), "{report}");
            if place != "run_records" || is_there {
                assert!(report.contains("is it mounted?"), "{place}: {report}");
            }
            // Nothing is made in the mount point.
            if is_there {
                assert_eq!(fs::read_dir(&mounted).unwrap().count(), 0, "{place}");
                fs::remove_dir(&mounted).unwrap();
            }
            assert!(!mounted.exists(), "{place}");
            if place == "archive" {
                test.run(&["--import-only"]).exits(1);
                assert!(
                    !mounted.exists(),
                    "a new archive in the place of the known one"
                );
            }
            fs::rename(&away, &mounted).unwrap();
        }
    }
    test.run(HOURLY).exits(0);
    assert_eq!(test.migrated(), [1, 2, 3, 4, 5]);

    // Emptied on purpose, and said so.
    fs::remove_dir_all(test.path().join("archive")).unwrap();
    test.run(HOURLY).exits(1);
    test.run(&["--recover-import-state"]).exits(0);
    test.run(HOURLY).exits(0);
}

#[test]
fn the_work_directory_can_be_lost() {
    let test = Test::new().records_in(1..=6).set("app.batch_size", "2");
    spoil(&test.records(), 3);
    for _ in 0..4 {
        test.run(&["--incremental"]);
    }
    assert_eq!(test.migrated(), [1, 2, 4, 5, 6]);
    fs::remove_dir_all(test.work("")).unwrap();
    let test = test.record(7);
    test.run(HOURLY).exits(1);
    assert_eq!(test.migrated(), [1, 2, 4, 5, 6, 7]);
    assert_eq!(test.failures("import_failures.log"), [3]);
}

#[test]
fn a_run_that_is_retried_is_migrated_by_the_next_execution() {
    let test = Test::new().records_in(1..=9);
    spoil(&test.records(), 4);
    test.run(&["--incremental"]).exits(1);
    fs::write(test.records().join("4/tpc01.fcl"), "mark: 4\n").unwrap();
    test.run(&["--retry-failed-import"])
        .exits(0)
        .says("--migrate-only (1 run(s) are in artdaqDB");
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), (1..=9).collect::<Vec<u64>>());
    for state in ["importer_state.json", "migrator_state.json"] {
        assert_eq!(test.state(state), (9, 9));
    }
    no_run_counts_as_failed(&test);
}

#[test]
fn a_repaired_record_is_taken_without_being_asked_for() {
    let test = Test::new().records_in(1..=3);
    spoil(&test.records(), 2);
    test.run(&["--incremental"]).exits(1);
    // For as long as nothing changes there is no news.
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("Processing run 2 ")
        .says("--retry-failed-import (takes the 1 run(s) of its failure log)");
    fs::write(test.records().join("2/tpc01.fcl"), "mark: 2\n").unwrap();
    test.run(HOURLY).exits(0);
    assert_eq!(test.migrated(), [1, 2, 3]);
    no_run_counts_as_failed(&test);
}

#[test]
fn what_comes_next_is_true() {
    let test = Test::new().records_in(1..=7).set("app.batch_size", "3");
    test.run(&["--incremental", "--dry-run"])
        .exits(0)
        .says("run the same command without --dry-run (3 run(s) to import)")
        .does_not_say("nothing to do until");
    test.run(&["--import-only", "--incremental"])
        .exits(0)
        .says("--incremental (4 run(s) still to import)")
        .says("--migrate-only (3 run(s) are in artdaqDB and not known to be in UconDB)");
    test.run(&[])
        .exits(0)
        .says("Next: nothing to do until there are new runs");
    // A failure whose record is gone cannot be retried.
    fs::write(test.work("import_failures.log"), "99\n").unwrap();
    test.run(&["--incremental"])
        .exits(0)
        .says("--ignore 99 --reason TEXT")
        .does_not_say("--retry-failed-import");
    // A number typed wrong.
    test.run(&["--runs", "99999"])
        .exits(1)
        .says("--runs 99999: there is no such run");
    test.run(&["--runs", "5-6,200-300"])
        .exits(1)
        .says("--runs 200-300: there is no such run");
    test.run(&["--runs", "5-6"]).exits(0);
}

#[test]
fn after_a_death_the_runs_that_were_in_progress_come_last() {
    let test = Test::new()
        .records_in(1..=3)
        .set("app.parallel_workers", "1")
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let mut child = test.start(&["--import-only", "--incremental"]);
    let log = test.work("archiver.log");
    wait_until("run 1", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("Retrying run 1"))
    });
    send(&child, Signal::KILL);
    child.wait().unwrap();
    let test = test
        .set("app.retry_delay_seconds", "0.01")
        .set("app_fuzz.random_error_percent", "0");
    let ended = test
        .run(&["--incremental"])
        .exits(0)
        .says("died with these runs in progress: 1. They come last");
    let place = |text: &str| ended.stderr.find(text).unwrap();
    assert!(place("→ Processing run 3 ") < place("→ Processing run 1 "));
    assert_eq!(test.migrated(), [1, 2, 3]);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("died with");

    // Who is asked to end is no victim of a run.
    let test = test
        .record(4)
        .set("app.retry_delay_seconds", "600")
        .set("app_fuzz.random_error_percent", "100");
    let mut child = test.start(&["--import-only", "--incremental"]);
    wait_until("run 4", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("Retrying run 4"))
    });
    for _ in 0..3 {
        send(&child, Signal::INT);
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait().unwrap();
    let test = test
        .set("app.retry_delay_seconds", "0.01")
        .set("app_fuzz.random_error_percent", "0");
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("died with");
}
