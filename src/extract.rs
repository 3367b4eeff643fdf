//! A run's files, got back from a database and written to a directory.

use std::path::{Path, PathBuf};

use crate::artdaqdb::ArtdaqDb;
use crate::blob;
use crate::durable;
use crate::error::{Disposition, Error, Result};
use crate::run::{FclFile, Run};
use crate::ucondb::UconDb;

/// Downloads a run's blob and takes it apart.
///
/// # Errors
/// The run is not in UconDB, or what is there is no blob of it.
pub fn from_ucondb(ucondb: &dyn UconDb, run: Run) -> Result<Vec<FclFile>> {
    let wrong = |problem: String| {
        Error::ucondb(
            ucondb.location().to_owned(),
            format!("run {run}: {problem}"),
            Disposition::FailRun,
        )
    };
    let bytes = ucondb.download(run)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("the blob is not UTF-8: {error}")))?;
    let blob = blob::read(&text).map_err(|problem| wrong(format!("this is no blob: {problem}")))?;
    if blob.run != run {
        return Err(wrong(format!("the blob says it is of run {}", blob.run)));
    }
    for ambiguity in &blob.ambiguities {
        log::warn!("run {run}: {ambiguity}");
    }
    Ok(blob.files)
}

/// Reads a run's files from artdaqDB.
///
/// # Errors
/// The run is not there or not whole; a document cannot be read.
pub fn from_artdaqdb(artdaqdb: &dyn ArtdaqDb, run: Run) -> Result<Vec<FclFile>> {
    Ok(artdaqdb.read(run)?.files)
}

/// Writes files into `directory`, which is made if it does not exist. Files that
/// exist are not replaced. Returns the files written.
///
/// # Errors
/// A file's name would lead out of the directory; a file exists or cannot be
/// written. Nothing is written unless every file can be.
pub fn write_files(run: Run, files: &[FclFile], directory: &Path) -> Result<Vec<PathBuf>> {
    let mut targets = Vec::with_capacity(files.len());
    for file in files {
        if !is_plain_name(&file.entity) {
            return Err(Error::RunRecord {
                path: directory.to_path_buf(),
                problem: format!(
                    "run {run} has a file named {:?}, which would lead out of this directory; \
                     nothing was written",
                    format!("{}.fcl", file.entity),
                ),
            });
        }
        let name = file_name(&file.entity, &targets);
        if name.len() < file.entity.len() {
            log::warn!(
                "run {run}: a file name of {} bytes is too long, its file is {name}: {}.fcl",
                file.entity.len() + 4,
                file.entity
            );
        }
        let target = directory.join(name);
        if target.symlink_metadata().is_ok() || targets.contains(&target) {
            return Err(Error::Usage(format!(
                "{} exists; nothing was written. Name another directory with --output",
                target.display()
            )));
        }
        targets.push(target);
    }
    durable::create_directory(directory, 0o750)?;
    for (file, target) in files.iter().zip(&targets) {
        durable::replace_entry(target, file.text.as_bytes(), durable::PRIVATE)?;
    }
    durable::sync_directory(directory)?;
    Ok(targets)
}

/// The name of an entity's file. One that no file system takes is shortened; of
/// those that would be the same then, each gets a number.
fn file_name(entity: &str, taken: &[PathBuf]) -> String {
    const LONGEST: usize = 255;
    let name = format!("{entity}.fcl");
    if name.len() <= LONGEST {
        return name;
    }
    let mut end = LONGEST - 20;
    while !entity.is_char_boundary(end) {
        end -= 1;
    }
    let is_taken = |name: &str| taken.iter().any(|path| path.ends_with(name));
    let mut name = format!("{}~.fcl", &entity[..end]);
    let mut number = 2;
    while is_taken(&name) {
        name = format!("{}~{number}.fcl", &entity[..end]);
        number += 1;
    }
    name
}

/// Whether a name names a file in a directory, and nowhere else. A backslash is a
/// character as any other on Linux.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c != '/' && !c.is_control())
}
