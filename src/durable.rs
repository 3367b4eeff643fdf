//! Files that are replaced whole or not at all: a temporary file beside the
//! target, fsync, rename, fsync of the directory. A reader, and a machine that
//! comes back after a power cut, sees the old file or the new one.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::faults::fs::{self, File, OpenOptions};
use crate::faults::{self, Operation};

/// The mode of the archiver's own files, before the umask: nobody else's business.
pub const PRIVATE: u32 = 0o640;
/// The mode of files that other programs of the experiment read, before the umask.
pub const SHARED: u32 = 0o666;

/// Replaces `path` by a file that holds `contents`, durably.
///
/// A file that exists keeps its permissions; a new one gets `mode` less the
/// umask.
///
/// # Errors
/// Any of the operations; `path` is then as it was, and no temporary file is left.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let temporary = write_temporary(path, contents, mode)?;
    publish(temporary, path)?;
    sync_directory(parent(path))
}

/// Like [`replace`], without the fsync of the directory: for many files in one
/// directory, followed by one [`sync_directory`].
///
/// # Errors
/// As for [`replace`].
pub fn replace_entry(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    publish(write_temporary(path, contents, mode)?, path)
}

/// Copies a file that is about to be replaced to `<its name>.<suffix>` beside it,
/// whole and durably, and gives the copy's path; `None` if there is no file. A copy
/// of that name stays as it is: it is older, and so the one to go back to.
///
/// # Errors
/// The file can't be read, or the copy not written.
pub fn keep(path: &Path, suffix: &str) -> Result<Option<PathBuf>> {
    let failed = |source| Error::io("copy", path, source);
    let contents = match fs::read(path) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".{suffix}"));
    let kept = PathBuf::from(kept);
    if !faults::exists(&kept) {
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        replace(&kept, &contents, mode & 0o777)?;
    }
    Ok(Some(kept))
}

/// A file that is whole, and must not be relied on before [`sync`](Self::sync)
/// made it durable.
#[must_use]
#[derive(Debug)]
pub struct Unsynced(Option<PathBuf>);

impl Unsynced {
    /// Makes the file durable. For many files it is much cheaper to write all of
    /// them first: the first call then writes out what the others wait for.
    ///
    /// # Errors
    /// The file can't be opened or synchronised; what was written may be lost.
    pub fn sync(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some(path) => File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| Error::io("synchronise", &path, source)),
        }
    }
}

/// How many files are synchronised at the same time. Disks take many requests at
/// once; one at a time leaves them idle between two.
const SYNC_THREADS: usize = 8;

/// Makes files durable, all of them.
///
/// # Errors
/// As for [`Unsynced::sync`]; any of them may be lost then.
pub fn sync_all(files: Vec<Unsynced>) -> Result<()> {
    let files = Mutex::new(files.into_iter());
    let sync = || loop {
        let file = files.lock().unwrap_or_else(PoisonError::into_inner).next();
        match file {
            Some(file) => file.sync()?,
            None => return Ok(()),
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SYNC_THREADS).map(|_| scope.spawn(sync)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Writes a file that nobody relies on yet; one that exists is replaced durably,
/// since somebody may rely on it by now. The directory is not synchronised.
///
/// # Errors
/// As for [`replace`].
pub fn write_entry(path: &Path, contents: &[u8], mode: u32) -> Result<Unsynced> {
    let mut temporary = create_temporary(path, contents, mode)?;
    let renamed = faults::ask(Operation::Rename, path).and_then(|()| {
        Ok(rustix::fs::renameat_with(
            rustix::fs::CWD,
            &temporary.path,
            rustix::fs::CWD,
            path,
            rustix::fs::RenameFlags::NOREPLACE,
        )?)
    });
    match renamed {
        Ok(()) => {
            temporary.renamed = true;
            Ok(Unsynced(Some(path.to_path_buf())))
        }
        // It exists, or the file system can't tell (EINVAL on some network ones).
        Err(_) => {
            temporary.sync()?;
            publish(temporary, path)?;
            Ok(Unsynced(None))
        }
    }
}

/// A file that is not yet visible under its name. Dropped, it is gone.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// Makes what was written durable.
    ///
    /// # Errors
    /// As for [`Unsynced::sync`].
    pub fn sync(&self) -> Result<()> {
        Unsynced(Some(self.path.clone())).sync()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: the error that brought us here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes `contents` durably beside `path`, under a hidden name.
///
/// # Errors
/// The file can't be created or written.
pub fn write_temporary(path: &Path, contents: &[u8], mode: u32) -> Result<Temporary> {
    let temporary = create_temporary(path, contents, mode)?;
    temporary.sync()?;
    Ok(temporary)
}

/// Creates an empty file beside `path`, under a hidden name, to be written and then
/// [`sync`](Temporary::sync)ed.
///
/// # Errors
/// The file can't be created.
pub fn open_temporary(path: &Path, mode: u32) -> Result<(Temporary, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(
        ".{name}.{}-{}.tmp",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(|source| Error::io("create", &temporary, source))?;
    let temporary = Temporary {
        path: temporary,
        renamed: false,
    };
    let write = |source| Error::io("write", path, source);
    match fs::metadata(path) {
        Ok(old) => file
            .set_permissions(fs::Permissions::from_mode(
                old.permissions().mode() & 0o7777,
            ))
            .map_err(write)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(write(source)),
    }
    Ok((temporary, file))
}

fn create_temporary(path: &Path, contents: &[u8], mode: u32) -> Result<Temporary> {
    let (temporary, mut file) = open_temporary(path, mode)?;
    file.write_all(contents)
        .map_err(|source| Error::io("write", path, source))?;
    Ok(temporary)
}

/// Gives a temporary file its name, replacing what bears it.
///
/// # Errors
/// The rename; the temporary file is removed then.
pub fn publish(mut temporary: Temporary, path: &Path) -> Result<()> {
    fs::rename(&temporary.path, path).map_err(|source| Error::io("replace", path, source))?;
    temporary.renamed = true;
    Ok(())
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The directory can't be opened or synchronised.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| Error::io("synchronise", directory, source))
}

/// Creates a directory and those above it that are missing, durably, with `mode`
/// less the umask.
///
/// # Errors
/// One of them can't be created.
pub fn create_directory(directory: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    if faults::is_dir(directory) {
        return Ok(());
    }
    let above = parent(directory);
    create_directory(above, mode)?;
    match fs::DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && faults::is_dir(directory) => {
        }
        result => result.map_err(|source| Error::io("create", directory, source))?,
    }
    sync_directory(above)
}

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_permissions_of_what_it_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        replace(&path, b"new", PRIVATE).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o664
        );
    }

    #[test]
    fn an_entry_replaces_what_a_crash_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("document.json");
        let unsynced = write_entry(&path, b"one", SHARED).unwrap();
        assert!(unsynced.0.is_some());
        unsynced.sync().unwrap();
        let synced = write_entry(&path, b"two", SHARED).unwrap();
        assert!(synced.0.is_none(), "somebody may rely on what was there");
        synced.sync().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn leaves_nothing_behind_when_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"new", PRIVATE).unwrap_err();
        assert!(error.to_string().contains("target"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
