//! `--rebuild-index`: says what it will do, asks, does it.

use std::io::IsTerminal;

use crate::app::session::Session;
use crate::artdaqdb::filesystem::FilesystemDb;
use crate::error::{Error, Result};
use crate::reporter::summary::Summary;
use crate::run_set::RunSet;

/// Makes new indexes of a FilesystemDB, after asking.
pub(in crate::app) fn rebuild_index(session: &Session) -> Result<Summary> {
    let artdaq = &session.config.artdaq_db;
    if let (true, Some(host)) = (artdaq.use_tools, &artdaq.remote_host) {
        return Err(Error::Usage(format!(
            "--rebuild-index works on this machine, and the archive is on {host}: use it there, \
             with use_tools: false"
        )));
    }
    let Some(root) = artdaq.database_uri.directory() else {
        return Err(Error::Usage(
            "--rebuild-index is for a FilesystemDB: other databases keep their own index".into(),
        ));
    };
    let db = FilesystemDb::at(root);
    log::info!(
        "A new index is made of the documents in {}",
        db.root().display()
    );
    log::info!("The present index files are kept beside the collections; documents are only read");
    if !session.command.yes {
        confirm("Make new indexes now?")?;
    }
    for rebuilt in db.rebuild_indexes()? {
        log::info!(
            "✓ {}: {} documents",
            rebuilt.index.display(),
            rebuilt.documents
        );
        if let Some(kept) = rebuilt.kept {
            log::info!("  the old index is {}", kept.display());
        }
        if let [first, ..] = rebuilt.lost.as_slice() {
            log::warn!(
                "  {} document(s) are missing and stay in the index, so that their runs do not look \
                 whole, such as {}: restore them from a backup",
                rebuilt.lost.len(),
                first.display()
            );
        }
        if let [(first, _), ..] = rebuilt.left_out.as_slice() {
            let runs: RunSet = rebuilt.left_out.iter().map(|(_, run)| *run).collect();
            log::warn!(
                "  {} document(s) were left out, of imports that were cut short or failed (run(s) \
                 {runs}), such as {}: the next import of such a run stores what it lacks",
                rebuilt.left_out.len(),
                first.display()
            );
            for (document, run) in &rebuilt.left_out {
                log::debug!("  left out: {}, run {run}", document.display());
            }
        }
    }
    log::info!(
        "Next: --report-status shows whether runs are missing; an import completes runs that are there in part"
    );
    Ok(Summary::default())
}

/// Asks a person; anything but yes, and nobody to ask, is a no.
fn confirm(question: &str) -> Result<()> {
    let refused = |reason: &str| Err(Error::Usage(format!("{reason}; nothing was done")));
    if !std::io::stdin().is_terminal() {
        return refused("there is no terminal to ask on: add --yes to go ahead");
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => refused("the answer was not yes"),
    }
}
