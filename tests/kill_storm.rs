//! `kill -9` at random moments of every mode that writes, again and again:
//! whatever a kill leaves can be read, and in the end nothing is lost and
//! nothing is there twice.
//!
//! Three hundred kills; ten times as many with `RUN_RECORD_ARCHIVER_LONG=1`.
//! `RUN_RECORD_ARCHIVER_SEED` takes the seed of an earlier storm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::books::{assert_readable, digest};
use crate::support::{copy_tree, is_long, seed, send};
use run_record_archiver::artdaqdb::{NativeDb, Presence};
use run_record_archiver::run::Run;
use rustix::process::Signal;

const MODES: [&[&str]; 12] = [
    &["--import-only"],
    &["--import-only", "--incremental"],
    &["--migrate-only"],
    &["--migrate-only", "--incremental"],
    &[],
    &["--incremental"],
    &["--incremental"],
    &["--retry-failed-import"],
    &["--retry-failed-migrate"],
    &["--recover-import-state"],
    &["--recover-migrate-state"],
    REBUILD,
];

/// Of a FilesystemDB alone.
const REBUILD: &[&str] = &["--rebuild-index", "--yes"];

/// What is not FHiCL.
const BROKEN: &str = "board: { id: \n";

/// Each storm has its databases.
trait Databases {
    fn artdaqdb(&self, test: &Test) -> Box<dyn NativeDb>;
    /// Every version of every run's blob, the one under its key last.
    fn blobs(&self, test: &Test) -> BTreeMap<u64, Vec<Vec<u8>>>;
    /// How many documents there are.
    fn documents(&self, test: &Test) -> usize;
    fn modes(&self) -> Vec<&'static [&'static str]>;
}

/// FilesystemDB and `file://`.
struct Directories;

impl Databases for Directories {
    fn artdaqdb(&self, test: &Test) -> Box<dyn NativeDb> {
        Box::new(test.artdaqdb())
    }

    fn blobs(&self, test: &Test) -> BTreeMap<u64, Vec<Vec<u8>>> {
        let object = test.path().join("ucondb/test/configuration");
        let mut blobs: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for directory in [object.join("replaced"), object] {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if let Some((run, _)) = name.split_once('.')
                    && let Ok(run) = run.parse()
                {
                    blobs.entry(run).or_default().push(fs::read(&path).unwrap());
                }
            }
        }
        blobs
    }

    fn documents(&self, test: &Test) -> usize {
        let comparisons = test.artdaqdb().compare_indexes().unwrap();
        for (collection, comparison) in &comparisons {
            assert!(comparison.lost.is_empty(), "{collection}: {comparison:?}");
            let unnamed = comparison.unnamed.len() + comparison.left_over.len();
            assert_eq!(unnamed, 0, "{collection}: {comparison:?}");
        }
        comparisons.iter().map(|(_, it)| it.documents).sum()
    }

    fn modes(&self) -> Vec<&'static [&'static str]> {
        MODES.to_vec()
    }
}

/// One storm.
struct Storm<D> {
    databases: D,
    random: fastrand::Rng,
    runs: u64,
    broken: BTreeSet<u64>,
    going: BTreeSet<u64>,
    /// Runs that got their stop time late: whether they were in artdaqDB then,
    /// and in UconDB.
    late: BTreeMap<u64, (bool, bool)>,
    /// How long an execution takes that nobody disturbs.
    spans: BTreeMap<&'static [&'static str], Duration>,
}

impl<D: Databases> Storm<D> {
    /// What happens between two executions: runs begin and end, records are
    /// repaired, failures on purpose come and go.
    fn live(&mut self, mut test: Test) -> Test {
        for _ in 0..self.random.u8(..=2) {
            self.runs += 1;
            test = test.record(self.runs);
            match self.random.u8(..12) {
                0 => {
                    let file = test.records().join(format!("{}/tpc01.fcl", self.runs));
                    fs::write(file, BROKEN).unwrap();
                    self.broken.insert(self.runs);
                }
                1 | 2 => {
                    test = test.still_going(self.runs);
                    self.going.insert(self.runs);
                }
                _ => {}
            }
        }
        if self.random.u8(..4) == 0 {
            let any = self.random.usize(..self.broken.len().max(1));
            if let Some(run) = self.broken.iter().nth(any).copied() {
                self.repair(&test, run);
            }
        }
        if self.random.u8(..5) == 0 {
            let any = self.random.usize(..self.going.len().max(1));
            if let Some(run) = self.going.iter().nth(any).copied() {
                self.end(&test, run);
            }
        }
        let failing = if self.random.u8(..4) == 0 { "20" } else { "0" };
        test.set("app_fuzz.random_error_percent", failing)
    }

    fn repair(&mut self, test: &Test, run: u64) {
        let other = test.records().join(format!("{run}/crt01.fcl"));
        let text = fs::read_to_string(other).unwrap();
        fs::write(test.records().join(format!("{run}/tpc01.fcl")), text).unwrap();
        self.broken.remove(&run);
    }

    fn end(&mut self, test: &Test, run: u64) {
        let artdaqdb = self.databases.artdaqdb(test).runs().unwrap();
        let imported = artdaqdb.get(&Run(run)) == Some(&Presence::Whole);
        let migrated = self.databases.blobs(test).contains_key(&run);
        self.late.insert(run, (imported, migrated));
        test.ends(run);
        self.going.remove(&run);
    }

    /// Starts an execution and kills it after a random part of the time that it
    /// would take; whether it was still alive.
    fn strike(&mut self, test: &Test, mode: &'static [&'static str]) -> bool {
        let span = self.spans.entry(mode).or_insert(Duration::from_millis(60));
        // Late rather than early, when there is work under way.
        let delay = span.mul_f64(self.random.f64().sqrt());
        let started = Instant::now();
        let mut child = test.start(mode);
        while started.elapsed() < delay {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(matches!(status.code(), Some(0 | 1)), "{mode:?}: {status}");
                *span = (*span + started.elapsed()) / 2;
                return false;
            }
            sleep(Duration::from_micros(500));
        }
        send(&child, Signal::KILL);
        let status = child.wait().unwrap();
        let was_alive = status.signal() == Some(9);
        if was_alive {
            *span = (*span).max(started.elapsed()).mul_f64(1.02);
        }
        was_alive
    }

    /// Executions that nobody disturbs, until nothing is left to be done.
    fn finish(&mut self, test: Test) -> Test {
        for run in self.broken.clone() {
            self.repair(&test, run);
        }
        for run in self.going.clone() {
            self.end(&test, run);
        }
        let test = test.set("app_fuzz.random_error_percent", "0");
        for _ in 0..20 {
            let retries = [&["--retry-failed-import"][..], &["--retry-failed-migrate"]];
            for mode in [&["--incremental"][..], &[]].into_iter().chain(retries) {
                let ended = test.run(mode);
                // After the last kill, a run may be set aside for the first time.
                let is_set_aside = ended.stderr.contains("the archiver died twice");
                if !is_set_aside {
                    ended.exits(0);
                }
            }
            // What a limit leaves, or a late stop time brings, is done by the next one.
            let lists = [
                "import_failures.log",
                "migrate_failures.log",
                "unverified_runs.log",
            ];
            let incomplete = fs::read_to_string(test.work("incomplete_runs.json"));
            let is_done = lists.iter().all(|log| test.failures(log).is_empty())
                && incomplete.unwrap_or("{}\n".into()) == "{}\n"
                && self.databases.blobs(&test).len() as u64 == self.runs;
            if is_done {
                break;
            }
        }
        test
    }

    /// Nothing is lost and nothing is there twice.
    fn settle(&self, test: &Test) {
        let all: Vec<u64> = (1..=self.runs).collect();
        test.run(&[]).exits(0).does_not_say("→ Processing");
        test.run(&["--verify"]).exits(0);
        for stage in ["importer", "migrator"] {
            let state = test.state(&format!("{stage}_state.json"));
            assert_eq!(state, (self.runs, self.runs), "{stage}");
        }
        for log in ["import_failures.log", "migrate_failures.log"] {
            assert_eq!(test.failures(log), [0; 0]);
        }
        let incomplete = fs::read_to_string(test.work("incomplete_runs.json"));
        assert_eq!(incomplete.unwrap_or("{}\n".into()), "{}\n");
        assert_eq!(
            fs::read_to_string(test.work("unverified_runs.log")).unwrap(),
            ""
        );

        let db = self.databases.artdaqdb(test);
        let present = db.runs().unwrap();
        assert_eq!(present.keys().map(|run| run.0).collect::<Vec<_>>(), all);
        let mut documents = 0;
        for (run, presence) in &present {
            assert_eq!(*presence, Presence::Whole, "run {run}");
            let stored = db.documents(*run).unwrap().unwrap();
            assert_eq!(stored.configurations, [format!("{run}/test")]);
            assert_eq!(stored.entities.len(), 6, "run {run}: {stored:?}");
            for (entity, count) in &stored.entities {
                let expected = match (entity.as_str(), self.late.get(&run.0)) {
                    ("RunHistory2", Some((true, _))) => 2..=2,
                    // A part of the run may have been visible already.
                    ("RunHistory2" | "metadata", Some((false, _))) => 1..=2,
                    _ => 1..=1,
                };
                assert!(expected.contains(count), "run {run}: {stored:?}");
                documents += count;
            }
        }
        assert_eq!(self.databases.documents(test), documents);

        let at_once = Test::new()
            .records_of(&test.records())
            .set("app.batch_size", "0");
        at_once.run(&[]).exits(0);
        let in_two_parts = self.control_in_two_parts(test);
        let blobs = self.databases.blobs(test);
        assert_eq!(blobs.keys().copied().collect::<Vec<_>>(), all);
        for (run, versions) in blobs {
            let controls: &[&Test] = match self.late.get(&run) {
                None => &[&at_once],
                Some((true, _)) => &[&in_two_parts],
                // A rebuilt index can make it visible after that.
                Some((false, _)) => &[&at_once, &in_two_parts],
            };
            let expected: Vec<String> = controls.iter().map(|test| test.blob(run)).collect();
            let stored = versions.last().unwrap();
            assert!(
                expected
                    .iter()
                    .any(|it| digest(it.as_bytes()) == digest(stored)),
                "run {run}, late: {:?}: {}\n{expected:?}",
                self.late.get(&run),
                String::from_utf8_lossy(stored)
            );
            let count = match self.late.get(&run) {
                Some((_, true)) => 2..=2,
                // It may have got there from artdaqDB, which had no stop time yet.
                Some((_, false)) => 1..=2,
                None => 1..=1,
            };
            let found = versions.len();
            assert!(count.contains(&found), "run {run}: {found} versions");
        }
    }

    /// The runs with a late stop time, archived before and after they got it:
    /// what was imported first stays, and RunHistory2 is added.
    fn control_in_two_parts(&self, test: &Test) -> Test {
        let mut control = Test::new().set("app.batch_size", "0");
        for run in self.late.keys() {
            let name = run.to_string();
            copy_tree(&test.records().join(&name), &control.records().join(&name));
            control = control.still_going(*run);
        }
        control.run(&[]).exits(0);
        for run in self.late.keys() {
            control.ends(*run);
        }
        control.run(&[]).exits(0);
        control
    }
}

/// Every file of every run record.
fn sources(test: &Test) -> BTreeMap<String, Vec<u8>> {
    let mut sources = BTreeMap::new();
    for record in fs::read_dir(test.records()).unwrap() {
        for file in fs::read_dir(record.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            sources.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    sources
}

fn last_lines(test: &Test) -> String {
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// `last_attempted_run` of the import never passes a run that is neither
/// archived nor in the failure log.
#[track_caller]
fn assert_none_was_passed(test: &Test, db: &dyn NativeDb) {
    if !test.work("importer_state.json").exists() {
        return;
    }
    let (_, attempted) = test.state("importer_state.json");
    let archived = db.runs().unwrap();
    let failed = test.failures("import_failures.log");
    for run in 1..=attempted {
        let is_whole = archived.get(&Run(run)) == Some(&Presence::Whole);
        assert!(
            is_whole || failed.contains(&run),
            "run {run} was passed; the end of the log:\n{}",
            last_lines(test)
        );
    }
}

fn storm(name: &str, kills: u32, mut test: Test, databases: impl Databases) {
    let kills = if is_long() { kills * 10 } else { kills };
    let seed = seed(name);
    let modes = databases.modes();
    let mut storm = Storm {
        databases,
        random: fastrand::Rng::with_seed(seed),
        runs: 0,
        broken: BTreeSet::new(),
        going: BTreeSet::new(),
        late: BTreeMap::new(),
        spans: BTreeMap::new(),
    };
    let started = Instant::now();
    let (mut rounds, mut killed, mut begun, mut at_work) = (0, 0, 0, 0);
    let mut by_mode: BTreeMap<&[&str], u32> = BTreeMap::new();
    let mut temporary = 0;
    while killed < kills {
        rounds += 1;
        assert!(rounds < 5 * kills, "executions end before they are killed");
        test = storm.live(test);
        let mode = modes[storm.random.usize(..modes.len())];
        if mode == REBUILD && !test.path().join("archive").exists() {
            continue;
        }
        let before = sources(&test);
        let log_before = fs::read(test.work("archiver.log")).map_or(0, |log| log.len());
        if storm.strike(&test, mode) {
            killed += 1;
            *by_mode.entry(mode).or_default() += 1;
            let log = fs::read(test.work("archiver.log")).unwrap_or_default();
            let said = String::from_utf8_lossy(&log[log_before..]).into_owned();
            begun += u32::from(said.contains("=== Execution Mode"));
            at_work += u32::from(said.contains("→ Processing"));
        }
        temporary = assert_readable(&test);
        let db = storm.databases.artdaqdb(&test);
        assert_none_was_passed(&test, db.as_ref());
        assert!(sources(&test) == before, "a source was touched");
    }
    let took = started.elapsed();
    let test = storm.finish(test);
    storm.settle(&test);
    println!(
        "{name}: {kills} kills of living processes in {rounds} executions, {begun} of them after \
         the work had begun, {at_work} with runs under way; {} runs, {} with a late stop time; \
         {temporary} temporary files left by the kills; {took:.1?}, {:.1?} in all",
        storm.runs,
        storm.late.len(),
        started.elapsed()
    );
    for (mode, kills) in by_mode {
        println!("  {kills:4} [{}]", mode.join(" "));
    }
}

/// An archiver in a hurry.
fn archiver() -> Test {
    let test = Test::new();
    let metrics = test.work("archiver.prom").display().to_string();
    test.set("app.batch_size", "20")
        .set("app.parallel_workers", "3")
        .set("app.run_process_retries", "1")
        .set("app_fuzz.random_error_retry", "true")
        .set("metrics.prometheus_textfile", &metrics)
}

#[test]
fn kills_of_executions_on_directories_lose_nothing_and_double_nothing() {
    storm("FilesystemDB, file://", 200, archiver(), Directories);
}

#[cfg(feature = "mongodb")]
mod on_servers {
    use super::*;
    use crate::support::mongod::{Kind, Mongod};
    use crate::support::ucondb_server::{
        FOLDER, OBJECT, Options, PASSWORD, Transport, USER, UconDbServer,
    };

    /// MongoDB and a UconDB over HTTP.
    struct Servers {
        mongod: Mongod,
        ucondb: UconDbServer,
    }

    impl Databases for Servers {
        fn artdaqdb(&self, _: &Test) -> Box<dyn NativeDb> {
            Box::new(self.mongod.archive())
        }

        fn blobs(&self, _: &Test) -> BTreeMap<u64, Vec<Vec<u8>>> {
            let mut blobs: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
            for version in self.ucondb.versions(OBJECT) {
                let [run] = &version.tags[..] else {
                    panic!("{:?}", version.tags);
                };
                let versions = blobs.entry(run.parse().unwrap()).or_default();
                versions.push(version.blob);
            }
            blobs
        }

        fn documents(&self, _: &Test) -> usize {
            let collections = ["RunHistory", "SystemLayout"];
            let counts = collections.map(|name| self.mongod.documents(name).len());
            counts.iter().sum()
        }

        fn modes(&self) -> Vec<&'static [&'static str]> {
            let modes = MODES.into_iter().filter(|mode| *mode != REBUILD);
            modes.collect()
        }
    }

    #[test]
    fn kills_of_executions_on_servers_lose_nothing_and_double_nothing() {
        // A kill leaves transactions open, which the server ends after this time.
        let patience = ["--setParameter", "transactionLifetimeLimitSeconds=1"];
        let Some(mongod) = Mongod::start_with(Kind::ReplicaSet, &patience) else {
            return;
        };
        let ucondb = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        });
        ucondb.keep_no_requests();
        let test = archiver()
            .set("artdaq_db.database_uri", &mongod.uri(""))
            .set("ucon_db.server_url", &ucondb.url())
            .set("ucon_db.folder_name", FOLDER)
            .set("ucon_db.object_name", OBJECT)
            .set("ucon_db.writer_user", USER)
            .set("ucon_db.writer_password", &format!("'{PASSWORD}'"));
        storm("MongoDB, HTTP", 100, test, Servers { mongod, ucondb });
    }
}
