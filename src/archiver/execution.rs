//! The stages of one execution, wired to their sources and archives.

use std::collections::BTreeSet;
use std::path::Path;

use crate::artdaqdb::ArtdaqDb;
use crate::cli::{CommandLine, Mode};
use crate::config::Config;
use crate::error::Result;
use crate::extract;
use crate::importer::{self, Importer};
use crate::incomplete::IncompleteRuns;
use crate::migrator::{self, Migrator};
use crate::recovery;
use crate::run::Run;
use crate::run_list::RunList;
use crate::run_record::Generated;
use crate::run_set::RunSet;
use crate::service;
use crate::shutdown::Shutdown;
use crate::stage::{self, Fuzz, Report, Settings, Stage};
use crate::state::StateStore;
use crate::summary::Summary;
use crate::ucondb::UconDb;
use crate::ucondb::http::ListingCache;
use crate::verify;

use super::index::rebuild_index;
use super::parts;

/// The file of the work directory that names the runs in the migrate stage's hands.
const UNVERIFIED_RUNS: &str = "unverified_runs.log";

/// The file of the work directory that remembers how far `--verify --incremental` came.
const VERIFY_PROGRESS: &str = "verify_progress";

/// The folders of UconDB.
struct Folders {
    finished: Box<dyn UconDb>,
    /// Of runs that are still going, where they are apart.
    pending: Option<Box<dyn UconDb>>,
}

/// One execution.
pub(super) struct Execution<'a> {
    command: &'a CommandLine,
    config: &'a Config,
    shutdown: &'a Shutdown,
    generate: BTreeSet<Generated>,
    artdaqdb: Box<dyn ArtdaqDb>,
    incomplete: IncompleteRuns,
}

impl<'a> Execution<'a> {
    /// Opens what every mode needs.
    ///
    /// # Errors
    /// A part of the configuration that can't be used.
    pub(super) fn new(
        command: &'a CommandLine,
        config: &'a Config,
        shutdown: &'a Shutdown,
    ) -> Result<Execution<'a>> {
        Ok(Execution {
            command,
            config,
            shutdown,
            generate: parts::generated(config)?,
            artdaqdb: parts::open_artdaqdb(config, shutdown)?,
            incomplete: parts::incomplete_runs(config)?,
        })
    }

    /// Runs the mode of the command line.
    ///
    /// # Errors
    /// What kept it from starting its work. What went wrong with single runs or
    /// within a stage is logged, and in the summary.
    pub(super) fn run(&self) -> Result<Summary> {
        let command = self.command;
        let mut summary = Summary::default();
        let retry = stage::Mode::Retry {
            only: command.runs.as_ref(),
        };
        match command.mode {
            Mode::RetryFailedImport => self.import(retry, &mut summary),
            Mode::RetryFailedMigrate => self.migrate(retry, &mut summary),
            Mode::ImportOnly => self.import(stage_mode(command, &BTreeSet::new()), &mut summary),
            Mode::MigrateOnly => self.migrate(stage_mode(command, &BTreeSet::new()), &mut summary),
            Mode::RebuildIndex => rebuild_index(&self.config.artdaq_db, command.yes)?,
            Mode::Extract(run) => self.extract(run)?,
            Mode::Verify => self.verify(&mut summary)?,
            Mode::RecoverImportState => recovery::recover(
                &self.importer()?,
                &parts::import_store(self.config),
                command.dry_run,
            )?,
            Mode::RecoverMigrateState => {
                let folders = self.folders()?;
                let store = parts::migrate_store(self.config);
                recovery::recover(&self.migrator(&folders), &store, command.dry_run)?;
            }
            _ => {
                self.import(stage_mode(command, &BTreeSet::new()), &mut summary);
                if !self.shutdown.requested() {
                    let imported = summary.archived();
                    if command.dry_run && !imported.is_empty() {
                        let runs: RunSet = imported.iter().copied().collect();
                        log::info!(
                            "The migrate stage would go on with what the import brings: {runs}"
                        );
                    }
                    self.migrate(stage_mode(command, &imported), &mut summary);
                }
            }
        }
        Ok(summary)
    }

    fn extract(&self, run: Run) -> Result<()> {
        let directory = self.command.output.as_deref().unwrap_or(Path::new("."));
        let files = extract::extract(self.folders()?.finished.as_ref(), run, directory)?;
        log::info!(
            "✓ Run {run}: {} files written to {}",
            files.len(),
            directory.display()
        );
        Ok(())
    }

    fn import(&self, mode: stage::Mode, summary: &mut Summary) {
        let destination = self.artdaqdb.location();
        let result = self.importer().and_then(|importer| {
            if !self.command.dry_run {
                importer.add_stop_times()?;
            }
            let report = self.run_stage(&importer, mode, &parts::import_store(self.config))?;
            summary.add_unfinished(&(&importer.without_stop_time() & &report.archived));
            Ok(report)
        });
        summary.add(&importer::WORDS, destination, result);
    }

    fn migrate(&self, mode: stage::Mode, summary: &mut Summary) {
        let folders = self.folders();
        let destination = match &folders {
            Ok(folders) => folders.finished.location().to_owned(),
            Err(_) => self.config.ucon_db.server_url.clone(),
        };
        let result = folders.and_then(|folders| {
            let migrator = self.migrator(&folders);
            self.run_stage(&migrator, mode, &parts::migrate_store(self.config))
        });
        summary.add(&migrator::WORDS, &destination, result);
    }

    fn run_stage(
        &self,
        stage: &dyn Stage,
        mode: stage::Mode,
        store: &StateStore,
    ) -> Result<Report> {
        service::status(&format!("{} under way", stage.words().title));
        let app = &self.config.app;
        let fuzz = &self.config.app_fuzz;
        let settings = Settings {
            workers: app.parallel_workers,
            attempts: app.attempts(),
            retry_delay: app.retry_delay_seconds,
            batch_size: app.batch_size,
            fuzz: Fuzz {
                skip_percent: fuzz.random_skip_percent,
                skip_is_permanent: fuzz.random_skip_retry,
                error_percent: fuzz.random_error_percent,
                error_is_permanent: fuzz.random_error_retry,
            },
            dry_run: self.command.dry_run,
        };
        stage::run(stage, mode, &settings, store, self.shutdown)
    }

    fn importer(&self) -> Result<Importer<'_>> {
        Importer::new(
            &self.config.source_files.run_records_dir,
            &self.config.artdaq_db.fcl_conf_dir,
            &self.generate,
            self.artdaqdb.as_ref(),
            &self.incomplete,
        )
    }

    fn migrator<'b>(&'b self, folders: &'b Folders) -> Migrator<'b> {
        let override_existing = match self.command.override_existing {
            true => self.command.runs.clone(),
            false => None,
        };
        Migrator::new(
            self.artdaqdb.as_ref(),
            folders.finished.as_ref(),
            folders.pending.as_deref(),
            &self.incomplete,
            RunList::new(
                self.config.app.work_dir.join(UNVERIFIED_RUNS),
                "list of runs that were not verified yet",
            ),
            migrator::Options {
                validate: self.command.validate,
                incomplete_runs: self.config.source_files.incomplete_runs,
                override_existing,
            },
        )
    }

    /// The UconDB of finished runs, and that of runs still going, if they are apart.
    fn folders(&self) -> Result<Folders> {
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

    /// Where the listing of a folder is kept. Only incremental archiving goes by
    /// it: whoever asks for more wants to know what the server has.
    fn listing_cache(&self, folder: &str) -> Option<ListingCache> {
        let command = self.command;
        if command.dry_run || matches!(command.mode, Mode::Extract(_)) {
            // It holds no lock, and writes nothing.
            return None;
        }
        let is_archiving = matches!(command.mode, Mode::Pipeline | Mode::MigrateOnly);
        let work_dir = &self.config.app.work_dir;
        Some(ListingCache {
            file: work_dir.join(format!("ucondb_listing_{folder}.json")),
            trusted: is_archiving && command.incremental && command.runs.is_none(),
        })
    }

    /// Compares the databases; with --incremental a share of them, going on where
    /// the last execution ended.
    fn verify(&self, summary: &mut Summary) -> Result<()> {
        let app = &self.config.app;
        let progress = app.work_dir.join(VERIFY_PROGRESS);
        let (after, limit) = match self.command.incremental {
            true => (
                verify::read_progress(&progress)?,
                Some(app.batch_size.saturating_mul(10)).filter(|limit| *limit > 0),
            ),
            false => (None, None),
        };
        let folders = self.folders()?;
        let awaited = parts::kept_apart(self.config, &self.incomplete);
        let report = verify::verify(
            self.artdaqdb.as_ref(),
            folders.finished.as_ref(),
            &verify::Selection {
                runs: self.command.runs.as_ref(),
                awaited,
                after,
                limit,
            },
            self.shutdown,
        )?;
        if self.command.incremental {
            // After the last run it begins with the first one again.
            verify::write_progress(&progress, report.last.filter(|_| report.left > 0))?;
        }
        summary.add_verification(report);
        Ok(())
    }
}

/// Which runs the stages take when nothing but the mode says so.
pub(super) fn stage_mode<'a>(
    command: &'a CommandLine,
    fresh: &'a BTreeSet<Run>,
) -> stage::Mode<'a> {
    match &command.runs {
        Some(runs) => stage::Mode::Runs(runs),
        None if command.incremental => stage::Mode::Incremental { fresh },
        None => stage::Mode::Full,
    }
}
