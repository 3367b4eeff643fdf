//! Takes a blob apart.

use super::{END, Heading, PACKED_ON, RUN_NUMBER, START, headings, place};
use crate::fhicl;
use crate::run::{FclFile, Run};

/// A blob, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The run that it says it is of.
    pub run: Run,
    /// Its files in the order in which they stand.
    pub files: Vec<FclFile>,
    /// What could be read in another way, as lines for operators. Blobs that were
    /// packed before this archiver can be ambiguous.
    pub ambiguities: Vec<String>,
}

/// Reads a blob.
///
/// # Errors
/// A text that is not a blob, with the reason: its first and last lines, their
/// run numbers, or bytes before its first file or behind its end.
pub fn read(blob: &str) -> Result<Blob, String> {
    let rest = blob
        .strip_prefix(START)
        .ok_or_else(|| format!("it does not begin with {:?}", START.trim_end()))?;
    let end = blob
        .rfind(END)
        .ok_or_else(|| format!("it has no {:?} line", END.trim()))?;
    let (run, rest) = stamp(rest).ok_or("it has no run number and time in its lines 2 and 3")?;
    let (last, behind) = stamp(&blob[end + END.len()..])
        .ok_or_else(|| format!("it has no run number and time behind {:?}", END.trim()))?;
    if run != last {
        return Err(format!(
            "it says run {run} at its beginning and {last} at its end"
        ));
    }
    if !behind.is_empty() {
        return Err(format!("it has {} bytes behind its end", behind.len()));
    }
    let start = blob.len() - rest.len();
    let body = blob.get(start..end).unwrap_or_default();
    let heads = headings(body);
    let first = heads.first().map_or(body.len(), |head| head.start);
    if first > 0 {
        return Err(format!("it has {first} bytes before its first file"));
    }
    let mut ambiguities = Vec::new();
    let files = files(body, &heads, &mut ambiguities);
    for pair in files.windows(2) {
        if let [before, after] = pair
            && place(&before.entity) >= place(&after.entity)
        {
            ambiguities.push(format!(
                "{0}.fcl stands behind {1}.fcl, where no archiver writes it: it may be part of {1}.fcl",
                after.entity, before.entity
            ));
        }
    }
    Ok(Blob {
        run,
        files,
        ambiguities,
    })
}

/// Reads the run number and the time of packing; returns what is behind them.
fn stamp(text: &str) -> Option<(Run, &str)> {
    let (run, rest) = text.strip_prefix(RUN_NUMBER)?.split_once('\n')?;
    let (_time, rest) = rest.strip_prefix(PACKED_ON)?.split_once('\n')?;
    Some((Run::parse(run)?, rest))
}

/// The files of these headings. A text that ends within a string goes on at the
/// next heading, if it is FHiCL then.
fn files(body: &str, heads: &[Heading], ambiguities: &mut Vec<String>) -> Vec<FclFile> {
    let stop = |number: usize| heads.get(number).map_or(body.len(), |next| next.start);
    let mut files = Vec::with_capacity(heads.len());
    let mut number = 0;
    while let Some(head) = heads.get(number) {
        let mut next = number + 1;
        let mut text = &body[head.text..stop(next)];
        if ends_within_string(text) {
            let whole = (next + 1..=heads.len())
                .find(|end| fhicl::parse(&body[head.text..stop(*end)]).is_ok());
            if let Some(end) = whole {
                ambiguities.push(format!(
                    "a string of {}.fcl looks like the heading of {}.fcl, and is taken for a string",
                    head.entity, heads[next].entity
                ));
                text = &body[head.text..stop(end)];
                next = end;
            }
        }
        files.push(FclFile {
            entity: head.entity.to_owned(),
            text: text.to_owned(),
        });
        number = next;
    }
    files
}

/// Whether a text is FHiCL but for a string that does not end in it.
pub(super) fn ends_within_string(text: &str) -> bool {
    // Most files have a string of several lines nowhere.
    matches!(fhicl::parse(text), Err(error) if error.expected.starts_with("a closing `"))
}
