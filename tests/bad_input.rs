//! Run records that are broken in every way: each is the failure of its own run
//! and nobody else's. Never a panic, a hang, or a write where nothing belongs.
//!
//! `RUN_RECORD_ARCHIVER_LONG=1` takes ten times as many; `RUN_RECORD_ARCHIVER_SEED=n` others.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::{Ended, Test};
use crate::support::{copy_tree, project, shared};
use fastrand::Rng;
use run_record_archiver::artdaqdb::{ArtdaqDb, Configuration};
use run_record_archiver::blob;
use run_record_archiver::run::Run;

/// Mutated records, as the issue of reliability counts them, and ten times as many.
fn records() -> u64 {
    match std::env::var_os("RUN_RECORD_ARCHIVER_LONG") {
        Some(_) => 20_000,
        None => 2_000,
    }
}

/// Mutated records of one execution.
const BATCH: u64 = 50;

/// The good ones among them, by run.
const GOOD: [u64; 3] = [1, 500, 1000];

/// The longest that an execution may take.
const LIMIT: Duration = Duration::from_secs(120);

fn seed() -> u64 {
    std::env::var("RUN_RECORD_ARCHIVER_SEED").map_or(20_260_210, |seed| seed.parse().unwrap())
}

/// Good records to begin with.
fn bases() -> Vec<PathBuf> {
    let samples = (12_500..=12_508).map(|run| project(&format!("samples/run_records/{run}")));
    let corpus = shared("corpus/run_records").map(|corpus| {
        // The small ones: it is the mutations that count.
        [901, 902, 904, 906, 950, 951].map(|run| corpus.join(run.to_string()))
    });
    samples.chain(corpus.into_iter().flatten()).collect()
}

/// Adds a record of one of the bases, or a small one.
fn add(test: Test, rng: &mut Rng, bases: &[PathBuf], run: u64) -> Test {
    if rng.u8(..4) > 0 {
        return test.record(run);
    }
    let base = &bases[rng.usize(..bases.len())];
    copy_tree(base, &test.records().join(run.to_string()));
    test
}

/// What stands on the disk outside the work directory and the databases.
fn surroundings(test: &Test) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let ours = ["work", "archive", "ucondb", "config.yaml"].map(|name| test.path().join(name));
    let mut left = vec![test.path().to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if ours.contains(&path) {
                continue;
            }
            let seen = path.symlink_metadata().unwrap();
            let content = match () {
                () if seen.is_dir() => {
                    left.push(path.clone());
                    String::new()
                }
                () if seen.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                () if seen.is_file() && seen.len() < 10_000_000 => {
                    let mut hasher = DefaultHasher::new();
                    hasher.write(&fs::read(&path).unwrap());
                    hasher.finish().to_string()
                }
                () => String::new(),
            };
            let (mode, size) = (seen.mode(), seen.len());
            let time = (seen.mtime(), seen.mtime_nsec());
            found.insert(path, format!("{mode:o} {size} {time:?} {content}"));
        }
    }
    found
}

/// Runs the archiver, but not for ever.
#[track_caller]
fn run(test: &Test, arguments: &[&str], what: &str) -> Ended {
    let (mut child, words) = test.start_and_listen(arguments);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("{what}: it hangs");
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ended {
        code: status.code(),
        stdout: String::new(),
        stderr: words.join().unwrap(),
    }
}

/// Executes the hourly command until every failure is booked: one that can be the
/// fault of the disk is tried again in a later execution before it counts. What
/// they said is put together.
fn run_until_booked(test: &Test, what: &str) -> Ended {
    let mut said = String::new();
    for _ in 0..12 {
        let ended = run(test, &["--incremental"], what);
        said += &ended.stderr;
        let is_over = !ended
            .stderr
            .contains("is tried before any of them counts as failed");
        if is_over {
            return Ended {
                stderr: said,
                ..ended
            };
        }
    }
    panic!("{what}: never over: {said}");
}

/// The good records as they are archived where there are no others.
struct Expected(BTreeMap<u64, (Configuration, String)>);

impl Expected {
    fn new() -> Expected {
        let test = good(Test::new());
        test.run(&[]).exits(0);
        Expected(
            GOOD.into_iter()
                .map(|run| {
                    let stored = test.artdaqdb().read(Run(run)).unwrap();
                    (run, (stored, test.blob(run)))
                })
                .collect(),
        )
    }

    #[track_caller]
    fn assert_archived(&self, test: &Test, what: &str) {
        for (run, (stored, packed)) in &self.0 {
            let found = test.artdaqdb().read(Run(*run));
            assert_eq!(found.as_ref().unwrap(), stored, "{what}: run {run}");
            let is_same = blob::same_record(test.blob(*run).as_bytes(), packed.as_bytes());
            assert!(is_same, "{what}: run {run}");
        }
    }
}

/// Good records: a small one, and two of the samples.
fn good(test: Test) -> Test {
    for (run, sample) in [(500, 12_500), (1000, 12_502)] {
        copy_tree(
            &project(&format!("samples/run_records/{sample}")),
            &test.records().join(run.to_string()),
        );
    }
    test.record(1)
}

fn outside(test: &Test) -> PathBuf {
    let outside = test.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("text.fcl"), "outside: 1\n").unwrap();
    symlink("nowhere", outside.join("dangling")).unwrap();
    outside
}

/// What must hold of an execution, whatever the records were.
#[track_caller]
fn assert_in_order(test: &Test, ended: &Ended, what: &str) {
    let said = &ended.stderr;
    assert!(
        matches!(ended.code, Some(0 | 1)),
        "{what}: {:?} {said}",
        ended.code
    );
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(
        !said
            .lines()
            .any(|line| line == crate::support::mutations::FORGED),
        "{what}: a file's name wrote a line of the log"
    );
    let imported = test.imported();
    let migrated = test.migrated();
    let failures = [
        test.failures("import_failures.log"),
        test.failures("migrate_failures.log"),
    ];
    for entry in fs::read_dir(test.records()).unwrap() {
        let path = entry.unwrap().path();
        let run: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        if !path.is_dir() {
            // A file or a dangling link is no run record.
            continue;
        }
        assert!(
            imported.contains(&run) != failures[0].contains(&run),
            "{what}: run {run} is neither archived nor failed, or both: {said}"
        );
        if !imported.contains(&run) {
            assert_named(said, run, &path.display().to_string(), what);
        } else if !migrated.contains(&run) {
            assert!(failures[1].contains(&run), "{what}: run {run}: {said}");
            assert_named(said, run, &format!("run {run}"), what);
        }
    }
    let db = test.artdaqdb();
    for run in migrated {
        // What its readers find is what was archived.
        let stored = db.read(Run(run)).unwrap().files;
        let unpacked = blob::unpack(&test.blob(run)).unwrap();
        assert_eq!(unpacked.len(), stored.len(), "{what}: run {run}");
    }
}

/// An error names the run and where to look.
#[track_caller]
fn assert_named(said: &str, run: u64, place: &str, what: &str) {
    let start = format!("Run {run} failed (attempt ");
    assert!(
        said.lines()
            .any(|line| line.contains(&start) && line.contains(place)),
        "{what}: no error names run {run} and {place}: {said}"
    );
}

#[test]
fn mutated_records_fail_alone() {
    let bases = bases();
    let expected = Expected::new();
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let (archived, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        // One writes records while the other's are archived.
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::SeqCst);
                    if batch >= records() / BATCH {
                        return;
                    }
                    let (good, bad) = one_batch(batch, &bases, &expected);
                    archived.fetch_add(good, Ordering::SeqCst);
                    failed.fetch_add(bad, Ordering::SeqCst);
                }
            });
        }
    });
    let (archived, failed) = (archived.into_inner(), failed.into_inner());
    println!(
        "{} mutated records in {:?}: {archived} archived, {failed} failed",
        records(),
        begun.elapsed()
    );
    // The generator does what it is for: some of each.
    assert!(archived > 100 && failed > 100);
}

/// Archives a batch; how many of its mutated records were archived, and failed.
fn one_batch(batch: u64, bases: &[PathBuf], expected: &Expected) -> (usize, usize) {
    let mut rng = Rng::with_seed(seed() + batch);
    let mut test = good(Test::new().set("app.batch_size", "0"));
    let outside = outside(&test);
    let mut ways = String::new();
    for run in (2..).filter(|run| !GOOD.contains(run)).take(BATCH as usize) {
        test = add(test, &mut rng, bases, run);
        let record = test.records().join(run.to_string());
        ways += &format!("\n{run}:");
        for _ in 0..rng.usize(1..=3) {
            ways += &format!(
                " {}",
                crate::support::mutations::mutate(&mut rng, &record, &outside)
            );
        }
        if rng.u8(..20) == 0 {
            ways += &crate::support::mutations::displace(&mut rng, &record, &outside);
        }
    }
    let what = format!("seed {}, batch {batch}{ways}", seed());
    let before = surroundings(&test);
    let ended = run_until_booked(&test, &what);
    assert_in_order(&test, &ended, &what);
    expected.assert_archived(&test, &what);
    assert!(
        surroundings(&test) == before,
        "{what}: something was changed"
    );
    (
        test.imported().len() - GOOD.len(),
        test.failures("import_failures.log").len(),
    )
}

#[test]
fn a_record_of_a_hundred_thousand_files() {
    let expected = Expected::new();
    let test = good(Test::new().set("app.batch_size", "0"));
    let record = test.records().join("7");
    fs::create_dir(&record).unwrap();
    // Each .fcl becomes a durable document, which is what takes the time.
    let fcl = match std::env::var_os("RUN_RECORD_ARCHIVER_LONG") {
        Some(_) => 100_000,
        None => 3_000,
    };
    for number in 0..100_000 {
        let name = match number < fcl {
            true => format!("x{number}.fcl"),
            false => format!("x{number}.dat"),
        };
        fs::write(record.join(name), "a: 1\n").unwrap();
    }
    let begun = Instant::now();
    let ended = run(&test, &[], "100,000 files");
    println!("{fcl} of 100,000 files archived in {:?}", begun.elapsed());
    assert_in_order(&test, &ended, "100,000 files");
    expected.assert_archived(&test, "100,000 files");
    // Its histories need a metadata.txt; the schema goes with it.
    assert_eq!(test.artdaqdb().read(Run(7)).unwrap().files.len(), fcl + 1);
}

/// A file that the disk does not give back, such as one on a bad sector, is what
/// this link is to root as well: its run's failure, while the others go on.
#[test]
fn a_file_that_gives_an_input_output_error_fails_its_run_alone() {
    for file in ["tpc01.fcl", "metadata.txt"] {
        let test = Test::new().records_in([1, 2, 3]);
        let path = test.records().join("2").join(file);
        fs::remove_file(&path).unwrap();
        symlink("/proc/self/mem", &path).unwrap();
        test.run(&["--incremental"])
            .exits(1)
            .says(&path.display().to_string())
            .says("--retry-failed-import");
        assert_eq!(test.imported(), [1, 3]);
        assert_eq!(test.failures("import_failures.log"), [2]);
        test.run(&["--incremental"]).exits(0);
        // Where no other record can be read, either, the directory may be at fault.
        let test = Test::new().record(2);
        let path = test.records().join("2").join(file);
        fs::remove_file(&path).unwrap();
        symlink("/proc/self/mem", &path).unwrap();
        test.run(&["--incremental"])
            .exits(1)
            .says(&path.display().to_string())
            .says("is tried before any of them counts as failed");
        assert_eq!(test.failures("import_failures.log"), [0; 0]);
        test.run(&["--incremental"])
            .exits(1)
            .says(&path.display().to_string())
            .says("--retry-failed-import");
        assert_eq!(test.failures("import_failures.log"), [2]);
        test.run(&["--incremental"]).exits(0);
    }
}

/// What can't be told apart in the archive is not told apart by chance.
#[test]
fn two_files_that_would_be_one_entity_fail_their_run_alone() {
    for (one, other) in [
        (&b"a\nb.fcl"[..], &b"a_b.fcl"[..]),
        (b"caf\xe9.fcl", "caf\u{e9}.fcl".as_bytes()),
    ] {
        let test = Test::new().records_in([1, 2, 3]);
        for name in [one, other] {
            let name = std::ffi::OsStr::from_bytes(name);
            fs::write(test.records().join("2").join(name), "a: 1\n").unwrap();
        }
        test.run(&[])
            .exits(1)
            .says("Run 2 failed")
            .says("rename one of them");
        assert_eq!(test.migrated(), [1, 3]);
        assert_eq!(test.failures("import_failures.log"), [2]);
    }
}

/// Names of files and records reach neither the log's lines nor a directory.
#[test]
fn names_lead_nowhere() {
    let mut rng = Rng::with_seed(seed());
    let test = Test::new().records_in([1, 2, 3]);
    let outside = outside(&test);
    let forged = format!("x\n{}\n.fcl", crate::support::mutations::FORGED);
    fs::write(test.records().join("2").join(&forged), "a: 1\n").unwrap();
    fs::write(test.records().join("2/...fcl"), "a: 1\n").unwrap();
    let before = surroundings(&test);
    let ended = run(&test, &[], "names");
    assert_in_order(&test, &ended, "names");
    let log = fs::read_to_string(test.work("archiver.log")).unwrap();
    assert!(
        !log.lines()
            .any(|line| line == crate::support::mutations::FORGED),
        "{log}"
    );
    assert!(surroundings(&test) == before);
    let _ = crate::support::mutations::displace(&mut rng, &test.records().join("3"), &outside);
    assert!(Path::new(&outside).join("text.fcl").exists());
}
