//! A run's file becomes a document.

use std::path::PathBuf;

use super::document::{self, DocumentHead, Sink};
use super::index::Oid;
use super::{RUN_HISTORY, SYSTEM_LAYOUT, time_stamp};
use crate::error::{Error, Result};
use crate::fhicl;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};

/// The collection in which an entity's documents are kept.
pub(super) fn collection_of(entity: &str) -> &'static str {
    match entity {
        SCHEMA_ENTITY => SYSTEM_LAYOUT,
        _ => RUN_HISTORY,
    }
}

/// Writes the document of a file, for configuration `version` (`<run>/<name>`).
/// Gives the time at which it was assigned: now.
///
/// # Errors
/// A file that is not FHiCL.
pub(super) fn compose(
    run: Run,
    version: &str,
    file: &FclFile,
    oid: Oid,
    sink: &mut impl Sink,
) -> Result<String> {
    let tree = fhicl::parse(&file.text).map_err(|source| Error::Syntax {
        path: PathBuf::from(format!("{}.fcl", file.entity)),
        source: Box::new(source),
    })?;
    if let Some(warning) = tree.warning() {
        log::warn!("run {run}: {}.fcl, {warning}", file.entity);
    }
    let assigned = time_stamp();
    let head = DocumentHead {
        oid: &oid.to_string(),
        collection: collection_of(&file.entity),
        entity: &file.entity,
        version,
        run,
        time: &assigned,
    };
    document::write_to(sink, &head, &tree);
    Ok(assigned)
}
