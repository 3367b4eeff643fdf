//! UconDB: where a run's blob is kept for ever, as a version of an object in a
//! folder, under the run number as its key.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::run::Run;

/// What UconDB says of a stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Bytes of the blob.
    pub size: u64,
    /// Adler-32 of the blob.
    pub adler32: u32,
}

impl Version {
    /// What UconDB would say of this blob.
    #[must_use]
    pub fn of(blob: &[u8]) -> Version {
        Version {
            size: blob.len() as u64,
            adler32: adler2::adler32_slice(blob),
        }
    }
}

/// What to do when the key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// Store nothing.
    No,
    /// Store a new version under the key; UconDB keeps the old one without a key.
    Yes,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upload {
    /// Stored now.
    Stored(Version),
    /// Nothing was stored: the key exists, with this version.
    Exists(Version),
}

/// A UconDB object in its folder. Every implementation passes the contract
/// suite in `tests/ucondb_contract.rs`.
pub trait UconDb: Send + Sync {
    /// Server, folder and object for messages, without credentials.
    fn location(&self) -> &str;

    /// Every run that has a version. Null keys and keys that are not run
    /// numbers are skipped.
    ///
    /// # Errors
    /// The server can't be reached, the folder does not exist, the listing is
    /// cut short. An object without versions is an empty set.
    fn runs(&self) -> Result<BTreeSet<Run>>;

    /// The run's current version, if it has one.
    ///
    /// # Errors
    /// The server can't be reached or answers what is no answer.
    fn version(&self, run: Run) -> Result<Option<Version>>;

    /// Stores a blob under the run's key.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or stored other bytes than were sent.
    fn upload(&self, run: Run, blob: &[u8], existing: Override) -> Result<Upload>;

    /// Reads the run's blob.
    ///
    /// # Errors
    /// No such key; the server; a blob that arrived cut short or changed.
    fn download(&self, run: Run) -> Result<Vec<u8>>;
}
