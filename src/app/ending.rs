//! What follows an execution: its exit code, its line in the history, the metrics,
//! and the notices to those who want to know of failures.

use std::path::Path;
use std::thread;

use jiff::Timestamp;

use super::commands::Traits;
use super::{FAILURE, SUCCESS, UNEXPECTED, command_to_repeat};
use crate::cli::CommandLine;
use crate::clock;
use crate::config::{self, Config};
use crate::critical;
use crate::error::Result;
use crate::lock::LockGuard;
use crate::reporter::summary::Summary;
use crate::reporter::{history, metrics, notify};
use crate::shutdown::{EXIT_INTERRUPTED, Shutdown};

/// The end of an execution.
pub(super) struct Ending<'a> {
    command: &'a CommandLine,
    config: &'a Config,
    shutdown: &'a Shutdown,
    traits: Traits,
    summary: Summary,
}

impl<'a> Ending<'a> {
    pub(super) fn new(
        command: &'a CommandLine,
        config: &'a Config,
        shutdown: &'a Shutdown,
        traits: Traits,
    ) -> Ending<'a> {
        Ending {
            command,
            config,
            shutdown,
            traits,
            summary: Summary::default(),
        }
    }

    /// Logs how the command ended, adds the execution to the history, and returns
    /// the exit code. The outer error is a panic.
    pub(super) fn conclude(
        &mut self,
        result: thread::Result<Result<Summary>>,
        start: Timestamp,
        name: String,
    ) -> u8 {
        let mut entry = history::Execution::ending_now(start, name, SUCCESS);
        let (summary, code) = match result {
            Ok(Ok(summary)) => {
                summary.log(&command_to_repeat(self.command));
                for report in summary.stages() {
                    entry.note(report);
                }
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
                entry.error = Some(history::reason(&error.to_string()));
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
        self.summary = summary;
        entry.exit_code = match self.shutdown.requested() && code != UNEXPECTED {
            true => EXIT_INTERRUPTED,
            false => code,
        };
        self.keep(&entry);
        entry.exit_code
    }

    /// Adds an execution to the history. Nothing depends on it, so a failure is a warning.
    fn keep(&self, execution: &history::Execution) {
        if self.command.dry_run || !self.traits.is_listed {
            return;
        }
        let path = self.config.app.work_dir.join(history::FILE);
        if let Err(error) = history::append(&path, execution) {
            log::warn!("This execution is missing from the history: {error}");
        }
    }

    /// Tells those who watch the archiver how an execution that had the `lock`
    /// ended. Only the metrics, which the next execution goes on from, need it.
    pub(super) fn tell(&self, lock: Option<LockGuard>, code: u8) {
        if lock.is_none() || !self.traits.archives {
            return;
        }
        metrics::send(self.config, &self.summary, code, self.shutdown);
        drop(lock);
        let context = notice_context(self.command, self.config, code);
        notify::send(
            &self.config.reporting,
            &self.summary,
            &context,
            self.shutdown,
        );
    }
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
        time: clock::local().strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        command: format!("{base_command}{flags}"),
        base_command,
        exit_code,
        log_file: config.app.log_file.clone(),
    }
}
