//! `records.json`: what is known of the records of archived runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::run::Run;

/// The file of the work directory.
const FILE: &str = "records.json";

/// What is known of a run's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordNote {
    /// Files that the record names and does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
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
