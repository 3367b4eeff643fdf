//! The parts of an execution, opened as the configuration says.

use std::collections::BTreeSet;
use std::sync::Once;

use crate::artdaqdb::{self, ArtdaqDb, tools};
use crate::config::{Config, IncompletePolicy};
use crate::error::Result;
use crate::pipeline::journal::{Addresses, Places};
use crate::pipeline::{IncompleteRuns, Journal, Patience};
use crate::run::Run;
use crate::shutdown::Shutdown;
use crate::state::StateStore;
use crate::ucondb::http::{HttpSettings, ListingCache};
use crate::ucondb::{self, UconDb};

/// The file of the work directory that remembers runs without a stop time.
const INCOMPLETE_RUNS: &str = "incomplete_runs.json";

/// The artdaqDB of the configuration, through the real tools if it says so.
pub(super) fn open_artdaqdb(config: &Config, shutdown: &Shutdown) -> Result<Box<dyn ArtdaqDb>> {
    let uri = &config.artdaq_db.database_uri;
    let max_document = config.app.max_document;
    let tools = tools(config, shutdown);
    Ok(artdaqdb::open_limited(uri, tools, shutdown, max_document))
}

/// The same for a mode that only looks.
pub(super) fn look_at_artdaqdb(config: &Config) -> Result<Box<dyn ArtdaqDb>> {
    open_artdaqdb(config, &Shutdown::default())
}

/// How the real tools are used, if they are.
fn tools(config: &Config, shutdown: &Shutdown) -> Option<tools::Settings> {
    let artdaq = &config.artdaq_db;
    artdaq.use_tools.then(|| tools::Settings {
        tools_dir: artdaq.tools_dir.clone(),
        remote_host: artdaq.remote_host.clone(),
        ssh_options: artdaq.ssh_options.clone(),
        limit: artdaq.tools_timeout_seconds,
        shutdown: shutdown.clone(),
    })
}

/// What is wrong with each of the real tools, if they are used.
pub(super) fn try_tools(config: &Config) -> Vec<(&'static str, Result<()>)> {
    let settings = tools(config, &Shutdown::default());
    settings.map_or_else(Vec::new, tools::try_out)
}

/// The UconDB of the configuration, with this folder. `listing` is where its
/// listing is kept, if it is.
pub(super) fn open_ucondb(
    config: &Config,
    folder: &str,
    shutdown: &Shutdown,
    listing: Option<ListingCache>,
) -> Result<Box<dyn UconDb>> {
    static WARNED: Once = Once::new();
    let ucon = &config.ucon_db;
    if ucon.server_url.is_tls() && !ucon.verify_tls {
        WARNED.call_once(|| {
            log::warn!(
                "ucon_db.verify_tls is false: anyone between here and the UconDB server can \
                 read and change what is sent; name the server's CA in ucon_db.ca_file instead"
            );
        });
    }
    ucondb::open(HttpSettings {
        timeout: ucon.timeout_seconds,
        ca_file: ucon.ca_file.clone(),
        ca_setting: "ucon_db.ca_file",
        verify_tls: ucon.verify_tls,
        shutdown: shutdown.clone(),
        listing,
        ..HttpSettings::new(
            ucon.server_url.clone(),
            folder,
            &ucon.object_name,
            &ucon.writer_user,
            ucon.writer_password.clone(),
        )
    })
}

/// Opens a folder of UconDB for a mode that only looks: it keeps nothing.
pub(super) fn look_at_ucondb(config: &Config, folder: &str) -> Result<Box<dyn UconDb>> {
    open_ucondb(config, folder, &Shutdown::default(), None)
}

/// The runs that have no stop time, as the work directory remembers them.
pub(super) fn incomplete_runs(config: &Config) -> Result<IncompleteRuns> {
    IncompleteRuns::load(
        &config.app.work_dir.join(INCOMPLETE_RUNS),
        config.source_files.incomplete_after,
    )
}

/// The runs that are kept out of the folder of finished runs until their stop
/// time comes; none where they go there at once.
pub(super) fn kept_apart(config: &Config, incomplete: &IncompleteRuns) -> BTreeSet<Run> {
    let waits = config.source_files.incomplete_runs == IncompletePolicy::Wait;
    match waits || config.ucon_db.pending_folder.is_some() {
        true => incomplete.awaited(),
        false => BTreeSet::new(),
    }
}

/// How long records must be left alone before they are archived.
pub(super) fn patience(config: &Config) -> Patience {
    Patience {
        settle: config.source_files.settle,
        empty: config.source_files.incomplete_after,
    }
}

/// Where everything is kept that is remembered between executions.
pub(super) fn places(config: &Config) -> Places {
    let app = &config.app;
    Places {
        work_dir: app.work_dir.clone(),
        import: StateStore::new(
            app.import_state_file.clone(),
            app.import_failure_log.clone(),
        ),
        migrate: StateStore::new(
            app.migrate_state_file.clone(),
            app.migrate_failure_log.clone(),
        ),
        addresses: Addresses {
            records: config.source_files.run_records_dir.display().to_string(),
            artdaqdb: config.artdaq_db.database_uri.to_string(),
            ucondb: format!(
                "{} ({}/{})",
                config.ucon_db.server_url, config.ucon_db.folder_name, config.ucon_db.object_name
            ),
        },
    }
}

/// What is remembered between executions.
pub(super) fn journal(config: &Config) -> Result<Journal> {
    Journal::open(places(config), incomplete_runs(config)?)
}
