//! One execution, from the command line to the last line of the log.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use jiff::Timestamp;
use log::LevelFilter;

use crate::cli::{self, CommandLine, Mode};
use crate::config::Config;
use crate::critical;
use crate::durable;
use crate::error::{Error, Result};
use crate::exposure;
use crate::history;
use crate::lock::LockGuard;
use crate::logging::rotate::Limits;
use crate::logging::{self, RULE};
use crate::metrics;
use crate::shutdown::{self, Shutdown};
use crate::summary::Summary;
use execution::{Execution, stage_mode};

mod aftermath;
mod execution;
mod index;
mod parts;
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
    for warning in config.warnings.iter().chain(&exposure::warnings(&config)) {
        log::warn!("{warning}");
    }
    for note in &config.notes {
        log::debug!("{note}");
    }

    let mut lock = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        run(command, &config, &shutdown, &mut lock)
    }));
    let mut entry = history::Execution::ending_now(start, mode_name(command), SUCCESS);
    if let Ok(result) = &result {
        aftermath::note(&mut entry, result);
    }
    let (summary, code) = match result {
        Ok(Ok(summary)) => {
            summary.log(&command_to_repeat(command));
            let code = if summary.has_unexpected() {
                UNEXPECTED
            } else if summary.is_success() {
                SUCCESS
            } else {
                FAILURE
            };
            (summary, code)
        }
        Ok(Err(error)) => {
            log::error!("{}: {error}", error.class());
            (Summary::of_aborted(error.to_string()), FAILURE)
        }
        // The hook of std has printed what happened and where on stderr.
        Err(_) => {
            critical!(
                "UNEXPECTED ERROR SUMMARY: the archiver panicked; see stderr. What it had \
                       published is archived, and the next execution goes on from there"
            );
            let reason = "the archiver panicked: see stderr, and report it with the log";
            (Summary::of_aborted(reason.into()), UNEXPECTED)
        }
    };
    let code = match shutdown.requested() && code != UNEXPECTED {
        true => shutdown::EXIT_INTERRUPTED,
        false => code,
    };
    entry.exit_code = code;
    aftermath::keep(command, &config, &entry);
    aftermath::tell(command, &config, &shutdown, lock, &summary, code);
    // Also one that came while somebody was told.
    if let Some(reason) = shutdown.reason().filter(|_| code != UNEXPECTED) {
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

/// Runs the mode of the command line under the archiver's lock, which is left
/// to the caller.
///
/// # Errors
/// What kept the execution from starting its work. What went wrong with single
/// runs or within a stage is logged, and in the summary.
fn run(
    command: &CommandLine,
    config: &Config,
    shutdown: &Shutdown,
    lock: &mut Option<LockGuard>,
) -> Result<Summary> {
    // What writes nothing can go beside an execution that does.
    if !command.dry_run && !matches!(command.mode, Mode::Extract(_)) {
        lock.insert(LockGuard::acquire(&config.app.lock_file)?)
            .monitor(shutdown)?;
    }
    if aftermath::archives(command) {
        metrics::began(config);
    }
    log::info!("=== Execution Mode: {} ===", mode_name(command));
    if command.dry_run {
        log::info!("Dry run: says what would be done and writes to no database and no state file");
    }
    Execution::new(command, config, shutdown)?.run()
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

/// How an operator would type the command again, without its mode.
fn command_to_repeat(command: &CommandLine) -> String {
    format!("./run_archiver.sh {}", command.config.display())
}
