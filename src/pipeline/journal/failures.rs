//! What is known of failed runs beside their numbers: `import_failures.json` and
//! `migrate_failures.json`, beside the failure logs.
//!
//! The failure log decides which runs failed: an operator can edit it. A line
//! without details is a failure that may pass; details without a line are of a run
//! whose line an operator removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::Result;
use crate::regular_file;
use crate::run::Run;

/// After which time a failure is tried again for the first time.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// How much earlier it is due: it failed moments after the hour, and an execution is
/// started at the hour.
const LEEWAY: SignedDuration = SignedDuration::from_mins(5);
/// The longest time between two attempts.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// Whether a failure can pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The run may succeed later as it is.
    Transient,
    /// The run fails until its record changes.
    Permanent,
}

/// What is known of a run's failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// Whether it can pass.
    pub class: FailureClass,
    /// The error's text.
    pub reason: String,
    /// When the run failed for the first time.
    pub first: Timestamp,
    /// When it failed for the last time.
    pub last: Timestamp,
    /// In how many executions it failed.
    pub attempts: u32,
    /// When it is tried again at the earliest; none for a permanent failure.
    pub next_try: Option<Timestamp>,
    /// The record as it was when the run failed, or the documents: a change of
    /// them is worth another attempt.
    pub evidence: Option<String>,
}

impl FailureDetails {
    /// The details of a run that fails now, after it may have failed before.
    pub(crate) fn new(
        class: FailureClass,
        reason: String,
        evidence: Option<String>,
        before: Option<&FailureDetails>,
        now: Timestamp,
    ) -> FailureDetails {
        let attempts = before.map_or(0, |before| before.attempts).saturating_add(1);
        FailureDetails {
            class,
            first: before.map_or(now, |before| before.first),
            last: now,
            attempts,
            next_try: match class {
                FailureClass::Transient => now.checked_add(pause(attempts) - LEEWAY).ok(),
                FailureClass::Permanent => None,
            },
            reason,
            evidence,
        }
    }

    /// Whether the run failed for this reason before. Numbers, such as a duration
    /// or a process ID, do not make it another one.
    pub(crate) fn is_same_reason(&self, reason: &str) -> bool {
        is_same_reason(&self.reason, reason)
    }
}

/// Whether two errors are the same but for their numbers.
pub(crate) fn is_same_reason(one: &str, other: &str) -> bool {
    let words = |text: &str| -> String {
        let letters = text.chars().filter(|letter| !letter.is_ascii_digit());
        letters.collect()
    };
    words(one) == words(other)
}

/// How long a run waits that failed so often.
fn pause(attempts: u32) -> SignedDuration {
    let doublings = attempts.saturating_sub(1).min(10);
    FIRST_PAUSE
        .checked_mul(1 << doublings)
        .map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}

/// The failed runs of a stage, each with its details where they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// The runs of the failure log.
    pub runs: BTreeSet<Run>,
    details: BTreeMap<Run, FailureDetails>,
}

impl Failures {
    /// The runs of the log with these details; details of other runs are dropped.
    pub(super) fn new(runs: BTreeSet<Run>, mut details: BTreeMap<Run, FailureDetails>) -> Failures {
        details.retain(|run, _| runs.contains(run));
        Failures { runs, details }
    }

    /// What is known of a run's failure.
    #[must_use]
    pub fn details(&self, run: Run) -> Option<&FailureDetails> {
        self.details.get(&run)
    }

    /// The runs that fail until their record changes.
    pub fn permanent(&self) -> impl Iterator<Item = (Run, &FailureDetails)> {
        let all = self.details.iter();
        all.filter(|(_, details)| details.class == FailureClass::Permanent)
            .map(|(run, details)| (*run, details))
    }

    /// Whether a run is to be tried again by itself at this time.
    #[must_use]
    pub fn is_due(&self, run: Run, now: Timestamp) -> bool {
        match self.details.get(&run) {
            None => true,
            Some(details) => details.next_try.is_some_and(|time| time <= now),
        }
    }

    pub(crate) fn insert(&mut self, run: Run, details: FailureDetails) {
        self.runs.insert(run);
        self.details.insert(run, details);
    }

    pub(super) fn remove(&mut self, run: Run) {
        self.runs.remove(&run);
        self.details.remove(&run);
    }

    /// Takes over which runs the log has.
    pub(super) fn keep_only(&mut self, runs: BTreeSet<Run>) {
        self.details.retain(|run, _| runs.contains(run));
        self.runs = runs;
    }

    pub(super) fn all_details(&self) -> &BTreeMap<Run, FailureDetails> {
        &self.details
    }
}

/// The file of the details beside a failure log: `import_failures.json` beside
/// `import_failures.log`.
#[must_use]
pub fn details_file(failure_log: &Path) -> PathBuf {
    failure_log.with_extension("json")
}

/// Reads the details. A file that cannot be understood holds none, as nothing is
/// lost with it but the times of the next attempts.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read_details(path: &Path) -> Result<BTreeMap<Run, FailureDetails>> {
    let bytes = match regular_file::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(crate::error::Error::io("read", path, source)),
    };
    let details: BTreeMap<u64, FailureDetails> = match serde_json::from_slice(&bytes) {
        Ok(details) => details,
        Err(error) => {
            log::warn!(
                "{} can't be read ({error}): its runs count as failed for a reason that may pass, \
                 and are tried again",
                path.display()
            );
            BTreeMap::new()
        }
    };
    Ok(details
        .into_iter()
        .map(|(run, details)| (Run(run), details))
        .collect())
}

/// Replaces the details.
///
/// # Errors
/// The file cannot be written; it is then as it was.
pub(super) fn write_details(path: &Path, details: &BTreeMap<Run, FailureDetails>) -> Result<()> {
    let details: BTreeMap<u64, &FailureDetails> = details
        .iter()
        .map(|(run, details)| (run.0, details))
        .collect();
    let text = serde_json::to_string_pretty(&details).map_err(|error| {
        crate::error::Error::Unexpected(format!("the details of failures: {error}"))
    })?;
    durable::replace(path, format!("{text}\n").as_bytes(), durable::PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fs;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn attempts_come_after_an_hour_then_rarer_up_to_a_day() {
        let mut details = None;
        let mut pauses = Vec::new();
        for attempt in 0..7 {
            let next = FailureDetails::new(
                FailureClass::Transient,
                "timed out after 5 s".into(),
                None,
                details.as_ref(),
                at(attempt),
            );
            let pause = next.next_try.unwrap().duration_since(at(attempt));
            pauses.push((pause + LEEWAY).as_hours());
            details = Some(next);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 24, 24]);
        let details = details.unwrap();
        assert_eq!(
            (details.first, details.last, details.attempts),
            (at(0), at(6), 7)
        );
        assert!(details.is_same_reason("timed out after 12 s"));
        assert!(!details.is_same_reason("refused"));
    }

    #[test]
    fn details_are_kept_and_only_those_of_the_log_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = details_file(&directory.path().join("import_failures.log"));
        assert!(path.ends_with("import_failures.json"));
        assert!(read_details(&path).unwrap().is_empty());
        let permanent = FailureDetails::new(
            FailureClass::Permanent,
            "x".into(),
            Some("y".into()),
            None,
            at(0),
        );
        let details = BTreeMap::from([(Run(7), permanent.clone()), (Run(8), permanent)]);
        write_details(&path, &details).unwrap();
        assert_eq!(read_details(&path).unwrap(), details);
        let failures = Failures::new([Run(7), Run(9)].into(), details);
        assert!(failures.details(Run(8)).is_none());
        assert!(!failures.is_due(Run(7), at(999)), "permanent");
        assert!(failures.is_due(Run(9), at(0)), "a line of an operator");
        fs::write(&path, "{").unwrap();
        assert!(read_details(&path).unwrap().is_empty());
    }
}
