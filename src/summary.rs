//! The end of an execution: what was archived and where, what failed, what was
//! left, and what to run next.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::logging::RULE;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::stage::{Report, Words};
use crate::verify::{self, Finding};

/// How many failed runs are listed with their reasons.
const LISTED_FAILURES: usize = 10;

/// What the stages of one execution did.
#[derive(Debug, Default)]
pub struct Summary {
    stages: Vec<StageSummary>,
    unfinished: BTreeSet<Run>,
    verification: Option<verify::Report>,
}

#[derive(Debug)]
struct StageSummary {
    words: &'static Words,
    destination: String,
    /// The report, or why the stage could not begin.
    result: std::result::Result<Report, String>,
}

impl Summary {
    /// Adds what a stage did, or why it could not begin.
    pub fn add(&mut self, words: &'static Words, destination: &str, result: Result<Report>) {
        let result = result.map_err(|error| {
            log::error!(target: words.target, "{} did not begin: {}: {error}", words.title, error.class());
            error.to_string()
        });
        self.stages.push(StageSummary {
            words,
            destination: destination.to_owned(),
            result,
        });
    }

    /// Adds runs that were archived without a stop time.
    pub fn add_unfinished(&mut self, runs: &BTreeSet<Run>) {
        self.unfinished.extend(runs);
    }

    /// The runs archived by the stages so far, or that a dry run would have archived.
    #[must_use]
    pub fn archived(&self) -> BTreeSet<Run> {
        let reports = self
            .stages
            .iter()
            .filter_map(|stage| stage.result.as_ref().ok());
        reports
            .flat_map(|report| report.archived.union(&report.planned))
            .copied()
            .collect()
    }

    /// Adds what a verification found.
    pub fn add_verification(&mut self, report: verify::Report) {
        self.verification = Some(report);
    }

    /// Whether every stage did all it set out to do, and no difference was found.
    #[must_use]
    pub fn is_success(&self) -> bool {
        if self
            .verification
            .as_ref()
            .is_some_and(|report| !report.findings.is_empty())
        {
            return false;
        }
        self.stages
            .iter()
            .all(|stage| stage.result.as_ref().is_ok_and(Report::is_success))
    }

    /// Whether a run failed in a way that this program should rule out.
    #[must_use]
    pub fn has_unexpected(&self) -> bool {
        self.stages
            .iter()
            .any(|stage| stage.result.as_ref().is_ok_and(|report| report.unexpected))
    }

    /// Logs the summary. `command` is the command line without flags, for the
    /// commands to run next.
    pub fn log(&self, command: &str) {
        if let Some(report) = &self.verification {
            log_verification(report, command);
        }
        if self.stages.is_empty() {
            return;
        }
        log::info!("{RULE}");
        log::info!("EXECUTION SUMMARY");
        for stage in &self.stages {
            stage.log();
        }
        if !self.unfinished.is_empty() {
            log::info!(
                "  Without stop time: {} run(s) ({}): still going, or never ended properly",
                self.unfinished.len(),
                ranges(self.unfinished.iter())
            );
        }
        let next = self.next(command);
        if next.is_empty() {
            log::info!("  Next: nothing to do until there are new runs");
        }
        for step in next {
            log::info!("  Next: {step}");
        }
        log::info!("{RULE}");
    }

    /// What the operator does next.
    fn next(&self, command: &str) -> Vec<String> {
        let mut steps = Vec::new();
        for StageSummary { words, result, .. } in &self.stages {
            match result {
                Err(_) => steps.push(format!(
                    "put right what the {} needs, then run the same command again",
                    words.title
                )),
                Ok(report) => {
                    if report.stopped.is_some() {
                        steps.push(format!(
                            "put right what stopped the {}, then run the same command again",
                            words.title
                        ));
                    }
                    if report.failures > 0 {
                        steps.push(format!(
                            "{command} {} (takes the {} run(s) of its failure log)",
                            words.retry_flag, report.failures
                        ));
                    }
                    if report.stopped.is_none() && (report.beyond_limit > 0 || report.left > 0) {
                        steps.push(format!(
                            "run the same command again ({} run(s) still to {})",
                            report.beyond_limit + report.left,
                            words.verb
                        ));
                    }
                }
            }
        }
        steps
    }
}

impl StageSummary {
    fn log(&self) {
        let StageSummary {
            words,
            destination,
            result,
        } = self;
        let report = match result {
            Ok(report) => report,
            Err(reason) => {
                log::error!("  {}: did not begin: {reason}", words.title);
                return;
            }
        };
        match report.archived.len() {
            0 if !report.planned.is_empty() => log::info!(
                "  {}: {} run(s) would be {} in {destination}: {}",
                words.title,
                report.planned.len(),
                words.done,
                ranges(report.planned.iter())
            ),
            0 => log::info!("  {}: nothing {} in {destination}", words.title, words.done),
            count => log::info!(
                "  {}: {count} run(s) {} in {destination}: {}",
                words.title,
                words.done,
                ranges(report.archived.iter())
            ),
        }
        if !report.failed.is_empty() {
            log::error!(
                "  {}: {} run(s) failed and are in the failure log:",
                words.title,
                report.failed.len()
            );
            for (run, reason) in report.failed.iter().take(LISTED_FAILURES) {
                log::error!("    {run}: {}", reason.lines().next().unwrap_or_default());
            }
            if report.failed.len() > LISTED_FAILURES {
                log::error!(
                    "    and {} more: {}",
                    report.failed.len() - LISTED_FAILURES,
                    ranges(
                        report
                            .failed
                            .iter()
                            .skip(LISTED_FAILURES)
                            .map(|(run, _)| run)
                    )
                );
            }
        }
        if let Some(error) = &report.stopped {
            log::error!(
                "  {}: stopped before {} run(s) were done; they are neither failed nor attempted: {error}",
                words.title,
                report.left
            );
        } else if report.left > 0 {
            log::warn!(
                "  {}: {} run(s) were left because of the shutdown",
                words.title,
                report.left
            );
        }
    }
}

fn log_verification(report: &verify::Report, command: &str) {
    let with = |wanted: fn(&Finding) -> bool| -> Vec<&Run> {
        let found = report
            .findings
            .iter()
            .filter(|(_, finding)| wanted(finding));
        found.map(|(run, _)| run).collect()
    };
    log::info!("{RULE}");
    log::info!("VERIFICATION SUMMARY");
    log::info!("  Same in artdaqDB and UconDB: {} run(s)", report.same);
    let lines: [(&str, Vec<&Run>, &str); 5] = [
        (
            "Differ",
            with(|finding| matches!(finding, Finding::Differs(_))),
            "compare them above before you decide which is right",
        ),
        (
            "Only in artdaqDB",
            with(|finding| *finding == Finding::OnlyInArtdaqDb),
            "--migrate-only",
        ),
        (
            "Only in UconDB",
            with(|finding| *finding == Finding::OnlyInUconDb),
            "restore artdaqDB from a backup, or import their run records again",
        ),
        (
            "In artdaqDB in part only",
            with(|finding| *finding == Finding::Partial),
            "--import-only",
        ),
        (
            "Can't be compared",
            with(|finding| matches!(finding, Finding::Unreadable(_))),
            "see the reasons above",
        ),
    ];
    for (title, runs, next) in lines {
        if !runs.is_empty() {
            log::error!(
                "  {title}: {} run(s): {}. Next: {next}",
                runs.len(),
                ranges(runs.into_iter())
            );
        }
    }
    if report.left > 0 {
        log::info!(
            "  Not looked at: {} run(s). Go on with {command} --verify --incremental",
            report.left
        );
    }
    log::info!("{RULE}");
}

fn ranges<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    runs.copied().collect::<RunSet>().to_string()
}
