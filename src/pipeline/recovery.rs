//! Rebuilds a stage's state and failure log from its source and its archive.

use std::collections::BTreeSet;

use crate::clock;
use crate::durable;
use crate::error::Result;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::state::State;

use super::journal::Store;
use super::{Journal, Stage};

/// Rebuilds the state of `stage`, and starts its part of the journal anew: what its
/// stores have now is what is known of them. The state file that is there is kept
/// beside the new one, under a name with the time. Failed and ignored runs stay
/// what they are; every other run that is not archived is a late arrival then, and
/// taken by the next incremental execution. A dry run says what the state would be
/// and writes nothing.
///
/// # Errors
/// The source or the archive cannot be asked; the files cannot be written. The old
/// files are then as they were, or kept under their new names.
pub fn recover(stage: &impl Stage, journal: &Journal, dry_run: bool) -> Result<()> {
    let kind = stage.kind();
    let store = journal.store(kind);
    let survey = stage.survey()?;
    // A log that cannot be read is why one recovers.
    let mut failures = store.failures().unwrap_or_default();
    failures.retain(|run| !survey.archived.contains(run));
    let ignored = journal.ignored();
    let is_done = |run: Run| survey.archived.contains(&run) || ignored.contains(run);
    let mut state = State::default();
    state.advance(&survey.known, is_done, |run| failures.contains(&run));

    if dry_run {
        log::info!(
            "{}: dry run: this would be the state in {}",
            kind.title(),
            store.state_file().display()
        );
    } else {
        let suffix = clock::local().strftime("%Y%m%d_%H%M%S").to_string();
        for path in [store.failure_log(), store.state_file()] {
            if let Some(kept) = durable::keep(path, &suffix)? {
                log::info!("Kept {} as {}", path.display(), kept.display());
            }
        }
        let stores: Vec<(Store, &BTreeSet<Run>)> = survey
            .sightings
            .iter()
            .map(|(store, runs)| (*store, runs))
            .collect();
        // Before the state: a state file without a journal is that of an earlier
        // archiver.
        journal.start_anew(kind, &stores)?;
        store.write_failures(&failures)?;
        store.write(&state)?;
        log::info!(
            "✓ {}: state rebuilt in {}",
            kind.title(),
            store.state_file().display()
        );
    }
    let number = |run: Option<Run>| run.map_or_else(|| "none".to_owned(), |run| run.to_string());
    log::info!(
        "  Runs in the source: {}, archived: {}",
        survey.source.len(),
        survey.archived.len()
    );
    log::info!(
        "  last_contiguous_run: {}, last_attempted_run: {}",
        number(state.last_contiguous_run),
        number(state.last_attempted_run)
    );
    let open = survey.source.difference(&survey.archived).copied();
    let open: RunSet = open
        .filter(|run| !failures.contains(run) && !ignored.contains(*run))
        .collect();
    if !open.is_empty() {
        log::info!(
            "  Missing from the archive: {} run(s): {open}. --incremental takes them",
            open.len()
        );
    }
    match failures.is_empty() {
        true => log::info!("  Failure log: empty. Go on with --incremental"),
        false => {
            let runs: RunSet = failures.iter().copied().collect();
            log::info!(
                "  Failure log: {} run(s): {runs}. Take them with {}",
                failures.len(),
                kind.retry_flag()
            );
        }
    }
    Ok(())
}
