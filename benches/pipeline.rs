//! What the archiver itself takes, started as cron starts it:
//! `cargo bench --bench pipeline [-- NAME...]`.
//!
//! `import` and `migrate`: runs a second with 2 workers, CPU seconds a run and
//! the most memory, FilesystemDB and the test server of UconDB over loopback;
//! `workers`: the same with 16 workers; `mongodb`: the same with a real mongod;
//! `start`: from the start to "nothing to do" over 1,000, 10,000 and 100,000
//! archived runs; `one`: the same executions with one new run to import, and then
//! to migrate; `report`: the status report of a million runs. `bounds`: what an import
//! and a migration may take at most, in time and memory, beside `cp` and `sync`: it
//! fails if they take more.
//!
//! The runs are copies, by links, of a real SBND record where `../shared` is
//! there, and of a generated one of its size otherwise. `ARCHIVER=FILE` measures
//! another build; `benches/compare.sh` compares two. Each figure is a line of
//! its own: name, value and unit, separated by tabs.

#[path = "pipeline/archive.rs"]
mod archive;
#[path = "pipeline/bounds.rs"]
mod bounds;
#[path = "pipeline/measured.rs"]
mod measured;
#[path = "pipeline/report.rs"]
mod report;
#[path = "../tests/support/mod.rs"]
#[expect(
    clippy::unwrap_used,
    reason = "a bench without its peers has nothing to measure"
)]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use measured::{Measured, measure, measure_until};
use support::mongod::{Kind, Mongod};
use support::ucondb_server::{
    FOLDER, OBJECT, Options, PASSWORD, StoredVersion, Transport, USER, UconDbServer,
};

/// Runs that are archived already.
const ARCHIVES: [u64; 3] = [1_000, 10_000, 100_000];

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let mut named = names
            .iter()
            .filter(|name| !name.starts_with('-'))
            .peekable();
        named.peek().is_none() || named.any(|wanted| wanted == name)
    };
    if wanted("import") || wanted("migrate") {
        pipeline("", 200, 2, None);
    }
    if wanted("workers") {
        pipeline("16 workers: ", 100, 16, None);
    }
    if wanted("mongodb") {
        let mongod = Mongod::start_large(Kind::ReplicaSet).expect("a mongod");
        pipeline("MongoDB: ", 50, 2, Some(mongod.uri("")));
    }
    if wanted("start") {
        for archived in ARCHIVES {
            start(archived);
        }
    }
    if wanted("one") {
        for archived in ARCHIVES {
            one(archived);
        }
    }
    if wanted("many") {
        many();
    }
    if wanted("report") {
        report::bench();
    }
    type Bound = fn() -> bool;
    let bounds: [(&str, Bound); 3] = [
        ("copy", bounds::copy),
        ("index", bounds::index),
        ("memory", bounds::memory),
    ];
    let mut are_kept = true;
    for (name, bound) in bounds {
        if wanted("bounds") || wanted(name) {
            are_kept &= bound();
        }
    }
    match are_kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Imports runs and migrates them, each in an execution of its own.
fn pipeline(what: &str, runs: u64, workers: usize, mongodb: Option<String>) {
    let site = Site::new(workers, mongodb);
    archive::links_to_record(&site.path("run_records"), 1..=runs);
    for (stage, mode) in [("import", "--import-only"), ("migrate", "--migrate-only")] {
        let Measured { wall, cpu, memory } = measure(&mut site.archiver(&[mode]));
        let runs = runs as f64;
        figure(
            &format!("{what}{stage}"),
            runs / wall.as_secs_f64(),
            "runs/s",
        );
        figure(
            &format!("{what}{stage}: CPU"),
            cpu.as_secs_f64() / runs * 1e3,
            "ms/run",
        );
        figure(&format!("{what}{stage}: memory"), memory as f64 / 1e6, "MB");
    }
}

/// Starts where everything is archived already.
fn start(archived: u64) {
    let site = Site::archived(archived);
    // The first execution makes the state files and lists all of UconDB.
    for (name, times) in [("first", 1), ("start", 3)] {
        let measured = (0..times).map(|_| measure(&mut site.archiver(&["--incremental"])));
        let best = measured.min_by_key(|it| it.wall).expect("a measurement");
        let what = format!("{name} over {archived} runs");
        figure(&what, milliseconds(best.wall), "ms");
        figure(&format!("{what}: memory"), best.memory as f64 / 1e6, "MB");
    }
}

/// Imports one run where all others are archived, and migrates it.
fn one(archived: u64) {
    let site = Site::archived(archived);
    measure(&mut site.archiver(&["--incremental"]));
    archive::links_to_record(&site.path("run_records"), archived + 1..=archived + 1);
    for (stage, mode) in [
        ("imported", "--import-only"),
        ("migrated", "--migrate-only"),
    ] {
        let Measured { wall, cpu, memory } = measure(&mut site.archiver(&["--incremental", mode]));
        let what = format!("one run {stage} over {archived}");
        figure(&what, milliseconds(wall), "ms");
        figure(&format!("{what}: CPU"), milliseconds(cpu), "ms");
        figure(&format!("{what}: memory"), memory as f64 / 1e6, "MB");
    }
}

/// Many small runs and many that fail: what is written down for each must not be
/// what takes the time. Ends with an error if a bound is broken.
fn many() {
    const RUNS: u64 = 4_000;
    let import = |have_ended| {
        let site = Site::new(2, None);
        archive::tiny_records(&site.path("run_records"), RUNS, have_ended);
        measure(&mut site.archiver(&["--import-only"])).wall
    };
    // In turn, so that a machine that gets slower does so for both.
    let pairs = [(); 3].map(|()| (import(true), import(false)));
    let mut ratios = pairs.map(|(ended, going)| going.as_secs_f64() / ended.as_secs_f64());
    ratios.sort_by(f64::total_cmp);
    figure("4000 tiny runs", milliseconds(pairs[1].0), "ms");
    figure(
        "4000 tiny runs without stop time",
        milliseconds(pairs[1].1),
        "ms",
    );
    println!(
        "without stop time to with it\t{:.2}\t(at most 1.3)",
        ratios[1]
    );

    let site = Site::new(2, None);
    archive::empty_records(&site.path("run_records"), 5_000);
    let empty = measure_until(&mut site.archiver(&["--import-only"]), 1).wall;
    figure("5000 empty directories", milliseconds(empty), "ms");
    let site = Site::new(2, None);
    archive::broken_records(&site.path("run_records"), 10_000);
    let failing = measure_until(&mut site.archiver(&["--import-only"]), 1).wall;
    figure("10000 failing runs", milliseconds(failing), "ms");
    assert!(ratios[1] <= 1.3, "runs without a stop time take too long");
    assert!(
        empty < Duration::from_secs(3),
        "empty directories take too long"
    );
    assert!(
        failing < Duration::from_secs(10),
        "failing runs take too long"
    );
}

/// Prints a figure.
fn figure(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.1}\t{unit}");
}

/// A configuration with its directories, and its UconDB.
struct Site {
    directory: tempfile::TempDir,
    server: UconDbServer,
}

impl Site {
    fn new(workers: usize, mongodb: Option<String>) -> Site {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            ..Options::default()
        });
        server.keep_no_requests();
        let site = Site { directory, server };
        for name in ["run_records", "schema", "work"] {
            std::fs::create_dir(site.path(name)).expect("a directory");
        }
        std::fs::write(site.path("schema/schema.fcl"), "artdaq_processes: []\n").expect("a schema");
        let archive = site.path("archive");
        let database = mongodb.unwrap_or_else(|| format!("filesystemdb://{}", archive.display()));
        let config = format!(
            "app: {{work_dir: '{work}', batch_size: 0, parallel_workers: {workers}}}\n\
             fhiclize_generate: [boot, metadata, known_boardreaders_list, RunHistory, RunHistory2, \
             settings, setup, environment, ranks]\n\
             source_files: {{run_records_dir: '{records}', settle_seconds: 0}}\n\
             artdaq_db: {{fcl_conf_dir: '{schema}', database_uri: '{database}'}}\n\
             ucon_db: {{server_url: '{url}', folder_name: '{FOLDER}', object_name: '{OBJECT}', \
             writer_user: '{USER}', writer_password: '{PASSWORD}'}}\n",
            work = site.path("work").display(),
            records = site.path("run_records").display(),
            schema = site.path("schema").display(),
            url = site.server.url(),
        );
        std::fs::write(site.path("config.yaml"), config).expect("a configuration");
        site
    }

    /// One where so many runs are archived, in artdaqDB and in UconDB.
    fn archived(runs: u64) -> Site {
        let site = Site::new(2, None);
        archive::make_index(&site.path("archive"), runs);
        archive::empty_records(&site.path("run_records"), runs);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let versions = (1..=runs).map(|run| StoredVersion {
            id: run,
            key: Some(run.to_string()),
            tags: vec![run.to_string()],
            recorded: now.as_secs_f64() - 60.0 * (runs - run) as f64,
            data_key: run,
            blob: Vec::new(),
        });
        site.server.set_versions(OBJECT, versions.collect());
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn archiver(&self, arguments: &[&str]) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_run_record_archiver"));
        let program = std::env::var_os("ARCHIVER").map_or(built.to_path_buf(), PathBuf::from);
        let mut command = Command::new(program);
        command
            .arg(self.path("config.yaml"))
            .args(arguments)
            .arg("-q");
        command
    }
}

/// How long something took.
fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
