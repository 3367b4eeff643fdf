//! Which runs an execution takes, and why it does not take the others.
//! `docs/design.md` defines the words.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::journal::Failures;
use super::{Class, Job, Mode, Planned, Survey};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

/// A run number so far above the highest archived run is no run that was taken: a
/// date, a typing error.
const LARGEST_STEP: u64 = 100_000;

/// What is known besides the survey when a plan is made.
#[derive(Debug)]
pub(super) struct Outlook<'a> {
    /// The failed runs.
    pub(super) failures: &'a Failures,
    /// Failed runs whose record or documents changed since.
    pub(super) changed: BTreeSet<Run>,
    /// Runs that an operator declared to be impossible to archive.
    pub(super) ignored: RunSet,
    /// Runs left by an earlier archiver.
    pub(super) left: RunSet,
    /// Runs that the archive was seen to have.
    pub(super) known: RunSet,
    /// Runs below this one are left alone.
    pub(super) first_run: Option<Run>,
    /// Runs an incremental execution takes at most; 0 for all.
    pub(super) batch_size: usize,
    /// The time of now.
    pub(super) now: Timestamp,
}

/// The runs that an execution takes, and those that it does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be archived now, in this order: in an incremental execution those above
    /// the highest archived run.
    pub new: Vec<Run>,
    /// To be archived now: below the highest archived run.
    pub late: Vec<Run>,
    /// Archived runs that get now what they lack, lowest first.
    pub updates: Vec<Run>,
    /// Failed before, and tried again now by themselves.
    pub retries: Vec<Run>,
    /// New runs and late arrivals beyond the limit of one execution.
    pub beyond_limit: RunSet,
    /// Numbers too far above the highest archived run.
    pub held_back: RunSet,
    /// Late arrivals of which it cannot be told whether UconDB has them.
    pub waiting: RunSet,
    /// Still being written, as far as can be told.
    pub settling: RunSet,
    /// Removed from the archive after they were archived.
    pub pruned: RunSet,
    /// Left by an earlier archiver, and not taken.
    pub left: RunSet,
    /// Below the first run of the configuration.
    pub below_first: RunSet,
    /// Not archived, as an operator declared.
    pub ignored: RunSet,
    /// In the failure log, but archived in the meantime.
    pub archived_since: Vec<Run>,
    /// Of the failure log, but the source has no such run.
    pub unknown: Vec<Run>,
    /// Asked for by number, but archived already.
    pub archived_already: usize,
    /// Numbers that were asked for and are no run of source or archive.
    pub unmatched: Vec<String>,
}

impl Plan {
    /// Decides from what source and archive have and what is remembered.
    /// `gate` says whether a run's source is whole; it is asked only about runs that
    /// would be taken.
    pub(super) fn new<J>(
        survey: &Survey<J>,
        mode: Mode,
        outlook: &Outlook,
        gate: &mut dyn FnMut(Run) -> bool,
    ) -> Plan {
        let mut plan = Plan {
            updates: survey.updates.keys().copied().collect(),
            ..Plan::default()
        };
        match mode {
            Mode::Full => {
                plan.new = plan.set_apart(survey, outlook, false);
            }
            Mode::Incremental => plan.incremental(survey, outlook, gate),
            Mode::Retry { only } => {
                let asked = |run: &Run| only.is_none_or(|only| only.contains(*run));
                plan.set_apart(survey, outlook, true);
                let failed = outlook.failures.runs.iter().copied().filter(asked);
                plan.take(survey, failed.collect());
                plan.new.retain(|run| !outlook.ignored.contains(*run));
                plan.updates.retain(asked);
                plan.unmatched =
                    only.map_or_else(Vec::new, |only| only.unmatched(&outlook.failures.runs));
            }
            Mode::Runs(runs) => {
                plan.set_apart(survey, outlook, true);
                let known = survey.known.iter().copied();
                let asked: Vec<Run> = known.filter(|run| runs.contains(*run)).collect();
                plan.take(survey, asked);
                plan.updates.retain(|run| runs.contains(*run));
                plan.new.retain(|run| !plan.ignored.contains(*run));
                plan.archived_already = plan.archived_since.len() - plan.updates.len();
                plan.archived_since.clear();
                plan.unmatched = runs.unmatched(&survey.known);
                let taken: RunSet = plan.new.iter().copied().collect();
                for set in [
                    &mut plan.pruned,
                    &mut plan.left,
                    &mut plan.below_first,
                    &mut plan.ignored,
                ] {
                    *set = set.difference(&taken);
                }
            }
        }
        if mode != Mode::Incremental {
            plan.new = settled(
                std::mem::take(&mut plan.new),
                usize::MAX,
                gate,
                &mut plan.settling,
            )
            .0;
        }
        plan
    }

    /// Sorts out the open runs that are not taken by themselves, and returns the
    /// others, lowest first. `with_left` also sorts out what an earlier archiver left.
    fn set_apart<J>(&mut self, survey: &Survey<J>, outlook: &Outlook, with_left: bool) -> Vec<Run> {
        let mut open: Vec<Run> = survey
            .source
            .difference(&survey.archived)
            .copied()
            .collect();
        let mut part = |belongs: &dyn Fn(Run) -> bool| -> RunSet {
            let apart: RunSet = open.iter().copied().filter(|run| belongs(*run)).collect();
            open.retain(|run| !apart.contains(*run));
            apart
        };
        self.ignored = part(&|run| outlook.ignored.contains(run));
        self.below_first = part(&|run| Some(run) < outlook.first_run);
        self.pruned = part(&|run| match &survey.elsewhere {
            Some(elsewhere) => elsewhere.contains(&run),
            None => outlook.known.contains(run) && survey.asks_elsewhere,
        });
        if with_left {
            self.left = part(&|run| outlook.left.contains(run));
        }
        open
    }

    /// New runs above the highest archived run, then late arrivals, then what
    /// failed and is due.
    fn incremental<J>(
        &mut self,
        survey: &Survey<J>,
        outlook: &Outlook,
        gate: &mut dyn FnMut(Run) -> bool,
    ) {
        let mut open = self.set_apart(survey, outlook, true);
        open.retain(|run| !outlook.failures.runs.contains(run));
        let highest = survey.archived.last().copied();
        let (mut new, mut late): (Vec<Run>, Vec<Run>) =
            open.into_iter().partition(|run| Some(*run) > highest);
        if survey.holds_back {
            let mut below = highest;
            let mut is_stray = false;
            for run in &new {
                let step = below.map_or(0, |below| run.0 - below.0);
                is_stray |= step > LARGEST_STEP;
                // In an empty archive each run is measured by the one before it.
                if highest.is_none() {
                    below = Some(*run);
                }
                if is_stray {
                    self.held_back = self.held_back.union(&RunSet::all_of(*run..=*run));
                }
            }
            new.retain(|run| !self.held_back.contains(*run));
        }
        if survey.asks_elsewhere && survey.elsewhere.is_none() {
            self.waiting = late.drain(..).collect();
        }
        let limit = match outlook.batch_size {
            0 => usize::MAX,
            size => size,
        };
        // Runs that wait take no place.
        let settling = &mut self.settling;
        let (first_late, more_late) = settled(late, 1, gate, settling);
        let for_new = match first_late.is_empty() || limit == 1 {
            true => limit,
            // One place of it is kept for late arrivals.
            false => limit - 1,
        };
        let (new, beyond) = settled(new, for_new, gate, settling);
        let for_late = limit.saturating_sub(new.len()).max(1) - 1;
        let (other_late, beyond_late) = settled(more_late, for_late, gate, settling);
        self.beyond_limit = beyond.into_iter().chain(beyond_late).collect();
        self.new = new;
        self.late = first_late.into_iter().chain(other_late).collect();

        let mut updates = std::mem::take(&mut self.updates);
        updates.truncate(limit);
        self.updates = updates;

        let open = |run: &&Run| survey.source.contains(run) && !survey.archived.contains(run);
        let failed = outlook.failures.runs.iter().filter(open).copied();
        self.retries = failed
            .filter(|run| {
                outlook.failures.is_due(*run, outlook.now) || outlook.changed.contains(run)
            })
            .filter(|run| !outlook.ignored.contains(*run))
            .collect();
        let retries = std::mem::take(&mut self.retries);
        self.retries = settled(retries, usize::MAX, gate, &mut self.settling).0;
    }

    fn take<J>(&mut self, survey: &Survey<J>, asked: Vec<Run>) {
        for run in asked {
            if survey.archived.contains(&run) {
                self.archived_since.push(run);
            } else if survey.source.contains(&run) {
                self.new.push(run);
            } else {
                self.unknown.push(run);
            }
        }
    }

    /// The runs that are neither archived nor failed, and are not meant to be taken.
    pub(super) fn apart(&self) -> RunSet {
        [&self.ignored, &self.below_first, &self.pruned, &self.left]
            .into_iter()
            .fold(RunSet::default(), |all, set| all.union(set))
    }

    /// Every run that is archived if all goes well, lowest first.
    pub(super) fn to_archive(&self) -> BTreeSet<Run> {
        let runs = self.new.iter().chain(&self.late).chain(&self.retries);
        runs.copied().collect()
    }

    /// Takes the planned jobs out of the survey, in the order in which they are done.
    pub(super) fn jobs<J: Job>(
        &self,
        survey: &mut Survey<J>,
        failures: &Failures,
    ) -> Vec<Planned<J>> {
        let mut jobs = Vec::new();
        let mut add = |runs: &[Run], class: Class| {
            for run in runs {
                let job = match class {
                    Class::Update => survey.updates.remove(run),
                    Class::New | Class::Retry => survey.jobs.remove(run),
                };
                jobs.extend(job.map(|job| Planned {
                    before: failures.details(*run).cloned(),
                    job,
                    class,
                }));
            }
        };
        add(&self.new, Class::New);
        add(&self.late, Class::New);
        add(&self.updates, Class::Update);
        add(&self.retries, Class::Retry);
        jobs
    }

    /// Says what is to be done and what is not.
    pub(super) fn announce(&self, kind: StageKind, mode: Mode, failure_log: &std::path::Path) {
        let (title, verb, target) = (kind.title(), kind.verb(), kind.target());
        let say = |count: usize, runs: &str, sentence: &str| {
            if count > 0 {
                log::info!(target: target, "{title}: {count} run(s) {sentence}: {runs}");
            }
        };
        let count = |runs: &RunSet| usize::try_from(runs.len()).unwrap_or(usize::MAX);
        say(
            self.late.len(),
            &ranges(&self.late),
            "came late, below the highest archived run, and are taken after the new ones",
        );
        say(
            self.retries.len(),
            &ranges(&self.retries),
            "failed before and are tried again after the new ones",
        );
        say(
            count(&self.pruned),
            &self.pruned.to_string(),
            "were removed from artdaqDB after they were archived, and are taken only with --runs",
        );
        say(
            count(&self.settling),
            &self.settling.to_string(),
            "are still being written, and wait until nothing changes any longer",
        );
        say(
            count(&self.ignored),
            &self.ignored.to_string(),
            "are ignored, as declared with --ignore; --unignore takes it back",
        );
        if !self.left.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} run(s) were left by an earlier archiver, below where it had come, and \
                 are not taken by themselves: {}. Take them with --runs",
                self.left.len(),
                self.left
            );
        }
        if !self.held_back.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} run(s) are held back, more than 100,000 above the highest archived \
                 run: {}. Take them with --runs {}, or declare that they are no runs: --ignore {} \
                 --reason TEXT",
                self.held_back.len(),
                self.held_back,
                self.held_back.argument(),
                self.held_back.argument()
            );
        }
        if !self.waiting.is_empty() {
            log::warn!(
                target: target,
                "{title}: {} late run(s) wait until UconDB can tell whether it has them: {}",
                self.waiting.len(),
                self.waiting
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
                 Those in {} stay there; if they are gone for good: --ignore {} --reason TEXT",
                self.unknown.len(),
                ranges(&self.unknown),
                failure_log.display(),
                self.unknown.iter().copied().collect::<RunSet>().argument()
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
                "{title}: {} archived run(s) get what their records have by now: {}",
                self.updates.len(),
                ranges(&self.updates)
            );
        }
        let runs = self.new.iter().chain(&self.late).chain(migrated_anew);
        let runs: Vec<Run> = runs.chain(&self.retries).copied().collect();
        let beyond = count(&self.beyond_limit);
        if runs.len() + beyond == 0 {
            match mode {
                Mode::Retry { .. } => {
                    log::info!(target: target, "{title}: No failed runs to retry.");
                }
                _ => log::info!(target: target, "{title}: No new runs to {verb}."),
            }
            return;
        }
        log::info!(target: target, "{title}: Found {} runs to {verb}.", runs.len() + beyond);
        if beyond > 0 {
            log::info!(
                target: target,
                "{title}: Limited to {} runs by app.batch_size. {beyond} runs remain for the next \
                 execution.",
                runs.len()
            );
        }
        log::info!(target: target, "{title}: Runs {}", ranges(&runs));
    }
}

/// Takes at most so many runs whose source is whole, in their order, and returns
/// them and those that were not looked at. Runs that wait go into `settling`.
fn settled(
    runs: Vec<Run>,
    limit: usize,
    gate: &mut dyn FnMut(Run) -> bool,
    settling: &mut RunSet,
) -> (Vec<Run>, Vec<Run>) {
    let mut taken = Vec::new();
    let mut waiting = Vec::new();
    let mut runs = runs.into_iter();
    while taken.len() < limit
        && let Some(run) = runs.next()
    {
        match gate(run) {
            true => taken.push(run),
            false => waiting.push(run),
        }
    }
    let waiting: BTreeSet<Run> = waiting.into_iter().collect();
    *settling = settling.union(&waiting.into_iter().collect());
    (taken, runs.collect())
}

fn ranges(runs: &[Run]) -> String {
    let runs: BTreeSet<Run> = runs.iter().copied().collect();
    runs.into_iter().collect::<RunSet>().to_string()
}

#[cfg(test)]
mod tests;
