//! What is remembered between executions, and its only writer: how far each stage
//! came, which runs failed and how, which are ignored, which have no stop time
//! yet, which were in progress, and which runs each store was seen to have.
//!
//! Order of writes: before runs become visible, those that have no stop time are
//! noted; after that come the failure log, the state, and last what was in
//! progress. A crash between any two leaves too many runs to look at again, never
//! too few.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;

use super::incomplete::IncompleteRuns;
use super::settle::Noted;
use crate::clock;
use crate::error::Result;
use crate::run::{Run, StageKind};
use crate::run_list::RunList;
use crate::run_set::RunSet;
use crate::state::{State, StateStore};
use crate::sys::sync;

pub(super) use active::ActiveRuns;
pub(crate) use failures::is_same_reason;
pub use failures::{FailureClass, FailureDetails, Failures, details_file};
pub use guard::Guard;
pub(super) use ledger::Ledger;
use notes::Notes;
pub use notes::{Ignored, JOURNAL_FILE, Store};
pub use records::RecordNote;
use records::Records;

mod active;
mod failures;
mod guard;
mod ledger;
mod notes;
mod records;

/// The file of the work directory that names the runs that the migrate stage has
/// in progress.
const UNVERIFIED_RUNS: &str = "unverified_runs.log";

/// The directory of the work directory with documents that a database replaced.
const REPLACED: &str = "replaced";

/// Where everything is kept.
#[derive(Debug, Clone)]
pub struct Places {
    /// The work directory.
    pub work_dir: PathBuf,
    /// State and failure log of the import stage.
    pub import: StateStore,
    /// State and failure log of the migrate stage.
    pub migrate: StateStore,
    /// The addresses of the stores, by which their known runs are kept apart.
    pub addresses: Addresses,
}

/// The addresses of the stores, without credentials.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The directory of the run records.
    pub records: String,
    /// artdaqDB's URI.
    pub artdaqdb: String,
    /// UconDB's URL, folder and object.
    pub ucondb: String,
}

impl Addresses {
    /// The address of a store.
    #[must_use]
    pub fn of(&self, store: Store) -> &str {
        match store {
            Store::Records => &self.records,
            Store::Artdaqdb => &self.artdaqdb,
            Store::Ucondb => &self.ucondb,
        }
    }
}

/// What is remembered between executions.
#[derive(Debug)]
pub struct Journal {
    places: Places,
    incomplete: IncompleteRuns,
    unverified: RunList,
    notes: Mutex<Notes>,
    records: Mutex<Records>,
    active: ActiveRuns,
}

/// What a stage remembers of earlier executions.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// How far it came; `None` before its first execution.
    pub state: Option<State>,
    /// Which runs failed.
    pub failures: Failures,
}

impl Journal {
    /// Reads what is remembered. `incomplete` is the list of runs that have no
    /// stop time.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what this program writes.
    pub fn open(places: Places, incomplete: IncompleteRuns) -> Result<Journal> {
        Ok(Journal {
            notes: Mutex::new(Notes::read(&places.work_dir)?),
            records: Mutex::new(Records::read(&places.work_dir)?),
            unverified: RunList::new(places.work_dir.join(UNVERIFIED_RUNS)),
            active: ActiveRuns::new(&places.work_dir),
            incomplete,
            places,
        })
    }

    /// The runs whose stop time is not in both databases yet.
    #[must_use]
    pub fn incomplete(&self) -> &IncompleteRuns {
        &self.incomplete
    }

    /// The runs that the import stage had in progress when it was killed.
    #[must_use]
    pub fn importing(&self) -> BTreeSet<Run> {
        self.notes().importing.iter().collect()
    }

    /// The runs that the migrate stage had in progress when it was killed: UconDB
    /// may have blobs of them that were not compared.
    ///
    /// # Errors
    /// As for [`RunList::read`].
    pub fn unverified(&self) -> Result<BTreeSet<Run>> {
        self.unverified.read()
    }

    /// The runs that a store was seen to have.
    #[must_use]
    pub fn known(&self, store: Store) -> RunSet {
        let address = self.places.addresses.of(store);
        let notes = self.notes();
        notes.known(store, address).cloned().unwrap_or_default()
    }

    /// The runs that were imported with this journal.
    #[must_use]
    pub fn imported(&self) -> RunSet {
        let address = self.places.addresses.of(Store::Artdaqdb);
        let notes = self.notes();
        notes.imported.get(address).cloned().unwrap_or_default()
    }

    /// The runs whose blob in UconDB was stored, or compared with what artdaqDB has,
    /// with this journal.
    #[must_use]
    pub fn compared(&self) -> RunSet {
        let address = self.places.addresses.of(Store::Ucondb);
        let notes = self.notes();
        notes.compared.get(address).cloned().unwrap_or_default()
    }

    /// The runs that an operator declared to be impossible to archive, with the
    /// reason of each declaration.
    #[must_use]
    pub fn declarations(&self) -> Vec<Ignored> {
        self.notes().ignored.clone()
    }

    /// How the record of an open run looked when it had not settled.
    #[must_use]
    pub fn noted(&self, run: Run) -> Option<Noted> {
        self.notes().looks.get(&run.0).cloned()
    }

    /// What there is to tell an operator of the records of archived runs.
    #[must_use]
    pub fn record_notes(&self) -> Vec<(Run, RecordNote)> {
        let records = sync::lock(&self.records);
        let notes = records.all().filter(|(_, note)| note.is_notable());
        notes.map(|(run, note)| (run, note.clone())).collect()
    }

    /// What is known of a run's record.
    #[must_use]
    pub fn record_note(&self, run: Run) -> Option<RecordNote> {
        sync::lock(&self.records).get(run).cloned()
    }

    /// Where documents are kept that a database replaces.
    #[must_use]
    pub fn replaced(&self) -> PathBuf {
        self.places.work_dir.join(REPLACED)
    }

    /// Why something could not be added to an archived run the last time, if it could not.
    #[must_use]
    pub fn update_failure(&self, kind: StageKind, run: Run) -> Option<String> {
        self.notes().stage(kind).not_updated.get(&run.0).cloned()
    }

    /// When all records were compared for the last time.
    #[must_use]
    pub fn rechecked(&self) -> Option<Timestamp> {
        self.notes().rechecked
    }

    /// The runs of all declarations.
    #[must_use]
    pub fn ignored(&self) -> RunSet {
        self.notes().ignored()
    }

    /// The unarchived runs below where an earlier archiver had come, which a stage
    /// does not take by itself.
    #[must_use]
    pub fn left(&self, kind: StageKind) -> RunSet {
        self.notes().stage(kind).left.clone()
    }

    /// Whether the stage was run by this archiver before.
    #[must_use]
    pub fn has_begun(&self, kind: StageKind) -> bool {
        self.notes().stage(kind).is_begun
    }

    /// Runs whose failure could have been the store's at the end of the last
    /// execution.
    #[must_use]
    pub fn unproven(&self, kind: StageKind) -> RunSet {
        self.notes().stage(kind).unproven.clone()
    }

    /// The address of a store.
    #[must_use]
    pub fn address(&self, store: Store) -> String {
        self.places.addresses.of(store).to_owned()
    }

    /// Makes the failure logs that are not there yet, both: operators' commands sort
    /// and count them from the first execution on.
    ///
    /// # Errors
    /// One cannot be made.
    pub(super) fn create_failure_logs(&self) -> Result<()> {
        self.places.import.create_failure_log()?;
        self.places.migrate.create_failure_log()
    }

    /// Notes that no run is in progress any longer.
    pub(super) fn end_work(&self) {
        self.active.finish();
    }

    /// The runs that the workers have at this moment.
    pub(super) fn active(&self) -> &ActiveRuns {
        &self.active
    }

    /// State and failure log of a stage.
    #[must_use]
    pub fn store(&self, kind: StageKind) -> &StateStore {
        match kind {
            StageKind::Import => &self.places.import,
            StageKind::Migrate => &self.places.migrate,
        }
    }

    /// Reads state and failure log of a stage.
    ///
    /// # Errors
    /// One of them cannot be used; the message names the flag that rebuilds it.
    pub fn recall(&self, kind: StageKind) -> Result<Memory> {
        let store = self.store(kind);
        let state = store.find(&format!(
            "Run with {} to rebuild it, or restore it from a backup",
            kind.recover_flag()
        ))?;
        Ok(Memory {
            state,
            failures: self.failures(kind)?,
        })
    }

    /// Reads the failure log of a stage, and what is known of its runs.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn failures(&self, kind: StageKind) -> Result<Failures> {
        let store = self.store(kind);
        let details = failures::read_details(&details_file(store.failure_log()))?;
        Ok(Failures::new(store.failures()?, details))
    }

    /// Declares runs to be impossible to archive.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn ignore(&self, runs: RunSet, reason: &str, user: &str) -> Result<()> {
        let ignored = Ignored {
            runs: runs.clone(),
            reason: reason.to_owned(),
            user: user.to_owned(),
            date: clock::now(),
        };
        self.change(|notes| {
            withdraw(notes, &runs);
            notes.ignored.push(ignored);
        })
    }

    /// Takes back what was declared of these runs. Returns those of which nothing
    /// was declared.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn unignore(&self, runs: &RunSet) -> Result<RunSet> {
        let unknown = runs.difference(&self.ignored());
        self.change(|notes| withdraw(notes, runs))?;
        Ok(unknown)
    }

    /// Starts a stage's part of the journal anew: the runs that its stores have
    /// are those that are known, and none is left to an earlier archiver.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn start_anew(
        &self,
        kind: StageKind,
        stores: &[(Store, &BTreeSet<Run>)],
    ) -> Result<()> {
        self.change(|notes| {
            for (store, runs) in stores {
                let address = self.places.addresses.of(*store).to_owned();
                let runs: RunSet = runs.iter().copied().collect();
                notes.known.entry(*store).or_default().insert(address, runs);
            }
            let stage = notes.stage_mut(kind);
            stage.left = RunSet::default();
            stage.unproven = RunSet::default();
            stage.is_begun = true;
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Whoever changes them changes a copy.
        sync::lock(&self.notes)
    }

    /// Changes the notes, and writes them if that made a difference.
    fn change(&self, change: impl FnOnce(&mut Notes)) -> Result<()> {
        let mut notes = self.notes();
        let mut changed = notes.clone();
        change(&mut changed);
        if changed != *notes {
            changed.write(&self.places.work_dir)?;
            *notes = changed;
        }
        Ok(())
    }
}

/// Takes runs out of every declaration.
fn withdraw(notes: &mut Notes, runs: &RunSet) {
    for ignored in &mut notes.ignored {
        ignored.runs = ignored.runs.difference(runs);
    }
    notes.ignored.retain(|ignored| !ignored.runs.is_empty());
}
