//! What is known of all runs while a stage works, and the writer of what becomes
//! of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::failures::{FailureDetails, Failures, write_details};
use super::{Journal, Memory, Store, details_file};
use crate::clock;
use crate::error::Result;
use crate::faults;
use crate::pipeline::settle::Noted;
use crate::pipeline::{Done, Job, Planned, Recheck, Survey};
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::state::State;
use crate::sys::sync;

/// How often it is noted that all records were compared.
const RECHECK_NOTE: SignedDuration = SignedDuration::from_hours(12);

/// One thread has the ledger, so that many results share one write.
#[derive(Debug)]
pub(in crate::pipeline) struct Ledger<'a> {
    journal: &'a Journal,
    kind: StageKind,
    /// The archive whose runs the stage adds to.
    archive: Store,
    known: BTreeSet<Run>,
    source: BTreeSet<Run>,
    archived: BTreeSet<Run>,
    /// Runs that are neither archived nor failed, and are not meant to be taken.
    set_apart: RunSet,
    state: State,
    failures: Failures,
    /// What the failure log and the details held when they were last read or written.
    written: Failures,
    /// Runs that may be archived without being noted as such.
    in_progress: BTreeSet<Run>,
    /// Whether the list of runs in progress was written by this execution.
    is_begun: bool,
    /// Whether runs of this execution were noted as unproven.
    has_unproven: bool,
}

impl Journal {
    /// Opens the ledger of a stage that is about to work, and writes down what the
    /// survey brought to light. `set_apart` are the runs that are neither archived
    /// nor failed, and that the stage does not take.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(in crate::pipeline) fn open_ledger<J>(
        &self,
        kind: StageKind,
        survey: Survey<J>,
        memory: Memory,
        left: &RunSet,
        set_apart: RunSet,
        noted: BTreeMap<Run, Noted>,
    ) -> Result<Ledger<'_>> {
        let Recheck {
            notes: record_notes,
            looks,
            without_stop_time,
            with_stop_time,
            grown,
            is_finished,
            ..
        } = survey.recheck;
        let in_progress = match kind {
            StageKind::Import => self.importing(),
            StageKind::Migrate => self.unverified()?,
        };
        // Before the state: a state file without a journal is that of an earlier
        // archiver.
        self.change(|notes| {
            for (store, runs) in &survey.sightings {
                notes.saw(*store, self.places.addresses.of(*store), runs);
            }
            if kind == StageKind::Import {
                // A killed execution may not have come to it.
                let imported = in_progress.intersection(&survey.archived).copied();
                notes.imported(&self.places.addresses, &imported.collect());
                let is_open = |run: u64| {
                    survey.source.contains(&Run(run)) && !survey.archived.contains(&Run(run))
                };
                notes
                    .looks
                    .retain(|run, _| is_open(*run) || survey.updates.contains_key(&Run(*run)));
                notes
                    .looks
                    .extend(looks.into_iter().map(|(run, look)| (run.0, look)));
                let now = clock::now();
                let is_old = |time: Timestamp| now.duration_since(time).abs() >= RECHECK_NOTE;
                if is_finished && notes.rechecked.is_none_or(is_old) {
                    notes.rechecked = Some(now);
                }
                notes
                    .looks
                    .extend(noted.into_iter().map(|(run, look)| (run.0, look)));
            }
            let stage = notes.stage_mut(kind);
            stage.left = left.clone();
            stage.is_begun = true;
        })?;
        let mut ledger = Ledger {
            journal: self,
            kind,
            archive: match kind {
                StageKind::Import => Store::Artdaqdb,
                StageKind::Migrate => Store::Ucondb,
            },
            known: survey.known,
            source: survey.source,
            archived: survey.archived,
            set_apart,
            state: memory.state.unwrap_or_default(),
            written: memory.failures.clone(),
            failures: memory.failures,
            in_progress,
            is_begun: false,
            has_unproven: false,
        };
        for (run, since) in without_stop_time {
            self.incomplete.remember_since(run, since);
        }
        for run in with_stop_time {
            self.incomplete.found_stop_time(run);
        }
        for run in grown {
            self.incomplete.grew(run);
        }
        self.incomplete.save()?;
        let mut records = sync::lock(&self.records);
        for (run, note) in record_notes {
            records.note(run, note);
        }
        records.save()?;
        drop(records);
        let archived: Vec<Run> = ledger
            .failures
            .runs
            .intersection(&ledger.archived)
            .copied()
            .collect();
        for run in archived {
            ledger.failures.remove(run);
        }
        ledger.write()?;
        Ok(ledger)
    }
}

impl Ledger<'_> {
    /// Writes down that these jobs are in progress, before the first of them is.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(in crate::pipeline) fn begin<J: Job>(&mut self, jobs: &[Planned<J>]) -> Result<()> {
        if self.kind == StageKind::Import {
            // What a killed execution left was noted when the ledger was opened.
            self.in_progress.clear();
        }
        // What adds to an imported run can simply be done twice.
        let is_tracked =
            |planned: &&Planned<J>| self.kind == StageKind::Migrate || !planned.is_update();
        let runs: Vec<Run> = jobs
            .iter()
            .filter(is_tracked)
            .map(|planned| planned.job.run())
            .collect();
        self.in_progress.extend(runs);
        self.is_begun = true;
        self.write_in_progress(&[])
    }

    /// Writes down what must be known of runs before they become visible.
    ///
    /// # Errors
    /// The list of runs without a stop time cannot be written; the runs must not
    /// be published then.
    pub(in crate::pipeline) fn before_publish(&self, runs: &[(Run, Done)]) -> Result<()> {
        for (run, done) in runs {
            if done.awaits_stop_time || done.has_more {
                self.journal.incomplete.remember(*run);
            }
        }
        self.journal.incomplete.save()
    }

    /// Takes in what became of some runs, and writes it down: failure log, state,
    /// and then what is still in progress. Failures without details are only
    /// noted in the log.
    ///
    /// # Errors
    /// A file cannot be written. What was published stays archived, and the next
    /// execution finds it there.
    pub(in crate::pipeline) fn settle(
        &mut self,
        archived: &[(Run, Done)],
        failed: Vec<(Run, FailureDetails)>,
    ) -> Result<()> {
        let incomplete = &self.journal.incomplete;
        let mut records = sync::lock(&self.journal.records);
        for (run, done) in archived {
            if let Some(note) = &done.note {
                records.note(*run, (**note).clone());
            }
            self.archived.insert(*run);
            self.failures.remove(*run);
            self.in_progress.remove(run);
            match self.kind {
                StageKind::Import if done.gained_stop_time => incomplete.stop_time_added(*run),
                StageKind::Import if done.has_more => incomplete.grew(*run),
                StageKind::Import => {}
                StageKind::Migrate => incomplete.migrated(*run),
            }
        }
        for (run, details) in failed {
            self.failures.insert(run, details);
        }
        self.write()?;
        incomplete.save()?;
        records.save()?;
        drop(records);
        self.write_in_progress(archived)
    }

    /// Notes that something could not be added to an archived run.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(in crate::pipeline) fn note_not_updated(&self, run: Run, reason: &str) -> Result<()> {
        let kind = self.kind;
        self.journal.change(|notes| {
            let reasons = &mut notes.stage_mut(kind).not_updated;
            reasons.insert(run.0, reason.to_owned());
        })
    }

    /// Notes runs whose failure could have been the store's, which could not be
    /// tried.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(in crate::pipeline) fn note_unproven(&mut self, runs: RunSet) -> Result<()> {
        self.has_unproven = true;
        self.journal
            .change(|notes| notes.stage_mut(self.kind).unproven = runs)
    }

    /// Forgets what was unproven in the last execution, at the end of this one.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(in crate::pipeline) fn end(&self) -> Result<()> {
        match self.has_unproven {
            true => Ok(()),
            false => self
                .journal
                .change(|notes| notes.stage_mut(self.kind).unproven = RunSet::default()),
        }
    }

    /// The failed runs at this moment.
    pub(in crate::pipeline) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The runs that are archived at this moment.
    pub(in crate::pipeline) fn archived(&self) -> &BTreeSet<Run> {
        &self.archived
    }

    /// The runs that the source has and the archive does not have, without those
    /// that are set apart.
    pub(in crate::pipeline) fn backlog(&self) -> BTreeSet<Run> {
        let open = self.source.difference(&self.archived);
        open.filter(|run| !self.set_apart.contains(**run))
            .copied()
            .collect()
    }

    /// How many known runs below the highest archived one are not archived.
    pub(in crate::pipeline) fn gaps(&self) -> usize {
        self.archived.last().map_or(0, |last| {
            let below = self.known.range(..=*last);
            below
                .filter(|run| !self.archived.contains(run) && !self.set_apart.contains(**run))
                .count()
        })
    }

    fn write_in_progress(&self, archived: &[(Run, Done)]) -> Result<()> {
        let importing: RunSet = self.in_progress.iter().copied().collect();
        let addresses = &self.journal.places.addresses;
        let all: Vec<Run> = archived.iter().map(|(run, _)| *run).collect();
        // What only adds to a run that was archived is brought to UconDB by itself.
        let is_new = |done: &Done| !(done.has_more || done.stored_nothing);
        let new = archived.iter().filter(|(_, done)| is_new(done));
        let new: RunSet = new.map(|(run, _)| *run).collect();
        self.journal.change(|notes| {
            let not_updated = &mut notes.stage_mut(self.kind).not_updated;
            not_updated.retain(|run, _| !all.contains(&Run(*run)));
            notes.saw(self.archive, addresses.of(self.archive), &all);
            match self.kind {
                StageKind::Import => notes.imported(addresses, &new),
                StageKind::Migrate => notes.compared(addresses, &all.iter().copied().collect()),
            }
            if self.is_begun && self.kind == StageKind::Import {
                notes.importing = importing;
            }
        })?;
        if self.is_begun && self.kind == StageKind::Migrate {
            self.journal.unverified.write(&self.in_progress)?;
        }
        Ok(())
    }

    /// Writes the failure log and then the state, where they changed.
    fn write(&mut self) -> Result<()> {
        let store = self.journal.store(self.kind);
        let merged = store.merge_failures(&self.written.runs, &self.failures.runs)?;
        self.failures.keep_only(merged);
        if self.written.all_details() != self.failures.all_details() {
            write_details(
                &details_file(store.failure_log()),
                self.failures.all_details(),
            )?;
        }
        self.written.clone_from(&self.failures);
        if self.known.is_empty() {
            // Nothing is known of any run: no reason to forget where the stage was.
            return Ok(());
        }
        let before = self.state.clone();
        let (archived, failures) = (&self.archived, &self.failures.runs);
        let ignored = self.journal.ignored();
        self.state.advance(
            &self.known,
            |run| archived.contains(&run) || ignored.contains(run),
            |run| failures.contains(&run) || self.set_apart.contains(run),
        );
        if self.state != before || !faults::exists(store.state_file()) {
            store.write(&self.state)?;
        }
        Ok(())
    }
}
