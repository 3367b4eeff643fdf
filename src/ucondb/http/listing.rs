//! The JSON that UconDB answers: what it says of one version, and listings.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;

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

/// The runs of a listing of versions. Keys that are not run numbers in the
/// form in which runs are asked for are no runs: `007` is not the key of run 7.
pub(super) fn runs(body: &[u8]) -> Result<BTreeSet<Run>, NotAListing> {
    let entries: Vec<Entry<'_>> = whole(body)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.key)
        .filter_map(|key| Run::parse(&key).filter(|run| run.to_string() == *key))
        .collect())
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
        let found = runs(LISTING.as_bytes()).unwrap();
        assert_eq!(found, BTreeSet::from([Run(0), Run(100)]));
        assert!(runs(b" [ ]\n").unwrap().is_empty());
    }

    #[test]
    fn every_cut_of_a_listing_is_seen() {
        for end in 0..LISTING.len() {
            assert_eq!(
                runs(&LISTING.as_bytes()[..end]),
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
                matches!(runs(body.as_bytes()), Err(NotAListing::Other(_))),
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
