//! What follows an execution: its line in the history, the metrics, and word to
//! those who want to know of failures.

use std::path::Path;

use crate::cli::{CommandLine, Mode};
use crate::config::{self, Config};
use crate::error::Result;
use crate::history;
use crate::importer;
use crate::lock::LockGuard;
use crate::metrics;
use crate::notify;
use crate::shutdown::Shutdown;
use crate::summary::Summary;

/// Puts what an execution did into its line of the history.
pub(super) fn note(execution: &mut history::Execution, result: &Result<Summary>) {
    match result {
        Ok(summary) => {
            for stage in summary.stages() {
                let report = stage.result.as_ref().map_err(String::as_str);
                let counts = Some(history::Counts::of(report));
                if stage.words.verb == importer::WORDS.verb {
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
pub(super) fn keep(command: &CommandLine, config: &Config, execution: &history::Execution) {
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

/// Tells those who watch the archiver how an execution that had the `lock`
/// ended. Only the metrics, which the next execution goes on from, need it.
pub(super) fn tell(
    command: &CommandLine,
    config: &Config,
    shutdown: &Shutdown,
    lock: Option<LockGuard>,
    summary: &Summary,
    code: u8,
) {
    if lock.is_some() && archives(command) {
        metrics::send(config, summary, code, shutdown);
        drop(lock);
        let context = notice_context(command, config, code);
        notify::send(&config.reporting, summary, &context, shutdown);
    }
}

/// Whether the mode is one that archives runs.
pub(super) fn archives(command: &CommandLine) -> bool {
    matches!(
        command.mode,
        Mode::Pipeline
            | Mode::ImportOnly
            | Mode::MigrateOnly
            | Mode::RetryFailedImport
            | Mode::RetryFailedMigrate
    ) && !command.dry_run
}

/// What a notification says of the execution. Its commands work from any directory.
fn notice_context(command: &CommandLine, config: &Config, exit_code: u8) -> notify::Context {
    let home = std::env::var(config::HOME_VARIABLE).unwrap_or_else(|_| ".".into());
    let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
    let base_command = format!("{home}/run_archiver.sh {}", file.display());
    let flags = std::env::args_os()
        .skip(1)
        .filter(|argument| Path::new(argument) != command.config)
        .fold(String::new(), |line, flag| {
            format!("{line} {}", flag.to_string_lossy())
        });
    notify::Context {
        host: rustix::system::uname().nodename().to_string_lossy().into(),
        time: jiff::ZonedDateTime::now()
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string(),
        command: format!("{base_command}{flags}"),
        base_command,
        exit_code,
        log_file: config.app.log_file.clone(),
    }
}
