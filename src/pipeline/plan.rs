//! Which runs an execution takes.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Job, Mode, Planned, Survey};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::state::State;

/// The runs that an execution takes, and those that it does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be archived now, lowest first.
    pub runs: Vec<Run>,
    /// Archived runs that get now what they lack, lowest first.
    pub updates: Vec<Run>,
    /// To be archived or updated, but beyond the limit of one execution.
    pub beyond_limit: usize,
    /// Below where an incremental execution starts, neither archived nor in the
    /// failure log: run records that came late.
    pub late: Vec<Run>,
    /// In the failure log, but archived in the meantime.
    pub archived_since: Vec<Run>,
    /// Asked for by number or by the failure log, but the source has no such run.
    pub unknown: Vec<Run>,
    /// Asked for by number, but archived already.
    pub archived_already: usize,
}

impl Plan {
    /// Decides from what source and archive have and what is remembered.
    pub(super) fn new<J>(
        survey: &Survey<J>,
        mode: Mode,
        state: &State,
        failures: &BTreeSet<Run>,
        batch_size: usize,
    ) -> Plan {
        let open = survey.source.difference(&survey.archived).copied();
        let mut plan = Plan {
            updates: survey.updates.keys().copied().collect(),
            ..Plan::default()
        };
        let limit = match mode {
            Mode::Full => {
                plan.runs = open.collect();
                batch_size.saturating_mul(10)
            }
            Mode::Incremental { fresh } => {
                let start = state.incremental_start();
                let (new, below): (Vec<Run>, Vec<Run>) = open.partition(|run| {
                    Some(*run) > start || fresh.contains(run) || survey.again.contains(run)
                });
                plan.runs = new;
                plan.late = below
                    .into_iter()
                    .filter(|run| !failures.contains(run))
                    .collect();
                batch_size
            }
            Mode::Retry { only } => {
                let asked = |run: &Run| only.is_none_or(|only| only.contains(*run));
                plan.take(survey, failures.iter().copied().filter(asked));
                plan.updates.retain(asked);
                0
            }
            Mode::Runs(runs) => {
                let asked: BTreeSet<Run> = survey
                    .known
                    .iter()
                    .copied()
                    .filter(|run| runs.contains(*run))
                    .collect();
                plan.take(survey, asked.iter().copied());
                plan.updates.retain(|run| runs.contains(*run));
                plan.archived_already = plan.archived_since.len() - plan.updates.len();
                plan.archived_since.clear();
                0
            }
        };
        if limit > 0 {
            for runs in [&mut plan.runs, &mut plan.updates] {
                plan.beyond_limit += runs.len().saturating_sub(limit);
                runs.truncate(limit);
            }
        }
        plan
    }

    fn take<J>(&mut self, survey: &Survey<J>, asked: impl Iterator<Item = Run>) {
        for run in asked {
            if survey.archived.contains(&run) {
                self.archived_since.push(run);
            } else if survey.source.contains(&run) {
                self.runs.push(run);
            } else {
                self.unknown.push(run);
            }
        }
    }

    /// Takes the planned jobs out of the survey, in the order in which they are
    /// done: what adds to archived runs comes after the new runs.
    pub(super) fn jobs<J: Job>(&self, survey: &mut Survey<J>) -> Vec<Planned<J>> {
        let new = self.runs.iter().filter_map(|run| survey.jobs.remove(run));
        let new = new.map(|job| Planned {
            job,
            is_update: false,
        });
        let mut jobs: Vec<Planned<J>> = new.collect();
        let updates = self.updates.iter();
        jobs.extend(
            updates
                .filter_map(|run| survey.updates.remove(run))
                .map(|job| Planned {
                    job,
                    is_update: true,
                }),
        );
        jobs
    }

    /// Says what is to be done and what is not.
    pub(super) fn announce(&self, kind: StageKind, mode: Mode, failure_log: &Path) {
        let (title, verb, target) = (kind.title(), kind.verb(), kind.target());
        if !self.late.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} run(s) came late, below where incremental executions go on, and are \
                 now in the failure log: {}. Take them with {}",
                self.late.len(),
                ranges(&self.late),
                kind.retry_flag()
            );
        }
        if !self.archived_since.is_empty() {
            log::info!(
                target: target,
                "{title}: {} run(s) of the failure log are {} already and leave it: {}",
                self.archived_since.len(),
                kind.done(),
                ranges(&self.archived_since)
            );
        }
        if !self.unknown.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} run(s) can't be taken, because their source no longer has them: {}. \
                 Those in {} stay there; remove them by hand if they are gone for good",
                self.unknown.len(),
                ranges(&self.unknown),
                failure_log.display()
            );
        }
        if self.archived_already > 0 {
            log::info!(
                target: target,
                "{title}: {} of the selected runs are {} already",
                self.archived_already,
                kind.done()
            );
        }
        // A stop time is added to what is imported; a blob is migrated anew.
        let migrated_anew: &[Run] = match kind {
            StageKind::Import => &[],
            StageKind::Migrate => &self.updates,
        };
        if kind == StageKind::Import && !self.updates.is_empty() {
            log::info!(
                target: target,
                "{title}: {} archived run(s) have ended and get their stop time: {}",
                self.updates.len(),
                ranges(&self.updates)
            );
        }
        let runs: RunSet = self.runs.iter().chain(migrated_anew).copied().collect();
        let planned = self.runs.len() + migrated_anew.len();
        if planned + self.beyond_limit == 0 {
            match mode {
                Mode::Retry { .. } => {
                    log::info!(target: target, "{title}: No failed runs to retry.")
                }
                _ => log::info!(target: target, "{title}: No new runs to {verb}."),
            }
            return;
        }
        log::info!(
            target: target,
            "{title}: Found {} runs to {verb}.",
            planned + self.beyond_limit
        );
        if self.beyond_limit > 0 {
            log::info!(
                target: target,
                "{title}: Limited to {planned} runs by app.batch_size. {} runs remain for the next \
                 execution.",
                self.beyond_limit
            );
        }
        log::info!(target: target, "{title}: Runs {runs}");
    }
}

fn ranges(runs: &[Run]) -> String {
    runs.iter().copied().collect::<RunSet>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[u64]) -> BTreeSet<Run> {
        numbers.iter().copied().map(Run).collect()
    }

    fn list(numbers: &[u64]) -> Vec<Run> {
        numbers.iter().copied().map(Run).collect()
    }

    fn survey(source: &[u64], archived: &[u64]) -> Survey<()> {
        let (source, archived) = (runs(source), runs(archived));
        Survey {
            known: &source | &archived,
            source,
            archived,
            ..Survey::default()
        }
    }

    fn state(contiguous: u64, attempted: u64) -> State {
        State {
            last_contiguous_run: Some(Run(contiguous)),
            last_attempted_run: Some(Run(attempted)),
            ..State::default()
        }
    }

    #[test]
    fn incremental_takes_runs_above_where_the_last_one_came_to() {
        let survey = survey(&[3, 4, 5, 6, 7, 8, 9], &[3]);
        let incremental = |fresh: &[u64]| {
            let mode = Mode::Incremental {
                fresh: &runs(fresh),
            };
            Plan::new(&survey, mode, &state(3, 6), &runs(&[5]), 2)
        };
        let plan = incremental(&[]);
        assert_eq!(plan.runs, list(&[7, 8]));
        assert_eq!(plan.beyond_limit, 1);
        assert_eq!(plan.late, list(&[4, 6]));
        let plan = incremental(&[4]);
        assert_eq!(plan.runs, list(&[4, 7]));
        assert_eq!(plan.late, list(&[6]));
    }

    #[test]
    fn full_takes_all_up_to_ten_batches_and_zero_is_no_limit() {
        let source: Vec<u64> = (1..=25).collect();
        let survey = survey(&source, &[1]);
        let full = |batch| Plan::new(&survey, Mode::Full, &state(9, 9), &runs(&[]), batch);
        assert_eq!((full(2).runs.len(), full(2).beyond_limit), (20, 4));
        assert_eq!((full(0).runs.len(), full(0).beyond_limit), (24, 0));
        assert!(full(2).late.is_empty());
    }

    #[test]
    fn retry_takes_the_failure_log_less_what_is_archived_or_gone() {
        let survey = survey(&[3, 4, 5, 6], &[3, 4]);
        let mode = Mode::Retry { only: None };
        let plan = Plan::new(&survey, mode, &state(3, 6), &runs(&[4, 5, 99]), 1);
        assert_eq!(plan.runs, list(&[5]));
        assert_eq!(plan.archived_since, list(&[4]));
        assert_eq!(plan.unknown, list(&[99]));
        let only = RunSet::parse("6-98").unwrap();
        let mode = Mode::Retry { only: Some(&only) };
        let plan = Plan::new(&survey, mode, &state(3, 6), &runs(&[4, 5, 99]), 1);
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn selected_runs_are_taken_whatever_the_state_says() {
        let survey = survey(&[3, 4, 5, 6], &[3]);
        let wanted = RunSet::parse("3-5").unwrap();
        let plan = Plan::new(&survey, Mode::Runs(&wanted), &state(6, 6), &runs(&[]), 1);
        assert_eq!(plan.runs, list(&[4, 5]));
        assert_eq!(plan.archived_already, 1);
    }
}
