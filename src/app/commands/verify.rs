//! `--verify`: artdaqDB against UconDB, run by run.

use crate::app::parts;
use crate::app::session::Session;
use crate::error::Result;
use crate::reporter::summary::Summary;
use crate::verify;

/// The file of the work directory that remembers how far `--verify --incremental` came.
const VERIFY_PROGRESS: &str = "verify_progress";

/// Compares the databases; with --incremental a share of them, from where the last
/// execution ended.
pub(in crate::app) fn verify(session: &Session) -> Result<Summary> {
    let app = &session.config.app;
    let progress = app.work_dir.join(VERIFY_PROGRESS);
    let (after, limit) = match session.command.incremental {
        true => (
            verify::read_progress(&progress)?,
            Some(app.batch_size.saturating_mul(10)).filter(|limit| *limit > 0),
        ),
        false => (None, None),
    };
    let folders = session.folders()?;
    let awaited = parts::kept_apart(session.config, session.journal.incomplete());
    let report = verify::verify(
        session.artdaqdb.as_ref(),
        folders.finished.as_ref(),
        &verify::Selection {
            runs: session.command.runs.as_ref(),
            awaited,
            after,
            limit,
        },
        session.shutdown,
    )?;
    if session.command.incremental {
        // After the last run it begins with the first one again.
        verify::write_progress(&progress, report.last.filter(|_| report.left > 0))?;
    }
    let mut summary = Summary::default();
    summary.add_verification(report);
    Ok(summary)
}
