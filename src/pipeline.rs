//! What both stages share: which runs to take, the workers, retries, and the order
//! in which what was done becomes durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock;
use crate::error::{Disposition, Error, Result};
use crate::reporter::stage_report::{Ending, StageReport};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::shutdown::Shutdown;

pub use event::{Event, LogLines, Observer, Observers, ProgressBar, ServiceStatus};
pub use fuzz::Fuzz;
pub use importer::Importer;
pub use incomplete::IncompleteRuns;
pub use journal::{FailureDetails, Journal, Memory, RecordNote, Store};
pub use migrator::{MigrateOptions, Migrator};
use plan::Outlook;
pub use plan::Plan;
pub use recheck::Recheck;
pub use settle::{Noted, Patience, Readiness};

mod budget;
mod compare;
pub mod event;
pub mod forecast;
mod fuzz;
pub mod importer;
pub mod incomplete;
pub mod journal;
pub mod migrator;
mod plan;
pub mod recheck;
pub mod recovery;
mod rest;
pub mod settle;
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
    fn process(&self, job: &Self::Job) -> Result<Done, Fault>;

    /// About how many bytes of documents a job has in memory: as much of the budget it
    /// takes. 0 if that cannot be told.
    fn weight(&self, job: &Self::Job) -> u64 {
        let _ = job;
        0
    }

    /// Makes the runs processed so far durable and visible; only then do they
    /// count as archived. Returns those that failed in that alone.
    ///
    /// # Errors
    /// None of the runs since the last call counts as archived then.
    fn publish(&self) -> Result<Vec<(Run, Fault)>>;

    /// Tries a store that may have caused the failures of runs. `archived` are the
    /// runs that were archived before, without the failed ones.
    fn trial(&self, side: Side, archived: &BTreeSet<Run>) -> Trial;

    /// Whether the source of a run is whole. `noted` is how it looked before.
    fn readiness(&self, run: Run, noted: Option<&Noted>) -> Readiness {
        let _ = (run, noted);
        Readiness::Ready
    }

    /// Says what a job would change, a line each; nothing where that is plain.
    ///
    /// # Errors
    /// The run or its source cannot be read.
    fn preview(&self, job: &Self::Job) -> Result<Vec<String>, Fault> {
        let _ = job;
        Ok(Vec::new())
    }

    /// The archive's stamp of a run that was published, where it has stamps.
    fn stamp(&self, run: Run) -> Option<u64> {
        let _ = run;
        None
    }

    /// Identifies the source of a run as it is now: another text means that
    /// another attempt at a failed run is worth its while. `None` if the source
    /// cannot be read.
    fn evidence(&self, run: Run) -> Option<String>;
}

/// What is to be done with one run.
pub trait Job: Clone + Send + Sync {
    /// The run.
    fn run(&self) -> Run;
}

/// Why a job failed.
#[derive(Debug)]
pub struct Fault {
    /// The error.
    pub error: Error,
    /// Which store may have caused it; `None` if only the run can.
    pub side: Option<Side>,
    /// What the stage does about it: mostly what the error says.
    pub disposition: Disposition,
}

impl Fault {
    /// A failure that no store can have caused.
    pub(crate) fn of_run(error: Error) -> Fault {
        Fault {
            disposition: error.disposition(),
            error,
            side: None,
        }
    }
}

/// What was being done with a store when a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Reading a run record.
    ReadRecord,
    /// Reading a run from artdaqDB.
    ReadArtdaqdb,
    /// Writing a run to artdaqDB.
    WriteArtdaqdb,
    /// Reading a blob from UconDB.
    ReadUcondb,
    /// Uploading a blob to UconDB.
    WriteUcondb,
}

impl Side {
    /// The store in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Side::ReadRecord => "the run record directory",
            Side::ReadArtdaqdb | Side::WriteArtdaqdb => "artdaqDB",
            Side::ReadUcondb | Side::WriteUcondb => "UconDB",
        }
    }

    /// Makes an error one that this store may have caused.
    pub(crate) fn fault(self, error: Error) -> Fault {
        let disposition = match (&error, error.disposition()) {
            // A path of a store that is not there: an unmounted disk, not the run.
            (Error::Io { .. }, Disposition::FailRun) if self != Side::ReadRecord => {
                Disposition::RetryRun
            }
            // A blob that was stored and is not there: a disk that went away, a
            // database that was restored.
            (_, Disposition::FailRun) if self == Side::ReadUcondb => Disposition::RetryRun,
            (_, disposition) => disposition,
        };
        Fault {
            disposition,
            error,
            side: Some(self),
        }
    }
}

/// What a trial of a store shows.
#[derive(Debug)]
pub enum Trial {
    /// The store works: the runs are at fault.
    Works,
    /// The store does not work.
    Fails(Error),
    /// Only another run can show it.
    Inconclusive,
}

impl Trial {
    /// Reads some of these, one after the other: if any can be read, the store works.
    /// One of them may be damaged itself.
    fn by_reading<T, R>(known: impl Iterator<Item = T>, read: impl Fn(T) -> Result<R>) -> Trial {
        /// How many are read. A store that does not answer costs a time limit for each.
        const TRIED: usize = 3;
        let mut failed = None;
        for it in known.take(TRIED) {
            match read(it) {
                Ok(_) => return Trial::Works,
                Err(error) if error.disposition() == Disposition::StopStage => {
                    return Trial::Fails(error);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Trial::Inconclusive, Trial::Fails)
    }
}

/// What a job that succeeded tells of its run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Whether the run's record has no stop time.
    pub without_stop_time: bool,
    /// Whether the stop time may still come: the record has a metadata.txt.
    pub awaits_stop_time: bool,
    /// Whether artdaqDB has the stop time of a run that was archived without it, or
    /// none is to come.
    pub gained_stop_time: bool,
    /// Whether documents were added to a run that was archived, so that UconDB has
    /// less than artdaqDB.
    pub has_more: bool,
    /// Whether nothing was added but times.
    pub adds_times_only: bool,
    /// Whether the archive had everything already, so that nothing was stored.
    pub stored_nothing: bool,
    /// What is known now of the run's record.
    pub note: Option<Box<RecordNote>>,
}

impl Done {
    /// Whether the success shows that a store works: one that only had to be read
    /// from may be full or read-only.
    fn shows(&self, side: Side) -> bool {
        let stores = matches!(side, Side::WriteArtdaqdb | Side::WriteUcondb);
        !(stores && self.stored_nothing)
    }
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
    /// What a look at the records of archived runs brought.
    pub recheck: Recheck,
    /// The runs that each store has.
    pub sightings: Vec<(Store, BTreeSet<Run>)>,
    /// Whether the archive exists, empty or not.
    pub archive_exists: bool,
    /// Whether open runs may have been archived and removed from the archive.
    pub asks_elsewhere: bool,
    /// Of the open runs, those that another archive has; `None` if it cannot tell.
    pub elsewhere: Option<BTreeSet<Run>>,
    /// Whether numbers far above the highest archived run may be no runs.
    pub holds_back: bool,
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
            recheck: Recheck::default(),
            sightings: Vec::new(),
            archive_exists: true,
            asks_elsewhere: false,
            elsewhere: None,
            holds_back: false,
        }
    }
}

/// Which runs an execution takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Every run not yet archived.
    Full,
    /// New runs, late arrivals, and failures that are due, within a limit.
    Incremental,
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
            Mode::Incremental => "incremental",
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
    /// Runs an incremental execution takes at most; 0 for all.
    pub batch_size: usize,
    /// Runs below this one are left alone.
    pub first_run: Option<Run>,
    /// For how long nothing of a record must have changed before it is archived.
    pub settle: Duration,
    /// How many bytes of documents may be in work at once.
    pub memory_budget: u64,
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
    let journal = context.journal;
    let settings = context.settings;
    // What the operator has to correct by hand comes before any work.
    let memory = journal.recall(kind)?;
    let mut survey = stage.survey()?;
    report.doubtful = guard(stage, &survey, mode, &memory, journal)?;

    let now = clock::now();
    let changed = memory.failures.permanent().filter(|(run, details)| {
        let evidence = stage.evidence(*run);
        evidence.is_some() && evidence != details.evidence
    });
    let outlook = Outlook {
        failures: &memory.failures,
        changed: changed.map(|(run, _)| run).collect(),
        ignored: journal.ignored(),
        left: left(kind, &survey, &memory, journal),
        known: journal.known(Store::Artdaqdb),
        first_run: settings.first_run,
        batch_size: settings.batch_size,
        now,
    };
    let mut noted = BTreeMap::new();
    let mut gate = |run: Run| match stage.readiness(run, journal.noted(run).as_ref()) {
        Readiness::Ready => true,
        Readiness::Restless => {
            log::warn!(
                target: kind.target(),
                "Run {run}: the change times of its record moved for a day though its contents did \
                 not: it is taken all the same. Does a backup or a job touch the records?"
            );
            true
        }
        Readiness::Waits(look) => {
            noted.insert(run, look);
            false
        }
    };
    let plan = Plan::new(&survey, mode, &outlook, &mut gate);
    plan.announce(kind, mode, journal.store(kind).failure_log());
    let left = outlook.left;
    report.is_retry = matches!(mode, Mode::Retry { .. });
    rest::note_plan(report, &plan);
    report.never_settled = never_settled(&noted, now);
    report.settled_from = now.checked_add(settings.settle).ok();
    if settings.dry_run {
        preview(stage, &plan, &survey);
        report.planned = plan.to_archive();
        report.failures = memory.failures.runs.len();
        return Ok(());
    }

    journal.create_failure_logs()?;
    let mut jobs = plan.jobs(&mut survey, &memory.failures);
    let asked: Vec<Run> = match mode {
        Mode::Runs(runs) => {
            let known = survey.known.iter().copied();
            known.filter(|run| runs.contains(*run)).collect()
        }
        _ => Vec::new(),
    };
    report.changed_records = std::mem::take(&mut survey.recheck.changed);
    let source = survey.source.clone();
    let taken: RunSet = plan.to_archive().into_iter().collect();
    let left = left.difference(&taken);
    let mut ledger = journal.open_ledger(kind, survey, memory, &left, plan.apart(), noted)?;
    let alone = workers::set_suspects_apart(stage, &mut jobs, context, &mut ledger, report)?;
    if jobs.len() + alone.len() > 0 {
        let all: Vec<_> = jobs.iter().chain(&alone).cloned().collect();
        ledger.begin(&all)?;
        workers::run(stage, &jobs, &alone, context, &mut ledger, report);
        if let Err(error) = ledger.end() {
            report.stop(error);
        }
    }
    journal.end_work();
    report.gaps = ledger.gaps();
    let archived = ledger.archived();
    report.unarchived = asked
        .into_iter()
        .filter(|run| !archived.contains(run) || report.settling.contains(*run))
        .collect();
    rest::note_records(report, journal);
    rest::note_rest(report, &ledger.backlog(), ledger.failures(), &source);
    Ok(())
}

/// Says what would be changed of archived runs.
fn preview<S: Stage>(stage: &S, plan: &Plan, survey: &Survey<S::Job>) {
    let target = stage.kind().target();
    for run in &plan.updates {
        let Some(job) = survey.updates.get(run) else {
            continue;
        };
        match stage.preview(job) {
            Ok(lines) => lines
                .iter()
                .for_each(|line| log::info!(target: target, "Run {run}: {line}")),
            Err(fault) => log::warn!(target: target, "Run {run}: {}", fault.error),
        }
    }
}

/// The runs whose records were looked at for more than a day and never settled.
fn never_settled(noted: &BTreeMap<Run, Noted>, now: Timestamp) -> RunSet {
    let long = noted
        .iter()
        .filter(|(_, noted)| now.duration_since(noted.first) >= SignedDuration::from_hours(24));
    long.map(|(run, _)| *run).collect()
}

/// Compares the stores with what they were seen to have, and returns those that have
/// none of it.
///
/// # Errors
/// A store has none of its known runs, and either nobody watches or there would be
/// a new archive in the place of the old one.
fn guard<S: Stage>(
    stage: &S,
    survey: &Survey<S::Job>,
    mode: Mode,
    memory: &Memory,
    journal: &Journal,
) -> Result<Vec<&'static str>> {
    let mut doubtful = Vec::new();
    let target = stage.kind().target();
    for (store, runs) in &survey.sightings {
        let state = memory.state.as_ref();
        // The state tells of the stage's own archive and source.
        let state = state.filter(|_| match stage.kind() {
            StageKind::Import => true,
            StageKind::Migrate => *store == Store::Ucondb,
        });
        let guard = journal.guard(*store, runs, state);
        let location = journal.address(*store);
        let is_archive = match stage.kind() {
            StageKind::Import => *store == Store::Artdaqdb,
            StageKind::Migrate => *store == Store::Ucondb,
        };
        if let Some(error) = guard.error(*store, &location) {
            if mode == Mode::Incremental || (is_archive && !survey.archive_exists) {
                return Err(error);
            }
            doubtful.push(store.name());
        }
        if let Some(warning) = guard.warning(*store, &location) {
            log::warn!(target: target, "{warning}");
        }
    }
    Ok(doubtful)
}

/// The runs that an earlier archiver left: known after the first execution of this
/// one, worked out in it.
fn left<J>(kind: StageKind, survey: &Survey<J>, memory: &Memory, journal: &Journal) -> RunSet {
    let open = survey.source.difference(&survey.archived);
    let open: RunSet = open.copied().collect();
    if journal.has_begun(kind) {
        return journal.left(kind).intersection(&open);
    }
    let attempted = memory
        .state
        .as_ref()
        .and_then(|state| state.last_attempted_run);
    let Some(attempted) = attempted else {
        return RunSet::default();
    };
    let failed: RunSet = memory.failures.runs.iter().copied().collect();
    open.intersection(&RunSet::all_of(Run(0)..=attempted))
        .difference(&failed)
}

/// A job with what its success or failure means.
#[derive(Debug, Clone)]
pub(crate) struct Planned<J> {
    /// What is to be done.
    pub(crate) job: J,
    /// Why it is done.
    pub(crate) class: Class,
    /// How the run failed before, if it did.
    pub(crate) before: Option<FailureDetails>,
}

/// Why a job is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The run is not archived.
    New,
    /// The run is archived, and gets what it lacks.
    Update,
    /// The run failed before, and is tried again by itself.
    Retry,
}

impl<J> Planned<J> {
    /// Whether the run is archived already, and gets what it lacks.
    pub(crate) fn is_update(&self) -> bool {
        self.class == Class::Update
    }
}

#[cfg(test)]
mod tests;
