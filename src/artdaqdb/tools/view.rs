//! The database as the archiver reads it itself, to see what the tools did.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::artdaqdb::filesystem::FilesystemDb;
use crate::artdaqdb::index::Index;
use crate::artdaqdb::{NativeDb, RUN_HISTORY, SYSTEM_LAYOUT};
use crate::error::{Error, Result};
use crate::regular_file;

/// The collections that have an index in a FilesystemDB.
pub(super) const COLLECTIONS: [&str; 2] = [RUN_HISTORY, SYSTEM_LAYOUT];

/// A database at one moment.
pub(super) struct View {
    db: Arc<dyn NativeDb>,
    /// A FilesystemDB's directory: the archive itself, or a copy of its indexes.
    root: Option<PathBuf>,
    copy: Option<Copy>,
}

/// What a copy is a copy of. The copy goes with it.
struct Copy {
    original: String,
    directory: TempDir,
}

impl View {
    /// A database server.
    pub fn server(db: Arc<dyn NativeDb>) -> View {
        View {
            db,
            root: None,
            copy: None,
        }
    }

    /// A FilesystemDB on this machine.
    pub fn directory(root: &Path) -> View {
        View {
            db: Arc::new(FilesystemDb::at(root)),
            root: Some(root.to_path_buf()),
            copy: None,
        }
    }

    /// A copy of a FilesystemDB, or of a part of it; messages name the original.
    pub fn copy(directory: TempDir, original: String) -> View {
        let mut view = View::directory(directory.path());
        view.copy = Some(Copy {
            original,
            directory,
        });
        view
    }

    /// The directory, if it is a FilesystemDB.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Asks the database.
    ///
    /// # Errors
    /// Those of the question.
    pub fn ask<T>(&self, question: impl FnOnce(&dyn NativeDb) -> Result<T>) -> Result<T> {
        question(self.db.as_ref()).map_err(|error| match &self.copy {
            Some(copy) => copy.name_original(error),
            None => error,
        })
    }
}

impl Copy {
    fn name_original(&self, mut error: Error) -> Error {
        let copy = self.directory.path().to_string_lossy();
        if let Error::ArtdaqDb {
            location, problem, ..
        } = &mut error
        {
            *location = location.replace(&*copy, &self.original);
            *problem = problem.replace(&*copy, &self.original);
        }
        error
    }
}

/// A FilesystemDB's indexes as they stood before a tool was started. The real
/// tools write them in place, so that one that is killed can leave a torn index,
/// without which no run of the archive can be read.
#[derive(Debug, Default)]
pub(super) struct Indexes(BTreeMap<&'static str, Vec<u8>>);

impl Indexes {
    /// Reads the indexes that there are.
    ///
    /// # Errors
    /// One is there and can't be read.
    pub fn read(root: &Path) -> Result<Indexes> {
        let mut indexes = BTreeMap::new();
        for collection in COLLECTIONS {
            let path = root.join(collection).join("index.json");
            match regular_file::read(&path) {
                Ok(bytes) => drop(indexes.insert(collection, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("read", &path, source)),
            }
        }
        Ok(Indexes(indexes))
    }

    /// What has to be put back into the place of those in `now` that are torn.
    pub fn to_restore(&self, now: &Indexes) -> Indexes {
        let is_torn = |bytes: &[u8]| {
            let index = std::str::from_utf8(bytes).ok().map(Index::parse);
            !matches!(index, Some(Ok(_)))
        };
        let torn = now.0.iter().filter(|(_, bytes)| is_torn(bytes));
        let restored = torn.map(|(collection, _)| {
            let before = self.0.get(collection).cloned();
            let before = before.unwrap_or_else(|| Index::default().write().into_bytes());
            (*collection, before)
        });
        Indexes(restored.collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each index with its path below the archive.
    pub fn files(&self) -> impl Iterator<Item = (String, &[u8])> {
        self.0
            .iter()
            .map(|(collection, bytes)| (format!("{collection}/index.json"), &**bytes))
    }
}
