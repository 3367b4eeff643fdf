//! Run records: the directories in which DAQInterface leaves what a run was
//! made of. [`scan()`] finds them, [`RunRecord::read`] turns one into the FHiCL
//! that is archived. Nothing here writes to the source.
//!
//! `docs/run-record.md` says what becomes of each file.

pub mod convert;
mod read;
mod scan;
mod snapshot;

use std::fmt;
use std::str::FromStr;

pub use read::{DEFAULT_CONFIGURATION, MAX_FILE_BYTES, Options, RunRecord, SourceDigests};
pub use scan::scan;
pub use snapshot::{DirectoryStamp, Snapshot, directory_stamp};

/// An .fcl file that the archiver makes itself: from the .txt file of the same
/// name, or, for the two histories, from `metadata.txt`. The names are those
/// of `fhiclize_generate` in the configuration and of the entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generated {
    /// `metadata.txt`: configuration, components, versions, log files, times.
    Metadata,
    /// `boot.txt`: the artdaq processes and subsystems.
    Boot,
    /// `settings.txt`: DAQInterface's own settings.
    Settings,
    /// `setup.txt`: the shell script that sets up the software.
    Setup,
    /// `environment.txt`: the `DAQINTERFACE_*` variables.
    Environment,
    /// `ranks.txt`: host, port, label, subsystem and rank of each process.
    Ranks,
    /// `known_boardreaders_list.txt`: the board readers to choose from.
    KnownBoardreadersList,
    /// Run number, configuration name and components.
    RunHistory,
    /// Start and stop time; loaded after the rest, when there is something to say.
    RunHistory2,
}

impl Generated {
    /// All of them.
    pub const ALL: [Generated; 9] = [
        Generated::Metadata,
        Generated::Boot,
        Generated::Settings,
        Generated::Setup,
        Generated::Environment,
        Generated::Ranks,
        Generated::KnownBoardreadersList,
        Generated::RunHistory,
        Generated::RunHistory2,
    ];

    /// The entity, which is also the name in `fhiclize_generate`.
    #[must_use]
    pub const fn entity(self) -> &'static str {
        match self {
            Generated::Metadata => "metadata",
            Generated::Boot => "boot",
            Generated::Settings => "settings",
            Generated::Setup => "setup",
            Generated::Environment => "environment",
            Generated::Ranks => "ranks",
            Generated::KnownBoardreadersList => "known_boardreaders_list",
            Generated::RunHistory => "RunHistory",
            Generated::RunHistory2 => "RunHistory2",
        }
    }

    /// The place of its source among [`SourceDigests`].
    #[must_use]
    pub(crate) fn source_place(self) -> usize {
        let mut place = 0;
        let mut sources: Vec<&str> = Vec::new();
        for one in Generated::ALL {
            if !sources.contains(&one.source()) {
                sources.push(one.source());
            }
            if one.source() == self.source() {
                place = sources
                    .iter()
                    .position(|it| *it == self.source())
                    .unwrap_or_default();
            }
        }
        place
    }

    /// The file of the run record from which it is made.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Generated::Metadata | Generated::RunHistory | Generated::RunHistory2 => "metadata.txt",
            Generated::Boot => "boot.txt",
            Generated::Settings => "settings.txt",
            Generated::Setup => "setup.txt",
            Generated::Environment => "environment.txt",
            Generated::Ranks => "ranks.txt",
            Generated::KnownBoardreadersList => "known_boardreaders_list.txt",
        }
    }
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entity())
    }
}

/// A name that stands for no file the archiver can make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a file that can be generated; the names are metadata, boot, settings, setup, \
     environment, ranks, known_boardreaders_list, RunHistory and RunHistory2"
)]
pub struct UnknownGenerated(pub String);

impl FromStr for Generated {
    type Err = UnknownGenerated;

    fn from_str(name: &str) -> Result<Generated, UnknownGenerated> {
        Generated::ALL
            .into_iter()
            .find(|generated| generated.entity() == name)
            .ok_or_else(|| UnknownGenerated(name.to_string()))
    }
}
