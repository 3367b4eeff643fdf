//! The status report as one web page that stands alone: no script, no other
//! file, pictures drawn within it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::backlog::{Declaration, Failure};
use super::history::Execution;
use super::proof::ProofView;
use super::records::RecordFindings;
use super::strip::{self, Class, Classes};
use super::text::{listed_up_to, local, nothing_to_do, run_or_none};
use super::{Comparison, Kind, Memory, Recommendation, Source, Status};
use crate::run::Run;
use crate::run_set::RunSet;

/// How many ranges of runs are written out.
const RANGES: usize = 100;

/// How many failed runs the table shows.
const FAILURES: usize = 100;

/// How many groups of records with the same fault the table shows.
const CONCERNS: usize = 100;

/// How many characters of a reason are shown.
const LONGEST_TEXT: usize = 500;

/// How many executions the table shows.
const TABLE: usize = 20;

/// How many findings of verifications are shown.
const FINDINGS: usize = 50;

/// The height of a picture in its own units; its width is 1000.
const HEIGHT: f64 = 100.0;

/// The page.
#[must_use]
pub fn render(status: &Status) -> String {
    let recommendations = status.recommendations();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "Run Record Archiver: status" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main {
                    h1 { "Run Record Archiver" }
                    p.soft { "As of " (status.generated.strftime("%A, %d %B %Y, %H:%M:%S %Z")) }
                    (verdict(status, &recommendations))
                    (coverage(status))
                    (advice(status, &recommendations))
                    (not_archived(status))
                    (records(&status.records))
                    (verification(status))
                    (executions(&status.executions))
                    (details(status))
                    @if status.compare { (states(status)) }
                    p.soft { "run_record_archiver " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    };
    page.into_string()
}

/// The report in one sentence.
fn verdict(status: &Status, recommendations: &[Recommendation]) -> Markup {
    let count = |kind: Kind| {
        let found = recommendations.iter().find(|found| found.kind == kind);
        found.map_or(0, |found| found.runs.len())
    };
    let (import, migrate) = (count(Kind::RunImporter), count(Kind::RunMigrator));
    let held_back = count(Kind::HeldBack);
    let to_store = count(Kind::Reimport);
    let failed = status.import.failed().len() + status.migrate.failed().len();
    let unreached: Vec<&str> = status
        .sources()
        .iter()
        .filter(|(source, _)| source.runs.is_err())
        .map(|(source, _)| source.name)
        .collect();
    let (class, sentence) = if !unreached.is_empty() {
        ("bad", format!("✗ Not reached: {}", unreached.join(", ")))
    } else if !status.is_complete() {
        (
            "bad",
            "✗ A state file or failure log can't be read".to_owned(),
        )
    } else if import + migrate + failed + held_back + to_store > 0 {
        let parts = [
            (import, "to import"),
            (migrate, "to migrate"),
            (failed, "in the failure logs"),
            (held_back, "held back"),
            (to_store, "whose record is another one by now"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        ("warn", format!("Runs: {}", parts.join(", ")))
    } else {
        ("good", "✓ Every run on filesystem is archived".to_owned())
    };
    html! { p.verdict.(class) { (sentence) } }
}

fn coverage(status: &Status) -> Markup {
    let range = status.range();
    let titles = [
        ("Filesystem", "source", filesystem_classes(status)),
        ("artdaqDB", "intermediate storage", artdaqdb_classes(status)),
        ("UconDB", "long-term storage", ucondb_classes(status)),
    ];
    html! {
        section {
            h2 { "Coverage" }
            ul.legend {
                @for class in Class::ALL {
                    li { span.key.(class.name()) {} (class.name()) }
                }
            }
            @for ((title, role, classes), (source, _)) in titles.iter().zip(status.sources()) {
                figure {
                    figcaption {
                        h3 { (title) " " span.soft { (role) } }
                        @match source.known() {
                            Some(runs) => span { (grouped(runs.len())) " runs" },
                            None => span.bad { "not reached" },
                        }
                    }
                    @if let (Some((first, last)), Some(classes)) = (range, classes) {
                        (picture(title, classes, first, last))
                        div.axis { span { (first) } span { (last) } }
                    } @else if let Err(error) = &source.runs {
                        p.bad { (error) }
                    } @else {
                        p.soft { "no runs" }
                    }
                }
            }
        }
    }
}

/// What the filesystem lacks may be archived and cleared away.
fn filesystem_classes(status: &Status) -> Option<Classes> {
    let own = status.filesystem.known()?.clone();
    Some(complete(status, own, RunSet::default(), RunSet::default()))
}

fn artdaqdb_classes(status: &Status) -> Option<Classes> {
    let own = status.artdaqdb.known()?.clone();
    let before = status.filesystem.known().cloned().unwrap_or_default();
    let before = before.union(&status.partial);
    Some(complete(status, own, status.import.failed(), before))
}

fn ucondb_classes(status: &Status) -> Option<Classes> {
    let own = status.ucondb.known()?.clone();
    let artdaqdb = status.artdaqdb.known().cloned().unwrap_or_default();
    let not_imported = status.import.failed().difference(&artdaqdb);
    let failed = status.migrate.failed().union(&not_imported);
    let before = status.filesystem.known().cloned().unwrap_or_default();
    Some(complete(status, own, failed, before.union(&artdaqdb)))
}

/// Each number of the range in one class.
fn complete(status: &Status, own: RunSet, failed: RunSet, before: RunSet) -> Classes {
    let range = status.range();
    let range = range.map_or_else(RunSet::default, |(first, last)| {
        RunSet::all_of(first..=last)
    });
    let failed = failed.difference(&own);
    let pending = before.difference(&own).difference(&failed);
    let missing = range
        .difference(&own)
        .difference(&pending)
        .difference(&failed);
    [own, pending, missing, failed]
}

fn picture(title: &str, classes: &Classes, first: Run, last: Run) -> Markup {
    let label = format!("{title}: {}", counted(classes.each_ref().map(RunSet::len)));
    html! {
        svg viewBox=(format!("0 0 1000 {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label=(label) shape-rendering="crispEdges" {
            @for column in strip::columns(classes, first, last) {
                g {
                    title { (span_of(column.first, column.last)) ": " (counted(column.counts)) }
                    @for (class, from, height) in stacked(column.heights) {
                        rect.(class.name()) x=(round(column.x * 1000.0))
                            y=(round((1.0 - from - height) * HEIGHT))
                            width=(round(column.width * 1000.0)) height=(round(height * HEIGHT)) {}
                    }
                }
            }
        }
    }
}

/// The classes that are drawn, from where and how high.
fn stacked(heights: [f64; 4]) -> Vec<(Class, f64, f64)> {
    let mut from = 0.0;
    let mut parts = Vec::new();
    for (class, height) in Class::ALL.into_iter().zip(heights) {
        if height > 0.0 {
            parts.push((class, from, height));
            from += height;
        }
    }
    parts
}

fn counted(counts: [u64; 4]) -> String {
    let parts: Vec<String> = Class::ALL
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{} {}", grouped(count), class.name()))
        .collect();
    parts.join(", ")
}

fn advice(status: &Status, recommendations: &[Recommendation]) -> Markup {
    html! {
        section {
            h2 { "What to do" }
            @if recommendations.is_empty() {
                p.good { (nothing_to_do(status)) "." }
            } @else {
                ol {
                    @for recommendation in recommendations {
                        @let urgent = recommendation.kind == Kind::Unreachable;
                        li.bad[urgent] {
                            (recommendation.text)
                            @for command in recommendation.shown_commands() {
                                br;
                                code { (command) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The runs that are not archived and are no new ones, and why.
fn not_archived(status: &Status) -> Markup {
    let ignored = status.ignored.as_deref().unwrap_or_default();
    let stages = [("Import", &status.import), ("Migration", &status.migrate)];
    let failed: Vec<(&str, &Failure)> = stages
        .iter()
        .flat_map(|(stage, memory)| memory.failed.iter().map(|failure| (*stage, failure)))
        .collect();
    let sets: Vec<(String, RunSet)> = stages
        .iter()
        .flat_map(|(stage, memory)| {
            let backlog = memory.backlog.clone().unwrap_or_default();
            [
                ("held back", backlog.held_back),
                ("still being written", backlog.settling),
                ("late, until UconDB can be asked", backlog.waiting),
                ("left by an earlier archiver", backlog.left),
                ("removed after they were archived", backlog.pruned),
                ("below first_run", backlog.below_first),
            ]
            .map(|(what, runs)| (format!("{stage}: {what}"), runs))
        })
        .chain([(
            "No record".to_owned(),
            status.no_record().unwrap_or_default(),
        )])
        .filter(|(_, runs)| !runs.is_empty())
        .collect();
    html! {
        @if !(ignored.is_empty() && failed.is_empty() && sets.is_empty()) {
            section {
                h2 { "Not archived, and why" }
                @if !sets.is_empty() {
                    dl {
                        @for (what, runs) in &sets {
                            dt { (what) }
                            dd { (counted_runs(runs)) }
                        }
                    }
                }
                @if !ignored.is_empty() { (ignored_table(ignored)) }
                @if !failed.is_empty() { (failed_table(&failed)) }
            }
        }
    }
}

/// Records of archived runs that need a look.
fn records(records: &RecordFindings) -> Markup {
    html! {
        @if !records.is_empty() {
            section {
                h2 { "Records of archived runs that need a look" }
                @for (name, meaning, concerns) in records.each() {
                    @if !concerns.is_empty() {
                        h3 { (name) }
                        p.soft { (meaning) }
                        div.scroll {
                            table {
                                thead { tr { th { "Runs" } th.left { "Files" } } }
                                tbody {
                                    @for concern in concerns.iter().take(CONCERNS) {
                                        tr {
                                            td { (listed_up_to(&concern.runs, RANGES)) }
                                            td.words { (shortened(&concern.files.join(", "))) }
                                        }
                                    }
                                }
                            }
                        }
                        @if concerns.len() > CONCERNS {
                            p.soft { "and " (concerns.len() - CONCERNS) " more groups of runs" }
                        }
                    }
                }
            }
        }
    }
}

/// What was not compared, and what was found wrong.
fn verification(status: &Status) -> Markup {
    let proof = ProofView::of(status).filter(ProofView::is_worth_saying);
    html! {
        @if let Some(proof) = proof {
            section {
                h2 { "Verification" }
                dl {
                    dt { "Last round of --verify --incremental" }
                    dd { (proof.finished.map_or_else(|| "never".to_owned(), local)) }
                    @if !proof.not_compared.is_empty() {
                        dt { "In UconDB, not stored by this archiver, not compared" }
                        dd { (counted_runs(&proof.not_compared)) }
                    }
                    @if !proof.not_well.is_empty() {
                        dt { "Not well when they were compared last" }
                        dd { (counted_runs(proof.not_well)) }
                    }
                    @for (run, finding) in proof.findings.iter().take(FINDINGS) {
                        dt { "Run " (run) }
                        dd { (shortened(finding)) }
                    }
                }
            }
        }
    }
}

fn ignored_table(ignored: &[Declaration]) -> Markup {
    html! {
        h3 { "Ignored" }
        div.scroll {
            table {
                thead { tr { th { "Runs" } th.left { "Reason" } th { "User" } th { "Date" } } }
                tbody {
                    @for declaration in ignored {
                        tr {
                            td { (listed_up_to(&declaration.runs, RANGES)) }
                            td.words { (declaration.reason) }
                            td data-name="user" { (declaration.user) }
                            td data-name="date" { (local(declaration.date)) }
                        }
                    }
                }
            }
        }
    }
}

fn failed_table(failed: &[(&str, &Failure)]) -> Markup {
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "–".to_owned(), local);
    html! {
        h3 { "Failed" }
        div.scroll {
            table {
                thead {
                    tr {
                        th { "Run" }
                        th.left { "Reason" }
                        th { "Stage" }
                        th { "Class" }
                        th { "Since" }
                        th { "Attempts" }
                        th { "Next try" }
                    }
                }
                tbody {
                    @for (stage, failure) in failed.iter().take(FAILURES) {
                        @let details = failure.details.as_ref();
                        tr {
                            td { (failure.run) }
                            td.words { (shortened(failure.reason())) }
                            td data-name="stage" { (stage) }
                            td data-name="class" { (failure.class()) }
                            td data-name="since" { (time(details.map(|it| it.since))) }
                            td data-name="attempts" {
                                @match details { Some(it) => (it.attempts), None => "–" }
                            }
                            td data-name="next try" { (time(details.and_then(|it| it.next_try))) }
                        }
                    }
                }
            }
        }
        @if failed.len() > FAILURES {
            p.soft { "and " (failed.len() - FAILURES) " more: --format json lists all" }
        }
    }
}

/// At most so much of a text that a page stays small.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

fn executions(executions: &[Execution]) -> Markup {
    let rates: Vec<f64> = executions.iter().map(rate).collect();
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let failures: Vec<f64> = executions.iter().map(|e| e.failed() as f64).collect();
    html! {
        section {
            h2 { "Last executions" }
            @if executions.is_empty() {
                p.soft { "None is on record yet." }
            } @else {
                (chart("Throughput", "runs an hour", Class::Archived, &rates, executions))
                (chart("Failures", "runs failed", Class::Failed, &failures, executions))
                div.scroll {
                    table {
                        thead {
                            tr {
                                th { "Start" }
                                th.left { "Mode" }
                                th { "Imported" }
                                th { "Migrated" }
                                th { "Failed" }
                                th { "Left" }
                                th { "Runs/h" }
                                th { "Took" }
                                th { "Exit" }
                            }
                        }
                        tbody {
                            @for execution in executions.iter().rev().take(TABLE) { (row(execution)) }
                        }
                    }
                }
            }
        }
    }
}

fn row(execution: &Execution) -> Markup {
    let archived = |counts: &Option<super::history::Counts>| {
        counts
            .as_ref()
            .map_or_else(|| "–".to_owned(), |counts| counts.archived.to_string())
    };
    let stages = [&execution.import, &execution.migrate];
    let left: usize = stages
        .iter()
        .copied()
        .flatten()
        .map(|counts| counts.left)
        .sum();
    let failed = execution.failed();
    let problems = stages
        .iter()
        .copied()
        .flatten()
        .filter_map(|counts| counts.stopped.as_ref())
        .chain(&execution.error);
    html! {
        tr {
            td { (local(execution.start)) }
            td.words {
                (execution.mode)
                @for problem in problems { div.bad { (problem) } }
            }
            td data-name="imported" { (archived(&execution.import)) }
            td data-name="migrated" { (archived(&execution.migrate)) }
            td.bad[failed > 0] data-name="failed" { (failed) }
            td data-name="left" { (left) }
            td data-name="runs/h" { (grouped(whole(rate(execution)))) }
            td data-name="took" { (duration(execution.duration_seconds)) }
            td.bad[execution.exit_code != 0] data-name="exit code" { (execution.exit_code) }
        }
    }
}

/// Bars, the oldest execution on the left.
fn chart(
    title: &str,
    unit: &str,
    class: Class,
    values: &[f64],
    executions: &[Execution],
) -> Markup {
    let highest = values.iter().copied().fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "at most the executions shown")]
    let step = 1000.0 / values.len().max(12) as f64;
    let times = executions.first().zip(executions.last());
    html! {
        figure {
            figcaption {
                h3 { (title) }
                span.soft { "at most " (grouped(whole(highest))) " " (unit) }
            }
            svg.chart viewBox=(format!("0 0 1000 {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("{title}: at most {} {unit}", grouped(whole(highest)))) {
                @for ((index, value), execution) in (0_u32..).zip(values).zip(executions) {
                    @if *value > 0.0 {
                        @let height = (value / highest * HEIGHT).max(2.0);
                        rect.(class.name()) x=(round(f64::from(index) * step + step * 0.1))
                            y=(round(HEIGHT - height)) width=(round(step * 0.8)) height=(round(height)) {
                            title { (local(execution.start)) ": " (grouped(whole(*value))) " " (unit) }
                        }
                    }
                }
            }
            @if let Some((first, last)) = times {
                div.axis { span { (local(first.start)) } span { (local(last.start)) } }
            }
        }
    }
}

/// Runs archived by a stage in an hour.
fn rate(execution: &Execution) -> f64 {
    let stages = execution.import.iter().chain(&execution.migrate);
    let seconds: f64 = stages.map(|counts| counts.duration_seconds).sum();
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let archived = execution.archived() as f64;
    if seconds > 0.0 {
        archived / seconds * 3600.0
    } else {
        0.0
    }
}

fn details(status: &Status) -> Markup {
    let titles = ["Filesystem", "artdaqDB", "UconDB"];
    html! {
        section {
            h2 { "Sources" }
            @for (title, (source, before)) in titles.into_iter().zip(status.sources()) {
                h3 { (title) }
                dl { (facts(source, before)) }
            }
        }
    }
}

fn facts(source: &Source, before: Option<&Source>) -> Markup {
    html! {
        @for (name, value) in &source.location {
            dt { (name) }
            dd { (value) }
        }
        @match &source.runs {
            Err(error) => {
                dt { "Status" }
                dd.bad { "Not reached: " (error) }
            }
            Ok(runs) => {
                dt { "Total runs" }
                dd { (grouped(runs.len())) }
                dt { "Range" }
                dd {
                    @match source.range(before) {
                        Some((first, last)) => { (first) " to " (last) }
                        None => "none"
                    }
                }
                dt { "Contiguous" }
                dd { (listed_up_to(runs, RANGES)) }
                dt { "Gaps" }
                dd { (listed_up_to(&source.gaps(before), RANGES)) }
            }
        }
    }
}

fn states(status: &Status) -> Markup {
    html! {
        section {
            h2 { "State comparison" }
            h3 { "Import stage" }
            (state(&status.import, status.import_comparison()))
            h3 { "Migration stage" }
            (state(&status.migrate, status.migrate_comparison()))
        }
    }
}

fn state(memory: &Memory, comparison: Option<Comparison>) -> Markup {
    html! {
        dl {
            dt { "State file" }
            dd { (memory.state_file.display()) }
            @match &memory.state {
                Err(error) => { dt { "Status" } dd.bad { (error) } }
                Ok(None) => { dt { "Status" } dd { "no state file yet" } }
                Ok(Some(state)) => {
                    dt { "Last contiguous" }
                    dd { (run_or_none(state.last_contiguous_run)) }
                    dt { "Last attempted" }
                    dd { (run_or_none(state.last_attempted_run)) }
                }
            }
            dt { "Failures" }
            @match &memory.failures {
                Err(error) => dd.bad { (error) },
                Ok(failures) => dd { (counted_runs(failures)) },
            }
            @if let Some(Comparison { expected, missing, new }) = comparison {
                dt { "Missing" }
                dd.bad[!missing.is_empty()] {
                    (counted_runs(&missing))
                    @if let Some((first, last)) = expected { " of " (span_of(first, last)) }
                }
                dt { "New" }
                dd { (counted_runs(&new)) }
            }
        }
    }
}

fn counted_runs(runs: &RunSet) -> String {
    match runs.len() {
        0 => "none".to_owned(),
        count => format!("{} ({})", grouped(count), listed_up_to(runs, RANGES)),
    }
}

fn span_of(first: Run, last: Run) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// `45 s`, `12 min`, `2 h 5 min`.
fn duration(seconds: f64) -> String {
    let minutes = whole(seconds / 60.0);
    match seconds {
        ..1.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// With thin spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a casting of floats saturates, and none is negative"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// Coordinates to a tenth of a unit.
fn round(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
