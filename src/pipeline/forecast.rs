//! What becomes of the runs that are not archived, for reports: the plan of an
//! incremental execution without a limit, made of what a report saw.

use std::collections::BTreeSet;

use super::journal::{Journal, Memory, Store};
use super::plan::{Outlook, Plan};
use super::{Mode, Survey, left};
use crate::clock;
use crate::error::Result;
use crate::reporter::backlog::Backlog;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// The runs that a report saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Those that the stage's source has.
    pub source: &'a RunSet,
    /// Those that are archived.
    pub archived: &'a RunSet,
    /// Those that UconDB has, if it could be asked.
    pub ucondb: Option<&'a RunSet>,
}

/// Sorts the runs of a stage's source that are not archived by what an execution
/// does with them. `is_whole` says whether a run's record has settled. Nothing is
/// written.
///
/// # Errors
/// The failure log or its details cannot be read.
pub fn forecast(
    kind: StageKind,
    seen: Seen,
    journal: &Journal,
    first_run: Option<Run>,
    is_whole: &dyn Fn(Run) -> bool,
) -> Result<Backlog> {
    let failures = journal.failures(kind)?;
    let memory = Memory {
        // A report shows by itself that a state cannot be read.
        state: journal.recall(kind).ok().and_then(|memory| memory.state),
        failures,
    };
    let known = journal.known(Store::Artdaqdb);
    let source: BTreeSet<Run> = seen.source.iter().collect();
    let archived: BTreeSet<Run> = seen.archived.iter().collect();
    let highest = archived.last().copied();
    // As the import stage decides whether it asks UconDB.
    let is_doubtful = |run: &Run| {
        !memory.failures.runs.contains(run) && (Some(*run) < highest || known.contains(*run))
    };
    let is_import = kind == StageKind::Import;
    let asks_elsewhere = is_import && source.difference(&archived).any(is_doubtful);
    let survey: Survey<()> = Survey {
        known: &source | &archived,
        asks_elsewhere,
        elsewhere: seen
            .ucondb
            .filter(|_| asks_elsewhere)
            .map(|runs| runs.iter().collect()),
        holds_back: is_import,
        source,
        archived,
        ..Survey::default()
    };
    let outlook = Outlook {
        failures: &memory.failures,
        changed: BTreeSet::new(),
        ignored: journal.ignored(),
        left: left(kind, &survey, &memory, journal),
        known,
        first_run,
        batch_size: 0,
        now: clock::now(),
    };
    let plan = Plan::new(&survey, Mode::Incremental, &outlook, &mut |run| {
        is_whole(run)
    });
    let in_log = memory.failures.runs.iter();
    let in_log: RunSet = in_log
        .filter(|run| !survey.archived.contains(run) && !outlook.ignored.contains(**run))
        .copied()
        .collect();
    let failed = in_log.intersection(seen.source);
    Ok(Backlog {
        new: plan.new.iter().chain(&plan.late).copied().collect(),
        gone: in_log.difference(&failed),
        held_back: plan.held_back,
        waiting: plan.waiting,
        settling: plan.settling.difference(&failed),
        // --retry-failed-* takes failed runs in any case.
        pruned: plan.pruned.difference(&failed),
        left: plan.left.difference(&failed),
        below_first: plan.below_first.difference(&failed),
        ignored: plan.ignored,
        failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::IncompleteRuns;
    use crate::pipeline::journal::{Addresses, Places};
    use crate::state::StateStore;
    use std::path::Path;
    use std::time::Duration;

    fn set(text: &str) -> RunSet {
        match text {
            "" => RunSet::default(),
            text => RunSet::parse(text).unwrap(),
        }
    }

    fn journal(work_dir: &Path) -> Journal {
        let store = |stage: &str| {
            StateStore::new(
                work_dir.join(format!("{stage}_state.json")),
                work_dir.join(format!("{stage}_failures.log")),
            )
        };
        let places = Places {
            work_dir: work_dir.to_path_buf(),
            import: store("import"),
            migrate: store("migrate"),
            addresses: Addresses::default(),
        };
        let list = work_dir.join("incomplete_runs.json");
        Journal::open(places, IncompleteRuns::load(&list, Duration::MAX).unwrap()).unwrap()
    }

    #[test]
    fn each_open_run_is_in_one_set() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("import_failures.log"), "12\n50\n11\n").unwrap();
        std::fs::write(
            directory.path().join("import_state.json"),
            r#"{"last_contiguous_run": 10, "last_attempted_run": 14}"#,
        )
        .unwrap();
        let journal = journal(directory.path());
        journal.ignore(set("16,90-95"), "broken", "anna").unwrap();
        let before: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        let (source, archived, ucondb) = (set("1-21,99999999"), set("9-11,20"), set("9-10,15,17"));
        let seen = Seen {
            source: &source,
            archived: &archived,
            ucondb: Some(&ucondb),
        };
        let import = |seen, is_whole: &dyn Fn(Run) -> bool| {
            forecast(StageKind::Import, seen, &journal, Some(Run(4)), is_whole).unwrap()
        };
        let backlog = import(seen, &|_| true);
        let expected = Backlog {
            new: set("18-19,21"),
            failed: set("12"),
            gone: set("50"),
            held_back: set("99999999"),
            waiting: RunSet::default(),
            settling: RunSet::default(),
            pruned: set("15,17"),
            left: set("4-8,13-14"),
            below_first: set("1-3"),
            ignored: set("16"),
        };
        assert_eq!(backlog, expected);
        let backlog = import(seen, &|run| run != Run(21) && run != Run(12));
        assert_eq!((backlog.new, backlog.settling), (set("18-19"), set("21")));
        // Late arrivals wait while UconDB cannot be asked.
        let seen = Seen {
            ucondb: None,
            ..seen
        };
        let backlog = import(seen, &|_| true);
        assert_eq!((backlog.new, backlog.waiting), (set("21"), set("15,17-19")));

        let (source, archived) = (set("9-11"), set("9,99999999"));
        let seen = Seen {
            source: &source,
            archived: &archived,
            ucondb: None,
        };
        let backlog = forecast(StageKind::Migrate, seen, &journal, None, &|_| true).unwrap();
        let expected = Backlog {
            new: set("10-11"),
            ..Backlog::default()
        };
        assert_eq!(backlog, expected);
        let after: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(after.len(), before.len(), "nothing is written");
    }
}
