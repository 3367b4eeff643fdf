//! A file of run numbers, one a line: a failure log, or the runs in hand.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::run::Run;

/// A list of runs in a file.
#[derive(Debug, Clone)]
pub struct RunList {
    path: PathBuf,
    title: &'static str,
}

impl RunList {
    /// The list in this file, which need not exist. Messages call it `title`.
    #[must_use]
    pub fn new(path: PathBuf, title: &'static str) -> RunList {
        RunList { path, title }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the list; a file that does not exist is an empty one.
    ///
    /// # Errors
    /// A file that can't be read, or a line that is not a run number.
    pub fn read(&self) -> Result<BTreeSet<Run>> {
        // What is not UTF-8 is no run number either.
        let text = match fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(source) => return Err(Error::io("read", &self.path, source)),
        };
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| {
                Run::parse(line.trim()).ok_or_else(|| Error::State {
                    path: self.path.clone(),
                    problem: format!(
                        "line {} of the {} is {:?}, which is not a run number. It was left as it \
                         is. Correct or remove that line, then run the same command again",
                        number + 1,
                        self.title,
                        line.trim()
                    ),
                })
            })
            .collect()
    }

    /// Replaces the list, in the order of the runs, each once.
    ///
    /// # Errors
    /// The file can't be written; it is then as it was.
    pub fn write(&self, runs: &BTreeSet<Run>) -> Result<()> {
        let text: String = runs.iter().map(|run| format!("{run}\n")).collect();
        durable::replace(&self.path, text.as_bytes(), durable::PRIVATE)
    }
}
