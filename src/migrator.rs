//! The migrate stage: configurations in artdaqDB go into UconDB as blobs, and
//! count as migrated only when they were read back and their MD5 compared.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::blob;
use crate::error::{Disposition, Error, Result};
use crate::incomplete::{IncompleteRuns, Policy};
use crate::run::Run;
use crate::run_list::RunList;
use crate::run_set::RunSet;
use crate::stage::{Stage, Survey, Words};
use crate::ucondb::{Override, UconDb, Upload, Version};

/// The migrate stage's words.
pub const WORDS: Words = Words {
    title: "Migrate Stage",
    verb: "migrate",
    done: "migrated",
    target: module_path!(),
    retry_flag: "--retry-failed-migrate",
    recover_flag: "--recover-migrate-state",
};

/// How runs are migrated.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether to say of each blob whether it meets its readers' demands.
    pub validate: bool,
    /// What becomes of runs without a stop time.
    pub incomplete_runs: Policy,
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
    incomplete: &'a IncompleteRuns,
    /// Runs that were begun and not verified: written down before they are
    /// uploaded, so that a kill between the two leaves none that is merely
    /// thought to be archived.
    unverified_list: RunList,
    unverified: Mutex<BTreeSet<Run>>,
    options: Options,
    /// Runs of which UconDB may have a blob that nobody compared.
    doubtful: Mutex<BTreeSet<Run>>,
    /// Runs that are in UconDB and get a new version under their key.
    replaced: Mutex<BTreeSet<Run>>,
}

impl<'a> Migrator<'a> {
    /// The stage from `artdaqdb` to `ucondb`; runs that are still going go to
    /// `pending`, where there is one.
    #[must_use]
    pub fn new(
        artdaqdb: &'a dyn ArtdaqDb,
        ucondb: &'a dyn UconDb,
        pending: Option<&'a dyn UconDb>,
        incomplete: &'a IncompleteRuns,
        unverified_list: RunList,
        options: Options,
    ) -> Migrator<'a> {
        Migrator {
            artdaqdb,
            ucondb,
            pending,
            incomplete,
            unverified_list,
            unverified: Mutex::default(),
            options,
            doubtful: Mutex::default(),
            replaced: Mutex::default(),
        }
    }

    /// Where a run belongs at this moment.
    fn destination(&self, run: Run) -> &'a dyn UconDb {
        match self.pending {
            Some(pending) if self.incomplete.awaited().contains(&run) => pending,
            _ => self.ucondb,
        }
    }

    fn is_replaced(&self, run: Run) -> bool {
        lock(&self.replaced).contains(&run)
    }

    fn error(&self, run: Run, problem: String, disposition: Disposition) -> Error {
        Error::UconDb {
            location: self.destination(run).location().to_owned(),
            problem: format!("run {run}: {problem}"),
            disposition,
        }
    }

    /// Stores a blob exactly once. `None` if UconDB had this very record already.
    fn store(&self, run: Run, blob: &Bytes) -> Result<Option<Version>> {
        let ucondb = self.destination(run);
        let is_replaced = self.is_replaced(run);
        let known = match is_replaced || lock(&self.doubtful).contains(&run) {
            true => ucondb.version(run)?,
            false => None,
        };
        let existing = match known {
            Some(existing) => existing,
            None => match ucondb.upload(run, blob.clone(), Override::No)? {
                Upload::Stored(version) => return Ok(Some(version)),
                Upload::Exists(existing) => existing,
            },
        };
        if blob::same_record(&ucondb.download(run)?, blob) {
            log::info!(
                "Run {run} is in UconDB already, with the same content ({} bytes)",
                existing.size
            );
            return Ok(None);
        }
        if !is_replaced {
            return Err(self.another_record(run, existing, Version::of(blob)));
        }
        log::info!(
            "Run {run}: a new version is stored under its key; the old one ({} bytes, adler32 {}) stays without a key",
            existing.size,
            existing.adler32
        );
        match ucondb.upload(run, blob.clone(), Override::Yes)? {
            Upload::Stored(version) | Upload::Exists(version) => Ok(Some(version)),
        }
    }

    fn another_record(&self, run: Run, existing: Version, ours: Version) -> Error {
        self.error(
            run,
            format!(
                "UconDB has another record under this key: {} bytes, adler32 {}, where this one \
                 has {} bytes, adler32 {}. Nothing was overwritten. Compare the two with --verify \
                 --runs {run}; --override-existing --runs {run} stores this one as a new version",
                existing.size, existing.adler32, ours.size, ours.adler32
            ),
            Disposition::FailRun,
        )
    }

    /// Reads a blob back and compares it.
    fn verify(&self, run: Run, blob: &Bytes) -> Result<()> {
        let stored = self.destination(run).download(run)?;
        let (sent, back) = (Md5::digest(blob), Md5::digest(&stored));
        if sent != back {
            return Err(self.error(
                run,
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
            "Run {run}: MD5 of what UconDB gives back compared: {}",
            hex(&sent)
        );
        Ok(())
    }
}

impl Stage for Migrator<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn survey(&self) -> Result<Survey> {
        log::info!("Querying artdaqDB for available runs...");
        let runs = self.artdaqdb.runs()?;
        let mut source: BTreeSet<Run> = runs
            .iter()
            .filter(|(_, presence)| **presence == Presence::Whole)
            .map(|(run, _)| *run)
            .collect();
        log::info!(
            "✓ ArtdaqDB query complete: {} runs in {}",
            source.len(),
            self.artdaqdb.location()
        );
        log::info!("Querying UconDB for migrated runs...");
        let mut archived = self.ucondb.runs()?;
        log::info!(
            "✓ UconDB query complete: {} runs in {}",
            archived.len(),
            self.ucondb.location()
        );
        let awaited = self.incomplete.awaited();
        if let Some(pending) = self.pending {
            let there = pending.runs()?;
            log::info!(
                "✓ UconDB query complete: {} runs in {}",
                there.len(),
                pending.location()
            );
            archived.extend(awaited.intersection(&there));
        } else if self.options.incomplete_runs == Policy::Wait {
            let waiting: BTreeSet<Run> = awaited.difference(&archived).copied().collect();
            if !waiting.is_empty() {
                let runs: RunSet = waiting.iter().copied().collect();
                log::info!("{} run(s) wait for their stop time: {runs}", waiting.len());
            }
            source.retain(|run| !waiting.contains(run));
        }
        let known = &(&source | &archived) | &awaited;

        let mut replaced = &self.incomplete.to_refresh() & &archived;
        if let Some(runs) = &self.options.override_existing {
            replaced.extend(archived.iter().filter(|run| runs.contains(**run)));
        }
        let unverified = self.unverified_list.read()?;
        let doubtful = &unverified & &archived;
        if !doubtful.is_empty() {
            let runs: RunSet = doubtful.iter().copied().collect();
            log::warn!(
                "{} run(s) are in UconDB, but were not compared before the last execution ended: {runs}. They are compared now",
                doubtful.len()
            );
        }
        archived.retain(|run| !replaced.contains(run) && !doubtful.contains(run));
        let again = &self.incomplete.ready() | &doubtful;
        *lock(&self.replaced) = replaced;
        *lock(&self.doubtful) = doubtful;
        *lock(&self.unverified) = unverified;
        Ok(Survey {
            known,
            source,
            archived,
            again,
        })
    }

    fn begin(&self, runs: &[Run]) -> Result<()> {
        let mut unverified = lock(&self.unverified);
        unverified.extend(runs);
        self.unverified_list.write(&unverified)
    }

    fn process(&self, run: Run) -> Result<()> {
        log::debug!("Run {run}: Reading back from artdaqDB");
        let configuration = self.artdaqdb.read(run)?;
        let blob = blob::pack(run, &configuration.files, Timestamp::now());
        log::debug!(
            "Run {run}: Blob of {} files, {} bytes",
            configuration.files.len(),
            blob.len()
        );
        drop(configuration);
        let findings = blob::check(&blob);
        for finding in &findings {
            log::warn!("Run {run}: the blob does not meet its readers' demands: {finding}");
        }
        let blob = Bytes::from(blob);
        if self.store(run, &blob)?.is_some() {
            self.verify(run, &blob)?;
        }
        if self.options.validate {
            // What came back is what was checked, to the byte.
            match findings.len() {
                0 => log::info!("✓ Run {run}: blob validation passed"),
                count => {
                    log::warn!(
                        "✗ Run {run}: blob validation found {count} problem(s), named above"
                    );
                }
            }
        }
        self.incomplete.migrated(run);
        lock(&self.unverified).remove(&run);
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        // What UconDB answered for is durable and visible.
        self.incomplete.save()?;
        self.unverified_list.write(&lock(&self.unverified))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
