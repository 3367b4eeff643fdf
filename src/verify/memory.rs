//! `verify.json`: how far `--verify --incremental` came, and what it found. It is
//! the only file that a verification writes, so that archiving goes on beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ComparedRun;
use crate::clock;
use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::run::Run;
use crate::run_set::RunSet;

/// The file of the work directory.
pub const VERIFY_FILE: &str = "verify.json";

/// How many runs are named with what was found.
const NAMED: usize = 1000;

/// What verifications remember.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The UconDB that all this is of: address, folder and object.
    pub ucondb: String,
    /// The last run of the present round that was compared; `None` between rounds.
    pub position: Option<u64>,
    /// When the present round began.
    pub began: Option<Timestamp>,
    /// When the last round was finished.
    pub finished: Option<Timestamp>,
    /// When a run was compared for the last time.
    pub last: Option<Timestamp>,
    /// How many runs of the present round were compared.
    pub compared: u64,
    /// The runs that were not well when they were last compared.
    pub not_well: RunSet,
    /// What was found of the first of them, in a line.
    pub findings: BTreeMap<u64, String>,
    /// The runs whose blob was what artdaqDB has when they were last compared.
    pub migrated: RunSet,
}

impl Memory {
    /// Reads the file; one that does not exist, or is of another UconDB, remembers
    /// nothing.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what this program writes.
    pub fn read(work_dir: &Path, ucondb: &str) -> Result<Memory> {
        let path = path(work_dir);
        let memory: Memory = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::State {
                path,
                problem: format!(
                    "what --verify remembers cannot be read ({error}). Remove the file: the next \
                     --verify --incremental then begins with the first run"
                ),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        Ok(match memory.ucondb == ucondb {
            true => memory,
            false => Memory {
                ucondb: ucondb.to_owned(),
                ..Memory::default()
            },
        })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written; it is then as it was.
    pub fn write(&self, work_dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Unexpected(format!("{VERIFY_FILE}: {error}")))?;
        let text = format!("{text}\n");
        durable::replace(&path(work_dir), text.as_bytes(), durable::PRIVATE)
    }

    /// Takes in what was found of some runs.
    pub fn note(&mut self, runs: &[ComparedRun]) {
        let all: RunSet = runs.iter().map(|run| run.run).collect();
        let with = |wanted: fn(&ComparedRun) -> bool| -> RunSet {
            let runs = runs.iter().filter(|run| wanted(run));
            runs.map(|run| run.run).collect()
        };
        let not_well = with(|run| !run.is_well());
        self.not_well = self.not_well.difference(&all).union(&not_well);
        let migrated = with(|run| run.is_migrated);
        self.migrated = self.migrated.difference(&all).union(&migrated);
        for run in runs {
            self.findings.remove(&run.run.0);
            if let Some(finding) = run.findings.first() {
                let more = match run.findings.len() {
                    1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                let finding = finding.to_string();
                let line = finding.lines().next().unwrap_or_default();
                self.findings.insert(run.run.0, format!("{line}{more}"));
            }
        }
        while self.findings.len() > NAMED {
            self.findings.pop_last();
        }
        self.last = Some(clock::now());
    }

    /// Takes in that the present round came to a run.
    pub fn advance(&mut self, run: Run) {
        if self.began.is_none() {
            self.began = Some(clock::now());
            self.compared = 0;
        }
        self.compared += 1;
        self.position = Some(run.0);
    }

    /// Ends the present round. Returns when it began.
    pub fn finish_round(&mut self) -> Option<Timestamp> {
        self.position = None;
        self.finished = Some(clock::now());
        self.began.take()
    }
}

fn path(work_dir: &Path) -> PathBuf {
    work_dir.join(VERIFY_FILE)
}
