//! What every artdaqDB promises, whatever it is made of.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::tools::ToolsDb;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::error::ErrorKind;
use run_record_archiver::run::{FclFile, Run};
use support::sshd::Sshd;
use support::tools::StandIns;
use support::{fcl, small_run, text_of};

/// Opens one and the same empty archive as often as it is called.
type Open = Box<dyn Fn() -> Arc<dyn ArtdaqDb>>;

/// Each implementation, with what keeps it alive.
fn every_database() -> Vec<(&'static str, Open, tempfile::TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("filesystemdb://{}/archive", directory.path().display());
    let mut databases: Vec<(&'static str, Open, tempfile::TempDir)> = vec![(
        "FilesystemDB",
        Box::new(move || Arc::new(FilesystemDb::new(&uri).unwrap())),
        directory,
    )];
    databases.extend(behind_the_tools());
    databases
}

/// A FilesystemDB behind stand-ins for the real tools, here and through ssh.
fn behind_the_tools() -> Vec<(&'static str, Open, tempfile::TempDir)> {
    let mut databases: Vec<(&'static str, Open, tempfile::TempDir)> = Vec::new();
    for (name, sshd) in [(TOOLS, None), (TOOLS_THROUGH_SSH, Sshd::start())] {
        let directory = tempfile::tempdir().unwrap();
        let uri = format!("filesystemdb://{}/archive", directory.path().display());
        let mut settings = StandIns::new(directory.path().join("tools")).settings();
        match &sshd {
            Some(sshd) => settings = sshd.through(settings),
            None if name == TOOLS_THROUGH_SSH => continue,
            None => {}
        }
        let open = move || -> Arc<dyn ArtdaqDb> {
            let _alive = &sshd;
            Arc::new(ToolsDb::filesystem(&uri, settings.clone()).unwrap())
        };
        databases.push((name, Box::new(open), directory));
    }
    databases
}

const TOOLS: &str = "the tools";
const TOOLS_THROUGH_SSH: &str = "the tools through ssh";

/// Whether documents show as they are inserted. The run is not whole before it
/// is published, all the same.
fn loads_at_once(name: &str) -> bool {
    [TOOLS, TOOLS_THROUGH_SSH].contains(&name)
}

fn for_every_database(test: impl Fn(&Open)) {
    for_every_named_database(|_, open| test(open));
}

fn for_every_named_database(test: impl Fn(&str, &Open)) {
    for (name, open, _alive) in every_database() {
        eprintln!("{name}");
        test(name, &open);
    }
}

/// What the same FHiCL reads back as.
fn regenerated(text: &str) -> String {
    run_record_archiver::fhicl::write(&run_record_archiver::fhicl::parse(text).unwrap())
}

fn assert_holds(db: &dyn ArtdaqDb, run: u64, files: &[FclFile]) {
    let stored = db.read(Run(run)).unwrap();
    let mut expected: Vec<FclFile> = files
        .iter()
        .map(|file| fcl(&file.entity, &regenerated(&file.text)))
        .collect();
    expected.sort_by(|one, other| one.entity.cmp(&other.entity));
    assert_eq!(stored.files, expected, "run {run}");
}

fn whole(runs: &[u64]) -> BTreeMap<Run, Presence> {
    runs.iter()
        .map(|run| (Run(*run), Presence::Whole))
        .collect()
}

#[test]
fn a_new_archive_is_empty() {
    for_every_database(|open| {
        assert_eq!(open().runs().unwrap(), BTreeMap::new());
        let error = open().read(Run(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(
            error.to_string().contains("run 1 is not archived"),
            "{error}"
        );
    });
}

#[test]
fn a_run_is_read_back_as_it_was_inserted() {
    for_every_database(|open| {
        let db = open();
        db.insert(Run(7), "Boot DAQ", &small_run(7)).unwrap();
        db.publish().unwrap();
        for db in [db, open()] {
            assert_eq!(db.runs().unwrap(), whole(&[7]));
            assert_eq!(db.read(Run(7)).unwrap().name, "Boot DAQ");
            assert_holds(db.as_ref(), 7, &small_run(7));
        }
    });
}

#[test]
fn nothing_is_visible_before_it_is_published() {
    for_every_named_database(|name, open| {
        let db = open();
        db.insert(Run(7), "c", &small_run(7)).unwrap();
        let seen = match loads_at_once(name) {
            true => [(Run(7), Presence::Partial)].into(),
            false => BTreeMap::new(),
        };
        assert_eq!(open().runs().unwrap(), seen);
        assert!(open().read(Run(7)).is_err());
        db.publish().unwrap();
        assert_eq!(open().runs().unwrap(), whole(&[7]));
    });
}

#[test]
fn a_run_that_was_never_published_can_be_inserted_again() {
    for_every_named_database(|name, open| {
        open().insert(Run(7), "c", &small_run(1)).unwrap();
        let db = open();
        db.insert(Run(7), "c", &small_run(2)).unwrap();
        db.publish().unwrap();
        // What is there already is kept.
        let kept = if loads_at_once(name) { 1 } else { 2 };
        assert_holds(open().as_ref(), 7, &small_run(kept));
    });
}

#[test]
fn an_update_adds_to_a_run_and_a_later_one_replaces_what_it_names() {
    for_every_database(|open| {
        let db = open();
        db.insert(Run(7), "c", &small_run(7)).unwrap();
        db.update(Run(7), &[fcl("RunHistory2", "start: \"now\"\n")])
            .unwrap();
        db.publish().unwrap();
        let mut files = small_run(7);
        files.push(fcl("RunHistory2", "start: \"now\"\n"));
        assert_holds(open().as_ref(), 7, &files);

        // Time stamps count milliseconds; the later update must be the later one.
        std::thread::sleep(std::time::Duration::from_millis(5));
        let db = open();
        db.update(
            Run(7),
            &[fcl("RunHistory2", "start: \"now\"\nstop: \"then\"\n")],
        )
        .unwrap();
        db.publish().unwrap();
        let files = open().read(Run(7)).unwrap().files;
        assert!(text_of(&files, "RunHistory2").contains("then"));
    });
}

#[test]
fn a_run_can_not_be_inserted_twice_nor_updated_before_it_is_there() {
    for_every_database(|open| {
        let db = open();
        let error = db
            .update(Run(7), &[fcl("RunHistory2", "a: 1\n")])
            .unwrap_err();
        assert!(
            error.to_string().contains("run 7 is not archived"),
            "{error}"
        );
        db.insert(Run(7), "c", &small_run(7)).unwrap();
        db.publish().unwrap();
        let error = open().insert(Run(7), "c", &small_run(8)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(
            error.to_string().contains("run 7 is archived already"),
            "{error}"
        );
        assert_holds(open().as_ref(), 7, &small_run(7));
    });
}

#[test]
fn another_run_is_never_returned() {
    for_every_database(|open| {
        let db = open();
        for run in [1, 10, 100, 11] {
            db.insert(Run(run), "c", &small_run(run)).unwrap();
        }
        db.publish().unwrap();
        for run in [1, 10, 100, 11] {
            assert_holds(db.as_ref(), run, &small_run(run));
        }
        for run in [0, 2, 101, 110] {
            assert!(db.read(Run(run)).is_err(), "run {run}");
        }
    });
}

#[test]
fn what_is_not_fhicl_is_refused_and_leaves_nothing() {
    for_every_database(|open| {
        let db = open();
        let mut files = small_run(7);
        files[1] = fcl("crt01", "hosts: [\"crt01\"\nb: 1\n");
        let error = db.insert(Run(7), "c", &files).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.to_string().contains("crt01.fcl"), "{error}");
        db.insert(Run(8), "c", &small_run(8)).unwrap();
        db.publish().unwrap();
        assert_eq!(open().runs().unwrap(), whole(&[8]));
    });
}

#[test]
fn many_threads_and_many_clients_lose_nothing() {
    const CLIENTS: u64 = 4;
    const THREADS: u64 = 2;
    for_every_named_database(|name, open| {
        // A connection takes half a second.
        let runs = if name == TOOLS_THROUGH_SSH { 1 } else { 10 };
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let db = open();
                for thread in 0..THREADS {
                    let db = Arc::clone(&db);
                    scope.spawn(move || {
                        for number in 0..runs {
                            let run = 1 + (client * THREADS + thread) * runs + number;
                            db.insert(Run(run), "c", &small_run(run)).unwrap();
                            db.publish().unwrap();
                        }
                    });
                }
            }
        });
        let db = open();
        let all: Vec<u64> = (1..=CLIENTS * THREADS * runs).collect();
        assert_eq!(db.runs().unwrap(), whole(&all));
        for run in all {
            assert_holds(db.as_ref(), run, &small_run(run));
        }
    });
}

#[test]
fn two_clients_that_insert_one_run_leave_it_once() {
    for_every_database(|open| {
        let (one, other) = (open(), open());
        one.insert(Run(7), "c", &small_run(7)).unwrap();
        other.insert(Run(7), "c", &small_run(7)).unwrap();
        one.publish().unwrap();
        other.publish().unwrap();
        assert_holds(open().as_ref(), 7, &small_run(7));
    });
}
