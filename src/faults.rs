//! The one door to the file system, at which tests can make any operation fail.
//!
//! Built as it is for use, [`fs`] is `std::fs` and everything else here is
//! nothing. Built with the feature `fault-injection`, which is for tests alone,
//! every operation asks first, and environment variables say what becomes of it:
//!
//! - `RUN_RECORD_ARCHIVER_FAULT=N:KIND` makes the Nth operation to which KIND can
//!   happen fail, counted from 1 over all threads: `eio`, `enospc`, `short` (a
//!   write that takes half, and no more after it), `wrong` (a read of a file of
//!   ours gives a changed byte), `kill` (the process is dead, a write half done),
//!   `sticky-enospc` (the Nth operation that takes space, and every one after it).
//! - `RUN_RECORD_ARCHIVER_OUTAGES=KIND:N:PATH;...` makes every operation below PATH
//!   fail, after N of them: `read-only` and `no-rights` (what changes the file
//!   system), `dead` and `stale` (everything, as on a mount whose server is gone).
//! - `RUN_RECORD_ARCHIVER_OPERATIONS=FILE` appends a line for each operation, and
//!   one that begins with `!` where it was made to fail.

use std::io;
use std::path::Path;

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("the feature fault-injection is for tests: a build for use must not have it");

#[cfg(feature = "fault-injection")]
mod injected;

/// What `std::fs` has.
pub mod fs {
    #[cfg(feature = "fault-injection")]
    pub use super::injected::*;
    #[cfg(not(feature = "fault-injection"))]
    pub use std::fs::*;
}

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening a file or directory that is there.
    Open,
    /// Opening a file that need not be there.
    Create,
    /// Reading from a file.
    Read,
    /// Writing to a file, changing its length or its rights.
    Write,
    /// Making a file or directory durable.
    Sync,
    /// Giving a file another name.
    Rename,
    /// Giving a file one name more.
    Link,
    /// Making a directory.
    MakeDirectory,
    /// Removing a file.
    Remove,
    /// Asking for a file's properties.
    Stat,
    /// Asking for the next name in a directory.
    List,
    /// Taking a lock.
    Lock,
}

/// Asks about an operation that [`fs`] does not do itself.
///
/// # Errors
/// The one that a test asked for; without the feature, none.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn ask(_: Operation, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Asks about an operation that [`fs`] does not do itself.
///
/// # Errors
/// The one that a test asked for; without the feature, none.
#[cfg(feature = "fault-injection")]
pub fn ask(operation: Operation, path: &Path) -> io::Result<()> {
    injected::ask(operation, path)
}

/// `fs::read_dir`, once more if a signal came in between: std sees to that wherever else
/// it opens something.
///
/// # Errors
/// The directory can't be opened.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<fs::ReadDir> {
    loop {
        match fs::read_dir(path.as_ref()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// [`Path::exists`]: a file that can't be looked at does not exist. Only for where
/// that does no harm; `fs::exists` tells the two apart.
#[must_use]
pub fn exists(path: &Path) -> bool {
    fs::exists(path).unwrap_or(false)
}

/// [`Path::is_dir`]: a directory that can't be looked at is none.
#[must_use]
pub fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}
