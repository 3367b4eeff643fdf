//! The status report for programs. `docs/status-report.md` has the schema; keys
//! are added to it, never renamed or removed, while [`SCHEMA`] stays the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::backlog::{Backlog, Declaration, Failure};
use super::history::Execution;
use super::proof::ProofView;
use super::records::{Concern, RecordFindings};
use super::{Comparison, Kind, Memory, Recommendation, Source, Status};
use crate::error::{Error, Result};
use crate::run::Run;
use crate::run_set::RunSet;

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// The report in one line, and a newline at its end.
///
/// # Errors
/// None that this program does not rule out.
pub fn render(status: &Status) -> Result<String> {
    let recommendations = status.recommendations();
    let report = Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        generated: status.generated.timestamp(),
        complete: status.is_complete(),
        problems: status.problems(),
        sources: Sources {
            filesystem: SourceView::new(&status.filesystem, None, None),
            artdaqdb: SourceView::new(
                &status.artdaqdb,
                Some(&status.filesystem),
                Some(&status.partial),
            ),
            ucondb: SourceView::new(&status.ucondb, Some(&status.artdaqdb), None),
        },
        to_import: status.to_import().as_ref().map(Runs::of),
        to_migrate: status.to_migrate().as_ref().map(Runs::of),
        waiting: status.waiting().as_ref().map(Runs::of),
        nowhere: status.nowhere().as_ref().map(Runs::of),
        failed_in_all_stages: status.failed_in_all_stages().as_ref().map(Runs::of),
        no_record: status.no_record().as_ref().map(Runs::of),
        ignored: status
            .ignored
            .as_ref()
            .ok()
            .map(|all| all.iter().map(IgnoredView::of).collect()),
        records: RecordsView::of(&status.records),
        verification: ProofView::of(status).map(|proof| Verification {
            finished: proof.finished,
            not_compared: Runs::of(&proof.not_compared),
            not_well: Runs::of(proof.not_well),
            findings: proof.findings,
        }),
        stages: Stages {
            import: StageView::new(&status.import, status.import_comparison()),
            migrate: StageView::new(&status.migrate, status.migrate_comparison()),
        },
        recommendations: recommendations.iter().map(Advice::of).collect(),
        executions: &status.executions,
    };
    let mut text = serde_json::to_string(&report)
        .map_err(|error| Error::Unexpected(format!("the status as JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    version: &'static str,
    generated: Timestamp,
    complete: bool,
    problems: Vec<String>,
    sources: Sources<'a>,
    to_import: Option<Runs>,
    to_migrate: Option<Runs>,
    waiting: Option<Runs>,
    nowhere: Option<Runs>,
    failed_in_all_stages: Option<Runs>,
    no_record: Option<Runs>,
    ignored: Option<Vec<IgnoredView<'a>>>,
    records: RecordsView<'a>,
    verification: Option<Verification<'a>>,
    stages: Stages<'a>,
    recommendations: Vec<Advice<'a>>,
    executions: &'a [Execution],
}

/// What is known of whether the archived runs are right.
#[derive(Serialize)]
struct Verification<'a> {
    finished: Option<Timestamp>,
    not_compared: Runs,
    not_well: Runs,
    findings: &'a BTreeMap<u64, String>,
}

#[derive(Serialize)]
struct Sources<'a> {
    filesystem: SourceView<'a>,
    artdaqdb: SourceView<'a>,
    ucondb: SourceView<'a>,
}

#[derive(Serialize)]
struct SourceView<'a> {
    location: String,
    reached: bool,
    error: Option<&'a str>,
    /// `null` where the source was not reached.
    runs: Option<Runs>,
    range: Option<[u64; 2]>,
    gaps: Option<Runs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<Runs>,
}

impl<'a> SourceView<'a> {
    fn new(
        source: &'a Source,
        before: Option<&Source>,
        partial: Option<&RunSet>,
    ) -> SourceView<'a> {
        let location: Vec<&str> = source.location.iter().map(|(_, at)| at.as_str()).collect();
        SourceView {
            location: location.join(" "),
            reached: source.runs.is_ok(),
            error: source.runs.as_ref().err().map(String::as_str),
            runs: source.known().map(Runs::of),
            range: pair(source.range(before)),
            gaps: source.known().map(|_| Runs::of(&source.gaps(before))),
            partial: partial.map(Runs::of),
        }
    }
}

#[derive(Serialize)]
struct Stages<'a> {
    import: StageView<'a>,
    migrate: StageView<'a>,
}

#[derive(Serialize)]
struct StageView<'a> {
    state_file: String,
    failure_log: String,
    /// Whether there is a state file that could be read.
    has_state: bool,
    last_contiguous_run: Option<u64>,
    last_attempted_run: Option<u64>,
    failures: Option<Runs>,
    errors: Vec<&'a str>,
    expected: Option<[u64; 2]>,
    missing: Option<Runs>,
    new: Option<Runs>,
    failed_runs: Vec<FailureView<'a>>,
    backlog: Option<BacklogView>,
}

#[derive(Serialize)]
struct IgnoredView<'a> {
    runs: Runs,
    reason: &'a str,
    user: &'a str,
    date: Timestamp,
}

impl<'a> IgnoredView<'a> {
    fn of(declaration: &'a Declaration) -> IgnoredView<'a> {
        IgnoredView {
            runs: Runs::of(&declaration.runs),
            reason: &declaration.reason,
            user: &declaration.user,
            date: declaration.date,
        }
    }
}

/// Records of archived runs that need a look.
#[derive(Serialize)]
struct RecordsView<'a> {
    incomplete: Vec<ConcernView<'a>>,
    lacking: Vec<ConcernView<'a>>,
    changed: Vec<ConcernView<'a>>,
}

impl<'a> RecordsView<'a> {
    fn of(records: &'a RecordFindings) -> RecordsView<'a> {
        let all = |concerns: &'a [Concern]| concerns.iter().map(ConcernView::of).collect();
        RecordsView {
            incomplete: all(&records.incomplete),
            lacking: all(&records.lacking),
            changed: all(&records.changed),
        }
    }
}

#[derive(Serialize)]
struct ConcernView<'a> {
    runs: Runs,
    files: &'a [String],
}

impl<'a> ConcernView<'a> {
    fn of(concern: &'a Concern) -> ConcernView<'a> {
        ConcernView {
            runs: Runs::of(&concern.runs),
            files: &concern.files,
        }
    }
}

#[derive(Serialize)]
struct FailureView<'a> {
    run: u64,
    class: &'static str,
    reason: Option<&'a str>,
    since: Option<Timestamp>,
    last: Option<Timestamp>,
    attempts: Option<u32>,
    next_try: Option<Timestamp>,
}

impl<'a> FailureView<'a> {
    fn of(failure: &'a Failure) -> FailureView<'a> {
        let details = failure.details.as_ref();
        FailureView {
            run: failure.run.0,
            class: failure.class(),
            reason: details.map(|details| details.reason.as_str()),
            since: details.map(|details| details.since),
            last: details.map(|details| details.last),
            attempts: details.map(|details| details.attempts),
            next_try: details.and_then(|details| details.next_try),
        }
    }
}

/// The runs of the source that are not archived, each in one set.
#[derive(Serialize)]
struct BacklogView {
    new: Runs,
    failed: Runs,
    failed_without_source: Runs,
    held_back: Runs,
    waiting: Runs,
    settling: Runs,
    pruned: Runs,
    left_by_earlier: Runs,
    below_first_run: Runs,
    ignored: Runs,
}

impl BacklogView {
    fn of(backlog: &Backlog) -> BacklogView {
        BacklogView {
            new: Runs::of(&backlog.new),
            failed: Runs::of(&backlog.failed),
            failed_without_source: Runs::of(&backlog.gone),
            held_back: Runs::of(&backlog.held_back),
            waiting: Runs::of(&backlog.waiting),
            settling: Runs::of(&backlog.settling),
            pruned: Runs::of(&backlog.pruned),
            left_by_earlier: Runs::of(&backlog.left),
            below_first_run: Runs::of(&backlog.below_first),
            ignored: Runs::of(&backlog.ignored),
        }
    }
}

impl<'a> StageView<'a> {
    fn new(memory: &'a Memory, comparison: Option<Comparison>) -> StageView<'a> {
        let state = memory.state.as_ref().ok().and_then(Option::as_ref);
        let number = |run: Option<Run>| run.map(|run| run.0);
        let errors = [memory.state.as_ref().err(), memory.failures.as_ref().err()];
        StageView {
            state_file: memory.state_file.display().to_string(),
            failure_log: memory.failure_log.display().to_string(),
            has_state: state.is_some(),
            last_contiguous_run: number(state.and_then(|state| state.last_contiguous_run)),
            last_attempted_run: number(state.and_then(|state| state.last_attempted_run)),
            failures: memory.failures.as_ref().ok().map(Runs::of),
            errors: errors.into_iter().flatten().map(String::as_str).collect(),
            expected: pair(comparison.as_ref().and_then(|found| found.expected)),
            missing: comparison.as_ref().map(|found| Runs::of(&found.missing)),
            new: comparison.as_ref().map(|found| Runs::of(&found.new)),
            failed_runs: memory.failed.iter().map(FailureView::of).collect(),
            backlog: memory.backlog.as_ref().map(BacklogView::of),
        }
    }
}

#[derive(Serialize)]
struct Advice<'a> {
    kind: Kind,
    runs: Runs,
    text: &'a str,
    commands: &'a [String],
}

impl<'a> Advice<'a> {
    fn of(recommendation: &'a Recommendation) -> Advice<'a> {
        Advice {
            kind: recommendation.kind,
            runs: Runs::of(&recommendation.runs),
            text: &recommendation.text,
            commands: &recommendation.commands,
        }
    }
}

/// A set of runs, whole: `[[12000, 12100], [12102, 12102]]`, both ends included.
#[derive(Serialize)]
struct Runs {
    count: u64,
    ranges: Vec<[u64; 2]>,
}

impl Runs {
    fn of(runs: &RunSet) -> Runs {
        Runs {
            count: runs.len(),
            ranges: runs
                .ranges()
                .map(|range| [range.start().0, range.end().0])
                .collect(),
        }
    }
}

fn pair(range: Option<(Run, Run)>) -> Option<[u64; 2]> {
    range.map(|(first, last)| [first.0, last.0])
}
