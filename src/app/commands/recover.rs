//! `--recover-import-state` and `--recover-migrate-state`.

use crate::app::session::Session;
use crate::error::Result;
use crate::pipeline::recovery;
use crate::reporter::summary::Summary;

/// Rebuilds state and failure log of the import stage.
pub(in crate::app) fn import_state(session: &Session) -> Result<Summary> {
    let list_ucondb = || session.list_ucondb();
    recovery::recover(
        &session.importer(&list_ucondb)?,
        &session.journal,
        session.command.dry_run,
    )?;
    Ok(Summary::default())
}

/// Rebuilds state and failure log of the migrate stage.
pub(in crate::app) fn migrate_state(session: &Session) -> Result<Summary> {
    let folders = session.folders()?;
    recovery::recover(
        &session.migrator(&folders),
        &session.journal,
        session.command.dry_run,
    )?;
    Ok(Summary::default())
}
