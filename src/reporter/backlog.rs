//! The runs that are not archived, and why: what a report shows beside the runs
//! that each source has.

use jiff::Timestamp;

use super::records::RecordFindings;
use crate::run::Run;
use crate::run_set::RunSet;

/// The runs of a stage's source that are not archived, by what becomes of them.
/// No run is in two of the sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Taken by `--incremental`, a batch at a time.
    pub new: RunSet,
    /// Of the failure log.
    pub failed: RunSet,
    /// Of the failure log, and gone from the source.
    pub gone: RunSet,
    /// Numbers too far above the highest archived run.
    pub held_back: RunSet,
    /// Late arrivals of which it cannot be told whether UconDB has them.
    pub waiting: RunSet,
    /// Still being written, as far as can be told.
    pub settling: RunSet,
    /// Removed from the archive after they were archived.
    pub pruned: RunSet,
    /// Left by an earlier archiver.
    pub left: RunSet,
    /// Below the first run of the configuration.
    pub below_first: RunSet,
    /// Impossible to archive, as an operator declared.
    pub ignored: RunSet,
}

impl Backlog {
    /// The runs that are not meant to be archived without being asked for.
    #[must_use]
    pub fn accounted_for(&self) -> RunSet {
        [&self.pruned, &self.left, &self.below_first, &self.ignored]
            .into_iter()
            .fold(RunSet::default(), |all, set| all.union(set))
    }
}

/// What an operator declared of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The runs that cannot be archived.
    pub runs: RunSet,
    /// Why.
    pub reason: String,
    /// Who declared it.
    pub user: String,
    /// When.
    pub date: Timestamp,
}

impl Declaration {
    /// `99999999: a directory made by mistake (anna, 2025-10-24)`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let date = self.date.to_zoned_datetime(jiff::tz::TimeZone::system());
        format!(
            "{}: {} ({}, {})",
            super::text::listed(&self.runs),
            self.reason,
            self.user,
            date.strftime("%Y-%m-%d")
        )
    }
}

/// A run of a failure log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub run: Run,
    /// How it failed; `None` for a line that an operator added.
    pub details: Option<FailureDetails>,
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureDetails {
    /// Whether the run fails until its record changes.
    pub is_permanent: bool,
    /// The error's text.
    pub reason: String,
    /// When it failed for the first time.
    pub since: Timestamp,
    /// When it failed for the last time.
    pub last: Timestamp,
    /// In how many executions it failed.
    pub attempts: u32,
    /// When it is tried again by itself; `None` for a permanent failure.
    pub next_try: Option<Timestamp>,
}

impl Failure {
    /// `transient` or `permanent`. A line without details may pass.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match &self.details {
            Some(details) if details.is_permanent => "permanent",
            _ => "transient",
        }
    }

    /// The first line of the reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        let reason = self.details.as_ref().map(|details| details.reason.as_str());
        let first = reason.and_then(|reason| reason.lines().next());
        first.unwrap_or("the reason is not known")
    }
}

/// What is remembered of runs that are not archived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What operators declared.
    pub ignored: Vec<Declaration>,
    /// The runs of the import failure log.
    pub failed_imports: Vec<Failure>,
    /// The runs of the migrate failure log.
    pub failed_migrations: Vec<Failure>,
    /// Records of archived runs that need a look.
    pub records: RecordFindings,
}
