//! Stores that fail for real: a disk that is unmounted at work, a MongoDB whose disk
//! is full or that is no longer the primary. No run counts as failed for that.

use std::fs;
use std::time::Duration;

use mongodb::bson::doc;
use run_record_archiver::artdaqdb::ArtdaqDb;

use crate::support::archiver::Test;
use crate::support::disk::{Disk, Mounted, with_mounts};
use crate::support::mongod::{Kind, Mongod};
use crate::support::wait_until;

const HOURLY: &[&str] = &["--incremental", "--quiet"];

#[track_caller]
fn no_run_counts_as_failed(test: &Test) {
    for log in ["import_failures.log", "migrate_failures.log"] {
        assert_eq!(test.failures(log), [0; 0], "{log}");
    }
}

#[test]
fn a_disk_that_is_unmounted_at_work() {
    with_mounts(module_path!(), "a_disk_that_is_unmounted_at_work", || {
        for (name, stage) in [
            ("run_records", "importer"),
            ("archive", "importer"),
            ("ucondb", "migrator"),
        ] {
            let test = Test::new()
                .records_in(1..=60)
                .set("app.batch_size", "0")
                .set("app.run_process_retries", "0");
            test.run(&["--runs", "1-3"]).exits(0);
            let (place, disk) = (test.path().join(name), test.path().join("disk"));
            fs::rename(&place, &disk).unwrap();
            fs::create_dir(&place).unwrap();
            let mounted = Mounted::new(&disk, &place);
            let log = test.work("archiver.log");
            let mut child = test.start(&["--incremental"]);
            let working = format!("run_record_archiver.{stage} - INFO - → Processing run 9 ");
            wait_until("run 9", || {
                fs::read_to_string(&log).is_ok_and(|log| log.contains(&working))
            });
            mounted.unmount();
            let code = child.wait().unwrap().code();
            no_run_counts_as_failed(&test);
            // It may have been quicker.
            let is_done = test_is_done(&disk, &test, name);
            assert_eq!(code, Some(i32::from(!is_done)), "{name}");
            test.run(HOURLY).exits(1).says("is it mounted?");
            no_run_counts_as_failed(&test);
            assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "{name}");
            mounted.mount(&disk);
            test.run(HOURLY).exits(0);
            assert_eq!(test.migrated().len(), 60, "{name}");
        }
    });
}

/// Whether everything was archived before the disk went away.
fn test_is_done(disk: &std::path::Path, test: &Test, name: &str) -> bool {
    let mounted = Mounted::new(disk, &test.path().join(name));
    let is_done = test.migrated().len() == 60;
    drop(mounted);
    is_done
}

#[test]
fn a_mongodb_without_room_and_one_that_stepped_down() {
    let name = "a_mongodb_without_room_and_one_that_stepped_down";
    with_mounts(module_path!(), name, || {
        let disk = Disk::new("size=512m");
        let Some(mut server) = Mongod::start_in(Kind::ReplicaSet, disk.path()) else {
            return;
        };
        let uri = server.uri("directConnection=true&serverSelectionTimeoutMS=2000");
        let mut test = Test::new()
            .set("artdaq_db.database_uri", &uri)
            .set("app.run_process_retries", "0")
            .set("app.batch_size", "0")
            .records_in(1..=4);
        test.run(&["--incremental"]).exits(0);

        test = test.records_in(5..=8);
        server.step_down(600);
        for _ in 0..2 {
            test.run(HOURLY).exits(1);
            no_run_counts_as_failed(&test);
        }
        server.step_up();
        test.run(HOURLY).exits(0);
        assert_eq!(test.migrated().len(), 8);

        test = test.records_in(9..=40);
        disk.fill();
        let admin = server.client("directConnection=true&serverSelectionTimeoutMS=2000");
        for _ in 0..4 {
            // It can store a little more, until it writes a checkpoint.
            test.run(HOURLY);
            no_run_counts_as_failed(&test);
            let _ = admin
                .database("admin")
                .run_command(doc! { "fsync": 1 })
                .run();
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(server.has_ended(), "a mongod ends when its disk is full");
        test.run(HOURLY).exits(1);
        no_run_counts_as_failed(&test);

        fs::remove_file(disk.path().join("filler")).unwrap();
        disk.make_room();
        server.restart();
        for _ in 0..2 {
            test.run(HOURLY).exits(0);
        }
        assert_eq!(server.archive().runs().unwrap().len(), 40);
        assert_eq!(test.migrated().len(), 40);
    });
}
