//! Who holds the lock, for people and for other hosts: a file beside the lock
//! file, `.archiver.lock.holder`, that names host, PID and start.
//!
//! It decides nothing by itself. The lock file has the PID alone, as it is fed to
//! `kill`; on a file system that several hosts share, a PID says too little.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::durable;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::regular_file;

/// More than a line of ours has, in bytes.
const LIMIT: u64 = 4096;

/// An execution that holds the lock, or held it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The host's name, as `uname -n` gives it.
    pub host: String,
    /// The process on that host.
    pub pid: i32,
    /// When it took the lock.
    pub start: Timestamp,
}

impl Holder {
    /// This process, from this moment on.
    #[must_use]
    pub fn this_process() -> Holder {
        Holder {
            host: this_host(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            start: clock::actual(),
        }
    }

    /// Whether it is, or was, a process of another host than this one.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.host != this_host()
    }

    /// Its start in the time of this machine: `2025-10-24 03:00:00`.
    #[must_use]
    pub fn since(&self) -> String {
        self.start
            .to_zoned_datetime(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string()
    }

    /// Reads who holds or held a lock; `None` if there is no such file.
    ///
    /// # Errors
    /// The file can't be read, or is none of ours.
    pub fn read(lock_file: &Path) -> Result<Option<Holder>> {
        let path = path(lock_file);
        let failed = |error| Error::io("read", &path, error);
        let mut text = String::new();
        match regular_file::open(&path) {
            Ok(file) => file
                .take(LIMIT)
                .read_to_string(&mut text)
                .map_err(failed)
                .map(|_| ())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let problem = format!("it names no host, PID and start: {error}");
            failed(io::Error::new(io::ErrorKind::InvalidData, problem))
        })
    }

    /// Writes it down beside the lock file.
    ///
    /// # Errors
    /// The file can't be replaced.
    pub(super) fn write(&self, lock_file: &Path) -> Result<()> {
        let text = serde_json::to_string(self)
            .map_err(|error| Error::Unexpected(format!("cannot write the holder: {error}")))?;
        let text = format!("{text}\n");
        durable::replace(&path(lock_file), text.as_bytes(), durable::PRIVATE)
    }

    /// Removes the file, unless it names somebody else by now.
    pub(super) fn remove(&self, lock_file: &Path) {
        if matches!(Holder::read(lock_file), Ok(Some(found)) if found == *self)
            && let Err(error) = remove(lock_file)
        {
            log::warn!("{error}; it does no harm");
        }
    }
}

/// Removes the file beside a lock file; one that it is a link to, not the link.
///
/// # Errors
/// It can't be removed.
pub(super) fn remove(lock_file: &Path) -> Result<()> {
    let target = durable::target_of(&path(lock_file))?;
    fs::remove_file(&target).map_err(|error| Error::io("remove", &target, error))
}

/// The file beside a lock file.
#[must_use]
pub fn path(lock_file: &Path) -> PathBuf {
    let mut name = lock_file.as_os_str().to_owned();
    name.push(".holder");
    PathBuf::from(name)
}

/// This host's name.
#[must_use]
pub fn this_host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_only_ones_own_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join(".archiver.lock");
        assert_eq!(Holder::read(&lock).unwrap(), None);
        let ours = Holder::this_process();
        assert!(!ours.is_elsewhere());
        ours.write(&lock).unwrap();
        assert_eq!(Holder::read(&lock).unwrap().as_ref(), Some(&ours));
        let other = Holder {
            host: "evb99".into(),
            ..ours.clone()
        };
        assert!(other.is_elsewhere());
        other.remove(&lock);
        assert!(path(&lock).exists());
        ours.remove(&lock);
        assert!(!path(&lock).exists());
    }

    #[test]
    fn what_is_no_holder_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join(".archiver.lock");
        let huge = vec![b'x'; 100_000];
        for bytes in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"host\": 7}", &huge] {
            fs::write(path(&lock), bytes).unwrap();
            let error = Holder::read(&lock).unwrap_err().to_string();
            assert!(error.contains(".archiver.lock.holder"), "{error}");
        }
    }
}
