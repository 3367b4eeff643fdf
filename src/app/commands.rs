//! The commands of the archiver, one function for each mode of the command line.

mod archive;
mod extract;
mod ignore;
mod print;
mod rebuild_index;
mod recover;
mod reports;
mod verify;

use std::path::Path;

use super::session::{Session, extent};
use crate::cli::{CommandLine, Mode};
use crate::config::Config;
use crate::error::Result;
use crate::reporter::summary::Summary;

/// What kind of command a mode is: what it needs before it can begin.
pub(super) enum Command {
    /// Needs nothing, and prints to stdout.
    Print(fn(&CommandLine) -> Result<bool>),
    /// Reads the configuration by itself, and prints to stdout.
    Check(fn(&Path) -> Result<bool>),
    /// Looks at what there is, without a lock, and prints to stdout.
    Look {
        /// Whether its own lines go to the log file, too.
        is_logged: bool,
        /// Does it. Whether everything could be reached and read.
        run: fn(&CommandLine, &Config) -> Result<bool>,
    },
    /// Works on the archives, or on what is remembered of them.
    Work {
        /// The command's name in the log.
        name: String,
        /// What it needs and leaves.
        traits: Traits,
        /// Does it.
        run: Work,
    },
}

/// What a command works on.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// The archives.
    Archives(fn(&Session) -> Result<Summary>),
    /// The work directory alone: no database is opened.
    WorkDirectory(fn(&CommandLine, &Config) -> Result<Summary>),
}

/// What a command that works on the archives needs and leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Which other execution may not work at the same time.
    pub(super) lock: Lock,
    /// Whether it is an execution that the history lists.
    pub(super) is_listed: bool,
    /// Whether it archives runs, so that metrics and notices tell of it.
    pub(super) archives: bool,
}

/// What keeps executions of one kind apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Nothing: any number may work.
    None,
    /// The lock file of executions that change what is archived or remembered.
    Archiver,
    /// The lock file of verifications, beside which archiving goes on.
    Verification,
}

/// The traits of a command that archives runs.
const ARCHIVES: Traits = Traits {
    lock: Lock::Archiver,
    is_listed: true,
    archives: true,
};

/// The traits of a command that rebuilds what is remembered.
const RECOVERS: Traits = Traits {
    archives: false,
    ..ARCHIVES
};

/// The traits of a command that works on the archives as a whole.
const MAINTAINS: Traits = Traits {
    is_listed: false,
    ..RECOVERS
};

/// The traits of a command that writes nothing that the archiver keeps.
const READS: Traits = Traits {
    lock: Lock::None,
    ..MAINTAINS
};

/// The traits of a command that compares, and remembers how far it came.
const VERIFIES: Traits = Traits {
    lock: Lock::Verification,
    ..READS
};

impl Command {
    /// Returns the command that a mode stands for.
    pub(super) fn of(command: &CommandLine) -> Command {
        let extent = extent(command).name();
        let command_of = |name: &str, traits: Traits, run: Work| Command::Work {
            name: name.to_owned(),
            traits: match command.dry_run {
                true => READS,
                false => traits,
            },
            run,
        };
        let work = |name: &str, traits, run| command_of(name, traits, Work::Archives(run));
        let declare = |name: &str, run| command_of(name, MAINTAINS, Work::WorkDirectory(run));
        match command.mode {
            Mode::Completions(_) => Command::Print(print::completions),
            Mode::ManPage => Command::Print(print::man_page),
            Mode::Check => Command::Check(reports::check),
            Mode::Dashboard => Command::Look {
                // The last lines of the log are part of what it shows.
                is_logged: false,
                run: reports::dashboard,
            },
            Mode::ReportStatus { .. } => Command::Look {
                is_logged: true,
                run: reports::status,
            },
            Mode::Pipeline => work(
                &format!("Full Pipeline ({extent})"),
                ARCHIVES,
                archive::pipeline,
            ),
            Mode::ImportOnly => work(
                &format!("Import Only ({extent})"),
                ARCHIVES,
                archive::import_only,
            ),
            Mode::MigrateOnly => work(
                &format!("Migrate Only ({extent})"),
                ARCHIVES,
                archive::migrate_only,
            ),
            Mode::RetryFailedImport => work(
                "Retry Failed Imports",
                ARCHIVES,
                archive::retry_failed_import,
            ),
            Mode::RetryFailedMigrate => work(
                "Retry Failed Migrations",
                ARCHIVES,
                archive::retry_failed_migrate,
            ),
            Mode::RecoverImportState => {
                work("Recover Import State", RECOVERS, recover::import_state)
            }
            Mode::RecoverMigrateState => {
                work("Recover Migrate State", RECOVERS, recover::migrate_state)
            }
            Mode::RebuildIndex => work("Rebuild Index", MAINTAINS, rebuild_index::rebuild_index),
            Mode::Reimport => work("Reimport Runs", ARCHIVES, archive::reimport),
            Mode::Ignore => declare("Ignore Runs", ignore::ignore),
            Mode::Unignore => declare("Unignore Runs", ignore::unignore),
            Mode::Verify => work("Verify", VERIFIES, verify::verify),
            Mode::Extract(run) => work(&format!("Extract Run {run}"), READS, extract::extract),
        }
    }
}
