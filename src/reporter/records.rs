//! Records of archived runs that need an operator's look.

use std::collections::BTreeMap;

use crate::run::Run;
use crate::run_set::RunSet;

/// Records of archived runs that need an operator's look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFindings {
    /// Files that records name and do not have.
    pub incomplete: Vec<Concern>,
    /// Files that artdaqDB lacks of records.
    pub lacking: Vec<Concern>,
    /// Files of records that are others than those that were archived.
    pub changed: Vec<Concern>,
    /// Runs whose records are stored anew only when an operator asks for it.
    pub to_store: RunSet,
}

/// Runs whose records have a fault in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// The runs.
    pub runs: RunSet,
    /// The files.
    pub files: Vec<String>,
}

impl RecordFindings {
    /// Whether no record needs a look.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each().iter().all(|(.., concerns)| concerns.is_empty())
    }

    /// Each kind of fault with its name, its meaning, and the runs that have it.
    #[must_use]
    pub fn each(&self) -> [(&'static str, &'static str, &[Concern]); 3] {
        [
            (
                "Changed",
                "changed records: these files are others than were archived (--reimport)",
                &self.changed,
            ),
            (
                "Lacking",
                "runs of whose records artdaqDB lacks these files (--reimport)",
                &self.lacking,
            ),
            (
                "Incomplete",
                "incomplete records: files that they name are not there",
                &self.incomplete,
            ),
        ]
    }
}

impl Concern {
    /// Brings together the runs with the same files.
    pub fn group<'a>(all: impl IntoIterator<Item = (Run, &'a [String])>) -> Vec<Concern> {
        let mut groups: BTreeMap<&[String], Vec<Run>> = BTreeMap::new();
        for (run, files) in all {
            if !files.is_empty() {
                groups.entry(files).or_default().push(run);
            }
        }
        let mut concerns: Vec<Concern> = groups
            .into_iter()
            .map(|(files, runs)| Concern {
                runs: runs.into_iter().collect(),
                files: files.to_vec(),
            })
            .collect();
        concerns.sort_by_key(|concern| concern.runs.first());
        concerns
    }

    /// `12500-12502: tpc01.fcl, boot.txt`.
    #[must_use]
    pub fn sentence(&self) -> String {
        const FILES: usize = 100;
        let mut files = self.files.iter().take(FILES).cloned().collect::<Vec<_>>();
        if self.files.len() > FILES {
            files.push(format!("and {} more", self.files.len() - FILES));
        }
        format!("{}: {}", super::text::listed(&self.runs), files.join(", "))
    }
}
