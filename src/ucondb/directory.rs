//! A directory in the place of a UconDB server, for trials and for staging:
//! `<root>/<folder>/<object>/<run>.blob`, and what an override replaced as
//! `<root>/<folder>/<object>/replaced/<run>.<n>.blob`, `n` from 1.

use std::collections::BTreeSet;
use std::io::{self, BufReader, ErrorKind as IoKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::{Access, access};

use crate::durable::{self, Temporary};
use crate::error::{Disposition, Error, Remedy, Result, UconName};
use crate::faults;
use crate::faults::fs::{self, DirBuilder, File, Permissions};
use crate::regular_file;
use crate::run::Run;
use crate::ucondb::{MAX_BLOB, Override, UconDb, UconUrl, Upload, Version};

/// What a blob's file is called after its run.
const SUFFIX: &str = ".blob";

/// Where an override keeps what it replaced.
const REPLACED: &str = "replaced";

/// Rights of a blob's file: nobody but owner and group reads it.
const FILE_MODE: u32 = 0o640;

/// Rights of the directories that are created.
const DIRECTORY_MODE: u32 = 0o750;

/// A UconDB object kept as files. Safe for many threads and processes, on one
/// machine or, over NFS, several.
#[derive(Debug)]
pub struct DirectoryUconDb {
    root: PathBuf,
    /// Of the object, below folder and root.
    directory: PathBuf,
    location: String,
    /// Whether the object's directory was seen: it is not made again then.
    was_there: AtomicBool,
}

impl DirectoryUconDb {
    /// The store that a URL names: `file:///path/to/store`.
    ///
    /// # Errors
    /// A URL that is not of a local directory; a name that can't be a directory's.
    pub fn from_url(url: &str, folder: &str, object: &str) -> Result<DirectoryUconDb> {
        let address = UconUrl::parse(url).ok();
        let root = address.as_ref().and_then(UconUrl::directory);
        let root = root.ok_or_else(|| {
            Error::ucondb(url, "", Disposition::StopStage).with_remedy(Remedy::UrlOfDirectory)
        })?;
        DirectoryUconDb::new(root, folder, object)
    }

    /// The store in a directory, which the first upload creates if only its
    /// parent exists: that far a path is meant, further it may be mistyped or
    /// its file system not mounted. Nothing is touched yet.
    ///
    /// # Errors
    /// A folder or object name that can't be a directory's.
    pub fn new(root: &Path, folder: &str, object: &str) -> Result<DirectoryUconDb> {
        let location = format!("file://{} ({folder}/{object})", root.display());
        for (which, name) in [(UconName::Folder, folder), (UconName::Object, object)] {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                let remedy = Remedy::DirectoryName(which, name.to_owned());
                let error = Error::ucondb(location, "", Disposition::StopStage);
                return Err(error.with_remedy(remedy));
            }
        }
        Ok(DirectoryUconDb {
            was_there: AtomicBool::new(false),
            directory: root.join(folder).join(object),
            root: root.to_path_buf(),
            location,
        })
    }

    fn path(&self, run: Run) -> PathBuf {
        self.directory.join(format!("{run}{SUFFIX}"))
    }

    /// A failure of a directory of the store, which is never the run's fault.
    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> Error {
        let cause = Error::io(action, path, source);
        self.error(cause, Disposition::StopStage)
    }

    /// A failure of one blob's file, which can be the store's fault or the run's.
    fn unreadable(&self, path: &Path, source: io::Error) -> Error {
        // Something stands in the place of the store's directory.
        let is_misplaced = source.kind() == IoKind::NotADirectory;
        let cause = Error::io("read", path, source);
        let disposition = match cause.disposition() {
            Disposition::StopStage => Disposition::StopStage,
            _ if is_misplaced => Disposition::StopStage,
            Disposition::FailRun | Disposition::RetryRun | Disposition::LeaveRun => {
                Disposition::RetryRun
            }
        };
        self.error(cause, disposition)
    }

    fn error(&self, cause: Error, disposition: Disposition) -> Error {
        Error::ucondb(&self.location, cause.to_string(), disposition).caused_by(cause)
    }

    /// A failure to write a file, as one of this store.
    fn of_store(&self, action: &'static str, path: &Path, error: Error) -> Error {
        match error {
            Error::Io { source, .. } => self.failed(action, path, source),
            error => error,
        }
    }

    /// An empty or missing store is told from one whose file system is not
    /// there.
    fn missing_is_empty(&self) -> Result<()> {
        if self.was_there.load(Ordering::Relaxed)
            && let Err(error) = fs::metadata(&self.directory)
        {
            return Err(self.failed("read", &self.directory, error));
        }
        let parent = self.root.parent().unwrap_or(&self.root);
        match fs::metadata(parent) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("read", parent, error)),
        }
    }

    /// Creates what is missing of the object's directory, durably.
    fn create_directories(&self) -> Result<()> {
        if self.was_there.load(Ordering::Relaxed) {
            // Made again, it would be in the mount point of a disk that went away.
            return match fs::metadata(&self.directory) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.failed("write into", &self.directory, error)),
            };
        }
        let folder = self.directory.parent().unwrap_or(&self.root);
        for directory in [self.root.as_path(), folder, self.directory.as_path()] {
            self.create_directory(directory)?;
        }
        self.was_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn create_directory(&self, directory: &Path) -> Result<()> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Ok(()) => self.sync(directory.parent().unwrap_or(directory)),
            Err(error) if error.kind() == IoKind::AlreadyExists && faults::is_dir(directory) => {
                Ok(())
            }
            Err(error) => Err(self.failed("create", directory, error)),
        }
    }

    /// Makes a directory's entries durable.
    fn sync(&self, directory: &Path) -> Result<()> {
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(|error| self.failed("write", directory, error))
    }

    /// The blob in a file that has no name yet which counts, durable but for
    /// its name.
    fn write(&self, run: Run, blob: &[u8]) -> Result<Temporary> {
        let write = || {
            let (temporary, mut file) = durable::open_temporary(&self.path(run), 0o600)?;
            file.write_all(blob)
                .and_then(|()| file.set_permissions(Permissions::from_mode(FILE_MODE)))
                .map_err(|source| Error::io("write into", &self.directory, source))?;
            temporary.sync()?;
            Ok(temporary)
        };
        write().map_err(|error| self.of_store("write into", &self.directory, error))
    }

    /// Gives what is under a run's key a second name among the replaced ones.
    fn keep(&self, run: Run) -> Result<()> {
        let current = self.path(run);
        let replaced = self.directory.join(REPLACED);
        self.create_directory(&replaced)?;
        for count in 1_u64.. {
            let kept = replaced.join(format!("{run}.{count}{SUFFIX}"));
            match fs::hard_link(&current, &kept) {
                Ok(()) => return self.sync(&replaced),
                Err(error) if error.kind() == IoKind::AlreadyExists => {
                    // By an override that ended before it replaced anything.
                    if self.is_same(&current, &kept)? {
                        return self.sync(&replaced);
                    }
                }
                Err(error) if error.kind() == IoKind::NotFound => return Ok(()),
                Err(error) => return Err(self.failed("create", &kept, error)),
            }
        }
        Ok(())
    }

    /// Whether two names are of one file.
    fn is_same(&self, one: &Path, other: &Path) -> Result<bool> {
        let identity = |path: &Path| match fs::metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino())),
            Err(error) => Err(self.failed("look at", path, error)),
        };
        Ok(identity(one)? == identity(other)?)
    }

    /// Holds off other overrides in this object until the file is closed, so
    /// that each keeps what it replaces.
    fn lock(&self) -> Result<File> {
        let lock = || {
            let directory = File::open(&self.directory)?;
            directory.lock()?;
            Ok(directory)
        };
        lock().map_err(|error: io::Error| self.failed("lock", &self.directory, error))
    }
}

impl UconDb for DirectoryUconDb {
    fn location(&self) -> &str {
        &self.location
    }

    fn check(&self) -> Result<String> {
        let runs = self.runs()?.len();
        // The nearest directory that is there, in which the rest is created.
        let existing = self
            .directory
            .ancestors()
            .find(|directory| faults::exists(directory))
            .unwrap_or(&self.root);
        access(existing, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| self.failed("write into", existing, error.into()))?;
        Ok(format!("a directory with {runs} runs, writable"))
    }

    fn runs(&self) -> Result<BTreeSet<Run>> {
        let entries = match faults::read_dir(&self.directory) {
            Ok(entries) => {
                self.was_there.store(true, Ordering::Relaxed);
                entries
            }
            Err(error) if error.kind() == IoKind::NotFound => {
                return self.missing_is_empty().map(|()| BTreeSet::new());
            }
            Err(error) => return Err(self.failed("read", &self.directory, error)),
        };
        let mut runs = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed("read", &self.directory, error))?;
            // What has the name of a blob and is none is found when it is read or written.
            let kind = entry.file_type();
            if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_symlink()) {
                continue;
            }
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some((key, run)) = key.and_then(|key| Some((key, Run::parse(key)?)))
                && run.to_string() == key
            {
                runs.insert(run);
            }
        }
        Ok(runs)
    }

    fn version(&self, run: Run) -> Result<Option<Version>> {
        let path = self.path(run);
        let file = match regular_file::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoKind::NotFound => {
                return self.missing_is_empty().map(|()| None);
            }
            Err(error) => return Err(self.unreadable(&path, error)),
        };
        let size = file
            .metadata()
            .map_err(|error| self.unreadable(&path, error))?
            .len();
        let adler32 = adler2::adler32(BufReader::with_capacity(256 * 1024, file))
            .map_err(|error| self.unreadable(&path, error))?;
        Ok(Some(Version { size, adler32 }))
    }

    fn upload(&self, run: Run, blob: Bytes, existing: Override) -> Result<Upload> {
        let sent = Version::of(&blob);
        if sent.size > MAX_BLOB {
            return Err(Error::ucondb(
                self.location.clone(),
                format!(
                    "run {run}: its blob has {} bytes; UconDB takes {MAX_BLOB} bytes (256 MiB) \
                     at most",
                    sent.size
                ),
                Disposition::FailRun,
            ));
        }
        self.create_directories()?;
        if existing == Override::No
            && let Some(version) = self.version(run)?
        {
            return Ok(Upload::Exists(version));
        }
        let path = self.path(run);
        let file = self.write(run, &blob)?;
        let failed = |error| self.of_store("create", &path, error);
        match existing {
            Override::No => {
                if !durable::publish_new(file).map_err(failed)? {
                    // Another writer of the same key was first.
                    let gone = || self.failed("create", &path, IoKind::AlreadyExists.into());
                    return self.version(run)?.map(Upload::Exists).ok_or_else(gone);
                }
            }
            Override::Yes => {
                let _lock = self.lock()?;
                self.keep(run)?;
                durable::publish(file).map_err(failed)?;
            }
        }
        self.sync(&self.directory)?;
        Ok(Upload::Stored(sent))
    }

    fn download(&self, run: Run) -> Result<Vec<u8>> {
        let path = self.path(run);
        match regular_file::read(&path) {
            Ok(blob) => Ok(blob),
            Err(error) if error.kind() == IoKind::NotFound => {
                self.missing_is_empty()?;
                Err(Error::ucondb(
                    self.location.clone(),
                    format!(
                        "run {run}: download: there is no {}: the run is not migrated",
                        path.display()
                    ),
                    Disposition::FailRun,
                ))
            }
            Err(error) => Err(self.unreadable(&path, error)),
        }
    }
}
