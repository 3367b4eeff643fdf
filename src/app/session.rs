//! One execution of a command that reads or writes the archives: the parts that
//! its command works with, opened as the configuration says.

use std::collections::BTreeSet;

use super::parts;
use crate::artdaqdb::ArtdaqDb;
use crate::cli::{CommandLine, Mode};
use crate::config::Config;
use crate::error::Result;
use crate::pipeline::importer::{ListUcondb, RecheckSettings};
use crate::pipeline::{self, Fuzz, Importer, Journal, MigrateOptions, Migrator, Settings};
use crate::run::Run;
use crate::run_record::{self, Generated};
use crate::shutdown::Shutdown;
use crate::ucondb::UconDb;
use crate::ucondb::http::ListingCache;

/// The folders of UconDB.
pub(super) struct Folders {
    pub(super) finished: Box<dyn UconDb>,
    /// Of runs that are still going, where they are apart.
    pub(super) pending: Option<Box<dyn UconDb>>,
}

/// One execution.
pub(super) struct Session<'a> {
    pub(super) command: &'a CommandLine,
    pub(super) config: &'a Config,
    pub(super) shutdown: &'a Shutdown,
    pub(super) artdaqdb: Box<dyn ArtdaqDb>,
    pub(super) journal: Journal,
    generate: BTreeSet<Generated>,
}

impl<'a> Session<'a> {
    /// Opens what every command needs.
    ///
    /// # Errors
    /// A part of the configuration that cannot be used; a file of the work
    /// directory that cannot be read.
    pub(super) fn open(
        command: &'a CommandLine,
        config: &'a Config,
        shutdown: &'a Shutdown,
    ) -> Result<Session<'a>> {
        Ok(Session {
            command,
            config,
            shutdown,
            generate: config.fhiclize_generate.clone(),
            artdaqdb: parts::open_artdaqdb(config, shutdown)?,
            journal: parts::journal(config)?,
        })
    }

    /// The files that the archiver makes itself.
    pub(super) fn generate(&self) -> &BTreeSet<Generated> {
        &self.generate
    }

    /// How the stages work.
    pub(super) fn settings(&self) -> Settings {
        let app = &self.config.app;
        let fuzz = &self.config.app_fuzz;
        Settings {
            workers: app.parallel_workers,
            attempts: app.attempts(),
            retry_delay: app.retry_delay_seconds,
            batch_size: app.batch_size,
            first_run: self.config.source_files.first_run,
            settle: self.config.source_files.settle,
            memory_budget: app.memory_budget,
            fuzz: Fuzz {
                skip_percent: fuzz.random_skip_percent,
                skip_is_permanent: fuzz.random_skip_retry,
                error_percent: fuzz.random_error_percent,
                error_is_permanent: fuzz.random_error_retry,
            },
            dry_run: self.command.dry_run,
        }
    }

    /// The import stage.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub(super) fn importer<'b>(&'b self, list_ucondb: ListUcondb<'b>) -> Result<Importer<'b>> {
        Importer::new(
            &self.config.source_files.run_records_dir,
            &self.config.artdaq_db.fcl_conf_dir,
            run_record::Options {
                generate: &self.generate,
                max_file_bytes: self.config.app.max_file,
            },
            self.artdaqdb.as_ref(),
            list_ucondb,
            &self.journal,
            parts::patience(self.config),
        )
    }

    /// How the import stage looks at the records of archived runs.
    pub(super) fn recheck(&self) -> RecheckSettings {
        RecheckSettings {
            recent: self.config.source_files.recheck,
            workers: self.config.app.parallel_workers,
            only: self.command.runs.clone(),
        }
    }

    /// The runs that UconDB has in any of its folders.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(super) fn list_ucondb(&self) -> Result<BTreeSet<Run>> {
        let folders = self.folders()?;
        let mut runs = folders.finished.runs()?;
        if let Some(pending) = &folders.pending {
            runs.extend(pending.runs()?);
        }
        Ok(runs)
    }

    /// The migrate stage.
    pub(super) fn migrator<'b>(&'b self, folders: &'b Folders) -> Migrator<'b> {
        let override_existing = match self.command.override_existing {
            true => self.command.runs.clone(),
            false => None,
        };
        Migrator::new(
            self.artdaqdb.as_ref(),
            folders.finished.as_ref(),
            folders.pending.as_deref(),
            &self.journal,
            MigrateOptions {
                validate: self.command.validate,
                incomplete_runs: self.config.source_files.incomplete_runs,
                override_existing,
            },
        )
    }

    /// The UconDB of finished runs, and that of runs still going, if they are apart.
    ///
    /// # Errors
    /// An address or a CA file that cannot be used.
    pub(super) fn folders(&self) -> Result<Folders> {
        let ucon = &self.config.ucon_db;
        let pending = ucon
            .pending_folder
            .as_deref()
            .map(|folder| self.open_ucondb(folder));
        Ok(Folders {
            finished: self.open_ucondb(&ucon.folder_name)?,
            pending: pending.transpose()?,
        })
    }

    fn open_ucondb(&self, folder: &str) -> Result<Box<dyn UconDb>> {
        parts::open_ucondb(
            self.config,
            folder,
            self.shutdown,
            self.listing_cache(folder),
        )
    }

    /// Where the listing of a folder is kept. Only incremental archiving uses it:
    /// who asks for more wants to know what the server has.
    fn listing_cache(&self, folder: &str) -> Option<ListingCache> {
        let command = self.command;
        if command.dry_run || matches!(command.mode, Mode::Extract(_) | Mode::Verify) {
            // It does not hold the lock of the work directory.
            return None;
        }
        let is_archiving = matches!(command.mode, Mode::Pipeline | Mode::MigrateOnly);
        let work_dir = &self.config.app.work_dir;
        Some(ListingCache {
            file: work_dir.join(format!("ucondb_listing_{folder}.json")),
            trusted: is_archiving && command.incremental && command.runs.is_none(),
        })
    }
}

/// Which runs a stage takes, as the modifiers of the command line say.
pub(super) fn extent(command: &CommandLine) -> pipeline::Mode<'_> {
    match &command.runs {
        Some(runs) => pipeline::Mode::Runs(runs),
        None if command.incremental => pipeline::Mode::Incremental,
        None => pipeline::Mode::Full,
    }
}
