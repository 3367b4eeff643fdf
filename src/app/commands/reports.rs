//! The modes that only look: the status report, the check and the dashboard.
//! They take no lock, so that they work beside an execution.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;

use crate::app::command_to_repeat;
use crate::app::parts;
use crate::check;
use crate::cli::{CommandLine, Format, Mode};
use crate::clock;
use crate::config::Config;
use crate::durable;
use crate::error::{Error, Result};
use crate::pipeline::forecast::{self, Seen};
use crate::pipeline::journal::{FailureClass, Journal, RecordNote, Store};
use crate::pipeline::settle::{self, Readiness};
use crate::reporter::backlog::{Declaration, Failure, FailureDetails, Remembered};
use crate::reporter::proof::Proof;
use crate::reporter::records::{Concern, RecordFindings};
use crate::reporter::{Inputs, Place, Status, dashboard, history, html, json, text};
use crate::run::{Run, StageKind};
use crate::run_record::Snapshot;
use crate::run_set::RunSet;
use crate::verify;

/// How many records of a backlog are looked at.
const LOOKED_AT: usize = 1000;

/// Prints the status report, or writes it to the file of `--output`. Whether
/// everything could be reached and read.
///
/// # Errors
/// The report can't be written.
pub(in crate::app) fn status(command: &CommandLine, config: &Config) -> Result<bool> {
    let compare = command.mode == Mode::ReportStatus { compare: true };
    let ucon = &config.ucon_db;
    let places = parts::places(config);
    let journal = parts::journal(config);
    let first_run = config.source_files.first_run;
    let status = Status::gather(Inputs {
        run_records_dir: &config.source_files.run_records_dir,
        database_uri: config.artdaq_db.database_uri.to_string(),
        artdaqdb: parts::look_at_artdaqdb(config),
        server_url: ucon.server_url.to_string(),
        folder_object: format!("{}/{}", ucon.folder_name, ucon.object_name),
        ucondb: parts::look_at_ucondb(config, &ucon.folder_name),
        awaited: parts::incomplete_runs(config)
            .map(|incomplete| parts::kept_apart(config, &incomplete)),
        import: places.import,
        migrate: places.migrate,
        remembered: match &journal {
            Ok(journal) => remembered(journal),
            // The same again, as an error is for one place only.
            Err(_) => parts::journal(config).map(|_| Remembered::default()),
        },
        forecast: &|kind, source, archived, ucondb| {
            let ucondb = ucondb.and_then(|runs| with_pending(config, kind, runs));
            let seen = Seen {
                source,
                archived,
                ucondb: ucondb.as_ref(),
            };
            let journal = journal.as_ref().ok()?;
            let is_whole = has_settled(config, kind, journal);
            forecast::forecast(kind, seen, journal, first_run, &is_whole).ok()
        },
        guard: &|place, runs| vanished(journal.as_ref().ok()?, place, runs),
        proof: journal
            .as_ref()
            .ok()
            .and_then(|journal| proof(config, journal)),
        first_run,
        command: command_to_repeat(command),
        history: &config.app.work_dir.join(history::FILE),
        compare,
    });
    for problem in status.problems() {
        log::error!("{problem}");
    }
    let report = match command.format {
        Format::Text => text::render(&status),
        Format::Json => json::render(&status)?,
        Format::Html => html::render(&status),
    };
    match &command.output {
        Some(path) => durable::output(path, report.as_bytes(), durable::SHARED)?,
        None => print(&report)?,
    }
    Ok(status.is_complete())
}

/// What is known of whether the archived runs are right. What a verification
/// remembers is left out if it cannot be read.
fn proof(config: &Config, journal: &Journal) -> Option<Proof> {
    if !journal.has_begun(StageKind::Migrate) {
        // Nothing is known of who stored what.
        return None;
    }
    let address = journal.address(Store::Ucondb);
    let memory = match verify::Memory::read(&config.app.work_dir, &address) {
        Ok(memory) => memory,
        Err(error) => {
            log::warn!("{error}");
            return None;
        }
    };
    Some(Proof {
        compared: journal.compared().union(&memory.migrated),
        not_well: memory.not_well,
        findings: memory.findings,
        finished: memory.finished,
    })
}

/// Why a place is not taken for the real one. What deserves a look is logged.
fn vanished(journal: &Journal, place: Place, runs: &RunSet) -> Option<String> {
    let (store, kind) = match place {
        Place::Filesystem => (Store::Records, StageKind::Import),
        Place::Artdaqdb => (Store::Artdaqdb, StageKind::Import),
        Place::Ucondb => (Store::Ucondb, StageKind::Migrate),
    };
    // A report shows by itself that a state cannot be read.
    let state = journal.recall(kind).ok().and_then(|memory| memory.state);
    let guard = journal.guard(store, &runs.iter().collect(), state.as_ref());
    let location = journal.address(store);
    let error = guard.error(store, &location);
    if error.is_none()
        && let Some(warning) = guard.warning(store, &location)
    {
        log::warn!("{warning}");
    }
    error.map(|error| error.to_string())
}

/// Checks what the configuration names, a line each. Whether all is well.
///
/// # Errors
/// The lines can't be printed.
pub(in crate::app) fn check(file: &Path) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    let config = Config::load(file);
    check::run(
        config,
        parts::look_at_artdaqdb,
        parts::try_tools,
        parts::look_at_ucondb,
        parts::journal,
        &mut stdout,
    )
    .map_err(unprinted)
}

/// Prints the dashboard. Whether everything on it could be read.
///
/// # Errors
/// It can't be printed.
pub(in crate::app) fn dashboard(_: &CommandLine, config: &Config) -> Result<bool> {
    let places = parts::places(config);
    let ignored = parts::journal(config).map(|journal| declarations(&journal));
    let dashboard = dashboard::render(&config.app, &places.import, &places.migrate, ignored);
    print(&dashboard.text)?;
    Ok(dashboard.is_complete)
}

/// Whether a run's record has settled, as the import stage finds out. With a longer
/// backlog only so many records are looked at, and the others count as whole.
fn has_settled<'a>(
    config: &'a Config,
    kind: StageKind,
    journal: &'a Journal,
) -> impl Fn(Run) -> bool + 'a {
    let records = &config.source_files.run_records_dir;
    let is_local = settle::is_local(records);
    let looks = Cell::new(0);
    let patience = parts::patience(config);
    move |run| {
        looks.set(looks.get() + 1);
        if kind == StageKind::Migrate || looks.get() > LOOKED_AT {
            return true;
        }
        let Ok(snapshot) = Snapshot::take(&records.join(run.to_string())) else {
            return true;
        };
        let look = patience.look(
            &snapshot,
            journal.noted(run).as_ref(),
            is_local,
            clock::now(),
        );
        !matches!(look, Readiness::Waits(_))
    }
}

/// Adds the runs of UconDB's pending folder, which the import stage asks for, too.
/// `None` if it cannot be asked.
fn with_pending(config: &Config, kind: StageKind, finished: &RunSet) -> Option<RunSet> {
    match &config.ucon_db.pending_folder {
        Some(folder) if kind == StageKind::Import => {
            let pending = parts::look_at_ucondb(config, folder).and_then(|db| db.runs());
            Some(finished.union(&pending.ok()?.into_iter().collect()))
        }
        _ => Some(finished.clone()),
    }
}

/// What is remembered of runs that are not archived, in the words of the reports.
fn remembered(journal: &Journal) -> Result<Remembered> {
    Ok(Remembered {
        ignored: declarations(journal),
        failed_imports: failures(journal, StageKind::Import)?,
        failed_migrations: failures(journal, StageKind::Migrate)?,
        records: record_findings(journal),
    })
}

fn record_findings(journal: &Journal) -> RecordFindings {
    let notes = journal.record_notes();
    let with = |files: fn(&RecordNote) -> &[String]| {
        Concern::group(notes.iter().map(|(run, note)| (*run, files(note))))
    };
    RecordFindings {
        incomplete: with(|note| &note.missing),
        lacking: with(|note| &note.lacks),
        changed: with(|note| &note.differs),
        to_store: notes
            .iter()
            .filter(|(_, note)| !note.differs.is_empty() || !(note.lacks.is_empty() || note.adds))
            .map(|(run, _)| *run)
            .collect(),
    }
}

fn declarations(journal: &Journal) -> Vec<Declaration> {
    let declarations = journal.declarations().into_iter();
    let all = declarations.map(|it| Declaration {
        runs: it.runs,
        reason: it.reason,
        user: it.user,
        date: it.date,
    });
    all.collect()
}

fn failures(journal: &Journal, kind: StageKind) -> Result<Vec<Failure>> {
    let failures = journal.failures(kind)?;
    let details = |run| {
        let details = failures.details(run)?;
        Some(FailureDetails {
            is_permanent: details.class == FailureClass::Permanent,
            reason: details.reason.clone(),
            since: details.first,
            last: details.last,
            attempts: details.attempts,
            next_try: details.next_try,
        })
    };
    let runs = failures.runs.iter();
    let all = runs.map(|run| Failure {
        run: *run,
        details: details(*run),
    });
    Ok(all.collect())
}

pub(super) fn print(report: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(report.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(unprinted)
}

fn unprinted(source: io::Error) -> Error {
    Error::io("write the report to", "standard output", source)
}
