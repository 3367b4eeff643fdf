//! The import stage: run records on disk go into artdaqDB.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::journal::{Journal, Store};
use super::settle::{self, Noted, Patience, Readiness};
use super::{Done, Fault, Job, Side, Stage, Survey, Trial};
use crate::artdaqdb::{ArtdaqDb, Inserted, Presence};
use crate::clock;
use crate::error::{Disposition, Error, Result};
use crate::faults::{self, fs};
use crate::fhicl;
use crate::regular_file;
use crate::run::{FclFile, Run, SCHEMA_ENTITY, StageKind};
use crate::run_record::{self, Options, RunRecord, Snapshot};

/// The log's module name for the stage.
const TARGET: &str = StageKind::Import.target();

/// Lists the runs that UconDB has.
pub type ListUcondb<'a> = &'a (dyn Fn() -> Result<BTreeSet<Run>> + Sync);

/// The import stage.
pub struct Importer<'a> {
    run_records_dir: &'a Path,
    reading: Options<'a>,
    artdaqdb: &'a dyn ArtdaqDb,
    list_ucondb: ListUcondb<'a>,
    journal: &'a Journal,
    patience: Patience,
    is_local: bool,
    schema: FclFile,
}

/// How many bytes of documents a byte of a record's files becomes, as a rule.
const DOCUMENTS_BY_FILES: u64 = 4;

/// What the import stage does with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportJob {
    /// Archives the record in this directory. A run that artdaqDB has in part is
    /// completed.
    New {
        /// The run.
        run: Run,
        /// The record's directory.
        record: PathBuf,
    },
    /// Adds what the record gained since it was archived: the stop time.
    Complete {
        /// The run.
        run: Run,
        /// The record's directory.
        record: PathBuf,
    },
}

impl Job for ImportJob {
    fn run(&self) -> Run {
        match self {
            ImportJob::New { run, .. } | ImportJob::Complete { run, .. } => *run,
        }
    }
}

impl<'a> Importer<'a> {
    /// The stage from `run_records_dir` to `artdaqdb`, with the schema of `fcl_conf_dir`.
    /// `list_ucondb` is asked only where a run may have been archived and removed
    /// from artdaqDB since.
    ///
    /// # Errors
    /// The schema cannot be read or is not FHiCL.
    pub fn new(
        run_records_dir: &'a Path,
        fcl_conf_dir: &Path,
        reading: Options<'a>,
        artdaqdb: &'a dyn ArtdaqDb,
        list_ucondb: ListUcondb<'a>,
        journal: &'a Journal,
        patience: Patience,
    ) -> Result<Importer<'a>> {
        Ok(Importer {
            run_records_dir,
            reading,
            artdaqdb,
            list_ucondb,
            journal,
            patience,
            is_local: settle::is_local(run_records_dir),
            schema: read_schema(fcl_conf_dir)?,
        })
    }

    fn options(&self) -> Options<'a> {
        self.reading
    }

    /// Adds to a survey the archived runs whose record got its stop time since,
    /// and those of which a killed execution may not have noted that they lack it.
    fn survey_stop_times(
        &self,
        records: &BTreeMap<Run, PathBuf>,
        survey: &mut Survey<ImportJob>,
    ) -> Result<()> {
        let going = self.journal.incomplete().going();
        let importing = self.journal.importing();
        for run in going.union(&importing).copied() {
            let (true, Some(record)) = (survey.archived.contains(&run), records.get(&run)) else {
                log::debug!(
                    target: TARGET,
                    "Run {run}: no stop time yet, and it is not archived or its record is gone"
                );
                continue;
            };
            let is_noted = going.contains(&run);
            let lacks_something = match RunRecord::read_update(run, record, &self.options()) {
                Ok(update) if !update.has_stop_time => {
                    log::debug!(target: TARGET, "Run {run}: still no stop time");
                    if update.awaits_stop_time && !is_noted {
                        survey.unnoted.insert(run);
                    }
                    false
                }
                Ok(_) if is_noted => true,
                // Killed when it was archived already, but not noted as such: mostly
                // nothing is missing.
                Ok(update) => !self.missing(run, record, update.files)?.is_empty(),
                // The job finds the same, and says so.
                Err(_) => true,
            };
            if lacks_something {
                let record = record.clone();
                survey
                    .updates
                    .insert(run, ImportJob::Complete { run, record });
            }
        }
        Ok(())
    }

    /// Asks UconDB about open runs that may have been archived and removed from
    /// artdaqDB: those below the highest archived run, and those that artdaqDB had.
    fn survey_elsewhere(&self, survey: &mut Survey<ImportJob>) {
        let known = self.journal.known(Store::Artdaqdb);
        let highest = survey.archived.last().copied();
        let failures = self.journal.failures(StageKind::Import).unwrap_or_default();
        let is_doubtful = |run: &&Run| {
            !failures.runs.contains(run) && (Some(**run) < highest || known.contains(**run))
        };
        if !survey.jobs.keys().any(|run| is_doubtful(&run)) {
            return;
        }
        survey.asks_elsewhere = true;
        match (self.list_ucondb)() {
            Ok(runs) => survey.elsewhere = Some(runs),
            Err(error) => log::warn!(
                target: TARGET,
                "UconDB cannot be asked whether it has runs that artdaqDB lacks: {error}"
            ),
        }
    }

    fn import(&self, run: Run, path: &Path) -> Result<Done, Fault> {
        let before = self.look_again(run, path)?;
        log::debug!(target: TARGET, "Run {run}: Reading {}", path.display());
        let record = RunRecord::read(run, path, &self.options());
        let mut record = record.map_err(|error| unreadable(error, path))?;
        let after = Snapshot::take(path).map_err(|error| unreadable(error, path))?;
        if after != before {
            return Err(not_whole(path, "changed while it was read"));
        }
        if record.update.files.is_empty() {
            log::debug!(target: TARGET, "Run {run}: No start or stop time, so no RunHistory2");
        }
        // In one call: a run must not be visible without what belongs to it.
        record.files.append(&mut record.update.files);
        // Last, so that a schema document means that the others are there.
        record.files.push(self.schema.clone());
        log::debug!(
            target: TARGET,
            "Run {run}: Archiving {} files to artdaqDB as {run}/{}",
            record.files.len(),
            record.configuration
        );
        let inserted = self
            .artdaqdb
            .insert(run, &record.configuration, &record.files)
            .map_err(|error| Side::WriteArtdaqdb.fault(name_file(error, path)))?;
        Ok(Done {
            stored_nothing: inserted == Inserted::Before,
            without_stop_time: !record.update.has_stop_time,
            awaits_stop_time: record.update.awaits_stop_time,
            ..Done::default()
        })
    }

    /// Looks whether a record is still as settled as when the run was planned, and
    /// returns how it looks.
    fn look_again(&self, run: Run, path: &Path) -> Result<Snapshot, Fault> {
        let snapshot = Snapshot::take(path).map_err(|error| unreadable(error, path))?;
        let noted = self.journal.noted(run);
        match self
            .patience
            .look(&snapshot, noted.as_ref(), self.is_local, clock::now())
        {
            Readiness::Ready | Readiness::Restless => Ok(snapshot),
            Readiness::Waits(_) => Err(not_whole(path, "changed since this execution began")),
        }
    }

    fn complete(&self, run: Run, path: &Path) -> Result<Done, Fault> {
        let update = RunRecord::read_update(run, path, &self.options())
            .map_err(|error| unreadable(error, path))?;
        let missing = self
            .missing(run, path, update.files)
            .map_err(|error| Side::ReadArtdaqdb.fault(error))?;
        if !missing.is_empty() {
            self.artdaqdb
                .update(run, &missing)
                .map_err(|error| Side::WriteArtdaqdb.fault(error))?;
        }
        Ok(Done {
            gained_stop_time: update.has_stop_time,
            has_more: !missing.is_empty(),
            stored_nothing: missing.is_empty(),
            ..Done::default()
        })
    }

    /// Which of these files of a record artdaqDB does not have as they are.
    fn missing(&self, run: Run, path: &Path, files: Vec<FclFile>) -> Result<Vec<FclFile>> {
        let stored = self.artdaqdb.read(run)?;
        let mut missing = Vec::new();
        for file in files {
            let text = fhicl::parse(&file.text).map(|document| fhicl::write(&document));
            let text = text.map_err(|source| Error::Syntax {
                path: path.join(format!("{}.fcl", file.entity)),
                source: Box::new(source),
            })?;
            let mut documents = stored.files.iter();
            if !documents.any(|it| it.entity == file.entity && it.text == text) {
                missing.push(file);
            }
        }
        Ok(missing)
    }
}

/// Reads `schema.fcl`, which goes with every run.
///
/// # Errors
/// It cannot be read or is not FHiCL.
pub fn read_schema(fcl_conf_dir: &Path) -> Result<FclFile> {
    let path = fcl_conf_dir.join("schema.fcl");
    let unusable = |problem: String| {
        Error::artdaqdb(
            path.display().to_string(),
            format!(
                "{problem}. Every run is stored with this schema: correct artdaq_db.fcl_conf_dir or the file"
            ),
            Disposition::StopStage,
        )
    };
    let text = regular_file::read_to_string(&path)
        .map_err(|error| unusable(format!("cannot read it: {error}")))?;
    fhicl::parse(&text).map_err(|error| unusable(format!("not FHiCL: {error}")))?;
    Ok(FclFile {
        entity: SCHEMA_ENTITY.into(),
        text,
    })
}

impl Stage for Importer<'_> {
    type Job = ImportJob;

    fn kind(&self) -> StageKind {
        StageKind::Import
    }

    fn weight(&self, job: &ImportJob) -> u64 {
        let (ImportJob::New { record, .. } | ImportJob::Complete { record, .. }) = job;
        // A record that can't be looked at fails when it is read.
        Snapshot::take(record).map_or(0, |it| it.size().saturating_mul(DOCUMENTS_BY_FILES))
    }

    fn destination(&self) -> &str {
        self.artdaqdb.location()
    }

    fn survey(&self) -> Result<Survey<ImportJob>> {
        let records = run_record::scan(self.run_records_dir)?;
        log::info!(
            target: TARGET,
            "Found {} run directories in {}",
            records.len(),
            self.run_records_dir.display()
        );
        log::info!(target: TARGET, "Querying artdaqDB for archived runs...");
        let runs = self.artdaqdb.runs()?;
        let archived: BTreeSet<Run> = runs
            .iter()
            .filter(|(_, presence)| **presence == Presence::Whole)
            .map(|(run, _)| *run)
            .collect();
        log::info!(
            target: TARGET,
            "✓ ArtdaqDB query complete: {} runs in {}",
            archived.len(),
            self.artdaqdb.location()
        );
        for run in runs.keys().filter(|run| !archived.contains(run)) {
            if records.contains_key(run) {
                log::warn!(
                    target: TARGET,
                    "Run {run} is in artdaqDB in part only: its import was cut short. It is completed now"
                );
            } else {
                log::warn!(
                    target: TARGET,
                    "Run {run} is in artdaqDB in part only, and its run record is gone from {}. \
                     Restore the record to complete it",
                    self.run_records_dir.display()
                );
            }
        }
        let source: BTreeSet<Run> = records.keys().copied().collect();
        let open = records.iter().filter(|(run, _)| !archived.contains(run));
        let jobs = open.map(|(run, record)| {
            let record = record.clone();
            (*run, ImportJob::New { run: *run, record })
        });
        let mut survey = Survey {
            known: &source | &archived,
            jobs: jobs.collect(),
            sightings: vec![
                (Store::Records, source.clone()),
                (Store::Artdaqdb, archived.clone()),
            ],
            archive_exists: self.artdaqdb.exists()?,
            source,
            archived,
            holds_back: true,
            ..Survey::default()
        };
        self.survey_elsewhere(&mut survey);
        self.survey_stop_times(&records, &mut survey)?;
        Ok(survey)
    }

    fn process(&self, job: &ImportJob) -> Result<Done, Fault> {
        match job {
            ImportJob::New { run, record } => self.import(*run, record),
            ImportJob::Complete { run, record } => self.complete(*run, record),
        }
    }

    fn publish(&self) -> Result<Vec<(Run, Fault)>> {
        let refused = self.artdaqdb.publish()?.into_iter();
        let fault = |(run, error)| (run, Fault::of_run(error));
        Ok(refused.map(fault).collect())
    }

    fn trial(&self, side: Side, archived: &BTreeSet<Run>) -> Trial {
        match side {
            Side::ReadRecord => self.read_another_record(archived),
            Side::WriteArtdaqdb => match self.artdaqdb.try_write() {
                Ok(()) => Trial::Inconclusive,
                Err(error) => Trial::Fails(error),
            },
            Side::ReadArtdaqdb | Side::ReadUcondb | Side::WriteUcondb => {
                read_another_run(self.artdaqdb, archived)
            }
        }
    }

    fn readiness(&self, run: Run, noted: Option<&Noted>) -> Readiness {
        let record = self.run_records_dir.join(run.to_string());
        match Snapshot::take(&record) {
            Ok(snapshot) => self
                .patience
                .look(&snapshot, noted, self.is_local, clock::now()),
            // The job finds the same, and says so.
            Err(_) => Readiness::Ready,
        }
    }

    fn evidence(&self, run: Run) -> Option<String> {
        let record = self.run_records_dir.join(run.to_string());
        Some(Snapshot::take(&record).ok()?.digest())
    }
}

impl Importer<'_> {
    /// Reads the record of a run that was archived before: what could be read once
    /// can be read again while its directory is there.
    fn read_another_record(&self, archived: &BTreeSet<Run>) -> Trial {
        let Ok(records) = run_record::scan(self.run_records_dir) else {
            let problem = format!("cannot read {}", self.run_records_dir.display());
            return Trial::Fails(Error::Usage(problem));
        };
        let known = archived.iter().rev();
        let known = known.filter_map(|run| Some((*run, records.get(run)?)));
        Trial::by_reading(known, |(run, record)| {
            RunRecord::read(run, record, &self.options())
        })
    }
}

/// A record that is still being written to.
fn not_whole(record: &Path, what: &str) -> Fault {
    Fault {
        disposition: Disposition::LeaveRun,
        ..Fault::of_run(Error::RunRecord {
            path: record.to_path_buf(),
            problem: format!("it {what}, so it may not be whole yet"),
        })
    }
}

/// A record that cannot be read. One that was there a moment ago and is gone can
/// be the sign of a disk that was unmounted.
fn unreadable(error: Error, record: &Path) -> Fault {
    let fault = Side::ReadRecord.fault(error);
    match fs::metadata(record) {
        Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => Fault {
            disposition: Disposition::RetryRun,
            ..fault
        },
        _ => fault,
    }
}

/// Reads a run that artdaqDB has beside those that may be at fault: `others`.
pub(super) fn read_another_run(artdaqdb: &dyn ArtdaqDb, others: &BTreeSet<Run>) -> Trial {
    let runs = match artdaqdb.runs() {
        Ok(runs) => runs,
        Err(error) => return Trial::Fails(error),
    };
    // What UconDB has may have been removed from artdaqDB.
    let there = others.iter().rev();
    let there = there.filter(|run| runs.get(run) == Some(&Presence::Whole));
    Trial::by_reading(there, |run| artdaqdb.read(*run))
}

/// A syntax error names the file within the run record, or what it was made from.
fn name_file(error: Error, record: &Path) -> Error {
    match error {
        Error::Syntax { path, source } => {
            let file = record.join(&path);
            let text = file.with_extension("txt");
            let path = if !faults::exists(&file) && faults::exists(&text) {
                text
            } else {
                file
            };
            Error::Syntax { path, source }
        }
        error => error,
    }
}
