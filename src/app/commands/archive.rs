//! The commands that archive runs: both stages, one of them, or what failed.

use crate::app::parts;
use crate::app::session::{Session, extent};
use crate::error::Result;
use crate::pipeline::{
    self, Context, Event, LogLines, Mode, Observers, ProgressBar, ServiceStatus, Store,
};
use crate::reporter::stage_report::StageReport;
use crate::reporter::summary::Summary;
use crate::run::StageKind;
use crate::run_set::RunSet;

/// Imports, then migrates.
pub(in crate::app) fn pipeline(session: &Session) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add(import(session, extent(session.command)));
    if session.shutdown.requested() {
        return Ok(summary);
    }
    let imported = summary.archived();
    if session.command.dry_run && !imported.is_empty() {
        let runs: RunSet = imported.iter().copied().collect();
        log::info!("The migrate stage would go on with what the import brings: {runs}");
    }
    summary.add(migrate(session, extent(session.command)));
    Ok(summary)
}

/// Stores the records of archived runs anew in both databases.
pub(in crate::app) fn reimport(session: &Session) -> Result<Summary> {
    pipeline(session)
}

/// Imports alone.
pub(in crate::app) fn import_only(session: &Session) -> Result<Summary> {
    import_alone(session, extent(session.command))
}

/// Migrates alone.
pub(in crate::app) fn migrate_only(session: &Session) -> Result<Summary> {
    one_stage(migrate(session, extent(session.command)))
}

/// Imports the runs of the import failure log.
pub(in crate::app) fn retry_failed_import(session: &Session) -> Result<Summary> {
    import_alone(session, failed(session))
}

/// Migrates the runs of the migrate failure log.
pub(in crate::app) fn retry_failed_migrate(session: &Session) -> Result<Summary> {
    one_stage(migrate(session, failed(session)))
}

fn failed<'a>(session: &'a Session) -> Mode<'a> {
    Mode::Retry {
        only: session.command.runs.as_ref(),
    }
}

fn import_alone(session: &Session, mode: Mode) -> Result<Summary> {
    let mut summary = one_stage(import(session, mode))?;
    // What the migrate stage would find, as far as it is known without asking UconDB.
    let known = session.journal.known(Store::Artdaqdb);
    let migrated = session.journal.known(Store::Ucondb);
    let unmigrated = known.difference(&migrated);
    let waiting = parts::kept_apart(session.config, session.journal.incomplete());
    let unmigrated = unmigrated.difference(&waiting.into_iter().collect());
    summary.note_unmigrated(unmigrated.difference(&session.journal.ignored()));
    Ok(summary)
}

fn one_stage(report: StageReport) -> Result<Summary> {
    let mut summary = Summary::default();
    summary.add(report);
    Ok(summary)
}

fn import(session: &Session, mode: Mode) -> StageReport {
    let list_ucondb = || session.list_ucondb();
    with_context(session, |context| match session.importer(&list_ucondb) {
        Ok(importer) if session.command.mode == crate::cli::Mode::Reimport => {
            let runs = session.command.runs.clone().unwrap_or_default();
            pipeline::run(&importer.replacing(runs), mode, context)
        }
        // Who tries failed runs again wants to know of these alone.
        Ok(importer) if matches!(mode, Mode::Retry { .. }) => {
            pipeline::run(&importer, mode, context)
        }
        Ok(importer) => pipeline::run(&importer.rechecking(session.recheck()), mode, context),
        Err(error) => {
            let destination = session.artdaqdb.location();
            let report = StageReport::not_begun(StageKind::Import, destination, error);
            not_begun(context, report)
        }
    })
}

fn migrate(session: &Session, mode: Mode) -> StageReport {
    with_context(session, |context| match session.folders() {
        Ok(folders) => pipeline::run(&session.migrator(&folders), mode, context),
        Err(error) => {
            let destination = session.config.ucon_db.server_url.to_string();
            let report = StageReport::not_begun(StageKind::Migrate, destination, error);
            not_begun(context, report)
        }
    })
}

/// Tells of a stage that could not be opened.
fn not_begun(context: &Context, report: StageReport) -> StageReport {
    let event = Event::Finished { report: &report };
    context.observers.tell(report.kind, &event);
    report
}

fn with_context(session: &Session, work: impl FnOnce(&Context) -> StageReport) -> StageReport {
    let settings = session.settings();
    let bar = ProgressBar::default();
    work(&Context {
        settings: &settings,
        journal: &session.journal,
        observers: Observers(&[&LogLines, &bar, &ServiceStatus]),
        shutdown: session.shutdown,
    })
}
