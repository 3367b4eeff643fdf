//! Files of the archiver's own that somebody or something damaged: an error that
//! names the file and the way out, or an execution that does what it should.
//! Never is a file that can't be understood taken for an empty one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::archiver::{Ended, Test};
use crate::support::peer::spoil;
use crate::support::{copy_tree, project};
use fastrand::Rng;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::artdaqdb::{ArtdaqDb, Configuration};
use run_record_archiver::config::Config;
use run_record_archiver::run::Run;

/// How many random damages each kind of file gets.
fn rounds() -> usize {
    match std::env::var_os("RUN_RECORD_ARCHIVER_LONG") {
        Some(_) => 500,
        None => 25,
    }
}

/// Damaged forms of a file: its beginnings, and with bytes changed.
fn damaged(rng: &mut Rng, good: &[u8]) -> Vec<Vec<u8>> {
    let step = good.len().div_ceil(rounds()).max(1);
    let mut forms: Vec<Vec<u8>> = (0..good.len())
        .step_by(step)
        .map(|at| good[..at].to_vec())
        .collect();
    for _ in 0..rounds() {
        let mut bytes = good.to_vec();
        for _ in 0..rng.usize(1..4) {
            let count = bytes.len();
            if count > 0 {
                bytes[rng.usize(..count)] ^= 1 << rng.u8(..8);
            }
        }
        forms.push(bytes);
    }
    forms.extend([
        vec![0; good.len().max(1)],
        vec![0xff; 10],
        b"[]\n".to_vec(),
        b"{}\n".to_vec(),
        b"null\n".to_vec(),
        b"-1\n".to_vec(),
        b"99999999999999999999999\n".to_vec(),
        [good, good].concat(),
        vec![b'7'; 1_000_000],
    ]);
    forms
}

/// An archive of runs 1 to 6, of which 3 failed and 5 has no stop time, and one
/// more record that is not archived yet.
fn archived() -> Test {
    let test = Test::new().records_in(1..=6);
    spoil(&test.records(), 3);
    let metadata = test.records().join("5/metadata.txt");
    let text = fs::read_to_string(&metadata).unwrap();
    let going: Vec<&str> = text.lines().filter(|line| !line.contains("stop")).collect();
    fs::write(&metadata, going.join("\n") + "\n").unwrap();
    test.run(&["--incremental"]).exits(1);
    test.run(&["--verify", "--incremental"]).exits(0);
    fs::write(test.work("unverified_runs.log"), "2\n4\n").unwrap();
    test.record(7)
}

const RUNS: [u64; 6] = [1, 2, 4, 5, 6, 7];

/// A copy of what an archiver has on the disk, to begin from again and again.
struct Backup(PathBuf, tempfile::TempDir);

impl Backup {
    fn of(test: &Test) -> Backup {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(test.path(), copy.path());
        Backup(test.path().to_path_buf(), copy)
    }

    fn restore(&self) {
        for name in ["work", "archive", "ucondb"] {
            fs::remove_dir_all(self.0.join(name)).unwrap();
            copy_tree(&self.1.path().join(name), &self.0.join(name));
        }
    }
}

/// Nothing that was archived is gone, changed or there twice.
#[track_caller]
fn assert_archive(test: &Test, before: &BTreeMap<u64, Configuration>, what: &str) {
    let imported = test.imported();
    for (run, stored) in before {
        assert!(imported.contains(run), "{what}: run {run}");
        let found = test.artdaqdb().read(Run(*run)).unwrap();
        assert_eq!(&found, stored, "{what}: run {run}");
    }
    let directory = test.path().join("archive/RunHistory");
    let text = fs::read_to_string(directory.join("index.json")).unwrap();
    assert_eq!(
        Index::parse(&text).unwrap().len(),
        imported.len() * 5,
        "{what}"
    );
    let blobs = test.migrated();
    for run in before.keys() {
        assert!(blobs.contains(run), "{what}: run {run}");
    }
}

#[track_caller]
fn assert_calm(ended: &Ended, what: &str) {
    assert!(matches!(ended.code, Some(0 | 1)), "{what}: {ended:?}");
    assert!(
        !ended.stderr.contains("panicked"),
        "{what}: {}",
        ended.stderr
    );
}

/// Words that say what to do.
fn names_a_way_out(text: &str) -> bool {
    [
        "Run with --",
        "orrect",
        "estore",
        "emove",
        "rebuild",
        "delete",
        "move it away",
    ]
    .iter()
    .any(|word| text.contains(word))
}

#[test]
fn files_of_the_work_directory() {
    let mut rng = Rng::with_seed(7);
    let test = archived();
    let backup = Backup::of(&test);
    let before: BTreeMap<u64, Configuration> = test
        .imported()
        .into_iter()
        .map(|run| (run, test.artdaqdb().read(Run(run)).unwrap()))
        .collect();
    let (mut refused, mut worked) = (0, 0);
    for name in [
        "importer_state.json",
        "migrator_state.json",
        "import_failures.log",
        "migrate_failures.log",
        "incomplete_runs.json",
        "journal.json",
        "unverified_runs.log",
        "verify.json",
        "history.jsonl",
        ".archiver.lock",
        ".archiver.lock.holder",
    ] {
        let file = test.work(name);
        let good = fs::read(&file).unwrap_or_else(|_| b"12345\n".to_vec());
        let arguments: &[&str] = match name {
            "verify.json" => &["--verify", "--incremental"],
            _ => &["--incremental"],
        };
        for bytes in damaged(&mut rng, &good) {
            backup.restore();
            fs::write(&file, &bytes).unwrap();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            let what = format!("{name} with {shown:?}");
            let ended = test.run(arguments);
            assert_calm(&ended, &what);
            assert_archive(&test, &before, &what);
            let refusal = ended
                .stderr
                .lines()
                .find(|line| line.contains("ERROR") && line.contains(name));
            if let Some(line) = refusal {
                refused += 1;
                assert!(names_a_way_out(line), "{what}: {line}");
                assert_eq!(ended.code, Some(1), "{what}");
                assert_eq!(fs::read(&file).unwrap(), bytes, "{what}: it was changed");
                continue;
            }
            worked += 1;
            if arguments == ["--incremental"] {
                // Nothing is forgotten: a run is archived, or in the failure log,
                // or above what was attempted.
                let (_, attempted) = test.state("importer_state.json");
                // What was understood is not rewritten for the spaces around it.
                let failures: Vec<u64> = fs::read_to_string(test.work("import_failures.log"))
                    .unwrap()
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect();
                for run in 1..=7 {
                    assert!(
                        test.imported().contains(&run)
                            || failures.contains(&run)
                            || run > attempted,
                        "{what}: run {run} is forgotten: {}",
                        ended.stderr
                    );
                }
            }
        }
    }
    println!("{refused} refused, {worked} worked");
    assert!(refused > 50 && worked > 50);
}

/// The document files of an archive and what they hold.
fn documents(archive: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    ["RunHistory", "SystemLayout"]
        .into_iter()
        .flat_map(|collection| fs::read_dir(archive.join(collection)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("index.json"))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Whatever the index says: no document is removed or changed, and an index made
/// anew brings everything back.
#[test]
fn the_indexes_of_the_archive() {
    let mut rng = Rng::with_seed(11);
    let test = archived();
    let backup = Backup::of(&test);
    let archive = test.path().join("archive");
    let before = documents(&archive);
    let (mut refused, mut worked) = (0, 0);
    for collection in ["RunHistory", "SystemLayout"] {
        let file = archive.join(collection).join("index.json");
        let good = fs::read(&file).unwrap();
        for bytes in damaged(&mut rng, &good) {
            backup.restore();
            fs::write(&file, &bytes).unwrap();
            let what = format!(
                "{collection} with {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            );
            let ended = test.run(&["--incremental"]);
            assert_calm(&ended, &what);
            for (path, content) in &before {
                assert!(
                    fs::read(path).is_ok_and(|found| found == *content),
                    "{what}: {} was changed: {}",
                    path.display(),
                    ended.stderr
                );
            }
            let refusal = ended
                .stderr
                .lines()
                .find(|line| line.contains("ERROR") && line.contains("index.json"));
            match refusal {
                Some(line) => {
                    refused += 1;
                    assert!(line.contains("--rebuild-index"), "{what}: {line}");
                    assert_eq!(fs::read(&file).unwrap(), bytes, "{what}");
                }
                None => worked += 1,
            }
            test.run(&["--rebuild-index", "--yes"]).exits(0);
            test.run(&["--import-only"]);
            assert_eq!(test.imported(), RUNS, "{what}");
        }
    }
    println!("{refused} refused, {worked} worked");
    assert!(refused > 20 && worked > 0);
}

#[test]
fn the_listing_of_ucondb_that_is_kept_is_only_a_hint() {
    // Its own tests change every byte of it; here a file that can't be read at all.
    let test = archived();
    let hint = test.work("ucondb_listing_test.json");
    fs::create_dir(&hint).unwrap();
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.imported(), RUNS);
}

#[test]
fn configurations() {
    let mut rng = Rng::with_seed(13);
    let example = fs::read(project("config.example.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let mut forms: Vec<Vec<u8>> = (0..example.len())
        .step_by(7)
        .map(|at| example[..at].to_vec())
        .collect();
    for _ in 0..rounds() * 80 {
        let mut bytes = example.clone();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        forms.push(bytes);
    }
    forms.push("a: ".repeat(100_000).into_bytes());
    forms.push("[".repeat(100_000).into_bytes());
    forms.push(b"x: &a [*a, *a]\n".to_vec());
    forms.push(
        (0..30)
            .map(|n| format!("a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1))
            .collect::<String>()
            .into_bytes(),
    );
    let (mut refused, mut read) = (0, 0);
    for bytes in &forms {
        fs::write(&file, bytes).unwrap();
        match Config::load(&file) {
            Ok(_) => read += 1,
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains("config.yaml"), "{text}");
            }
        }
    }
    println!("{refused} refused, {read} read");
    assert!(refused > 100 && read > 100);
    // And the program itself, which only looks.
    let test = Test::new();
    let _ = test.command(&[]);
    let good = fs::read(test.path().join("config.yaml")).unwrap();
    for bytes in damaged(&mut rng, &good) {
        let config = test.path().join("config.yaml");
        let mut command = test.command(&["--check"]);
        fs::write(&config, &bytes).unwrap();
        let output = command.output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}
