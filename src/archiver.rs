//! One execution: wires the parts together and runs the mode that was asked for.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use jiff::Timestamp;
use log::LevelFilter;

use crate::artdaqdb::filesystem::{self, FilesystemDb};
use crate::artdaqdb::{self, ArtdaqDb};
use crate::cli::{self, CommandLine, Mode};
use crate::config::Config;
use crate::critical;
use crate::durable;
use crate::error::{Error, Result};
use crate::history;
use crate::importer::{self, Importer};
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

mod reports;

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
    let printed = match command.mode {
        Mode::Completions(shell) => cli::write_completions(shell, &mut std::io::stdout()),
        Mode::ManPage => cli::write_man_page(&mut std::io::stdout()),
        Mode::Check => return look(command, None, || reports::check(&command.config)),
        _ => Ok(()),
    };
    if matches!(command.mode, Mode::Completions(_) | Mode::ManPage) {
        return printed.map_or(FAILURE, |()| SUCCESS);
    }
    let config = match Config::load(&command.config) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    match command.mode {
        // Its own lines are not what an operator wants to see as the last of the log.
        Mode::Dashboard => return look(command, None, || reports::dashboard(&config)),
        Mode::ReportStatus { compare } => {
            return look(command, Some(&config), || {
                reports::status(command, &config, compare)
            });
        }
        _ => {}
    }
    let start = Timestamp::now();
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
    let mut execution = history::Execution::ending_now(start, mode_name(command), SUCCESS);
    if let Ok(result) = &result {
        note(&mut execution, result);
    }
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
        execution.exit_code = shutdown::EXIT_INTERRUPTED;
        keep(command, &config, &execution);
        return shutdown::EXIT_INTERRUPTED;
    }
    execution.exit_code = code;
    keep(command, &config, &execution);
    log::info!("{RULE}");
    match code {
        SUCCESS => log::info!("✓ EXECUTION COMPLETED SUCCESSFULLY"),
        _ => log::warn!("✗ EXECUTION COMPLETED WITH FAILURES (exit code: {code})"),
    }
    log::info!("{RULE}");
    code
}

/// Runs a mode that only looks, and gives the exit code. Its log goes to stderr
/// and, if a configuration is given, to the log file. A signal ends it as it
/// ends any program.
fn look(
    command: &CommandLine,
    config: Option<&Config>,
    report: impl FnOnce() -> Result<bool>,
) -> u8 {
    let started = match config {
        Some(config) => start_logging(command, config),
        None => start_log(command, LevelFilter::Warn, None),
    };
    if let Err(error) = started {
        return complain(&error);
    }
    for warning in config.iter().flat_map(|config| &config.warnings) {
        log::warn!("{warning}");
    }
    match catch_unwind(AssertUnwindSafe(report)) {
        Ok(Ok(true)) => SUCCESS,
        Ok(Ok(false)) => FAILURE,
        Ok(Err(error)) => {
            log::error!("{}: {error}", error.class());
            FAILURE
        }
        Err(_) => {
            critical!("UNEXPECTED ERROR SUMMARY: the archiver panicked; see stderr");
            UNEXPECTED
        }
    }
}

/// Puts what an execution did into its line of the history.
fn note(execution: &mut history::Execution, result: &Result<Summary>) {
    match result {
        Ok(summary) => {
            for (words, report) in summary.stages() {
                let counts = Some(history::Counts::of(report));
                if words.verb == importer::WORDS.verb {
                    execution.import = counts;
                } else {
                    execution.migrate = counts;
                }
            }
        }
        Err(error) => execution.error = Some(history::reason(&error.to_string())),
    }
}

/// Adds an execution to the history. Nothing depends on it, so a failure is a warning.
fn keep(command: &CommandLine, config: &Config, execution: &history::Execution) {
    let is_no_execution = matches!(
        command.mode,
        Mode::RebuildIndex | Mode::Verify | Mode::Extract(_)
    );
    if command.dry_run || is_no_execution {
        return;
    }
    let path = config.app.work_dir.join(history::FILE);
    if let Err(error) = history::append(&path, execution) {
        log::warn!("This execution is missing from the history: {error}");
    }
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
    start_log(command, config.app.log_level, config.app.log_file.clone())
}

fn start_log(command: &CommandLine, level: LevelFilter, file: Option<PathBuf>) -> Result<()> {
    logging::start(logging::Options {
        level: match command.verbose {
            true => LevelFilter::Debug,
            false => level,
        },
        quiet: command.quiet,
        file,
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
    // What writes nothing can go beside an execution that does.
    let mut lock = None;
    if !command.dry_run {
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
        artdaqdb: open_artdaqdb(config)?,
    };
    let mut summary = Summary::default();
    let none = BTreeSet::new();
    let retry = stage::Mode::Retry {
        only: command.runs.as_ref(),
    };
    match command.mode {
        Mode::RetryFailedImport => execution.import(retry, &mut summary),
        Mode::RetryFailedMigrate => execution.migrate(retry, &mut summary),
        Mode::ImportOnly => execution.import(stage_mode(command, &none), &mut summary),
        Mode::MigrateOnly => execution.migrate(stage_mode(command, &none), &mut summary),
        Mode::RebuildIndex => rebuild_index(&config.artdaq_db.database_uri, command.yes)?,
        Mode::RecoverImportState => {
            recovery::recover(
                &execution.importer()?,
                &execution.import_store(),
                command.dry_run,
            )?;
        }
        Mode::RecoverMigrateState => {
            let ucondb = execution.ucondb()?;
            let migrator = execution.migrator(ucondb.as_ref());
            recovery::recover(&migrator, &execution.migrate_store(), command.dry_run)?;
        }
        _ => {
            execution.import(stage_mode(command, &none), &mut summary);
            if !shutdown.requested() {
                let imported = summary.archived();
                if command.dry_run && !imported.is_empty() {
                    let runs: RunSet = imported.iter().copied().collect();
                    log::info!("The migrate stage would go on with what the import brings: {runs}");
                }
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
        Mode::RebuildIndex => "Rebuild Index".to_owned(),
        Mode::ImportOnly => format!("Import Only ({extent})"),
        Mode::MigrateOnly => format!("Migrate Only ({extent})"),
        _ => format!("Full Pipeline ({extent})"),
    }
}

/// What this version can't do is an error before anything is done.
fn refuse_what_is_not_built(command: &CommandLine) -> Result<()> {
    let flag = match command.mode {
        Mode::Verify => "--verify",
        Mode::Extract(_) => "--extract",
        _ => return Ok(()),
    };
    Err(not_built(flag))
}

fn not_built(what: &str) -> Error {
    Error::Usage(format!(
        "{what} is not available in this version yet; nothing was done"
    ))
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
        )
    }

    fn migrator<'b>(&'b self, ucondb: &'b dyn UconDb) -> Migrator<'b> {
        Migrator::new(self.artdaqdb.as_ref(), ucondb, self.command.validate)
    }

    fn ucondb(&self) -> Result<Box<dyn UconDb>> {
        open_ucondb(self.config)
    }

    fn import_store(&self) -> StateStore {
        import_store(self.config)
    }

    fn migrate_store(&self) -> StateStore {
        migrate_store(self.config)
    }
}

fn open_artdaqdb(config: &Config) -> Result<Box<dyn ArtdaqDb>> {
    match config.artdaq_db.use_tools {
        true => Err(not_built("artdaq_db.use_tools: true")),
        false => artdaqdb::open(&config.artdaq_db.database_uri),
    }
}

fn open_ucondb(config: &Config) -> Result<Box<dyn UconDb>> {
    let ucon = &config.ucon_db;
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

fn import_store(config: &Config) -> StateStore {
    let app = &config.app;
    StateStore::new(
        app.import_state_file.clone(),
        app.import_failure_log.clone(),
    )
}

fn migrate_store(config: &Config) -> StateStore {
    let app = &config.app;
    StateStore::new(
        app.migrate_state_file.clone(),
        app.migrate_failure_log.clone(),
    )
}
