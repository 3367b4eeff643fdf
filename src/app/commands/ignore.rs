//! `--ignore RUNS --reason TEXT` and `--unignore RUNS`: what an operator declares of
//! runs that cannot be archived. No database is asked.

use std::collections::BTreeSet;

use crate::app::parts;
use crate::cli::CommandLine;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::pipeline::{Journal, Store};
use crate::reporter::summary::Summary;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// Declares the runs that the command line names to be impossible to archive, and
/// takes them out of the failure logs.
pub(in crate::app) fn ignore(command: &CommandLine, config: &Config) -> Result<Summary> {
    let (Some(runs), Some(reason)) = (&command.runs, &command.reason) else {
        return Err(Error::Unexpected("--ignore without runs or reason".into()));
    };
    let journal = parts::journal(config)?;
    let mut failed = Vec::new();
    for kind in [StageKind::Import, StageKind::Migrate] {
        failed.push((kind, journal.store(kind).failures()?));
    }
    let user = user();
    if !command.dry_run {
        journal.ignore(runs.clone(), reason, &user)?;
    }
    let are = match command.dry_run {
        true => "would be",
        false => "are",
    };
    log::info!(
        "{} run(s) {are} ignored from now on: {runs}. Reason: {reason} ({user})",
        runs.len()
    );
    for (kind, failures) in failed {
        leave_failure_log(&journal, kind, &failures, runs, command.dry_run)?;
    }
    for (store, place) in [(Store::Artdaqdb, "artdaqDB"), (Store::Ucondb, "UconDB")] {
        let archived = journal.known(store).intersection(runs);
        if !archived.is_empty() {
            log::info!(
                "{} of them were seen in {place} and stay there: {archived}",
                archived.len()
            );
        }
    }
    log::info!(
        "--report-status, --dashboard and --check list them. To take it back: --unignore {}",
        runs.argument()
    );
    Ok(Summary::default())
}

/// An ignored run is no failure.
fn leave_failure_log(
    journal: &Journal,
    kind: StageKind,
    failures: &BTreeSet<Run>,
    ignored: &RunSet,
    dry_run: bool,
) -> Result<()> {
    let (leaving, staying): (BTreeSet<Run>, BTreeSet<Run>) =
        failures.iter().partition(|run| ignored.contains(**run));
    if leaving.is_empty() {
        return Ok(());
    }
    let store = journal.store(kind);
    if !dry_run {
        store.merge_failures(failures, &staying)?;
    }
    log::info!(
        "{}: {} of them {} the failure log {}: {}",
        kind.title(),
        leaving.len(),
        if dry_run { "would leave" } else { "leave" },
        store.failure_log().display(),
        leaving.into_iter().collect::<RunSet>()
    );
    Ok(())
}

/// Takes back what was declared of the runs that the command line names.
///
/// # Errors
/// None of them is ignored.
pub(in crate::app) fn unignore(command: &CommandLine, config: &Config) -> Result<Summary> {
    let Some(runs) = &command.runs else {
        return Err(Error::Unexpected("--unignore without runs".into()));
    };
    let journal = parts::journal(config)?;
    let ignored = journal.ignored();
    let unknown = runs.difference(&ignored);
    let known = runs.intersection(&ignored);
    if known.is_empty() {
        return Err(Error::Usage(format!(
            "none of the runs {runs} is ignored, so nothing was changed. Ignored are: {}",
            match ignored.is_empty() {
                true => "none".to_owned(),
                false => ignored.to_string(),
            }
        )));
    }
    if !command.dry_run {
        journal.unignore(runs)?;
    }
    if !unknown.is_empty() {
        log::warn!(
            "{} of the named run(s) were not ignored: {unknown}",
            unknown.len()
        );
    }
    log::info!(
        "{} run(s) {} no longer ignored: {known}. The next execution takes those of them that are \
         not archived",
        known.len(),
        if command.dry_run { "would be" } else { "are" }
    );
    Ok(Summary::default())
}

/// Who types the command: the person behind sudo, too.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| {
            let value = std::env::var(name).ok()?;
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            Some(value).filter(|value| !value.is_empty())
        });
    named.unwrap_or_else(|| format!("user ID {}", rustix::process::getuid().as_raw()))
}
