//! The files of every compared run, written for `diff -r`.

use std::path::{Path, PathBuf};

use crate::comparison::FileSet;
use crate::error::{Error, Result};
use crate::extract;
use crate::faults::fs;
use crate::pipeline::journal::Store;
use crate::run::{FclFile, Run};

/// A directory with a tree for each place: `record`, `artdaqdb` and `ucondb`, a
/// directory for each run in it.
#[derive(Debug)]
pub struct Trees {
    directory: PathBuf,
}

impl Trees {
    /// Prepares the directory, which must be empty or not exist.
    ///
    /// # Errors
    /// It is not empty, or cannot be made.
    pub fn create(directory: &Path) -> Result<Trees> {
        fs::create_dir_all(directory).map_err(|source| Error::io("create", directory, source))?;
        let mut entries =
            fs::read_dir(directory).map_err(|source| Error::io("read", directory, source))?;
        if entries.next().is_some() {
            return Err(Error::Usage(format!(
                "{} is not empty; nothing was written. Name another directory with --output",
                directory.display()
            )));
        }
        Ok(Trees {
            directory: directory.to_path_buf(),
        })
    }

    /// Writes the files of a run.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write(&self, store: Store, run: Run, files: &FileSet) -> Result<()> {
        let tree = match store {
            Store::Records => "record",
            Store::Artdaqdb => "artdaqdb",
            Store::Ucondb => "ucondb",
        };
        let directory = self.directory.join(tree).join(run.to_string());
        let files: Vec<FclFile> = files
            .iter()
            .map(|(entity, text)| FclFile {
                entity: entity.to_owned(),
                text: text.to_owned(),
            })
            .collect();
        match extract::write_files(run, &files, &directory) {
            // A name that no directory takes; the other runs are of use.
            Err(Error::RunRecord { path, problem }) => {
                log::warn!("{}: {problem}", path.display());
                Ok(())
            }
            written => written.map(drop),
        }
    }
}
