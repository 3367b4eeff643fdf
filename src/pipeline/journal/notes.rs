//! `journal.json`: what cannot be seen in the run records and the databases.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Addresses;
use crate::durable;
use crate::error::{Error, Result};
use crate::pipeline::settle::Noted;
use crate::regular_file;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// The file of the work directory.
pub const JOURNAL_FILE: &str = "journal.json";

/// What the journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Notes {
    /// Runs that the import stage has in progress.
    pub(super) importing: RunSet,
    /// The runs that each store was seen to have, by its address: what shows that
    /// an empty store is not the real one.
    pub(super) known: BTreeMap<Store, BTreeMap<String, RunSet>>,
    /// What each stage does not take by itself, and why.
    pub(super) import: StageNotes,
    /// The same for the migrate stage.
    pub(super) migrate: StageNotes,
    /// Runs that an operator declared to be impossible to archive.
    pub(super) ignored: Vec<Ignored>,
    /// The runs that this journal's archiver imported, by artdaqDB's address.
    pub(super) imported: BTreeMap<String, RunSet>,
    /// The runs whose blob it stored or compared, by UconDB's address.
    pub(super) compared: BTreeMap<String, RunSet>,
    /// How records looked that had not settled, of open runs, and of archived runs whose
    /// record changed.
    pub(super) looks: BTreeMap<u64, Noted>,
    /// When the records of all archived runs were compared for the last time, to some
    /// hours.
    pub(super) rechecked: Option<Timestamp>,
}

/// What is noted of one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StageNotes {
    /// Unarchived runs below where an earlier archiver had come: taken only when
    /// asked for.
    pub(super) left: RunSet,
    /// Whether `left` was worked out: the stage has been run by this archiver.
    pub(super) is_begun: bool,
    /// Runs whose failure could have been the store's, at the end of the last
    /// execution, when the store could not be tried.
    pub(super) unproven: RunSet,
    /// Archived runs to which something could not be added, each with the reason.
    pub(super) not_updated: BTreeMap<u64, String>,
}

/// A place where runs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The directory of the run records.
    Records,
    /// artdaqDB.
    Artdaqdb,
    /// UconDB's folder of finished runs.
    Ucondb,
}

impl Store {
    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Store::Records => "The run record directory",
            Store::Artdaqdb => "artdaqDB",
            Store::Ucondb => "UconDB",
        }
    }
}

/// Runs that cannot be archived, as an operator says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// The runs.
    pub runs: RunSet,
    /// Why they cannot be archived.
    pub reason: String,
    /// Who said so.
    pub user: String,
    /// When.
    pub date: Timestamp,
}

impl Notes {
    /// Reads the journal; one that does not exist is empty.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what this program writes.
    pub(super) fn read(work_dir: &Path) -> Result<Notes> {
        let path = path(work_dir);
        match regular_file::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::State {
                path,
                problem: format!(
                    "the journal can't be read ({error}). It was left as it is. Restore it from a \
                     backup, or move it away: a new one is made then, and what an operator \
                     declared with --ignore must be declared again"
                ),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes::default()),
            Err(source) => Err(Error::io("read", &path, source)),
        }
    }

    /// Replaces the journal.
    ///
    /// # Errors
    /// The file cannot be written; it is then as it was.
    pub(super) fn write(&self, work_dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Unexpected(format!("the journal: {error}")))?;
        durable::replace(
            &path(work_dir),
            format!("{text}\n").as_bytes(),
            durable::PRIVATE,
        )
    }

    /// What is noted of a stage.
    pub(super) fn stage(&self, kind: StageKind) -> &StageNotes {
        match kind {
            StageKind::Import => &self.import,
            StageKind::Migrate => &self.migrate,
        }
    }

    /// The same, to be changed.
    pub(super) fn stage_mut(&mut self, kind: StageKind) -> &mut StageNotes {
        match kind {
            StageKind::Import => &mut self.import,
            StageKind::Migrate => &mut self.migrate,
        }
    }

    /// The runs that a store was seen to have under an address.
    pub(super) fn known(&self, store: Store, address: &str) -> Option<&RunSet> {
        self.known.get(&store)?.get(address)
    }

    /// The runs that an operator declared to be impossible to archive.
    pub(super) fn ignored(&self) -> RunSet {
        self.ignored
            .iter()
            .fold(RunSet::default(), |all, it| all.union(&it.runs))
    }

    /// Notes runs that were imported. What UconDB has of them under their keys may be
    /// another record, until it is compared.
    pub(super) fn imported(&mut self, addresses: &Addresses, runs: &RunSet) {
        if runs.is_empty() {
            return;
        }
        let of = |store| addresses.of(store).to_owned();
        let imported = self.imported.entry(of(Store::Artdaqdb)).or_default();
        *imported = imported.union(runs);
        if let Some(compared) = self.compared.get_mut(&of(Store::Ucondb)) {
            *compared = compared.difference(runs);
        }
    }

    /// Notes runs whose blob was stored or compared.
    pub(super) fn compared(&mut self, addresses: &Addresses, runs: &RunSet) {
        if runs.is_empty() {
            return;
        }
        let address = addresses.of(Store::Ucondb).to_owned();
        let compared = self.compared.entry(address).or_default();
        *compared = compared.union(runs);
    }

    /// Adds runs to those that a store was seen to have.
    pub(super) fn saw<'a>(
        &mut self,
        store: Store,
        address: &str,
        runs: impl IntoIterator<Item = &'a Run>,
    ) {
        let runs: RunSet = runs.into_iter().copied().collect();
        let known = self.known.entry(store).or_default();
        let known = known.entry(address.to_owned()).or_default();
        if !runs.difference(known).is_empty() {
            *known = known.union(&runs);
        }
    }
}

fn path(work_dir: &Path) -> PathBuf {
    work_dir.join(JOURNAL_FILE)
}
