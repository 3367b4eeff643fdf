//! UconDB: where a run's blob is kept for ever, as a version of an object in a
//! folder, under the run number as its key.

mod address;
pub mod directory;
pub mod http;

use std::collections::BTreeSet;

use bytes::Bytes;

pub use self::address::UconUrl;
use self::directory::DirectoryUconDb;
use self::http::{HttpSettings, HttpUconDb};
use crate::error::Result;
use crate::run::Run;

/// The largest blob a UconDB takes, in bytes.
pub const MAX_BLOB: u64 = 256 * 1024 * 1024;

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
    /// Stored, with this version.
    Stored(Version),
    /// The key exists, with this version: of the same bytes or of others.
    /// Where an answer was lost and the key then turned out to hold the very
    /// bytes that were sent, it can't be known who stored them: that is
    /// `Exists` too.
    Exists(Version),
}

/// A UconDB object in its folder. Every implementation passes the contract
/// suite in `tests/ucondb_contract.rs`.
pub trait UconDb: Send + Sync {
    /// Server, folder and object for messages, without credentials.
    fn location(&self) -> &str;

    /// Tries everything that an upload needs, without storing anything, and
    /// says in one line what was found.
    ///
    /// # Errors
    /// What would keep uploads from succeeding.
    fn check(&self) -> Result<String>;

    /// Asks the server whether it can store, without storing anything. A success
    /// does not prove that it can.
    ///
    /// # Errors
    /// It cannot.
    fn is_ready(&self) -> Result<()> {
        Ok(())
    }

    /// Every run that has a version. Null keys, and keys that are not run
    /// numbers as [`Run`] prints them (`007`, `abc`), are skipped.
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

    /// Stores a blob under the run's key. The blob is shared, never copied: a
    /// clone of it can be kept for the comparison.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or stored other bytes than were
    /// sent; the blob is larger than [`MAX_BLOB`].
    fn upload(&self, run: Run, blob: Bytes, existing: Override) -> Result<Upload>;

    /// Reads the run's blob.
    ///
    /// # Errors
    /// No such key; the server; a blob that arrived cut short or changed.
    fn download(&self, run: Run) -> Result<Vec<u8>>;
}

/// Opens the UconDB that `settings.server_url` names: a server for `http` and
/// `https`, a directory for `file`. Nothing is asked or written yet.
///
/// # Errors
/// A URL, folder or object name that can't be used; a CA file that can't be read.
pub fn open(settings: HttpSettings) -> Result<Box<dyn UconDb>> {
    match settings.server_url.directory() {
        Some(root) => Ok(Box::new(DirectoryUconDb::new(
            root,
            &settings.folder,
            &settings.object,
        )?)),
        None => Ok(Box::new(HttpUconDb::new(settings)?)),
    }
}
