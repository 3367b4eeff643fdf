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

use std::fmt::Write;

use jiff::Timestamp;

use crate::run::{FclFile, Run};

pub use check::{Finding, check};

mod check;

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
const PACKED_ON: &str = "Packed on ";

/// Packs a run's files into its blob, dated `packed` (UTC, to the minute).
#[must_use]
pub fn pack(run: Run, files: &[FclFile], packed: Timestamp) -> String {
    let stamp = format!(
        "Run Number: {run}\n{PACKED_ON}{} UTC\n",
        packed.strftime("%b %d %H:%M")
    );
    let mut ordered: Vec<&FclFile> = files.iter().collect();
    ordered.sort_by_cached_key(|file| {
        // Those not in the list come first: None sorts before every position.
        let position = LAST.iter().position(|last| *last == file.entity);
        (
            position,
            format!("{}.fcl", file.entity.to_lowercase()),
            file.entity.clone(),
        )
    });

    let text: usize = files
        .iter()
        .map(|file| file.text.len() + file.entity.len() + 19)
        .sum();
    let mut blob = String::with_capacity(text + 2 * stamp.len() + START.len() + END.len());
    blob.push_str(START);
    blob.push_str(&stamp);
    for file in ordered {
        let _ = write!(blob, "\n{MARK}{}.fcl:\n{MARK}{}", file.entity, file.text);
    }
    blob.push_str(END);
    blob.push_str(&stamp);
    blob
}

/// Takes a blob apart: the files in the order in which they stand.
///
/// # Errors
/// A text that is not a blob, with the reason.
pub fn unpack(blob: &str) -> Result<Vec<FclFile>, String> {
    if !blob.starts_with(START) {
        return Err(format!("it does not begin with {:?}", START.trim_end()));
    }
    let end = blob
        .rfind(END)
        .ok_or_else(|| format!("it has no {:?} line", END.trim()))?;
    let heads = headings(&blob[..end]);
    let mut files = Vec::with_capacity(heads.len());
    for (number, head) in heads.iter().enumerate() {
        let stop = heads.get(number + 1).map_or(end, |next| next.start);
        files.push(FclFile {
            entity: head.entity.to_owned(),
            text: blob[head.text..stop].to_owned(),
        });
    }
    Ok(files)
}

/// Whether two blobs hold the same record: equal but for when they were packed.
#[must_use]
pub fn same_record(one: &[u8], other: &[u8]) -> bool {
    let undated = |blob| {
        <[u8]>::split(blob, |byte| *byte == b'\n')
            .filter(|line: &&[u8]| !line.starts_with(PACKED_ON.as_bytes()))
    };
    undated(one).eq(undated(other))
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
