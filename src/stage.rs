//! What both stages share: which runs to take, the workers, retries, progress,
//! and the order in which what was done becomes durable.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::faults;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::shutdown::Shutdown;
use crate::state::{State, StateStore};

pub use fuzz::Fuzz;
pub use selection::{Selection, Survey};

mod batch;
mod fuzz;
mod selection;

/// How long finished runs wait at least for the database to make them visible
/// together.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(2);
/// How many times as long as it took to publish the last ones. In a large archive
/// that is the writing of its index, which then takes a third of the time at most.
const PUBLISH_PAUSE: u32 = 2;

/// A stage: where its runs come from, and what is done with one.
pub trait Stage: Sync {
    /// The words in which its messages speak.
    fn words(&self) -> &'static Words;

    /// Asks the source and the archive which runs they have.
    ///
    /// # Errors
    /// One of them can't be reached or read.
    fn survey(&self) -> Result<Survey>;

    /// Called once before the first of these runs is processed.
    ///
    /// # Errors
    /// None of them is processed then.
    fn begin(&self, runs: &[Run]) -> Result<()> {
        let _ = runs;
        Ok(())
    }

    /// Archives one run. Called from many threads at once.
    ///
    /// # Errors
    /// The error's kind says what becomes of the run.
    fn process(&self, run: Run) -> Result<()>;

    /// Makes the runs processed so far durable and visible; only then do they
    /// count as archived.
    ///
    /// # Errors
    /// None of the runs since the last call counts as archived then.
    fn publish(&self) -> Result<()>;
}

/// The words of a stage's messages, which the operations manual quotes.
#[derive(Debug)]
pub struct Words {
    /// `Import Stage`.
    pub title: &'static str,
    /// `import`, as in "run 12500 import failed" and in "25 runs to import".
    pub verb: &'static str,
    /// `imported`.
    pub done: &'static str,
    /// The log's module name for the stage.
    pub target: &'static str,
    /// The flag that retries this stage's failures.
    pub retry_flag: &'static str,
    /// The flag that rebuilds this stage's state.
    pub recover_flag: &'static str,
}

/// Which runs an execution takes.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// Every run not yet archived.
    Full,
    /// Those above where the last execution came to, and those that this very
    /// execution brought to the stage's source.
    Incremental {
        /// What the stage before this one archived in this execution.
        fresh: &'a BTreeSet<Run>,
    },
    /// Those in the failure log.
    Retry {
        /// Of them, just these.
        only: Option<&'a RunSet>,
    },
    /// Just these.
    Runs(&'a RunSet),
}

/// What the configuration says of how a stage works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that archive runs; at least 1.
    pub workers: usize,
    /// How often a run is tried in all; at least 1.
    pub attempts: u32,
    /// How long to wait before a run is tried again.
    pub retry_delay: Duration,
    /// Runs an incremental execution takes at most, a full one ten times as many; 0 for all.
    pub batch_size: usize,
    /// Failures made on purpose, for trials.
    pub fuzz: Fuzz,
    /// Whether to say what would be done, and to do nothing.
    pub dry_run: bool,
}

/// What a stage did.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs archived in this execution.
    pub archived: BTreeSet<Run>,
    /// Runs that a dry run would have taken.
    pub planned: BTreeSet<Run>,
    /// Runs that failed in this execution, with the reason.
    pub failed: Vec<(Run, String)>,
    /// Runs that were to be done but were left by a shutdown or a stop.
    pub left: usize,
    /// Runs that wait beyond the limit of this execution.
    pub beyond_limit: usize,
    /// Late arrivals that went into the failure log.
    pub late: usize,
    /// Runs that the source has and the archive has not, at the end.
    pub backlog: usize,
    /// Runs below the highest archived one that are not archived, at the end.
    pub gaps: usize,
    /// Runs in the failure log at the end.
    pub failures: usize,
    /// Why the stage stopped before its runs were done.
    pub stopped: Option<Error>,
    /// Whether a run failed in a way that this program should rule out.
    pub unexpected: bool,
    /// How long it took.
    pub duration: Duration,
}

impl Report {
    /// Whether everything this execution set out to do was done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && self.stopped.is_none()
    }
}

/// Runs a stage: selects its runs, archives them, records what became of each.
///
/// # Errors
/// The stage could not find out what there is to do. What goes wrong later is in
/// the report.
pub fn run(
    stage: &dyn Stage,
    mode: Mode,
    settings: &Settings,
    store: &StateStore,
    shutdown: &Shutdown,
) -> Result<Report> {
    let started = Instant::now();
    let words = stage.words();
    let target = words.target;
    log::info!(target: target, "{}: Fetching runs (mode: {}).", words.title, mode.name());

    // What the operator has to put right by hand comes before any work.
    let state = store.read(&format!(
        "Run with {} to rebuild it, or restore it from a backup",
        words.recover_flag
    ))?;
    let failures = store.failures()?;
    let survey = stage.survey()?;
    let selection = Selection::new(&survey, mode, &state, &failures, settings.batch_size);
    selection.announce(words, mode, store);
    if settings.dry_run {
        return Ok(Report {
            planned: selection.runs.into_iter().collect(),
            beyond_limit: selection.beyond_limit,
            failures: failures.len(),
            ..Report::default()
        });
    }

    let mut record = Record {
        store,
        survey,
        state,
        written: failures.clone(),
        failures,
    };
    record.failures.extend(&selection.late);
    record
        .failures
        .retain(|run| !record.survey.archived.contains(run));
    record.write()?;

    let mut report = Report {
        beyond_limit: selection.beyond_limit,
        late: selection.late.len(),
        ..Report::default()
    };
    if !selection.runs.is_empty() {
        stage.begin(&selection.runs)?;
        batch::run(
            stage,
            &selection.runs,
            settings,
            shutdown,
            &mut record,
            &mut report,
        );
        report.left = selection.runs.len() - report.archived.len() - report.failed.len();
    }
    report.failures = record.failures.len();
    (report.backlog, report.gaps) = record.survey.open();
    report.duration = started.elapsed();
    log::info!(
        target: target,
        "{} completed in {:.0} seconds",
        words.title,
        report.duration.as_secs_f64()
    );
    Ok(report)
}

impl Mode<'_> {
    /// The mode's name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::Incremental { .. } => "incremental",
            Mode::Retry { .. } => "retry of failed runs",
            Mode::Runs(_) => "selected runs",
        }
    }
}

/// What is known of all runs, and where it is written down.
struct Record<'a> {
    store: &'a StateStore,
    survey: Survey,
    state: State,
    failures: BTreeSet<Run>,
    /// The failure log as it stands on disk.
    written: BTreeSet<Run>,
}

impl Record<'_> {
    /// Takes in what became of some runs, and writes it down.
    fn settle(&mut self, archived: &[Run], failed: &[Run]) -> Result<()> {
        self.survey.archived.extend(archived);
        self.failures.extend(failed);
        for run in archived {
            self.failures.remove(run);
        }
        self.write()
    }

    /// Writes the failure log and then the state, where they changed.
    fn write(&mut self) -> Result<()> {
        if self.written != self.failures {
            self.store.write_failures(&self.failures)?;
            self.written.clone_from(&self.failures);
        }
        if self.survey.known.is_empty() {
            // Nothing is known of any run: no reason to forget where the stage was.
            return Ok(());
        }
        let before = self.state.clone();
        self.state
            .recompute(&self.survey.known, &self.survey.archived, &self.failures);
        if self.state != before || !faults::exists(self.store.state_file()) {
            self.store.write(&self.state)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
