//! `--check`: whether an execution would find everything that it needs, one line
//! for each thing. It writes nothing, not even a temporary file, and takes no lock.

use std::io::{self, Write};

use crate::artdaqdb::ArtdaqDb;
use crate::config::Config;
use crate::error::{Error, Result, Severity};
use crate::exposure;
use crate::pipeline::{Journal, Store};
use crate::sys::text::one_line;
use crate::ucondb::UconDb;

use remembered::Guards;

mod databases;
mod files;
mod machine;
mod notices;
mod remembered;

/// Checks everything and prints a line for each thing: `✓` for what is well, `!`
/// for what deserves a look, `✗` for what would keep executions from their work.
/// Whether nothing failed.
///
/// # Errors
/// The lines can't be printed.
pub fn run(
    config: Result<Config>,
    open_artdaqdb: impl FnOnce(&Config) -> Result<Box<dyn ArtdaqDb>>,
    try_tools: impl FnOnce(&Config) -> Vec<(&'static str, Result<()>)>,
    open_ucondb: impl Fn(&Config, &str) -> Result<Box<dyn UconDb>>,
    open_journal: impl FnOnce(&Config) -> Result<Journal>,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let mut sheet = Sheet::new(out);
    match config {
        Err(error) => configuration_error(&error, &mut sheet),
        Ok(config) => {
            configuration(&config, &mut sheet);
            files::work_directory(&config.app, &mut sheet);
            for warning in exposure::warnings(&config) {
                sheet.doubt(format!("Rights: {warning}"));
            }
            files::memory(&config.app, &mut sheet);
            let journal = remembered::journal(open_journal(&config), &mut sheet);
            let guards = Guards::new(journal.as_ref());
            let records = files::run_records(&config.source_files.run_records_dir, &mut sheet);
            guards.compare(Store::Records, records.as_ref(), &mut sheet);
            files::schema(&config.artdaq_db.fcl_conf_dir, &mut sheet);
            let archived = databases::artdaqdb(&config, open_artdaqdb(&config), &mut sheet);
            guards.compare(Store::Artdaqdb, archived.as_ref(), &mut sheet);
            if let (Some(journal), Some(records), Some(archived)) = (&journal, records, archived) {
                let first_run = config.source_files.first_run;
                remembered::held_back(journal, first_run, &records, &archived, &mut sheet);
            }
            databases::tools(try_tools(&config), &mut sheet);
            let ucon = &config.ucon_db;
            for folder in [&ucon.folder_name].into_iter().chain(&ucon.pending_folder) {
                let runs = databases::ucondb(&config, open_ucondb(&config, folder), &mut sheet);
                // What is known of UconDB is of the folder of finished runs.
                if *folder == ucon.folder_name {
                    guards.compare(Store::Ucondb, runs.as_ref(), &mut sheet);
                }
            }
            notices::email(&config.reporting.email, &mut sheet);
            notices::slack(&config.reporting.slack, &mut sheet);
            notices::carbon(&config.carbon, &mut sheet);
            if let Some(file) = &config.metrics.prometheus_textfile {
                files::textfile(file, &mut sheet);
            }
            machine::disk_space(&config, &mut sheet);
            machine::clock(&config.app.work_dir, &mut sheet);
            machine::lock(&config.app.lock_file, &mut sheet);
        }
    }
    sheet.finish()
}

fn configuration_error(error: &Error, sheet: &mut Sheet<'_>) {
    match error {
        Error::Config { diagnostics } => {
            for fault in diagnostics {
                sheet.fail(format!("Configuration error: {fault}"));
            }
        }
        error => sheet.fail(format!("Configuration error: {error}")),
    }
}

fn configuration(config: &Config, sheet: &mut Sheet<'_>) {
    let mut is_valid = true;
    for found in &config.warnings {
        match found.severity {
            Severity::Warning => sheet.doubt(format!("Configuration: {found}")),
            Severity::UnknownKey | Severity::Error => {
                is_valid = false;
                sheet.fail(format!("Configuration error: {found}"));
            }
        }
    }
    if is_valid {
        sheet.good(format!("Configuration valid: {}", config.file.display()));
    }
    let fuzz = config.app_fuzz;
    if fuzz.random_skip_percent > 0 || fuzz.random_error_percent > 0 {
        sheet.doubt(
            "Configuration: app_fuzz makes runs fail on purpose: set its percentages to 0 in production",
        );
    }
}

/// The lines as they are printed, and how many of each kind there are.
struct Sheet<'a> {
    out: &'a mut dyn Write,
    good: usize,
    doubtful: usize,
    failed: usize,
    /// Why a line could not be printed.
    broken: Option<io::Error>,
}

impl<'a> Sheet<'a> {
    fn new(out: &'a mut dyn Write) -> Sheet<'a> {
        Sheet {
            out,
            good: 0,
            doubtful: 0,
            failed: 0,
            broken: None,
        }
    }

    /// All is well.
    fn good(&mut self, text: impl AsRef<str>) {
        self.good += 1;
        self.line('✓', text.as_ref());
    }

    /// It deserves a look, and does not keep the archiver from its work.
    fn doubt(&mut self, text: impl AsRef<str>) {
        self.doubtful += 1;
        self.line('!', text.as_ref());
    }

    /// An execution would fail.
    fn fail(&mut self, text: impl AsRef<str>) {
        self.failed += 1;
        self.line('✗', text.as_ref());
    }

    fn line(&mut self, mark: char, text: &str) {
        let text = one_line(text.trim());
        // Each line at once: the next thing may take its time.
        let printed = writeln!(self.out, "{mark} {text}").and_then(|()| self.out.flush());
        if let Err(error) = printed {
            self.broken.get_or_insert(error);
        }
    }

    fn finish(mut self) -> io::Result<bool> {
        let mut end = match self.failed {
            0 => "All is ready".to_owned(),
            count => format!("{count} failed"),
        };
        if self.doubtful > 0 {
            end.push_str(&format!(", {} to look at", self.doubtful));
        }
        end.push_str(&format!(", {} well", self.good));
        let result = writeln!(self.out, "{end}").and_then(|()| self.out.flush());
        match self.broken.take() {
            Some(error) => Err(error),
            None => result.map(|()| self.failed == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line() {
        let mut out = Vec::new();
        let mut sheet = Sheet::new(&mut out);
        sheet.good("one\ntwo");
        sheet.doubt("three\u{1b}[31m");
        assert!(sheet.finish().unwrap());
        let mut sheet = Sheet::new(&mut out);
        sheet.fail("four");
        assert!(!sheet.finish().unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "✓ one two\n! three [31m\nAll is ready, 1 to look at, 1 well\n✗ four\n1 failed, 0 well\n"
        );
    }
}
