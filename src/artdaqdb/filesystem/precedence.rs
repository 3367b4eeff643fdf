//! Of several documents of one entity, which the real tools read and which counts.

use std::collections::BTreeSet;

use super::FilesystemDb;
use crate::artdaqdb::{choice, run_of};
use crate::error::Result;
use crate::run::Run;

impl FilesystemDb {
    /// Returns the runs of which the real tools, which read the document that sorts first,
    /// read another one than the latest.
    ///
    /// # Errors
    /// The index or a document can't be read.
    pub fn misordered(&self) -> Result<BTreeSet<Run>> {
        let doubles = self.lock().run_history.index()?.doubles();
        let mut runs = BTreeSet::new();
        for (configuration, oids) in doubles {
            let Some(run) = run_of(&configuration).filter(|run| !runs.contains(run)) else {
                continue;
            };
            let mut documents = Vec::new();
            for oid in oids {
                let path = self.lock().run_history.document(oid);
                documents.push(self.read_document(&path, run)?);
            }
            if !choice::inspection(run, &configuration, documents)
                .misordered
                .is_empty()
            {
                runs.insert(run);
            }
        }
        Ok(runs)
    }
}
