//! The import stage: run records on disk go into artdaqDB.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::compare::Difference;
use super::journal::{Journal, RecordNote, Store};
use super::recheck::{Inspector, Look};
use super::settle::{self, Noted, Patience, Readiness};
use super::{Done, Fault, Job, Side, Stage, Survey, Trial};
use crate::artdaqdb::{ArtdaqDb, Inserted, Inspection, Presence};
use crate::clock;
use crate::error::{Disposition, Error, Result};
use crate::faults::{self, fs};
use crate::fhicl;
use crate::regular_file;
use crate::run::{FclFile, Run, SCHEMA_ENTITY, StageKind};
use crate::run_record::{self, Generated, Options, RunRecord, Snapshot};
use crate::run_set::RunSet;

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
    recheck: Option<RecheckSettings>,
    /// Archived runs whose records are stored anew.
    replaces: Option<RunSet>,
    /// Where what is replaced is kept, if the database can't.
    keep: PathBuf,
}

/// How the records of archived runs are looked at again.
#[derive(Debug, Clone)]
pub struct RecheckSettings {
    /// For how long after its import or its last change a record is recent.
    pub recent: Duration,
    /// Threads that compare records with artdaqDB.
    pub workers: usize,
    /// Only the records of these runs.
    pub only: Option<RunSet>,
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
    /// Adds what the record gained since it was archived: the stop time, other files.
    Complete {
        /// The run.
        run: Run,
        /// The record's directory.
        record: PathBuf,
    },
    /// Stores anew what differs from the record, or is not what the real tools read.
    Replace {
        /// The run.
        run: Run,
        /// The record's directory.
        record: PathBuf,
    },
}

impl Job for ImportJob {
    fn run(&self) -> Run {
        match self {
            ImportJob::New { run, .. }
            | ImportJob::Complete { run, .. }
            | ImportJob::Replace { run, .. } => *run,
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
            recheck: None,
            replaces: None,
            keep: journal.replaced(),
        })
    }

    /// Stores the records of these runs anew where they are archived.
    #[must_use]
    pub fn replacing(self, runs: RunSet) -> Importer<'a> {
        Importer {
            replaces: Some(runs),
            ..self
        }
    }

    /// Looks again at the records of archived runs, too.
    #[must_use]
    pub fn rechecking(self, settings: RecheckSettings) -> Importer<'a> {
        Importer {
            recheck: Some(settings),
            ..self
        }
    }

    fn options(&self) -> Options<'a> {
        self.reading
    }

    /// Adds to a survey what a look at the records of archived runs brings.
    fn survey_records(
        &self,
        records: &BTreeMap<Run, PathBuf>,
        survey: &mut Survey<ImportJob>,
    ) -> Result<()> {
        let Some(recheck) = &self.recheck else {
            return Ok(());
        };
        let inspector = Inspector {
            artdaqdb: self.artdaqdb,
            journal: self.journal,
            options: self.options(),
            patience: self.patience,
            is_local: self.is_local,
            recent: recheck.recent,
            workers: recheck.workers,
            only: recheck.only.as_ref(),
        };
        survey.recheck = inspector.look(records, &survey.archived)?;
        for run in survey.recheck.to_complete.iter().copied() {
            if let Some(record) = records.get(&run) {
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
        self.check_unchanged(path, &before)?;
        let mut note = RecordNote::of(&before, &record, clock::now());
        note.is_open = record.update.awaits_stop_time;
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
            note: Some(Box::new(note)),
            stored_nothing: inserted == Inserted::Before,
            without_stop_time: !record.update.has_stop_time,
            awaits_stop_time: record.update.awaits_stop_time,
            ..Done::default()
        })
    }

    /// Looks whether a record is still as settled as when the run was planned, and
    /// returns how it looks.
    fn look_again(&self, run: Run, path: &Path) -> Result<Look, Fault> {
        let look = Look::at(path).map_err(|error| unreadable(error, path))?;
        let noted = self.journal.noted(run);
        match self
            .patience
            .look(&look.snapshot, noted.as_ref(), self.is_local, clock::now())
        {
            Readiness::Ready | Readiness::Restless => Ok(look),
            Readiness::Waits(_) => Err(not_whole(path, "changed since this execution began")),
        }
    }

    fn check_unchanged(&self, path: &Path, before: &Look) -> Result<(), Fault> {
        let after = Snapshot::take(path).map_err(|error| unreadable(error, path))?;
        match after == before.snapshot {
            true => Ok(()),
            false => Err(not_whole(path, "changed while it was read")),
        }
    }

    /// Adds to a run what artdaqDB lacks of its record.
    fn complete(&self, run: Run, path: &Path) -> Result<Done, Fault> {
        let (look, record, stored) = self.read_both(run, path)?;
        let before = self.journal.record_note(run);
        let sources = before.as_ref().map(|note| &note.sources);
        let difference = Difference::of(&record, &stored.configuration, sources);
        let mut note = RecordNote::of(&look, &record, clock::now());
        note.imported_as(before.as_ref(), &stored);
        note.is_open = record.update.awaits_stop_time;
        note.differs.clone_from(&difference.changed);
        let lacking = difference.lacking();
        if !lacking.is_empty() {
            log::info!(
                target: TARGET,
                "Run {run}: added to artdaqDB, as its record has it by now: {}",
                lacking.join(", ")
            );
            self.artdaqdb
                .supersede(run, &difference.lacks, &self.keep)
                .map_err(|error| Side::WriteArtdaqdb.fault(name_file(error, path)))?;
        }
        let history = Generated::RunHistory2.entity();
        Ok(Done {
            gained_stop_time: !record.update.awaits_stop_time,
            has_more: !lacking.is_empty(),
            stored_nothing: lacking.is_empty(),
            adds_times_only: difference.lacks.iter().all(|file| file.entity == history),
            note: Some(Box::new(note)),
            ..Done::default()
        })
    }
}

impl Importer<'_> {
    /// Reads a record that has settled, and works out what storing it anew changes.
    fn change(&self, run: Run, path: &Path) -> Result<(Look, RunRecord, Change), Fault> {
        let (look, record, stored) = self.read_both(run, path)?;
        let change = Change::of(&record, &stored);
        Ok((look, record, change))
    }

    /// Reads a record that has settled, and what artdaqDB has of the run.
    fn read_both(&self, run: Run, path: &Path) -> Result<(Look, RunRecord, Inspection), Fault> {
        let look = self.look_again(run, path)?;
        let record = RunRecord::read_again(run, path, &self.options())
            .map_err(|error| unreadable(error, path))?;
        self.check_unchanged(path, &look)?;
        let stored = self
            .artdaqdb
            .inspect(run)
            .map_err(|error| Side::ReadArtdaqdb.fault(error))?;
        Ok((look, record, stored))
    }

    /// Stores a record anew under the configuration's name that the run has.
    fn replace(&self, run: Run, path: &Path) -> Result<Done, Fault> {
        let (look, record, change) = self.change(run, path)?;
        for line in change.lines() {
            log::info!(target: TARGET, "Run {run}: {line}");
        }
        if let Some((old, new)) = &change.names {
            log::warn!(
                target: TARGET,
                "Run {run}: its record names the configuration {new:?}; it is stored as {old:?}, \
                 the name under which the run is archived"
            );
        }
        if !change.files.is_empty() {
            self.artdaqdb
                .supersede(run, &change.files, &self.keep)
                .map_err(|error| Side::WriteArtdaqdb.fault(name_file(error, path)))?;
        }
        let mut note = RecordNote::of(&look, &record, clock::now());
        if let Some(before) = self.journal.record_note(run) {
            note.imported = before.imported;
        }
        note.is_open = record.update.awaits_stop_time;
        Ok(Done {
            gained_stop_time: !record.update.awaits_stop_time,
            // Whether UconDB has it is seen by comparing.
            has_more: true,
            stored_nothing: change.files.is_empty(),
            note: Some(Box::new(note)),
            ..Done::default()
        })
    }
}

/// What storing a record anew changes.
#[derive(Debug, Default)]
struct Change {
    /// What is stored.
    files: Vec<FclFile>,
    /// What artdaqDB lacks, what is another one, what is only converted in another way,
    /// and what the real tools read in an older form.
    added: Vec<String>,
    changed: Vec<String>,
    converted: Vec<String>,
    misordered: Vec<String>,
    /// What artdaqDB has and the record does not have any more.
    kept: Vec<String>,
    /// The configuration names, where the record has another one.
    names: Option<(String, String)>,
}

impl Change {
    /// Works out what to store of a record, so that artdaqDB has it as it is.
    fn of(record: &RunRecord, stored: &Inspection) -> Change {
        let mut change = Change::default();
        let difference = Difference::of(record, &stored.configuration, None);
        change.kept = difference.gone;
        for file in record.files.iter().chain(&record.update.files) {
            let name = format!("{}.fcl", file.entity);
            let text = fhicl::parse(&file.text)
                .map(|tree| fhicl::write(&tree))
                .ok();
            let mut all = stored.configuration.files.iter();
            let list = match all.find(|it| it.entity == file.entity) {
                None => &mut change.added,
                // Whoever stores it says what is wrong.
                Some(old) if Some(&old.text) != text.as_ref() => {
                    match difference.converted.contains(&file.entity) {
                        true => &mut change.converted,
                        false => &mut change.changed,
                    }
                }
                Some(_) if stored.misordered.contains(&file.entity) => &mut change.misordered,
                Some(_) => continue,
            };
            list.push(name);
            change.files.push(file.clone());
        }
        let (old, new) = (&stored.configuration.name, &record.configuration);
        if old != new {
            change.names = Some((old.clone(), new.clone()));
        }
        change
    }

    /// A line for each kind of change.
    fn lines(&self) -> Vec<String> {
        let lists = [
            (&self.changed, "differ from the record"),
            (&self.added, "are added"),
            (&self.converted, "are converted differently today"),
            (
                &self.misordered,
                "are read by the real tools in an older form",
            ),
        ];
        let lists = lists.into_iter().filter(|(files, _)| !files.is_empty());
        let mut lines: Vec<String> = lists
            .map(|(files, what)| format!("{what}: {}", files.join(", ")))
            .collect();
        if !self.kept.is_empty() {
            lines.push(format!(
                "artdaqDB keeps what the record does not have: {}",
                self.kept.join(", ")
            ));
        }
        lines
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
        let (ImportJob::New { record, .. }
        | ImportJob::Complete { record, .. }
        | ImportJob::Replace { record, .. }) = job;
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
        self.survey_records(&records, &mut survey)?;
        let replaces = self.replaces.as_ref();
        let replaced = survey.archived.iter().copied();
        let replaced = replaced.filter(|run| replaces.is_some_and(|runs| runs.contains(*run)));
        for run in replaced {
            // One that is gone is an error of the run.
            let record = records.get(&run).cloned();
            let record = record.unwrap_or_else(|| self.run_records_dir.join(run.to_string()));
            survey
                .updates
                .insert(run, ImportJob::Replace { run, record });
        }
        Ok(survey)
    }

    fn process(&self, job: &ImportJob) -> Result<Done, Fault> {
        match job {
            ImportJob::New { run, record } => self.import(*run, record),
            ImportJob::Complete { run, record } => self.complete(*run, record),
            ImportJob::Replace { run, record } => self.replace(*run, record),
        }
    }

    fn preview(&self, job: &ImportJob) -> Result<Vec<String>, Fault> {
        match job {
            ImportJob::New { .. } => Ok(Vec::new()),
            ImportJob::Complete { run, record } | ImportJob::Replace { run, record } => {
                let (_, _, change) = self.change(*run, record)?;
                let mut lines = change.lines();
                if lines.is_empty() {
                    lines.push("artdaqDB has the record as it is".to_owned());
                }
                Ok(lines)
            }
        }
    }

    fn publish(&self) -> Result<Vec<(Run, Fault)>> {
        let refused = self.artdaqdb.publish()?.into_iter();
        let fault = |(run, error)| (run, Fault::of_run(error));
        Ok(refused.map(fault).collect())
    }

    fn stamp(&self, run: Run) -> Option<u64> {
        self.artdaqdb.stamp(run).ok()?
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
