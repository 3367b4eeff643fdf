//! Files that are replaced whole or not at all: a temporary file beside the
//! target, fsync, rename, fsync of the directory. A reader, and a machine that
//! comes back after a power cut, sees the old file or the new one.
//!
//! A link is followed: the file that it names is replaced, and the link stays. What
//! is no regular file is refused: a rename would remove a device or a FIFO and put
//! a file into its place.

use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::Builder;

use crate::error::{Error, Result};
use crate::faults::fs::{self, File, OpenOptions};
use crate::faults::{self, Operation};
use crate::regular_file;
use crate::sys::sync;
use rustix::io::Errno;

mod write_out;

pub use write_out::{LargeFile, Volume, WriteOut};

/// The mode of the archiver's own files, before the umask: nobody else's business.
pub const PRIVATE: u32 = 0o640;
/// The mode of files that other programs of the experiment read, before the umask.
pub const SHARED: u32 = 0o666;
/// The mode of a file that every user is to read.
const FOR_ALL: u32 = 0o644;

/// How many links are followed, as the kernel does.
const LINKS: usize = 40;
/// How often another random name is tried, and how much of the target's name is in it:
/// it must not be too long where the target's is not.
const NAMES: usize = 16;
const NAME_PART: usize = 64;

/// Replaces `path` by a file that holds `contents`, durably.
///
/// A file that exists keeps its permissions; a new one gets `mode` less the
/// umask.
///
/// # Errors
/// Any of the operations; `path` is then as it was, and no temporary file is left.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let temporary = write_temporary(path, contents, mode)?;
    let directory = parent(&temporary.target).to_path_buf();
    publish(temporary)?;
    sync_directory(&directory)
}

/// Like [`replace`], for a file that every user may read, whatever the umask and
/// the permissions of the file that is there.
///
/// # Errors
/// As for [`replace`].
pub fn replace_for_all(path: &Path, contents: &[u8]) -> Result<()> {
    let (temporary, mut file) = open_temporary(path, PRIVATE)?;
    file.write_all(contents)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(FOR_ALL)))
        .map_err(|source| Error::io("write", path, source))?;
    temporary.sync()?;
    let directory = parent(&temporary.target).to_path_buf();
    publish(temporary)?;
    sync_directory(&directory)
}

/// Writes what an operator asked for into the file that they named: a device, a FIFO
/// or an open file such as `/dev/stdout` as it is, any other durably as [`replace`] does.
///
/// # Errors
/// As for [`replace`]; it can't be opened or written.
pub fn output(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let failed = |source| Error::io("write", path, source);
    match open_file(path) {
        Some(1) => return write_out_to(&mut io::stdout(), contents).map_err(failed),
        Some(2) => return write_out_to(&mut io::stderr(), contents).map_err(failed),
        // What is in it stays, and what others write to it goes behind ours.
        Some(_) => {
            let mut options = OpenOptions::new();
            let opened = options.append(true).open(path);
            let written = opened.and_then(|mut file| file.write_all(contents));
            return written.map_err(failed);
        }
        None => {}
    }
    let is_stream = fs::metadata(path).is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_char_device() || kind.is_fifo()
    });
    if !is_stream {
        return replace(path, contents, mode);
    }
    let mut stream = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|source| Error::io("open", path, source))?;
    stream.write_all(contents).map_err(failed)
}

fn write_out_to(stream: &mut dyn Write, contents: &[u8]) -> io::Result<()> {
    stream.write_all(contents).and_then(|()| stream.flush())
}

/// The number of the open file of this process that the path names, as `/dev/stdout`
/// and `/dev/fd/1` do.
fn open_file(path: &Path) -> Option<u32> {
    let mut path = path.to_path_buf();
    for _ in 0..=LINKS {
        let directory = parent(&path);
        let is_in_proc = directory.starts_with("/proc/self") && directory.ends_with("fd");
        if is_in_proc || directory == Path::new("/dev/fd") {
            return path.file_name()?.to_str()?.parse().ok();
        }
        let link = fs::read_link(&path).ok()?;
        path = directory.join(link);
    }
    None
}

/// Like [`replace`], without the fsync of the directory: for many files in one
/// directory, followed by one [`sync_directory`].
///
/// # Errors
/// As for [`replace`].
pub fn replace_entry(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    publish(write_temporary(path, contents, mode)?)
}

/// Copies a file that is about to be replaced to `<its name>.<suffix>` beside it,
/// whole and durably, and gives the copy's path; `None` if there is no file. A copy
/// of that name stays as it is: it is older, and so the one to go back to.
///
/// # Errors
/// The file can't be read, or the copy not written.
pub fn keep(path: &Path, suffix: &str) -> Result<Option<PathBuf>> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".{suffix}"));
    keep_as(path, PathBuf::from(kept))
}

/// The same with another path for the copy.
///
/// # Errors
/// As for [`keep`].
pub fn keep_as(path: &Path, kept: PathBuf) -> Result<Option<PathBuf>> {
    let failed = |source| Error::io("copy", path, source);
    let contents = match regular_file::read(path) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
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
pub struct Unsynced(PathBuf);

impl Unsynced {
    /// Makes the file durable. For many files it is much cheaper to write all of
    /// them first: the first call then writes out what the others wait for.
    ///
    /// # Errors
    /// The file can't be opened or synchronised; what was written may be lost.
    pub fn sync(self) -> Result<()> {
        let path = self.0;
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|source| Error::io("synchronise", &path, source))
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
        let file = sync::lock(&files).next();
        match file {
            Some(file) => file.sync()?,
            None => return Ok(()),
        }
    };
    std::thread::scope(|scope| {
        // Where the system has no more threads, this one does the rest.
        let threads: Vec<_> = (1..SYNC_THREADS)
            .map_while(|_| Builder::new().spawn_scoped(scope, sync).ok())
            .collect();
        let ours = sync();
        threads.into_iter().fold(ours, |result, thread| {
            let theirs = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(theirs)
        })
    })
}

/// A file that is not yet visible under its name. Dropped, it is gone.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    /// The file that it is to replace: no link.
    target: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// Makes what was written durable.
    ///
    /// # Errors
    /// As for [`Unsynced::sync`].
    pub fn sync(&self) -> Result<()> {
        self.unsynced().sync()
    }

    /// What was written, to be made durable together with other files, before the
    /// file gets its name.
    pub fn unsynced(&self) -> Unsynced {
        Unsynced(self.path.clone())
    }

    /// Where the file is before it gets its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
    let (target, permissions) = find_target(path)?;
    let (path, file) = create_hidden(parent(&target), &target, mode)?;
    let temporary = Temporary {
        path,
        target,
        renamed: false,
    };
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)
            .map_err(|source| Error::io("write", &temporary.target, source))?;
    }
    Ok((temporary, file))
}

/// The file that is replaced under this name: behind links, if the name is one.
///
/// # Errors
/// It can't be looked at, or is no regular file.
pub fn target_of(path: &Path) -> Result<PathBuf> {
    Ok(find_target(path)?.0)
}

/// Creates an empty file that is to get the name `target`, in another directory of the
/// same file system. What bears that name then is replaced as it is, a link too.
///
/// # Errors
/// The file can't be created.
pub fn open_temporary_in(directory: &Path, target: &Path, mode: u32) -> Result<(Temporary, File)> {
    let (path, file) = create_hidden(directory, target, mode)?;
    let temporary = Temporary {
        path,
        target: target.to_path_buf(),
        renamed: false,
    };
    Ok((temporary, file))
}

/// Creates a file in a directory, under a hidden name that begins like that of `target`.
fn create_hidden(directory: &Path, target: &Path, mode: u32) -> Result<(PathBuf, File)> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(NAME_PART).collect();
    let mut names = 0;
    loop {
        names += 1;
        let temporary = directory.join(format!(".{name}.{:016x}.tmp", fastrand::u64(..)));
        // Exclusive: nothing that is there is written to, and no link is followed.
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&temporary);
        match opened {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && names < NAMES => {}
            Err(source) => return Err(Error::io("create", &temporary, source)),
        }
    }
}

/// The file that is replaced under this name, and its permissions if it exists.
fn find_target(path: &Path) -> Result<(PathBuf, Option<fs::Permissions>)> {
    let mut target = path.to_path_buf();
    for _ in 0..=LINKS {
        let found = match fs::symlink_metadata(&target) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((target, None)),
            Err(source) => return Err(Error::io("write", &target, source)),
        };
        let kind = found.file_type();
        if kind.is_symlink() {
            let link =
                fs::read_link(&target).map_err(|source| Error::io("read", &target, source))?;
            target = parent(&target).join(link);
            continue;
        }
        if !kind.is_file() {
            let refused = regular_file::check(kind).err();
            return Err(Error::io(
                "replace",
                &target,
                refused.unwrap_or_else(|| Errno::INVAL.into()),
            ));
        }
        let mode = found.permissions().mode() & 0o7777;
        return Ok((target, Some(fs::Permissions::from_mode(mode))));
    }
    Err(Error::io("follow", path, rustix::io::Errno::LOOP.into()))
}

fn create_temporary(path: &Path, contents: &[u8], mode: u32) -> Result<Temporary> {
    let (temporary, mut file) = open_temporary(path, mode)?;
    file.write_all(contents)
        .map_err(|source| Error::io("write", path, source))?;
    Ok(temporary)
}

/// Gives a temporary file the name of its target, replacing what bears it.
///
/// # Errors
/// The rename; the temporary file is removed then.
pub fn publish(mut temporary: Temporary) -> Result<()> {
    let target = &temporary.target;
    fs::rename(&temporary.path, target).map_err(|source| Error::io("replace", target, source))?;
    temporary.renamed = true;
    Ok(())
}

/// Gives a temporary file the name of its target, unless something bears it: returns
/// whether it got the name.
///
/// # Errors
/// As for [`publish`].
pub fn publish_new(mut temporary: Temporary) -> Result<bool> {
    let failed = |source| Error::io("create", &temporary.target, source);
    faults::ask(Operation::Rename, &temporary.target).map_err(failed)?;
    let renamed = rustix::fs::renameat_with(
        rustix::fs::CWD,
        &temporary.path,
        rustix::fs::CWD,
        &temporary.target,
        rustix::fs::RenameFlags::NOREPLACE,
    );
    match renamed {
        Ok(()) => temporary.renamed = true,
        Err(rustix::io::Errno::EXIST) => return Ok(false),
        // Some network file systems have no such rename, but links.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            match fs::hard_link(&temporary.path, &temporary.target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                Err(source) => return Err(failed(source)),
            }
        }
        Err(source) => return Err(failed(source.into())),
    }
    Ok(true)
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
    fn a_file_from_another_directory_replaces_what_a_crash_left() {
        let directory = tempfile::tempdir().unwrap();
        let (staging, path) = (directory.path().join("staging"), directory.path().join("x"));
        fs::create_dir_all(&staging).unwrap();
        for text in ["one", "two"] {
            let (temporary, mut file) = open_temporary_in(&staging, &path, SHARED).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            temporary.unsynced().sync().unwrap();
            publish(temporary).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        drop(open_temporary_in(&staging, &path, SHARED).unwrap());
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
    }

    #[test]
    fn replaces_the_file_that_a_link_names() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/file"), "old").unwrap();
        std::os::unix::fs::symlink("elsewhere/file", at("link")).unwrap();
        std::os::unix::fs::symlink(at("link"), at("link to link")).unwrap();
        std::os::unix::fs::symlink("elsewhere/new", at("dangling")).unwrap();
        std::os::unix::fs::symlink("circle", at("circle")).unwrap();
        replace(&at("link to link"), b"new", PRIVATE).unwrap();
        replace(&at("dangling"), b"newer", PRIVATE).unwrap();
        assert_eq!(fs::read_to_string(at("elsewhere/file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(at("elsewhere/new")).unwrap(), "newer");
        for link in ["link", "link to link", "dangling"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
        }
        let error = replace(&at("circle"), b"x", PRIVATE).unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
        assert_eq!(fs::read_dir(at("elsewhere")).unwrap().count(), 2);
    }

    #[test]
    fn refuses_what_is_no_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for (path, kind) in [
            (fifo.as_path(), "a FIFO"),
            (&socket, "a socket"),
            (Path::new("/dev/null"), "a device"),
            (&link, "a device"),
        ] {
            for result in [
                replace(path, b"x", PRIVATE),
                replace_entry(path, b"x", PRIVATE),
                replace_for_all(path, b"x"),
                write_temporary(path, b"x", PRIVATE).map(drop),
            ] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(kind), "{error}");
            }
            assert!(!fs::metadata(path).unwrap().is_file());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn an_output_goes_into_a_device_and_through_a_fifo() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        output(Path::new("/dev/null"), b"report", SHARED).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| std::fs::read_to_string(&fifo).unwrap());
            output(&fifo, b"report", SHARED).unwrap();
            assert_eq!(reader.join().unwrap(), "report");
        });
        let file = directory.path().join("file");
        output(&file, b"report", SHARED).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "report");
    }

    #[test]
    fn all_may_read_what_is_for_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        replace_for_all(&path, b"new").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_name_of_any_length_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["x".repeat(255), "ä".repeat(127)] {
            let path = directory.path().join(name);
            replace(&path, b"x", PRIVATE).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        }
    }

    #[test]
    fn a_new_name_is_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let first = write_temporary(&path, b"one", PRIVATE).unwrap();
        let second = write_temporary(&path, b"two", PRIVATE).unwrap();
        assert!(publish_new(first).unwrap());
        assert!(!publish_new(second).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
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
