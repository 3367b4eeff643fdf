//! The migrate stage: configurations in artdaqDB go into UconDB as blobs, and
//! count as migrated only when they were read back and their MD5 compared.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use md5::{Digest, Md5};

use super::importer::read_another_run;
use super::journal::{Journal, Store};
use super::{Done, Fault, Job, Side, Stage, Survey, Trial};
use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::blob;
use crate::clock;
use crate::config::IncompletePolicy;
use crate::error::{Disposition, Error, Remedy, Result};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::ucondb::{Override, UconDb, Upload, Version};

/// The log's module name for the stage.
const TARGET: &str = StageKind::Migrate.target();

/// How runs are migrated.
#[derive(Debug, Clone, Default)]
pub struct MigrateOptions {
    /// Whether to say of each blob whether it meets its readers' demands.
    pub validate: bool,
    /// What becomes of runs without a stop time.
    pub incomplete_runs: IncompletePolicy,
    /// Runs to migrate again although UconDB has them, replacing what it has
    /// under their keys by a new version.
    pub override_existing: Option<RunSet>,
}

/// The migrate stage.
pub struct Migrator<'a> {
    artdaqdb: &'a dyn ArtdaqDb,
    ucondb: &'a dyn UconDb,
    /// Where runs go that have no stop time yet, if the site wants them apart.
    pending: Option<&'a dyn UconDb>,
    journal: &'a Journal,
    options: MigrateOptions,
}

/// What the migrate stage does with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrateJob {
    /// Stores the run's blob under its key.
    Store {
        /// The run.
        run: Run,
        /// The folder that it goes to.
        folder: Folder,
        /// Whether UconDB has a blob that was not compared, so that it is asked
        /// before anything is sent.
        is_unverified: bool,
    },
    /// Stores the run's blob as a new version, unless UconDB has the same.
    Update {
        /// The run.
        run: Run,
        /// The folder that it goes to.
        folder: Folder,
        /// Whether what UconDB has may be damaged: what cannot be read is replaced,
        /// too.
        is_repair: bool,
    },
}

/// A folder of UconDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// That of finished runs.
    Finished,
    /// That of runs without a stop time, where a site keeps them apart.
    Pending,
}

impl MigrateJob {
    fn folder(&self) -> Folder {
        match self {
            MigrateJob::Store { folder, .. } | MigrateJob::Update { folder, .. } => *folder,
        }
    }
}

impl Job for MigrateJob {
    fn run(&self) -> Run {
        match self {
            MigrateJob::Store { run, .. } | MigrateJob::Update { run, .. } => *run,
        }
    }
}

impl<'a> Migrator<'a> {
    /// The stage from `artdaqdb` to `ucondb`; runs that are still going go to
    /// `pending`, where there is one.
    #[must_use]
    pub fn new(
        artdaqdb: &'a dyn ArtdaqDb,
        ucondb: &'a dyn UconDb,
        pending: Option<&'a dyn UconDb>,
        journal: &'a Journal,
        options: MigrateOptions,
    ) -> Migrator<'a> {
        Migrator {
            artdaqdb,
            ucondb,
            pending,
            journal,
            options,
        }
    }

    fn ucondb_of(&self, folder: Folder) -> &'a dyn UconDb {
        match (folder, self.pending) {
            (Folder::Pending, Some(pending)) => pending,
            _ => self.ucondb,
        }
    }

    fn error(&self, job: &MigrateJob, problem: String, disposition: Disposition) -> Error {
        Error::ucondb(
            self.ucondb_of(job.folder()).location().to_owned(),
            format!("run {}: {problem}", job.run()),
            disposition,
        )
    }

    /// Returns whether UconDB has this very record already: the size first, then the
    /// bytes.
    ///
    /// # Errors
    /// What it has cannot be read.
    fn has_same(&self, job: &MigrateJob, existing: Version, blob: &Bytes) -> Result<bool> {
        // The two lines that are not compared have the same length always.
        if existing.size != blob.len() as u64 {
            return Ok(false);
        }
        let stored = self.ucondb_of(job.folder()).download(job.run())?;
        Ok(blob::same_record(&stored, blob))
    }

    /// Stores a blob exactly once. `None` if UconDB had this very record already.
    fn store(&self, job: &MigrateJob, blob: &Bytes) -> Result<Option<Version>, Fault> {
        let reading = |error| Side::ReadUcondb.fault(error);
        let writing = |error| Side::WriteUcondb.fault(error);
        let ucondb = self.ucondb_of(job.folder());
        let run = job.run();
        let (asks_first, replaces, is_repair) = match job {
            MigrateJob::Store { is_unverified, .. } => (*is_unverified, false, false),
            MigrateJob::Update { is_repair, .. } => (true, true, *is_repair),
        };
        if is_repair {
            return self.repair(job, blob);
        }
        let known = match asks_first {
            true => ucondb.version(run).map_err(reading)?,
            false => None,
        };
        let existing = match known {
            Some(existing) => existing,
            None => match ucondb
                .upload(run, blob.clone(), Override::No)
                .map_err(writing)?
            {
                Upload::Stored(version) => return Ok(Some(version)),
                Upload::Exists(existing) => existing,
            },
        };
        let has_same = self.has_same(job, existing, blob);
        if has_same.map_err(|error| reading(self.not_comparable(job, error)))? {
            note_same(run, existing);
            return Ok(None);
        }
        if !replaces {
            let error = self.another_record(job, existing, Version::of(blob));
            return Err(Fault::of_run(error));
        }
        log::info!(
            target: TARGET,
            "Run {run}: a new version is stored under its key; the old one ({} bytes, adler32 {}) stays without a key",
            existing.size,
            existing.adler32
        );
        self.replace(job, blob)
    }

    /// Stores a blob as a new version, whatever state the present one is in. `None` if
    /// UconDB had this very record already.
    fn repair(&self, job: &MigrateJob, blob: &Bytes) -> Result<Option<Version>, Fault> {
        let run = job.run();
        let ucondb = self.ucondb_of(job.folder());
        let found = match ucondb.version(run) {
            Ok(Some(existing)) => self
                .has_same(job, existing, blob)
                .map(|is_same| Some((existing, is_same))),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Ok(Some((existing, true))) => {
                note_same(run, existing);
                return Ok(None);
            }
            Ok(Some((existing, false))) => log::info!(
                target: TARGET,
                "Run {run}: a new version is stored under its key; the old one ({} bytes, adler32 {}) stays without a key",
                existing.size,
                existing.adler32
            ),
            Ok(None) => {}
            Err(error @ Error::Interrupted(_)) => return Err(Side::ReadUcondb.fault(error)),
            // A server that does not work at all does not take the blob either.
            Err(error) => log::warn!(
                target: TARGET,
                "Run {run}: what UconDB has under its key cannot be read ({error}). It is replaced by a new version, and stays without a key"
            ),
        }
        self.replace(job, blob)
    }

    fn replace(&self, job: &MigrateJob, blob: &Bytes) -> Result<Option<Version>, Fault> {
        let ucondb = self.ucondb_of(job.folder());
        match ucondb
            .upload(job.run(), blob.clone(), Override::Yes)
            .map_err(|error| Side::WriteUcondb.fault(error))?
        {
            Upload::Stored(version) | Upload::Exists(version) => Ok(Some(version)),
        }
    }

    fn another_record(&self, job: &MigrateJob, existing: Version, ours: Version) -> Error {
        let sizes = match existing.size == ours.size {
            true => format!("also {} bytes, with other content", ours.size),
            false => format!(
                "{} bytes, where this one has {} bytes",
                existing.size, ours.size
            ),
        };
        self.error(
            job,
            format!("UconDB has another record under this key: {sizes}. Nothing was overwritten."),
            Disposition::FailRun,
        )
        .with_remedy(Remedy::ChooseRecord(job.run()))
    }

    /// Says what to do about a blob that cannot be read, if it is the blob.
    fn not_comparable(&self, job: &MigrateJob, error: Error) -> Error {
        let disposition = error.disposition();
        if disposition == Disposition::StopStage {
            return error;
        }
        let problem = format!("what UconDB has under this key cannot be read: {error}.");
        self.error(job, problem, disposition)
            .with_remedy(Remedy::ReplaceBlob(job.run()))
            .caused_by(error)
    }

    /// Reads a blob back and compares it.
    fn verify(&self, job: &MigrateJob, blob: &Bytes) -> Result<()> {
        let run = job.run();
        let stored = self.ucondb_of(job.folder()).download(run)?;
        let (sent, back) = (Md5::digest(blob), Md5::digest(&stored));
        if sent != back {
            return Err(self.error(
                job,
                format!(
                    "what UconDB gives back is not what it was given: {} bytes, MD5 {}, where {} \
                     bytes, MD5 {} were sent",
                    stored.len(),
                    hex(&back),
                    blob.len(),
                    hex(&sent)
                ),
                Disposition::RetryRun,
            ));
        }
        log::debug!(
            target: TARGET,
            "Run {run}: MD5 of what UconDB gives back compared: {}",
            hex(&sent)
        );
        Ok(())
    }
}

impl Stage for Migrator<'_> {
    type Job = MigrateJob;

    fn kind(&self) -> StageKind {
        StageKind::Migrate
    }

    fn weight(&self, job: &MigrateJob) -> u64 {
        // What can't be looked at fails when it is read.
        self.artdaqdb.weight(job.run()).ok().flatten().unwrap_or(0)
    }

    fn destination(&self) -> &str {
        self.ucondb.location()
    }

    fn survey(&self) -> Result<Survey<MigrateJob>> {
        log::info!(target: TARGET, "Querying artdaqDB for available runs...");
        let runs = self.artdaqdb.runs()?;
        let mut source: BTreeSet<Run> = runs
            .iter()
            .filter(|(_, presence)| **presence == Presence::Whole)
            .map(|(run, _)| *run)
            .collect();
        log::info!(
            target: TARGET,
            "✓ ArtdaqDB query complete: {} runs in {}",
            source.len(),
            self.artdaqdb.location()
        );
        let whole = source.clone();
        log::info!(target: TARGET, "Querying UconDB for migrated runs...");
        let mut archived = list(self.ucondb)?;
        let stored = archived.clone();
        let incomplete = self.journal.incomplete();
        let awaited = incomplete.awaited();
        if let Some(pending) = self.pending {
            let there = list(pending)?;
            archived.extend(awaited.intersection(&there));
        } else if self.options.incomplete_runs == IncompletePolicy::Wait {
            let waiting: BTreeSet<Run> = awaited.difference(&archived).copied().collect();
            if !waiting.is_empty() {
                let runs: RunSet = waiting.iter().copied().collect();
                log::info!(
                    target: TARGET,
                    "{} run(s) wait for their stop time: {runs}",
                    waiting.len()
                );
            }
            source.retain(|run| !waiting.contains(run));
        }
        let known = &(&source | &archived) | &awaited;

        let mut replaced = &incomplete.to_refresh() & &archived;
        let to_repair = |run: &Run| {
            let runs = self.options.override_existing.as_ref();
            runs.is_some_and(|runs| runs.contains(*run))
        };
        replaced.extend(archived.iter().filter(|run| to_repair(run)));
        replaced.retain(|run| source.contains(run));
        let unverified = &self.journal.unverified()? & &archived;
        if !unverified.is_empty() {
            let runs: RunSet = unverified.iter().copied().collect();
            log::warn!(
                target: TARGET,
                "{} run(s) are in UconDB, but were not compared before the last execution ended: {runs}. They are compared now",
                unverified.len()
            );
        }
        // A key that was there before the run was imported can hold another record.
        let (imported, compared) = (self.journal.imported(), self.journal.compared());
        let is_unproven = |run: &&Run| imported.contains(**run) && !compared.contains(**run);
        let mut unproven: BTreeSet<Run> = archived.iter().filter(is_unproven).copied().collect();
        unproven.retain(|run| source.contains(run) && !unverified.contains(run));
        unproven.retain(|run| !replaced.contains(run));
        if !unproven.is_empty() {
            let runs: RunSet = unproven.iter().copied().collect();
            log::info!(
                target: TARGET,
                "{} imported run(s) were in UconDB already: {runs}. They are compared now",
                unproven.len()
            );
        }
        let unverified = &unverified | &unproven;
        archived.retain(|run| replaced.contains(run) || !unverified.contains(run));
        let folder = |run: &Run| match self.pending.is_some() && awaited.contains(run) {
            true => Folder::Pending,
            false => Folder::Finished,
        };
        let jobs: BTreeMap<Run, MigrateJob> = source
            .difference(&archived)
            .map(|run| {
                let job = MigrateJob::Store {
                    run: *run,
                    folder: folder(run),
                    is_unverified: unverified.contains(run),
                };
                (*run, job)
            })
            .collect();
        let updates = replaced.iter().map(|run| {
            let job = MigrateJob::Update {
                run: *run,
                folder: folder(run),
                is_repair: to_repair(run),
            };
            (*run, job)
        });
        Ok(Survey {
            known,
            jobs,
            updates: updates.collect(),
            // An object without runs where runs are known would be a new archive.
            archive_exists: !stored.is_empty(),
            sightings: vec![(Store::Artdaqdb, whole), (Store::Ucondb, stored)],
            source,
            archived,
            ..Survey::default()
        })
    }

    fn process(&self, job: &MigrateJob) -> Result<Done, Fault> {
        let run = job.run();
        log::debug!(target: TARGET, "Run {run}: Reading back from artdaqDB");
        let configuration = self
            .artdaqdb
            .read(run)
            .map_err(|error| Side::ReadArtdaqdb.fault(error))?;
        let blob = blob::pack(run, &configuration.files, clock::now());
        log::debug!(
            target: TARGET,
            "Run {run}: Blob of {} files, {} bytes",
            configuration.files.len(),
            blob.len()
        );
        drop(configuration);
        let findings = blob::check(&blob);
        for finding in &findings {
            log::warn!(
                target: TARGET,
                "Run {run}: the blob does not meet its readers' demands: {finding}"
            );
        }
        let blob = Bytes::from(blob);
        let stored = self.store(job, &blob)?;
        if stored.is_some() {
            self.verify(job, &blob)
                .map_err(|error| Side::ReadUcondb.fault(error))?;
        }
        if self.options.validate {
            // What came back is what was checked, to the byte.
            match findings.len() {
                0 => log::info!(target: TARGET, "✓ Run {run}: blob validation passed"),
                count => {
                    log::warn!(
                        target: TARGET,
                        "✗ Run {run}: blob validation found {count} problem(s), named above"
                    );
                }
            }
        }
        Ok(Done {
            stored_nothing: stored.is_none(),
            ..Done::default()
        })
    }

    fn publish(&self) -> Result<Vec<(Run, Fault)>> {
        // What UconDB answered for is durable and visible.
        Ok(Vec::new())
    }

    fn trial(&self, side: Side, archived: &BTreeSet<Run>) -> Trial {
        match side {
            Side::ReadUcondb => {
                Trial::by_reading(archived.iter().rev(), |run| self.ucondb.download(*run))
            }
            // A server that can be read from need not be able to store.
            Side::WriteUcondb => match self.ucondb.is_ready() {
                Ok(()) => Trial::Inconclusive,
                Err(error) => Trial::Fails(error),
            },
            Side::ReadRecord | Side::ReadArtdaqdb | Side::WriteArtdaqdb => {
                read_another_run(self.artdaqdb, archived)
            }
        }
    }

    fn evidence(&self, run: Run) -> Option<String> {
        self.artdaqdb.fingerprint(run).ok()?
    }
}

fn note_same(run: Run, existing: Version) {
    log::info!(
        target: TARGET,
        "Run {run} is in UconDB already, with the same content ({} bytes)",
        existing.size
    );
}

/// Lists the runs of a folder.
fn list(ucondb: &dyn UconDb) -> Result<BTreeSet<Run>> {
    let runs = ucondb.runs()?;
    log::info!(
        target: TARGET,
        "✓ UconDB query complete: {} runs in {}",
        runs.len(),
        ucondb.location()
    );
    Ok(runs)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
