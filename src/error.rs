//! The errors of the archiver. Each names the run, the file or the server, the
//! cause, and the way out; and each knows what the stage is to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::fhicl;

mod remedy;

pub use remedy::{Remedy, UconName};

/// What caused an error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A result of ours.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a stage does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The run itself is at fault: trying again would fail again. It goes to
    /// the failure log at once.
    FailRun,
    /// The run may succeed when tried again.
    RetryRun,
    /// The run is not whole yet: it is neither failed nor attempted, and the next
    /// execution looks again.
    LeaveRun,
    /// Nothing the run can help: a database unreachable, a disk full,
    /// credentials refused. The stage stops; its runs are neither failed nor
    /// attempted.
    StopStage,
}

/// Everything that can go wrong, by what an operator would look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file is missing, unreadable or wrong.
    #[error("{}", lines(diagnostics))]
    Config {
        /// Every fault, in the order of the file.
        diagnostics: Vec<Diagnostic>,
    },

    /// Flags that do not go together, or that this version does not have yet.
    #[error("{0}")]
    Usage(String),

    /// A file operation failed.
    #[error("cannot {action} {}: {source}{}", path.display(), io_advice(source))]
    Io {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A run record that can't be archived as it stands.
    #[error("{}: {problem}", path.display())]
    RunRecord {
        /// The file or directory at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A file that is not FHiCL.
    #[error("{}: not FHiCL: {source}", path.display())]
    Syntax {
        /// The file at fault.
        path: PathBuf,
        /// Where and why.
        source: Box<fhicl::SyntaxError>,
    },

    /// artdaqDB refused, failed or holds what it should not.
    #[error("{location}: {}", told(problem, remedy.as_deref()))]
    ArtdaqDb {
        /// The database or the file in it, without credentials.
        location: String,
        /// What went wrong.
        problem: String,
        /// What the stage does about it.
        disposition: Disposition,
        /// What an operator can do about it.
        remedy: Option<Box<Remedy>>,
        /// What caused it.
        #[source]
        cause: Option<Cause>,
    },

    /// UconDB refused, failed or holds what it should not.
    #[error("{location}: {}", told(problem, remedy.as_deref()))]
    UconDb {
        /// The server, folder and object, without credentials.
        location: String,
        /// What went wrong.
        problem: String,
        /// What the stage does about it.
        disposition: Disposition,
        /// What an operator can do about it.
        remedy: Option<Box<Remedy>>,
        /// What caused it.
        #[source]
        cause: Option<Cause>,
    },

    /// A state file or failure log that can't be used.
    #[error("{}: {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong and the way out.
        problem: String,
    },

    /// A store has none of the runs that it was seen to have.
    #[error("{store} at {location} {problem}")]
    Vanished {
        /// The store's name.
        store: &'static str,
        /// Where it is, without credentials.
        location: String,
        /// What it lacks, and what to do.
        problem: String,
    },

    /// Another execution is under way.
    #[error("Another process may be running: {holder} (lock file {})", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it and what to do.
        holder: String,
    },

    /// A failure made on purpose (`app_fuzz`).
    #[error("failed on purpose (app_fuzz.{key}); set it to 0 in production")]
    OnPurpose {
        /// The key that asked for it.
        key: &'static str,
        /// Whether the run is not to be tried again.
        is_permanent: bool,
    },

    /// What this program should have ruled out.
    #[error("unexpected: {0}. This is a fault of the archiver: report it with the log")]
    Unexpected(String),

    /// A signal, or the removal of the lock file, ended the work before it was done.
    #[error("stopped: {0}")]
    Interrupted(String),
}

/// What is wrong with a configuration file, or doubtful, in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, counted from 1, where known.
    pub line: Option<usize>,
    /// The key, such as `app.batch_size`; empty where none is concerned.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what would be right.
    pub text: String,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// A key that no setting has: a warning to an execution, an error to `--check`.
    UnknownKey,
    /// Doubtful, and no obstacle.
    Warning,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match (self.line, self.severity) {
            (None, _) => {}
            (Some(line), Severity::Error) => write!(f, ":{line}")?,
            (Some(line), _) => write!(f, ": line {line}")?,
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// A problem, and what to do about it.
fn told(problem: &str, remedy: Option<&Remedy>) -> String {
    match remedy {
        None => problem.to_owned(),
        Some(remedy) => Remedy::join(problem, remedy),
    }
}

/// Diagnostics, a line each.
fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Error {
    /// An error of a configuration file with one fault.
    pub fn config(
        file: &Path,
        line: Option<usize>,
        key: impl Into<String>,
        text: impl Into<String>,
    ) -> Error {
        Error::Config {
            diagnostics: vec![Diagnostic {
                file: file.to_path_buf(),
                line,
                key: key.into(),
                severity: Severity::Error,
                text: text.into(),
            }],
        }
    }

    /// An error of artdaqDB.
    pub fn artdaqdb(
        location: impl Into<String>,
        problem: impl Into<String>,
        disposition: Disposition,
    ) -> Error {
        Error::ArtdaqDb {
            location: location.into(),
            problem: problem.into(),
            disposition,
            remedy: None,
            cause: None,
        }
    }

    /// An error of UconDB.
    pub fn ucondb(
        location: impl Into<String>,
        problem: impl Into<String>,
        disposition: Disposition,
    ) -> Error {
        Error::UconDb {
            location: location.into(),
            problem: problem.into(),
            disposition,
            remedy: None,
            cause: None,
        }
    }

    /// The same error of a database, with what an operator can do about it.
    #[must_use]
    pub fn with_remedy(mut self, new: Remedy) -> Error {
        if let Error::ArtdaqDb { remedy, .. } | Error::UconDb { remedy, .. } = &mut self {
            *remedy = Some(Box::new(new));
        }
        self
    }

    /// The same error of a database, with what caused it.
    #[must_use]
    pub fn caused_by(mut self, new: impl Into<Cause>) -> Error {
        if let Error::ArtdaqDb { cause, .. } | Error::UconDb { cause, .. } = &mut self {
            *cause = Some(new.into());
        }
        self
    }

    /// What an operator can do about it, if that is known as a value.
    #[must_use]
    pub fn remedy(&self) -> Option<&Remedy> {
        match self {
            Error::ArtdaqDb { remedy, .. } | Error::UconDb { remedy, .. } => remedy.as_deref(),
            _ => None,
        }
    }

    /// An I/O error with the operation and the path.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// Whether nobody reads any longer what is printed.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the stage does about this error.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Error::ArtdaqDb { disposition, .. } | Error::UconDb { disposition, .. } => *disposition,
            Error::Io { source, .. } => of_io(source),
            Error::OnPurpose {
                is_permanent: false,
                ..
            } => Disposition::RetryRun,
            Error::RunRecord { .. }
            | Error::Syntax { .. }
            | Error::OnPurpose { .. }
            | Error::Unexpected(_) => Disposition::FailRun,
            Error::Config { .. }
            | Error::Usage(_)
            | Error::State { .. }
            | Error::Vanished { .. }
            | Error::Locked { .. }
            | Error::Interrupted(_) => Disposition::StopStage,
        }
    }

    /// The class that the operations manual's log patterns name.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Error::ArtdaqDb { .. } => "ArtdaqDBError",
            Error::UconDb { .. } => "UconDBError",
            Error::Locked { .. } => "LockExistsError",
            _ => "ArchiverError",
        }
    }
}

/// What a stage does about an I/O error. What the machine lacks stops it, what is
/// wrong with a path is the run's fault; the rest (rights, a mount that went away, a
/// bad sector) can be either, and is found out by trying.
fn of_io(error: &io::Error) -> Disposition {
    use rustix::io::Errno;

    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::OutOfMemory => Disposition::StopStage,
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::UnexpectedEof => Disposition::FailRun,
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            // No more files, or no more threads.
            Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN) => Disposition::StopStage,
            Some(Errno::LOOP) => Disposition::FailRun,
            _ => Disposition::RetryRun,
        },
    }
}

/// What an operator can do about an I/O error, where its own text doesn't tell.
fn io_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            " (free space there, or inodes: see df -h and df -i; then run the same command again)"
        }
        io::ErrorKind::QuotaExceeded => " (raise the quota, then run the same command again)",
        io::ErrorKind::PermissionDenied => " (check the rights of the user that runs the archiver)",
        _ => "",
    }
}
