//! Both databases.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::Access;

use super::Sheet;
use super::files::{existing_above, may, may_create_in};
use crate::artdaqdb::filesystem::{Comparison, FilesystemDb};
use crate::artdaqdb::{ArtdaqDb, Presence, RUN_HISTORY, SYSTEM_LAYOUT};
use crate::config::{self, Config};
use crate::error::Result;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::ucondb::UconDb;

/// artdaqDB answers, can be written, and its index agrees with its documents.
/// Returns the runs that it has whole.
pub(super) fn artdaqdb(
    config: &Config,
    artdaqdb: Result<Box<dyn ArtdaqDb>>,
    sheet: &mut Sheet<'_>,
) -> Option<BTreeSet<Run>> {
    let mut whole = None;
    let answer = artdaqdb.and_then(|db| Ok((db.location().to_owned(), db.runs()?)));
    match answer {
        Err(error) => sheet.fail(format!("ArtdaqDB: {error}")),
        Ok((location, runs)) => {
            // A server can't be asked without writing to it.
            let limits = match local_archive(&config.artdaq_db) {
                Some(_) => "",
                None => "; whether it can be written was not tried",
            };
            sheet.good(format!(
                "ArtdaqDB: {} runs accessible in {location}{limits}",
                runs.len()
            ));
            let partial: RunSet = runs
                .iter()
                .filter(|(_, presence)| **presence == Presence::Partial)
                .map(|(run, _)| *run)
                .collect();
            if !partial.is_empty() {
                sheet.doubt(format!(
                    "ArtdaqDB: {} run(s) in part only ({partial}): the next import completes those \
                     whose record is there",
                    partial.len()
                ));
            }
            let runs = runs.into_keys().filter(|run| !partial.contains(*run));
            whole = Some(runs.collect());
        }
    }
    if let Some(db) = local_archive(&config.artdaq_db) {
        rights(db.root(), sheet);
        indexes(&db, sheet);
        order(&db, sheet);
    }
    whole
}

/// The FilesystemDB of the configuration, if it is on this machine.
pub(super) fn local_archive(artdaq: &config::ArtdaqDb) -> Option<FilesystemDb> {
    let is_elsewhere = artdaq.use_tools && artdaq.remote_host.is_some();
    if is_elsewhere {
        return None;
    }
    artdaq.database_uri.directory().map(FilesystemDb::at)
}

/// The real tools can be started where they run, if they are used.
pub(super) fn tools(tried: Vec<(&'static str, Result<()>)>, sheet: &mut Sheet<'_>) {
    let mut failed: Vec<String> = Vec::new();
    for (tool, result) in tried {
        match result.map_err(|error| error.to_string()) {
            Ok(()) => sheet.good(format!("ArtdaqDB tool: {tool} can be started")),
            // Of a host that does not answer, once is enough.
            Err(problem) if failed.contains(&problem) => {}
            Err(problem) => {
                sheet.fail(format!("ArtdaqDB tool {tool}: {problem}"));
                failed.push(problem);
            }
        }
    }
}

/// The directories of a FilesystemDB can be written, or made.
fn rights(root: &Path, sheet: &mut Sheet<'_>) {
    let shown = root.display();
    if !root.exists() {
        let above = existing_above(root);
        return match may_create_in(above) {
            Ok(()) => sheet.doubt(format!(
                "ArtdaqDB: {shown} does not exist yet: the first import makes it; if there should \
                 be an archive, check that it is mounted, and artdaq_db.database_uri"
            )),
            Err(error) => sheet.fail(format!(
                "ArtdaqDB: {shown} does not exist, and can't be made in {}: {error}",
                above.display()
            )),
        };
    }
    let directories = [
        root.to_path_buf(),
        root.join(RUN_HISTORY),
        root.join(SYSTEM_LAYOUT),
    ];
    for directory in directories.iter().filter(|directory| directory.exists()) {
        let index = directory.join("index.json");
        let allowed = may_create_in(directory).and_then(|()| match index.exists() {
            true => may(&index, Access::READ_OK),
            false => Ok(()),
        });
        if let Err(error) = allowed {
            return sheet.fail(format!(
                "ArtdaqDB: {} not writable: {error}; check its owner and rights",
                directory.display()
            ));
        }
    }
    sheet.good(format!("ArtdaqDB writable: {shown}"));
}

fn indexes(db: &FilesystemDb, sheet: &mut Sheet<'_>) {
    let comparisons = match db.compare_indexes() {
        Ok(comparisons) => comparisons,
        // It names --rebuild-index.
        Err(error) => return sheet.fail(format!("ArtdaqDB index: {error}")),
    };
    for (collection, found) in comparisons {
        let Comparison {
            documents,
            lost,
            unnamed,
            left_over,
        } = found;
        if !lost.is_empty() {
            sheet.fail(format!(
                "ArtdaqDB index of {collection}: {} document(s) that it names are missing, such as \
                 {}.json; restore them from a backup. A run of which nothing is left is dropped from \
                 the index by --rebuild-index, and imported again",
                lost.len(),
                lost[0]
            ));
        }
        if !unnamed.is_empty() {
            sheet.doubt(format!(
                "ArtdaqDB index of {collection}: {} document(s) are not in it, such as {}.json, left \
                 out by other tools: --rebuild-index adds them",
                unnamed.len(),
                unnamed[0]
            ));
        }
        if lost.is_empty() && unnamed.is_empty() {
            let more = match left_over.len() {
                0 => String::new(),
                count => format!(
                    "; {count} more are of imports that are under way or came to nothing, such as \
                     {}.json: nothing reads them",
                    left_over[0]
                ),
            };
            sheet.good(format!(
                "ArtdaqDB index of {collection} agrees with its {documents} documents{more}"
            ));
        }
    }
}

/// The real tools read the documents that count.
fn order(db: &FilesystemDb, sheet: &mut Sheet<'_>) {
    match db.misordered() {
        Ok(runs) if runs.is_empty() => {}
        Ok(runs) => {
            let runs: RunSet = runs.into_iter().collect();
            sheet.doubt(format!(
                "ArtdaqDB: of {} run(s) the real tools read an older document than the latest, as \
                 they take the lowest oid: {runs}; --reimport {} puts the latest first",
                runs.len(),
                runs.argument()
            ));
        }
        // A document can be damaged; what is wrong with the index was said.
        Err(error) => sheet.doubt(format!(
            "ArtdaqDB: its documents can't be compared: {error}"
        )),
    }
}

/// UconDB answers, has the folder, and takes the credentials, as far as that can
/// be known without storing anything. Returns the runs of the folder.
pub(super) fn ucondb(
    config: &Config,
    ucondb: Result<Box<dyn UconDb>>,
    sheet: &mut Sheet<'_>,
) -> Option<BTreeSet<Run>> {
    let mut runs = None;
    let answer = ucondb.and_then(|db| {
        let found = db.check()?;
        runs = Some(db.runs()?);
        Ok((db.location().to_owned(), found))
    });
    let work_dir = &config.app.work_dir;
    let directory = config.ucon_db.server_url.directory();
    match answer {
        // The directory that is missing is one that every execution begins with.
        Err(_) if directory.is_some_and(|at| at.starts_with(work_dir)) && !work_dir.exists() => {
            sheet.doubt(format!(
                "UconDB: {} does not exist yet: the first migration makes it",
                config.ucon_db.server_url
            ));
        }
        Ok((location, found)) => sheet.good(format!("UconDB: {found} ({location})")),
        Err(error) => sheet.fail(format!("UconDB: {error}")),
    }
    let ucon = &config.ucon_db;
    if ucon.server_url.is_tls() && !ucon.verify_tls {
        sheet.doubt(
            "UconDB: the server's certificate is not checked: set ucon_db.verify_tls to true, and \
             ucon_db.ca_file if its authority is not among the system's",
        );
    }
    runs
}
