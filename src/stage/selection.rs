//! Which runs an execution takes.

use std::collections::BTreeSet;

use super::{Mode, Words};
use crate::run::Run;
use crate::run_set::RunSet;
use crate::state::{State, StateStore};

/// What the source and the archive of a stage have.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Every run that the source or the archive knows.
    pub known: BTreeSet<Run>,
    /// The runs that the source can give.
    pub source: BTreeSet<Run>,
    /// The runs that are archived.
    pub archived: BTreeSet<Run>,
    /// Runs not in `archived` that are to be taken wherever the stage goes on:
    /// what was archived of them does not count any longer, or not yet.
    pub again: BTreeSet<Run>,
}

impl Survey {
    /// How many runs the source has and the archive has not, and how many known
    /// runs below the highest archived one are not archived.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        let gaps = self.archived.last().map_or(0, |last| {
            let below = self.known.range(..=*last);
            below.filter(|run| !self.archived.contains(run)).count()
        });
        (self.source.difference(&self.archived).count(), gaps)
    }
}

/// The runs that an execution takes, and those that it does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// To be archived now, lowest first.
    pub runs: Vec<Run>,
    /// To be archived, but beyond the limit of one execution.
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

impl Selection {
    pub(super) fn new(
        survey: &Survey,
        mode: Mode,
        state: &State,
        failures: &BTreeSet<Run>,
        batch_size: usize,
    ) -> Selection {
        let open = survey.source.difference(&survey.archived).copied();
        let mut selection = Selection::default();
        let limit = match mode {
            Mode::Full => {
                selection.runs = open.collect();
                batch_size.saturating_mul(10)
            }
            Mode::Incremental { fresh } => {
                let start = state.incremental_start();
                let (new, below): (Vec<Run>, Vec<Run>) = open.partition(|run| {
                    Some(*run) > start || fresh.contains(run) || survey.again.contains(run)
                });
                selection.runs = new;
                selection.late = below
                    .into_iter()
                    .filter(|run| !failures.contains(run))
                    .collect();
                batch_size
            }
            Mode::Retry { only } => {
                let asked = |run: &Run| only.is_none_or(|only| only.contains(*run));
                selection.take(survey, failures.iter().copied().filter(asked));
                0
            }
            Mode::Runs(runs) => {
                let asked: BTreeSet<Run> = survey
                    .known
                    .iter()
                    .copied()
                    .filter(|run| runs.contains(*run))
                    .collect();
                selection.take(survey, asked.iter().copied());
                selection.archived_already = selection.archived_since.len();
                selection.archived_since.clear();
                0
            }
        };
        if limit > 0 && selection.runs.len() > limit {
            selection.beyond_limit = selection.runs.len() - limit;
            selection.runs.truncate(limit);
        }
        selection
    }

    fn take(&mut self, survey: &Survey, asked: impl Iterator<Item = Run>) {
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

    /// Says what is to be done and what is not.
    pub(super) fn announce(&self, words: &Words, mode: Mode, store: &StateStore) {
        let (title, verb, target) = (words.title, words.verb, words.target);
        if !self.late.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} run(s) came late, below where incremental executions go on, and are \
                 now in the failure log: {}. Take them with {}",
                self.late.len(),
                ranges(&self.late),
                words.retry_flag
            );
        }
        if !self.archived_since.is_empty() {
            log::info!(
                target: target,
                "{title}: {} run(s) of the failure log are {} already and leave it: {}",
                self.archived_since.len(),
                words.done,
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
                store.failure_log().display()
            );
        }
        if self.archived_already > 0 {
            log::info!(
                target: target,
                "{title}: {} of the selected runs are {} already",
                self.archived_already,
                words.done
            );
        }
        let total = self.runs.len() + self.beyond_limit;
        if total == 0 {
            match mode {
                Mode::Retry { .. } => {
                    log::info!(target: target, "{title}: No failed runs to retry.")
                }
                _ => log::info!(target: target, "{title}: No new runs to {verb}."),
            }
            return;
        }
        log::info!(target: target, "{title}: Found {total} runs to {verb}.");
        if self.beyond_limit > 0 {
            log::info!(
                target: target,
                "{title}: Limited to {} runs by app.batch_size. {} runs remain for the next \
                 execution.",
                self.runs.len(),
                self.beyond_limit
            );
        }
        log::info!(target: target, "{title}: Runs {}", ranges(&self.runs));
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

    fn survey(source: &[u64], archived: &[u64]) -> Survey {
        let (source, archived) = (runs(source), runs(archived));
        Survey {
            known: &source | &archived,
            source,
            archived,
            again: BTreeSet::new(),
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
    fn gaps_are_what_is_open_below_the_highest_archived_run() {
        assert_eq!(survey(&[], &[]).open(), (0, 0));
        assert_eq!(survey(&[3, 4], &[]).open(), (2, 0));
        assert_eq!(survey(&[3, 5, 6, 7, 9], &[4, 6]).open(), (4, 2));
    }

    #[test]
    fn incremental_takes_runs_above_where_the_last_one_came_to() {
        let survey = survey(&[3, 4, 5, 6, 7, 8, 9], &[3]);
        let incremental = |fresh: &[u64]| {
            let mode = Mode::Incremental {
                fresh: &runs(fresh),
            };
            Selection::new(&survey, mode, &state(3, 6), &runs(&[5]), 2)
        };
        let selection = incremental(&[]);
        assert_eq!(selection.runs, list(&[7, 8]));
        assert_eq!(selection.beyond_limit, 1);
        assert_eq!(selection.late, list(&[4, 6]));
        let selection = incremental(&[4]);
        assert_eq!(selection.runs, list(&[4, 7]));
        assert_eq!(selection.late, list(&[6]));
    }

    #[test]
    fn full_takes_all_up_to_ten_batches_and_zero_is_no_limit() {
        let source: Vec<u64> = (1..=25).collect();
        let survey = survey(&source, &[1]);
        let full = |batch| Selection::new(&survey, Mode::Full, &state(9, 9), &runs(&[]), batch);
        assert_eq!((full(2).runs.len(), full(2).beyond_limit), (20, 4));
        assert_eq!((full(0).runs.len(), full(0).beyond_limit), (24, 0));
        assert!(full(2).late.is_empty());
    }

    #[test]
    fn retry_takes_the_failure_log_less_what_is_archived_or_gone() {
        let survey = survey(&[3, 4, 5, 6], &[3, 4]);
        let mode = Mode::Retry { only: None };
        let selection = Selection::new(&survey, mode, &state(3, 6), &runs(&[4, 5, 99]), 1);
        assert_eq!(selection.runs, list(&[5]));
        assert_eq!(selection.archived_since, list(&[4]));
        assert_eq!(selection.unknown, list(&[99]));
        let only = RunSet::parse("6-98").unwrap();
        let mode = Mode::Retry { only: Some(&only) };
        let selection = Selection::new(&survey, mode, &state(3, 6), &runs(&[4, 5, 99]), 1);
        assert_eq!(selection, Selection::default());
    }

    #[test]
    fn selected_runs_are_taken_whatever_the_state_says() {
        let survey = survey(&[3, 4, 5, 6], &[3]);
        let wanted = RunSet::parse("3-5").unwrap();
        let selection = Selection::new(&survey, Mode::Runs(&wanted), &state(6, 6), &runs(&[]), 1);
        assert_eq!(selection.runs, list(&[4, 5]));
        assert_eq!(selection.archived_already, 1);
    }
}
