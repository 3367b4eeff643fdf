//! The listing of an earlier execution, so that an incremental one need not
//! ask for all of it again: what was listed then, and what was recorded since.
//!
//! The danger is a run taken for archived that is not. So the file is a hint
//! that must prove itself: it must be whole and of this very object, no older
//! than [`MOST_AGE`], and the server must still list every version that it
//! recorded in the last minutes before the newest one known. A run that the
//! hint does not know of costs an upload that the server refuses, no more.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::listing::{Listing, Mark};
use crate::durable;
use crate::regular_file;
use crate::run::Run;
use crate::run_set::RunSet;

/// How old the last full listing may be. What administrators delete is noticed
/// after this time at the latest.
const MOST_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The last minutes before the newest version known, which are listed again:
/// versions become visible in another order than that of their times, and
/// clocks differ. In microseconds.
const SLACK: i64 = 5 * 60 * 1_000_000;

/// Where the listing is kept from one execution to the next.
#[derive(Debug, Clone)]
pub struct ListingCache {
    /// The file; it can be deleted at any time.
    pub file: PathBuf,
    /// Whether it may be used in place of a full listing. Every full listing
    /// renews it.
    pub trusted: bool,
}

/// A listing as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// When the last full listing was asked for.
    listed: Timestamp,
    runs: BTreeSet<Run>,
    /// Every version recorded within [`SLACK`] of the newest one.
    recent: Vec<Mark>,
}

/// The file: a listing, and the proof that it is what was written.
#[derive(Serialize, Deserialize)]
struct File {
    md5: String,
    listing: Box<RawValue>,
}

/// A listing in the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    /// Server, folder and object.
    location: String,
    listed: Timestamp,
    /// As ranges.
    runs: String,
    recent: Vec<Mark>,
}

impl Kept {
    /// What is to be kept of a full listing that was asked for at this time.
    pub(super) fn new(listing: Listing, listed: Timestamp) -> Kept {
        Kept {
            listed,
            runs: listing.runs,
            recent: recent(listing.versions),
        }
    }

    /// The runs.
    pub(super) fn runs(&self) -> &BTreeSet<Run> {
        &self.runs
    }

    /// The runs, where nothing else is wanted.
    pub(super) fn into_runs(self) -> BTreeSet<Run> {
        self.runs
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Why it can't be used.
    pub(super) fn read(path: &Path, location: &str, now: Timestamp) -> Result<Kept, String> {
        let text = regular_file::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "it does not exist yet".to_owned(),
            _ => format!("it can't be read: {error}"),
        })?;
        let changed = |_| "it is not what was written".to_owned();
        let file: File = serde_json::from_str(&text).map_err(changed)?;
        if file.md5 != checksum(&file.listing) {
            return Err("it is not what was written".to_owned());
        }
        let contents: Contents = serde_json::from_str(file.listing.get()).map_err(changed)?;
        if contents.location != location {
            return Err(format!("it is of {}", contents.location));
        }
        let age = now.duration_since(contents.listed);
        if age.is_negative() || age > MOST_AGE {
            return Err(format!("its last full listing is of {}", contents.listed));
        }
        let newest = newest(&contents.recent).ok_or("it has no versions")?;
        if newest > now.as_microsecond() + SLACK {
            // Versions recorded since may seem to be older.
            return Err("the server's clock was ahead of this one".to_owned());
        }
        Ok(Kept {
            listed: contents.listed,
            runs: match contents.runs.as_str() {
                "" => BTreeSet::new(),
                ranges => RunSet::parse(ranges)?.iter().collect(),
            },
            recent: contents.recent,
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Why it could not be written; it is then as it was.
    pub(super) fn write(&self, path: &Path, location: &str) -> Result<(), String> {
        let contents = Contents {
            location: location.to_owned(),
            listed: self.listed,
            runs: self.runs.iter().copied().collect::<RunSet>().to_string(),
            recent: self.recent.clone(),
        };
        let text = serde_json::value::to_raw_value(&contents)
            .and_then(|listing| {
                serde_json::to_string(&File {
                    md5: checksum(&listing),
                    listing,
                })
            })
            .map_err(|error| error.to_string())?;
        durable::replace(path, format!("{text}\n").as_bytes(), durable::PRIVATE)
            .map_err(|error| error.to_string())
    }

    /// After which time the server is asked what it recorded, in seconds since
    /// 1970: a second before all that it must list again.
    pub(super) fn since(&self) -> String {
        let newest = newest(&self.recent).unwrap_or(0);
        let since = newest.saturating_sub(SLACK + 1_000_000);
        format!(
            "{}.{:06}",
            since.div_euclid(1_000_000),
            since.rem_euclid(1_000_000)
        )
    }

    /// Takes in what the server recorded since, and says whether there is
    /// anything new.
    ///
    /// # Errors
    /// How many versions are missing, if any: this is not the server, or not
    /// the state of it, that was listed.
    pub(super) fn update(&mut self, since: Listing) -> Result<bool, usize> {
        let listed: HashSet<&Mark> = since.versions.iter().collect();
        let missing = self.recent.iter().filter(|mark| !listed.contains(mark));
        match missing.count() {
            0 => {}
            count => return Err(count),
        }
        let is_new = listed.len() > self.recent.len() || !since.runs.is_subset(&self.runs);
        self.runs.extend(since.runs);
        self.recent = recent(since.versions);
        Ok(is_new)
    }
}

/// The versions recorded within [`SLACK`] of the newest one.
fn recent(mut versions: Vec<Mark>) -> Vec<Mark> {
    let newest = newest(&versions).unwrap_or(0);
    versions.retain(|mark| mark.recorded > newest.saturating_sub(SLACK));
    versions.shrink_to_fit();
    versions
}

fn newest(versions: &[Mark]) -> Option<i64> {
    versions.iter().map(|mark| mark.recorded).max()
}

fn checksum(listing: &RawValue) -> String {
    let digest = Md5::digest(listing.get().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fs;

    const LOCATION: &str = "https://h/app (ev01/configuration)";
    const NOW: i64 = 1_795_419_063_190_000;

    fn now() -> Timestamp {
        Timestamp::from_microsecond(NOW).unwrap()
    }

    /// Versions recorded so many seconds ago, their ids, and the runs.
    fn listing(versions: &[(i64, u64)], runs: &[u64]) -> Listing {
        Listing {
            runs: runs.iter().copied().map(Run).collect(),
            versions: versions
                .iter()
                .map(|(ago, id)| Mark::from((NOW - ago * 1_000_000, *id, 38, 1)))
                .collect(),
        }
    }

    fn kept() -> Kept {
        let listing = listing(&[(1000, 1), (299, 2), (0, 3)], &[1, 2, 3, 70]);
        Kept::new(listing, now())
    }

    #[test]
    fn a_file_gives_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("listing.json");
        kept().write(&path, LOCATION).unwrap();
        assert_eq!(Kept::read(&path, LOCATION, now()).unwrap(), kept());
        let later = now() + SignedDuration::from_hours(23);
        assert!(Kept::read(&path, LOCATION, later).is_ok());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("1-3, 70"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_what_was_written_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("listing.json");
        let why = |location, hours| {
            Kept::read(&path, location, now() + SignedDuration::from_hours(hours)).unwrap_err()
        };
        assert!(why(LOCATION, 0).contains("does not exist"));
        kept().write(&path, LOCATION).unwrap();
        assert!(why("https://h/app (ev02/configuration)", 0).contains("ev01"));
        assert!(why(LOCATION, 25).contains("last full listing"));
        assert!(why(LOCATION, -1).contains("last full listing"));
        let whole = fs::read(&path).unwrap();
        // Without its last byte, a newline, it is whole.
        for end in 0..whole.len() - 1 {
            fs::write(&path, &whole[..end]).unwrap();
            why(LOCATION, 0);
        }
        for position in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&path, &changed).unwrap();
            why(LOCATION, 0);
        }
        let nothing = Kept::new(listing(&[], &[]), now());
        nothing.write(&path, LOCATION).unwrap();
        assert!(why(LOCATION, 0).contains("no versions"));
        let ahead = Kept::new(listing(&[(-301, 1)], &[1]), now());
        ahead.write(&path, LOCATION).unwrap();
        assert!(why(LOCATION, 0).contains("clock"));
    }

    #[test]
    fn it_grows_by_what_was_recorded_since() {
        let mut kept = kept();
        assert_eq!(kept.since(), format!("{}.190000", NOW / 1_000_000 - 301));
        assert_eq!(
            kept.update(listing(&[(299, 2), (0, 3)], &[2, 3])),
            Ok(false)
        );
        let since = listing(&[(300, 8), (299, 2), (0, 3), (-200, 4)], &[2, 4]);
        assert_eq!(kept.update(since), Ok(true));
        assert_eq!(*kept.runs(), [1, 2, 3, 4, 70].map(Run).into());
        assert_eq!(kept.recent, listing(&[(0, 3), (-200, 4)], &[]).versions);
    }

    #[test]
    fn a_server_that_lacks_a_recent_version_is_not_the_one_that_was_listed() {
        for since in [
            listing(&[], &[]),
            listing(&[(299, 2)], &[2]),
            listing(&[(0, 3)], &[3]),
            listing(&[(299, 2), (0, 4)], &[2, 3]),
            listing(&[(299, 2), (1, 3), (-9, 4)], &[2, 3, 4]),
        ] {
            let mut kept = kept();
            assert!(kept.update(since).is_err());
            assert_eq!(kept, self::kept(), "it is as it was");
        }
    }
}
