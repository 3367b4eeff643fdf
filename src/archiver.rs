//! One execution: wires the parts together and runs the mode that was asked for.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use log::LevelFilter;

use crate::artdaqdb::filesystem::{self, FilesystemDb};
use crate::artdaqdb::{self, ArtdaqDb};
use crate::cli::{self, CommandLine, Mode};
use crate::config::{self, Config};
use crate::critical;
use crate::durable;
use crate::error::{Error, Result};
use crate::extract;
use crate::importer::{self, Importer};
use crate::incomplete::{IncompleteRuns, Policy};
use crate::lock::LockGuard;
use crate::logging::rotate::Limits;
use crate::logging::{self, RULE};
use crate::migrator::{self, Migrator};
use crate::recovery;
use crate::run::Run;
use crate::run_record::Generated;
use crate::run_set::RunSet;
use crate::shutdown::{self, Shutdown};
use crate::stage::{self, Fuzz, Report, Settings, Stage};
use crate::state::StateStore;
use crate::summary::Summary;
use crate::ucondb::http::HttpSettings;
use crate::ucondb::{self, UconDb};
use crate::verify;

/// The file of the work directory that remembers runs without a stop time.
const INCOMPLETE_RUNS: &str = "incomplete_runs.json";

/// The file of the work directory that remembers how far `--verify --incremental` came.
const VERIFY_PROGRESS: &str = "verify_progress";

/// The exit code of success.
const SUCCESS: u8 = 0;
/// The exit code of a known error, and of an execution in which runs failed.
const FAILURE: u8 = 1;
/// The exit code of what this program should have ruled out.
const UNEXPECTED: u8 = 2;

/// Does what the command line says, from reading the configuration to the last
/// line of the log, and gives the exit code.
#[must_use]
pub fn execute(command: &CommandLine) -> u8 {
    if let Mode::Completions(shell) = command.mode {
        return match cli::write_completions(shell, &mut std::io::stdout()) {
            Ok(()) => SUCCESS,
            Err(_) => FAILURE,
        };
    }
    let config = match Config::load(&command.config) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    let shutdown = Shutdown::default();
    if let Err(error) = start_logging(command, &config).and_then(|()| shutdown.listen_to_signals())
    {
        return complain(&error);
    }
    log::info!("{RULE}");
    log::info!("Run Record Archiver Starting");
    log::info!(
        "Version: {}, PID: {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    log::info!("Config: {}", config.file.display());
    log::info!("{RULE}");
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    for note in &config.notes {
        log::debug!("{note}");
    }

    let result = catch_unwind(AssertUnwindSafe(|| run(command, &config, &shutdown)));
    let code = match result {
        Ok(Ok(summary)) => {
            summary.log(&command_to_repeat(command));
            if summary.has_unexpected() {
                UNEXPECTED
            } else if summary.is_success() {
                SUCCESS
            } else {
                FAILURE
            }
        }
        Ok(Err(error)) => {
            log::error!("{}: {error}", error.class());
            FAILURE
        }
        // The hook of std has printed what happened and where on stderr.
        Err(_) => {
            critical!(
                "UNEXPECTED ERROR SUMMARY: the archiver panicked; see stderr. What it had \
                       published is archived, and the next execution goes on from there"
            );
            UNEXPECTED
        }
    };
    if let (Some(reason), SUCCESS | FAILURE) = (shutdown.reason(), code) {
        shutdown::completed(&reason);
        return shutdown::EXIT_INTERRUPTED;
    }
    log::info!("{RULE}");
    match code {
        SUCCESS => log::info!("✓ EXECUTION COMPLETED SUCCESSFULLY"),
        _ => log::warn!("✗ EXECUTION COMPLETED WITH FAILURES (exit code: {code})"),
    }
    log::info!("{RULE}");
    code
}

/// Says what is wrong before there is a log.
fn complain(error: &Error) -> u8 {
    match error {
        Error::Config { .. } => eprintln!(
            "{}: Configuration validation failed:\n{error}",
            error.class()
        ),
        _ => eprintln!("{}: {error}", error.class()),
    }
    FAILURE
}

fn start_logging(command: &CommandLine, config: &Config) -> Result<()> {
    durable::create_directory(&config.app.work_dir, 0o750)?;
    logging::start(logging::Options {
        level: match command.verbose {
            true => LevelFilter::Debug,
            false => config.app.log_level,
        },
        quiet: command.quiet,
        file: config.app.log_file.clone(),
        limits: Limits::default(),
    })
}

/// Runs the mode of the command line under the archiver's lock.
///
/// # Errors
/// What kept the execution from starting its work. What went wrong with single
/// runs or within a stage is logged, and in the summary.
fn run(command: &CommandLine, config: &Config, shutdown: &Shutdown) -> Result<Summary> {
    refuse_what_is_not_built(command, config)?;
    let generate = generated(config)?;
    // What writes nothing can go beside an execution that does.
    let mut lock = None;
    if !command.dry_run && !matches!(command.mode, Mode::Extract(_)) {
        lock.insert(LockGuard::acquire(&config.app.lock_file)?)
            .monitor(shutdown)?;
    }
    log::info!("=== Execution Mode: {} ===", mode_name(command));
    if command.dry_run {
        log::info!("Dry run: says what would be done and writes to no database and no state file");
    }
    let execution = Execution {
        command,
        config,
        shutdown,
        generate,
        artdaqdb: artdaqdb::open(&config.artdaq_db.database_uri)?,
        incomplete: IncompleteRuns::load(
            &config.app.work_dir.join(INCOMPLETE_RUNS),
            config.source_files.incomplete_after,
        )?,
    };
    let mut summary = Summary::default();
    // Runs whose stop time came are below where incremental executions go on.
    let ready = execution.incomplete.ready();
    let retry = stage::Mode::Retry {
        only: command.runs.as_ref(),
    };
    match command.mode {
        Mode::RetryFailedImport => execution.import(retry, &mut summary),
        Mode::RetryFailedMigrate => execution.migrate(retry, &mut summary),
        Mode::ImportOnly => execution.import(stage_mode(command, &BTreeSet::new()), &mut summary),
        Mode::MigrateOnly => execution.migrate(stage_mode(command, &ready), &mut summary),
        Mode::RebuildIndex => rebuild_index(&config.artdaq_db.database_uri, command.yes)?,
        Mode::Extract(run) => {
            let directory = command.output.as_deref().unwrap_or(Path::new("."));
            let files = extract::extract(execution.folders()?.finished.as_ref(), run, directory)?;
            log::info!(
                "✓ Run {run}: {} files written to {}",
                files.len(),
                directory.display()
            );
        }
        Mode::Verify => execution.verify(&mut summary)?,
        Mode::RecoverImportState => {
            recovery::recover(
                &execution.importer()?,
                &execution.import_store(),
                command.dry_run,
            )?;
        }
        Mode::RecoverMigrateState => {
            let folders = execution.folders()?;
            let migrator = execution.migrator(&folders);
            recovery::recover(&migrator, &execution.migrate_store(), command.dry_run)?;
        }
        _ => {
            execution.import(stage_mode(command, &BTreeSet::new()), &mut summary);
            if !shutdown.requested() {
                let imported = summary.archived();
                if command.dry_run && !imported.is_empty() {
                    let runs: RunSet = imported.iter().copied().collect();
                    log::info!("The migrate stage would go on with what the import brings: {runs}");
                }
                let fresh = &imported | &execution.incomplete.ready();
                execution.migrate(stage_mode(command, &fresh), &mut summary);
            }
        }
    }
    Ok(summary)
}

/// Which runs the stages take when nothing but the mode says so.
fn stage_mode<'a>(command: &'a CommandLine, fresh: &'a BTreeSet<Run>) -> stage::Mode<'a> {
    match &command.runs {
        Some(runs) => stage::Mode::Runs(runs),
        None if command.incremental => stage::Mode::Incremental { fresh },
        None => stage::Mode::Full,
    }
}

fn mode_name(command: &CommandLine) -> String {
    let none = BTreeSet::new();
    let extent = stage_mode(command, &none).name();
    match command.mode {
        Mode::RetryFailedImport => "Retry Failed Imports".to_owned(),
        Mode::RetryFailedMigrate => "Retry Failed Migrations".to_owned(),
        Mode::RecoverImportState => "Recover Import State".to_owned(),
        Mode::RecoverMigrateState => "Recover Migrate State".to_owned(),
        Mode::RebuildIndex => "Rebuild Index".to_owned(),
        Mode::Verify => "Verify".to_owned(),
        Mode::Extract(run) => format!("Extract Run {run}"),
        Mode::ImportOnly => format!("Import Only ({extent})"),
        Mode::MigrateOnly => format!("Migrate Only ({extent})"),
        _ => format!("Full Pipeline ({extent})"),
    }
}

/// What this version can't do is an error before anything is done.
fn refuse_what_is_not_built(command: &CommandLine, config: &Config) -> Result<()> {
    let flag = match command.mode {
        Mode::ReportStatus { .. } => "--report-status",
        Mode::Check => "--check",
        Mode::Dashboard => "--dashboard",
        _ if config.artdaq_db.use_tools => "artdaq_db.use_tools: true",
        _ => return Ok(()),
    };
    Err(Error::Usage(format!(
        "{flag} is not available in this version yet; nothing was done"
    )))
}

/// The files that `fhiclize_generate` names.
fn generated(config: &Config) -> Result<BTreeSet<Generated>> {
    config
        .fhiclize_generate
        .iter()
        .map(|name| {
            name.parse().map_err(|error| Error::Config {
                file: config.file.clone(),
                line: None,
                key: "fhiclize_generate".into(),
                problem: format!("{error}"),
            })
        })
        .collect()
}

/// How an operator would type the command again, without its mode.
fn command_to_repeat(command: &CommandLine) -> String {
    format!("./run_archiver.sh {}", command.config.display())
}

/// The UconDB of the configuration, with this folder.
fn open_ucondb(ucon: &config::UconDb, folder: &str) -> Result<Box<dyn UconDb>> {
    ucondb::open(HttpSettings {
        timeout: ucon.timeout_seconds,
        ca_file: ucon.ca_file.clone(),
        verify_tls: ucon.verify_tls,
        ..HttpSettings::new(
            &ucon.server_url,
            folder,
            &ucon.object_name,
            &ucon.writer_user,
            ucon.writer_password.clone(),
        )
    })
}

/// Makes new indexes of a FilesystemDB, after asking.
fn rebuild_index(uri: &str, yes: bool) -> Result<()> {
    if !uri.starts_with(filesystem::SCHEME) {
        return Err(Error::Usage(
            "--rebuild-index is for a FilesystemDB: other databases keep their own index".into(),
        ));
    }
    let db = FilesystemDb::new(uri)?;
    log::info!(
        "A new index is made of the documents in {}",
        db.root().display()
    );
    log::info!("The present index files are kept beside the new ones; documents are only read");
    if !yes {
        confirm("Make new indexes now?")?;
    }
    for rebuilt in db.rebuild_indexes()? {
        log::info!(
            "✓ {}: {} documents",
            rebuilt.index.display(),
            rebuilt.documents
        );
        if let Some(kept) = rebuilt.kept {
            log::info!("  the old index is {}", kept.display());
        }
    }
    log::info!(
        "Next: --report-status shows whether runs are missing; an import completes runs that are there in part"
    );
    Ok(())
}

/// Asks a person; anything but yes, and nobody to ask, is a no.
fn confirm(question: &str) -> Result<()> {
    let refused = |reason: &str| Err(Error::Usage(format!("{reason}; nothing was done")));
    if !std::io::stdin().is_terminal() {
        return refused("there is no terminal to ask on: add --yes to go ahead");
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => refused("the answer was not yes"),
    }
}

/// The folders of UconDB.
struct Folders {
    finished: Box<dyn UconDb>,
    /// Of runs that are still going, where they are apart.
    pending: Option<Box<dyn UconDb>>,
}

/// The parts of one execution.
struct Execution<'a> {
    command: &'a CommandLine,
    config: &'a Config,
    shutdown: &'a Shutdown,
    generate: BTreeSet<Generated>,
    artdaqdb: Box<dyn ArtdaqDb>,
    incomplete: IncompleteRuns,
}

impl Execution<'_> {
    fn import(&self, mode: stage::Mode, summary: &mut Summary) {
        let destination = self.artdaqdb.location();
        let result = self.importer().and_then(|importer| {
            if !self.command.dry_run {
                importer.add_stop_times()?;
            }
            let report = self.run_stage(&importer, mode, &self.import_store())?;
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
            self.run_stage(&migrator, mode, &self.migrate_store())
        });
        summary.add(&migrator::WORDS, &destination, result);
    }

    fn run_stage(
        &self,
        stage: &dyn Stage,
        mode: stage::Mode,
        store: &StateStore,
    ) -> Result<Report> {
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
            .map(|folder| open_ucondb(ucon, folder));
        Ok(Folders {
            finished: open_ucondb(ucon, &ucon.folder_name)?,
            pending: pending.transpose()?,
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
        let apart =
            folders.pending.is_some() || self.config.source_files.incomplete_runs == Policy::Wait;
        let awaited = match apart {
            true => self.incomplete.awaited(),
            false => BTreeSet::new(),
        };
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

    fn import_store(&self) -> StateStore {
        let app = &self.config.app;
        StateStore::new(
            app.import_state_file.clone(),
            app.import_failure_log.clone(),
        )
    }

    fn migrate_store(&self) -> StateStore {
        let app = &self.config.app;
        StateStore::new(
            app.migrate_state_file.clone(),
            app.migrate_failure_log.clone(),
        )
    }
}
