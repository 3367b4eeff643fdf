//! A disk that is full for real: a small tmpfs that holds one thing after the
//! other. The stage stops, says where there is no space, and counts no run as
//! failed; once there is room, the same command archives everything.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};

use crate::support::archiver::{Ended, Test};
use crate::support::disk::{Disk, with_mounts};
use crate::support::tools::StandIns;
use crate::support::wait_until;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What is said of the log file that can't be written.
const NO_LOG: &str = "cannot write the log file";

/// What is put on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The work directory, log and all.
    Work,
    /// artdaqDB.
    Artdaqdb,
    /// The directory in the place of UconDB.
    Ucondb,
}

impl Place {
    fn on(self, disk: &Disk) -> Test {
        let test = Test::new()
            .set("app.batch_size", "0")
            .set("app.parallel_workers", "4");
        let path = disk.path().join("it").display().to_string();
        match self {
            Place::Work => test.set("app.work_dir", &path),
            Place::Artdaqdb => {
                test.set("artdaq_db.database_uri", &format!("filesystemdb://{path}"))
            }
            Place::Ucondb => test.set("ucon_db.server_url", &format!("file://{path}")),
        }
    }
}

fn work(test: &Test, disk: &Disk, place: Place, name: &str) -> PathBuf {
    match place {
        Place::Work => disk.path().join("it").join(name),
        _ => test.work(name),
    }
}

/// Runs failed or were attempted that nobody could have archived.
#[track_caller]
fn assert_nobody_is_to_blame(test: &Test, disk: &Disk, place: Place) {
    let (imported, migrated) = (test.imported(), test.migrated());
    for (stage, archived) in [("import", imported), ("migrate", migrated)] {
        let failures = work(test, disk, place, &format!("{stage}_failures.log"));
        assert_eq!(fs::read_to_string(failures).unwrap_or_default(), "");
        let stage = stage
            .replace("import", "importer")
            .replace("migrate", "migrator");
        let state = work(test, disk, place, &format!("{stage}_state.json"));
        if let Ok(text) = fs::read_to_string(&state) {
            let state: serde_json::Value = serde_json::from_str(&text).unwrap();
            let attempted = state["last_attempted_run"].as_u64().unwrap();
            assert!((1..=attempted).all(|run| archived.contains(&run)), "{text}");
        }
    }
}

#[track_caller]
fn assert_says_where(ended: &Ended, disk: &Disk) {
    let path = disk.path().display().to_string();
    let named = ended.stderr.lines().any(|line| {
        line.contains("No space left on device")
            && line.contains(&path)
            && line.contains("then run the same command again")
    });
    assert!(named, "{}", ended.stderr);
}

/// It stops, and says where and why.
#[track_caller]
fn stops(test: &Test, disk: &Disk, arguments: &[&str]) -> Ended {
    let ended = test
        .run(arguments)
        .exits(1)
        .does_not_say("panicked")
        .does_not_say("Retrying run");
    assert_says_where(&ended, disk);
    ended
}

/// An archiver that meets a full disk, and then one that has room.
#[track_caller]
fn stops_and_goes_on(disk: &Disk, place: Place, runs: u64) -> Ended {
    let test = place.on(disk).records_in(1..=runs);
    let ended = stops(&test, disk, &[]);
    assert_nobody_is_to_blame(&test, disk, place);
    assert_eq!(disk.temporary(), Vec::<PathBuf>::new());
    // Again, and it says so again.
    stops(&test, disk, &["--incremental"]);
    assert_nobody_is_to_blame(&test, disk, place);
    disk.make_room();
    test.run(&[]).exits(0);
    let all: Vec<u64> = (1..=runs).collect();
    assert_eq!((test.imported(), test.migrated()), (all.clone(), all));
    for (collection, comparison) in test.artdaqdb().compare_indexes().unwrap() {
        assert!(comparison.lost.is_empty(), "{collection}");
        assert!(comparison.unnamed.is_empty(), "{collection}");
    }
    test.run(&["--verify"]).exits(0);
    assert_nobody_is_to_blame(&test, disk, place);
    assert_eq!(disk.temporary(), Vec::<PathBuf>::new());
    ended
}

#[test]
fn a_disk_that_was_full_before() {
    with_mounts(module_path!(), "a_disk_that_was_full_before", || {
        for place in [Place::Work, Place::Artdaqdb, Place::Ucondb] {
            println!("{place:?}");
            let disk = Disk::new("size=64k");
            fs::create_dir(disk.path().join("it")).unwrap();
            disk.fill();
            stops_and_goes_on(&disk, place, 3);
        }
    });
}

#[test]
fn a_disk_without_inodes() {
    with_mounts(module_path!(), "a_disk_without_inodes", || {
        for place in [Place::Work, Place::Artdaqdb, Place::Ucondb] {
            println!("{place:?}");
            let disk = Disk::new("size=1m,nr_inodes=30");
            fs::create_dir(disk.path().join("it")).unwrap();
            disk.fill_inodes();
            stops_and_goes_on(&disk, place, 3).says("df -i");
        }
    });
}

#[test]
fn a_disk_that_fills_up_meanwhile() {
    with_mounts(module_path!(), "a_disk_that_fills_up_meanwhile", || {
        for (place, options) in [
            // The log takes most of it.
            (Place::Work, "size=48k"),
            (Place::Work, "size=1m,nr_inodes=6"),
            (Place::Artdaqdb, "size=1500k"),
            (Place::Artdaqdb, "size=8m,nr_inodes=300"),
            (Place::Ucondb, "size=250k"),
            (Place::Ucondb, "size=8m,nr_inodes=50"),
        ] {
            println!("{place:?} {options}");
            let disk = Disk::new(options);
            stops_and_goes_on(&disk, place, 100);
        }
    });
}

#[test]
fn a_log_file_without_room_stops_nothing() {
    with_mounts(
        module_path!(),
        "a_log_file_without_room_stops_nothing",
        || {
            for (options, is_full) in [
                ("size=16k", true),
                ("size=16k", false),
                ("nr_inodes=2", true),
            ] {
                println!("{options} {is_full}");
                let disk = Disk::new(options);
                match (is_full, options.contains("inodes")) {
                    (true, true) => disk.fill_inodes(),
                    (true, false) => disk.fill(),
                    (false, _) => {}
                }
                let log = disk.path().join("archiver.log");
                let test = Test::new()
                    .set("app.batch_size", "0")
                    .set("app.log_file", &log.display().to_string())
                    .records_in(1..=100);
                let ended = test.run(&[]).exits(0);
                assert_eq!(ended.stderr.matches(NO_LOG).count(), 1, "{}", ended.stderr);
                assert_eq!(test.migrated().len(), 100);

                disk.make_room();
                test.record(101).run(&[]).exits(0).does_not_say(NO_LOG);
                let text = fs::read_to_string(log).unwrap();
                assert!(text.contains("✓ Run 101 migrated successfully"));
                assert!(
                    text.lines().last().unwrap().contains(" - INFO - ==="),
                    "{text}"
                );
            }
        },
    );
}

/// An archiver under way, and what will have been on its stderr.
fn watched(test: &Test) -> (Child, JoinHandle<String>) {
    let mut child = test.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let reader = thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    (child, reader)
}

#[test]
fn a_log_file_that_fills_up_and_has_room_again_says_what_it_lacks() {
    with_mounts(
        module_path!(),
        "a_log_file_that_fills_up_and_has_room_again_says_what_it_lacks",
        || {
            let disk = Disk::new("size=64k");
            let log = disk.path().join("archiver.log");
            let test = Test::new()
                .set("app.batch_size", "0")
                .set("app.log_file", &log.display().to_string())
                .records_in(1..=400);
            let mut child = test.command(&[]).stderr(Stdio::piped()).spawn().unwrap();
            let mut stderr = child.stderr.take().unwrap();
            let reader = std::thread::spawn(move || {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
                text
            });
            wait_until("a full log", || {
                fs::metadata(&log).is_ok_and(|found| found.len() == 64 * 1024)
            });
            disk.make_room();
            assert!(child.wait().unwrap().success());
            let said = reader.join().unwrap();
            assert_eq!(said.matches(NO_LOG).count(), 1);
            let text = fs::read_to_string(log).unwrap();
            assert_eq!(text.matches("record(s) are missing here").count(), 1);
            assert!(text.contains("EXECUTION COMPLETED SUCCESSFULLY"));
            assert_eq!(test.migrated().len(), 400);
        },
    );
}

/// The log file is a directory, from the start or from some time on.
#[test]
fn a_log_file_that_can_not_be_opened_stops_nothing() {
    let test = Test::new().record(1);
    let log = test.path().join("log");
    fs::create_dir(&log).unwrap();
    let test = test.set("app.log_file", &log.display().to_string());
    let ended = test.run(&[]).exits(0);
    assert_eq!(ended.stderr.matches(NO_LOG).count(), 1, "{}", ended.stderr);
    assert_eq!(test.migrated(), [1]);
    fs::remove_dir(&log).unwrap();

    let test = test.records_in(2..=200).set("app.batch_size", "0");
    let (mut child, reader) = watched(&test);
    wait_until("the log", || {
        fs::metadata(&log).is_ok_and(|it| it.len() > 0)
    });
    let directory = test.path().join("directory");
    fs::create_dir(&directory).unwrap();
    renameat_with(CWD, &directory, CWD, &log, RenameFlags::EXCHANGE).unwrap();
    assert!(child.wait().unwrap().success());
    let said = reader.join().unwrap();
    assert_eq!(said.matches(NO_LOG).count(), 1, "{said}");
    assert_eq!(test.migrated().len(), 200);
}

/// The tools' files go through a temporary directory, and the tools write into
/// artdaqDB themselves.
#[test]
fn tools_without_room() {
    with_mounts(module_path!(), "tools_without_room", || {
        for (options, stage, is_archive) in [
            ("size=32k", "--import-only", false),
            ("size=1m,nr_inodes=12", "--import-only", false),
            ("size=32k", "--migrate-only", false),
            ("size=1m,nr_inodes=12", "--migrate-only", false),
            ("size=256k", "--import-only", true),
            ("size=8m,nr_inodes=40", "--import-only", true),
        ] {
            println!("{options} {stage} {is_archive}");
            let disk = Disk::new(options);
            let (mut test, all) = (Test::new(), (1..=12).collect::<Vec<u64>>());
            let tools = StandIns::new(test.path().join("tools"));
            test = test
                .set("artdaq_db.use_tools", "true")
                .set("artdaq_db.tools_dir", &tools.path().display().to_string())
                .set("app.batch_size", "0")
                .records_in(all.clone());
            let temporary = test.path().join("tmp");
            fs::create_dir(&temporary).unwrap();
            if is_archive {
                let archive = disk.path().join("it").display().to_string();
                test = test.set(
                    "artdaq_db.database_uri",
                    &format!("filesystemdb://{archive}"),
                );
            }
            let run = |mode: &str| {
                let arguments: Vec<&str> = mode.split_whitespace().collect();
                let output = test
                    .command(&arguments)
                    .env("TMPDIR", if is_archive { &temporary } else { disk.path() })
                    .env("RUST_BACKTRACE", "0")
                    .output()
                    .unwrap();
                // A stand-in that panicked is still at work, as far as the next one knows.
                let _ = fs::remove_file(tools.path().join("busy"));
                Ended {
                    code: output.status.code(),
                    stdout: String::new(),
                    stderr: String::from_utf8(output.stderr).unwrap(),
                }
            };
            if stage == "--migrate-only" {
                test.run(&["--import-only"]).exits(0);
            }
            match (is_archive, options.contains("inodes")) {
                (true, _) => {}
                (false, true) => disk.fill_inodes(),
                (false, false) => disk.fill(),
            }
            let ended = run(stage).exits(1).does_not_say("Retrying run");
            assert_says_where(&ended, &disk);
            assert_nobody_is_to_blame(&test, &disk, Place::Artdaqdb);
            assert_eq!(disk.temporary(), Vec::<PathBuf>::new());
            disk.make_room();
            run("").exits(0);
            assert_eq!((test.imported(), test.migrated()), (all.clone(), all));
            assert_eq!(disk.temporary(), Vec::<PathBuf>::new());
            assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
        }
    });
}
