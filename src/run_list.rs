//! A file of run numbers, one a line: a failure log, or the runs in progress.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{Error, Result};
use crate::regular_file;
use crate::run::Run;

/// A list of runs in a file.
#[derive(Debug, Clone)]
pub struct RunList {
    path: PathBuf,
}

/// What the file of a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    runs: BTreeSet<Run>,
    /// Lines that are no run number: an operator's remarks.
    other: Vec<String>,
    exists: bool,
}

impl RunList {
    /// The list in this file, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> RunList {
        RunList { path }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the list; a file that does not exist is an empty one. Lines that are
    /// no run number are ignored.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> Result<BTreeSet<Run>> {
        Ok(self.content()?.runs)
    }

    /// Makes an empty list where there is no file, so that an operator finds one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(&self) -> Result<()> {
        let content = self.content()?;
        match content.exists {
            true => Ok(()),
            false => self.replace(&content, &BTreeSet::new()),
        }
    }

    /// Replaces the list, in the order of the runs, each once. Lines that are no
    /// run number stay, above the runs.
    ///
    /// # Errors
    /// The file cannot be written; it is then as it was.
    pub fn write(&self, runs: &BTreeSet<Run>) -> Result<()> {
        let content = self.content()?;
        self.replace(&content, runs)
    }

    /// Changes the list from `before` to `after`, and keeps what was added and
    /// removed in the file meanwhile, as an operator does. Returns the new list.
    ///
    /// A run that is new in `after` is in the new list in any case.
    ///
    /// # Errors
    /// The file cannot be read or written; it is then as it was.
    pub fn merge(&self, before: &BTreeSet<Run>, after: &BTreeSet<Run>) -> Result<BTreeSet<Run>> {
        let content = self.content()?;
        let removed = before.difference(&content.runs);
        let removed: BTreeSet<Run> = removed
            .filter(|run| content.exists && after.contains(run))
            .copied()
            .collect();
        let added = content.runs.difference(before);
        let mut merged: BTreeSet<Run> = after.iter().chain(added).copied().collect();
        merged.retain(|run| !removed.contains(run));
        if !content.exists || content.runs != merged {
            self.replace(&content, &merged)?;
        }
        Ok(merged)
    }

    fn replace(&self, content: &Content, runs: &BTreeSet<Run>) -> Result<()> {
        let mut text = String::new();
        for line in &content.other {
            text.push_str(line);
            text.push('\n');
        }
        for run in runs {
            text.push_str(&format!("{run}\n"));
        }
        durable::replace(&self.path, text.as_bytes(), durable::PRIVATE)
    }

    fn content(&self) -> Result<Content> {
        // What is not UTF-8 is no run number either.
        let text = match regular_file::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
            Err(source) => return Err(Error::io("read", &self.path, source)),
        };
        let mut content = Content {
            exists: true,
            ..Content::default()
        };
        for line in text.lines() {
            match Run::parse(line.trim()) {
                Some(run) => {
                    content.runs.insert(run);
                }
                None if line.trim().is_empty() => {}
                None => content.other.push(line.to_owned()),
            }
        }
        Ok(content)
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
    fn remarks_are_ignored_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let list = RunList::new(directory.path().join("failures.log"));
        assert!(list.read().unwrap().is_empty());
        fs::write(
            list.path(),
            "# see ticket 7\n12500\n\n 12501 \nrun 7\n12500",
        )
        .unwrap();
        assert_eq!(list.read().unwrap(), runs(&[12500, 12501]));
        list.write(&runs(&[10, 9])).unwrap();
        let text = fs::read_to_string(list.path()).unwrap();
        assert_eq!(text, "# see ticket 7\nrun 7\n9\n10\n");
    }

    #[test]
    fn what_an_operator_changes_meanwhile_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let list = RunList::new(directory.path().join("failures.log"));
        list.write(&runs(&[1, 2, 3])).unwrap();
        // The operator removes 1 and 2, and adds 9; meanwhile 3 is archived, 2 and 4 fail.
        fs::write(list.path(), "3\n9\n").unwrap();
        let merged = list.merge(&runs(&[1, 2, 3]), &runs(&[1, 2, 4])).unwrap();
        assert_eq!(merged, runs(&[4, 9]));
        assert_eq!(list.read().unwrap(), merged);
    }

    #[test]
    fn a_list_that_vanished_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let list = RunList::new(directory.path().join("failures.log"));
        assert_eq!(list.merge(&runs(&[1]), &runs(&[1])).unwrap(), runs(&[1]));
        assert_eq!(fs::read_to_string(list.path()).unwrap(), "1\n");
        fs::remove_file(list.path()).unwrap();
        list.merge(&runs(&[]), &runs(&[])).unwrap();
        assert!(list.path().exists());
    }
}
