//! The right to write to an archive that several archivers share: an flock on a
//! file beside the collections. It is held for moments; a program that was
//! stopped, or whose disk hangs, may hold it for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Disposition, Error, Result};
use crate::faults::fs::{File, OpenOptions, TryLockError};
use crate::shutdown::Shutdown;

/// How long the lock is waited for, in all and once the execution is to end.
const PATIENCE: Duration = Duration::from_secs(600);
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// After how long it is said that something is waited for.
const WORTH_A_WORD: Duration = Duration::from_secs(10);

/// The pauses between two attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Waits for the lock, which ends with the file that is given back.
///
/// # Errors
/// The file can't be opened or locked; another program holds it for too long,
/// or while the execution is to end.
pub(super) fn take(path: &Path, shutdown: &Shutdown) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| Error::io("open", path, source))?;
    let begun = Instant::now();
    let mut pause = PAUSE.0;
    let mut is_said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(Error::io("lock", path, source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = begun.elapsed();
        if waited >= PATIENCE || (shutdown.requested() && waited >= LAST_PATIENCE) {
            return Err(Error::ArtdaqDb {
                location: path.display().to_string(),
                problem: format!(
                    "another program has held this lock for {} s. Find it with `fuser -v` on the \
                     file, and let it end or end it",
                    waited.as_secs()
                ),
                disposition: Disposition::StopStage,
            });
        }
        if waited >= WORTH_A_WORD && !is_said {
            is_said = true;
            log::warn!(
                "Waiting for another program to release {}: `fuser -v` on the file shows it",
                path.display()
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_not_released_keeps_nobody_from_ending() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let shutdown = Shutdown::default();
        let held = take(&path, &shutdown).unwrap();
        shutdown.request("test");
        let begun = Instant::now();
        let error = take(&path, &shutdown).unwrap_err();
        assert!(begun.elapsed() < LAST_PATIENCE * 4);
        assert_eq!(error.disposition(), Disposition::StopStage);
        assert!(error.to_string().contains("fuser -v"), "{error}");
        drop(held);
        take(&path, &shutdown).unwrap();
    }
}
