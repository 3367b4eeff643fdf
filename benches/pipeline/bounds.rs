//! What an import and a migration may take at most, in time and memory:
//! `cargo bench --bench pipeline -- bounds`, or `copy`, `index` or `memory` for some of
//! it. It fails if a bound is exceeded.
//!
//! Times are compared with what `cp` and `sync` take for the same files, in turn,
//! because the disk decides both; memory with the size of the file or its document.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Site, archive, figure, measured::measure, milliseconds};

/// An import, to `cp -r` and `sync -f` of the database that it makes.
const IMPORT: f64 = 1.15;
/// One run into a large archive, to `cp` and `sync` of its index files.
const ONE_RUN: f64 = 2.0;
/// Memory to the size of a file like those of real records.
const REAL: f64 = 8.0;
/// Memory to the size of the document, of any other file that takes more than `REAL`.
const OTHER: f64 = 2.0;

/// Runs that are imported at once, and how often each time is taken.
const RUNS: u64 = 40;
const PAIRS: usize = 5;
/// Runs of the large archive.
const ARCHIVED: u64 = 100_000;
/// The size of a large file.
const LARGE: usize = 10_000_000;

/// Imports records, and copies the database that was made of them, in turn. Returns
/// whether the bound is kept.
pub fn copy() -> bool {
    let mut times = Vec::new();
    // Nothing is deleted meanwhile: that slows down both, for a while.
    let mut sites = Vec::new();
    for _ in 0..PAIRS {
        let site = Site::new(2, None);
        archive::links_to_record(&site.path("run_records"), 1..=RUNS);
        run(&mut Command::new("sync"));
        let import = measure(&mut site.archiver(&["--import-only"])).wall;
        run(&mut Command::new("sync"));
        let copy = copied(
            &[site.path("archive")],
            &site.path("copy"),
            &["-r"],
            &["-f"],
        );
        times.push((import, copy));
        sites.push(site);
    }
    compare(&format!("import of {RUNS} runs"), &times, IMPORT)
}

/// Imports one run into a large archive, and copies its index files, in turn. Returns
/// whether the bound is kept.
pub fn index() -> bool {
    let site = Site::archived(ARCHIVED);
    measure(&mut site.archiver(&["--incremental"]));
    let mut times = Vec::new();
    for run_number in (ARCHIVED + 1..).take(PAIRS) {
        archive::links_to_record(&site.path("run_records"), run_number..=run_number);
        run(&mut Command::new("sync"));
        let import = measure(&mut site.archiver(&["--incremental", "--import-only"])).wall;
        run(&mut Command::new("sync"));
        let indexes = ["RunHistory", "SystemLayout"]
            .map(|collection| site.path("archive").join(collection).join("index.json"));
        let copies = site.path(&format!("copies{run_number}"));
        let copy = indexes.iter().enumerate().map(|(number, index)| {
            let copy = copies.with_extension(number.to_string());
            copied(std::slice::from_ref(index), &copy, &[], &[])
        });
        times.push((import, copy.sum()));
    }
    compare(&format!("one run into {ARCHIVED}"), &times, ONE_RUN)
}

/// Imports and migrates large files. Returns whether all bounds are kept.
pub fn memory() -> bool {
    let real = real();
    let others: [(&str, String); 5] = [
        (
            "a: [1,1,...]",
            format!("a: [{}1]\n", "1,".repeat(LARGE / 2)),
        ),
        (
            "a: [[],[],...]",
            format!("a: [{}1]\n", "[],".repeat(LARGE / 3)),
        ),
        ("small entries", entries()),
        ("one string", format!("a: \"{}\"\n", "x".repeat(LARGE))),
        ("comments", format!("{}a: 1\n", "# a\n".repeat(LARGE / 4))),
    ];
    let mut is_kept = of_file("a file of real content", &real, true);
    for (name, text) in &others {
        is_kept &= of_file(name, text, false);
    }
    is_kept
}

/// Measures the memory that one file takes, in both stages.
fn of_file(name: &str, text: &str, is_real: bool) -> bool {
    let site = Site::new(2, None);
    let record = site.path("run_records").join("1");
    fs::create_dir(&record).expect("a directory");
    fs::write(record.join("large.fcl"), text).expect("a file");
    let mut is_kept = true;
    for (stage, mode) in [("import", "--import-only"), ("migrate", "--migrate-only")] {
        let peak = measure(&mut site.archiver(&[mode])).memory as f64;
        let document = largest_document(&site.path("archive")) as f64;
        let file = text.len() as f64;
        let most = match is_real {
            true => REAL * file,
            false => (OTHER * document).max(REAL * file),
        };
        let what = format!("{name}: memory to {stage}");
        figure(&what, peak / 1e6, "MB");
        figure(&format!("{what}, to the file"), peak / file, "");
        figure(&format!("{what}, to the document"), peak / document, "");
        is_kept &= kept(&what, peak / most, 1.0);
    }
    is_kept
}

/// A file of real content: the tables of a real record's files.
fn real() -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("run_records")).expect("a directory");
    archive::links_to_record(&directory.path().join("run_records"), 1..=1);
    let mut files: Vec<PathBuf> = fs::read_dir(directory.path().join("run_records/1"))
        .expect("a record")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "fcl"))
        .collect();
    files.sort();
    let mut text = String::new();
    for (number, file) in files.iter().cycle().enumerate() {
        if text.len() >= LARGE {
            break;
        }
        let content = fs::read_to_string(file).unwrap_or_default();
        // Neither can stand in a table.
        if !content.contains("_PROLOG") && !content.contains("#include") {
            let _ = write!(text, "file_{number}: {{\n{content}\n}}\n");
        }
    }
    text
}

/// Entries as short as can be.
fn entries() -> String {
    let mut text = String::with_capacity(LARGE + 16);
    let mut number = 0;
    while text.len() < LARGE {
        let _ = write!(text, "a{number:x}:1 ");
        number += 1;
    }
    text
}

fn largest_document(archive: &Path) -> u64 {
    let entries = fs::read_dir(archive.join("RunHistory")).expect("a collection");
    let documents = entries.map(|entry| entry.expect("a document"));
    let sizes = documents.filter(|entry| entry.file_name() != "index.json");
    sizes
        .map(|entry| entry.metadata().expect("a document").len())
        .max()
        .unwrap_or_default()
}

/// Copies files and makes the copy durable.
fn copied(files: &[PathBuf], to: &Path, cp: &[&str], sync: &[&str]) -> Duration {
    let started = Instant::now();
    run(Command::new("cp").args(cp).args(files).arg(to));
    run(Command::new("sync").args(sync).arg(to));
    started.elapsed()
}

fn run(command: &mut Command) {
    let status = command.status().expect("a program of the system");
    assert!(status.success(), "{command:?}: {status}");
}

/// Prints the medians of pairs of times, ours and theirs, and their ratio.
fn compare(what: &str, times: &[(Duration, Duration)], bound: f64) -> bool {
    let median = |of: fn(&(Duration, Duration)) -> Duration| {
        let mut sorted: Vec<Duration> = times.iter().map(of).collect();
        sorted.sort();
        sorted[sorted.len() / 2]
    };
    let (ours, copy) = (median(|pair| pair.0), median(|pair| pair.1));
    for (number, (ours, copy)) in times.iter().enumerate() {
        let pair = format!("{what}, pair {}", number + 1);
        figure(&format!("{pair}: import"), milliseconds(*ours), "ms");
        figure(&format!("{pair}: copy"), milliseconds(*copy), "ms");
    }
    figure(&format!("{what}: import"), milliseconds(ours), "ms");
    figure(&format!("{what}: copy"), milliseconds(copy), "ms");
    kept(what, ours.as_secs_f64() / copy.as_secs_f64(), bound)
}

/// Prints a ratio, and whether it keeps its bound.
fn kept(what: &str, ratio: f64, bound: f64) -> bool {
    let is_kept = ratio <= bound;
    let note = if is_kept { "kept" } else { "EXCEEDED" };
    println!("{what}: ratio\t{ratio:.2}\tof at most {bound:.2}, {note}");
    is_kept
}
