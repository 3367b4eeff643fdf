//! Runs that were archived while they were still going, remembered until their
//! stop time is in both databases.
//!
//! The file is written before a run becomes visible in artdaqDB, and a run leaves
//! it only after UconDB has its stop time: a crash at any moment leaves too many
//! runs in it, never too few.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::durable;
use crate::error::{Error, Result};
use crate::regular_file;
use crate::run::Run;
use crate::sys::sync;

/// A run whose stop time is not in both databases yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// When it was first seen without a stop time.
    since: Timestamp,
    /// Whether artdaqDB has its stop time by now.
    stop_time: bool,
    /// Whether artdaqDB has something else of it that UconDB has not.
    #[serde(default, skip_serializing_if = "is_false")]
    has_more: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The runs remembered in one file of the work directory.
#[derive(Debug)]
pub struct IncompleteRuns {
    path: PathBuf,
    /// After this time a run counts as complete without a stop time.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<u64, Entry>,
    written: BTreeMap<u64, Entry>,
}

impl IncompleteRuns {
    /// Reads the file; one that does not exist holds no runs.
    ///
    /// # Errors
    /// The file can't be read, or is not what this program writes.
    pub fn load(path: &Path, patience: Duration) -> Result<IncompleteRuns> {
        let runs: BTreeMap<u64, Entry> = match regular_file::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::State {
                path: path.to_path_buf(),
                problem: format!(
                    "the list of runs without a stop time can't be read ({error}). It was left as \
                     it is. Restore it from a backup, or move it away: the runs that it named \
                     then stay without their stop time"
                ),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(Error::io("read", path, source)),
        };
        Ok(IncompleteRuns {
            path: path.to_path_buf(),
            patience,
            state: Mutex::new(State {
                written: runs.clone(),
                runs,
            }),
        })
    }

    /// Remembers that a run has no stop time yet.
    pub fn remember(&self, run: Run) {
        self.remember_since(run, clock::now());
    }

    /// The same of a run that has had none for a while.
    pub fn remember_since(&self, run: Run, since: Timestamp) {
        self.entry(run, since, |_| {});
    }

    /// Notes that artdaqDB has the stop time of a run that had none, whoever added it.
    pub fn found_stop_time(&self, run: Run) {
        self.entry(run, clock::now(), |entry| entry.stop_time = true);
    }

    /// Notes that artdaqDB has more of a run than UconDB.
    pub fn grew(&self, run: Run) {
        self.entry(run, clock::now(), |entry| entry.has_more = true);
    }

    fn entry(&self, run: Run, since: Timestamp, change: impl FnOnce(&mut Entry)) {
        let mut state = self.lock();
        change(state.runs.entry(run.0).or_insert(Entry {
            since,
            stop_time: false,
            has_more: false,
        }));
    }

    /// Notes that artdaqDB has the run's stop time.
    pub fn stop_time_added(&self, run: Run) {
        if let Some(entry) = self.lock().runs.get_mut(&run.0) {
            entry.stop_time = true;
        }
    }

    /// Notes that UconDB has what artdaqDB has. A run without a stop time stays.
    pub fn migrated(&self, run: Run) {
        let mut state = self.lock();
        match state.runs.get_mut(&run.0) {
            Some(entry) if entry.stop_time => drop(state.runs.remove(&run.0)),
            Some(entry) => entry.has_more = false,
            None => {}
        }
    }

    /// The runs whose stop time artdaqDB does not have.
    #[must_use]
    pub fn going(&self) -> BTreeSet<Run> {
        self.select(|entry| !entry.stop_time)
    }

    /// The runs that may still get a stop time: those going, less those that have
    /// been so for longer than patience lasts.
    #[must_use]
    pub fn awaited(&self) -> BTreeSet<Run> {
        let patience = SignedDuration::try_from(self.patience).unwrap_or(SignedDuration::MAX);
        let now = clock::now();
        self.select(|entry| !entry.stop_time && now.duration_since(entry.since) < patience)
    }

    /// The runs that are not awaited any longer: they can be migrated as they are.
    #[must_use]
    pub fn ready(&self) -> BTreeSet<Run> {
        &self.select(|_| true) - &self.awaited()
    }

    /// The runs of which artdaqDB has more than UconDB: mostly the stop time.
    #[must_use]
    pub fn to_refresh(&self) -> BTreeSet<Run> {
        self.select(|entry| entry.stop_time || entry.has_more)
    }

    /// Writes the file, if anything changed since.
    ///
    /// # Errors
    /// The file can't be written; it is then as it was.
    pub fn save(&self) -> Result<()> {
        let mut state = self.lock();
        if state.runs != state.written {
            let text = serde_json::to_string_pretty(&state.runs).map_err(|error| Error::State {
                path: self.path.clone(),
                problem: error.to_string(),
            })?;
            durable::replace(&self.path, format!("{text}\n").as_bytes(), durable::PRIVATE)?;
            state.written = state.runs.clone();
        }
        Ok(())
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> BTreeSet<Run> {
        let state = self.lock();
        let runs = state.runs.iter().filter(|(_, entry)| wanted(entry));
        runs.map(|(run, _)| Run(*run)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion, removal or assignment.
        sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fs;

    fn runs(numbers: &[u64]) -> BTreeSet<Run> {
        numbers.iter().copied().map(Run).collect()
    }

    #[test]
    fn a_run_is_remembered_until_both_databases_have_its_stop_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incomplete_runs.json");
        let load = || IncompleteRuns::load(&path, Duration::from_secs(3600)).unwrap();
        let incomplete = load();
        incomplete.save().unwrap();
        assert!(!path.exists(), "nothing to remember");
        incomplete.remember(Run(7));
        incomplete.remember(Run(8));
        incomplete.save().unwrap();

        let incomplete = load();
        assert_eq!(incomplete.going(), runs(&[7, 8]));
        incomplete.migrated(Run(7));
        assert_eq!(
            incomplete.going(),
            runs(&[7, 8]),
            "migrated without its stop time"
        );
        incomplete.stop_time_added(Run(7));
        incomplete.stop_time_added(Run(99));
        assert_eq!(
            (incomplete.going(), incomplete.to_refresh()),
            (runs(&[8]), runs(&[7]))
        );
        incomplete.remember(Run(7));
        assert_eq!(
            incomplete.to_refresh(),
            runs(&[7]),
            "seen again, known already"
        );
        incomplete.migrated(Run(7));
        incomplete.save().unwrap();
        assert_eq!(
            (load().going(), load().to_refresh()),
            (runs(&[8]), runs(&[]))
        );
    }

    #[test]
    fn patience_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incomplete_runs.json");
        let incomplete = IncompleteRuns::load(&path, Duration::ZERO).unwrap();
        incomplete.remember(Run(7));
        assert_eq!(incomplete.awaited(), runs(&[]));
        assert_eq!(incomplete.going(), runs(&[7]));
    }

    #[test]
    fn a_broken_list_is_never_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incomplete_runs.json");
        for text in ["", "{", "[]", r#"{"7": {}}"#] {
            fs::write(&path, text).unwrap();
            let error = IncompleteRuns::load(&path, Duration::ZERO)
                .unwrap_err()
                .to_string();
            assert!(error.contains("incomplete_runs.json"), "{error}");
        }
    }

    #[test]
    fn a_run_is_ready_when_it_has_its_stop_time_or_was_awaited_long_enough() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incomplete_runs.json");
        let load = |patience| IncompleteRuns::load(&path, patience).unwrap();
        let incomplete = load(Duration::from_secs(3600));
        incomplete.remember(Run(7));
        incomplete.remember(Run(8));
        incomplete.stop_time_added(Run(8));
        assert_eq!(incomplete.awaited(), runs(&[7]));
        assert_eq!(incomplete.ready(), runs(&[8]));
        incomplete.save().unwrap();
        assert_eq!(load(Duration::ZERO).ready(), runs(&[7, 8]));
        assert_eq!(load(Duration::MAX).awaited(), runs(&[7]));
    }

    #[test]
    fn what_did_not_change_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("incomplete_runs.json");
        let incomplete = IncompleteRuns::load(&path, Duration::ZERO).unwrap();
        incomplete.remember(Run(7));
        incomplete.save().unwrap();
        fs::remove_file(&path).unwrap();
        incomplete.save().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_list_that_cannot_be_read_is_not_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let error = IncompleteRuns::load(directory.path(), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }
}
