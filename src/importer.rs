//! The import stage: run records on disk go into artdaqDB.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::error::{Error, ErrorKind, Result};
use crate::fhicl;
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
    /// Runs archived without a stop time.
    unfinished: Mutex<BTreeSet<Run>>,
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
    ) -> Result<Importer<'a>> {
        Ok(Importer {
            run_records_dir,
            generate,
            artdaqdb,
            schema: read_schema(fcl_conf_dir)?,
            records: Mutex::default(),
            unfinished: Mutex::default(),
        })
    }

    /// The runs archived by this stage whose record has no stop time yet.
    #[must_use]
    pub fn unfinished(&self) -> BTreeSet<Run> {
        lock(&self.unfinished).clone()
    }
}

/// Reads `schema.fcl`, which goes with every run.
fn read_schema(fcl_conf_dir: &Path) -> Result<FclFile> {
    let path = fcl_conf_dir.join("schema.fcl");
    let unusable = |problem: String| Error::ArtdaqDb {
        location: path.display().to_string(),
        problem: format!(
            "{problem}. Every run is stored with this schema: correct artdaq_db.fcl_conf_dir or the file"
        ),
        kind: ErrorKind::Unreachable,
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
        record.files.push(self.schema.clone());
        if record.update.files.is_empty() {
            log::debug!("Run {run}: No start or stop time, so no RunHistory2");
        }
        // In one call: a run must not be visible without what belongs to it.
        record.files.append(&mut record.update.files);
        log::debug!(
            "Run {run}: Archiving {} files to artdaqDB as {run}/{}",
            record.files.len(),
            record.configuration
        );
        self.artdaqdb
            .insert(run, &record.configuration, &record.files)
            .map_err(|error| name_file(error, &path))?;
        if !record.update.has_stop_time {
            lock(&self.unfinished).insert(run);
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
            let path = if !file.exists() && text.exists() {
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
