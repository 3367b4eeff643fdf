//! What an execution leaves, for the report: which runs wait, and for what.

use std::collections::BTreeSet;

use super::Plan;
use super::journal::{Failures, Journal};
use crate::reporter::stage_report::StageReport;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// Notes which runs a plan does not take.
pub(super) fn note_plan(report: &mut StageReport, plan: &Plan) {
    report.unmatched.clone_from(&plan.unmatched);
    report.late = plan.late.len();
    report.held_back = plan.held_back.clone();
    report.waiting = plan.waiting.clone();
    report.settling = plan.settling.clone();
    report.pruned = plan.pruned.clone();
    report.ignored = plan.ignored.clone();
    report.below_first = plan.below_first.clone();
    report.left_by_earlier = plan.left.clone();
    report.beyond_limit = usize::try_from(plan.beyond_limit.len()).unwrap_or(usize::MAX);
}

/// Notes of which archived runs artdaqDB lacks something at the end.
pub(super) fn note_records(report: &mut StageReport, journal: &Journal) {
    if report.kind == StageKind::Import {
        let notes = journal.record_notes().into_iter();
        let lacking = notes.filter(|(_, note)| !note.lacks.is_empty());
        let lacking: Vec<_> = lacking.collect();
        let not_added = lacking.iter().filter(|(_, note)| !note.adds);
        report.not_added = not_added.map(|(run, _)| *run).collect();
        report.lacking = lacking
            .into_iter()
            .map(|(run, note)| (run, note.lacks))
            .collect();
    }
}

/// Notes which runs are open at the end. `backlog` are those that the source has
/// and the archive does not have, without those that are not meant to be taken.
pub(super) fn note_rest(
    report: &mut StageReport,
    backlog: &BTreeSet<Run>,
    failures: &Failures,
    source: &BTreeSet<Run>,
) {
    report.backlog = backlog.len();
    report.failures = failures.runs.len();
    let (failed, open): (Vec<Run>, Vec<Run>) =
        backlog.iter().partition(|run| failures.runs.contains(run));
    report.failed_open = failed.into_iter().collect();
    let open: RunSet = open.into_iter().collect();
    report.open = open
        .difference(&report.held_back)
        .difference(&report.waiting)
        .difference(&report.settling);
    report.gone = failures.runs.difference(source).copied().collect();
    report.next_try = report
        .failed_open
        .iter()
        .filter_map(|run| failures.details(run)?.next_try)
        .min();
}
