//! `--extract RUN`: a run's blob, written back as files.

use std::path::Path;

use crate::app::session::Session;
use crate::cli::Mode;
use crate::error::{Error, Result};
use crate::extract;
use crate::reporter::summary::Summary;

/// Writes the files of the run that the command line names.
pub(in crate::app) fn extract(session: &Session) -> Result<Summary> {
    let Mode::Extract(run) = session.command.mode else {
        return Err(Error::Unexpected("--extract without a run".into()));
    };
    let directory = session.command.output.as_deref().unwrap_or(Path::new("."));
    let files = extract::extract(session.folders()?.finished.as_ref(), run, directory)?;
    log::info!(
        "✓ Run {run}: {} files written to {}",
        files.len(),
        directory.display()
    );
    Ok(Summary::default())
}
