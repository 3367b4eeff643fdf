//! The blob: one text that holds every .fcl file of a run, as UconDB keeps it
//! and as the experiments' readers take it apart.
//!
//! ```text
//! Start of Record
//! Run Number: 12345
//! Packed on Oct 26 14:30 UTC
//!
//! #####
//! tpc01.fcl:
//! #####
//! <text>
//! ...
//!
//! End of Record
//! Run Number: 12345
//! Packed on Oct 26 14:30 UTC
//! ```

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;

use crate::run::{FclFile, Run};

pub use check::{Finding, check};
pub use read::{Blob, read};

mod check;
mod read;
mod unambiguous;

/// The entities that stand last, in this order.
const LAST: [&str; 9] = [
    "boot",
    "known_boardreaders_list",
    "setup",
    "environment",
    "metadata",
    "settings",
    "ranks",
    "RunHistory",
    "RunHistory2",
];

const START: &str = "Start of Record\n";
const END: &str = "\nEnd of Record\n";
const MARK: &str = "#####\n";
const RUN_NUMBER: &str = "Run Number: ";
const PACKED_ON: &str = "Packed on ";

/// Packs a run's files into its blob, dated `packed` (UTC, to the minute).
///
/// A text in which something looks like the heading of another file is written
/// with the same meaning in another way, so that [`unpack`] finds the files that
/// were packed.
#[must_use]
pub fn pack(run: Run, files: &[FclFile], packed: Timestamp) -> String {
    let stamp = format!(
        "{RUN_NUMBER}{run}\n{PACKED_ON}{} UTC\n",
        packed.strftime("%b %d %H:%M")
    );
    let mut ordered: Vec<&FclFile> = files.iter().collect();
    ordered.sort_by_cached_key(|file| place(&file.entity));

    let text: usize = files
        .iter()
        .map(|file| file.text.len() + file.entity.len() + 19)
        .sum();
    let mut blob = String::with_capacity(text + 2 * stamp.len() + START.len() + END.len());
    blob.push_str(START);
    blob.push_str(&stamp);
    for file in ordered {
        let text = unambiguous::text(&file.text);
        let _ = write!(blob, "\n{MARK}{}.fcl:\n{MARK}{text}", file.entity);
    }
    blob.push_str(END);
    blob.push_str(&stamp);
    blob
}

/// Returns the text that a file has in a blob: mostly its own, as [`pack`] says.
#[must_use]
pub fn text_as_packed(text: &str) -> Cow<'_, str> {
    unambiguous::text(text)
}

/// What the files of a blob are ordered by.
fn place(entity: &str) -> (Option<usize>, String, String) {
    // Those not in the list come first: None sorts before every position.
    let position = LAST.iter().position(|last| *last == entity);
    let name = format!("{}.fcl", entity.to_lowercase());
    (position, name, entity.to_owned())
}

/// Takes a blob apart: the files in the order in which they stand.
///
/// # Errors
/// Those of [`read`].
pub fn unpack(blob: &str) -> Result<Vec<FclFile>, String> {
    read(blob).map(|blob| blob.files)
}

/// Whether two blobs hold the same record: equal but for when they were packed.
/// A line of a file that looks like the time of packing is compared.
#[must_use]
pub fn same_record(one: &[u8], other: &[u8]) -> bool {
    undated(one) == undated(other)
}

/// A blob without its two times of packing: its first two lines, and what
/// stands between the times.
fn undated(blob: &[u8]) -> (&[u8], &[u8]) {
    /// Where a line ends that begins at `start` so.
    fn line(blob: &[u8], start: usize, begins: &str) -> Option<usize> {
        let rest = blob.get(start..)?;
        let length = memchr::memchr(b'\n', rest)?;
        rest.starts_with(begins.as_bytes())
            .then_some(start + length + 1)
    }
    let first = line(blob, 0, START.trim_end()).and_then(|run| {
        let packed = line(blob, run, RUN_NUMBER)?;
        Some((packed, line(blob, packed, PACKED_ON)?))
    });
    let last = memchr::memmem::rfind(blob, END.as_bytes()).and_then(|end| {
        let packed = line(blob, end + END.len(), RUN_NUMBER)?;
        line(blob, packed, PACKED_ON).filter(|end| *end == blob.len())?;
        Some(packed)
    });
    match (first, last) {
        (Some((head, start)), Some(end)) if start <= end => (&blob[..head], &blob[start..end]),
        _ => (blob, b""),
    }
}

/// A file's heading in a blob, by byte offsets.
struct Heading<'a> {
    /// Where the empty line before the heading begins.
    start: usize,
    entity: &'a str,
    /// Where the file's text begins.
    text: usize,
}

/// Every heading `\n#####\n<entity>.fcl:\n#####\n`.
fn headings(blob: &str) -> Vec<Heading<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(offset) = blob[from..].find("\n#####\n") {
        let start = from + offset;
        let name = start + 7;
        from = start + 1;
        let Some(line) = blob[name..].find('\n').map(|end| &blob[name..name + end]) else {
            break;
        };
        let text = name + line.len() + 1 + MARK.len();
        if let Some(entity) = line.strip_suffix(".fcl:")
            && blob[name + line.len() + 1..].starts_with(MARK)
        {
            found.push(Heading {
                start,
                entity,
                text,
            });
            // The second mark of a heading begins no other one.
            from = text;
        }
    }
    found
}

#[cfg(test)]
mod tests;
