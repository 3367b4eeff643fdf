//! Which runs there are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Disposition, Error, Result};
use crate::faults;
use crate::faults::fs::{self, DirEntry};
use crate::run::Run;

/// Finds the run records in a directory: its directories, and links to
/// directories, whose name is a number. Everything else is passed over.
///
/// Where two names are the same number (`7` and `007`), the one with fewer
/// leading zeros is taken and the other named in a warning.
///
/// # Errors
/// [`Error::Io`] if the directory, or a link in it, can't be read.
pub fn scan(run_records_dir: &Path) -> Result<BTreeMap<Run, PathBuf>> {
    let failed = |source| Error::io("read the run records in", run_records_dir, source);
    let mut runs: BTreeMap<Run, PathBuf> = BTreeMap::new();
    for entry in faults::read_dir(run_records_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(run) = run_of(&entry.file_name()) else {
            log::debug!(
                "{} is not a run record: not a number",
                entry.path().display()
            );
            continue;
        };
        if !is_directory(&entry)? {
            continue;
        }
        match runs.entry(run) {
            Entry::Vacant(vacant) => {
                vacant.insert(entry.path());
            }
            Entry::Occupied(mut taken) => {
                let (mut keep, mut other) = (entry.path(), taken.get().clone());
                if name_length(&other) < name_length(&keep) {
                    (keep, other) = (other, keep);
                }
                log::warn!(
                    "run {run} has two run records: {} is used, {} is not; rename the one that is \
                     not this run",
                    keep.display(),
                    other.display()
                );
                taken.insert(keep);
            }
        }
    }
    Ok(runs)
}

/// The run that a directory of this name holds. Runs count from 1.
fn run_of(name: &OsStr) -> Option<Run> {
    Run::parse(name.to_str()?).filter(|run| run.0 > 0)
}

/// Whether an entry is a directory or a link to one; asks the file system only
/// about links. One that can't be looked at may be one.
///
/// # Errors
/// The machine is at fault: to pass over a run then is to lose it.
fn is_directory(entry: &DirEntry) -> Result<bool> {
    let path = entry.path();
    let is_directory = match entry.file_type() {
        Ok(kind) if kind.is_symlink() => fs::metadata(&path).map(|target| target.is_dir()),
        kind => kind.map(|kind| kind.is_dir()),
    };
    match is_directory {
        Ok(true) => return Ok(true),
        Ok(false) => log::debug!("{} is not a run record: not a directory", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            log::debug!("{} is not a run record: a dangling link", path.display());
        }
        Err(source) => {
            let error = Error::io("look at", &path, source);
            match error.disposition() {
                Disposition::StopStage => return Err(error),
                // Whether the run or the machine is at fault is found out when the record is
                // read.
                Disposition::RetryRun => return Ok(true),
                Disposition::FailRun | Disposition::LeaveRun => {
                    log::warn!("{} is passed over: {error}", path.display());
                }
            }
        }
    }
    Ok(false)
}

fn name_length(path: &Path) -> usize {
    path.file_name().map_or(0, OsStr::len)
}
