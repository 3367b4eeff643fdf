//! The end of an execution: what was archived and where, what failed, what was
//! left, and what to run next.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::logging::RULE;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::stage::{Report, Words};

/// How many failed runs are listed with their reasons.
const LISTED_FAILURES: usize = 10;

/// What the stages of one execution did.
#[derive(Debug, Default)]
pub struct Summary {
    stages: Vec<StageSummary>,
    unfinished: BTreeSet<Run>,
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

    /// Each stage with what it did, or why it could not begin.
    pub fn stages(&self) -> impl Iterator<Item = (&'static Words, Result<&Report, &str>)> {
        self.stages
            .iter()
            .map(|stage| (stage.words, stage.result.as_ref().map_err(String::as_str)))
    }

    /// Whether every stage did all it set out to do.
    #[must_use]
    pub fn is_success(&self) -> bool {
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

fn ranges<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    runs.copied().collect::<RunSet>().to_string()
}
