//! A real MongoDB that is down, hangs, drops connections or refuses: what the
//! archiver makes of it, and what it says.
#![cfg(feature = "mongodb")]

use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::mongod::{Kind, Mongod, free_port};
use crate::support::{fcl, small_run};
use mongodb::bson::{Document, doc};
use mongodb::sync::ClientSession;
use run_record_archiver::artdaqdb::mongo::MongoDb;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::error::{Disposition, Error};
use run_record_archiver::run::Run;

fn assert_whole_and_once(server: &Mongod, runs: u64) {
    let db = server.archive();
    let all = db.runs().unwrap();
    assert_eq!(all.len() as u64, runs);
    assert!(all.values().all(|presence| *presence == Presence::Whole));
    for run in all.keys() {
        assert_eq!(db.read(*run).unwrap().files.len(), 4, "run {run}");
    }
    assert_eq!(server.documents("RunHistory").len() as u64, 3 * runs);
    assert_eq!(server.documents("SystemLayout").len() as u64, runs);
}

fn assert_unreachable(error: &Error) {
    assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
    assert!(
        error.to_string().contains("Cannot reach MongoDB server"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_down_stops_the_stage_and_fails_no_run() {
    let uri = format!(
        "mongodb://127.0.0.1:{}/archive?serverSelectionTimeoutMS=700",
        free_port()
    );
    let started = Instant::now();
    let test = Test::new()
        .records_in(1..=3)
        .set("artdaq_db.database_uri", &uri);
    for mode in ["--incremental", "--import-only"] {
        test.run(&[mode])
            .exits(1)
            .says("ArtdaqDBError: mongodb://127.0.0.1:")
            .says("Cannot reach MongoDB server")
            .says("Connection refused")
            .says("artdaq_db.database_uri");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(test.failures("import_failures.log").is_empty());
    for entry in std::fs::read_dir(test.path().join("work")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("fail") && !name.contains("state"), "{name}");
    }
}

#[test]
fn a_server_that_dies_is_unreachable_until_it_is_back() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let Some(mut server) = Mongod::start(kind) else {
            return;
        };
        let db = MongoDb::new(&server.uri("serverSelectionTimeoutMS=1000")).unwrap();
        db.insert(Run(1), "c", &small_run(1)).unwrap();
        server.kill();
        let started = Instant::now();
        assert_unreachable(&db.insert(Run(2), "c", &small_run(2)).unwrap_err());
        assert_unreachable(&db.read(Run(1)).unwrap_err());
        assert_unreachable(&db.runs().unwrap_err());
        assert!(started.elapsed() < Duration::from_secs(10));

        server.restart();
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = db.insert(Run(2), "c", &small_run(2)) {
            // A replica set elects itself first.
            assert_ne!(error.disposition(), Disposition::FailRun, "{error}");
            assert!(Instant::now() < deadline, "{error}");
        }
        assert_whole_and_once(&server, 2);
    }
}

#[test]
fn a_server_that_hangs_does_not_hang_the_archiver() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let options = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000&heartbeatFrequencyMS=500";
    let db = MongoDb::new(&server.uri(options)).unwrap();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    server.signal("STOP");
    let started = Instant::now();
    let error = db.insert(Run(2), "c", &small_run(2)).unwrap_err();
    assert_ne!(error.disposition(), Disposition::FailRun, "{error}");
    assert_unreachable(&db.runs().unwrap_err());
    assert!(started.elapsed() < Duration::from_secs(20));
    server.signal("CONT");
    db.insert(Run(2), "c", &small_run(2)).unwrap();
    assert_whole_and_once(&server, 2);
}

#[test]
fn dropped_connections_lose_nothing_and_repeat_nothing() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let Some(server) = Mongod::start(kind) else {
            return;
        };
        let db = server.archive();
        let mut run = 0;
        for command in ["insert", "commitTransaction", "find", "distinct"] {
            for times in [1, 3] {
                server.fail(
                    doc! { "times": times },
                    doc! {
                        "failCommands": [command],
                        "closeConnection": true,
                        "appName": env!("CARGO_PKG_NAME"),
                    },
                );
                run += 1;
                eprintln!("{kind:?} {command} {times}");
                assert_eq!(db.runs().unwrap().len() as u64, run - 1);
                db.insert(Run(run), "c", &small_run(run)).unwrap();
                assert_whole_and_once(&server, run);
            }
        }
    }
}

#[test]
fn eight_workers_archive_everything_while_connections_drop() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    server.fail(
        doc! { "activationProbability": 0.1 },
        doc! {
            "failCommands": ["insert", "commitTransaction", "find"],
            "closeConnection": true,
            "appName": "eight_workers",
        },
    );
    let test = Test::new()
        .records_in(1..=40)
        .set(
            "artdaq_db.database_uri",
            &server.uri("appName=eight_workers"),
        )
        .set("app.parallel_workers", "8")
        .set("app.run_process_retries", "5")
        .set("app.batch_size", "100");
    test.run(&[])
        .exits(0)
        .says("Import Stage: Found 40 runs to import.")
        .says("✓ Run 40 migrated successfully");
    server.fail(doc! { "times": 0 }, doc! { "failCommands": ["insert"] });
    assert_eq!(test.migrated(), (1..=40).collect::<Vec<u64>>());
    let db = server.archive();
    let runs = db.runs().unwrap();
    assert_eq!(runs.len(), 40);
    let documents = server.documents("RunHistory").len();
    let files: usize = runs
        .keys()
        .map(|run| db.read(*run).unwrap().files.len())
        .sum();
    // Each file once.
    assert_eq!(documents + server.documents("SystemLayout").len(), files);
}

/// A run's documents come in several answers, and their server changes between two.
#[test]
fn a_run_is_read_anew_when_its_answers_break_off() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    let files: Vec<_> = (0..50)
        .map(|n| fcl(&format!("e{n:02}"), "a: 1\n"))
        .collect();
    let files = [small_run(1), files].concat();
    db.insert(Run(1), "c", &files).unwrap();
    let expected = db.read(Run(1)).unwrap();
    assert_eq!(expected.files.len(), files.len());
    // CursorNotFound, CursorKilled, NotWritablePrimary, InterruptedDueToReplStateChange.
    for code in [43, 237, 10107, 11602] {
        server.fail(
            doc! { "times": 2 },
            doc! {
                "failCommands": ["getMore"],
                "errorCode": code,
                "appName": env!("CARGO_PKG_NAME"),
            },
        );
        assert_eq!(db.read(Run(1)).unwrap(), expected, "{code}");
    }
    // One that never stops is told.
    server.fail(
        "alwaysOn",
        doc! { "failCommands": ["getMore"], "errorCode": 43, "appName": env!("CARGO_PKG_NAME") },
    );
    let error = db.read(Run(1)).unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryRun, "{error}");
    assert!(error.to_string().contains("read run 1"), "{error}");
    server.fail("off", Document::new());
}

/// The server commits, but its answer says that nobody knows.
#[test]
fn a_commit_whose_answer_is_lost_is_settled_by_the_next_attempt() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    server.fail(
        "alwaysOn",
        doc! {
            "failCommands": ["commitTransaction"],
            "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
            "appName": env!("CARGO_PKG_NAME"),
        },
    );
    let error = db.insert(Run(2), "c", &small_run(2)).unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryRun, "{error}");
    server.fail("off", Document::new());
    db.insert(Run(2), "c", &small_run(2)).unwrap();
    assert_whole_and_once(&server, 2);
    // Only once: from then on it is a run like any other.
    let error = db.insert(Run(2), "c", &small_run(3)).unwrap_err();
    assert!(error.to_string().contains("archived already"), "{error}");
}

#[test]
fn a_transaction_that_the_server_gives_up_is_begun_again() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    for (run, command, code) in [(1, "commitTransaction", 251), (2, "insert", 112)] {
        server.fail(
            doc! { "times": 2 },
            doc! {
                "failCommands": [command],
                "errorCode": code,
                "errorLabels": ["TransientTransactionError"],
                "appName": env!("CARGO_PKG_NAME"),
            },
        );
        db.insert(Run(run), "c", &small_run(run)).unwrap();
    }
    assert_whole_and_once(&server, 2);
}

/// An archiver that was killed in the middle leaves its transaction open.
#[test]
fn an_import_waits_for_a_transaction_that_was_left_open() {
    let Some(server) = Mongod::start_with(
        Kind::ReplicaSet,
        &["--setParameter", "transactionLifetimeLimitSeconds=2"],
    ) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    let client = server.client("");
    let collection = client
        .database("archive")
        .collection::<Document>("RunHistory");
    let stored = server.documents("RunHistory");
    collection.delete_many(doc! {}).run().unwrap();
    server
        .client("")
        .database("archive")
        .collection::<Document>("SystemLayout")
        .delete_many(doc! {})
        .run()
        .unwrap();
    let mut left_open: ClientSession = client.start_session().run().unwrap();
    left_open.start_transaction().run().unwrap();
    collection
        .insert_one(&stored[1])
        .session(&mut left_open)
        .run()
        .unwrap();

    let started = Instant::now();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    assert!(started.elapsed() > Duration::from_millis(500));
    assert_whole_and_once(&server, 1);
}

#[test]
fn a_wrong_password_is_a_clear_error_without_the_password() {
    let Some(mut server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let admin = server.client("").database("admin");
    let archiver = [
        doc! { "role": "readWrite", "db": "archive" },
        doc! { "role": "root", "db": "admin" },
    ];
    admin
        .run_command(doc! {
            "createUser": "archiver", "pwd": "right p@ss", "roles": archiver.to_vec(),
            "writeConcern": { "w": 1, "j": true },
        })
        .run()
        .unwrap();
    server.kill();
    server.restart_with(&["--auth"]);
    let uri = |user: &str, password: &str| {
        format!(
            "mongodb://{user}:{password}@127.0.0.1:{}/archive?authSource=admin",
            server.port()
        )
    };
    let db = MongoDb::new(&uri("archiver", "right%20p%40ss")).unwrap();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    assert_eq!(
        db.location(),
        format!("mongodb://127.0.0.1:{}/archive", server.port())
    );

    let wrong = uri("archiver", "swordfish%40x");
    let db = MongoDb::new(&wrong).unwrap();
    for error in [
        db.runs().unwrap_err(),
        db.read(Run(1)).unwrap_err(),
        db.insert(Run(2), "c", &small_run(2)).unwrap_err(),
    ] {
        assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
        let text = error.to_string();
        assert!(text.contains("refuses the credentials"), "{text}");
        assert!(text.contains("artdaq_db.database_uri"), "{text}");
        assert!(!format!("{error:?}{text}{db:?}").contains("swordfish"));
    }
    let test = Test::new().record(2).set("artdaq_db.database_uri", &wrong);
    test.run(&["--incremental", "-v"])
        .exits(1)
        .says("refuses the credentials")
        .does_not_say("swordfish");
    for entry in std::fs::read_dir(test.path().join("work")).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("swordfish"));
    }

    // Who may only read is told so, and can read without being able to make an index.
    let client = mongodb::sync::Client::with_uri_str(uri("archiver", "right%20p%40ss")).unwrap();
    client
        .database("admin")
        .run_command(doc! {
            "createUser": "reader", "pwd": "r", "roles": [{ "role": "read", "db": "archive" }],
        })
        .run()
        .unwrap();
    for name in ["RunHistory", "SystemLayout"] {
        let collection = client.database("archive").collection::<Document>(name);
        collection
            .drop_index("configurations.name_1")
            .run()
            .unwrap();
    }
    let db = MongoDb::new(&uri("reader", "r")).unwrap();
    assert_eq!(db.runs().unwrap().len(), 1);
    assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
    let error = db.insert(Run(2), "c", &small_run(2)).unwrap_err();
    assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
    assert!(error.to_string().contains("readWrite"), "{error}");
}

#[test]
fn a_uri_that_can_not_be_used_is_refused_without_what_is_secret() {
    for (uri, problem) in [
        ("mongodb://user:tuna@host", "names no database"),
        ("mongodb://user:tuna@host/", "names no database"),
        (
            "mongodb://user:tuna@host/db?maxPoolSize=many",
            "maxpoolsize",
        ),
        ("mongodb://user:tuna@host/db?maxPoolSise=2", "maxpoolsise"),
        ("mongodb://user:tuna@host:port/db", "port"),
        ("mongodb://user:tuna/fish@host/db", "%XX"),
        ("mongodb://user:tuna?fish@host/db", "%XX"),
        ("mongodb://user:tuna:fish@host/db", "%XX"),
        ("mongodb://user:tuna@fish@host/db", "%XX"),
        ("mongodb+srv://user:tuna@host:1/db", "port"),
        ("mongodb://", "host"),
    ] {
        let error = MongoDb::new(uri).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.disposition(), Disposition::StopStage);
        assert!(text.contains(problem), "{uri}: {text}");
        assert!(text.contains("artdaq_db.database_uri"), "{text}");
        assert!(!text.contains("tuna") && !text.contains("fish"), "{text}");
    }
    // What the C driver takes and this one does not have changes nothing.
    let db = MongoDb::new(
        "mongodb://a:b@one,two:27018/db?socketTimeoutMS=1&compressors=zlib&maxPoolSize=3",
    )
    .unwrap();
    assert_eq!(db.location(), "mongodb://one:27017,two:27018/db");
    assert_eq!(
        MongoDb::new("mongodb+srv://a:b@cluster.example.org/db")
            .unwrap()
            .location(),
        "mongodb+srv://cluster.example.org/db"
    );
}
