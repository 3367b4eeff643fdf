//! One execution, from the command line to the last line of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use log::LevelFilter;

use crate::cli::CommandLine;
use crate::clock;
use crate::config::Config;
use crate::critical;
use crate::durable;
use crate::error::{Error, Result};
use crate::exposure;
use crate::lock::LockGuard;
use crate::logging::rotate::Limits;
use crate::logging::{self, RULE};
use crate::reporter::metrics;
use crate::shutdown::{self, Shutdown};
use crate::sys::process;
use crate::sys::text::one_line;
use commands::{Command, Lock, Traits, Work};
use ending::Ending;
use session::Session;

mod commands;
mod ending;
mod parts;
mod session;

/// The exit code of success.
const SUCCESS: u8 = 0;
/// The exit code of a known error, and of an execution in which runs failed.
const FAILURE: u8 = 1;
/// The exit code of what this program should have ruled out.
const UNEXPECTED: u8 = 2;

/// The lock file of verifications, in the work directory.
const VERIFY_LOCK: &str = ".verify.lock";

/// Does what the command line says, from reading the configuration to the last
/// line of the log, and returns the exit code.
#[must_use]
pub fn execute(command: &CommandLine) -> u8 {
    process::take_name();
    match Command::of(command) {
        Command::Print(print) => match print(command) {
            Ok(_) => SUCCESS,
            Err(error) if error.is_broken_pipe() => SUCCESS,
            Err(error) => complain(&error),
        },
        Command::Check(check) => look(command, None, || check(&command.config)),
        Command::Look { is_logged, run } => match Config::load(&command.config) {
            Ok(config) => look(command, is_logged.then_some(&config), || {
                run(command, &config)
            }),
            Err(error) => complain(&error),
        },
        Command::Work { name, traits, run } => match Config::load(&command.config) {
            Ok(config) => work(command, &config, name, traits, run),
            Err(error) => complain(&error),
        },
    }
}

/// Runs a command that only looks, and returns the exit code. Its log goes to
/// stderr and, if a configuration is given, to the log file. A signal ends it as it
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
        // As with `| head`: who reads has seen enough.
        Ok(Err(error)) if error.is_broken_pipe() => SUCCESS,
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

/// Runs a command that works on the archives, and returns the exit code.
fn work(command: &CommandLine, config: &Config, name: String, traits: Traits, run: Work) -> u8 {
    let start = clock::actual();
    let shutdown = Shutdown::default();
    if let Err(error) = start_logging(command, config).and_then(|()| shutdown.listen_to_signals()) {
        return complain(&error);
    }
    greet(config);
    let mut lock = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let app = &config.app;
        let taken = match traits.lock {
            Lock::None => None,
            Lock::Archiver => Some(LockGuard::acquire_for(&app.work_dir, &app.lock_file)?),
            Lock::Verification => Some(LockGuard::acquire(&app.work_dir.join(VERIFY_LOCK))?),
        };
        if let Some(taken) = taken {
            lock.insert(taken).monitor(&shutdown)?;
        }
        if traits.archives {
            metrics::began(config);
        }
        log::info!("=== Execution Mode: {name} ===");
        if command.dry_run {
            log::info!(
                "Dry run: says what would be done and writes to no database and no state file"
            );
        }
        match run {
            Work::Archives(run) => run(&Session::open(command, config, &shutdown)?),
            Work::WorkDirectory(run) => run(command, config),
        }
    }));
    let mut ending = Ending::new(command, config, &shutdown, traits);
    let code = ending.conclude(result, start, name);
    ending.tell(lock, code);
    last_words(&shutdown, code)
}

/// Logs what every execution begins with.
fn greet(config: &Config) {
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
    for warning in exposure::warnings(config) {
        log::warn!("{warning}");
    }
    for note in &config.notes {
        log::debug!("{note}");
    }
}

/// Logs what every execution ends with, and returns its exit code: a shutdown can
/// still have come while others were told of the execution.
fn last_words(shutdown: &Shutdown, code: u8) -> u8 {
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

/// How an operator would type the command again, without its mode.
fn command_to_repeat(command: &CommandLine) -> String {
    format!("./run_archiver.sh {}", command.config.display())
}

/// Says what is wrong before there is a log.
fn complain(error: &Error) -> u8 {
    // A value of the configuration may have anything in it.
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(one_line).collect();
    let text = lines.join("\n");
    match error {
        Error::Config { .. } => eprintln!(
            "{}: Configuration validation failed:\n{text}",
            error.class()
        ),
        _ => eprintln!("{}: {text}", error.class()),
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
