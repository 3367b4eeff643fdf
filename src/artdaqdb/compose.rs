//! A run's file as a document that is ready to be stored.

use std::path::PathBuf;

use super::document::{self, DocumentHead};
use super::index::Oid;
use super::{RUN_HISTORY, SYSTEM_LAYOUT, time_stamp};
use crate::error::{Error, Result};
use crate::fhicl;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};

/// A document that is ready to be stored.
pub(super) struct Composed {
    /// When it was assigned: now.
    pub(super) assigned: String,
    /// Its JSON.
    pub(super) text: String,
}

/// The collection in which an entity's documents are kept.
pub(super) fn collection_of(entity: &str) -> &'static str {
    match entity {
        SCHEMA_ENTITY => SYSTEM_LAYOUT,
        _ => RUN_HISTORY,
    }
}

/// Makes the document of a file, for configuration `version` (`<run>/<name>`).
///
/// # Errors
/// A file that is not FHiCL.
pub(super) fn compose(run: Run, version: &str, file: &FclFile, oid: Oid) -> Result<Composed> {
    let tree = fhicl::parse(&file.text).map_err(|source| Error::Syntax {
        path: PathBuf::from(format!("{}.fcl", file.entity)),
        source: Box::new(source),
    })?;
    let assigned = time_stamp();
    let text = document::write(
        &DocumentHead {
            oid: &oid.to_string(),
            collection: collection_of(&file.entity),
            entity: &file.entity,
            version,
            run,
            time: &assigned,
        },
        &tree,
    );
    Ok(Composed { assigned, text })
}
