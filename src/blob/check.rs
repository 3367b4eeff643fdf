//! What production's readers demand of a blob. A blob that breaks a demand is
//! stored all the same, since nothing may be lost; but the operator is told.

use std::collections::BTreeSet;
use std::fmt;

use memchr::memmem;

use super::read::ends_within_string;
use super::{END, headings};

/// The keys of metadata.fcl that the file-metadata exporter looks up.
const EXPORTED: [&str; 3] = ["components", "config_name", "sbndaq_commit_or_version"];

/// What the validation script looks for at the beginning of a line.
const SCANNED: [&str; 4] = [
    "config_name",
    "components",
    "sbndaq_commit_or_version",
    "metadata",
];

/// A demand that a blob does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file in the blob, or the blob as a whole.
    pub place: String,
    /// The line of the blob, counted from 1, where there is one to point to.
    pub line: Option<usize>,
    /// What a reader will make of it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(
                f,
                "{}, line {line} of the blob: {}",
                self.place, self.problem
            ),
            None => write!(f, "{}: {}", self.place, self.problem),
        }
    }
}

/// Checks a blob against its readers' demands; an empty list is a clean blob.
#[must_use]
pub fn check(blob: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(end) = blob.rfind(END) else {
        return vec![whole(
            "it has no \"End of Record\" line, so it is cut short".into(),
        )];
    };
    if let Some(at) = memmem::find(blob.as_bytes(), b"\r\n") {
        findings.push(Finding {
            place: "the blob".into(),
            line: Some(line_of(blob, at)),
            problem: "a line ends in CR LF, which breaks the file-metadata exporter".into(),
        });
    }

    let heads = headings(&blob[..end]);
    if heads.is_empty() {
        findings.push(whole("it holds no file".into()));
    }
    let mut metadata = None;
    for (number, head) in heads.iter().enumerate() {
        let stop = heads.get(number + 1).map_or(end, |next| next.start);
        let text = &blob[head.text..stop];
        let place = format!("{}.fcl", head.entity);
        for mark in ["#####", "End of Record"] {
            if let Some(at) = memmem::find(text.as_bytes(), mark.as_bytes()) {
                findings.push(Finding {
                    line: Some(line_of(blob, head.text + at)),
                    problem: format!(
                        "it contains {mark:?}, where the file-metadata exporter cuts it short"
                    ),
                    place: place.clone(),
                });
            }
        }
        if let Some(next) = heads.get(number + 1)
            && ends_within_string(text)
        {
            findings.push(Finding {
                line: Some(line_of(blob, next.start + 1)),
                problem: format!(
                    "a string looks like the heading of {}.fcl, where the file-metadata exporter \
                     cuts it short",
                    next.entity
                ),
                place: place.clone(),
            });
        }
        if head.entity == "metadata" {
            metadata = Some(text);
        }
    }

    match metadata {
        None => findings.push(whole("it holds no metadata.fcl".into())),
        Some(text) => findings.extend(EXPORTED.iter().filter_map(|key| exported(text, key))),
    }
    findings.extend(scanned(blob));
    findings
}

/// The exporter wants `key:\s+(.*)` to match exactly once in metadata.fcl.
fn exported(text: &str, key: &str) -> Option<Finding> {
    let needle = format!("{key}:");
    let mut matches = 0;
    let mut rest = text;
    while let Some(at) = rest.find(&needle) {
        rest = &rest[at + needle.len()..];
        if rest.starts_with(|c: char| c.is_ascii_whitespace()) {
            matches += 1;
            // The match takes the white space, line ends too, and the line that follows.
            rest = rest.trim_ascii_start();
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        }
    }
    (matches != 1).then(|| Finding {
        place: "metadata.fcl".into(),
        line: None,
        problem: format!(
            "it has {matches} values for {key:?} where the file-metadata exporter wants exactly one"
        ),
    })
}

/// The validation script wants exactly four distinct lines that begin with one
/// of its four words.
fn scanned(blob: &str) -> Option<Finding> {
    let lines: BTreeSet<&str> = blob
        .lines()
        .filter(|line| SCANNED.iter().any(|word| line.starts_with(word)))
        .collect();
    (lines.len() != SCANNED.len()).then(|| {
        let begins: Vec<&str> = lines
            .iter()
            .map(|line| line.split(':').next().unwrap_or(line))
            .collect();
        whole(format!(
            "{} distinct lines begin with one of {} ({}), where the validation script wants exactly {}",
            lines.len(),
            SCANNED.join(", "),
            begins.join(", "),
            SCANNED.len()
        ))
    })
}

fn whole(problem: String) -> Finding {
    Finding {
        place: "the blob".into(),
        line: None,
        problem,
    }
}

fn line_of(blob: &str, offset: usize) -> usize {
    1 + blob[..offset].bytes().filter(|byte| *byte == b'\n').count()
}
