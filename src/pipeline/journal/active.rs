//! Which runs the workers have at this moment: what a process that dies was
//! working on, so that the next one does not die of it again and again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::faults::fs;
use crate::regular_file;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;
use crate::sys::{boot, sync};

/// The file of the work directory.
const FILE: &str = "in_progress.json";

/// The runs that the workers have at this moment, for the next execution. It needs
/// no fsync: after a power cut it says nothing, as the boot ID differs.
#[derive(Debug)]
pub(in crate::pipeline) struct ActiveRuns {
    path: PathBuf,
    note: Mutex<Note>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// Identifies the time since the machine was started.
    boot: String,
    /// The stage at work.
    stage: String,
    /// What its workers have.
    runs: RunSet,
    /// Runs that were in progress at an earlier death, and did not end since.
    suspects: RunSet,
    /// Whether somebody asked the process to end.
    is_stopping: bool,
}

/// What a death leaves to be said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Death {
    /// Runs that were in progress: they come last, one at a time.
    pub(in crate::pipeline) suspects: RunSet,
    /// The run that was alone in progress at this death, and in progress at an
    /// earlier one.
    pub(in crate::pipeline) culprit: Option<Run>,
}

impl ActiveRuns {
    pub(super) fn new(work_dir: &Path) -> ActiveRuns {
        ActiveRuns {
            path: work_dir.join(FILE),
            note: Mutex::default(),
        }
    }

    /// Reads what an earlier process of the same boot left, and takes it over.
    /// `None` if it ended, was asked to end, or left nothing.
    pub(in crate::pipeline) fn death(&self, kind: StageKind) -> Option<Death> {
        let boot = boot::id();
        // Nothing depends on the note but the order of the work.
        let text = regular_file::read(&self.path).ok()?;
        let left: Note = serde_json::from_slice(&text).ok()?;
        let mut note = self.note();
        *note = Note {
            boot: boot.clone(),
            stage: kind.verb().to_owned(),
            ..Note::default()
        };
        if left.boot != boot || left.stage != kind.verb() || left.is_stopping {
            return None;
        }
        let mut death = Death {
            suspects: left.runs.union(&left.suspects),
            culprit: None,
        };
        if left.runs.len() == 1 && left.suspects.contains(left.runs.first()?) {
            death.culprit = left.runs.first();
            death.suspects = death.suspects.difference(&left.runs);
        }
        note.suspects = death.suspects.clone();
        (death != Death::default()).then_some(death)
    }

    /// Notes that a worker begins with a run.
    pub(in crate::pipeline) fn begin(&self, kind: StageKind, run: Run) {
        let mut note = self.note();
        note.stage = kind.verb().to_owned();
        if note.boot.is_empty() {
            note.boot = boot::id();
        }
        note.runs = note.runs.union(&one(run));
        self.write(&note);
    }

    /// Notes that a worker ended with a run.
    pub(in crate::pipeline) fn end(&self, run: Run) {
        let mut note = self.note();
        note.runs = note.runs.difference(&one(run));
        note.suspects = note.suspects.difference(&one(run));
        self.write(&note);
    }

    /// Notes that the process was asked to end: a death after that is no run's
    /// fault.
    pub(in crate::pipeline) fn stopping(&self) {
        let mut note = self.note();
        if !note.is_stopping {
            note.is_stopping = true;
            self.write(&note);
        }
    }

    /// Removes the note at the end of a stage.
    pub(in crate::pipeline) fn finish(&self) {
        let mut note = self.note();
        *note = Note::default();
        let _ = fs::remove_file(&self.path);
    }

    fn note(&self) -> MutexGuard<'_, Note> {
        sync::lock(&self.note)
    }

    /// Replaces the file. What fails is left: a lost note costs no data.
    fn write(&self, note: &Note) {
        if let Ok(text) = serde_json::to_vec(note)
            && let Ok((temporary, mut file)) = durable::open_temporary(&self.path, durable::PRIVATE)
            && file.write_all(&text).is_ok()
        {
            let _ = durable::publish(temporary);
        }
    }
}

fn one(run: Run) -> RunSet {
    RunSet::all_of(run..=run)
}

impl Death {
    /// Whether the run was in progress at a death.
    pub(in crate::pipeline) fn is_suspect(&self, run: Run) -> bool {
        self.suspects.contains(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(numbers: &[u64]) -> RunSet {
        numbers.iter().copied().map(Run).collect()
    }

    #[test]
    fn a_run_that_was_there_at_two_deaths_and_alone_at_the_second_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let process = || ActiveRuns::new(directory.path());
        let kind = StageKind::Import;
        assert_eq!(process().death(kind), None);
        let first = process();
        for run in [1, 2, 3] {
            first.begin(kind, Run(run));
        }
        first.end(Run(1));
        drop(first);

        let second = process();
        let death = second.death(kind).unwrap();
        assert_eq!(
            (death.suspects.clone(), death.culprit),
            (runs(&[2, 3]), None)
        );
        second.begin(kind, Run(2));
        second.end(Run(2));
        second.begin(kind, Run(3));
        drop(second);

        let third = process();
        let death = third.death(kind).unwrap();
        assert_eq!(
            (death.suspects.clone(), death.culprit),
            (runs(&[]), Some(Run(3)))
        );
        third.finish();
        assert_eq!(process().death(kind), None);
    }

    #[test]
    fn a_process_that_was_asked_to_end_or_ended_with_its_machine_leaves_no_suspects() {
        let directory = tempfile::tempdir().unwrap();
        let process = || ActiveRuns::new(directory.path());
        let kind = StageKind::Migrate;
        let first = process();
        first.begin(kind, Run(1));
        assert_eq!(process().death(StageKind::Import), None, "the other stage");
        first.stopping();
        assert_eq!(process().death(kind), None);
        let note = Note {
            boot: "another".into(),
            stage: "migrate".into(),
            runs: one(Run(1)),
            ..Note::default()
        };
        process().write(&note);
        assert_eq!(process().death(kind), None);
    }
}
