//! A run's blob, written back as files.

use std::path::{Path, PathBuf};

use crate::blob;
use crate::durable;
use crate::error::{Disposition, Error, Result};
use crate::faults::fs;
use crate::run::Run;
use crate::ucondb::UconDb;

/// Downloads a run's blob and writes its files into `directory`, which is made
/// if it does not exist. Files that exist are not replaced. Gives the files
/// written.
///
/// # Errors
/// The run is not in UconDB, or what is there is no blob; a file's name would
/// lead out of the directory; a file exists or can't be written. Nothing is
/// written unless every file can be.
pub fn extract(ucondb: &dyn UconDb, run: Run, directory: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |problem: String| Error::UconDb {
        location: ucondb.location().to_owned(),
        problem: format!("run {run}: {problem}"),
        disposition: Disposition::FailRun,
    };
    let bytes = ucondb.download(run)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("the blob is not UTF-8: {error}")))?;
    let files =
        blob::unpack(&text).map_err(|problem| wrong(format!("this is no blob: {problem}")))?;

    let mut targets = Vec::with_capacity(files.len());
    for file in &files {
        if !is_plain_name(&file.entity) {
            return Err(wrong(format!(
                "the blob holds a file named {:?}, which would lead out of {}; nothing was written",
                format!("{}.fcl", file.entity),
                directory.display()
            )));
        }
        let target = directory.join(format!("{}.fcl", file.entity));
        if target.symlink_metadata().is_ok() || targets.contains(&target) {
            return Err(Error::Usage(format!(
                "{} exists; nothing was written. Name another directory with --output",
                target.display()
            )));
        }
        targets.push(target);
    }
    fs::create_dir_all(directory).map_err(|source| Error::io("create", directory, source))?;
    for (file, target) in files.iter().zip(&targets) {
        durable::replace_entry(target, file.text.as_bytes(), durable::PRIVATE)?;
    }
    durable::sync_directory(directory)?;
    Ok(targets)
}

/// Whether a name names a file in a directory, and nowhere else.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() < 250
        && name
            .chars()
            .all(|c| c != '/' && c != '\\' && !c.is_control())
}
