//! The lock on the work directory itself. The lock file can be removed, which asks for
//! a graceful end, and made anew; the directory cannot while it is in use, so that no
//! second execution begins before the first one has ended.
//!
//! On NFS it holds on this host alone: the lock file is for the others.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::faults::fs::{File, TryLockError};

/// Locks a work directory. `None` if its file system locks no directories.
///
/// # Errors
/// [`Error::Locked`] if another process holds it, whom `holder` describes; it can't be
/// opened or locked.
pub(super) fn lock(work_dir: &Path, holder: impl FnOnce() -> Error) -> Result<Option<File>> {
    let directory = File::open(work_dir).map_err(|error| Error::io("open", work_dir, error))?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        Err(TryLockError::WouldBlock) => Err(holder()),
        Err(TryLockError::Error(error)) if is_unknown(&error) => {
            log::debug!("{} can't be locked: {error}", work_dir.display());
            Ok(None)
        }
        Err(TryLockError::Error(error)) => Err(Error::io("lock", work_dir, error)),
    }
}

/// Whether the file system has no such locks.
fn is_unknown(error: &io::Error) -> bool {
    use Errno as E;
    matches!(
        Errno::from_io_error(error),
        Some(E::NOSYS | E::NOTSUP | E::INVAL | E::BADF | E::NOLCK)
    )
}
