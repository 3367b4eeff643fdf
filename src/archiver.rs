//! One execution: wires the parts together and runs the mode that was asked for.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::LevelFilter;

use crate::artdaqdb::{self, ArtdaqDb, tools};
use crate::cli::{self, CommandLine, Mode};
use crate::config::Config;
use crate::critical;
use crate::durable;
use crate::error::{Error, Result};
use crate::importer::{self, Importer};
use crate::lock::LockGuard;
use crate::logging::rotate::Limits;
use crate::logging::{self, RULE};
use crate::migrator::{self, Migrator};
use crate::recovery;
use crate::run::Run;
use crate::run_record::Generated;
use crate::shutdown::{self, Shutdown};
use crate::stage::{self, Fuzz, Report, Settings, Stage};
use crate::state::StateStore;
use crate::summary::Summary;
use crate::ucondb::http::HttpSettings;
use crate::ucondb::{self, UconDb};

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
    eprintln!("run_record_archiver: {}: {error}", error.class());
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
    refuse_what_is_not_built(command)?;
    let generate = generated(config)?;
    let mut lock = LockGuard::acquire(&config.app.lock_file)?;
    lock.monitor(shutdown)?;
    log::info!("=== Execution Mode: {} ===", mode_name(command));
    let execution = Execution {
        command,
        config,
        shutdown,
        generate,
        artdaqdb: artdaqdb::open(&config.artdaq_db.database_uri, tools(config))?,
    };
    let mut summary = Summary::default();
    let none = BTreeSet::new();
    match command.mode {
        Mode::RetryFailedImport => execution.import(stage::Mode::Retry, &mut summary),
        Mode::RetryFailedMigrate => execution.migrate(stage::Mode::Retry, &mut summary),
        Mode::ImportOnly => execution.import(stage_mode(command, &none), &mut summary),
        Mode::MigrateOnly => execution.migrate(stage_mode(command, &none), &mut summary),
        Mode::RecoverImportState => {
            recovery::recover(&execution.importer()?, &execution.import_store())?;
        }
        Mode::RecoverMigrateState => {
            let ucondb = execution.ucondb()?;
            recovery::recover(
                &execution.migrator(ucondb.as_ref()),
                &execution.migrate_store(),
            )?;
        }
        _ => {
            execution.import(stage_mode(command, &none), &mut summary);
            if !shutdown.requested() {
                let imported = summary.archived();
                execution.migrate(stage_mode(command, &imported), &mut summary);
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
        Mode::ImportOnly => format!("Import Only ({extent})"),
        Mode::MigrateOnly => format!("Migrate Only ({extent})"),
        _ => format!("Full Pipeline ({extent})"),
    }
}

/// What this version can't do is an error before anything is done.
fn refuse_what_is_not_built(command: &CommandLine) -> Result<()> {
    let flag = match command.mode {
        Mode::ReportStatus { .. } => "--report-status",
        Mode::Check => "--check",
        Mode::Verify => "--verify",
        Mode::Extract(_) => "--extract",
        Mode::Dashboard => "--dashboard",
        _ if command.dry_run => "--dry-run",
        _ => return Ok(()),
    };
    Err(Error::Usage(format!(
        "{flag} is not available in this version yet; nothing was done"
    )))
}

/// How the real tools are used, if they are.
fn tools(config: &Config) -> Option<tools::Settings> {
    let artdaq = &config.artdaq_db;
    artdaq.use_tools.then(|| tools::Settings {
        tools_dir: artdaq.tools_dir.clone(),
        remote_host: artdaq.remote_host.clone(),
        ssh_options: artdaq.ssh_options.clone(),
        limit: artdaq.tools_timeout_seconds,
    })
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

/// The parts of one execution.
struct Execution<'a> {
    command: &'a CommandLine,
    config: &'a Config,
    shutdown: &'a Shutdown,
    generate: BTreeSet<Generated>,
    artdaqdb: Box<dyn ArtdaqDb>,
}

impl Execution<'_> {
    fn import(&self, mode: stage::Mode, summary: &mut Summary) {
        let destination = self.artdaqdb.location();
        let result = self.importer().and_then(|importer| {
            let report = self.run_stage(&importer, mode, &self.import_store())?;
            summary.add_unfinished(&(&importer.unfinished() & &report.archived));
            Ok(report)
        });
        summary.add(&importer::WORDS, destination, result);
    }

    fn migrate(&self, mode: stage::Mode, summary: &mut Summary) {
        let ucondb = self.ucondb();
        let destination = match &ucondb {
            Ok(ucondb) => ucondb.location().to_owned(),
            Err(_) => self.config.ucon_db.server_url.clone(),
        };
        let result = ucondb.and_then(|ucondb| {
            self.run_stage(&self.migrator(ucondb.as_ref()), mode, &self.migrate_store())
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
        };
        stage::run(stage, mode, &settings, store, self.shutdown)
    }

    fn importer(&self) -> Result<Importer<'_>> {
        Importer::new(
            &self.config.source_files.run_records_dir,
            &self.config.artdaq_db.fcl_conf_dir,
            &self.generate,
            self.artdaqdb.as_ref(),
        )
    }

    fn migrator<'b>(&'b self, ucondb: &'b dyn UconDb) -> Migrator<'b> {
        Migrator::new(self.artdaqdb.as_ref(), ucondb, self.command.validate)
    }

    fn ucondb(&self) -> Result<Box<dyn UconDb>> {
        let ucon = &self.config.ucon_db;
        ucondb::open(HttpSettings {
            timeout: ucon.timeout_seconds,
            ca_file: ucon.ca_file.clone(),
            verify_tls: ucon.verify_tls,
            ..HttpSettings::new(
                &ucon.server_url,
                &ucon.folder_name,
                &ucon.object_name,
                &ucon.writer_user,
                ucon.writer_password.clone(),
            )
        })
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
