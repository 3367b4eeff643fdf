//! Run numbers, and sets of them written as ranges.

use std::fmt;

/// The number of a run. Run numbers are positive decimal numbers; they name
/// the run record's directory, the artdaqDB configuration (`<run>/<name>`)
/// and the UconDB key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u64);

impl Run {
    /// Reads a run number: ASCII digits only, at most what a `u64` holds.
    /// `+5`, ` 5` and `5.0` are not run numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Run> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().map(Run)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An .fcl file as it travels through the archiver: between the run record,
/// artdaqDB and the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FclFile {
    /// The entity: the file's name without `.fcl`, such as `tpc01` or `RunHistory2`.
    pub entity: String,
    /// The FHiCL text. What was not UTF-8 in a source file was made so, and
    /// logged, when the file was read.
    pub text: String,
}

/// The entity under which the schema is kept, in its own collection.
pub const SCHEMA_ENTITY: &str = "schema";

/// One of the two stages of the pipeline, with the words in which its messages
/// speak. The operations manual quotes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageKind {
    /// Run records to artdaqDB.
    Import,
    /// artdaqDB to UconDB.
    Migrate,
}

impl StageKind {
    /// Both, in the order in which they run.
    pub const ALL: [StageKind; 2] = [StageKind::Import, StageKind::Migrate];

    /// `Import Stage`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            StageKind::Import => "Import Stage",
            StageKind::Migrate => "Migrate Stage",
        }
    }

    /// `import`, as in "run 12500 import failed" and in the names of metrics.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            StageKind::Import => "import",
            StageKind::Migrate => "migrate",
        }
    }

    /// `imported`.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            StageKind::Import => "imported",
            StageKind::Migrate => "migrated",
        }
    }

    /// The module name of the stage's lines in the log, which the operations
    /// manual's `grep` commands look for.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            StageKind::Import => "run_record_archiver::importer",
            StageKind::Migrate => "run_record_archiver::migrator",
        }
    }

    /// The flag that retries the runs of this stage's failure log.
    #[must_use]
    pub const fn retry_flag(self) -> &'static str {
        match self {
            StageKind::Import => "--retry-failed-import",
            StageKind::Migrate => "--retry-failed-migrate",
        }
    }

    /// The flag that rebuilds this stage's state.
    #[must_use]
    pub const fn recover_flag(self) -> &'static str {
        match self {
            StageKind::Import => "--recover-import-state",
            StageKind::Migrate => "--recover-migrate-state",
        }
    }
}
