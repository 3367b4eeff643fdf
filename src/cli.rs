//! The command line as one value: what to do, with which options.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgGroup, CommandFactory, Parser, ValueEnum};
pub use clap_complete::Shell;

use crate::run::Run;
use crate::run_set::RunSet;

/// What the archiver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Import, then migrate.
    Pipeline,
    /// Files to artdaqDB.
    ImportOnly,
    /// artdaqDB to UconDB.
    MigrateOnly,
    /// The runs of the import failure log again.
    RetryFailedImport,
    /// The runs of the migrate failure log again.
    RetryFailedMigrate,
    /// The status report.
    ReportStatus {
        /// Whether it compares the sources with the state files.
        compare: bool,
    },
    /// Rebuild the import state from the sources.
    RecoverImportState,
    /// Rebuild the migrate state from the sources.
    RecoverMigrateState,
    /// Make a new index of artdaqDB's documents.
    RebuildIndex,
    /// Check the configuration and everything it names.
    Check,
    /// Compare record, artdaqDB and UconDB, run by run.
    Verify,
    /// Write a run's files, as a database has them, to a directory.
    Extract(Run),
    /// State, failures, disk and log, without asking a database.
    Dashboard,
    /// Declare runs to be impossible to archive.
    Ignore,
    /// Take such a declaration back.
    Unignore,
    /// Store the records of archived runs anew.
    Reimport,
    /// The completion script of a shell.
    Completions(Shell),
    /// The manual page.
    ManPage,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people and logs.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For a web page.
    Html,
}

/// A database from which a run's files are got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// UconDB: what its blob holds.
    #[default]
    Ucondb,
    /// artdaqDB: what its documents hold.
    Artdaqdb,
}

/// A command line that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file.
    pub config: PathBuf,
    /// What to do.
    pub mode: Mode,
    /// New and late runs and failures that are due, a batch at most.
    pub incremental: bool,
    /// Check each blob's content too, once it is stored or compared.
    pub validate: bool,
    /// Say what would be done, write nothing.
    pub dry_run: bool,
    /// Just these runs; those that `--ignore` and `--unignore` name, too.
    pub runs: Option<RunSet>,
    /// Why the runs of `--ignore` cannot be archived.
    pub reason: Option<String>,
    /// The report's form.
    pub format: Format,
    /// Where the report, the extracted or the compared files go.
    pub output: Option<PathBuf>,
    /// Compare texts, not only what they configure.
    pub strict: bool,
    /// The database from which files are extracted.
    pub from: Database,
    /// Migrate the selected runs again, as new versions under their keys.
    pub override_existing: bool,
    /// Do not ask before something is replaced.
    pub yes: bool,
    /// Log at DEBUG level.
    pub verbose: bool,
    /// Only errors on stderr.
    pub quiet: bool,
}

impl CommandLine {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// Flags that do not exist or do not go together; also `--help` and
    /// `--version`. All of them are for [`report`].
    pub fn parse<I, T>(arguments: I) -> Result<CommandLine, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments = Arguments::try_parse_from(arguments)?;
        arguments
            .command_line()
            .map_err(|message| Arguments::command().error(ErrorKind::ArgumentConflict, message))
    }
}

/// Prints what [`CommandLine::parse`] returned instead of a command line and
/// gives the exit code: 0 for help and version, which go to stdout, 1 for
/// usage errors (2 is kept for unexpected errors).
#[must_use]
pub fn report(error: &clap::Error) -> u8 {
    // A closed stdout or stderr leaves nobody to tell.
    let _ = error.print();
    u8::from(error.use_stderr())
}

/// Writes a shell's completion script.
///
/// # Errors
/// What writing to `out` returns.
pub fn write_completions(shell: Shell, out: &mut dyn Write) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut Arguments::command(),
        "run_record_archiver",
        &mut script,
    );
    out.write_all(&script)
}

/// Writes the manual page: what `--help` says, in the form that `man` shows.
///
/// # Errors
/// What writing to `out` returns.
pub fn write_man_page(out: &mut dyn Write) -> std::io::Result<()> {
    // The examples and exit codes become a section of their own.
    let command = Arguments::command().after_help("");
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    out.write_all(&page)?;
    writeln!(out, ".SH EXAMPLES AND EXIT CODES\n.nf")?;
    for line in EXAMPLES.lines() {
        // A line that begins with a dot or an apostrophe would be a request.
        writeln!(out, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(out, ".fi")
}

const STAGES: &str = "Options of the stages";
const REPORTS: &str = "Options of reports";
const LOGGING: &str = "Logging";

const EXAMPLES: &str = "\
Examples:
  run_record_archiver config.yaml --incremental
          Import and migrate what is new; for cron or a systemd timer
  run_record_archiver config.yaml --migrate-only --validate
          Migrate everything not yet in UconDB, with a check of each blob
  run_record_archiver config.yaml --retry-failed-import
          Try the runs of the import failure log again
  run_record_archiver config.yaml --runs 12500-12600,12700 --dry-run
          Say what would be done with these runs
  run_record_archiver config.yaml --compare-state --format json --output status.json
          Where each run is, and whether the state files agree
  run_record_archiver config.yaml --verify --runs 12500-12600
          Prove that both databases have what the records have
  run_record_archiver config.yaml --extract 12500 --from ucondb --output /tmp/run12500
          Get a run's files back from UconDB, or from artdaqdb
  run_record_archiver config.yaml --reimport 12500 --dry-run
          Say what storing the record of an archived run anew would change
  run_record_archiver config.yaml --ignore 12101 --reason 'disk lost, see ticket 4711'
          Count a run that cannot be archived no longer as missing

Exit codes:
  0    success, also when there was nothing to do
  1    a known error, or some runs failed: the log says which and why
  2    an unexpected error: please report it with the log
  130  stopped by Ctrl-C, SIGTERM or the removal of the lock file

Ctrl-C once finishes the runs in work and saves the state; three times within
2 seconds stops at once.";

/// Moves the run records of artdaq experiments into artdaqDB and from there
/// into UconDB, verified.
///
/// Without a mode both stages run: import (files to artdaqDB), then migrate
/// (artdaqDB to UconDB).
#[derive(Debug, Parser)]
#[command(name = "run_record_archiver", bin_name = "run_record_archiver", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(group = ArgGroup::new("mode").multiple(false))]
struct Arguments {
    /// Configuration file (YAML)
    #[arg(value_name = "CONFIG", default_value = "config.yaml")]
    config: PathBuf,

    #[command(flatten)]
    modes: Modes,

    /// Take new and late runs and failures that are due, a batch at most
    #[arg(long, help_heading = STAGES)]
    incremental: bool,

    /// Check the content of each migrated or compared blob too
    #[arg(long, help_heading = STAGES)]
    validate: bool,

    /// Say what would be done, write nothing
    #[arg(long, help_heading = STAGES)]
    dry_run: bool,

    /// Just these runs, such as 12500-12600,12700
    #[arg(long, value_name = "RANGES", value_parser = RunSet::parse, help_heading = STAGES)]
    runs: Option<RunSet>,

    /// With a status report: compare with the state files
    #[arg(long, help_heading = REPORTS)]
    compare_state: bool,

    /// Form of the report
    #[arg(long, value_enum, help_heading = REPORTS)]
    format: Option<Format>,

    /// File for the report; for --extract and --verify the directory for the files
    #[arg(long, value_name = "PATH", help_heading = REPORTS)]
    output: Option<PathBuf>,

    /// With --verify: comments and layout count, too
    #[arg(long, help_heading = REPORTS)]
    strict: bool,

    /// With --extract: the database from which the files come
    #[arg(long, value_enum, value_name = "DATABASE", help_heading = REPORTS)]
    from: Option<Database>,

    /// Migrate the runs of --runs although UconDB has them: where it has another
    /// record, a new version takes the key and the old one stays without a key
    #[arg(long, requires = "runs", help_heading = STAGES)]
    override_existing: bool,

    /// Why the runs of --ignore cannot be archived
    #[arg(long, value_name = "TEXT", value_parser = reason, help_heading = STAGES)]
    reason: Option<String>,

    /// Do not ask before the index is replaced
    #[arg(long, help_heading = STAGES)]
    yes: bool,

    /// Log at DEBUG level
    #[arg(short, long, help_heading = LOGGING)]
    verbose: bool,

    /// Only errors on stderr; the log file keeps everything
    #[arg(short, long, help_heading = LOGGING)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Modes (at most one)")]
struct Modes {
    /// Only the import stage: files to artdaqDB
    #[arg(long, group = "mode")]
    import_only: bool,

    /// Only the migrate stage: artdaqDB to UconDB
    #[arg(long, group = "mode")]
    migrate_only: bool,

    /// Try the runs of the import failure log again
    #[arg(long, group = "mode")]
    retry_failed_import: bool,

    /// Try the runs of the migrate failure log again
    #[arg(long, group = "mode")]
    retry_failed_migrate: bool,

    /// Where each run is, what is missing, and which stage to run
    #[arg(long, group = "mode")]
    report_status: bool,

    /// Rebuild the import state from run records and artdaqDB
    #[arg(long, group = "mode")]
    recover_import_state: bool,

    /// Rebuild the migrate state from artdaqDB and UconDB
    #[arg(long, group = "mode")]
    recover_migrate_state: bool,

    /// Make a new index of the documents of a FilesystemDB; asks first
    #[arg(long, group = "mode")]
    rebuild_index: bool,

    /// Check configuration, paths, rights, databases and disk; writes nothing
    #[arg(long, group = "mode")]
    check: bool,

    /// Compare record, artdaqDB and UconDB, run by run and file by file; with
    /// --incremental for half an hour, from where it ended the last time
    #[arg(long, group = "mode")]
    verify: bool,

    /// Write a run's files as UconDB, or the database of --from, has them (needs
    /// --output)
    #[arg(long, group = "mode", value_name = "RUN", value_parser = run_number)]
    extract: Option<Run>,

    /// State, failures, disk and last log lines, without asking a database
    #[arg(long, group = "mode")]
    dashboard: bool,

    /// Declare that these runs cannot be archived (needs --reason); they no longer
    /// count as missing or failed
    #[arg(long, group = "mode", value_name = "RUNS", value_parser = RunSet::parse, requires = "reason")]
    ignore: Option<RunSet>,

    /// Take back what --ignore declared of these runs
    #[arg(long, group = "mode", value_name = "RUNS", value_parser = RunSet::parse)]
    unignore: Option<RunSet>,

    /// Store the records of these runs anew where they differ from what was archived,
    /// in artdaqDB and UconDB; --dry-run says what would change
    #[arg(long, group = "mode", value_name = "RUNS", value_parser = RunSet::parse)]
    reimport: Option<RunSet>,

    /// Print the completion script of a shell
    #[arg(long, group = "mode", value_name = "SHELL")]
    completions: Option<Shell>,

    /// Print the manual page, for `man -l`
    #[arg(long, group = "mode", hide = true)]
    man: bool,
}

fn run_number(text: &str) -> Result<Run, String> {
    Run::parse(text).ok_or_else(|| "expected a run number such as 12500".into())
}

/// One line: it is listed in reports.
fn reason(text: &str) -> Result<String, String> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    match words.is_empty() {
        true => Err("expected the reason in a few words".into()),
        false => Ok(words.join(" ")),
    }
}

impl Modes {
    /// The mode and its flag. Clap has seen to it that there is at most one.
    fn chosen(&self, compare_state: bool) -> (Mode, &'static str) {
        let report = Mode::ReportStatus {
            compare: compare_state,
        };
        let flags = [
            (self.import_only, Mode::ImportOnly, "--import-only"),
            (self.migrate_only, Mode::MigrateOnly, "--migrate-only"),
            (
                self.retry_failed_import,
                Mode::RetryFailedImport,
                "--retry-failed-import",
            ),
            (
                self.retry_failed_migrate,
                Mode::RetryFailedMigrate,
                "--retry-failed-migrate",
            ),
            (self.report_status, report, "--report-status"),
            (
                self.recover_import_state,
                Mode::RecoverImportState,
                "--recover-import-state",
            ),
            (
                self.recover_migrate_state,
                Mode::RecoverMigrateState,
                "--recover-migrate-state",
            ),
            (self.rebuild_index, Mode::RebuildIndex, "--rebuild-index"),
            (self.check, Mode::Check, "--check"),
            (self.verify, Mode::Verify, "--verify"),
            (self.dashboard, Mode::Dashboard, "--dashboard"),
            (self.ignore.is_some(), Mode::Ignore, "--ignore"),
            (self.unignore.is_some(), Mode::Unignore, "--unignore"),
            (self.reimport.is_some(), Mode::Reimport, "--reimport"),
            (self.man, Mode::ManPage, "--man"),
        ];
        if let Some((_, mode, flag)) = flags.into_iter().find(|(given, ..)| *given) {
            return (mode, flag);
        }
        match (self.extract, self.completions) {
            (Some(run), _) => (Mode::Extract(run), "--extract"),
            (_, Some(shell)) => (Mode::Completions(shell), "--completions"),
            _ if compare_state => (report, "--compare-state"),
            _ => (Mode::Pipeline, "the full pipeline"),
        }
    }
}

impl Arguments {
    fn command_line(self) -> Result<CommandLine, String> {
        use Mode::{
            Extract, ImportOnly, MigrateOnly, Pipeline, RecoverImportState, RecoverMigrateState,
            ReportStatus, RetryFailedImport, RetryFailedMigrate, Verify,
        };
        let (mode, mode_flag) = self.modes.chosen(self.compare_state);
        let selects = matches!(mode, Pipeline | ImportOnly | MigrateOnly);
        let retries = matches!(mode, RetryFailedImport | RetryFailedMigrate);
        let recovers = matches!(mode, RecoverImportState | RecoverMigrateState);
        let migrates = matches!(mode, Pipeline | MigrateOnly | RetryFailedMigrate);
        let reports = matches!(mode, ReportStatus { .. });
        let extracts = matches!(mode, Extract(_));
        let verifies = matches!(mode, Verify);
        let declares = matches!(mode, Mode::Ignore | Mode::Unignore);

        for (given, sensible, flag, why) in [
            (
                self.override_existing,
                migrates,
                "--override-existing",
                "it replaces blobs in UconDB, and belongs to the full pipeline, --migrate-only or \
                 --retry-failed-migrate",
            ),
            (
                self.reason.is_some(),
                matches!(mode, Mode::Ignore),
                "--reason",
                "it says why the runs of --ignore cannot be archived",
            ),
            (
                self.yes,
                matches!(mode, Mode::RebuildIndex),
                "--yes",
                "it answers the question of --rebuild-index",
            ),
            (
                self.incremental,
                selects || verifies,
                "--incremental",
                "it chooses among runs, and belongs to the full pipeline, --import-only, \
                 --migrate-only and --verify",
            ),
            (
                self.validate,
                migrates || verifies,
                "--validate",
                "it checks migrated blobs, and belongs to the full pipeline, --migrate-only, \
                 --retry-failed-migrate or --verify",
            ),
            (
                self.dry_run,
                selects || retries || recovers || declares || mode == Mode::Reimport,
                "--dry-run",
                "this mode changes nothing in a database or a state file",
            ),
            (
                self.runs.is_some(),
                selects || retries || verifies,
                "--runs",
                "it chooses runs for the stages, their retries and --verify",
            ),
            (
                self.compare_state,
                reports,
                "--compare-state",
                "it belongs to --report-status",
            ),
            (
                self.format.is_some(),
                reports || verifies,
                "--format",
                "it belongs to --report-status and --verify",
            ),
            (
                self.output.is_some(),
                reports || extracts || verifies,
                "--output",
                "it belongs to --report-status, --extract and --verify",
            ),
            (self.strict, verifies, "--strict", "it belongs to --verify"),
            (
                self.from.is_some(),
                extracts,
                "--from",
                "it belongs to --extract",
            ),
        ] {
            if given && !sensible {
                return Err(format!("{flag} has no meaning with {mode_flag}: {why}"));
            }
        }
        if self.incremental && self.runs.is_some() {
            return Err(
                "--runs names the runs itself, so --incremental has no meaning with it: \
                 leave one of them out"
                    .into(),
            );
        }
        if verifies && self.format == Some(Format::Html) {
            return Err("--verify has no page: choose --format text or --format json".into());
        }
        if extracts && self.output.is_none() {
            return Err("--extract needs --output DIRECTORY, where the files are to go".into());
        }
        Ok(CommandLine {
            config: self.config,
            mode,
            incremental: self.incremental,
            validate: self.validate,
            dry_run: self.dry_run,
            runs: self
                .runs
                .or(self.modes.ignore)
                .or(self.modes.unignore)
                .or(self.modes.reimport),
            reason: self.reason,
            format: self.format.unwrap_or_default(),
            output: self.output,
            strict: self.strict,
            from: self.from.unwrap_or_default(),
            override_existing: self.override_existing,
            yes: self.yes,
            verbose: self.verbose,
            quiet: self.quiet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<CommandLine, String> {
        let words = std::iter::once("run_record_archiver").chain(arguments.split_whitespace());
        CommandLine::parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_manual() {
        for (arguments, mode) in [
            ("", Mode::Pipeline),
            ("c.yaml", Mode::Pipeline),
            ("c.yaml --incremental", Mode::Pipeline),
            ("c.yaml --incremental -v", Mode::Pipeline),
            ("c.yaml --import-only", Mode::ImportOnly),
            ("c.yaml --import-only --incremental", Mode::ImportOnly),
            (
                "c.yaml --migrate-only --incremental --validate",
                Mode::MigrateOnly,
            ),
            ("c.yaml --retry-failed-import", Mode::RetryFailedImport),
            ("c.yaml --retry-failed-migrate", Mode::RetryFailedMigrate),
            (
                "c.yaml --report-status",
                Mode::ReportStatus { compare: false },
            ),
            (
                "c.yaml --report-status --compare-state",
                Mode::ReportStatus { compare: true },
            ),
            (
                "c.yaml --compare-state",
                Mode::ReportStatus { compare: true },
            ),
            ("c.yaml --recover-import-state", Mode::RecoverImportState),
            ("c.yaml --recover-migrate-state", Mode::RecoverMigrateState),
            ("c.yaml --check", Mode::Check),
            ("c.yaml --verify --runs 1-2", Mode::Verify),
            (
                "c.yaml --extract 12500 --output d",
                Mode::Extract(Run(12500)),
            ),
            ("c.yaml --dashboard -q", Mode::Dashboard),
            ("c.yaml --ignore 7,9-11 --reason broken", Mode::Ignore),
            ("c.yaml --unignore 7 --dry-run", Mode::Unignore),
            ("c.yaml --reimport 7,9-11 --dry-run", Mode::Reimport),
            ("--completions bash", Mode::Completions(Shell::Bash)),
            ("--man", Mode::ManPage),
        ] {
            let line = parse(arguments).unwrap();
            assert_eq!(line.mode, mode, "{arguments}");
            let config = if arguments.starts_with("c.") {
                "c.yaml"
            } else {
                "config.yaml"
            };
            assert_eq!(line.config, PathBuf::from(config), "{arguments}");
            for (flag, value) in [
                ("--incremental", line.incremental),
                ("--validate", line.validate),
                ("-v", line.verbose),
                ("-q", line.quiet),
                ("--reason", line.reason.is_some()),
                ("--output", line.output.is_some()),
            ] {
                let given = arguments.split_whitespace().any(|word| word == flag);
                assert_eq!(value, given, "{flag} in {arguments}");
            }
        }
    }

    #[test]
    fn what_does_not_go_together() {
        for (arguments, part) in [
            ("--import-only --migrate-only", "cannot be used with"),
            ("--check --extract 5 --output d", "cannot be used with"),
            (
                "--compare-state --import-only",
                "--compare-state has no meaning with --import-only",
            ),
            (
                "--incremental --retry-failed-import",
                "has no meaning with --retry-failed-import",
            ),
            (
                "--incremental --report-status",
                "--incremental has no meaning",
            ),
            ("--validate --import-only", "it checks migrated blobs"),
            ("--dry-run --check", "changes nothing"),
            ("--runs 5 --check", "--runs has no meaning"),
            ("--runs 5 --incremental", "leave one of them out"),
            (
                "--format json",
                "--format has no meaning with the full pipeline",
            ),
            ("--format html --verify", "has no page"),
            (
                "--strict --incremental",
                "--strict has no meaning with the full pipeline",
            ),
            (
                "--from artdaqdb --verify",
                "--from has no meaning with --verify",
            ),
            ("--extract 5 --output d --from disk", "ucondb, artdaqdb"),
            ("--extract 5", "needs --output"),
            ("--ignore 5", "--reason <TEXT>"),
            (
                "--unignore 5 --reason x",
                "--reason has no meaning with --unignore",
            ),
            ("--reason x", "--reason has no meaning"),
            ("--ignore 5 --reason x --runs 7", "--runs has no meaning"),
            ("--reimport 5 --runs 7", "--runs has no meaning"),
            ("--ignore 5 --unignore 6 --reason x", "cannot be used with"),
            ("--ignore x --reason y", "neither a run number"),
            ("--extract x --output d", "expected a run number"),
            ("--runs 9-7", "7-9"),
            ("--format yaml --report-status", "text, json, html"),
            ("--incremntal", "--incremental"),
            ("a.yaml b.yaml", "b.yaml"),
        ] {
            let message = parse(arguments).unwrap_err();
            assert!(message.contains(part), "{arguments}: {message}");
        }
    }

    #[test]
    fn a_reason_is_one_line_and_says_something() {
        let parse = |reason: &str| {
            CommandLine::parse(["a", "--ignore", "1-3, 5", "--reason", reason])
                .map_err(|error| error.to_string())
        };
        let line = parse(" disk lost,\n see\tticket\u{1b}4711 ").unwrap();
        assert_eq!(line.reason.as_deref(), Some("disk lost, see ticket 4711"));
        assert_eq!(line.runs.unwrap().to_string(), "1-3, 5");
        assert!(parse(" \n").unwrap_err().contains("in a few words"));
    }

    #[test]
    fn exit_codes_of_usage_errors_and_help() {
        let code = |argument: &str| {
            report(&CommandLine::parse(["run_record_archiver", argument]).unwrap_err())
        };
        assert_eq!(code("--no-such-flag"), 1);
        assert_eq!(code("--help"), 0);
        assert_eq!(code("-V"), 0);
    }

    #[test]
    fn completions_know_the_flags() {
        let mut script = Vec::new();
        write_completions(Shell::Bash, &mut script).unwrap();
        assert!(
            String::from_utf8(script)
                .unwrap()
                .contains("--retry-failed-migrate")
        );
    }

    #[test]
    fn the_manual_page_has_what_help_says() {
        let mut page = Vec::new();
        write_man_page(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for part in [
            ".TH run_record_archiver 1",
            "\\-\\-retry\\-failed\\-migrate",
            "stopped by Ctrl\\-C",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert_eq!(page.matches("Exit codes:").count(), 1);
        assert!(!page.contains("\\-\\-man"), "{page}");
    }
}
