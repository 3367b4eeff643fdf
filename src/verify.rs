//! artdaqDB against UconDB, run by run: the blob that a run would be packed into
//! now, and the one that is stored.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;

use crate::artdaqdb::{ArtdaqDb, Presence};
use crate::blob;
use crate::clock;
use crate::durable;
use crate::error::{Disposition, Error, Result};
use crate::regular_file;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::shutdown::Shutdown;
use crate::ucondb::UconDb;

/// How many differing lines are shown of a run.
const SHOWN_LINES: usize = 5;
/// How much of a line is shown, in characters.
const SHOWN_WIDTH: usize = 120;

/// What was found of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Both hold the same record.
    Same,
    /// The records differ: the first differing lines.
    Differs(Vec<String>),
    /// artdaqDB has the run, UconDB has not.
    OnlyInArtdaqDb,
    /// UconDB has the run, artdaqDB has not.
    OnlyInUconDb,
    /// artdaqDB has the run in part only.
    Partial,
    /// One of the two could not be read.
    Unreadable(String),
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs compared and found the same.
    pub same: usize,
    /// All others.
    pub findings: Vec<(Run, Finding)>,
    /// The last run that was looked at.
    pub last: Option<Run>,
    /// Runs not looked at, because of a shutdown or a limit.
    pub left: usize,
    /// Of the numbers and ranges that were asked for, those that match no run.
    pub unmatched: Vec<String>,
}

/// Which runs are compared, lowest first, of those that either database has.
#[derive(Debug, Default)]
pub struct Selection<'a> {
    /// Just these.
    pub runs: Option<&'a RunSet>,
    /// None of these: they are not expected in UconDB yet.
    pub awaited: BTreeSet<Run>,
    /// Only those above this one.
    pub after: Option<Run>,
    /// At most as many.
    pub limit: Option<usize>,
}

/// Compares the runs of both databases.
///
/// # Errors
/// A database can't be reached or listed. What goes wrong with a single run is a
/// finding.
pub fn verify(
    artdaqdb: &dyn ArtdaqDb,
    ucondb: &dyn UconDb,
    selection: &Selection,
    shutdown: &Shutdown,
) -> Result<Report> {
    let Selection {
        runs,
        awaited,
        after,
        limit,
    } = selection;
    let imported = artdaqdb.runs()?;
    let migrated = ucondb.runs()?;
    let all: BTreeSet<Run> = imported.keys().chain(&migrated).copied().collect();
    let asked = runs.map(|runs| runs.unmatched(&all));
    let mut selected = all
        .into_iter()
        .filter(|run| runs.is_none_or(|runs| runs.contains(*run)))
        .filter(|run| Some(*run) > *after && !awaited.contains(run));
    let mut report = Report {
        unmatched: asked.unwrap_or_default(),
        ..Report::default()
    };
    for run in selected.by_ref().take(limit.unwrap_or(usize::MAX)) {
        if shutdown.requested() {
            report.left += 1;
            break;
        }
        let finding = match (imported.get(&run), migrated.contains(&run)) {
            (None, _) => Finding::OnlyInUconDb,
            (Some(Presence::Partial), _) => Finding::Partial,
            (Some(Presence::Whole), false) => Finding::OnlyInArtdaqDb,
            (Some(Presence::Whole), true) => match compare(artdaqdb, ucondb, run) {
                Ok(finding) => finding,
                Err(error) if error.disposition() == Disposition::StopStage => return Err(error),
                Err(error) => Finding::Unreadable(error.to_string()),
            },
        };
        report.last = Some(run);
        match finding {
            Finding::Same => {
                log::debug!("Run {run}: the same in both");
                report.same += 1;
            }
            finding => {
                log::warn!("Run {run}: {finding}");
                report.findings.push((run, finding));
            }
        }
    }
    report.left += selected.count();
    Ok(report)
}

/// Reads the run after which the next share begins; `None` for the first run.
///
/// # Errors
/// The file can't be read, or holds no run number.
pub fn read_progress(path: &Path) -> Result<Option<Run>> {
    let text = match regular_file::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("read", path, source)),
    };
    match Run::parse(text.trim()) {
        Some(run) => Ok(Some(run).filter(|run| run.0 > 0)),
        None => Err(Error::State {
            path: path.to_path_buf(),
            problem: format!(
                "{:?} is not the number of the run that was verified last. Remove the file to \
                 begin with the first run again",
                text.trim()
            ),
        }),
    }
}

/// Writes the run after which the next share begins.
///
/// # Errors
/// The file can't be written.
pub fn write_progress(path: &Path, last: Option<Run>) -> Result<()> {
    let text = format!("{}\n", last.unwrap_or(Run(0)));
    durable::replace(path, text.as_bytes(), durable::PRIVATE)
}

fn compare(artdaqdb: &dyn ArtdaqDb, ucondb: &dyn UconDb, run: Run) -> Result<Finding> {
    let configuration = artdaqdb.read(run)?;
    let ours = blob::pack(run, &configuration.files, clock::actual());
    let stored = ucondb.download(run)?;
    if blob::same_record(ours.as_bytes(), &stored) {
        return Ok(Finding::Same);
    }
    Ok(Finding::Differs(differences(
        &ours,
        &String::from_utf8_lossy(&stored),
    )))
}

/// The first lines that differ, `-` as artdaqDB has them, `+` as UconDB has them.
fn differences(artdaqdb: &str, ucondb: &str) -> Vec<String> {
    let lines = |blob: &str| -> Vec<String> {
        blob.lines()
            .filter(|line| !line.starts_with("Packed on "))
            .map(str::to_owned)
            .collect()
    };
    let (ours, theirs) = (lines(artdaqdb), lines(ucondb));
    let mut shown = Vec::new();
    let mut count = 0;
    for number in 0..ours.len().max(theirs.len()) {
        let (our, their) = (ours.get(number), theirs.get(number));
        if our != their {
            count += 1;
            if count <= SHOWN_LINES {
                let cut = |sign: char, line: &String| {
                    let text: String = line.chars().take(SHOWN_WIDTH).collect();
                    format!("line {}: {sign} {text}", number + 1)
                };
                shown.extend(our.map(|line| cut('-', line)));
                shown.extend(their.map(|line| cut('+', line)));
            }
        }
    }
    if count > SHOWN_LINES {
        shown.push(format!("and {} more lines", count - SHOWN_LINES));
    }
    shown
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Same => f.write_str("the same in both"),
            Finding::Differs(lines) => {
                f.write_str("artdaqDB (-) and UconDB (+) differ")?;
                lines.iter().try_for_each(|line| write!(f, "\n{line}"))
            }
            Finding::OnlyInArtdaqDb => f.write_str("in artdaqDB, not in UconDB"),
            Finding::OnlyInUconDb => f.write_str("in UconDB, not in artdaqDB"),
            Finding::Partial => f.write_str("in artdaqDB in part only: its import was cut short"),
            Finding::Unreadable(problem) => write!(f, "can't be compared: {problem}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_short_and_say_where() {
        let ours: String = (0..20).map(|number| format!("a: {number}\n")).collect();
        let theirs = ours.replace("a: 3\n", "a: 33\n") + "more\n";
        assert_eq!(
            differences(&ours, &theirs),
            ["line 4: - a: 3", "line 4: + a: 33", "line 21: + more"]
        );
        let differences = differences(&ours, &ours.replace("a:", "b:"));
        assert_eq!(differences.len(), 2 * SHOWN_LINES + 1);
        assert_eq!(differences.last().unwrap(), "and 15 more lines");
    }
}
