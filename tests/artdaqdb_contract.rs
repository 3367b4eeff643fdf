//! What every artdaqDB promises, whatever it is made of.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::sshd::Sshd;
use crate::support::tools::StandIns;
use crate::support::{fcl, small_run, text_of};
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::tools::ToolsDb;
use run_record_archiver::artdaqdb::{self, ArtdaqDb, ArtdaqUri, Inserted, Presence};
use run_record_archiver::error::Disposition;
use run_record_archiver::run::{FclFile, Run};
use run_record_archiver::shutdown::Shutdown;
use run_record_archiver::sys::url::InvalidAddress;

/// Opens one and the same empty archive as often as it is called.
type Open = Box<dyn Fn() -> Arc<dyn ArtdaqDb>>;

/// An implementation to try.
struct Database {
    name: &'static str,
    open: Open,
    /// Whether what is inserted stays invisible up to `publish`.
    waits_for_publish: bool,
    /// Whether a run shows as partial before it is published.
    loads_at_once: bool,
    /// How many runs each thread can insert in reasonable time.
    patience: u64,
    /// What keeps it alive.
    _alive: Box<dyn Any>,
}

fn filesystem() -> Database {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("filesystemdb://{}/archive", directory.path().display());
    Database {
        name: "FilesystemDB",
        open: Box::new(move || Arc::new(FilesystemDb::new(&uri).unwrap())),
        waits_for_publish: true,
        loads_at_once: false,
        patience: 10,
        _alive: Box::new(directory),
    }
}

/// A FilesystemDB behind stand-ins for the real tools, here or through ssh.
fn tools(sshd: Option<Sshd>) -> Database {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("filesystemdb://{}/archive", directory.path().display());
    let mut settings = StandIns::new(directory.path().join("tools")).settings();
    if let Some(sshd) = &sshd {
        settings = sshd.through(settings);
    }
    Database {
        name: if sshd.is_some() {
            "the tools through ssh"
        } else {
            "the tools"
        },
        open: Box::new(move || Arc::new(ToolsDb::filesystem(&uri, settings.clone()).unwrap())),
        waits_for_publish: false,
        loads_at_once: true,
        // A connection takes half a second.
        patience: if sshd.is_some() { 1 } else { 10 },
        _alive: Box::new((directory, sshd)),
    }
}

#[cfg(feature = "mongodb")]
fn mongodb(name: &'static str, kind: crate::support::mongod::Kind) -> Option<Database> {
    use run_record_archiver::artdaqdb::mongo::MongoDb;

    let server = crate::support::mongod::Mongod::start(kind)?;
    let uri = server.uri("");
    Some(Database {
        name,
        open: Box::new(move || Arc::new(MongoDb::new(&uri).unwrap())),
        waits_for_publish: false,
        loads_at_once: false,
        patience: 10,
        _alive: Box::new(server),
    })
}

/// Runs a test on each implementation, on a new archive.
fn for_every_database(test: impl Fn(&Database)) {
    let run = |database: Option<Database>| {
        if let Some(database) = database {
            eprintln!("{}", database.name);
            test(&database);
        }
    };
    run(Some(filesystem()));
    run(Some(tools(None)));
    run(Sshd::start().map(|sshd| tools(Some(sshd))));
    #[cfg(feature = "mongodb")]
    {
        use crate::support::mongod::Kind;
        run(mongodb("MongoDB, a replica set", Kind::ReplicaSet));
        run(mongodb("MongoDB, one server", Kind::Standalone));
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
    for_every_database(|Database { open, .. }| {
        assert_eq!(open().runs().unwrap(), BTreeMap::new());
        let error = open().read(Run(1)).unwrap_err();
        assert_eq!(error.disposition(), Disposition::FailRun);
        assert!(
            error.to_string().contains("run 1 is not archived"),
            "{error}"
        );
    });
}

#[test]
fn a_run_is_read_back_as_it_was_inserted() {
    for_every_database(|Database { open, .. }| {
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
fn a_run_is_visible_wholly_with_publish_at_the_latest() {
    for_every_database(|database| {
        let open = &database.open;
        let db = open();
        db.insert(Run(7), "c", &small_run(7)).unwrap();
        let before = open().runs().unwrap();
        if database.loads_at_once {
            assert_eq!(before, BTreeMap::from([(Run(7), Presence::Partial)]));
            assert!(open().read(Run(7)).is_err());
        } else if database.waits_for_publish || before.is_empty() {
            assert_eq!(before, BTreeMap::new());
            assert!(open().read(Run(7)).is_err());
        } else {
            assert_eq!(before, whole(&[7]));
            assert_holds(open().as_ref(), 7, &small_run(7));
        }
        db.publish().unwrap();
        assert_eq!(open().runs().unwrap(), whole(&[7]));
        assert_holds(open().as_ref(), 7, &small_run(7));
    });
}

/// As after a crash between the two.
#[test]
fn a_run_that_was_never_published_can_be_inserted_again_or_is_there() {
    for_every_database(|database| {
        let open = &database.open;
        open().insert(Run(7), "c", &small_run(1)).unwrap();
        let db = open();
        if database.loads_at_once {
            // What is there already is kept.
            db.insert(Run(7), "c", &small_run(1)).unwrap();
            db.publish().unwrap();
            assert_holds(open().as_ref(), 7, &small_run(1));
        } else if database.waits_for_publish || db.runs().unwrap().is_empty() {
            db.insert(Run(7), "c", &small_run(2)).unwrap();
            db.publish().unwrap();
            assert_holds(open().as_ref(), 7, &small_run(2));
        } else {
            let error = db.insert(Run(7), "c", &small_run(2)).unwrap_err();
            assert!(error.to_string().contains("archived already"), "{error}");
            assert_holds(open().as_ref(), 7, &small_run(1));
        }
    });
}

#[test]
fn a_run_that_is_partly_there_is_completed() {
    for_every_database(|database| {
        let open = &database.open;
        let files = small_run(7);
        let (schema, others) = files.split_last().unwrap();
        assert_eq!(schema.entity, "schema");
        let db = open();
        let mut old = others.to_vec();
        if !database.loads_at_once {
            // The tools are given what is lacking, and never what differs.
            old[0] = fcl("tpc01", "mark: 1\n");
        }
        db.insert(Run(7), "c", &old).unwrap();
        db.publish().unwrap();

        let db = open();
        assert_eq!(
            db.runs().unwrap(),
            BTreeMap::from([(Run(7), Presence::Partial)])
        );
        let error = db.read(Run(7)).unwrap_err().to_string();
        assert!(
            error.contains("in part only") && error.contains("--import-only"),
            "{error}"
        );
        // Time stamps count milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(5));
        db.insert(Run(7), "other", &files).unwrap();
        db.publish().unwrap();
        let db = open();
        assert_eq!(db.runs().unwrap(), whole(&[7]));
        assert_eq!(db.read(Run(7)).unwrap().name, "c");
        assert_holds(db.as_ref(), 7, &files);
    });
}

#[test]
fn an_update_adds_to_a_run_and_a_later_one_replaces_what_it_names() {
    for_every_database(|Database { open, .. }| {
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
    for_every_database(|Database { open, .. }| {
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
        assert_eq!(error.disposition(), Disposition::FailRun);
        assert!(
            error.to_string().contains("run 7 is archived already"),
            "{error}"
        );
        assert_holds(open().as_ref(), 7, &small_run(7));
        // The same is no conflict.
        for db in [db, open()] {
            let inserted = db.insert(Run(7), "c", &small_run(7)).unwrap();
            assert_eq!(inserted, Inserted::Before);
            assert!(db.publish().unwrap().is_empty());
        }
        assert_holds(open().as_ref(), 7, &small_run(7));
    });
}

#[test]
fn another_run_is_never_returned() {
    for_every_database(|Database { open, .. }| {
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
    for_every_database(|Database { open, .. }| {
        let db = open();
        let mut files = small_run(7);
        files[1] = fcl("crt01", "hosts: [\"crt01\"\nb: 1\n");
        let error = db.insert(Run(7), "c", &files).unwrap_err();
        assert_eq!(error.disposition(), Disposition::FailRun);
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
    for_every_database(|Database { open, patience, .. }| {
        let runs = *patience;
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
    for_every_database(|Database { open, .. }| {
        let (one, other) = (open(), open());
        one.insert(Run(7), "c", &small_run(7)).unwrap();
        other.insert(Run(7), "c", &small_run(7)).unwrap();
        assert!(one.publish().unwrap().is_empty());
        assert!(other.publish().unwrap().is_empty());
        assert_holds(open().as_ref(), 7, &small_run(7));
    });
}

#[test]
fn names_that_only_fhicl_has_are_kept() {
    for_every_database(|Database { open, .. }| {
        let files = vec![
            fcl(
                "tpc01",
                "crt.threshold: 5\na.b.c: { d.e: [1, { f.g: 2 }] }\n_id: 1\nname: \"$x\"\n\
                 empty: {}\nnone: []\nlong: \"a\\tb\\\\c\\\"d\"\nutf: \"ü µ\"\n",
            ),
            fcl(
                "twice",
                "a: 1\nb: { x: 1 }\na: { y: 2 }\nb: { z: 3 }\na: 3\n",
            ),
            fcl("schema", "artdaq_processes: []\n"),
        ];
        let db = open();
        db.insert(Run(7), "c.d $e", &files).unwrap();
        db.publish().unwrap();
        assert_eq!(open().read(Run(7)).unwrap().name, "c.d $e");
        assert_holds(open().as_ref(), 7, &files);
    });
}

#[test]
fn a_uri_is_opened_by_its_scheme_and_never_shown() {
    let open = |uri: &str| {
        let uri = ArtdaqUri::parse(uri)?;
        Ok::<_, InvalidAddress>(artdaqdb::open(&uri, None, &Shutdown::default()))
    };
    assert!(open("filesystemdb:///data/archive").is_ok());
    let mongodb = open("mongodb://user:tuna@host/archive");
    if cfg!(feature = "mongodb") {
        assert_eq!(mongodb.unwrap().location(), "mongodb://host:27017/archive");
        assert!(open("mongodb+srv://user:tuna@host.example.org/archive").is_ok());
    } else {
        let Err(error) = mongodb else {
            panic!("opened without the feature");
        };
        assert!(
            error.to_string().contains("built without MongoDB"),
            "{error}"
        );
        assert!(!error.to_string().contains("tuna"), "{error}");
    }
    for (uri, problem) in [
        ("ftp://user:tuna@host/x", "ftp"),
        ("user:tuna", "no scheme"),
    ] {
        let Err(error) = open(uri) else {
            panic!("{uri} was opened");
        };
        let text = error.to_string();
        assert!(text.contains(problem) && !text.contains("tuna"), "{text}");
        let error = FilesystemDb::new(uri).unwrap_err();
        assert_eq!(error.disposition(), Disposition::StopStage);
        assert!(!error.to_string().contains("tuna"), "{error}");
    }
}
