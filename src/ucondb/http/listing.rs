//! The JSON that UconDB answers: what it says of one version, and listings.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::run::Run;
use crate::ucondb::Version;

/// One version, as uploads and `meta_only` answer it.
#[derive(Deserialize)]
struct Metadata {
    data_size: u64,
    adler32: i64,
}

/// One version of a listing.
#[derive(Deserialize)]
struct Entry<'a> {
    /// Null where an override moved the key to a later version.
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    // What tells one version from another. A listing is none the worse for
    // having it in another form, so it is looked into only later.
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    tr: Option<&'a RawValue>,
    #[serde(borrow)]
    data_size: Option<&'a RawValue>,
    #[serde(borrow)]
    adler32: Option<&'a RawValue>,
}

/// A version as no other server, and no other state of this one, has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(i64, u64, u64, i64)", into = "(i64, u64, u64, i64)")]
pub(super) struct Mark {
    /// When the server recorded it, in microseconds since 1970.
    pub(super) recorded: i64,
    id: u64,
    size: u64,
    adler32: i64,
}

impl From<(i64, u64, u64, i64)> for Mark {
    fn from((recorded, id, size, adler32): (i64, u64, u64, i64)) -> Mark {
        Mark {
            recorded,
            id,
            size,
            adler32,
        }
    }
}

impl From<Mark> for (i64, u64, u64, i64) {
    fn from(mark: Mark) -> (i64, u64, u64, i64) {
        (mark.recorded, mark.id, mark.size, mark.adler32)
    }
}

/// What a listing tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The runs that have a version.
    pub(super) runs: BTreeSet<Run>,
    /// Every version, with a key or without.
    pub(super) versions: Vec<Mark>,
}

impl Entry<'_> {
    fn run(&self) -> Option<Run> {
        let key = self.key.as_deref()?;
        Run::parse(key).filter(|run| run.to_string() == key)
    }

    fn mark(&self) -> Option<Mark> {
        let recorded: f64 = number(self.tr)?;
        Some(Mark {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and is no time then"
            )]
            recorded: (recorded * 1e6).round() as i64,
            id: number(self.id)?,
            size: number(self.data_size)?,
            adler32: number(self.adler32)?,
        })
    }
}

fn number<T: std::str::FromStr>(text: Option<&RawValue>) -> Option<T> {
    text?.get().parse().ok()
}

/// Why a listing is no listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAListing {
    /// It ends before its closing bracket.
    CutShort,
    /// It is something else: why.
    Other(String),
}

/// Reads what UconDB says of one version.
pub(super) fn version(body: &[u8]) -> Option<Version> {
    let metadata: Metadata = serde_json::from_slice(body).ok()?;
    Some(Version {
        size: metadata.data_size,
        adler32: checksum(metadata.adler32)?,
    })
}

/// An Adler-32 as UconDB writes it: versions that a Python 2 server recorded
/// have it as a signed number.
pub(super) fn checksum(number: i64) -> Option<u32> {
    u32::try_from(number)
        .ok()
        .or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))
}

/// Reads a listing of versions. Keys that are not run numbers in the form in
/// which runs are asked for are no runs: `007` is not the key of run 7.
pub(super) fn versions(body: &[u8]) -> Result<Listing, NotAListing> {
    let entries: Vec<Entry<'_>> = whole(body)?;
    Ok(Listing {
        runs: entries.iter().filter_map(Entry::run).collect(),
        versions: entries.iter().filter_map(Entry::mark).collect(),
    })
}

/// The names of a listing of folders or objects.
pub(super) fn names(body: &[u8]) -> Result<Vec<String>, NotAListing> {
    whole(body)
}

/// Reads a JSON array. Such an answer comes without a length, so only its end
/// proves it whole.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, NotAListing> {
    let text = body.trim_ascii();
    serde_json::from_slice(text).map_err(|error| {
        let ended = text.ends_with(b"]") && !error.is_eof();
        if text.is_empty() || (text.starts_with(b"[") && !ended) {
            NotAListing::CutShort
        } else {
            NotAListing::Other(error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"[{"object": "configuration", "folder": "prd.ev01", "tv": 0.0,
        "tr": 1795419063.19, "tags": ["100"], "adler32": 1, "uadler32": 1, "data_size": 0,
        "data_key": "1", "id": 3, "key": "100"},
        {"key": null, "tags": [], "id": 2}, {"id": 1}, {"key": "abc"}, {"key": "007"},
        {"key": "1\u0030\u0030"}, {"key": "99999999999999999999999"}, {"key": "0"}]"#;

    #[test]
    fn a_listing_gives_the_keys_that_are_runs() {
        let runs = |body| versions(body).map(|listing| listing.runs);
        let found = runs(LISTING.as_bytes()).unwrap();
        assert_eq!(found, BTreeSet::from([Run(0), Run(100)]));
        assert!(runs(b" [ ]\n").unwrap().is_empty());
    }

    #[test]
    fn a_listing_gives_the_versions_that_can_be_told_apart() {
        let mark = Mark::from((1_795_419_063_190_000, 3, 0, 1));
        assert_eq!(versions(LISTING.as_bytes()).unwrap().versions, [mark]);
        let body = br#"[{"id": 7, "tr": 1.5, "data_size": 2, "adler32": -3, "key": null},
            {"id": "8", "tr": 1.5, "data_size": 2, "adler32": 3, "key": "8"}]"#;
        let listing = versions(body).unwrap();
        assert_eq!(listing.versions, [Mark::from((1_500_000, 7, 2, -3))]);
        assert_eq!(listing.runs, BTreeSet::from([Run(8)]));
    }

    #[test]
    fn every_cut_of_a_listing_is_seen() {
        for end in 0..LISTING.len() {
            assert_eq!(
                versions(&LISTING.as_bytes()[..end]),
                Err(NotAListing::CutShort),
                "{}",
                &LISTING[..end]
            );
        }
    }

    #[test]
    fn what_is_no_listing_is_told_from_one_cut_short() {
        for body in ["<html>", "{}", "{", "7", "[1]", r#"[{"key": 5}]"#, "[] []"] {
            assert!(
                matches!(versions(body.as_bytes()), Err(NotAListing::Other(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn checksums_may_be_signed() {
        let body = br#"{"data_size": 38, "adler32": 4259712094, "key": "1"}"#;
        let expected = Version {
            size: 38,
            adler32: 4_259_712_094,
        };
        assert_eq!(version(body), Some(expected));
        let body = br#"{"data_size": 38, "adler32": -35255202, "key": "1"}"#;
        assert_eq!(version(body), Some(expected));
        for body in [
            "",
            "{}",
            "7",
            r#"{"data_size": -1, "adler32": 1}"#,
            r#"{"data_size": 1, "adler32": 4294967296}"#,
        ] {
            assert_eq!(version(body.as_bytes()), None, "{body}");
        }
    }
}
