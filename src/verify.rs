//! The proof that what is archived is what it should be: each run in three places,
//! file by file. The record, as an import would store it now; artdaqDB; UconDB.
//!
//! Nothing is changed: neither in a database nor in what the stages remember.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;

use crate::artdaqdb::ArtdaqDb;
use crate::error::{Error, Result};
use crate::pipeline::journal::Store;
use crate::run::Run;
use crate::run_record::{self, Generated, SourceDigests};
use crate::run_set::RunSet;
use crate::shutdown::Shutdown;
use crate::ucondb::UconDb;

pub use memory::{Memory, VERIFY_FILE};
pub use run::{Column, ComparedRun, FileFinding, Finding, Note, place};
pub use trees::Trees;

mod diff;
pub mod json;
mod memory;
mod run;
mod trees;

/// How many runs each worker takes before results are told, in the order of the runs.
const RUNS_PER_WORKER: usize = 4;

/// After how many runs in a row whose store failed the store is tried.
const FAULTS_AT_MOST: usize = 3;

/// What is compared.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    /// The directory of the run records.
    pub run_records_dir: &'a Path,
    /// The files that the archiver makes itself.
    pub generate: &'a BTreeSet<Generated>,
    /// The largest file of a record that is read, in bytes.
    pub max_file_bytes: u64,
    /// artdaqDB.
    pub artdaqdb: &'a dyn ArtdaqDb,
    /// UconDB's folder of finished runs.
    pub ucondb: &'a dyn UconDb,
    /// Tells what a run's .txt files were when it was imported, if that is known.
    pub sources: &'a (dyn Fn(Run) -> Option<SourceDigests> + Sync),
}

/// Which runs are compared, lowest first.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Just these; runs that have only a record, too. Otherwise those that a
    /// database has.
    pub runs: Option<RunSet>,
    /// None of these: they are not expected to be whole.
    pub left_out: RunSet,
    /// Only those above this one.
    pub after: Option<Run>,
}

/// How runs are compared.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whether comments and layout count, too.
    pub strict: bool,
    /// Whether to say of each blob whether it meets its readers' demands.
    pub validate: bool,
    /// Where the files of every compared run are written.
    pub trees: Option<&'a Trees>,
    /// How many threads compare.
    pub workers: usize,
    /// When no further run is begun. A few are compared in any case.
    pub deadline: Option<Instant>,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many runs were compared.
    pub compared: usize,
    /// Runs with something to say of them, lowest first.
    pub runs: Vec<ComparedRun>,
    /// Of the compared runs, those whose record is gone.
    pub without_record: RunSet,
    /// The last run that was compared.
    pub last: Option<Run>,
    /// Runs not compared, because of a shutdown or the time.
    pub left: usize,
    /// Of the numbers and ranges that were asked for, those that match no run.
    pub unmatched: Vec<String>,
    /// Why the directory of the run records could not be read.
    pub records_problem: Option<String>,
}

impl Report {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let is_well = self.runs.iter().all(ComparedRun::is_well);
        is_well && self.unmatched.is_empty() && self.records_problem.is_none()
    }

    /// Returns the runs with such a finding.
    #[must_use]
    pub fn with(&self, wanted: impl Fn(&Finding) -> bool) -> RunSet {
        let runs = self.runs.iter();
        let runs = runs.filter(|run| run.findings.iter().any(&wanted));
        runs.map(|run| run.run).collect()
    }
}

/// Compares runs, and tells of each in the order of their numbers.
///
/// # Errors
/// A database cannot be reached or listed; what `tell` returns. What goes wrong with
/// a single run is a finding.
pub fn verify(
    stores: &Stores,
    selection: &Selection,
    options: &Options,
    shutdown: &Shutdown,
    tell: &mut dyn FnMut(&ComparedRun) -> Result<()>,
) -> Result<Report> {
    let mut report = Report::default();
    // Each place before the one it gets its runs from: beside an execution that
    // archives, no run then seems to have no source.
    let migrated = stores.ucondb.runs()?;
    let imported = stores.artdaqdb.runs()?;
    let records = match run_record::scan(stores.run_records_dir) {
        Ok(records) => records,
        Err(error) => {
            log::error!("Records are not compared: {error}");
            report.records_problem = Some(error.to_string());
            BTreeMap::new()
        }
    };
    let has_records = !records.is_empty() || imported.is_empty();
    if !has_records && report.records_problem.is_none() {
        log::warn!(
            "None of the runs has a record in {}: is it mounted?",
            stores.run_records_dir.display()
        );
    }
    let mut all: BTreeSet<Run> = imported.keys().chain(&migrated).copied().collect();
    if let Some(runs) = &selection.runs {
        all.extend(records.keys().filter(|run| runs.contains(**run)));
        report.unmatched = runs.unmatched(&all);
    }
    let runs: Vec<Run> = all
        .into_iter()
        .filter(|run| selection.includes(*run))
        .collect();
    let seen = |run: &Run| run::Seen {
        run: *run,
        record: records.get(run).map(PathBuf::as_path),
        has_records,
        artdaqdb: imported.get(run).copied(),
        ucondb: migrated.contains(run),
    };
    let workers = options.workers.max(1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|number| format!("verify-{number}"))
        .build()
        .map_err(|error| Error::Unexpected(format!("cannot start {workers} threads: {error}")))?;
    let mut faults = Faults::default();
    let mut left = runs.as_slice();
    while !left.is_empty() && !shutdown.requested() {
        let is_late = options.deadline.is_some_and(|end| Instant::now() >= end);
        if is_late && report.compared > 0 {
            break;
        }
        let (chunk, rest) = left.split_at(left.len().min(workers * RUNS_PER_WORKER));
        let compared: Vec<Result<run::Examined>> = pool.install(|| {
            let chunk = chunk.par_iter();
            chunk
                .map(|run| run::examine(stores, options, seen(run)))
                .collect()
        });
        for result in compared {
            let (compared, fault) = match result {
                Err(Error::Interrupted(_)) if shutdown.requested() => {
                    report.left = runs.len() - report.compared;
                    return Ok(report);
                }
                result => result?,
            };
            faults.note(fault, &compared, stores)?;
            tell(&compared)?;
            report.add(compared);
        }
        left = rest;
    }
    report.left = left.len();
    Ok(report)
}

impl Selection {
    fn includes(&self, run: Run) -> bool {
        let is_selected = match &self.runs {
            Some(runs) => runs.contains(run),
            None => !self.left_out.contains(run),
        };
        is_selected && Some(run) > self.after
    }
}

impl Report {
    fn add(&mut self, compared: ComparedRun) {
        self.compared += 1;
        self.last = Some(compared.run);
        let (gone, notes): (Vec<&Note>, Vec<&Note>) = compared
            .notes
            .iter()
            .partition(|note| **note == Note::NoRecord);
        if !gone.is_empty() {
            let run: RunSet = [compared.run].into_iter().collect();
            self.without_record = self.without_record.union(&run);
        }
        if !compared.findings.is_empty() || !notes.is_empty() {
            self.runs.push(compared);
        }
    }
}

/// Failures of stores in a row. A store that fails with every run is no finding of
/// these runs.
#[derive(Default)]
struct Faults {
    in_a_row: usize,
    /// A run that could be read.
    good: Option<Run>,
}

impl Faults {
    /// Takes in what became of a run.
    ///
    /// # Errors
    /// A store failed with several runs in a row, and with another one, too.
    fn note(
        &mut self,
        fault: Option<(Store, Error)>,
        compared: &ComparedRun,
        stores: &Stores,
    ) -> Result<()> {
        let Some((store, error)) = fault else {
            self.in_a_row = 0;
            if compared.is_migrated {
                self.good = Some(compared.run);
            }
            return Ok(());
        };
        self.in_a_row += 1;
        if self.in_a_row < FAULTS_AT_MOST {
            return Ok(());
        }
        self.in_a_row = 0;
        let works = match (store, self.good) {
            (Store::Artdaqdb, Some(run)) => stores.artdaqdb.read(run).is_ok(),
            (Store::Ucondb, Some(run)) => stores.ucondb.download(run).is_ok(),
            (Store::Records, _) | (_, None) => false,
        };
        match works {
            true => Ok(()),
            false => Err(error),
        }
    }
}
