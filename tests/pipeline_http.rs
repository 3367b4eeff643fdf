//! The pipeline by the binary itself, to a UconDB over HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, Tls, Transport, USER, UconDbServer,
};
use crate::support::{send, wait_until};
use run_record_archiver::blob;
use rustix::process::Signal;

/// What the log calls its last line but one, of an execution without failures.
const SUCCESS: &str = "✓ EXECUTION COMPLETED SUCCESSFULLY";

/// An archiver whose UconDB is this server.
fn archiver(server: &UconDbServer) -> Test {
    Test::new()
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "10")
        .set("app.batch_size", "0")
}

fn start(transport: Transport) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        ..Options::default()
    })
}

/// How many versions each key has had: replaced ones have no key, but their tag.
fn versions_of(server: &UconDbServer) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for version in server.versions(OBJECT) {
        let [tag] = &version.tags[..] else {
            panic!("{:?}", version.tags);
        };
        *counts.entry(tag.parse().unwrap()).or_default() += 1;
    }
    counts
}

/// Every one of these runs is there, once, and readable.
#[track_caller]
fn assert_each_once(server: &UconDbServer, runs: impl Iterator<Item = u64>) {
    let expected: BTreeMap<u64, usize> = runs.map(|run| (run, 1)).collect();
    assert_eq!(versions_of(server), expected);
    for (run, stored) in server.blobs(OBJECT) {
        let text = String::from_utf8(stored).unwrap();
        assert!(text.contains(&format!("Run Number: {run}\n")), "run {run}");
        assert!(blob::unpack(&text).unwrap().len() >= 5, "run {run}");
    }
}

/// Everything that the archiver wrote into its work directory.
fn written(test: &Test) -> String {
    let files = fs::read_dir(test.work("")).unwrap();
    files
        .map(|entry| String::from_utf8(fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect()
}

#[test]
fn runs_get_there_on_any_front_end() {
    for (transport, tls) in [
        (Transport::Bare, Tls::Off),
        (Transport::KeepAlive, Tls::Off),
        (Transport::Chunked, Tls::On),
        (Transport::Bare, Tls::WithoutCloseNotify),
    ] {
        let server = UconDbServer::start(Options {
            transport,
            tls,
            ..Options::default()
        });
        let mut test = archiver(&server).records_in(1..=12);
        if tls != Tls::Off {
            test.run(&["--incremental"])
                .exits(1)
                .says("no trusted TLS connection")
                .says("ucon_db.ca_file");
            assert!(server.requests().is_empty());
            let ca = test.path().join("ca.pem");
            server.write_ca(&ca);
            test = test.set("ucon_db.ca_file", &ca.display().to_string());
        }
        test.run(&["--incremental", "--validate"])
            .exits(0)
            .says("✓ Run 12 migrated successfully")
            .says("✓ Run 12: blob validation passed")
            .does_not_say("verify_tls")
            .says(SUCCESS);
        assert_each_once(&server, 1..=12);
        // One body for each run, and one more for the challenge of an empty archive.
        assert_eq!(server.count("POST", "/data/"), 13);
        assert_eq!(server.count("GET", "/data/"), 12, "each read back");
        assert_eq!(test.state("migrator_state.json"), (12, 12));

        // The listing before was of an empty archive.
        test.run(&["--incremental"]).exits(0);
        let test = test.records_in(13..=14);
        server.forget_requests();
        test.run(&["--incremental", "-v"])
            .exits(0)
            .says("ucondb_listing_ev01.json")
            .says(SUCCESS);
        assert_eq!(server.count("GET", "tr_since"), 1);
        assert_eq!(server.count("GET", "/versions?"), 1);
        assert_each_once(&server, 1..=14);
        server.forget_requests();
        for arguments in [&["--dry-run", "--incremental"][..], &[], &["--verify"]] {
            test.run(arguments).exits(0).does_not_say("→ Processing");
        }
        assert_eq!(server.count("GET", "tr_since"), 0, "only incremental ones");
        assert_eq!(server.count("GET", "/versions?"), 3);
        assert!(!written(&test).contains(PASSWORD));
    }
}

#[test]
fn a_lost_listing_costs_a_full_one() {
    let server = start(Transport::Bare);
    let test = archiver(&server).records_in(1..=3);
    test.run(&["--incremental"]).exits(0);
    for text in [None, Some("")] {
        match text {
            None => fs::remove_file(test.work("ucondb_listing_ev01.json")).unwrap(),
            Some(text) => fs::write(test.work("ucondb_listing_ev01.json"), text).unwrap(),
        }
        server.forget_requests();
        test.run(&["--incremental"])
            .exits(0)
            .says("No new runs to migrate");
        assert_eq!(server.count("GET", "tr_since"), 0);
        assert_eq!(server.count("GET", "/versions?"), 1);
    }
}

#[test]
fn a_restored_server_gets_back_what_it_lost() {
    let server = start(Transport::Bare);
    let test = archiver(&server).records_in(1..=6);
    for _ in 0..2 {
        test.run(&["--incremental"]).exits(0);
    }
    let mut versions = server.versions(OBJECT);
    versions.truncate(4);
    let lost: Vec<u64> = (1..=6)
        .filter(|run| !versions.iter().any(|v| v.key == Some(run.to_string())))
        .collect();
    server.set_versions(OBJECT, versions);
    test.run(&["--incremental"])
        .exits(0)
        .says("restored from a backup")
        .says(&format!("✓ Run {} migrated successfully", lost[0]))
        .says(&format!("✓ Run {} migrated successfully", lost[1]));
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert_each_once(&server, 1..=6);
}

#[test]
fn wrong_credentials_stop_the_stage_and_the_password_is_nowhere() {
    const WRONG: &str = "a-wrong-swordfish";
    let server = start(Transport::Bare);
    server.put(OBJECT, Some("1"), b"there before");
    let test = archiver(&server)
        .records_in(2..=20)
        .set("ucon_db.writer_password", WRONG)
        .set("app.log_level", "DEBUG");
    let ended = test
        .run(&["--incremental", "-v"])
        .exits(1)
        .says("UconDB refused user \"writer\" for folder \"ev01\"")
        .says("ucon_db.writer_password")
        .says("they are neither failed nor attempted")
        .does_not_say("Retrying run")
        .does_not_say(WRONG);
    assert!(!ended.stdout.contains(WRONG));
    assert!(!written(&test).contains(WRONG));
    assert_eq!(server.body_bytes_received(), 0);
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert_eq!(test.state("migrator_state.json"), (1, 1));

    // The very same command once it is right; stalled, so that it can be looked at.
    let test = test.set("ucon_db.writer_password", &format!("'{PASSWORD}'"));
    server.fault(Fault::on("GET", "/versions").then(Action::Delay(Duration::from_secs(1))));
    server.forget_requests();
    let mut child = test.start(&["--incremental", "-v"]);
    wait_until("its listing", || server.count("GET", "/versions") > 0);
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(arguments.contains("--incremental"), "{arguments}");
    assert!(!arguments.contains(PASSWORD), "{arguments}");
    assert!(child.wait().unwrap().success());
    assert_eq!(server.blobs(OBJECT).len(), 20);
    assert!(!written(&test).contains(PASSWORD));
    assert_eq!(test.state("migrator_state.json"), (20, 20));
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let server = start(Transport::Bare);
    let test = archiver(&server)
        .records_in(1..=5)
        .set("ucon_db.folder_name", "ev02");
    test.run(&["--incremental"])
        .exits(1)
        .says("UconDB has no folder \"ev02\"")
        .says("check ucon_db.folder_name");
    assert_eq!(server.count("POST", ""), 0);
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert!(!test.work("migrator_state.json").exists());
    let test = test.set("ucon_db.folder_name", FOLDER);
    test.run(&["--incremental"]).exits(0);
    assert_each_once(&server, 1..=5);
}

#[test]
fn a_server_that_goes_down_stops_the_stage_and_the_next_execution_goes_on() {
    let mut server = start(Transport::KeepAlive);
    let test = archiver(&server)
        .records_in(1..=60)
        .set("app.parallel_workers", "4");
    test.run(&["--import-only"]).exits(0);
    // As slow as a real one, so that it goes down among them.
    let slow = Action::Delay(Duration::from_millis(50));
    server.fault(Fault::on("POST", "/data/").always().then(slow));
    let mut child = test.start(&["--migrate-only"]);
    wait_until("some uploads", || server.versions(OBJECT).len() >= 20);
    server.go_down();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    assert!(log.contains("the server can't be reached"), "{log}");
    assert!(
        log.contains("they are neither failed nor attempted"),
        "{log}"
    );
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert!(server.versions(OBJECT).len() < 60);
    test.run(&["--migrate-only", "--incremental"])
        .exits(1)
        .says("the server can't be reached");

    server.come_back();
    server.no_faults();
    test.run(&["--migrate-only"]).exits(0).says(SUCCESS);
    assert_each_once(&server, 1..=60);
    assert_eq!(test.state("migrator_state.json"), (60, 60));
}

#[test]
fn unverified_tls_is_said_every_time() {
    let server = UconDbServer::start(Options {
        tls: Tls::On,
        ..Options::default()
    });
    let test = archiver(&server)
        .records_in(1..=2)
        .set("ucon_db.verify_tls", "false");
    for _ in 0..3 {
        let ended = test.run(&["--incremental"]).exits(0);
        assert_eq!(
            ended.stderr.matches("ucon_db.verify_tls is false").count(),
            1
        );
    }
    assert_each_once(&server, 1..=2);
}

#[test]
fn a_late_stop_time_makes_one_new_version() {
    const STOP_LINE: &str = "DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";
    let server = start(Transport::Bare);
    let test = archiver(&server).records_in(1..=3);
    let metadata = test.records().join("2/metadata.txt");
    let ended = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, ended.replace(STOP_LINE, "")).unwrap();
    test.run(&["--incremental"]).exits(0);
    let stored = |run: &str| String::from_utf8(server.blobs(OBJECT)[run].clone()).unwrap();
    assert!(!stored("2").contains("DAQInterface_stop_time"));
    fs::write(&metadata, ended).unwrap();
    // Its answer is lost on top of it.
    server.fault(Fault::on("POST", "override=yes").then(Action::LoseAnswer));
    for _ in 0..3 {
        test.run(&["--incremental"]).exits(0);
    }
    assert!(stored("2").contains("DAQInterface_stop_time"));
    assert_eq!(server.count("POST", "override=yes"), 1);
    assert_eq!(versions_of(&server), [(1, 1), (2, 2), (3, 1)].into());
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
}

/// Faults of every kind that passes, for one request in ten.
fn storm(server: &UconDbServer, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for request in 0..10_000 {
        if random.u8(..10) > 0 {
            continue;
        }
        server.fault(match random.u8(..12) {
            10 => Fault::on_blob(request).then(Action::DropHeaders),
            11 => Fault::on_blob(request).then(Action::ChangeAnswer),
            _ => Fault::passing(request, &mut random),
        });
    }
}

#[test]
fn of_a_thousand_runs_in_a_storm_none_is_lost_and_none_is_there_twice() {
    const RUNS: std::ops::RangeInclusive<u64> = 1..=1000;
    let imported = Test::new()
        .records_in(RUNS)
        .set("app.batch_size", "0")
        .set("app.parallel_workers", "8");
    imported.run(&["--import-only"]).exits(0);
    let archive = imported.path().join("archive");
    for transport in [Transport::KeepAlive, Transport::Bare] {
        let server = start(transport);
        let test = archiver(&server)
            .set(
                "artdaq_db.database_uri",
                &format!("filesystemdb://{}", archive.display()),
            )
            .set("app.parallel_workers", "16")
            .set("ucon_db.timeout_seconds", "1");
        storm(&server, 20_260_318);
        let started = Instant::now();
        let ended = test
            .run(&["--migrate-only", "--incremental"])
            .does_not_say("neither failed nor attempted");
        let retries = ended.stderr.matches("trying again in").count();
        assert!(retries > 150, "{retries}");
        // What failed as often as it may be tried is taken again by an operator.
        for _ in 0..3 {
            if test.failures("migrate_failures.log").is_empty() {
                break;
            }
            test.run(&["--retry-failed-migrate"]);
        }
        let (took, requests) = (started.elapsed(), server.requests().len());
        println!("{transport:?}: {took:?}, {requests} requests, {retries} made again");
        assert_each_once(&server, RUNS);
        assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
        assert_eq!(test.state("migrator_state.json"), (1000, 1000));
    }
}

#[test]
fn two_archivers_store_each_run_once() {
    const RUNS: std::ops::RangeInclusive<u64> = 1..=100;
    let server = start(Transport::Bare);
    let tests: [Test; 2] = std::array::from_fn(|_| {
        archiver(&server)
            .records_in(RUNS)
            .set("app.parallel_workers", "4")
    });
    for test in &tests {
        test.run(&["--import-only"]).exits(0);
    }
    let wait = Action::Delay(Duration::from_secs(2));
    server.fault(Fault::on("GET", "/versions").times(2).then(wait));
    let logs = thread::scope(|scope| {
        let running = tests
            .each_ref()
            .map(|test| scope.spawn(|| test.run(&["--migrate-only", "--incremental"]).exits(0)));
        running.map(|archiver| archiver.join().unwrap().stderr)
    });
    assert_each_once(&server, RUNS);
    let met = logs
        .iter()
        .map(|log| {
            log.matches("is in UconDB already, with the same content")
                .count()
        })
        .sum::<usize>();
    // Both began with an empty listing.
    assert!((1..=100).contains(&met), "{met}");
    for test in &tests {
        assert_eq!(test.state("migrator_state.json"), (100, 100));
        assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    }
}

#[test]
fn a_signal_ends_the_pauses_between_attempts() {
    for (transport, retries) in [(Transport::Bare, "0"), (Transport::KeepAlive, "2")] {
        let server = start(transport);
        let test = archiver(&server)
            .records_in(1..=8)
            .set("app.run_process_retries", retries)
            .set("app.parallel_workers", "4");
        test.run(&["--import-only"]).exits(0);
        let busy = Reply::text(503, "Service unavailable").header("Retry-After", "20");
        server.fault(Fault::on("", "/data/").always().then(Action::Answer(busy)));
        let mut child = test.start(&["--migrate-only", "--incremental"]);
        wait_until("the pauses", || {
            let log = fs::read_to_string(test.work("archiver.log")).unwrap_or_default();
            log.matches("trying again in 2").count() >= 4
        });
        let started = Instant::now();
        send(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        let log = fs::read_to_string(test.work("archiver.log")).unwrap();
        assert!(
            log.contains("Run 1 is left for the next execution"),
            "{log}"
        );
        assert!(
            log.contains("8 run(s) were left because of the shutdown"),
            "{log}"
        );
        assert_eq!(test.failures("migrate_failures.log"), [0; 0]);

        server.no_faults();
        test.run(&["--migrate-only", "--incremental"]).exits(0);
        assert_each_once(&server, 1..=8);
    }
}
