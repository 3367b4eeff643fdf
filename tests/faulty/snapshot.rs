//! What the databases and the work directory hold, but for times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use run_record_archiver::blob;
use serde_json::Value;

use super::files;
use crate::support::archiver::Test;

/// Databases and state, to be compared with those of another execution.
#[derive(Debug, PartialEq)]
pub struct Snapshot {
    /// Every document, by collection and name.
    documents: BTreeMap<String, String>,
    indexes: BTreeMap<String, Value>,
    /// Every blob, by its place in the store, without when it was packed.
    blobs: BTreeMap<String, String>,
    /// The files of the work directory by which later executions go.
    state: BTreeMap<String, String>,
}

impl Snapshot {
    pub fn take(test: &Test) -> Snapshot {
        let place = test.path().display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&place, "");
        let mut snapshot = Snapshot {
            documents: BTreeMap::new(),
            indexes: BTreeMap::new(),
            blobs: BTreeMap::new(),
            state: BTreeMap::new(),
        };
        for (name, bytes) in tree(test, &["archive"]) {
            if is_temporary(&name) || is_of_a_load(&name) || name.ends_with(".lock") {
                continue;
            }
            if name.ends_with("/index.json") {
                let index = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                snapshot.indexes.insert(name, without_times(index));
            } else {
                // The name of this one is made of its place.
                let name = match name.contains("SystemMetadata") {
                    true => "SystemMetadata".to_owned(),
                    false => name,
                };
                let document = without_time_stamps(&text(&bytes));
                let document = match name.starts_with("SystemMetadata") {
                    true => document.split("\"_id\"").next().unwrap().to_owned(),
                    false => document,
                };
                snapshot.documents.insert(name, document);
            }
        }
        for (name, bytes) in tree(test, &["ucondb"]) {
            if !is_temporary(&name) {
                let lines = text(&bytes);
                let lines = lines.lines().filter(|line| !line.starts_with("Packed on "));
                let record = lines.collect::<Vec<_>>().join("\n");
                assert!(blob::same_record(&bytes, &bytes));
                snapshot.blobs.insert(name, record);
            }
        }
        for (name, bytes) in tree(test, &["work"]) {
            let kept = ["_state.json", "_failures.log", "_runs.log", "_runs.json"];
            if kept.iter().any(|end| name.ends_with(end)) && !is_temporary(&name) {
                let state = without_time_stamps(&text(&bytes));
                // An empty list and none are the same.
                if !state.is_empty() {
                    snapshot.state.insert(name, state);
                }
            }
        }
        snapshot
    }

    /// What is different in another one.
    pub fn compare(&self, other: &Snapshot) -> Result<(), String> {
        let shown = |value: &Value| value.to_string();
        let indexes = |snapshot: &Snapshot| {
            let indexes = snapshot.indexes.iter();
            indexes
                .map(|(name, index)| (name.clone(), shown(index)))
                .collect()
        };
        differences("documents", &self.documents, &other.documents)
            .and_then(|()| differences("indexes", &indexes(self), &indexes(other)))
            .and_then(|()| differences("blobs", &self.blobs, &other.blobs))
            .and_then(|()| differences("state", &self.state, &other.state))
    }
}

fn differences(
    what: &str,
    expected: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
) -> Result<(), String> {
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (one, other) if one == other => {}
            (Some(_), None) => return Err(format!("of the {what}, {name} is missing")),
            (None, _) => return Err(format!("of the {what}, {name} is one too many")),
            (Some(one), Some(other)) => {
                return Err(format!(
                    "of the {what}, {name} is\n{other}\nand should be\n{one}"
                ));
            }
        }
    }
    Ok(())
}

/// Files that were to become others. No reader takes them for what they were to be.
fn is_temporary(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    name.starts_with('.') && (name.ends_with(".tmp") || name.starts_with(".upload-"))
}

/// A file that names the documents of a load.
fn is_of_a_load(path: &str) -> bool {
    path.contains("/.run_record_archiver.load.")
}

/// Whether the indexes name all documents of a load: its file is then of no use, and the
/// next load removes it.
fn is_published(test: &Test, load: &[u8]) -> bool {
    let is_named = |line: &str| {
        let (collection, rest) = line.split_once('/').unwrap();
        let (oid, _) = rest.split_once(".json ").unwrap();
        let index = test.path().join("archive").join(collection);
        let index = fs::read_to_string(index.join("index.json")).unwrap();
        index.contains(oid)
    };
    String::from_utf8_lossy(load).lines().all(is_named)
}

/// Every temporary file that is left, and every file of a load that is not published.
pub fn temporaries(test: &Test) -> Vec<String> {
    let all = tree(test, &["work", "archive", "ucondb"]);
    all.into_iter()
        .filter(|(name, bytes)| {
            is_temporary(name) || is_of_a_load(name) && !is_published(test, bytes)
        })
        .map(|(name, _)| name)
        .collect()
}

/// The contents of these directories, by path.
pub fn tree(test: &Test, directories: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = Vec::new();
    for directory in directories {
        files(&test.path().join(directory), &mut found);
    }
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(test.path()).unwrap();
            let name = name.to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// Whether every file of ours can be read.
pub fn parses(test: &Test) -> Result<(), String> {
    for (name, bytes) in tree(test, &["work", "archive"]) {
        if is_temporary(&name) {
            continue;
        }
        let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
        let parsed = if name.ends_with(".json") {
            serde_json::from_str::<Value>(&text).map(drop)
        } else if name.ends_with(".jsonl") {
            text.lines()
                .try_for_each(|line| serde_json::from_str::<Value>(line).map(drop))
        } else if name.ends_with("failures.log") || name.ends_with("_runs.log") {
            text.lines()
                .try_for_each(|line| serde_json::from_str::<u64>(line).map(drop))
        } else {
            Ok(())
        };
        parsed.map_err(|error| format!("{name}: {error}\n{text}"))?;
    }
    for (name, bytes) in tree(test, &["ucondb"]) {
        if !is_temporary(&name) {
            let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            blob::unpack(&text).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

/// The text with every `2026-11-23T07:35:14.122+0000` left out.
pub fn without_time_stamps(text: &str) -> String {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let is_stamp = |at: usize| {
        bytes.len() >= at + SHAPE.len()
            && SHAPE
                .iter()
                .zip(&bytes[at..])
                .all(|(shape, byte)| match shape {
                    b'0' => byte.is_ascii_digit(),
                    shape => shape == byte,
                })
    };
    let mut result = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if is_stamp(at) {
            while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                at += 1;
            }
        } else {
            result.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(result).unwrap()
}

/// An index without its times, of which there are as many as milliseconds went by.
fn without_times(mut index: Value) -> Value {
    if let Some(assigned) = index.get_mut("configurations.assigned") {
        let empty = |times: &mut Value| *times = Value::Null;
        assigned
            .as_object_mut()
            .unwrap()
            .values_mut()
            .for_each(empty);
    }
    index
}
