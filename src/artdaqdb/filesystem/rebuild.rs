//! The index against the documents beside it: what is missing on either side,
//! and a new index made of the documents.

use std::path::{Path, PathBuf};

use crate::artdaqdb::document;
use crate::artdaqdb::index::{Entry, Index, Oid};
use crate::artdaqdb::run_of;
use crate::durable;
use crate::error::{Disposition, Error, Result};
use crate::faults;
use crate::regular_file;

/// How many damaged documents an error names.
const NAMED: usize = 10;

/// A collection's documents against its index.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Documents that both have.
    pub documents: usize,
    /// Documents that the index names and the directory lacks.
    pub lost: Vec<Oid>,
    /// Documents that the index does not name: of an import that was cut short,
    /// or left out by tools that wrote at the same time.
    pub unnamed: Vec<Oid>,
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
}

/// Compares an index with the documents of its directory, by name alone.
///
/// # Errors
/// The directory can't be read.
pub(super) fn compare(directory: &Path, index: &Index) -> Result<Comparison> {
    let found = documents(directory)?;
    let mut comparison = Comparison::default();
    for oid in &found {
        match index.contains(*oid) {
            true => comparison.documents += 1,
            false => comparison.unnamed.push(*oid),
        }
    }
    comparison.lost = index
        .oids()
        .iter()
        .filter(|oid| found.binary_search(oid).is_err())
        .copied()
        .collect();
    Ok(comparison)
}

/// Makes a new index of a collection's documents. The index that is there is
/// kept beside it. The caller holds the archive's lock.
///
/// # Errors
/// A document can't be read: an index without it would make its run look whole.
/// Nothing is changed then.
pub(super) fn rebuild(directory: &Path, suffix: &str) -> Result<Rebuilt> {
    let mut entries = Vec::new();
    let mut damaged = Vec::new();
    for oid in documents(directory)? {
        let path = directory.join(format!("{oid}.json"));
        match entries_of(&path, oid) {
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
    // The order in which they came, as far as the documents tell.
    entries.sort_by(|one, other| (&one.assigned, one.oid).cmp(&(&other.assigned, other.oid)));
    let mut index = Index::default();
    index.extend(&entries);

    let path = directory.join("index.json");
    let kept = durable::keep(&path, suffix)?;
    durable::replace(&path, index.write().as_bytes(), durable::SHARED)?;
    Ok(Rebuilt {
        index: path,
        documents: index.len(),
        kept,
    })
}

/// What the index says of a document: an entry for each of its configurations
/// and entities.
fn entries_of(path: &Path, oid: Oid) -> Result<Vec<Entry>, String> {
    let text = regular_file::read_to_string(path).map_err(|error| error.to_string())?;
    let stored = document::read(&text).map_err(|error| error.to_string())?;
    if stored.oid != oid.to_string() {
        return Err(format!("it says that it is {:?}", stored.oid));
    }
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
