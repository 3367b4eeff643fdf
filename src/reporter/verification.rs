//! What a verification found, in the log: a line for each run, then what is wrong with
//! it, and at the end what the operator does next.

use super::text::run_or_none;
use crate::logging::RULE;
use crate::pipeline::journal::Store;
use crate::run_set::RunSet;
use crate::verify::{Column, ComparedRun, Finding, Note, Report};

/// Logs a run. With `is_brief` one of which there is nothing to say is logged at DEBUG.
pub fn log_run(compared: &ComparedRun, is_brief: bool) {
    let run = compared.run;
    let places = compared.places();
    if compared.is_well() {
        let agree = match places.contains(" and ") {
            true => format!("{places} agree"),
            false => format!("in {places} alone"),
        };
        let mut line = format!("✓ Run {run}: {agree}, {} files", compared.files());
        for note in &compared.notes {
            line.push_str(&format!("; {note}"));
        }
        let is_plain = compared.notes.iter().all(|note| *note == Note::NoRecord);
        match is_brief && is_plain {
            true => log::debug!("{line}"),
            false => log::info!("{line}"),
        }
        return;
    }
    log::warn!("✗ Run {run}: {} finding(s)", compared.findings.len());
    for finding in &compared.findings {
        let diff = match finding {
            Finding::File(file) if !file.diff.is_empty() => format!("\n{}", file.diff.join("\n")),
            _ => String::new(),
        };
        log::warn!("Run {run}: {finding}{diff}");
    }
    for note in &compared.notes {
        log::info!("Run {run}: {note}");
    }
}

/// Logs the summary. `command` is the command line without flags.
pub fn log_summary(report: &Report, command: &str) {
    log::info!("{RULE}");
    log::info!("VERIFICATION SUMMARY");
    let not_well: RunSet = report.with(|_| true);
    let well = report.compared as u64 - not_well.len();
    log::info!("  Agree: {well} of {} run(s)", report.compared);
    for (title, runs) in notes(report) {
        if !runs.is_empty() {
            log::info!("  {title}: {} run(s): {runs}", runs.len());
        }
    }
    for Group { title, runs, next } in groups(report) {
        if !runs.is_empty() {
            let next = next
                .replace("RUNS", &runs.argument())
                .replace("./run", command);
            log::error!("  {title}: {} run(s): {runs}. Next: {next}", runs.len());
        }
    }
    for item in &report.unmatched {
        log::error!("  --runs {item}: there is no such run, as a record or in a database");
    }
    if let Some(problem) = &report.records_problem {
        log::error!("  The records were not compared: {problem}");
    }
    if report.left > 0 {
        log::info!(
            "  Not compared: {} run(s), those above {}",
            report.left,
            run_or_none(report.last)
        );
    }
    log::info!("{RULE}");
}

/// Runs that need the same.
struct Group {
    title: &'static str,
    runs: RunSet,
    /// What to do, `./run` for the command line without flags, `RUNS` for the runs.
    next: &'static str,
}

fn groups(report: &Report) -> Vec<Group> {
    let group = |title, next, wanted: fn(&Finding) -> bool| Group {
        title,
        runs: report.with(wanted),
        next,
    };
    let mut groups = vec![
        group(
            "artdaqDB differs from the record",
            "./run --reimport RUNS (if the record is right)",
            |finding| matches!(finding, Finding::File(file) if file.store == Store::Artdaqdb),
        ),
        group(
            "artdaqDB cannot be read",
            "see the reasons above",
            |finding| matches!(finding, Finding::Unreadable(Store::Artdaqdb, _)),
        ),
        group(
            "The record cannot be read",
            "see the reasons above",
            |finding| matches!(finding, Finding::Unreadable(Store::Records, _)),
        ),
        group(
            "In artdaqDB in part only",
            "./run --import-only --runs RUNS",
            |finding| *finding == Finding::Partial,
        ),
        group("Not archived", "./run --runs RUNS", |finding| {
            *finding == Finding::NotArchived
        }),
        group(
            "Not in UconDB",
            "./run --migrate-only --runs RUNS",
            |finding| *finding == Finding::NotMigrated,
        ),
    ];
    // Where artdaqDB has nothing to store again, the record is what is there.
    let damaged = report.with(|finding| finding.is_of_ucondb() && *finding != Finding::NotMigrated);
    let not_imported: RunSet = report
        .runs
        .iter()
        .filter(|run| !matches!(run.artdaqdb, Column::Files(_)))
        .map(|run| run.run)
        .collect();
    groups.push(Group {
        title: "UconDB differs or cannot be read",
        runs: damaged.difference(&not_imported),
        next: "./run --migrate-only --override-existing --runs RUNS (if artdaqDB is right)",
    });
    groups.push(Group {
        title: "UconDB differs or cannot be read, and artdaqDB does not have the run",
        runs: damaged.intersection(&not_imported),
        next: "./run --runs RUNS --override-existing (imports their records again)",
    });
    groups
}

fn notes(report: &Report) -> Vec<(&'static str, RunSet)> {
    let with = |wanted: fn(&Note) -> bool| -> RunSet {
        let runs = report.runs.iter();
        let runs = runs.filter(|run| run.notes.iter().any(wanted));
        runs.map(|run| run.run).collect()
    };
    vec![
        ("Without a record any more", report.without_record.clone()),
        (
            "Pruned, not in artdaqDB any more",
            with(|note| *note == Note::Pruned),
        ),
        (
            "Converted differently at their import",
            with(|note| matches!(note, Note::ConvertedDifferently(_))),
        ),
        (
            "Blobs that do not meet their readers' demands, or can be read in two ways",
            with(|note| matches!(note, Note::Blob(_))),
        ),
    ]
}
