//! Rebuilds a stage's state and failure log from its source and its archive.

use std::collections::BTreeSet;

use crate::durable;
use crate::error::Result;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::state::State;

use super::{Journal, Stage, Survey};

/// Rebuilds the state of `stage`. The files that are there are kept beside the
/// new ones, under a name with the time.
///
/// `last_attempted_run` becomes the highest archived run; every run below it
/// that the source has and the archive has not goes into the failure log. A dry
/// run says what that would be and writes nothing.
///
/// # Errors
/// The source or the archive can't be asked; the files can't be written. The old
/// files are then as they were, or kept under their new names.
pub fn recover(stage: &impl Stage, journal: &Journal, dry_run: bool) -> Result<()> {
    let kind = stage.kind();
    let store = journal.store(kind);
    let survey = stage.survey()?;
    let failures = missing(&survey);
    let mut state = State::default();
    // Runs above the last archived one were never attempted, as far as the archive tells.
    let last = survey.archived.last().copied();
    let known: BTreeSet<Run> = survey
        .known
        .iter()
        .copied()
        .filter(|run| Some(*run) <= last)
        .collect();
    state.recompute(&known, &survey.archived, &failures);

    if dry_run {
        log::info!(
            "{}: dry run: this would be the state in {}",
            kind.title(),
            store.state_file().display()
        );
    } else {
        let suffix = jiff::ZonedDateTime::now()
            .strftime("%Y%m%d_%H%M%S")
            .to_string();
        for path in [store.failure_log(), store.state_file()] {
            if let Some(kept) = durable::keep(path, &suffix)? {
                log::info!("Kept {} as {}", path.display(), kept.display());
            }
        }
        // Until the state is the new one, the old one's failures are not forgotten: it may
        // have come further. A log that can't be read is why one recovers.
        let old = store.failures().unwrap_or_default();
        store.write_failures(&(&failures | &old))?;
        store.write(&state)?;
        store.write_failures(&failures)?;
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
    if failures.is_empty() {
        log::info!("  Failure log: empty. Go on with --incremental");
    } else {
        let runs: RunSet = failures.iter().copied().collect();
        log::info!(
            "  Failure log: {} run(s) missing from the archive: {runs}. Take them with {}",
            failures.len(),
            kind.retry_flag()
        );
    }
    Ok(())
}

/// The runs below the highest archived one that are not archived.
fn missing<J>(survey: &Survey<J>) -> BTreeSet<Run> {
    let Some(last) = survey.archived.last() else {
        return BTreeSet::new();
    };
    survey
        .source
        .range(..=*last)
        .filter(|run| !survey.archived.contains(run))
        .copied()
        .collect()
}
