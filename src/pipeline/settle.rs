//! Whether a run record is whole: one that is still being copied has its final name
//! already, and a file can be cut anywhere. Only that nothing changes any longer
//! shows that it is done.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::run_record::Snapshot;

/// Change times that move for so long without a change of contents are moved by
/// something else, such as a backup or a job that sets modes.
const RESTLESS: SignedDuration = SignedDuration::from_hours(24);

/// How a record looked when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Names, sizes and all times.
    pub digest: String,
    /// Since when the record looks so, by the archiver's clock.
    pub since: Timestamp,
    /// Names, sizes and modification times.
    pub contents: String,
    /// Since when these are as they are.
    pub contents_since: Timestamp,
    /// When the record was looked at for the first time.
    pub first: Timestamp,
}

/// Whether a record can be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It has settled.
    Ready,
    /// Its change times do not settle, though its contents did.
    Restless,
    /// It may still be written to; this is how it looks.
    Waits(Noted),
}

/// How long records must be left alone before they are archived.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A record with files; zero turns the waiting off.
    pub settle: Duration,
    /// A directory without files.
    pub empty: Duration,
}

impl Patience {
    /// Looks at a record, which may have been looked at before. On a local file
    /// system, the kernel's clock is that of the archiver.
    #[must_use]
    pub fn look(
        self,
        snapshot: &Snapshot,
        noted: Option<&Noted>,
        is_local: bool,
        now: Timestamp,
    ) -> Readiness {
        if self.settle.is_zero() {
            return Readiness::Ready;
        }
        let wait = match snapshot.is_empty() {
            true => self.empty.max(self.settle),
            false => self.settle,
        };
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let is_over = |since: Timestamp, wait| now.duration_since(since) >= wait;
        let (digest, contents) = (snapshot.digest(), snapshot.digest_of_contents());
        let since = match noted {
            Some(noted) if noted.digest == digest => noted.since,
            _ => now,
        };
        let contents_since = match noted {
            Some(noted) if noted.contents == contents => noted.contents_since,
            _ => now,
        };
        let changed = snapshot.newest_change();
        if is_over(since, wait) || (is_local && changed.is_some_and(|time| is_over(time, wait))) {
            return Readiness::Ready;
        }
        if is_over(contents_since, wait.max(RESTLESS)) {
            return Readiness::Restless;
        }
        Readiness::Waits(Noted {
            digest,
            since,
            contents,
            contents_since,
            first: noted.map_or(now, |noted| noted.first),
        })
    }
}

/// Whether a directory is on a file system of this machine, whose times are of the
/// machine's own clock. One that is not known is taken to be remote.
#[must_use]
pub fn is_local(directory: &Path) -> bool {
    // From linux/magic.h: ext2 to ext4, XFS, btrfs, tmpfs, overlayfs, ZFS, F2FS.
    const LOCAL: [u64; 7] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x794c_7630,
        0x2fc1_2fc1,
        0xf2f5_2010,
    ];
    rustix::fs::statfs(directory).is_ok_and(|found| {
        // The kernel's type is signed on some machines, and 32 bits wide.
        let kind = u64::try_from(found.f_type).unwrap_or_default() & 0xffff_ffff;
        LOCAL.contains(&kind)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        let now = Timestamp::now().as_second();
        Timestamp::from_second(now + seconds).unwrap()
    }

    const PATIENCE: Patience = Patience {
        settle: Duration::from_secs(300),
        empty: Duration::from_secs(72 * 3600),
    };

    fn record() -> tempfile::TempDir {
        let record = tempfile::tempdir().unwrap();
        fs::write(record.path().join("a.fcl"), "a: 1").unwrap();
        record
    }

    fn look(record: &Path, noted: Option<&Noted>, is_local: bool, now: Timestamp) -> Readiness {
        PATIENCE.look(&Snapshot::take(record).unwrap(), noted, is_local, now)
    }

    #[track_caller]
    fn noted(readiness: Readiness) -> Noted {
        match readiness {
            Readiness::Waits(noted) => noted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_a_local_file_system_the_change_time_tells() {
        let record = record();
        let path = record.path();
        assert!(matches!(
            look(path, None, true, at(290)),
            Readiness::Waits(_)
        ));
        assert_eq!(look(path, None, true, at(310)), Readiness::Ready);
        // A file that keeps its modification time, as with cp -a, has a new change time.
        assert!(matches!(
            look(path, None, true, at(-1000)),
            Readiness::Waits(_)
        ));
    }

    #[test]
    fn elsewhere_what_was_seen_before_tells_whatever_the_servers_clock() {
        let record = record();
        let path = record.path();
        let first = noted(look(path, None, false, at(10_000)));
        let again = noted(look(path, Some(&first), false, at(10_200)));
        assert_eq!(again, first);
        assert_eq!(
            look(path, Some(&again), false, at(10_301)),
            Readiness::Ready
        );
        fs::write(path.join("b.fcl"), "b: 1").unwrap();
        let changed = noted(look(path, Some(&again), false, at(10_301)));
        assert_eq!((changed.since, changed.first), (at(10_301), at(10_000)));
    }

    #[test]
    fn change_times_that_never_settle_hold_a_record_back_for_a_day() {
        let record = record();
        let path = record.path();
        let mut seen = noted(look(path, None, false, at(0)));
        for hour in 1..24 {
            seen.digest = format!("as after a chmod in hour {hour}");
            seen = noted(look(path, Some(&seen), false, at(hour * 3600)));
        }
        seen.digest.clear();
        let readiness = look(path, Some(&seen), false, at(24 * 3600 + 1));
        assert_eq!(readiness, Readiness::Restless);
    }

    #[test]
    fn an_empty_directory_waits_for_days() {
        let record = tempfile::tempdir().unwrap();
        let path = record.path();
        assert!(matches!(
            look(path, None, true, at(3600)),
            Readiness::Waits(_)
        ));
        assert_eq!(look(path, None, true, at(73 * 3600)), Readiness::Ready);
    }

    #[test]
    fn nobody_waits_who_does_not_want_to() {
        let record = record();
        let snapshot = Snapshot::take(record.path()).unwrap();
        let patience = Patience {
            settle: Duration::ZERO,
            ..PATIENCE
        };
        assert_eq!(
            patience.look(&snapshot, None, false, at(0)),
            Readiness::Ready
        );
    }
}
