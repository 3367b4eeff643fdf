//! Many hands on one archive: importers, migrators and rebuilds of the index at the
//! same time, each with a work directory of its own, with kills and without. In the
//! end every run is there once, in artdaqDB and in UconDB, with all of its files.
//!
//! Twenty rounds; two hundred with `RUN_RECORD_ARCHIVER_LONG=1`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use run_record_archiver::artdaqdb::{ArtdaqDb, NativeDb};
use run_record_archiver::blob;
use run_record_archiver::run::Run;
use rustix::process::Signal;

use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    FOLDER, OBJECT, Options, PASSWORD, Transport, USER, UconDbServer,
};
use crate::support::{is_long, seed, send};

const RUNS: u64 = 40;
/// The .fcl files that a record has beside those of every test.
const MORE: usize = 8;
/// The documents of a run.
const FILES: usize = MORE + 6;
/// How often an importer is killed at most.
const KILLS: usize = 3;

fn on_server(test: Test, server: &UconDbServer) -> Test {
    test.set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("app.parallel_workers", "2")
        .set("app.batch_size", "0")
}

/// The site: its records, its archive, and all who work on it.
struct Site {
    server: UconDbServer,
    importers: [Test; 2],
    migrators: [Test; 2],
    rebuilder: Test,
}

impl Site {
    fn new() -> Site {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        });
        server.keep_no_requests();
        let first = on_server(Test::in_memory().records_in(1..=RUNS), &server);
        for run in 1..=RUNS {
            for number in 0..MORE {
                let file = first.records().join(format!("{run}/more{number}.fcl"));
                fs::write(file, format!("x: {number}\ny: {{ run: {run} }}\n")).unwrap();
            }
        }
        let uri = format!("filesystemdb://{}", archive(&first).display());
        let schema = first.path().join("schema").display().to_string();
        let records = first.records();
        let beside = || {
            on_server(Test::in_memory(), &server)
                .records_of(&records)
                .set("artdaq_db.database_uri", &uri)
                .set("artdaq_db.fcl_conf_dir", &schema)
        };
        // The archive is there before anybody rebuilds its index.
        let site = Site {
            importers: [beside(), beside()],
            migrators: [beside(), beside()],
            rebuilder: first,
            server,
        };
        site.rebuilder
            .run(&["--import-only", "--runs", "1"])
            .exits(0);
        site
    }

    fn archive(&self) -> std::path::PathBuf {
        archive(&self.rebuilder)
    }

    /// Whether a load is just getting its names.
    fn is_publishing(&self) -> bool {
        let entries = fs::read_dir(self.archive()).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_str().unwrap().contains(".load."))
    }

    /// Imports, and is killed on the way some times.
    fn import(&self, test: &Test, random: &mut Rng, kills: usize) -> usize {
        let mut killed = 0;
        for _ in 0..kills {
            let mut child = test.start(&["--import-only"]);
            let waits_for_load = random.bool();
            let delay = Duration::from_millis(random.u64(1..400));
            let started = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if started.elapsed() > delay && (!waits_for_load || self.is_publishing()) {
                    sleep(Duration::from_micros(random.u64(..3000)));
                    killed += usize::from(kill(&mut child));
                    break;
                }
                sleep(Duration::from_micros(200));
            }
        }
        test.run(&["--import-only"]).exits(0);
        killed
    }

    fn work(&self, random: &mut Rng, kills: usize) -> [usize; 3] {
        let is_importing = AtomicBool::new(true);
        let counts = [const { AtomicUsize::new(0) }; 3];
        let [killed, rebuilt, migrated] = &counts;
        let mut randoms = [random.fork(), random.fork()];
        let mut random = random.fork();
        let is_importing = &is_importing;
        scope(|scope| {
            let mut importers = Vec::new();
            for (test, random) in self.importers.iter().zip(&mut randoms) {
                importers.push(scope.spawn(move || self.import(test, random, kills)));
            }
            let random = &mut random;
            scope.spawn(move || {
                while is_importing.load(Ordering::SeqCst) {
                    let mut child = self.rebuilder.start(&["--rebuild-index", "--yes"]);
                    if kills > 0 && random.u8(..4) == 0 {
                        sleep(Duration::from_millis(random.u64(1..60)));
                        kill(&mut child);
                        continue;
                    }
                    assert_eq!(child.wait().unwrap().code(), Some(0), "rebuild");
                    rebuilt.fetch_add(1, Ordering::SeqCst);
                }
            });
            for test in &self.migrators {
                scope.spawn(move || {
                    while is_importing.load(Ordering::SeqCst) {
                        test.run(&["--migrate-only"]).exits(0);
                        migrated.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for importer in importers {
                let importer = importer.join();
                is_importing.store(importer.is_ok(), Ordering::SeqCst);
                killed.fetch_add(importer.unwrap(), Ordering::SeqCst);
            }
            is_importing.store(false, Ordering::SeqCst);
        });
        counts.map(AtomicUsize::into_inner)
    }

    /// Everything is there once and whole.
    fn settle(&self) {
        for test in &self.importers {
            test.run(&["--import-only"])
                .exits(0)
                .does_not_say("→ Processing");
            assert_eq!(test.failures("import_failures.log"), [0; 0]);
        }
        for test in &self.migrators {
            test.run(&["--migrate-only"]).exits(0);
            assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
        }
        let db = self.rebuilder.artdaqdb();
        // As it is, and as a rebuild finds it.
        for _ in 0..2 {
            let runs: Vec<u64> = db.runs().unwrap().into_keys().map(|run| run.0).collect();
            assert_eq!(runs, (1..=RUNS).collect::<Vec<_>>());
            for run in 1..=RUNS {
                let stored = db.documents(Run(run)).unwrap().unwrap();
                let is_once = stored.entities.values().all(|count| *count == 1);
                assert!(
                    is_once && stored.entities.len() == FILES,
                    "run {run}: {stored:?}"
                );
                assert_eq!(stored.configurations, [format!("{run}/test")]);
            }
            for (collection, comparison) in db.compare_indexes().unwrap() {
                let others = [&comparison.lost, &comparison.unnamed, &comparison.left_over];
                let others: Vec<_> = others.into_iter().flatten().collect();
                assert!(others.is_empty(), "{collection}: {comparison:?}");
            }
            db.rebuild_indexes().unwrap();
        }
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for version in self.server.versions(OBJECT) {
            let text = std::str::from_utf8(&version.blob).unwrap();
            let run = version.tags[0].parse().unwrap();
            let files = blob::unpack(text).unwrap().len();
            assert_eq!(files, FILES, "the blob of run {run}");
            *counts.entry(run).or_default() += 1;
        }
        assert_eq!(counts, (1..=RUNS).map(|run| (run, 1)).collect());
    }
}

fn archive(test: &Test) -> std::path::PathBuf {
    Path::new(test.path()).join("archive")
}

/// Kills a process; whether it was alive.
fn kill(child: &mut Child) -> bool {
    send(child, Signal::KILL);
    child.wait().unwrap().signal() == Some(9)
}

#[test]
fn importers_migrators_and_rebuilds_at_once_leave_every_run_once_and_whole() {
    let rounds = if is_long() { 200 } else { 20 };
    let mut random = Rng::with_seed(seed("many_hands"));
    let started = Instant::now();
    let mut counts = [0; 3];
    for round in 0..rounds {
        let site = Site::new();
        let kills = [0, KILLS][round % 2];
        for (count, more) in counts.iter_mut().zip(site.work(&mut random, kills)) {
            *count += more;
        }
        site.settle();
    }
    let [killed, rebuilt, migrated] = counts;
    println!(
        "{rounds} rounds in {:.0?}: {killed} imports killed, {rebuilt} rebuilds, {migrated} migrations",
        started.elapsed()
    );
}
