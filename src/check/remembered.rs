//! What is remembered of runs and stores: ignored runs, and whether each store has
//! the runs that it was seen to have.

use std::collections::BTreeSet;

use super::Sheet;
use crate::error::Result;
use crate::pipeline::forecast::{self, Seen};
use crate::pipeline::{Journal, Store};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// The journal can be read. Lists the runs that operators declared to be impossible
/// to archive.
pub(super) fn journal(journal: Result<Journal>, sheet: &mut Sheet<'_>) -> Option<Journal> {
    match journal {
        Ok(journal) => {
            for ignored in journal.declarations() {
                let date = ignored.date.to_zoned_datetime(jiff::tz::TimeZone::system());
                sheet.good(format!(
                    "Ignored: {}: {} ({}, {})",
                    ignored.runs,
                    ignored.reason,
                    ignored.user,
                    date.strftime("%Y-%m-%d")
                ));
            }
            Some(journal)
        }
        Err(error) => {
            sheet.fail(format!("Journal: {error}"));
            None
        }
    }
}

/// Names the numbers that no execution takes before an operator decides about them.
pub(super) fn held_back(
    journal: &Journal,
    first_run: Option<Run>,
    records: &BTreeSet<Run>,
    archived: &BTreeSet<Run>,
    sheet: &mut Sheet<'_>,
) {
    let (source, archived) = (as_set(records), as_set(archived));
    let seen = Seen {
        source: &source,
        archived: &archived,
        ucondb: None,
    };
    let backlog = forecast::forecast(StageKind::Import, seen, journal, first_run, &|_| true);
    // A failure log that cannot be read was reported already.
    let Ok(held_back) = backlog.map(|backlog| backlog.held_back) else {
        return;
    };
    if !held_back.is_empty() {
        let runs = held_back.argument();
        sheet.fail(format!(
            "Held back: {held_back}: more than 100,000 above the highest archived run, and not              taken by --incremental. Take them with --runs {runs}, or declare that they are no              runs: --ignore {runs} --reason TEXT"
        ));
    }
}

fn as_set(runs: &BTreeSet<Run>) -> RunSet {
    runs.iter().copied().collect()
}

/// Compares each store with what it was seen to have, as an execution does.
pub(super) struct Guards<'a> {
    journal: Option<&'a Journal>,
}

impl<'a> Guards<'a> {
    pub(super) fn new(journal: Option<&'a Journal>) -> Guards<'a> {
        Guards { journal }
    }

    /// Compares one store; a store whose runs are not known was reported already.
    pub(super) fn compare(
        &self,
        store: Store,
        runs: Option<&BTreeSet<Run>>,
        sheet: &mut Sheet<'_>,
    ) {
        let (Some(journal), Some(runs)) = (self.journal, runs) else {
            return;
        };
        let kind = match store {
            Store::Records | Store::Artdaqdb => StageKind::Import,
            Store::Ucondb => StageKind::Migrate,
        };
        // A state that cannot be read was reported already.
        let state = journal.recall(kind).ok().and_then(|memory| memory.state);
        let guard = journal.guard(store, runs, state.as_ref());
        let location = journal.address(store);
        if let Some(error) = guard.error(store, &location) {
            sheet.fail(error.to_string());
        } else if let Some(warning) = guard.warning(store, &location) {
            sheet.doubt(warning);
        }
    }
}
