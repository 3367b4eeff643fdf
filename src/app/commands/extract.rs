//! `--extract RUN`: a run's files as a database has them, written to a directory.

use std::path::Path;

use crate::app::session::Session;
use crate::cli::{Database, Mode};
use crate::error::{Error, Result};
use crate::extract;
use crate::reporter::summary::Summary;

/// Writes the files of the run that the command line names.
pub(in crate::app) fn extract(session: &Session) -> Result<Summary> {
    let Mode::Extract(run) = session.command.mode else {
        return Err(Error::Unexpected("--extract without a run".into()));
    };
    let directory = session.command.output.as_deref().unwrap_or(Path::new("."));
    let (files, location) = match session.command.from {
        Database::Ucondb => {
            let ucondb = session.folders()?.finished;
            let files = extract::from_ucondb(ucondb.as_ref(), run)?;
            (files, ucondb.location().to_owned())
        }
        Database::Artdaqdb => {
            let artdaqdb = session.artdaqdb.as_ref();
            let files = extract::from_artdaqdb(artdaqdb, run)?;
            (files, artdaqdb.location().to_owned())
        }
    };
    let written = extract::write_files(run, &files, directory)?;
    log::info!(
        "✓ Run {run}: {} files written from {location} to {}",
        written.len(),
        directory.display()
    );
    Ok(Summary::default())
}
