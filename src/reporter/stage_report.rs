//! What a stage did in one execution: the one account that summary, history,
//! metrics, e-mail, Slack and the exit code are made from.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Error;
use crate::run::{Run, StageKind};

/// What a stage did.
#[derive(Debug)]
pub struct StageReport {
    /// The stage.
    pub kind: StageKind,
    /// Where it archives, without credentials.
    pub destination: String,
    /// Runs that a dry run would have taken.
    pub planned: BTreeSet<Run>,
    /// Runs archived in this execution.
    pub archived: BTreeSet<Run>,
    /// Runs that were archived before, and to which something was added.
    pub updated: BTreeSet<Run>,
    /// Runs that failed, and are in the failure log.
    pub failed: Vec<FailedRun>,
    /// Runs that are archived, but to which something could not be added. They
    /// are not in the failure log.
    pub not_updated: Vec<FailedRun>,
    /// Runs archived in this execution whose record has no stop time.
    pub without_stop_time: BTreeSet<Run>,
    /// Runs that were planned, but left by a shutdown or a stop.
    pub left: usize,
    /// Runs that wait beyond the limit of this execution.
    pub beyond_limit: usize,
    /// Late arrivals that went into the failure log.
    pub late: usize,
    /// Runs that the source has and the archive does not have, at the end.
    pub backlog: usize,
    /// Runs below the highest archived one that are not archived, at the end.
    pub gaps: usize,
    /// Runs in the failure log at the end.
    pub failures: usize,
    /// How the stage ended.
    pub ending: Ending,
    /// Whether a run failed in a way that this program should rule out.
    pub unexpected: bool,
    /// How long the stage took.
    pub duration: Duration,
}

/// A run that could not be archived or updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRun {
    /// The run.
    pub run: Run,
    /// The error's text.
    pub reason: String,
}

/// How a stage ended.
#[derive(Debug, Default)]
pub enum Ending {
    /// All that was planned was tried, or a shutdown came.
    #[default]
    Finished,
    /// An error stopped the stage before its runs were done.
    Stopped(Error),
    /// The stage could not find out what there is to do.
    NotBegun(Error),
}

impl StageReport {
    /// Returns the report of a stage that did nothing yet.
    #[must_use]
    pub fn new(kind: StageKind, destination: impl Into<String>) -> StageReport {
        StageReport {
            kind,
            destination: destination.into(),
            planned: BTreeSet::new(),
            archived: BTreeSet::new(),
            updated: BTreeSet::new(),
            failed: Vec::new(),
            not_updated: Vec::new(),
            without_stop_time: BTreeSet::new(),
            left: 0,
            beyond_limit: 0,
            late: 0,
            backlog: 0,
            gaps: 0,
            failures: 0,
            ending: Ending::Finished,
            unexpected: false,
            duration: Duration::ZERO,
        }
    }

    /// Returns the report of a stage that could not begin.
    #[must_use]
    pub fn not_begun(kind: StageKind, destination: impl Into<String>, error: Error) -> StageReport {
        StageReport {
            ending: Ending::NotBegun(error),
            ..StageReport::new(kind, destination)
        }
    }

    /// Whether the stage did everything that it set out to do.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed.is_empty()
            && self.not_updated.is_empty()
            && matches!(self.ending, Ending::Finished)
    }

    /// Whether the stage found out what there is to do.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        !matches!(self.ending, Ending::NotBegun(_))
    }

    /// Why the stage did not do all of its work, if an error kept it from it.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Error> {
        match &self.ending {
            Ending::Finished => None,
            Ending::Stopped(error) | Ending::NotBegun(error) => Some(error),
        }
    }

    /// Notes why the stage stops. The first reason is the one to look at: others
    /// follow from it.
    pub fn stop(&mut self, error: Error) {
        if let Ending::Finished = self.ending {
            self.ending = Ending::Stopped(error);
        }
    }
}
