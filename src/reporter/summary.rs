//! The end of an execution: what was archived and where, what failed, what was
//! left, and what to run next.

use std::collections::{BTreeMap, BTreeSet};

use super::stage_report::{Ending, FailedRun, StageReport};
use super::text::local;
use super::verification;
use crate::error::Error;
use crate::logging::RULE;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::verify;

/// How many failed runs are listed with their reasons.
pub const LISTED_FAILURES: usize = 10;

/// What the stages of one execution did.
#[derive(Debug, Default)]
pub struct Summary {
    stages: Vec<StageReport>,
    aborted: Option<String>,
    /// Runs of artdaqDB that are not known to be in UconDB, where the migrate stage
    /// was not run.
    unmigrated: RunSet,
    verification: Option<verify::Report>,
}

impl Summary {
    /// Returns the summary of an execution that ended before its stages did, and why.
    #[must_use]
    pub fn of_aborted(reason: String) -> Summary {
        Summary {
            aborted: Some(reason),
            ..Summary::default()
        }
    }

    /// Why the execution ended before its stages did, if it so ended.
    #[must_use]
    pub fn aborted(&self) -> Option<&str> {
        self.aborted.as_deref()
    }

    /// The stages, in the order in which they ran.
    #[must_use]
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// What a stage did, if it ran.
    #[must_use]
    pub fn stage(&self, kind: StageKind) -> Option<&StageReport> {
        self.stages.iter().find(|report| report.kind == kind)
    }

    /// Adds what a stage did.
    pub fn add(&mut self, report: StageReport) {
        self.stages.push(report);
    }

    /// The runs archived by the stages so far, or that a dry run would have archived.
    #[must_use]
    pub fn archived(&self) -> BTreeSet<Run> {
        self.stages
            .iter()
            .flat_map(|report| report.archived.union(&report.planned))
            .copied()
            .collect()
    }

    /// Notes which runs of artdaqDB are not known to be in UconDB.
    pub fn note_unmigrated(&mut self, runs: RunSet) {
        self.unmigrated = runs;
    }

    /// The numbers and ranges asked for that match no run of any stage that was
    /// run.
    #[must_use]
    pub fn unmatched(&self) -> Vec<&str> {
        let Some((first, others)) = self.stages.split_first() else {
            return Vec::new();
        };
        let is_nowhere = |item: &&String| {
            let mut others = others.iter();
            others.all(|report| !report.has_begun() || report.unmatched.contains(item))
        };
        let items = first.unmatched.iter().filter(is_nowhere);
        items.map(String::as_str).collect()
    }

    /// Where the numbers that were asked for were looked for.
    fn searched(&self) -> &'static str {
        match self.stages.first() {
            Some(report) if report.is_retry => "in the failure log",
            _ => "as a record or in a database",
        }
    }

    /// Adds what a verification found.
    pub fn add_verification(&mut self, report: verify::Report) {
        self.verification = Some(report);
    }

    /// Whether every stage did all it set out to do, and no difference was found.
    #[must_use]
    pub fn is_success(&self) -> bool {
        if self.aborted.is_some() {
            return false;
        }
        if self
            .verification
            .as_ref()
            .is_some_and(|report| !report.is_success())
        {
            return false;
        }
        self.unmatched().is_empty() && self.stages.iter().all(StageReport::is_success)
    }

    /// Whether a run failed in a way that this program should rule out.
    #[must_use]
    pub fn has_unexpected(&self) -> bool {
        self.stages.iter().any(|report| report.unexpected)
    }

    /// Logs the summary. `command` is the command line without flags, for the
    /// commands to run next.
    pub fn log(&self, command: &str) {
        if let Some(report) = &self.verification {
            verification::log_summary(report, command);
        }
        if self.stages.is_empty() {
            return;
        }
        log::info!("{RULE}");
        log::info!("EXECUTION SUMMARY");
        for report in &self.stages {
            log_stage(report);
        }
        for item in self.unmatched() {
            log::error!("  --runs {item}: there is no such run {}", self.searched());
        }
        let unfinished = self.stages.iter().flat_map(|it| &it.without_stop_time);
        let unfinished: BTreeSet<&Run> = unfinished.collect();
        if !unfinished.is_empty() {
            log::info!(
                "  Without stop time: {} run(s) ({}): still going, or never ended properly",
                unfinished.len(),
                ranges(unfinished.into_iter())
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

    /// What the operator does next, computed from what is so at the end. `command`
    /// is the command line without flags.
    #[must_use]
    pub fn next(&self, command: &str) -> Vec<String> {
        let mut steps = Vec::new();
        for report in &self.stages {
            next_of_stage(report, command, &mut steps);
        }
        if !self.unmigrated.is_empty() && self.stage(StageKind::Migrate).is_none() {
            steps.push(format!(
                "{command} --migrate-only ({} run(s) are in artdaqDB and not known to be in UconDB)",
                self.unmigrated.len()
            ));
        }
        steps
    }
}

/// Adds what the operator does next about one stage.
fn next_of_stage(report: &StageReport, command: &str, steps: &mut Vec<String>) {
    let title = report.kind.title();
    let verb = report.kind.verb();
    match &report.ending {
        // It says itself what to do.
        Ending::NotBegun(Error::Vanished { .. }) => {
            steps.push(format!(
                "mount or restore what the {title} found empty, then run the same command again"
            ));
            return;
        }
        Ending::NotBegun(_) => {
            steps.push(format!(
                "put right what the {title} needs, then run the same command again"
            ));
            return;
        }
        Ending::Stopped(_) => steps.push(format!(
            "put right what stopped the {title}, then run the same command again"
        )),
        Ending::Finished => {}
    }
    for store in &report.doubtful {
        steps.push(format!(
            "see whether {store} is the real one: it has none of its known runs, see the warning \
             above"
        ));
    }
    if !report.planned.is_empty() {
        steps.push(format!(
            "run the same command without --dry-run ({} run(s) to {verb})",
            report.planned.len()
        ));
    }
    if !report.conflicts.is_empty() {
        let runs = report.conflicts.argument();
        steps.push(format!(
            "{command} --verify --runs {runs} (what differs from UconDB's record), and if artdaqDB is \
             right, {command} --migrate-only --override-existing --runs {runs}"
        ));
    }
    let to_retry = report.failed_open.difference(&report.conflicts);
    if !to_retry.is_empty() {
        let by_itself = match report.next_try {
            Some(time) => format!(
                "; --incremental tries again by itself what may pass, from {} on",
                local(time)
            ),
            None => String::new(),
        };
        steps.push(format!(
            "{command} {} (takes the {} run(s) of its failure log{by_itself})",
            report.kind.retry_flag(),
            to_retry.len()
        ));
    }
    if !report.gone.is_empty() {
        steps.push(format!(
            "{command} --ignore {} --reason TEXT (if the source of these failed runs is gone for \
             good)",
            report.gone.argument()
        ));
    }
    if !report.held_back.is_empty() {
        let runs = report.held_back.argument();
        steps.push(format!(
            "{command} --runs {runs} (if these numbers are runs), or {command} --ignore {runs} \
             --reason TEXT (if they are not)"
        ));
    }
    if !report.left_by_earlier.is_empty() {
        steps.push(format!(
            "{command} --runs {} (takes the {} run(s) that an earlier archiver left)",
            report.left_by_earlier.argument(),
            report.left_by_earlier.len()
        ));
    }
    let changed: RunSet = report.changed_records.keys().copied().collect();
    let to_store = changed.union(&report.not_added);
    if !to_store.is_empty() {
        steps.push(format!(
            "{command} --reimport {} --dry-run (says what storing these {} record(s) anew would \
             change; without --dry-run it does so)",
            to_store.argument(),
            to_store.len()
        ));
    }
    if let (false, Some(time)) = (report.settling.is_empty(), report.settled_from) {
        steps.push(format!(
            "run the same command again from {} on ({} run(s) were written to a moment ago and may \
             not be whole)",
            local(time),
            report.settling.len()
        ));
    }
    let is_stopped = matches!(report.ending, Ending::Stopped(_));
    if !report.open.is_empty() && !is_stopped && report.planned.is_empty() {
        steps.push(format!(
            "{command} --incremental ({} run(s) still to {verb})",
            report.open.len()
        ));
    }
}

fn log_stage(report: &StageReport) {
    let (title, done) = (report.kind.title(), report.kind.done());
    let destination = &report.destination;
    if let Ending::NotBegun(error) = &report.ending {
        log::error!("  {title}: did not begin: {error}");
        return;
    }
    match (report.archived.len(), report.updated.len()) {
        (0, _) if !report.planned.is_empty() => log::info!(
            "  {title}: {} run(s) would be {done} in {destination}: {}",
            report.planned.len(),
            ranges(report.planned.iter())
        ),
        (0, 0) => log::info!("  {title}: nothing {done} in {destination}"),
        (0, _) => {}
        (count, _) => log::info!(
            "  {title}: {count} run(s) {done} in {destination}: {}",
            ranges(report.archived.iter())
        ),
    }
    if !report.updated.is_empty() {
        log::info!(
            "  {title}: {} archived run(s) brought up to date in {destination}: {}",
            report.updated.len(),
            ranges(report.updated.iter())
        );
    }
    let (news, again): (Vec<&FailedRun>, Vec<&FailedRun>) =
        report.failed.iter().partition(|failed| failed.is_news);
    if !news.is_empty() {
        log::error!(
            "  {title}: {} run(s) failed and are in the failure log:",
            news.len()
        );
        list_failed(&news);
    }
    if !again.is_empty() {
        log::warn!(
            "  {title}: {} run(s) failed again, for the same reason as before, and stay in the \
             failure log: {}",
            again.len(),
            ranges(again.iter().map(|failed| &failed.run))
        );
    }
    if !report.not_updated.is_empty() {
        log::error!(
            "  {title}: {} archived run(s) could not be brought up to date; the next execution \
             tries again:",
            report.not_updated.len()
        );
        list_failed(&report.not_updated.iter().collect::<Vec<_>>());
    }
    if !report.held_back.is_empty() {
        log::error!(
            "  {title}: {} run(s) are held back, more than 100,000 above the highest archived run: \
             {}",
            report.held_back.len(),
            report.held_back
        );
    }
    if !report.unarchived.is_empty() && matches!(report.ending, Ending::Finished) {
        log::error!(
            "  {title}: {} of the selected runs are not {done}: {}",
            report.unarchived.len(),
            report.unarchived
        );
    }
    let lists = [
        (&report.settling, "still being written"),
        (&report.left_by_earlier, "were left by an earlier archiver"),
        (
            &report.waiting,
            "came late, and wait until UconDB can be asked",
        ),
        (&report.ignored, "are ignored, as declared with --ignore"),
        (&report.below_first, "are below source_files.first_run"),
    ];
    for (runs, what) in lists {
        if !runs.is_empty() {
            log::info!("  {title}: {} run(s) {what}: {runs}", runs.len());
        }
    }
    if !report.incomplete.is_empty() {
        log::warn!(
            "  {title}: {} incomplete record(s), archived without what they lack: {}",
            report.incomplete.len(),
            ranges(report.incomplete.iter())
        );
    }
    list_files(
        &report.changed_records,
        &format!("{title}: the records of these archived runs are others than were archived"),
    );
    list_files(
        &report.lacking,
        &format!("{title}: artdaqDB lacks what the records of these runs have"),
    );
    if !report.never_settled.is_empty() {
        log::warn!(
            "  {title}: {} run(s) were still being written a day after they were first seen: {}",
            report.never_settled.len(),
            report.never_settled
        );
    }
    if report.untried > 0 {
        log::info!(
            "  {title}: {} failed run(s) were due, and are tried by the next execution",
            report.untried
        );
    }
    if let Ending::Stopped(error) = &report.ending {
        log::error!(
            "  {title}: stopped before {} run(s) were done; they are neither failed nor attempted: {error}",
            report.left
        );
    } else if report.left > 0 {
        log::warn!(
            "  {title}: {} run(s) were left because of the shutdown",
            report.left
        );
    }
}

/// Logs the first of some runs with files of their records, and the numbers of all
/// others.
fn list_files(runs: &BTreeMap<Run, Vec<String>>, what: &str) {
    if runs.is_empty() {
        return;
    }
    log::warn!("  {what}:");
    for (run, files) in runs.iter().take(LISTED_FAILURES) {
        log::warn!("    {run}: {}", files.join(", "));
    }
    if runs.len() > LISTED_FAILURES {
        log::warn!(
            "    and {} more: {}",
            runs.len() - LISTED_FAILURES,
            ranges(runs.keys().skip(LISTED_FAILURES))
        );
    }
}

/// Logs the first of some failed runs with their reasons, and the numbers of all others.
fn list_failed(failed: &[&FailedRun]) {
    for FailedRun { run, reason, .. } in failed.iter().take(LISTED_FAILURES) {
        log::error!("    {run}: {}", reason.lines().next().unwrap_or_default());
    }
    let others = failed.get(LISTED_FAILURES..).unwrap_or_default();
    if !others.is_empty() {
        log::error!(
            "    and {} more: {}",
            others.len(),
            ranges(others.iter().map(|failed| &failed.run))
        );
    }
}

/// Runs as ranges: `12500-12510, 12600`.
pub(crate) fn ranges<'a>(runs: impl Iterator<Item = &'a Run>) -> String {
    runs.copied().collect::<RunSet>().to_string()
}
