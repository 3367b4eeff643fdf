//! The lock that keeps executions apart: an flock on a file that holds the PID.
//!
//! The flock counts, not the file: the system drops it with the process, so a
//! file that a dead process left behind is taken over without a word. The file
//! is removed at the end; whoever removes it earlier asks for the end. The work
//! directory is locked as well: see `directory`.
//!
//! A file system that hosts share without passing their locks on (NFS mounted
//! with `nolock`), and a host that died, look the same from here: the flock is
//! free, and the file beside the lock names another host. The lock is taken over
//! then, with a warning: to refuse would end the archiving for ever when a host
//! dies. The lock file is made anew for it, so that a process that does live on
//! over there finds its own gone, and ends in good order.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

use crate::durable;
use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use crate::regular_file;
use crate::shutdown::Shutdown;
use holder::Holder;

mod directory;
pub mod holder;
pub mod observe;

/// How often the monitor looks whether the file is still there.
const POLL: Duration = Duration::from_millis(500);

/// How often a file that vanished between opening and locking is tried again.
const ATTEMPTS: u32 = 20;

/// The lock; it ends when this is dropped, and the file goes with it.
#[derive(Debug)]
pub struct LockGuard {
    path: PathBuf,
    /// The file behind a link at the path, or the path.
    target: PathBuf,
    file: File,
    /// The work directory, locked.
    directory: Option<File>,
    holder: Holder,
    monitor: Option<Monitor>,
}

#[derive(Debug)]
struct Monitor {
    /// Dropped to end the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl LockGuard {
    /// Takes the lock of a work directory: the directory's own, and the lock file's.
    ///
    /// # Errors
    /// As for [`acquire`](Self::acquire), of either.
    pub fn acquire_for(work_dir: &Path, path: &Path) -> Result<LockGuard> {
        let directory = directory::lock(work_dir, || Error::Locked {
            path: path.to_path_buf(),
            holder: describe(regular_file::open(path).ok().as_mut(), path),
        })?;
        let mut lock = LockGuard::acquire(path)?;
        lock.directory = directory;
        Ok(lock)
    }

    /// Takes the lock of the lock file. Its directory is made (0750) if the
    /// directory above it exists.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it; [`Error::Io`] if the
    /// file can't be opened, locked or written, or is no regular file.
    pub fn acquire(path: &Path) -> Result<LockGuard> {
        make_directory(path)?;
        let target = durable::target_of(path)?;
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = regular_file::open_with(options.mode(0o640), &target)
                .map_err(|error| Error::io("open", path, error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked {
                        path: path.to_path_buf(),
                        holder: describe(Some(&mut file), path),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
            }
            // Its owner may have removed it between our opening and locking.
            if !is_at(&file, path).map_err(|error| Error::io("check", path, error))? {
                continue;
            }
            if take_from_elsewhere(&mut file, path, &target)? {
                continue;
            }
            let write = |error| {
                // On a full disk; without a PID it would tell nobody anything.
                let _ = fs::remove_file(&target);
                Error::io("write", path, error)
            };
            // Whoever finds the PID finds the holder's file written, too.
            file.set_len(0).map_err(write)?;
            let holder = Holder::this_process();
            if let Err(error) = holder.write(path) {
                log::warn!("Others can't see on which host this execution works: {error}");
            }
            io::Seek::rewind(&mut file)
                .and_then(|()| writeln!(file, "{}", holder.pid))
                .map_err(write)?;
            return Ok(LockGuard {
                path: path.to_path_buf(),
                target,
                file,
                directory: None,
                holder,
                monitor: None,
            });
        }
        Err(Error::Locked {
            path: path.to_path_buf(),
            holder: "the file vanishes as often as it is made; look for a script that removes it"
                .into(),
        })
    }

    /// Starts watching the file: if it is removed or replaced while the lock
    /// is held, `shutdown` is asked for.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn monitor(&mut self, shutdown: &Shutdown) -> Result<()> {
        let failed = |error| Error::io("watch", &self.path, error);
        let file = self.file.try_clone().map_err(failed)?;
        let path = self.path.clone();
        let shutdown = shutdown.clone();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("lock monitor".into())
            .spawn(move || {
                while stopped.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                    // An error of the file system is no sign of a removal.
                    if is_at(&file, &path).is_ok_and(|there| !there) {
                        return removed(&path, &shutdown);
                    }
                }
            })
            .map_err(failed)?;
        self.monitor = Some(Monitor { stop, thread });
        Ok(())
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some(Monitor { stop, thread }) = self.monitor.take() {
            drop(stop);
            // A monitor that panicked has nothing more to say.
            let _ = thread.join();
        }
        self.holder.remove(&self.path);
        // Removed while it is locked, so that nobody else's file can go.
        if is_at(&self.file, &self.target).unwrap_or(false)
            && let Err(error) = fs::remove_file(&self.target)
        {
            log::warn!(
                "cannot remove the lock file {}: {error}; it does no harm",
                self.path.display()
            );
        }
    }
}

fn removed(path: &Path, shutdown: &Shutdown) {
    shutdown.announce(
        "Lock file removed",
        module_path!(),
        vec![
            "LOCK FILE REMOVED - INITIATING GRACEFUL SHUTDOWN".into(),
            format!("Lock file: {}", path.display()),
            "Process will finish current run and then exit".into(),
        ],
    );
}

fn make_directory(path: &Path) -> Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::io(
            "create",
            directory,
            io::Error::new(
                error.kind(),
                "the directory above it does not exist; create it, or correct `app.work_dir`",
            ),
        )),
        // A directory that exists need not be one that could be made: in a
        // read-only place the system refuses before it looks.
        Err(error) if !faults::is_dir(directory) => Err(Error::io("create", directory, error)),
        _ => Ok(()),
    }
}

/// Whether the open file is the one at the path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |found: &Metadata| (found.dev(), found.ino());
    match fs::metadata(path) {
        Ok(found) => Ok(identity(&found) == identity(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the file that was just locked names a process of another host; it is
/// removed then, to be made anew.
fn take_from_elsewhere(file: &mut File, path: &Path, target: &Path) -> Result<bool> {
    let holder = match Holder::read(path) {
        Ok(holder) => holder,
        Err(error) => {
            log::warn!("Who held the lock before can't be told: {error}");
            None
        }
    };
    let Some(holder) = holder.filter(Holder::is_elsewhere) else {
        return Ok(false);
    };
    // A lock file that somebody removed by hand leaves the other one behind.
    let text = read_start(file).map_err(|error| Error::io("read", path, error))?;
    if text.trim().parse() != Ok(holder.pid) {
        return Ok(false);
    }
    let Holder { host, pid, .. } = &holder;
    log::warn!(
        "The lock file {} names process {pid} on host {host}, since {}, and this host ({}) can't \
         see whether it lives: the lock is taken over. If {host} died, or that process did, all is \
         well. If not, it ends after its runs under way, as its lock file is gone: look at it with \
         `ps -fp {pid}` on {host}, and let executions of one work directory start on one host only, \
         or mount the directory with locking (NFS without nolock and local_lock)",
        path.display(),
        holder.since(),
        holder::this_host(),
    );
    fs::remove_file(target).map_err(|error| Error::io("remove", path, error))?;
    holder::remove(path)?;
    Ok(true)
}

/// Who holds the lock, where, since when, and what to do. Its file may be gone, as
/// somebody removed it.
fn describe(mut file: Option<&mut File>, path: &Path) -> String {
    let pid = file.as_mut().and_then(|file| pid(file));
    let known = Holder::read(path)
        .ok()
        .flatten()
        .filter(|holder| pid.is_none_or(|pid| pid.as_raw_nonzero().get() == holder.pid));
    if let Some(holder) = &known {
        let Holder { host, pid, .. } = holder;
        let since = holder.since();
        return match holder.is_elsewhere() {
            true => format!(
                "process {pid} on host {host} holds the lock since {since}, and this is host {}; \
                 wait for its end, or log in to {host} and stop it there",
                holder::this_host()
            ),
            false if file.is_none() => format!(
                "process {pid}, at work since {since} on this host ({host}), ends after its runs \
                 under way, as its lock file was removed; wait for its end"
            ),
            false => format!(
                "process {pid} holds the lock since {since} on this host ({host}); wait for its \
                 end, or stop it with `kill -SIGINT {pid}`"
            ),
        };
    }
    let Some(pid) = pid else {
        return "it does not say which process it is; wait for its end, or look for it with \
                `ps aux | grep run_record_archiver`"
            .into();
    };
    let since = file
        .and_then(|file| file.metadata().and_then(|found| found.modified()).ok())
        .and_then(|time| Timestamp::try_from(time).ok())
        .map(|time| {
            time.to_zoned_datetime(TimeZone::system())
                .strftime(" since %Y-%m-%d %H:%M:%S")
                .to_string()
        })
        .unwrap_or_default();
    let raw = pid.as_raw_nonzero();
    match rustix::process::test_kill_process(pid) {
        Err(rustix::io::Errno::SRCH) => format!(
            "process {raw} holds the lock{since}, and is not on this machine: it is on another host \
             or in a container that shares the directory; wait for its end, or stop it there"
        ),
        _ => format!(
            "process {raw} holds the lock{since}; wait for its end, or stop it with \
             `kill -SIGINT {raw}`"
        ),
    }
}

/// The PID in the file. Its owner may be just about to write it.
fn pid(file: &mut File) -> Option<rustix::process::Pid> {
    for _ in 0..10 {
        let text = read_start(file).ok()?;
        if text.ends_with('\n') {
            let number = text.trim().parse().ok().filter(|number| *number > 0)?;
            return rustix::process::Pid::from_raw(number);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// The start of the lock file, which is all of it if it is one of ours.
fn read_start(file: &mut File) -> io::Result<String> {
    io::Seek::rewind(file)?;
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
