//! What a stage remembers between executions: how far it came, and which runs
//! failed. Both can be recomputed from the sources; they save the next execution
//! the work and tell the operator where the archive stands.
//!
//! The failure log is written before the state, so that `last_attempted_run`
//! never passes a run that is neither archived nor in the failure log.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::regular_file;
use crate::run::Run;
use crate::run_list::RunList;

const CONTIGUOUS: &str = "last_contiguous_run";
const ATTEMPTED: &str = "last_attempted_run";

/// How far a stage came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The highest run up to which every known run is archived.
    pub last_contiguous_run: Option<Run>,
    /// The highest run up to which every known run is archived or in the
    /// failure log.
    pub last_attempted_run: Option<Run>,
    /// Keys that other programs keep in the file.
    pub(crate) other: Map<String, Value>,
}

impl State {
    /// Where an incremental execution goes on: after this run.
    #[must_use]
    pub fn incremental_start(&self) -> Option<Run> {
        self.last_contiguous_run.max(self.last_attempted_run)
    }

    /// Works out how far the stage came, from every run that is `known` to the
    /// source or the archive. A run `is_done` when it is archived or ignored, and
    /// `is_booked` when it failed or is set apart.
    ///
    /// `last_attempted_run` never falls, and passes no run that is neither done nor
    /// booked.
    pub fn advance(
        &mut self,
        known: &BTreeSet<Run>,
        is_done: impl Fn(Run) -> bool,
        is_booked: impl Fn(Run) -> bool,
    ) {
        let done = known.iter().take_while(|run| is_done(**run));
        self.last_contiguous_run = done.last().copied();
        let from = match self.last_attempted_run {
            Some(run) => Bound::Excluded(run),
            None => Bound::Unbounded,
        };
        let attempted = known.range((from, Bound::Unbounded));
        let attempted = attempted.take_while(|run| is_done(**run) || is_booked(**run));
        self.last_attempted_run = attempted
            .last()
            .copied()
            .or(self.last_attempted_run)
            .max(self.last_contiguous_run);
    }
}

/// The state file and the failure log of one stage.
#[derive(Debug, Clone)]
pub struct StateStore {
    state_file: PathBuf,
    failure_log: RunList,
}

impl StateStore {
    /// The state kept in these two files, which need not exist.
    #[must_use]
    pub fn new(state_file: PathBuf, failure_log: PathBuf) -> StateStore {
        StateStore {
            state_file,
            failure_log: RunList::new(failure_log),
        }
    }

    /// The state file, for messages.
    #[must_use]
    pub fn state_file(&self) -> &Path {
        &self.state_file
    }

    /// The failure log, for messages.
    #[must_use]
    pub fn failure_log(&self) -> &Path {
        self.failure_log.path()
    }

    /// Reads the state; `None` before the first execution.
    ///
    /// # Errors
    /// As for [`StateStore::read`].
    pub fn find(&self, way_out: &str) -> Result<Option<State>> {
        let exists = fs::exists(&self.state_file)
            .map_err(|source| Error::io("read", &self.state_file, source))?;
        match exists {
            true => self.read(way_out).map(Some),
            false => Ok(None),
        }
    }

    /// Reads the state; a file that does not exist is the state before the first execution.
    ///
    /// # Errors
    /// A file that can't be read or is not what this program or the old one
    /// writes. It is never taken for an empty one, and never changed.
    pub fn read(&self, way_out: &str) -> Result<State> {
        let Some(bytes) = read_if_exists(&self.state_file)? else {
            log::debug!(
                "Reading state file: {} (does not exist yet)",
                self.state_file.display()
            );
            return Ok(State::default());
        };
        let broken = |problem: String| Error::State {
            path: self.state_file.clone(),
            problem: format!("the state file {problem}. It was left as it is. {way_out}"),
        };
        let mut other: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("is not the JSON object it should be ({error})")))?;
        if ![CONTIGUOUS, ATTEMPTED]
            .iter()
            .any(|key| other.contains_key(*key))
        {
            return Err(broken(format!("has neither {CONTIGUOUS} nor {ATTEMPTED}")));
        }
        let mut run = |key: &str| match other.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                // The old tool writes 0 for "none yet".
                Some(0) => Ok(None),
                Some(number) => Ok(Some(Run(number))),
                None => Err(broken(format!(
                    "has {value} for {key}, which is not a run number"
                ))),
            },
        };
        let state = State {
            last_contiguous_run: run(CONTIGUOUS)?,
            last_attempted_run: run(ATTEMPTED)?,
            other,
        };
        log::debug!("Reading state file: {}", self.state_file.display());
        log::debug!("State: {}", json(&state));
        Ok(state)
    }

    /// Replaces the state file.
    ///
    /// # Errors
    /// The file can't be written; it is then as it was.
    pub fn write(&self, state: &State) -> Result<()> {
        log::debug!(
            "Writing state file: {}: {}",
            self.state_file.display(),
            json(state)
        );
        durable::replace(
            &self.state_file,
            format!("{}\n", json(state)).as_bytes(),
            durable::PRIVATE,
        )
    }

    /// Reads the failure log.
    ///
    /// # Errors
    /// As for [`RunList::read`].
    pub fn failures(&self) -> Result<BTreeSet<Run>> {
        self.failure_log.read()
    }

    /// Changes the failure log from `before` to `after`; returns what it holds
    /// then, with what an operator changed meanwhile.
    ///
    /// # Errors
    /// As for [`RunList::merge`].
    pub fn merge_failures(
        &self,
        before: &BTreeSet<Run>,
        after: &BTreeSet<Run>,
    ) -> Result<BTreeSet<Run>> {
        self.failure_log.merge(before, after)
    }

    /// Makes an empty failure log where there is none.
    ///
    /// # Errors
    /// As for [`RunList::create`].
    pub fn create_failure_log(&self) -> Result<()> {
        self.failure_log.create()
    }

    /// Replaces the failure log.
    ///
    /// # Errors
    /// As for [`RunList::write`].
    pub fn write_failures(&self, failures: &BTreeSet<Run>) -> Result<()> {
        self.failure_log.write(failures)
    }
}

/// `{"last_contiguous_run": 12500, "last_attempted_run": 12550}`, as the manual shows it.
fn json(state: &State) -> String {
    let number = |run: Option<Run>| run.map_or(0, |run| run.0);
    let mut text = format!(
        "{{\"{CONTIGUOUS}\": {}, \"{ATTEMPTED}\": {}",
        number(state.last_contiguous_run),
        number(state.last_attempted_run)
    );
    for (key, value) in &state.other {
        text.push_str(&format!(", {}: {value}", Value::from(key.as_str())));
    }
    text.push('}');
    text
}

fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>> {
    match regular_file::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store(directory: &tempfile::TempDir) -> StateStore {
        StateStore::new(
            directory.path().join("state.json"),
            directory.path().join("failures.log"),
        )
    }

    fn runs(numbers: &[u64]) -> BTreeSet<Run> {
        numbers.iter().copied().map(Run).collect()
    }

    #[test]
    fn writes_what_the_manual_shows_and_keeps_what_others_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        assert_eq!(store.read("").unwrap(), State::default());
        fs::write(
            store.state_file(),
            r#"{ "last_contiguous_run": 12500, "note": "x", "last_attempted_run": 12550 }"#,
        )
        .unwrap();
        let state = store.read("").unwrap();
        assert_eq!(state.incremental_start(), Some(Run(12550)));
        store.write(&state).unwrap();
        assert_eq!(
            fs::read_to_string(store.state_file()).unwrap(),
            "{\"last_contiguous_run\": 12500, \"last_attempted_run\": 12550, \"note\": \"x\"}\n"
        );
    }

    #[test]
    fn a_broken_state_is_an_error_that_names_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"lasv_attempted_run": 12}"#,
            "12",
            r#"{"last_contiguous_run": "12"}"#,
            r#"{"last_attempted_run": -1}"#,
        ] {
            fs::write(store.state_file(), text).unwrap();
            let error = store
                .read("Run --recover-import-state")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("--recover-import-state") && error.contains("state.json"),
                "{error}"
            );
            assert_eq!(fs::read_to_string(store.state_file()).unwrap(), text);
        }
    }

    #[test]
    fn the_failure_log_holds_each_run_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        fs::write(store.failure_log(), "12501\n12500\n12501\n").unwrap();
        assert_eq!(store.failures().unwrap(), runs(&[12500, 12501]));
        store.write_failures(&runs(&[9, 10])).unwrap();
        assert_eq!(fs::read_to_string(store.failure_log()).unwrap(), "9\n10\n");
    }

    fn advanced(state: &State, known: &[u64], done: &[u64], booked: &[u64]) -> State {
        let (done, booked) = (runs(done), runs(booked));
        let mut state = state.clone();
        state.advance(
            &runs(known),
            |run| done.contains(&run),
            |run| booked.contains(&run),
        );
        state
    }

    #[test]
    fn numbers_that_never_existed_hold_nothing_back() {
        let state = advanced(&State::default(), &[5, 7, 9, 12, 20], &[5, 7, 20], &[9]);
        assert_eq!(state.last_contiguous_run, Some(Run(7)));
        assert_eq!(state.last_attempted_run, Some(Run(9)));
    }

    #[test]
    fn a_late_arrival_lowers_only_what_is_contiguous() {
        let state = advanced(&State::default(), &[5, 7, 9], &[5, 7, 9], &[]);
        let state = advanced(&state, &[5, 6, 7, 9, 10, 12], &[5, 7, 9, 10], &[]);
        assert_eq!(state.last_contiguous_run, Some(Run(5)));
        assert_eq!(state.last_attempted_run, Some(Run(10)));
    }

    proptest! {
        #[test]
        fn attempted_never_falls_or_passes_a_run_that_is_neither_done_nor_booked(
            known in prop::collection::btree_set(1u64..60, 0..40),
            done in prop::collection::btree_set(1u64..60, 0..40),
            booked in prop::collection::btree_set(1u64..60, 0..40),
            before in prop::option::of(1u64..60),
        ) {
            let set = |numbers: &std::collections::BTreeSet<u64>| numbers.iter().copied().map(Run).collect::<BTreeSet<_>>();
            let (known, done, booked) = (set(&known), set(&done), set(&booked));
            let before = before.map(Run);
            let mut state = State { last_attempted_run: before, ..State::default() };
            state.advance(&known, |run| done.contains(&run), |run| booked.contains(&run));
            prop_assert!(state.last_contiguous_run <= state.last_attempted_run);
            prop_assert!(state.last_attempted_run >= before);
            for run in &known {
                if Some(*run) <= state.last_attempted_run && Some(*run) > before {
                    prop_assert!(done.contains(run) || booked.contains(run));
                }
                if Some(*run) <= state.last_contiguous_run {
                    prop_assert!(done.contains(run));
                }
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_one_that_does_not_exist() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        fs::create_dir(store.state_file()).unwrap();
        fs::create_dir(store.failure_log()).unwrap();
        let error = store.read("").unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("state.json"),
            "{error}"
        );
        let error = store.failures().unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("failures.log"),
            "{error}"
        );
    }

    #[test]
    fn zero_and_null_stand_for_no_run() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let text = r#"{"last_contiguous_run": 0, "last_attempted_run": null}"#;
        fs::write(store.state_file(), text).unwrap();
        assert_eq!(store.read("").unwrap(), State::default());
        assert_eq!(State::default().incremental_start(), None);
    }
}
