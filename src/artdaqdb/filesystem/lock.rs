//! The locks of an archive that several archivers share: flocks on two files
//! beside the collections, where the real tools never look.
//!
//! `documents` is held shared while documents are written that no index names yet,
//! and alone while an index is made of the documents: a rebuild must not take half
//! of a load for a run. `index` is held alone, for moments, by the process that
//! replaces an index. Who needs both takes `documents` first.
//!
//! A program that was stopped, or whose disk hangs, may hold a lock for ever.
//! Waits therefore have a limit, and hear the shutdown. No caller waits here while
//! it holds a mutex that other workers need.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Disposition, Error, Remedy, Result};
use crate::faults::fs::{File, OpenOptions, TryLockError};
use crate::shutdown::Shutdown;
use crate::sys::patience::{Over, Patience};

/// The file of `index`. Earlier versions know this one alone.
pub(in crate::artdaqdb) const INDEX_FILE: &str = ".run_record_archiver.lock";
/// The file of `documents`.
pub(in crate::artdaqdb) const DOCUMENTS_FILE: &str = ".run_record_archiver.documents.lock";

/// How long a lock is waited for where no other limit is set.
const LIMIT: Duration = Duration::from_secs(600);

/// After how long a wait is logged.
const WORTH_A_WARNING: Duration = Duration::from_secs(10);

/// The pauses between two attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The locks of one archive.
#[derive(Debug)]
pub(in crate::artdaqdb) struct ArchiveLock {
    root: PathBuf,
    patience: Patience,
}

/// A lock that is held. It ends with this, and with every copy of its file.
#[derive(Debug)]
pub(in crate::artdaqdb) struct Held {
    path: PathBuf,
    file: File,
}

#[derive(Clone, Copy)]
enum Access {
    Shared,
    Exclusive,
}

impl ArchiveLock {
    /// The locks of the archive in a directory. Nothing is opened yet.
    pub fn new(root: &Path, shutdown: &Shutdown) -> ArchiveLock {
        ArchiveLock::within(root, LIMIT, shutdown)
    }

    /// The same; each wait lasts at most `limit`.
    pub fn within(root: &Path, limit: Duration, shutdown: &Shutdown) -> ArchiveLock {
        ArchiveLock {
            root: root.to_path_buf(),
            patience: Patience::new(limit, shutdown),
        }
    }

    /// Waits until no index is being rebuilt, and keeps rebuilds off: for writing
    /// documents.
    ///
    /// # Errors
    /// The archive's directory is missing, or its lock file can't be opened or
    /// locked; another program holds the lock for too long, or while the execution
    /// is to end.
    pub fn documents(&self) -> Result<Held> {
        let path = self.root.join(DOCUMENTS_FILE);
        self.take(create(&path)?, path, Access::Shared)
    }

    /// Waits until no documents are being written, and keeps off all who write
    /// them: for a rebuild.
    ///
    /// # Errors
    /// As for [`documents`](Self::documents).
    pub fn all_documents(&self) -> Result<Held> {
        let path = self.root.join(DOCUMENTS_FILE);
        self.take(create(&path)?, path, Access::Exclusive)
    }

    /// The same without waiting: `None` if somebody writes documents.
    ///
    /// # Errors
    /// The lock file can't be opened or locked.
    pub fn try_all_documents(&self) -> Result<Option<Held>> {
        let path = self.root.join(DOCUMENTS_FILE);
        let file = create(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held { path, file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", path, source)),
        }
    }

    /// Waits until no other process of ours uses the index: for replacing it.
    ///
    /// # Errors
    /// As for [`documents`](Self::documents).
    pub fn index(&self) -> Result<Held> {
        let path = self.root.join(INDEX_FILE);
        self.take(create(&path)?, path, Access::Exclusive)
    }

    /// Waits until no other process of ours writes the index: for reading one that
    /// is written in place. `None` if there is no lock file: an archive to which no
    /// archiver wrote needs no lock, and one that is only read is not written to.
    ///
    /// # Errors
    /// As for [`documents`](Self::documents).
    pub fn index_to_read(&self) -> Result<Option<Held>> {
        let path = self.root.join(INDEX_FILE);
        match File::open(&path) {
            Ok(file) => self.take(file, path, Access::Shared).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("open", path, source)),
        }
    }

    fn take(&self, file: File, path: PathBuf, access: Access) -> Result<Held> {
        let begun = Instant::now();
        let mut pause = PAUSE.0;
        let mut is_logged = false;
        loop {
            let locked = match access {
                Access::Shared => file.try_lock_shared(),
                Access::Exclusive => file.try_lock(),
            };
            match locked {
                Ok(()) => return Ok(Held { path, file }),
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", path, source)),
                Err(TryLockError::WouldBlock) => {}
            }
            match self.patience.over(begun) {
                None => {}
                Some(Over::Limit) => {
                    return Err(held_for(&path, self.patience.limit()));
                }
                Some(Over::Shutdown { is_first }) => {
                    if is_first {
                        let waited = Duration::from_secs(begun.elapsed().as_secs());
                        log::warn!("{}", held_for(&path, waited));
                    }
                    self.patience.shutdown().check()?;
                }
            }
            if begun.elapsed() >= WORTH_A_WARNING && !is_logged {
                is_logged = true;
                log::warn!(
                    "Waiting for another program to release {}: `fuser -v` on the file shows it",
                    path.display()
                );
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

impl Held {
    /// The lock as the input of another program, which reads nothing from it: the
    /// lock then lives until that program ends, even if this one is killed.
    ///
    /// # Errors
    /// The system has no more files to give.
    pub fn as_input(&self) -> Result<Stdio> {
        let copy = self.file.try_clone();
        copy.map(Stdio::from)
            .map_err(|source| Error::io("keep open", &self.path, source))
    }
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| Error::io("open", path, source))
}

/// Another program holds the lock.
fn held_for(path: &Path, time: Duration) -> Error {
    let problem = format!(
        "another program has held this lock for {} s.",
        time.as_secs_f64()
    );
    Error::artdaqdb(path.display().to_string(), problem, Disposition::StopStage)
        .with_remedy(Remedy::FindLockHolder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::patience::LAST_PATIENCE;

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    fn a_lock_that_is_not_released_ends_no_wait_later_than_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::default();
        let locks = ArchiveLock::within(directory.path(), SHORT, &shutdown);
        let held = locks.index().unwrap();
        let error = locks.index().unwrap_err();
        assert_eq!(error.disposition(), Disposition::StopStage);
        assert!(error.to_string().contains("fuser -v"), "{error}");
        drop(held);
        locks.index().unwrap();
    }

    #[test]
    fn after_a_shutdown_all_waits_together_last_no_longer_than_one() {
        let directory = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::default();
        let locks = ArchiveLock::new(directory.path(), &shutdown);
        let _held = locks.index().unwrap();
        shutdown.request("test");
        let begun = Instant::now();
        for _ in 0..4 {
            let error = locks.index().unwrap_err();
            assert!(matches!(error, Error::Interrupted(_)), "{error}");
        }
        assert!(begun.elapsed() < LAST_PATIENCE * 2);
    }

    #[test]
    fn documents_are_written_by_many_and_rebuilt_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::default();
        let locks = ArchiveLock::within(directory.path(), SHORT, &shutdown);
        let writers = [locks.documents().unwrap(), locks.documents().unwrap()];
        locks.all_documents().unwrap_err();
        drop(writers);
        let rebuild = locks.all_documents().unwrap();
        locks.documents().unwrap_err();
        locks.index().unwrap();
        drop(rebuild);
        locks.documents().unwrap();
    }

    #[test]
    fn readers_share_the_index_and_create_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::default();
        let locks = ArchiveLock::within(directory.path(), SHORT, &shutdown);
        assert!(locks.index_to_read().unwrap().is_none());
        assert!(!directory.path().join(INDEX_FILE).exists());
        drop(locks.index().unwrap());
        let _readers = [
            locks.index_to_read().unwrap().unwrap(),
            locks.index_to_read().unwrap().unwrap(),
        ];
        locks.index().unwrap_err();
    }
}
