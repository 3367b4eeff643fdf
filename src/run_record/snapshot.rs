//! How a run record looks from outside: the names, sizes and times of its files.
//! What changed since is found without reading a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use md5::{Digest, Md5};

use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs;

/// How deep directories below a record are looked into. Records have one level.
const DEPTH: u32 = 4;

/// A record's files, each with what changes when the file does, and the last
/// change of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<OsString, Stamp>, Option<(i64, i64)>);

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same of the last change of contents, mode, owner or name.
    changed: (i64, i64),
}

/// What changes when files come into a directory or go, whatever becomes of those that
/// are there: seconds and nanoseconds of its modification, and its inode.
pub type DirectoryStamp = (i64, i64, u64);

/// Looks at a record's directory alone.
///
/// # Errors
/// It cannot be looked at.
pub fn directory_stamp(record: &Path) -> Result<DirectoryStamp> {
    let found = fs::metadata(record).map_err(|source| Error::io("look at", record, source))?;
    Ok((found.mtime(), found.mtime_nsec(), found.ino()))
}

impl Snapshot {
    /// Looks at a record.
    ///
    /// # Errors
    /// A directory or a file cannot be looked at.
    pub fn take(record: &Path) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.add(record, &OsString::new(), DEPTH)?;
        Ok(snapshot)
    }

    fn add(&mut self, directory: &Path, prefix: &OsString, depth: u32) -> Result<()> {
        let failed = |source| Error::io("look at", directory, source);
        let own = fs::metadata(directory).map_err(failed)?;
        self.1 = self.1.max(Some((own.ctime(), own.ctime_nsec())));
        for entry in faults::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let mut name = prefix.clone();
            name.push(entry.file_name());
            // Not through links: what they lead to is looked at when it is read.
            let found = match fs::symlink_metadata(entry.path()) {
                Ok(found) => found,
                // Renamed between the two: the next look finds the new name.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::io("look at", entry.path(), source)),
            };
            if found.is_dir() && depth > 0 {
                name.push("/");
                self.add(&entry.path(), &name, depth - 1)?;
                continue;
            }
            let stamp = Stamp {
                size: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            };
            self.0.insert(name, stamp);
        }
        Ok(())
    }

    /// When a file or a directory of the record changed for the last time.
    #[must_use]
    pub fn newest_change(&self) -> Option<Timestamp> {
        let stamps = self.0.values().map(|stamp| stamp.changed);
        let (seconds, nanoseconds) = stamps.chain(self.1).max()?;
        Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or_default()).ok()
    }

    /// Identifies the names, sizes and modification times alone: what backups and
    /// changes of modes leave as it is.
    #[must_use]
    pub fn digest_of_contents(&self) -> String {
        self.digest_with(|stamp| vec![stamp.modified.0, stamp.modified.1])
    }

    /// How many bytes its files have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.values().map(|stamp| stamp.size).sum()
    }

    /// Whether the record has no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The beginnings of both digests, to be kept for every archived run.
    #[must_use]
    pub fn short_digests(&self) -> (u64, u64) {
        let number = |digest: &str| {
            let digits = digest.get(..16).unwrap_or_default();
            u64::from_str_radix(digits, 16).unwrap_or_default()
        };
        (number(&self.digest()), number(&self.digest_of_contents()))
    }

    /// Identifies the snapshot: the MD5 of all that it holds, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest_with(|stamp| {
            let Stamp {
                modified, changed, ..
            } = stamp;
            vec![modified.0, modified.1, changed.0, changed.1]
        })
    }

    fn digest_with(&self, times: impl Fn(&Stamp) -> Vec<i64>) -> String {
        let mut digest = Md5::new();
        for (name, stamp) in &self.0 {
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name.as_bytes());
            digest.update(stamp.size.to_le_bytes());
            for number in times(stamp) {
                digest.update(number.to_le_bytes());
            }
        }
        let digest = digest.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path();
        let look = || Snapshot::take(record).unwrap();
        assert!(look().is_empty());
        fs::create_dir(record.join("sub")).unwrap();
        let mut seen = vec![look().digest()];
        let mut changes: Vec<Box<dyn Fn()>> = Vec::new();
        let file = record.join("a.fcl");
        let below = record.join("sub/b.fcl");
        let (one, two) = (file.clone(), file.clone());
        changes.push(Box::new(move || fs::write(&one, "a: 1").unwrap()));
        changes.push(Box::new(move || fs::write(&two, "a: 12").unwrap()));
        changes.push(Box::new(move || fs::write(&below, "b: 1").unwrap()));
        changes.push(Box::new(move || fs::remove_file(&file).unwrap()));
        for change in changes {
            change();
            let digest = look().digest();
            assert_eq!(digest, look().digest());
            assert!(!seen.contains(&digest));
            seen.push(digest);
        }
        assert!(Snapshot::take(&record.join("gone")).is_err());
    }
}
