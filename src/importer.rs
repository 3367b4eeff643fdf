//! The import stage: run records on disk go into artdaqDB.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::error::{Disposition, Error, Result};
use crate::faults::{self, fs};
use crate::fhicl;
use crate::incomplete::IncompleteRuns;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};
use crate::run_record::{self, Generated, Options, RunRecord};
use crate::stage::{Stage, Survey, Words};

/// The import stage's words.
pub const WORDS: Words = Words {
    title: "Import Stage",
    verb: "import",
    done: "imported",
    target: module_path!(),
    retry_flag: "--retry-failed-import",
    recover_flag: "--recover-import-state",
};

/// The import stage.
pub struct Importer<'a> {
    run_records_dir: &'a Path,
    generate: &'a BTreeSet<Generated>,
    artdaqdb: &'a dyn ArtdaqDb,
    schema: FclFile,
    /// Where each run's record is, as last scanned.
    records: Mutex<BTreeMap<Run, PathBuf>>,
    incomplete: &'a IncompleteRuns,
    /// Runs processed without a stop time.
    without_stop_time: Mutex<BTreeSet<Run>>,
}

impl<'a> Importer<'a> {
    /// The stage from `run_records_dir` to `artdaqdb`, with the schema of `fcl_conf_dir`.
    ///
    /// # Errors
    /// The schema can't be read or is not FHiCL.
    pub fn new(
        run_records_dir: &'a Path,
        fcl_conf_dir: &Path,
        generate: &'a BTreeSet<Generated>,
        artdaqdb: &'a dyn ArtdaqDb,
        incomplete: &'a IncompleteRuns,
    ) -> Result<Importer<'a>> {
        Ok(Importer {
            run_records_dir,
            generate,
            artdaqdb,
            schema: read_schema(fcl_conf_dir)?,
            records: Mutex::default(),
            incomplete,
            without_stop_time: Mutex::default(),
        })
    }

    /// The runs processed by this stage whose record has no stop time.
    #[must_use]
    pub fn without_stop_time(&self) -> BTreeSet<Run> {
        lock(&self.without_stop_time).clone()
    }

    /// Adds the stop time of runs that were archived while they were still going
    /// and have ended since. Gives those runs.
    ///
    /// A record that can't be read is left for the next execution, with a warning.
    ///
    /// # Errors
    /// artdaqDB can't be read or written.
    pub fn add_stop_times(&self) -> Result<BTreeSet<Run>> {
        let going = self.incomplete.going();
        if going.is_empty() {
            return Ok(BTreeSet::new());
        }
        let archived = self.artdaqdb.runs()?;
        let records = run_record::scan(self.run_records_dir)?;
        let mut ended = BTreeSet::new();
        for run in going {
            let (Some(Presence::Whole), Some(path)) = (archived.get(&run), records.get(&run))
            else {
                log::debug!(
                    "Run {run}: no stop time yet, and it is not archived or its record is gone"
                );
                continue;
            };
            match self.add_stop_time(run, path) {
                Ok(true) => {
                    ended.insert(run);
                }
                Ok(false) => log::debug!("Run {run}: still no stop time"),
                Err(error) if error.disposition() == Disposition::StopStage => return Err(error),
                Err(error) => log::warn!(
                    "Run {run}: its stop time could not be added: {error}. The next execution tries again"
                ),
            }
        }
        self.artdaqdb.publish()?;
        for run in &ended {
            log::info!("✓ Run {run}: stop time added in artdaqDB");
            self.incomplete.stop_time_added(*run);
        }
        self.incomplete.save()?;
        Ok(ended)
    }

    fn add_stop_time(&self, run: Run, path: &Path) -> Result<bool> {
        let update = RunRecord::read_update(
            run,
            path,
            &Options {
                generate: self.generate,
            },
        )?;
        if !update.has_stop_time {
            return Ok(false);
        }
        let stored = self.artdaqdb.read(run)?;
        let mut missing = Vec::new();
        for file in update.files {
            let document = fhicl::parse(&file.text).map_err(|source| Error::Syntax {
                path: path.join(format!("{}.fcl", file.entity)),
                source: Box::new(source),
            })?;
            // As after a crash between artdaqDB and the list of incomplete runs.
            let text = fhicl::write(&document);
            if !stored
                .files
                .iter()
                .any(|it| it.entity == file.entity && it.text == text)
            {
                missing.push(file);
            }
        }
        if !missing.is_empty() {
            self.artdaqdb.update(run, &missing)?;
        }
        Ok(true)
    }
}

/// Reads `schema.fcl`, which goes with every run.
///
/// # Errors
/// It can't be read or is not FHiCL.
pub fn read_schema(fcl_conf_dir: &Path) -> Result<FclFile> {
    let path = fcl_conf_dir.join("schema.fcl");
    let unusable = |problem: String| Error::ArtdaqDb {
        location: path.display().to_string(),
        problem: format!(
            "{problem}. Every run is stored with this schema: correct artdaq_db.fcl_conf_dir or the file"
        ),
        disposition: Disposition::StopStage,
    };
    let text =
        fs::read_to_string(&path).map_err(|error| unusable(format!("cannot read it: {error}")))?;
    fhicl::parse(&text).map_err(|error| unusable(format!("not FHiCL: {error}")))?;
    Ok(FclFile {
        entity: SCHEMA_ENTITY.into(),
        text,
    })
}

impl Stage for Importer<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn survey(&self) -> Result<Survey> {
        let records = run_record::scan(self.run_records_dir)?;
        log::info!(
            "Found {} run directories in {}",
            records.len(),
            self.run_records_dir.display()
        );
        log::info!("Querying artdaqDB for archived runs...");
        let runs = self.artdaqdb.runs()?;
        let archived: BTreeSet<Run> = runs
            .iter()
            .filter(|(_, presence)| **presence == Presence::Whole)
            .map(|(run, _)| *run)
            .collect();
        log::info!(
            "✓ ArtdaqDB query complete: {} runs in {}",
            archived.len(),
            self.artdaqdb.location()
        );
        for run in runs.keys().filter(|run| !archived.contains(run)) {
            if records.contains_key(run) {
                log::warn!(
                    "Run {run} is in artdaqDB in part only: its import was cut short. It is completed now"
                );
            } else {
                log::warn!(
                    "Run {run} is in artdaqDB in part only, and its run record is gone from {}. \
                     Restore the record to complete it",
                    self.run_records_dir.display()
                );
            }
        }
        let source: BTreeSet<Run> = records.keys().copied().collect();
        let survey = Survey {
            known: &source | &archived,
            source,
            archived,
            again: BTreeSet::new(),
        };
        *lock(&self.records) = records;
        Ok(survey)
    }

    fn process(&self, run: Run) -> Result<()> {
        let path = lock(&self.records).get(&run).cloned();
        let path = path.unwrap_or_else(|| self.run_records_dir.join(run.to_string()));
        log::debug!("Run {run}: Reading {}", path.display());
        let mut record = RunRecord::read(
            run,
            &path,
            &Options {
                generate: self.generate,
            },
        )?;
        if record.update.files.is_empty() {
            log::debug!("Run {run}: No start or stop time, so no RunHistory2");
        }
        // In one call: a run must not be visible without what belongs to it.
        record.files.append(&mut record.update.files);
        // Last, so that a schema document means that the others are there.
        record.files.push(self.schema.clone());
        log::debug!(
            "Run {run}: Archiving {} files to artdaqDB as {run}/{}",
            record.files.len(),
            record.configuration
        );
        if record.update.awaits_stop_time {
            // Remembered before it is visible: nobody would ask for its stop time else.
            self.incomplete.remember(run);
            self.incomplete.save()?;
        }
        self.artdaqdb
            .insert(run, &record.configuration, &record.files)
            .map_err(|error| name_file(error, &path))?;
        if !record.update.has_stop_time {
            lock(&self.without_stop_time).insert(run);
        }
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        self.artdaqdb.publish()
    }
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
