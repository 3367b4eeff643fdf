//! The tools on this machine.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::process::{self, Ended};
use super::view::{Indexes, View};
use super::{Job, Place, Tool, Turn, files, unreachable};
use crate::artdaqdb::filesystem::FilesystemDb;
use crate::artdaqdb::filesystem::lock::ArchiveLock;
use crate::disk::Usage;
use crate::durable;
use crate::error::{Error, Remedy, Result};
use crate::run::FclFile;
use crate::shutdown::Shutdown;

/// A tool that failed where fewer bytes are free failed for want of them.
const LEAST_ROOM: u64 = 1024 * 1024;

/// The tools, started as they are, without a shell.
pub(super) struct Local {
    pub uri: SecretString,
    /// The directory of a FilesystemDB.
    pub archive: Option<PathBuf>,
    /// The locks of a FilesystemDB.
    pub locks: Option<ArchiveLock>,
    pub tools_dir: Option<PathBuf>,
    pub limit: Duration,
}

impl Local {
    fn program(&self, tool: Tool) -> PathBuf {
        match &self.tools_dir {
            Some(directory) => directory.join(tool.name()),
            None => PathBuf::from(tool.name()),
        }
    }

    fn run(&self, tool: Tool, job: &Job, directory: &Path, turn: &Turn) -> Result<Ended> {
        let threads = match self.archive {
            Some(_) => 1,
            None => thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .div_ceil(2),
        };
        let mut command = Command::new(self.program(tool));
        command
            .args(["-r", &job.run.to_string(), "-c", job.name, "-p"])
            .arg(directory)
            .args(["-t", &threads.to_string()])
            .env("ARTDAQ_DATABASE_URI", self.uri.expose_secret())
            // The lock lives as long as somebody has the file open: should we be
            // killed, until the tool is done. To the tool it is an empty input.
            .stdin(match &turn.index {
                Some(lock) => lock.as_input()?,
                None => Stdio::null(),
            });
        self.start(tool, command)
    }

    fn start(&self, tool: Tool, command: Command) -> Result<Ended> {
        let program = self.program(tool);
        process::run(command, self.limit).map_err(|error| {
            let place = program.display();
            let failed = |problem: String| unreachable("the tools of artdaq_database", problem);
            match (error.kind(), &self.tools_dir) {
                (io::ErrorKind::NotFound, Some(_)) => {
                    failed(format!("{place} is missing")).with_remedy(Remedy::CorrectToolsDir)
                }
                (io::ErrorKind::NotFound, None) => {
                    failed(format!("{place} is not in PATH")).with_remedy(Remedy::SetToolsDir)
                }
                _ => failed(format!("{place} can't be started: {error}")),
            }
            .caused_by(error)
        })
    }

    fn root(&self) -> Result<&Path> {
        let problem = "a database server was asked for its directory";
        let root = self.archive.as_deref();
        root.ok_or_else(|| Error::Unexpected(problem.into()))
    }
}

impl Place for Local {
    fn native(&self, shutdown: &Shutdown) -> Option<FilesystemDb> {
        let root = self.archive.as_deref()?;
        Some(FilesystemDb::at(root).heeding(shutdown))
    }

    fn turn(&self, to_write: bool) -> Result<Turn> {
        let Some(locks) = &self.locks else {
            return Ok(Turn::default());
        };
        if !to_write {
            return Ok(Turn {
                index: locks.index_to_read()?,
                documents: None,
            });
        }
        durable::create_directory(self.root()?, 0o777)?;
        Ok(Turn {
            documents: Some(locks.documents()?),
            index: Some(locks.index()?),
        })
    }

    fn look(&self) -> Result<View> {
        self.root().map(View::directory)
    }

    fn load(&self, job: &Job, files: &[&FclFile], turn: &Turn) -> Result<(Ended, Option<View>)> {
        let directory = files::temporary_directory()?;
        files::write(files, directory.path())?;
        let ended = self.run(Tool::Loader, job, directory.path(), turn)?;
        let view = self.archive.as_deref().map(View::directory);
        Ok((ended, view))
    }

    fn help(&self, tool: Tool) -> Result<Ended> {
        let mut command = Command::new(self.program(tool));
        command.arg("--help").stdin(Stdio::null());
        self.start(tool, command)
    }

    fn download(&self, job: &Job, into: &Path, turn: &Turn) -> Result<Ended> {
        self.run(Tool::Downloader, job, into, turn)
    }

    fn fetch_documents(&self, _: &View, _: &Job) -> Result<()> {
        // They are where the view looks.
        Ok(())
    }

    fn restore(&self, indexes: &Indexes) -> Result<()> {
        let root = self.root()?;
        for (name, bytes) in indexes.files() {
            durable::replace(&root.join(name), bytes, durable::SHARED)?;
        }
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        let temporary = std::env::temp_dir();
        for directory in self.archive.iter().chain([&temporary]) {
            let usage = Usage::of(directory);
            if usage.is_ok_and(|usage| usage.free < LEAST_ROOM || usage.free_files == Some(0)) {
                let full = rustix::io::Errno::NOSPC.into();
                return Err(Error::io("have files written into", directory, full));
            }
        }
        Ok(())
    }
}
