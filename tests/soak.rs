//! Many small runs through the whole pipeline, as cron starts it, with one
//! percent of random faults on all sides: in the end every run is in UconDB once
//! and to the byte, and neither memory nor handles have grown.
//!
//! Six hundred runs; 20,000 with `RUN_RECORD_ARCHIVER_LONG=1`, or as many as
//! `RUN_RECORD_ARCHIVER_SOAK` says. `RUN_RECORD_ARCHIVER_SEED` takes the seed of
//! an earlier soak.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::books::{assert_readable, digest};
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Transport, USER, UconDbServer,
};
use crate::support::{is_long, seed, send};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

/// What the archiver may have open at once, with eight workers.
const MOST_HANDLES: usize = 64;

/// By how much the archiver may grow for each run in the archive: its entries
/// in both indexes and the sets of runs.
const GROWTH_BY_RUN: u64 = 4 * 1024;

/// What the peaks of two executions of the same size may differ by, in bytes.
const NOISE: u64 = 8 * 1024 * 1024;

/// An archiver whose UconDB is this server, with eight workers.
fn archiver(server: &UconDbServer) -> Test {
    Test::new()
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "1")
        .set("app.parallel_workers", "8")
}

fn server() -> UconDbServer {
    let server = UconDbServer::start(Options {
        transport: Transport::KeepAlive,
        ..Options::default()
    });
    server.keep_no_requests();
    server
}

/// What a process has in use.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    /// Memory now, in bytes.
    resident: u64,
    /// Memory at its peak, in bytes.
    peak: u64,
    handles: usize,
}

/// What the process has in use; none once it has ended.
fn usage(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Usage {
        resident: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
        handles: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
    })
}

/// An execution that was watched to its end.
struct Watched {
    code: Option<i32>,
    /// One every few milliseconds.
    usage: Vec<Usage>,
}

impl Watched {
    fn peak(&self) -> u64 {
        self.usage.iter().map(|it| it.peak).max().unwrap_or(0)
    }

    fn handles(&self) -> usize {
        self.usage.iter().map(|it| it.handles).max().unwrap_or(0)
    }
}

/// Watches an execution, and asks it to end after this time, if any.
fn watch(mut child: Child, end_after: Option<Duration>) -> Watched {
    let (started, mut asked) = (Instant::now(), false);
    let mut samples = Vec::new();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Watched {
                code: status.code(),
                usage: samples,
            };
        }
        // At first the system still closes what the process inherited.
        if started.elapsed() > Duration::from_millis(50) {
            samples.extend(usage(child.id()));
        }
        if !asked && end_after.is_some_and(|time| started.elapsed() > time) {
            send(&child, Signal::TERM);
            asked = true;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Something of a run record that is not where it should be.
enum Missing {
    /// A file, in whose place there is a link to itself.
    File(PathBuf),
    /// The whole record.
    Record(PathBuf),
}

impl Missing {
    /// Takes a file of a record away, or all of it.
    fn take(test: &Test, run: u64, random: &mut fastrand::Rng) -> Missing {
        let record = test.records().join(run.to_string());
        let away = away(test, run);
        if random.bool() {
            fs::rename(record, &away).unwrap();
            return Missing::Record(away);
        }
        symlink("tpc01.fcl", &away).unwrap();
        let file = record.join("tpc01.fcl");
        exchange(&away, &file);
        Missing::File(away)
    }

    /// Puts it back.
    fn give_back(&self, test: &Test) {
        let (Missing::File(away) | Missing::Record(away)) = self;
        let run = away.file_name().unwrap();
        let record = test.records().join(run);
        match self {
            Missing::Record(_) => fs::rename(away, record).unwrap(),
            Missing::File(_) => {
                exchange(away, &record.join("tpc01.fcl"));
                fs::remove_file(away).unwrap();
            }
        }
    }
}

fn away(test: &Test, run: u64) -> PathBuf {
    let directory = test.path().join("away");
    fs::create_dir_all(&directory).unwrap();
    directory.join(run.to_string())
}

fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// Faults for one in a hundred of the next requests.
fn disturb(server: &UconDbServer, requests: u32, random: &mut fastrand::Rng) {
    server.no_faults();
    for request in (0..requests)
        .filter(|_| random.u8(..100) == 0)
        .collect::<Vec<_>>()
    {
        server.fault(match random.u8(..12) {
            10 => Fault::on_blob(request / 4).then(Action::ChangeAnswer),
            11 => Fault::on("POST", "/data/")
                .after(request / 4)
                .then(Action::ChangeStored),
            _ => Fault::passing(request, random),
        });
    }
}

/// How much of the memory of a later part of the soak is more than that of an
/// earlier one, and whether that is more than the archive's growth allows.
fn assert_is_flat(name: &str, peaks: &[u64], runs: u64) {
    assert!(peaks.len() >= 8, "{peaks:?}");
    let quarter = |number: usize| {
        let part = &peaks[peaks.len() * (number - 1) / 4..peaks.len() * number / 4];
        part.iter().copied().max().unwrap()
    };
    let (second, last) = (quarter(2), quarter(4));
    // Half of the runs came in between.
    let growth = last.saturating_sub(second);
    let mebibytes = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    println!(
        "{name}: peak memory in the second quarter {:.1} MiB, in the last {:.1} MiB: {:.2} KiB a run",
        mebibytes(second),
        mebibytes(last),
        growth as f64 / 1024.0 / (runs as f64 / 2.0)
    );
    assert!(growth <= NOISE + GROWTH_BY_RUN * runs / 2, "{growth} bytes");
}

/// The soak itself: executions as cron starts them, until nothing is left.
fn soak(test: &Test, server: &UconDbServer, runs: u64, random: &mut fastrand::Rng) {
    let started = Instant::now();
    let batch = (runs / 40).max(40);
    let mut missing: BTreeMap<u64, (Missing, u64)> = BTreeMap::new();
    let (mut peaks, mut handles) = (Vec::new(), 0);
    let (mut ended, mut taken, mut overridden) = (0, 0, BTreeSet::new());
    for execution in 1.. {
        assert!(
            execution < 60 + 6 * runs / batch,
            "it does not come to an end"
        );
        let stored = server.blobs(OBJECT).len() as u64;
        let failures = |log: &str| test.failures(log);
        let failed = [
            failures("import_failures.log"),
            failures("migrate_failures.log"),
        ];
        if stored == runs && failed.iter().all(Vec::is_empty) && missing.is_empty() {
            println!(
                "{runs} runs in {} executions and {:.0?}: {ended} ended by SIGTERM, {taken} \
                 records or files of them taken away for a while, {} blobs damaged in UconDB and \
                 replaced; at most {handles} handles",
                execution - 1,
                started.elapsed(),
                overridden.len()
            );
            break;
        }
        let mode: &[&str] = match execution % 4 {
            2 if !failed[0].is_empty() => &["--retry-failed-import"],
            3 if !failed[1].is_empty() => &["--retry-failed-migrate"],
            _ => &["--incremental"],
        };
        disturb(server, u32::try_from(batch * 6).unwrap(), random);
        // Of the runs that it will take, some are not as they should be.
        let next = stored + 1..(stored + 1 + batch).min(runs + 1);
        for run in next.filter(|_| random.u8(..100) == 0).collect::<Vec<_>>() {
            let is_there = test.records().join(run.to_string()).is_dir();
            if is_there && !missing.contains_key(&run) {
                let back = execution + random.u64(..3);
                missing.insert(run, (Missing::take(test, run, random), back));
                taken += 1;
            }
        }
        let end_after = (random.u8(..8) == 0).then(|| Duration::from_millis(random.u64(..1500)));
        let due: Vec<u64> = missing
            .iter()
            .filter(|(_, (_, back))| *back <= execution)
            .map(|(run, _)| *run)
            .collect();
        let child = test.start(mode);
        let watched = thread::scope(|scope| {
            // Some come back while it is at work.
            let soon: Vec<Missing> = due
                .iter()
                .filter_map(|run| missing.remove(run))
                .map(|(missing, _)| missing)
                .collect();
            let pause = Duration::from_millis(random.u64(..1000));
            scope.spawn(move || {
                thread::sleep(pause);
                for missing in soon {
                    missing.give_back(test);
                }
            });
            watch(child, end_after)
        });
        assert!(
            matches!(watched.code, Some(0 | 1 | 130)),
            "{:?}",
            watched.code
        );
        ended += u64::from(watched.code == Some(130));
        handles = handles.max(watched.handles());
        if mode == ["--incremental"] && watched.code != Some(130) {
            peaks.push(watched.peak());
        }
        // What an operator does about a blob that was damaged on its way.
        if mode == ["--retry-failed-migrate"] && watched.code == Some(1) {
            for run in test.failures("migrate_failures.log") {
                let arguments = ["--migrate-only", "--override-existing", "--runs"];
                let run_text = run.to_string();
                let _ = test.run(&[&arguments[..], &[run_text.as_str()]].concat());
                overridden.insert(run);
            }
        }
        if execution % 10 == 0 {
            assert_readable(test);
        }
    }
    server.no_faults();
    assert!(handles <= MOST_HANDLES, "{handles} handles");
    assert_is_flat("Executions", &peaks, runs);
}

/// Everything is there once, and to the byte what an undisturbed pipeline makes.
fn assert_all_is_right(
    test: &Test,
    server: &UconDbServer,
    control: &BTreeMap<String, Vec<u8>>,
    runs: u64,
) {
    assert_readable(test);
    for stage in ["importer", "migrator"] {
        let state = test.state(&format!("{stage}_state.json"));
        assert_eq!(state, (runs, runs), "{stage}");
    }
    assert_eq!(test.imported(), (1..=runs).collect::<Vec<_>>());
    for (collection, comparison) in test.artdaqdb().compare_indexes().unwrap() {
        assert!(comparison.lost.is_empty(), "{collection}");
        assert!(comparison.unnamed.is_empty(), "{collection}");
        let by_run = if collection == "RunHistory" { 5 } else { 1 };
        assert_eq!(comparison.documents as u64, runs * by_run, "{collection}");
    }
    let mut keys = BTreeSet::new();
    for version in server.versions(OBJECT) {
        let [run] = &version.tags[..] else {
            panic!("{:?}", version.tags);
        };
        let is_right = digest(&version.blob) == digest(&control[run]);
        // What lost its key to another version was damaged.
        assert_eq!(is_right, version.key.is_some(), "run {run}");
        if let Some(key) = version.key {
            assert_eq!(key, *run);
            assert!(keys.insert(key), "run {run} twice");
        }
    }
    assert_eq!(keys.len() as u64, runs);
}

#[test]
fn many_runs_with_faults_on_all_sides_get_there_once_and_memory_stays_flat() {
    let wanted = std::env::var("RUN_RECORD_ARCHIVER_SOAK").ok();
    let runs = match wanted {
        Some(runs) => runs.parse().unwrap(),
        None if is_long() => 20_000,
        None => 600,
    };
    let mut random = fastrand::Rng::with_seed(seed("soak"));
    let disturbed = server();
    let test = archiver(&disturbed)
        .records_in(1..=runs)
        .set("app.batch_size", &(runs / 40).max(40).to_string())
        .set("app_fuzz.random_error_percent", "1")
        .set("app_fuzz.random_skip_percent", "1")
        .set("app_fuzz.random_skip_retry", "true");
    soak(&test, &disturbed, runs, &mut random);

    // All at once, and undisturbed.
    let undisturbed = server();
    let control = archiver(&undisturbed)
        .records_of(&test.records())
        .set("app.batch_size", "0");
    let started = Instant::now();
    let watched = watch(control.start(&[]), None);
    assert_eq!(watched.code, Some(0));
    println!(
        "{runs} runs in one execution and {:.0?}: at most {} handles, peak memory {} KiB",
        started.elapsed(),
        watched.handles(),
        watched.peak() / 1024
    );
    assert!(watched.handles() <= MOST_HANDLES, "{}", watched.handles());
    let resident: Vec<u64> = watched.usage.iter().map(|it| it.resident).collect();
    assert_is_flat("One execution", &resident, runs);

    let control = undisturbed.blobs(OBJECT);
    assert_eq!(control.len() as u64, runs);
    assert_all_is_right(&test, &disturbed, &control, runs);
}
