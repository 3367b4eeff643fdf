//! The migrate stage: configurations in artdaqDB go into UconDB as blobs, and
//! count as migrated only when they were read back and their MD5 compared.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::run::Run;
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

/// The migrate stage.
pub struct Migrator<'a> {
    artdaqdb: &'a dyn ArtdaqDb,
    ucondb: &'a dyn UconDb,
    /// Whether to check what comes back against its readers' demands, not only
    /// against what was sent.
    validate: bool,
}

impl<'a> Migrator<'a> {
    /// The stage from `artdaqdb` to `ucondb`.
    #[must_use]
    pub fn new(artdaqdb: &'a dyn ArtdaqDb, ucondb: &'a dyn UconDb, validate: bool) -> Migrator<'a> {
        Migrator {
            artdaqdb,
            ucondb,
            validate,
        }
    }

    fn error(&self, run: Run, problem: String, kind: ErrorKind) -> Error {
        Error::UconDb {
            location: self.ucondb.location().to_owned(),
            problem: format!("run {run}: {problem}"),
            kind,
        }
    }

    /// The key exists: success if it holds this very record, an error if not.
    fn settle_existing(&self, run: Run, blob: &[u8], existing: Version) -> Result<()> {
        let stored = self.ucondb.download(run)?;
        if blob::same_record(&stored, blob) {
            log::info!(
                "Run {run} is in UconDB already, with the same content ({} bytes)",
                existing.size
            );
            return Ok(());
        }
        let ours = Version::of(blob);
        Err(self.error(
            run,
            format!(
                "UconDB has another record under this key: {} bytes, adler32 {}, where this one \
                 has {} bytes, adler32 {}. Nothing was overwritten; compare the two before you \
                 decide which is right",
                existing.size, existing.adler32, ours.size, ours.adler32
            ),
            ErrorKind::Permanent,
        ))
    }
}

impl Stage for Migrator<'_> {
    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn survey(&self) -> Result<Survey> {
        log::info!("Querying artdaqDB for available runs...");
        let runs = self.artdaqdb.runs()?;
        let source: BTreeSet<Run> = runs
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
        let archived = self.ucondb.runs()?;
        log::info!(
            "✓ UconDB query complete: {} runs in {}",
            archived.len(),
            self.ucondb.location()
        );
        Ok(Survey {
            known: &source | &archived,
            source,
            archived,
        })
    }

    fn process(&self, run: Run) -> Result<()> {
        log::debug!("Run {run}: Reading back from artdaqDB");
        let configuration = self.artdaqdb.read(run)?;
        let blob = blob::pack(run, &configuration.files, Timestamp::now());
        let files = configuration.files.len();
        drop(configuration);
        let md5 = Md5::digest(blob.as_bytes());
        log::debug!(
            "Run {run}: Blob of {files} files, {} bytes, MD5 {}",
            blob.len(),
            hex(&md5)
        );
        let findings = blob::check(&blob);
        for finding in &findings {
            log::warn!("Run {run}: the blob does not meet its readers' demands: {finding}");
        }
        let blob = Bytes::from(blob);
        match self.ucondb.upload(run, blob.clone(), Override::No)? {
            Upload::Stored(_) => {}
            Upload::Exists(existing) => return self.settle_existing(run, &blob, existing),
        }
        let stored = self.ucondb.download(run)?;
        let stored_md5 = Md5::digest(&stored);
        if stored_md5 != md5 {
            return Err(self.error(
                run,
                format!(
                    "what UconDB gives back is not what it was given: {} bytes, MD5 {}, where {} \
                     bytes, MD5 {} were sent",
                    stored.len(),
                    hex(&stored_md5),
                    blob.len(),
                    hex(&md5)
                ),
                ErrorKind::Transient,
            ));
        }
        log::debug!("Run {run}: MD5 of what UconDB gives back compared: equal");
        if self.validate {
            // What came back is what was checked, to the byte.
            match findings.len() {
                0 => log::info!("✓ Run {run}: blob validation passed"),
                count => {
                    log::warn!("✗ Run {run}: blob validation found {count} problem(s), named above")
                }
            }
        }
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        // What UconDB answered for is durable and visible.
        Ok(())
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
