//! What a stage remembers between executions: how far it came, and which runs
//! failed. Both can be recomputed from the sources; they save the next execution
//! the work and tell the operator where the archive stands.
//!
//! The failure log is written before the state, so that `last_attempted_run`
//! never passes a run that is neither archived nor in the failure log.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
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

    /// Recomputes how far the stage came, from every run that is `known` to the
    /// source or the archive, and those that are archived or failed.
    pub fn recompute(
        &mut self,
        known: &BTreeSet<Run>,
        archived: &BTreeSet<Run>,
        failed: &BTreeSet<Run>,
    ) {
        let last = |settled: &dyn Fn(&Run) -> bool| {
            known.iter().take_while(|run| settled(run)).last().copied()
        };
        self.last_contiguous_run = last(&|run| archived.contains(run));
        self.last_attempted_run = last(&|run| archived.contains(run) || failed.contains(run));
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
    match fs::read(path) {
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

    #[test]
    fn numbers_that_never_existed_hold_nothing_back() {
        let mut state = State::default();
        state.recompute(&runs(&[5, 7, 9, 12, 20]), &runs(&[5, 7, 20]), &runs(&[9]));
        assert_eq!(state.last_contiguous_run, Some(Run(7)));
        assert_eq!(state.last_attempted_run, Some(Run(9)));
    }

    proptest! {
        #[test]
        fn attempted_never_passes_a_run_that_is_neither_archived_nor_failed(
            known in prop::collection::btree_set(1u64..60, 0..40),
            archived in prop::collection::btree_set(1u64..60, 0..40),
            failed in prop::collection::btree_set(1u64..60, 0..40),
        ) {
            let set = |numbers: &std::collections::BTreeSet<u64>| numbers.iter().copied().map(Run).collect::<BTreeSet<_>>();
            let (known, archived, failed) = (set(&known), set(&archived), set(&failed));
            let mut state = State::default();
            state.recompute(&known, &archived, &failed);
            prop_assert!(state.last_contiguous_run <= state.last_attempted_run);
            for run in &known {
                if Some(*run) <= state.last_attempted_run {
                    prop_assert!(archived.contains(run) || failed.contains(run));
                }
                if Some(*run) <= state.last_contiguous_run {
                    prop_assert!(archived.contains(run));
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
