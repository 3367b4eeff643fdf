//! What both stages share: which runs to take, the workers, retries, and the order
//! in which what was done becomes durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::reporter::stage_report::{Ending, StageReport};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::shutdown::Shutdown;

pub use event::{Event, LogLines, Observer, Observers, ProgressBar, ServiceStatus};
pub use fuzz::Fuzz;
pub use importer::Importer;
pub use incomplete::IncompleteRuns;
pub use journal::Journal;
pub use migrator::{MigrateOptions, Migrator};
pub use plan::Plan;

pub mod event;
mod fuzz;
pub mod importer;
pub mod incomplete;
pub mod journal;
pub mod migrator;
mod plan;
pub mod recovery;
mod workers;

/// How long processed runs wait at least for the database to make them visible
/// together.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(2);
/// How many times as long as it took to publish the last ones. In a large archive
/// that is the writing of its index, which then takes a third of the time at most.
const PUBLISH_PAUSE: u32 = 2;

/// A stage: where its runs come from, and what is done with one.
pub trait Stage: Sync {
    /// What is done with one run, and all that must be known to do it.
    type Job: Job;

    /// Which of the two stages it is.
    fn kind(&self) -> StageKind;

    /// Where the stage archives, without credentials.
    fn destination(&self) -> &str;

    /// Asks the source and the archive which runs they have, and returns all that
    /// is known of them.
    ///
    /// # Errors
    /// One of them cannot be reached or read.
    fn survey(&self) -> Result<Survey<Self::Job>>;

    /// Does a job. Called by many threads at once.
    ///
    /// # Errors
    /// The error's disposition says what becomes of the run.
    fn process(&self, job: &Self::Job) -> Result<Done>;

    /// Makes the runs processed so far durable and visible; only then do they
    /// count as archived.
    ///
    /// # Errors
    /// None of the runs since the last call counts as archived then.
    fn publish(&self) -> Result<()>;
}

/// What is to be done with one run.
pub trait Job: Clone + Send + Sync {
    /// The run.
    fn run(&self) -> Run;
}

/// What a job that succeeded tells of its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether the run's record has no stop time.
    pub without_stop_time: bool,
    /// Whether the stop time may still come: the record has a metadata.txt.
    pub awaits_stop_time: bool,
    /// Whether artdaqDB has the stop time of a run that was archived without it.
    pub gained_stop_time: bool,
    /// Whether documents were added to a run that was archived, so that UconDB has
    /// less than artdaqDB.
    pub has_more: bool,
}

/// What the source and the archive of a stage have.
#[derive(Debug, Clone)]
pub struct Survey<J> {
    /// Every run that the source or the archive knows.
    pub known: BTreeSet<Run>,
    /// The runs that the source can give.
    pub source: BTreeSet<Run>,
    /// The runs that are archived.
    pub archived: BTreeSet<Run>,
    /// What would archive each run of the source that is not archived.
    pub jobs: BTreeMap<Run, J>,
    /// What would add to archived runs what they lack.
    pub updates: BTreeMap<Run, J>,
    /// Runs that are taken wherever the stage goes on: what was archived of them
    /// does not count any longer, or not yet.
    pub again: BTreeSet<Run>,
    /// Runs that a killed execution may have archived without noting that they
    /// have no stop time.
    pub unnoted: BTreeSet<Run>,
}

// Derived, it would ask for a job's default.
impl<J> Default for Survey<J> {
    fn default() -> Survey<J> {
        Survey {
            known: BTreeSet::new(),
            source: BTreeSet::new(),
            archived: BTreeSet::new(),
            jobs: BTreeMap::new(),
            updates: BTreeMap::new(),
            again: BTreeSet::new(),
            unnoted: BTreeSet::new(),
        }
    }
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

/// What a stage works with besides its databases.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the configuration says.
    pub settings: &'a Settings,
    /// The only writer of what is remembered between executions.
    pub journal: &'a Journal,
    /// Who is told what happens.
    pub observers: Observers<'a>,
    /// Whether the work is to end.
    pub shutdown: &'a Shutdown,
}

/// Runs a stage: selects its runs, archives them, records what became of each.
pub fn run<S: Stage>(stage: &S, mode: Mode, context: &Context) -> StageReport {
    let started = Instant::now();
    let kind = stage.kind();
    let mut report = StageReport::new(kind, stage.destination());
    context.observers.tell(kind, &Event::Begun { mode });
    if let Err(error) = work(stage, mode, context, &mut report) {
        report.ending = Ending::NotBegun(error);
    }
    report.duration = started.elapsed();
    if !context.settings.dry_run || !report.has_begun() {
        context
            .observers
            .tell(kind, &Event::Finished { report: &report });
    }
    report
}

/// # Errors
/// The stage could not find out what there is to do. What goes wrong later is in
/// the report.
fn work<S: Stage>(
    stage: &S,
    mode: Mode,
    context: &Context,
    report: &mut StageReport,
) -> Result<()> {
    let kind = stage.kind();
    // What the operator has to correct by hand comes before any work.
    let memory = context.journal.recall(kind)?;
    let mut survey = stage.survey()?;
    let plan = Plan::new(
        &survey,
        mode,
        &memory.state,
        &memory.failures,
        context.settings.batch_size,
    );
    plan.announce(kind, mode, &context.journal.failure_log(kind));
    report.beyond_limit = plan.beyond_limit;
    if context.settings.dry_run {
        report.planned = plan.runs.into_iter().collect();
        report.failures = memory.failures.len();
        return Ok(());
    }

    let jobs = plan.jobs(&mut survey);
    let mut ledger = context.journal.open_ledger(kind, survey, memory)?;
    ledger.note_late(&plan.late)?;
    report.late = plan.late.len();
    if !jobs.is_empty() {
        ledger.begin(&jobs)?;
        workers::run(stage, &jobs, context, &mut ledger, report);
        let settled = report.archived.len()
            + report.updated.len()
            + report.failed.len()
            + report.not_updated.len();
        report.left = jobs.len() - settled;
    }
    report.failures = ledger.failures();
    (report.backlog, report.gaps) = ledger.open();
    Ok(())
}

/// A job with what its success or failure means.
#[derive(Debug, Clone)]
pub(crate) struct Planned<J> {
    /// What is to be done.
    pub(crate) job: J,
    /// Whether the run is archived already, and gets what it lacks.
    pub(crate) is_update: bool,
}

#[cfg(test)]
mod tests;
