//! Who holds the lock, found out without touching it: to try it, even for an
//! instant, could turn away an execution that is about to start.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use super::holder::Holder;
use super::read_start;
use crate::error::{Error, Result};
use crate::faults::fs;
use crate::regular_file;
use crate::sys::process;

/// The system's list of locks.
const LOCKS: &str = "/proc/locks";

/// What a lock file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is none: no execution is under way.
    Free,
    /// An execution is under way.
    Held {
        /// Its process, if the file says so.
        pid: Option<i32>,
        /// Its host, if the file beside the lock says so.
        host: Option<String>,
        /// When it took the lock.
        since: Option<Timestamp>,
    },
    /// The file beside the lock names another host. This machine does not see the
    /// locks of others, nor whether their processes live.
    Elsewhere(Holder),
    /// A file that a dead process left; the next execution takes it over.
    Stale {
        /// The process that left it.
        pid: Option<i32>,
        /// When it took the lock.
        since: Option<Timestamp>,
    },
    /// No process on this machine holds it, but one of ours with the PID in the
    /// file is alive: the lock may be held where this machine can't see it.
    Doubtful {
        /// The process.
        pid: i32,
    },
}

/// Looks at the lock file.
///
/// # Errors
/// The file can't be read.
pub fn observe(path: &Path) -> Result<Seen> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::Free),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let text = match regular_file::open(path).and_then(|mut file| read_start(&mut file)) {
        Ok(text) => text,
        // It ended in this very moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::Free),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let pid: Option<i32> = text.trim().parse().ok().filter(|pid| *pid > 0);
    // A file that can't be read tells less, and is nobody's harm.
    let holder = Holder::read(path).ok().flatten();
    let holder = holder.filter(|holder| pid.is_none_or(|pid| pid == holder.pid));
    let modified = found.modified().ok();
    let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
    let since = holder.as_ref().map(|holder| holder.start).or(modified);
    let locks = fs::read_to_string(LOCKS).map_err(|error| Error::io("read", LOCKS, error))?;
    let device = (
        rustix::fs::major(found.dev()),
        rustix::fs::minor(found.dev()),
    );
    Ok(if is_locked(&locks, device, found.ino(), pid) {
        let host = holder.map(|holder| holder.host);
        Seen::Held { pid, host, since }
    } else {
        match (pid, holder) {
            (Some(_), Some(holder)) if holder.is_elsewhere() => Seen::Elsewhere(holder),
            (Some(pid), _) if is_an_archiver(pid) => Seen::Doubtful { pid },
            _ => Seen::Stale { pid, since },
        }
    })
}

/// Whether the list names an flock on this file: `1: FLOCK  ADVISORY  WRITE
/// 1234 08:01:393217 0 EOF`, the device in hexadecimal. Some file systems go by
/// another device there, so a lock of the process in the file counts too.
fn is_locked(locks: &str, (major, minor): (u32, u32), inode: u64, pid: Option<i32>) -> bool {
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = words[..] else {
            return false;
        };
        let parts: Vec<&str> = file.split(':').collect();
        let [of_major, of_minor, of_inode] = parts[..] else {
            return false;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        let same_device = (number(of_major), number(of_minor)) == (Some(major), Some(minor));
        let same_process = pid.is_some() && holder.parse().ok() == pid;
        of_inode.parse() == Ok(inode) && (same_device || same_process)
    })
}

/// Whether a process is alive and bears this program's name.
fn is_an_archiver(pid: i32) -> bool {
    // The system cuts the name of a program after 15 characters; version 0.1 had no
    // other.
    let ours = [process::NAME, &env!("CARGO_PKG_NAME")[..15]];
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| ours.contains(&name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockGuard;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".archiver.lock");
        assert_eq!(observe(&path).unwrap(), Seen::Free);
        let guard = LockGuard::acquire(&path).unwrap();
        let ours = i32::try_from(std::process::id()).unwrap();
        let seen = observe(&path).unwrap();
        assert!(
            matches!(&seen, Seen::Held { pid: Some(pid), host: Some(_), since: Some(_) } if *pid == ours),
            "{seen:?}"
        );
        drop(guard);
        assert_eq!(observe(&path).unwrap(), Seen::Free);
        fs::write(&path, "999999999\n").unwrap();
        let seen = observe(&path).unwrap();
        assert!(
            matches!(
                seen,
                Seen::Stale {
                    pid: Some(999_999_999),
                    ..
                }
            ),
            "{seen:?}"
        );
        fs::write(&path, "not a number").unwrap();
        assert!(matches!(
            observe(&path).unwrap(),
            Seen::Stale { pid: None, .. }
        ));
    }

    #[test]
    fn lines_of_the_list() {
        let list = "1: POSIX  ADVISORY  WRITE 7 fd:00:42 0 EOF\n\
                    2: FLOCK  ADVISORY  WRITE 7 fd:00:42 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 8 fd:00:43 0 EOF\n";
        assert!(is_locked(list, (0xfd, 0), 42, None));
        assert!(!is_locked(list, (0xfd, 1), 42, None));
        assert!(is_locked(list, (0xfd, 1), 42, Some(7)));
        assert!(!is_locked(list, (0xfd, 0), 43, Some(8)));
    }
}
