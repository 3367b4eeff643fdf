//! A run's file becomes a document.

use std::path::PathBuf;

use jiff::Timestamp;

use super::document::{self, DocumentHead, Sink};
use super::index::Oid;
use super::{RUN_HISTORY, SYSTEM_LAYOUT, time_stamp_after};
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

/// A run's file, read: what its document is made of.
pub(super) struct Composition<'a> {
    run: Run,
    file: &'a FclFile,
    tree: fhicl::Document<'a>,
}

impl<'a> Composition<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that is not FHiCL.
    pub(super) fn of(run: Run, file: &'a FclFile) -> Result<Composition<'a>> {
        let tree = fhicl::parse(&file.text).map_err(|source| Error::Syntax {
            path: PathBuf::from(format!("{}.fcl", file.entity)),
            source: Box::new(source),
        })?;
        if let Some(warning) = tree.warning() {
            log::warn!("run {run}: {}.fcl, {warning}", file.entity);
        }
        Ok(Composition { run, file, tree })
    }

    /// About how many bytes the document has as JSON.
    pub(super) fn size(&self) -> u64 {
        document::size(&self.tree) as u64
    }

    /// Writes the document, for configuration `version` (`<run>/<name>`). Returns the
    /// time at which it was assigned: now, or just after `last`, whatever the clock says.
    pub(super) fn write(
        &self,
        version: &str,
        oid: Oid,
        last: Option<Timestamp>,
        sink: &mut impl Sink,
    ) -> String {
        let assigned = time_stamp_after(last);
        let head = DocumentHead {
            oid: &oid.to_string(),
            collection: collection_of(&self.file.entity),
            entity: &self.file.entity,
            version,
            run: self.run,
            time: &assigned,
        };
        document::write_to(sink, &head, &self.tree);
        assigned
    }
}
