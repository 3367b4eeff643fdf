//! What a stage did in one execution: the one account that summary, history,
//! metrics, e-mail, Slack and the exit code are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::error::Error;
use crate::run::{Run, StageKind};
use crate::run_set::RunSet;

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
    /// Runs archived in this execution whose record names files that it does not
    /// have.
    pub incomplete: BTreeSet<Run>,
    /// Of which archived runs artdaqDB lacks which files of their records, at the end.
    pub lacking: BTreeMap<Run, Vec<String>>,
    /// Of these runs, those to which it is added only on request.
    pub not_added: RunSet,
    /// Archived runs whose record was seen in this execution to be another one, each
    /// with the files.
    pub changed_records: BTreeMap<Run, Vec<String>>,
    /// Runs that were planned, but left by a shutdown or a stop.
    pub left: usize,
    /// Runs that wait beyond the limit of this execution.
    pub beyond_limit: usize,
    /// Runs below the highest archived one that were taken.
    pub late: usize,
    /// Numbers too far above the highest archived run to be taken unasked.
    pub held_back: RunSet,
    /// Late arrivals of which it cannot be told whether UconDB has them.
    pub waiting: RunSet,
    /// Runs whose record is still being written.
    pub settling: RunSet,
    /// When records that were written to a moment ago have settled.
    pub settled_from: Option<Timestamp>,
    /// Of them, those that were looked at for more than a day.
    pub never_settled: RunSet,
    /// Runs that were removed from the archive after they were archived.
    pub pruned: RunSet,
    /// Runs that are not archived, as an operator declared.
    pub ignored: RunSet,
    /// Runs below the first run of the configuration.
    pub below_first: RunSet,
    /// Runs left by an earlier archiver, which are taken only when asked for.
    pub left_by_earlier: RunSet,
    /// Of the numbers and ranges that were asked for, those that match no run.
    pub unmatched: Vec<String>,
    /// Runs that were asked for by number and are not archived at the end.
    pub unarchived: RunSet,
    /// Stores that had none of their known runs, in an execution that went on all
    /// the same.
    pub doubtful: Vec<&'static str>,
    /// Whether the stage was asked to take the runs of its failure log.
    pub is_retry: bool,
    /// Runs that are open at the end, and that an incremental execution takes.
    pub open: RunSet,
    /// Runs of the failure log that are open at the end, and have a source.
    pub failed_open: RunSet,
    /// Runs that failed because the archive has another record of them: trying again
    /// does not help.
    pub conflicts: RunSet,
    /// Runs of the failure log whose source is gone.
    pub gone: RunSet,
    /// When the first of the failed runs is tried again by itself.
    pub next_try: Option<Timestamp>,
    /// Failed runs that were due, and for which there was no time.
    pub untried: usize,
    /// Runs that failed because the archiver died of them.
    pub set_aside: usize,
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
    /// Whether the run did not fail before, or for another reason.
    pub is_news: bool,
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
            incomplete: BTreeSet::new(),
            lacking: BTreeMap::new(),
            not_added: RunSet::default(),
            changed_records: BTreeMap::new(),
            left: 0,
            beyond_limit: 0,
            late: 0,
            held_back: RunSet::default(),
            waiting: RunSet::default(),
            settling: RunSet::default(),
            settled_from: None,
            never_settled: RunSet::default(),
            pruned: RunSet::default(),
            ignored: RunSet::default(),
            below_first: RunSet::default(),
            left_by_earlier: RunSet::default(),
            unmatched: Vec::new(),
            unarchived: RunSet::default(),
            doubtful: Vec::new(),
            is_retry: false,
            open: RunSet::default(),
            failed_open: RunSet::default(),
            conflicts: RunSet::default(),
            gone: RunSet::default(),
            next_try: None,
            untried: 0,
            set_aside: 0,
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
        let is_told = |failed: &FailedRun| failed.is_news || self.is_retry;
        !self.failed.iter().any(is_told)
            && !self.not_updated.iter().any(is_told)
            && self.held_back.is_empty()
            && self.changed_records.is_empty()
            && self.unarchived.is_empty()
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
