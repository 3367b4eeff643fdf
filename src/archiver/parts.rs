//! The parts of an execution, opened as the configuration says.

use std::collections::BTreeSet;

use crate::artdaqdb::{self, ArtdaqDb, tools};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::run_record::Generated;
use crate::shutdown::Shutdown;
use crate::state::StateStore;
use crate::ucondb::http::{HttpSettings, ListingCache};
use crate::ucondb::{self, UconDb};

/// The artdaqDB of the configuration, through the real tools if it says so.
pub(super) fn open_artdaqdb(config: &Config) -> Result<Box<dyn ArtdaqDb>> {
    artdaqdb::open(&config.artdaq_db.database_uri, tools(config))
}

/// How the real tools are used, if they are.
fn tools(config: &Config) -> Option<tools::Settings> {
    let artdaq = &config.artdaq_db;
    artdaq.use_tools.then(|| tools::Settings {
        tools_dir: artdaq.tools_dir.clone(),
        remote_host: artdaq.remote_host.clone(),
        ssh_options: artdaq.ssh_options.clone(),
        limit: artdaq.tools_timeout_seconds,
    })
}

/// The UconDB of the configuration, with this folder. `listing` is where its
/// listing is kept, if it is.
pub(super) fn open_ucondb(
    config: &Config,
    folder: &str,
    shutdown: &Shutdown,
    listing: Option<ListingCache>,
) -> Result<Box<dyn UconDb>> {
    let ucon = &config.ucon_db;
    ucondb::open(HttpSettings {
        timeout: ucon.timeout_seconds,
        ca_file: ucon.ca_file.clone(),
        verify_tls: ucon.verify_tls,
        shutdown: shutdown.clone(),
        listing,
        ..HttpSettings::new(
            &ucon.server_url,
            folder,
            &ucon.object_name,
            &ucon.writer_user,
            ucon.writer_password.clone(),
        )
    })
}

/// Opens UconDB for a mode that only looks: it keeps nothing.
pub(super) fn look_at_ucondb(config: &Config) -> Result<Box<dyn UconDb>> {
    open_ucondb(
        config,
        &config.ucon_db.folder_name,
        &Shutdown::default(),
        None,
    )
}

/// The files that `fhiclize_generate` names.
pub(super) fn generated(config: &Config) -> Result<BTreeSet<Generated>> {
    config
        .fhiclize_generate
        .iter()
        .map(|name| {
            name.parse().map_err(|error| Error::Config {
                file: config.file.clone(),
                line: None,
                key: "fhiclize_generate".into(),
                problem: format!("{error}"),
            })
        })
        .collect()
}

/// State and failure log of the import stage.
pub(super) fn import_store(config: &Config) -> StateStore {
    let app = &config.app;
    StateStore::new(
        app.import_state_file.clone(),
        app.import_failure_log.clone(),
    )
}

/// State and failure log of the migrate stage.
pub(super) fn migrate_store(config: &Config) -> StateStore {
    let app = &config.app;
    StateStore::new(
        app.migrate_state_file.clone(),
        app.migrate_failure_log.clone(),
    )
}
