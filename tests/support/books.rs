//! Every file that the archiver keeps, read by the archiver's own readers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};
use run_record_archiver::artdaqdb::document;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::lock::holder;
use run_record_archiver::pipeline::IncompleteRuns;
use run_record_archiver::reporter::history;
use run_record_archiver::run_list::RunList;
use run_record_archiver::state::StateStore;
use serde_json::Value;
use serde_json::value::RawValue;

use super::archiver::Test;

/// Every file in the work directory and in a FilesystemDB can be read and is
/// whole, the lock is free, and an index names no document that is not there.
/// Gives how many temporary files there are.
#[track_caller]
pub fn assert_readable(test: &Test) -> usize {
    let mut temporary = 0;
    for (name, path) in files(&test.work("")) {
        match name.as_str() {
            name if name.starts_with('.') && name.ends_with(".tmp") => temporary += 1,
            ".archiver.lock" | ".verify.lock" => {
                assert!(File::open(&path).unwrap().try_lock().is_ok(), "locked")
            }
            ".archiver.lock.holder" | ".verify.lock.holder" => {
                holder::Holder::read(&path.with_extension("")).unwrap();
            }
            name if name.starts_with("importer_state") || name.starts_with("migrator_state") => {
                let state = StateStore::new(path, PathBuf::new()).read("").unwrap();
                assert!(state.last_contiguous_run <= state.last_attempted_run);
            }
            name if name.contains("_failures.log") || name.starts_with("unverified_runs") => {
                RunList::new(path).read().unwrap();
            }
            "journal.json"
            | "records.json"
            | "in_progress.json"
            | "verify.json"
            | "import_failures.json"
            | "migrate_failures.json" => {
                let text = fs::read_to_string(&path).unwrap();
                serde_json::from_str::<Value>(&text).unwrap();
            }
            "incomplete_runs.json" => {
                IncompleteRuns::load(&path, Duration::ZERO).unwrap();
            }
            "history.jsonl" => {
                let history = history::read(&path, usize::MAX).unwrap();
                assert_eq!(history.unreadable, 0, "{name}");
            }
            name if name.starts_with("ucondb_listing_") => assert_proves_itself(&path),
            name if name.ends_with(".prom") => assert_metrics(&path),
            "archiver.log" => assert_log(&path),
            _ => panic!("what is {}?", path.display()),
        }
    }
    for collection in ["RunHistory", "SystemLayout", "SystemMetadata"] {
        temporary += assert_collection(&test.path().join("archive").join(collection));
    }
    temporary
}

fn files(directory: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, path)
        })
        .collect()
}

/// A listing of UconDB carries the MD5 of what it says.
#[track_caller]
fn assert_proves_itself(path: &Path) {
    #[derive(serde::Deserialize)]
    struct Listing {
        md5: String,
        listing: Box<RawValue>,
    }
    let listing: Listing = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let digest = Md5::digest(listing.listing.get().as_bytes());
    let md5: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(md5, listing.md5);
}

#[track_caller]
fn assert_metrics(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

/// Every line is a record with its time, or goes on with one.
#[track_caller]
fn assert_log(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    for line in text.lines() {
        let is_record = line.starts_with("20") && line.contains(" - run_record_archiver");
        assert!(is_record || line.starts_with("    "), "{line:?}");
    }
    for text_of_a_fault in ["panicked", "UNEXPECTED"] {
        assert!(!text.contains(text_of_a_fault), "{text}");
    }
}

#[track_caller]
fn assert_collection(directory: &Path) -> usize {
    let files = files(directory);
    let mut index = Index::default();
    let mut temporary = 0;
    for (name, path) in &files {
        if name.starts_with('.') && name.ends_with(".tmp") {
            temporary += 1;
        } else if name.starts_with("index.json") {
            let read = Index::parse(&fs::read_to_string(path).unwrap());
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if name == "index.json" {
                index = read;
            }
        }
    }
    for oid in index.oids() {
        let named = files.contains_key(&format!("{oid}.json"));
        assert!(named, "{}: no {oid}", directory.display());
    }
    for (name, path) in &files {
        if name.starts_with("index.json") || name.starts_with('.') {
            continue;
        }
        // Those with a name in the index are read when the runs are.
        let oid = name.strip_suffix(".json").unwrap();
        let oid = run_record_archiver::artdaqdb::index::Oid::parse(oid).unwrap();
        if !index.contains(oid) {
            let text = fs::read_to_string(path).unwrap();
            if directory.ends_with("SystemMetadata") {
                serde_json::from_str::<Value>(&text).unwrap();
            } else {
                document::read(&text).unwrap();
            }
        }
    }
    temporary
}

/// The bytes of a blob but for the lines that say when it was packed, as MD5.
pub fn digest(blob: &[u8]) -> String {
    let mut digest = Md5::new();
    for line in blob.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b"Packed on ") {
            digest.update(line);
        }
    }
    let digest = digest.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
