//! What is remembered between executions, and its only writer: how far each stage
//! came, which runs failed, which runs have no stop time yet, and which runs were
//! in progress.
//!
//! Order of writes: before runs become visible, those that have no stop time are
//! noted; after that come the failure log, the state, and last what was in
//! progress. A crash between any two leaves too many runs to look at again, never
//! too few.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::incomplete::IncompleteRuns;
use super::{Done, Job, Planned, Survey};
use crate::durable;
use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs;
use crate::run::{Run, StageKind};
use crate::run_list::RunList;
use crate::run_set::RunSet;
use crate::state::{State, StateStore};

/// The file of the work directory that names the runs that the import stage has in
/// progress.
pub const JOURNAL_FILE: &str = "journal.json";

/// The file of the work directory that names the runs that the migrate stage has
/// in progress.
const UNVERIFIED_RUNS: &str = "unverified_runs.log";

/// Where everything is kept.
#[derive(Debug, Clone)]
pub struct Places {
    /// The work directory.
    pub work_dir: PathBuf,
    /// State and failure log of the import stage.
    pub import: StateStore,
    /// State and failure log of the migrate stage.
    pub migrate: StateStore,
}

/// What is remembered between executions.
#[derive(Debug)]
pub struct Journal {
    places: Places,
    incomplete: IncompleteRuns,
    unverified: RunList,
    notes: Mutex<Notes>,
}

/// What `journal.json` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    /// Runs that the import stage has in progress, as ranges.
    importing: String,
}

/// What a stage remembers of earlier executions.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// How far it came.
    pub state: State,
    /// Which runs failed.
    pub failures: BTreeSet<Run>,
}

impl Journal {
    /// Reads what is remembered of runs in progress and runs without a stop time.
    /// `incomplete` is the list of the latter.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what this program writes.
    pub fn open(places: Places, incomplete: IncompleteRuns) -> Result<Journal> {
        let path = places.work_dir.join(JOURNAL_FILE);
        let notes = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::State {
                path: path.clone(),
                problem: format!(
                    "the journal can't be read ({error}). It was left as it is. Restore it from a \
                     backup, or move it away"
                ),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Notes::default(),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        Ok(Journal {
            unverified: RunList::new(places.work_dir.join(UNVERIFIED_RUNS)),
            incomplete,
            places,
            notes: Mutex::new(notes),
        })
    }

    /// The runs whose stop time is not in both databases yet.
    #[must_use]
    pub fn incomplete(&self) -> &IncompleteRuns {
        &self.incomplete
    }

    /// The runs that the import stage had in progress when it was killed.
    ///
    /// # Errors
    /// The journal's list is no list of runs.
    pub fn importing(&self) -> Result<BTreeSet<Run>> {
        let text = self.notes().importing.clone();
        if text.is_empty() {
            return Ok(BTreeSet::new());
        }
        let runs = RunSet::parse(&text).map_err(|problem| Error::State {
            path: self.places.work_dir.join(JOURNAL_FILE),
            problem: format!(
                "\"importing\": {problem}. Restore the journal from a backup, or move it away"
            ),
        })?;
        Ok(runs.iter().collect())
    }

    /// The runs that the migrate stage had in progress when it was killed: UconDB
    /// may have blobs of them that were not compared.
    ///
    /// # Errors
    /// As for [`RunList::read`].
    pub fn unverified(&self) -> Result<BTreeSet<Run>> {
        self.unverified.read()
    }

    /// The failure log of a stage, for messages.
    #[must_use]
    pub fn failure_log(&self, kind: StageKind) -> PathBuf {
        self.store(kind).failure_log().to_path_buf()
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
        Ok(Memory {
            state: store.read(&format!(
                "Run with {} to rebuild it, or restore it from a backup",
                kind.recover_flag()
            ))?,
            failures: store.failures()?,
        })
    }

    /// Opens the ledger of a stage that is about to work, and writes down what the
    /// survey brought to light.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn open_ledger<J>(
        &self,
        kind: StageKind,
        survey: Survey<J>,
        memory: Memory,
    ) -> Result<Ledger<'_>> {
        let Memory { state, failures } = memory;
        let in_progress = match kind {
            StageKind::Import => self.importing()?,
            StageKind::Migrate => self.unverified()?,
        };
        let mut ledger = Ledger {
            journal: self,
            kind,
            known: survey.known,
            source: survey.source,
            archived: survey.archived,
            state,
            written: failures.clone(),
            failures,
            in_progress,
            is_begun: false,
        };
        for run in survey.unnoted {
            self.incomplete.remember(run);
        }
        self.incomplete.save()?;
        ledger.failures.retain(|run| !ledger.archived.contains(run));
        ledger.write()?;
        Ok(ledger)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Every change is one assignment.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes which runs the import stage has in progress.
    fn write_importing(&self, runs: &BTreeSet<Run>) -> Result<()> {
        let runs: RunSet = runs.iter().copied().collect();
        let mut notes = self.notes();
        let changed = Notes {
            importing: runs.to_string(),
        };
        if *notes == changed {
            return Ok(());
        }
        let path = self.places.work_dir.join(JOURNAL_FILE);
        let text = serde_json::to_string_pretty(&changed)
            .map_err(|error| Error::Unexpected(format!("the journal: {error}")))?;
        durable::replace(&path, format!("{text}\n").as_bytes(), durable::PRIVATE)?;
        *notes = changed;
        Ok(())
    }
}

/// What is known of all runs while a stage works, and the writer of what becomes
/// of them. One thread has it, so that many results share one write.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    journal: &'a Journal,
    kind: StageKind,
    known: BTreeSet<Run>,
    source: BTreeSet<Run>,
    archived: BTreeSet<Run>,
    state: State,
    failures: BTreeSet<Run>,
    /// The failure log as it is on disk.
    written: BTreeSet<Run>,
    /// Runs that may be archived without being noted as such.
    in_progress: BTreeSet<Run>,
    /// Whether the list of runs in progress was written by this execution.
    is_begun: bool,
}

impl Ledger<'_> {
    /// Adds late arrivals to the failure log.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn note_late(&mut self, late: &[Run]) -> Result<()> {
        self.failures.extend(late);
        self.write()
    }

    /// Writes down that these jobs are in progress, before the first of them is.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(super) fn begin<J: Job>(&mut self, jobs: &[Planned<J>]) -> Result<()> {
        if self.kind == StageKind::Import {
            // What a killed execution left was noted when the ledger was opened.
            self.in_progress.clear();
        }
        let runs = jobs.iter().filter(|planned| self.is_tracked(planned));
        let runs: Vec<Run> = runs.map(|planned| planned.job.run()).collect();
        self.in_progress.extend(runs);
        self.is_begun = true;
        self.write_in_progress()
    }

    /// Whether a crash during the job can leave what must be looked at again. What
    /// adds to an imported run can simply be done twice.
    fn is_tracked<J>(&self, planned: &Planned<J>) -> bool {
        self.kind == StageKind::Migrate || !planned.is_update
    }

    /// Writes down what must be known of runs before they become visible.
    ///
    /// # Errors
    /// The list of runs without a stop time cannot be written; the runs must not
    /// be published then.
    pub(super) fn before_publish(&self, runs: &[(Run, Done)]) -> Result<()> {
        for (run, done) in runs {
            if done.awaits_stop_time || done.has_more {
                self.journal.incomplete.remember(*run);
            }
        }
        self.journal.incomplete.save()
    }

    /// Takes in what became of some runs, and writes it down: failure log, state,
    /// and then what is still in progress.
    ///
    /// # Errors
    /// A file cannot be written. What was published stays archived, and the next
    /// execution finds it there.
    pub(super) fn settle(&mut self, archived: &[(Run, Done)], failed: &[Run]) -> Result<()> {
        let incomplete = &self.journal.incomplete;
        for (run, done) in archived {
            self.archived.insert(*run);
            self.failures.remove(run);
            self.in_progress.remove(run);
            match self.kind {
                StageKind::Import if done.gained_stop_time => incomplete.stop_time_added(*run),
                StageKind::Import => {}
                StageKind::Migrate => incomplete.migrated(*run),
            }
        }
        self.failures.extend(failed);
        self.write()?;
        incomplete.save()?;
        self.write_in_progress()
    }

    /// How many runs are in the failure log.
    pub(super) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// How many runs the source has and the archive does not have, and how many
    /// known runs below the highest archived one are not archived.
    pub(super) fn open(&self) -> (usize, usize) {
        let gaps = self.archived.last().map_or(0, |last| {
            let below = self.known.range(..=*last);
            below.filter(|run| !self.archived.contains(run)).count()
        });
        (self.source.difference(&self.archived).count(), gaps)
    }

    fn write_in_progress(&self) -> Result<()> {
        if !self.is_begun {
            return Ok(());
        }
        match self.kind {
            StageKind::Import => self.journal.write_importing(&self.in_progress),
            StageKind::Migrate => self.journal.unverified.write(&self.in_progress),
        }
    }

    /// Writes the failure log and then the state, where they changed.
    fn write(&mut self) -> Result<()> {
        let store = self.journal.store(self.kind);
        if self.written != self.failures {
            store.write_failures(&self.failures)?;
            self.written.clone_from(&self.failures);
        }
        if self.known.is_empty() {
            // Nothing is known of any run: no reason to forget where the stage was.
            return Ok(());
        }
        let before = self.state.clone();
        self.state
            .recompute(&self.known, &self.archived, &self.failures);
        if self.state != before || !faults::exists(store.state_file()) {
            store.write(&self.state)?;
        }
        Ok(())
    }
}
