//! The status report: where each run is, what is missing, and which stage to run.
//!
//! [`Status::gather`] asks the sources and reads what the archiver remembers;
//! [`text`], [`json`] and [`html`] show the same value in different forms.
//! `docs/status-report.md` says what each line and each key means.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::ZonedDateTime;

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::clock;
use crate::error::Result;
use crate::faults;
use crate::run::{Run, StageKind};
use crate::run_record;
use crate::run_set::RunSet;
use crate::state::{State, StateStore};
use crate::ucondb::UconDb;

use backlog::{Backlog, Declaration, Failure, Remembered};
use history::Execution;
use proof::Proof;
use records::RecordFindings;

pub use recommendation::{Kind, Recommendation};

pub mod backlog;
pub mod dashboard;
pub mod history;
pub mod html;
pub mod json;
pub mod metrics;
pub mod notify;
pub mod proof;
mod recommendation;
pub mod records;
pub mod stage_report;
mod strip;
pub mod summary;
pub mod text;
pub mod verification;

/// Up to how many numbers in a row that no source has count as runs that failed in
/// all stages, as in the operations manual's example. Longer gaps were never used.
const LARGEST_GAP: u64 = 10;

/// How many executions the reports show.
const EXECUTIONS: usize = 60;

/// What a report is made from.
pub struct Inputs<'a> {
    /// The directory of the run records.
    pub run_records_dir: &'a Path,
    /// artdaqDB's URI for people, without credentials.
    pub database_uri: String,
    /// artdaqDB, or why it can't be opened.
    pub artdaqdb: Result<Box<dyn ArtdaqDb>>,
    /// UconDB's URL for people, without credentials.
    pub server_url: String,
    /// Its folder and object, as `folder/object`.
    pub folder_object: String,
    /// UconDB, or why it can't be opened.
    pub ucondb: Result<Box<dyn UconDb>>,
    /// The runs that are kept out of UconDB's folder until their stop time comes,
    /// or why they are not known.
    pub awaited: Result<BTreeSet<Run>>,
    /// What the import stage remembers.
    pub import: StateStore,
    /// What the migrate stage remembers.
    pub migrate: StateStore,
    /// What is remembered of runs that are not archived.
    pub remembered: Result<Remembered>,
    /// Sorts the runs of a stage's source that are not archived; `None` if what is
    /// remembered cannot be read.
    pub forecast: &'a Forecast<'a>,
    /// Tells a place that has none of the runs that it was seen to have from the real
    /// one: says why it is not the real one.
    pub guard: &'a dyn Fn(Place, &RunSet) -> Option<String>,
    /// What is known of whether the archived runs are right, if it is known.
    pub proof: Option<Proof>,
    /// The first run of the configuration.
    pub first_run: Option<Run>,
    /// The command line without flags, for commands to paste.
    pub command: String,
    /// The history of executions.
    pub history: &'a Path,
    /// Whether the sources are compared with the state files.
    pub compare: bool,
}

/// Sorts the runs of a stage's source that are not archived: from the runs of the
/// source, those that are archived, and those of UconDB if it could be asked.
pub type Forecast<'a> =
    dyn Fn(StageKind, &RunSet, &RunSet, Option<&RunSet>) -> Option<Backlog> + 'a;

/// A place where runs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The directory of the run records.
    Filesystem,
    /// artdaqDB.
    Artdaqdb,
    /// UconDB's folder of finished runs.
    Ucondb,
}

/// Everything a report shows.
#[derive(Debug)]
pub struct Status {
    /// When it was gathered.
    pub generated: ZonedDateTime,
    /// The run records.
    pub filesystem: Source,
    /// artdaqDB's whole runs.
    pub artdaqdb: Source,
    /// The runs that artdaqDB has in part only.
    pub partial: RunSet,
    /// UconDB.
    pub ucondb: Source,
    /// Runs that UconDB is not to have before their stop time comes, or why they
    /// are not known.
    pub awaited: Result<RunSet, String>,
    /// What the import stage remembers.
    pub import: Memory,
    /// What the migrate stage remembers.
    pub migrate: Memory,
    /// What operators declared of runs, or why it is not known.
    pub ignored: Result<Vec<Declaration>, String>,
    /// Records of archived runs that need a look.
    pub records: RecordFindings,
    /// What is known of whether the archived runs are right, if it is known.
    pub proof: Option<Proof>,
    /// The first run of the configuration.
    pub first_run: Option<Run>,
    /// The command line without flags.
    pub command: String,
    /// Whether the sources are compared with the state files.
    pub compare: bool,
    /// The last executions, the oldest first.
    pub executions: Vec<Execution>,
}

/// A place where runs are, and what it has.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name in sentences: `artdaqDB`.
    pub name: &'static str,
    /// Where it is, with the words that say so: `Database URI` and the URI.
    pub location: Vec<(&'static str, String)>,
    /// Its runs, or why it can't be asked.
    pub runs: Result<RunSet, String>,
}

/// What a stage remembers between executions.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Where the state is kept.
    pub state_file: PathBuf,
    /// Where the failed runs are kept.
    pub failure_log: PathBuf,
    /// The state, or why it can't be used; nothing before the first execution.
    pub state: Result<Option<State>, String>,
    /// The failed runs, or why they can't be read.
    pub failures: Result<RunSet, String>,
    /// How they failed; none where that is not known.
    pub failed: Vec<Failure>,
    /// The runs of the source that are not archived, if all is known.
    pub backlog: Option<Backlog>,
}

/// A stage's state against its source and its archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The runs that the state covers, from the lowest known run on.
    pub expected: Option<(Run, Run)>,
    /// Of them, those in the source that are neither archived nor in the
    /// failure log: the state says they are done, the archive does not have them.
    pub missing: RunSet,
    /// Runs of the source above the state that are not archived.
    pub new: RunSet,
}

impl Status {
    /// Asks the sources and reads what is remembered. What can't be reached or
    /// read is in the status as such.
    ///
    /// Each is asked before the one it gets its runs from, so that beside an
    /// execution under way no run shows up archived and without a source.
    #[must_use]
    pub fn gather(inputs: Inputs<'_>) -> Status {
        let (remembered, ignored) = match inputs.remembered {
            Ok(mut remembered) => {
                let ignored = std::mem::take(&mut remembered.ignored);
                (remembered, Ok(ignored))
            }
            Err(error) => (Remembered::default(), Err(error.to_string())),
        };
        let import = Memory::read(&inputs.import, StageKind::Import, remembered.failed_imports);
        let migrate = Memory::read(
            &inputs.migrate,
            StageKind::Migrate,
            remembered.failed_migrations,
        );
        let executions = match history::read(inputs.history, EXECUTIONS) {
            Ok(history) => {
                if history.unreadable > 0 {
                    log::warn!(
                        "{}: {} line(s) are no executions and are passed over",
                        inputs.history.display(),
                        history.unreadable
                    );
                }
                history.executions
            }
            Err(error) => {
                log::warn!("The history of executions is left out: {error}");
                Vec::new()
            }
        };

        let ucondb = inputs.ucondb.and_then(|ucondb| ucondb.runs());
        let ucondb = ucondb.map(|runs| runs.into_iter().collect());
        let artdaqdb = inputs.artdaqdb.and_then(|artdaqdb| artdaqdb.runs());
        let (whole, partial) = match artdaqdb {
            Ok(runs) => {
                let with = |wanted: Presence| {
                    runs.iter()
                        .filter(|(_, presence)| **presence == wanted)
                        .map(|(run, _)| *run)
                        .collect::<RunSet>()
                };
                (Ok(with(Presence::Whole)), with(Presence::Partial))
            }
            Err(error) => (Err(error), RunSet::default()),
        };
        let records = run_record::scan(inputs.run_records_dir);
        let records = records.map(|records| records.into_keys().collect());

        let mut status = Status {
            generated: clock::local(),
            filesystem: Source::filesystem(inputs.run_records_dir, records),
            artdaqdb: Source::artdaqdb(inputs.database_uri, whole),
            partial,
            ucondb: Source::ucondb(inputs.server_url, inputs.folder_object, ucondb),
            awaited: inputs
                .awaited
                .map(|runs| runs.into_iter().collect())
                .map_err(|error| error.to_string()),
            import,
            migrate,
            ignored,
            records: remembered.records,
            proof: inputs.proof,
            first_run: inputs.first_run,
            command: inputs.command,
            compare: inputs.compare,
            executions,
        };
        for (place, source) in [
            (Place::Filesystem, &mut status.filesystem),
            (Place::Artdaqdb, &mut status.artdaqdb),
            (Place::Ucondb, &mut status.ucondb),
        ] {
            let problem = source.known().and_then(|runs| (inputs.guard)(place, runs));
            if let Some(problem) = problem {
                source.runs = Err(problem);
            }
        }
        status.sort(inputs.forecast);
        status
    }

    /// Sorts the runs that are not archived.
    fn sort(&mut self, forecast: &Forecast) {
        let (filesystem, artdaqdb) = (self.filesystem.known(), self.artdaqdb.known());
        let ucondb = self.ucondb.known();
        let import = filesystem.zip(artdaqdb);
        let import = import
            .and_then(|(source, archived)| forecast(StageKind::Import, source, archived, ucondb));
        let finished = self.finished();
        let migrate = finished.as_ref().zip(ucondb);
        let migrate = migrate
            .and_then(|(source, archived)| forecast(StageKind::Migrate, source, archived, ucondb));
        self.import.backlog = import;
        self.migrate.backlog = migrate;
    }

    /// Whether everything could be reached and read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems().is_empty()
    }

    /// What could not be reached or read, a sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for source in [&self.filesystem, &self.artdaqdb, &self.ucondb] {
            if let Err(error) = &source.runs {
                problems.push(format!("{} can't be reached: {error}", source.name));
            }
        }
        problems.extend(self.awaited.as_ref().err().cloned());
        problems.extend(self.ignored.as_ref().err().cloned());
        for memory in [&self.import, &self.migrate] {
            problems.extend(memory.state.as_ref().err().cloned());
            problems.extend(memory.failures.as_ref().err().cloned());
        }
        // One file can be why two things are not known.
        let mut said = BTreeSet::new();
        problems.retain(|problem| said.insert(problem.clone()));
        problems
    }

    /// The runs on the filesystem that an incremental execution imports, a batch at
    /// a time, if all is known.
    #[must_use]
    pub fn to_import(&self) -> Option<RunSet> {
        Some(self.import.backlog.as_ref()?.new.clone())
    }

    /// The runs in artdaqDB that an incremental execution migrates, without those
    /// that wait for their stop time, if all is known.
    #[must_use]
    pub fn to_migrate(&self) -> Option<RunSet> {
        Some(self.migrate.backlog.as_ref()?.new.clone())
    }

    /// The runs in artdaqDB that wait for their stop time.
    #[must_use]
    pub fn waiting(&self) -> Option<RunSet> {
        let awaited = self.awaited.as_ref().ok()?;
        let waiting = awaited.difference(self.ucondb.known()?);
        Some(waiting.intersection(self.artdaqdb.known()?))
    }

    /// The runs in artdaqDB that UconDB is to have.
    fn finished(&self) -> Option<RunSet> {
        let nothing = RunSet::default();
        let awaited = self.awaited.as_ref().unwrap_or(&nothing);
        Some(self.artdaqdb.known()?.difference(awaited))
    }

    /// The numbers between the lowest and the highest run that no source has,
    /// if all were reached.
    #[must_use]
    pub fn nowhere(&self) -> Option<RunSet> {
        let runs = self.filesystem.known()?.union(self.artdaqdb.known()?);
        Some(runs.union(self.ucondb.known()?).gaps())
    }

    /// The runs that failed in all stages, if all is known: those that could not be
    /// imported and are in neither database, and short gaps between runs.
    #[must_use]
    pub fn failed_in_all_stages(&self) -> Option<RunSet> {
        let backlog = self.import.backlog.as_ref()?;
        let failed = backlog.failed.union(&backlog.gone);
        let failed = failed.difference(self.ucondb.known()?);
        Some(short(&self.gaps()?).union(&failed))
    }

    /// The numbers between runs that were never used, if all sources were reached.
    #[must_use]
    pub fn no_record(&self) -> Option<RunSet> {
        let gone = self.import.backlog.as_ref().map(|backlog| &backlog.gone);
        let gaps = self.gaps()?;
        let gaps = gaps.difference(&short(&gaps));
        Some(gaps.difference(gone.unwrap_or(&RunSet::default())))
    }

    /// The numbers that no source has, with runs on both sides. A number that is
    /// held back or ignored is no run, and what is ignored or below the first run is
    /// no gap.
    fn gaps(&self) -> Option<RunSet> {
        let runs = self.filesystem.known()?.union(self.artdaqdb.known()?);
        let backlog = self.import.backlog.as_ref();
        let ignored = backlog.map(|it| it.ignored.clone()).unwrap_or_default();
        let runs = runs
            .union(self.ucondb.known()?)
            .difference(&self.held_back())
            .difference(&ignored);
        let gaps = runs.gaps().difference(&self.ignored_runs());
        let below_first = match self.first_run {
            Some(first) => RunSet::all_of(Run(0)..=Run(first.0.saturating_sub(1))),
            None => RunSet::default(),
        };
        Some(gaps.difference(&below_first))
    }

    /// The runs that operators declared to be impossible to archive.
    #[must_use]
    pub fn ignored_runs(&self) -> RunSet {
        let declarations = self.ignored.as_deref().unwrap_or_default();
        let all = declarations.iter();
        all.fold(RunSet::default(), |all, it| all.union(&it.runs))
    }

    /// Numbers too far above the highest archived run to be runs.
    #[must_use]
    pub fn held_back(&self) -> RunSet {
        let backlog = self.import.backlog.as_ref();
        backlog.map(|it| it.held_back.clone()).unwrap_or_default()
    }

    /// The lowest and the highest run of all sources that were reached, without the
    /// numbers that are held back or ignored.
    #[must_use]
    pub fn range(&self) -> Option<(Run, Run)> {
        let apart = self.held_back().union(&self.ignored_runs());
        let sources = self.sources().map(|(source, _)| source.known());
        let known: Vec<RunSet> = sources
            .into_iter()
            .flatten()
            .map(|runs| runs.difference(&apart))
            .collect();
        let known = || known.iter();
        let first = known().filter_map(RunSet::first).min()?;
        let last = known().filter_map(RunSet::last).max()?;
        Some((first, last))
    }

    /// The import stage's state against the sources, if all is known.
    #[must_use]
    pub fn import_comparison(&self) -> Option<Comparison> {
        self.import
            .compare(self.filesystem.known()?, self.artdaqdb.known()?)
    }

    /// The migrate stage's state against the sources, if all is known.
    #[must_use]
    pub fn migrate_comparison(&self) -> Option<Comparison> {
        self.migrate
            .compare(&self.finished()?, self.ucondb.known()?)
    }

    /// Each source with the one it gets its runs from.
    #[must_use]
    pub fn sources(&self) -> [(&Source, Option<&Source>); 3] {
        [
            (&self.filesystem, None),
            (&self.artdaqdb, Some(&self.filesystem)),
            (&self.ucondb, Some(&self.artdaqdb)),
        ]
    }
}

/// The numbers of short ranges.
fn short(gaps: &RunSet) -> RunSet {
    let gaps = gaps.ranges().map(RunSet::all_of);
    let short: Vec<RunSet> = gaps.filter(|gap| gap.len() <= LARGEST_GAP).collect();
    let short: RunSet = short.iter().flat_map(RunSet::iter).collect();
    // Where numbers are skipped all the time, none of them says that a run failed.
    match short.len() <= LARGEST_GAP {
        true => short,
        false => RunSet::default(),
    }
}

impl Source {
    fn new(
        name: &'static str,
        location: Vec<(&'static str, String)>,
        runs: Result<RunSet>,
    ) -> Source {
        Source {
            name,
            location,
            runs: runs.map_err(|error| error.to_string()),
        }
    }

    fn filesystem(directory: &Path, runs: Result<RunSet>) -> Source {
        let location = vec![("Location", directory.display().to_string())];
        Source::new("filesystem", location, runs)
    }

    fn artdaqdb(uri: String, runs: Result<RunSet>) -> Source {
        Source::new("artdaqDB", vec![("Database URI", uri)], runs)
    }

    fn ucondb(server_url: String, folder_object: String, runs: Result<RunSet>) -> Source {
        let location = vec![("Server URL", server_url), ("Folder/Object", folder_object)];
        Source::new("UconDB", location, runs)
    }

    /// The runs, if the source was reached.
    #[must_use]
    pub fn known(&self) -> Option<&RunSet> {
        self.runs.as_ref().ok()
    }

    /// The runs that the source is measured by: from the oldest to the newest
    /// run of itself and of the source `before` it.
    #[must_use]
    pub fn range(&self, before: Option<&Source>) -> Option<(Run, Run)> {
        let own = self.known()?;
        let nothing = RunSet::default();
        let before = before.and_then(Source::known).unwrap_or(&nothing);
        let first = own.first().into_iter().chain(before.first()).min()?;
        let last = own.last().into_iter().chain(before.last()).max()?;
        Some((first, last))
    }

    /// The numbers within [`range`](Self::range) that the source lacks.
    #[must_use]
    pub fn gaps(&self, before: Option<&Source>) -> RunSet {
        match (self.known(), self.range(before)) {
            (Some(own), Some((first, last))) => RunSet::all_of(first..=last).difference(own),
            _ => RunSet::default(),
        }
    }
}

impl Memory {
    fn read(store: &StateStore, kind: StageKind, failed: Vec<Failure>) -> Memory {
        let way_out = format!(
            "Run with {} to rebuild it, or restore it from a backup",
            kind.recover_flag()
        );
        let state = store.read(&way_out).map_err(|error| error.to_string());
        let failures = store.failures().map_err(|error| error.to_string());
        Memory {
            state_file: store.state_file().to_path_buf(),
            failure_log: store.failure_log().to_path_buf(),
            state: state.map(|state| faults::exists(store.state_file()).then_some(state)),
            failures: failures.map(|runs| runs.into_iter().collect()),
            failed,
            backlog: None,
        }
    }

    /// The failed runs; none where they can't be read.
    #[must_use]
    pub fn failed(&self) -> RunSet {
        self.failures.clone().unwrap_or_default()
    }

    fn compare(&self, source: &RunSet, archive: &RunSet) -> Option<Comparison> {
        let state = self.state.as_ref().ok()?.clone().unwrap_or_default();
        let failures = self.failures.as_ref().ok()?;
        let accounted = match &self.backlog {
            Some(backlog) => backlog.accounted_for().union(&backlog.held_back),
            None => RunSet::default(),
        };
        let waiting = source.difference(archive).difference(&accounted);
        let Some(reached) = state.incremental_start() else {
            return Some(Comparison {
                new: waiting,
                ..Comparison::default()
            });
        };
        let up_to = |run: Run| RunSet::all_of(Run(0)..=run);
        let contiguous = state.last_contiguous_run.map(up_to).unwrap_or_default();
        let within = waiting.intersection(&up_to(reached));
        // A failed run excuses itself only above the contiguous ones.
        let excused = failures.difference(&contiguous);
        let first = source.union(archive).first();
        Some(Comparison {
            expected: first
                .filter(|first| *first <= reached)
                .map(|first| (first, reached)),
            missing: within.difference(&excused),
            new: waiting.difference(&within),
        })
    }
}

#[cfg(test)]
mod tests;
