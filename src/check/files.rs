//! Directories, rights, and the archiver's own files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::Sheet;
use crate::config::App;
use crate::faults::fs;
use crate::pipeline::importer;
use crate::reporter::history;
use crate::run::Run;
use crate::run_record;
use crate::state::StateStore;

/// How many of the highest runs are asked for their age.
const NEWEST: usize = 1000;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whether this user may do that with a file or directory. Nothing is touched.
pub(super) fn may(path: &Path, access: Access) -> io::Result<()> {
    Ok(accessat(CWD, path, access, AtFlags::EACCESS)?)
}

/// Whether this user can create files in a directory.
pub(super) fn may_create_in(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    may(directory, Access::WRITE_OK | Access::EXEC_OK)
}

/// The nearest directory above a path that exists.
pub(super) fn existing_above(path: &Path) -> &Path {
    path.ancestors()
        .skip(1)
        .find(|above| above.exists())
        .unwrap_or(Path::new("/"))
}

/// The work directory can be written, or made.
pub(super) fn work_directory(app: &App, sheet: &mut Sheet<'_>) {
    let directory = &app.work_dir;
    let shown = directory.display();
    if !directory.exists() {
        let above = existing_above(directory);
        return match may_create_in(above) {
            Ok(()) => sheet.doubt(format!(
                "Work directory {shown} does not exist yet: the first execution makes it"
            )),
            Err(error) => sheet.fail(format!(
                "Work directory {shown} does not exist, and can't be made in {}: {error}; make it, \
                 or correct app.work_dir",
                above.display()
            )),
        };
    }
    match may_create_in(directory).and_then(|()| may(directory, Access::READ_OK)) {
        Ok(()) => sheet.good(format!("Work directory writable: {shown}")),
        Err(error) => sheet.fail(format!(
            "Work directory {shown} not writable: {error}; check its owner and rights, or \
             app.work_dir"
        )),
    }
}

/// State files and failure logs can be used, and all files of ours be replaced.
pub(super) fn memory(app: &App, sheet: &mut Sheet<'_>) {
    let stages = [
        (
            "Import",
            &app.import_state_file,
            &app.import_failure_log,
            "--recover-import-state",
        ),
        (
            "Migration",
            &app.migrate_state_file,
            &app.migrate_failure_log,
            "--recover-migrate-state",
        ),
    ];
    for (stage, state_file, failure_log, flag) in stages {
        let store = StateStore::new(state_file.clone(), failure_log.clone());
        let state = store.read(&format!(
            "Run with {flag} to rebuild it, or restore it from a backup"
        ));
        let run = |run: Option<crate::run::Run>| {
            run.map_or_else(|| "none".to_owned(), |run| run.to_string())
        };
        match state {
            Err(error) => sheet.fail(format!("{stage} state: {error}")),
            Ok(_) if !state_file.exists() => {
                sheet.good(format!(
                    "{stage} state: none yet, the first execution writes it"
                ));
            }
            Ok(state) => sheet.good(format!(
                "{stage} state: last contiguous run {}, last attempted run {}",
                run(state.last_contiguous_run),
                run(state.last_attempted_run)
            )),
        }
        match store.failures() {
            Err(error) => sheet.fail(format!("{stage} failure log: {error}")),
            Ok(failures) => sheet.good(format!("{stage} failure log: {} run(s)", failures.len())),
        }
    }
    elsewhere(app, sheet);
    let path = app.work_dir.join(history::FILE);
    match history::read(&path, usize::MAX) {
        Err(error) => sheet.doubt(format!("History of executions: {error}")),
        Ok(history) if history.unreadable > 0 => sheet.doubt(format!(
            "History of executions: {} line(s) of {} are no executions; they are passed over",
            history.unreadable,
            path.display()
        )),
        Ok(_) => {}
    }
}

/// Files that are not in the work directory, and those in it that can't be written.
fn elsewhere(app: &App, sheet: &mut Sheet<'_>) {
    let replaced = [
        ("app.import_state_file", &app.import_state_file),
        ("app.import_failure_log", &app.import_failure_log),
        ("app.migrate_state_file", &app.migrate_state_file),
        ("app.migrate_failure_log", &app.migrate_failure_log),
    ];
    let mut looked_at: Vec<&Path> = vec![&app.work_dir];
    for (key, file) in replaced {
        let directory = file.parent().unwrap_or(Path::new("/"));
        if looked_at.contains(&directory) {
            continue;
        }
        looked_at.push(directory);
        match may_create_in(directory) {
            Ok(()) => sheet.good(format!("Directory writable: {}", directory.display())),
            Err(error) => sheet.fail(format!(
                "Directory {} of {key} not writable: {error}",
                directory.display()
            )),
        }
    }
    let appended: [(&str, Option<&PathBuf>); 2] = [
        ("app.log_file", app.log_file.as_ref()),
        ("app.lock_file", Some(&app.lock_file)),
    ];
    for (key, file) in appended {
        let Some(file) = file else { continue };
        let directory = file.parent().unwrap_or(Path::new("/"));
        let result = match file.exists() {
            true => may(file, Access::READ_OK | Access::WRITE_OK),
            false if directory == app.work_dir => continue,
            false => may_create_in(directory),
        };
        if let Err(error) = result {
            sheet.fail(format!("{} ({key}) not writable: {error}", file.display()));
        }
    }
}

/// The run records can be read. Returns the runs that there are.
pub(super) fn run_records(directory: &Path, sheet: &mut Sheet<'_>) -> Option<BTreeSet<Run>> {
    let shown = directory.display();
    let records = match run_record::scan(directory) {
        Ok(records) => records,
        Err(error) => {
            sheet.fail(format!(
                "Run records: {error}; check that it is mounted, or correct \
                 source_files.run_records_dir"
            ));
            return None;
        }
    };
    let now = SystemTime::now();
    let mut recent = 0;
    let mut closed = None;
    for path in records.values().rev().take(NEWEST) {
        let modified = fs::metadata(path).and_then(|found| found.modified());
        if modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age < DAY)) {
            recent += 1;
        }
        if let Err(error) = may(path, Access::READ_OK | Access::EXEC_OK) {
            closed.get_or_insert((path, error));
        }
    }
    match closed {
        Some((path, error)) => sheet.fail(format!(
            "Run records: {} can't be read: {error}; the archiver's user needs read access",
            path.display()
        )),
        None if records.is_empty() => sheet.doubt(format!("Run records: no runs in {shown}")),
        None => sheet.good(format!(
            "Run records: {} runs readable in {shown}, {recent} new in the last 24 hours",
            records.len()
        )),
    }
    Some(records.into_keys().collect())
}

/// The file for node_exporter can be replaced. An execution does its work without it.
pub(super) fn textfile(file: &Path, sheet: &mut Sheet<'_>) {
    let directory = file.parent().unwrap_or(Path::new("/"));
    match may_create_in(directory) {
        Ok(()) => sheet.good(format!("Prometheus textfile writable: {}", file.display())),
        Err(error) => sheet.doubt(format!(
            "Prometheus textfile: {} not writable: {error}; correct metrics.prometheus_textfile",
            directory.display()
        )),
    }
}

/// The schema that goes with every run.
pub(super) fn schema(fcl_conf_dir: &Path, sheet: &mut Sheet<'_>) {
    match importer::read_schema(fcl_conf_dir) {
        Ok(_) => sheet.good(format!(
            "Schema valid: {}",
            fcl_conf_dir.join("schema.fcl").display()
        )),
        Err(error) => sheet.fail(format!("Schema: {error}")),
    }
}
