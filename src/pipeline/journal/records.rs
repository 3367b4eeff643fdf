//! `records.json`: what is known of the records of archived runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::run::Run;
use crate::run_record::{DirectoryStamp, SourceDigests};

/// The file of the work directory.
const FILE: &str = "records.json";

/// What is known of an archived run's record: how it looked when it was compared with
/// artdaqDB for the last time, or imported, and what was found then. There is one for
/// every run, so the names in the file are short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordNote {
    /// When the run was imported, in seconds since 1970, by the clock of whoever did
    /// it; 0 if that is not known.
    #[serde(rename = "at")]
    pub imported: i64,
    /// When the contents of the record were seen to be others for the last time.
    #[serde(rename = "ch")]
    pub changed: i64,
    /// Digests of names, sizes and all times of its files, and of these without the
    /// times at which modes and names changed.
    #[serde(rename = "fp")]
    pub look: (u64, u64),
    /// The directory alone.
    #[serde(rename = "dir")]
    pub directory: DirectoryStamp,
    /// The contents of the .txt files.
    #[serde(rename = "txt")]
    pub sources: SourceDigests,
    /// The run's stamp in artdaqDB, where there are stamps.
    #[serde(rename = "db", skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Whether artdaqDB has no stop time of the run, and one may come.
    #[serde(rename = "open", skip_serializing_if = "is_false")]
    pub is_open: bool,
    /// Files that artdaqDB lacks of the record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Whether they are added without being asked for: the record gained them, or the
    /// run was imported a short time before.
    #[serde(skip_serializing_if = "is_false")]
    pub adds: bool,
    /// Files of the record that are others than those that were archived.
    #[serde(rename = "differ", skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// Files that the record names and does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl RecordNote {
    /// Whether there is something to tell an operator.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        !(self.missing.is_empty() && self.lacks.is_empty() && self.differs.is_empty())
    }
}

/// What is known of the records of archived runs. Losing it costs time alone: the
/// records are compared with artdaqDB then.
#[derive(Debug)]
pub(super) struct Records {
    path: PathBuf,
    runs: BTreeMap<u64, RecordNote>,
    is_changed: bool,
}

impl Records {
    /// Reads the file. One that does not exist or cannot be understood holds nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(work_dir: &Path) -> Result<Records> {
        let path = work_dir.join(FILE);
        let runs = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                log::warn!(
                    "{} can't be read ({error}): the records are compared with artdaqDB again",
                    path.display()
                );
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        Ok(Records {
            path,
            runs,
            is_changed: false,
        })
    }

    /// What is known of a run's record.
    pub(super) fn get(&self, run: Run) -> Option<&RecordNote> {
        self.runs.get(&run.0)
    }

    /// Every run of which something is known.
    pub(super) fn all(&self) -> impl Iterator<Item = (Run, &RecordNote)> {
        self.runs.iter().map(|(run, note)| (Run(*run), note))
    }

    /// Notes what is known of a run's record now.
    pub(super) fn note(&mut self, run: Run, note: RecordNote) {
        if self.runs.get(&run.0) != Some(&note) {
            self.runs.insert(run.0, note);
            self.is_changed = true;
        }
    }

    /// Replaces the file, if anything changed.
    ///
    /// # Errors
    /// It cannot be written; it is then as it was.
    pub(super) fn save(&mut self) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        // One line: there is an entry for every archived run.
        let mut text = serde_json::to_vec(&self.runs)
            .map_err(|error| Error::Unexpected(format!("the notes on records: {error}")))?;
        text.push(b'\n');
        durable::replace(&self.path, &text, durable::PRIVATE)?;
        self.is_changed = false;
        Ok(())
    }
}
