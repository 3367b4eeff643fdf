//! The index against the documents beside it: what is missing on either side,
//! and a new index made of the documents.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::leftovers::{self, Schemas, Sieve};
use crate::artdaqdb::document::{self, StoredDocument};
use crate::artdaqdb::index::{Entry, Index, Oid};
use crate::artdaqdb::{SYSTEM_LAYOUT, run_of};
use crate::durable;
use crate::error::{Disposition, Error, Result};
use crate::faults;
use crate::regular_file;
use crate::run::Run;

/// How many damaged documents an error names.
const NAMED: usize = 10;
/// How many documents that no index names are read to compare.
const READ: usize = 5000;

/// A collection's documents against its index.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Documents that both have.
    pub documents: usize,
    /// Documents that the index names and the directory lacks.
    pub lost: Vec<Oid>,
    /// Documents that the index does not name and a rebuild would add: left out by
    /// tools that wrote at the same time.
    pub unnamed: Vec<Oid>,
    /// Documents that the index does not name and a rebuild leaves out: of imports that
    /// are under way, were cut short, or failed.
    pub left_over: Vec<Oid>,
}

/// What a rebuild found and did in one collection.
#[derive(Debug)]
pub struct Rebuilt {
    /// The index that was written.
    pub index: PathBuf,
    /// Documents that it names.
    pub documents: usize,
    /// Where the index that was there is kept.
    pub kept: Option<PathBuf>,
    /// Documents that were left out, with their runs: of imports that were cut short or
    /// failed.
    pub left_out: Vec<(PathBuf, Run)>,
    /// Documents that are lost and stay in the index.
    pub lost: Vec<PathBuf>,
}

/// Compares an index with the documents of its directory. Adds the versions to `schemas`
/// if they are those of the schemas.
///
/// # Errors
/// The directory can't be read.
pub(super) fn compare(
    directory: &Path,
    index: &Index,
    loads: &HashMap<Oid, Run>,
    schemas: &mut Schemas,
) -> Result<Comparison> {
    let found = documents(directory)?;
    let mut comparison = Comparison {
        lost: index
            .oids()
            .iter()
            .filter(|oid| found.binary_search(oid).is_err())
            .copied()
            .collect(),
        ..Comparison::default()
    };
    let has_schemas = directory.ends_with(SYSTEM_LAYOUT);
    let mut versions = Schemas::new();
    let sieve = Sieve::new(Some(index), loads, (!has_schemas).then_some(&*schemas));
    let mut read = 0;
    for oid in found {
        if sieve.is_named(oid) {
            comparison.documents += 1;
            continue;
        }
        read += 1;
        let stored = match sieve.load(oid) {
            None if read <= READ => stored(&document_path(directory, oid), oid).ok(),
            _ => None,
        };
        let failed = stored.as_ref().and_then(|it| sieve.failed_import(oid, it));
        if sieve.load(oid).or(failed).is_some() {
            comparison.left_over.push(oid);
        } else {
            versions.extend(stored.map(|it| it.version));
            comparison.unnamed.push(oid);
        }
    }
    if has_schemas {
        versions.extend(index.configurations().map(str::to_owned));
        *schemas = versions;
    }
    Ok(comparison)
}

/// A new index, not written yet.
pub(super) struct Plan {
    path: PathBuf,
    index: Index,
    left_out: Vec<(PathBuf, Run)>,
    lost: Vec<PathBuf>,
}

/// Makes a new index of a collection's documents, and writes nothing. Adds the versions
/// to `schemas` if they are those of the schemas. The caller holds the archive's locks.
///
/// # Errors
/// A document can't be read: an index without it would make its run look whole.
pub(super) fn plan(
    directory: &Path,
    loads: &HashMap<Oid, Run>,
    schemas: &mut Schemas,
) -> Result<Plan> {
    let path = directory.join("index.json");
    // A damaged one is mostly why a new one is made.
    let old = regular_file::read_to_string(&path).ok();
    let old = old.and_then(|text| Index::parse(&text).ok());
    let has_schemas = directory.ends_with(SYSTEM_LAYOUT);
    let mut entries = Vec::new();
    let mut damaged = Vec::new();
    let mut left_out = Vec::new();
    let sieve = Sieve::new(old.as_ref(), loads, (!has_schemas).then_some(&*schemas));
    let found = documents(directory)?;
    for oid in found.iter().copied() {
        let path = document_path(directory, oid);
        if let Some(run) = sieve.load(oid) {
            left_out.push((path, run));
            continue;
        }
        let of_document = stored(&path, oid).and_then(|stored| {
            if let Some(run) = sieve.failed_import(oid, &stored) {
                left_out.push((path.clone(), run));
                return Ok(Vec::new());
            }
            entries_of(&stored, oid)
        });
        match of_document {
            Ok(of_document) => entries.extend(of_document),
            Err(problem) => damaged.push(format!("{}: {problem}", path.display())),
        }
    }
    if !damaged.is_empty() {
        let more = damaged.len().saturating_sub(NAMED);
        damaged.truncate(NAMED);
        return Err(Error::artdaqdb(
            directory.display().to_string(),
            format!(
                "an index can't be made, because documents can't be read: {}{}. Nothing was \
                 changed. Restore them from a backup, or move them out of the directory (their \
                 runs are then without them), and run the same command again",
                damaged.join("; "),
                if more > 0 {
                    format!("; and {more} more")
                } else {
                    String::new()
                }
            ),
            Disposition::StopStage,
        ));
    }
    if has_schemas {
        *schemas = entries.iter().map(|entry| entry.version.clone()).collect();
    }
    // The order in which they came, as far as the documents tell.
    entries.sort_by(|one, other| (&one.assigned, one.oid).cmp(&(&other.assigned, other.oid)));
    let mut index = Index::default();
    index.extend(&entries);
    let mut lost = Vec::new();
    if let Some(old) = &old {
        lost = leftovers::missed(old, &index, &found);
        index.carry_over(old, &lost);
    }
    Ok(Plan {
        path,
        index,
        left_out,
        lost: lost
            .iter()
            .map(|oid| document_path(directory, *oid))
            .collect(),
    })
}

impl Plan {
    /// Writes the index. The one that is there is kept beside the collection: the real
    /// tools take every file of its directory for a document.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn carry_out(self, suffix: &str) -> Result<Rebuilt> {
        let mut kept = self
            .path
            .parent()
            .unwrap_or(&self.path)
            .as_os_str()
            .to_owned();
        kept.push(format!(".index.json.{suffix}"));
        let kept = durable::keep_as(&self.path, PathBuf::from(kept))?;
        durable::replace(&self.path, self.index.write().as_bytes(), durable::SHARED)?;
        Ok(Rebuilt {
            index: self.path,
            documents: self.index.len(),
            kept,
            left_out: self.left_out,
            lost: self.lost,
        })
    }
}

fn document_path(directory: &Path, oid: Oid) -> PathBuf {
    directory.join(format!("{oid}.json"))
}

/// Reads a document.
fn stored(path: &Path, oid: Oid) -> Result<StoredDocument, String> {
    let text = regular_file::read_to_string(path).map_err(|error| error.to_string())?;
    let stored = document::read(&text).map_err(|error| error.to_string())?;
    match stored.oid == oid.to_string() {
        true => Ok(stored),
        false => Err(format!("it says that it is {:?}", stored.oid)),
    }
}

/// What the index says of a document: an entry for each of its configurations
/// and entities.
fn entries_of(stored: &StoredDocument, oid: Oid) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for configuration in &stored.configurations {
        let run = match stored.runs.first() {
            Some(run) => run.clone(),
            None => run_of(&configuration.name).map_or_else(String::new, |run| run.to_string()),
        };
        for entity in &stored.entities {
            entries.push(Entry {
                oid,
                version: stored.version.clone(),
                configuration: configuration.name.clone(),
                entity: entity.clone(),
                run: run.clone(),
                assigned: configuration.assigned.clone(),
            });
        }
    }
    if entries.is_empty() {
        return Err("it belongs to no configuration or has no entity".into());
    }
    Ok(entries)
}

/// The documents of a directory, sorted.
pub(super) fn documents(directory: &Path) -> Result<Vec<Oid>> {
    let failed = |source| Error::io("read", directory, source);
    let mut oids = Vec::new();
    for entry in faults::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let oid = name
            .to_str()
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(Oid::parse);
        oids.extend(oid);
    }
    oids.sort_unstable();
    Ok(oids)
}
