//! Which documents that no index names are left of imports that were cut short or
//! failed. No rebuild takes them: they would become half a run, or bring back into a run
//! what an operator removed from its record.
//!
//! Files of loads name them. Version 0.1 had no such files, and wrote documents under
//! their names one by one, the schema last: what it left has no schema, or is older than
//! what the index has of the same run. Documents of other programs, which lose some when
//! two of them write an index, are never taken for leftovers.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::artdaqdb::document::StoredDocument;
use crate::artdaqdb::index::{Index, Oid};
use crate::artdaqdb::{choice, run_of};
use crate::run::Run;

/// How many documents of one entity the archiver can have written for a run.
const SAME_ENTITY: usize = 64;

/// The versions (`12500/BootDAQ`) that have a schema document.
pub(super) type Schemas = HashSet<String>;

/// Tells leftovers of one collection from documents that belong into its index.
pub(super) struct Sieve<'a> {
    index: Option<&'a Index>,
    loads: &'a HashMap<Oid, Run>,
    /// `None` for the collection of the schemas themselves.
    schemas: Option<&'a Schemas>,
    /// The time of the first document that the index has of each run.
    first: HashMap<Run, Timestamp>,
}

impl<'a> Sieve<'a> {
    /// For a collection with this index, if it can be read.
    pub(super) fn new(
        index: Option<&'a Index>,
        loads: &'a HashMap<Oid, Run>,
        schemas: Option<&'a Schemas>,
    ) -> Sieve<'a> {
        let mut first: HashMap<Run, Timestamp> = HashMap::new();
        for (index, name) in index
            .iter()
            .flat_map(|it| it.configurations().map(move |name| (it, name)))
        {
            let assigned = index.assigned(name).iter();
            if let Some(run) = run_of(name)
                && let Some(time) = assigned.filter_map(|it| choice::instant(it)).min()
            {
                let first = first.entry(run).or_insert(time);
                *first = time.min(*first);
            }
        }
        Sieve {
            index,
            loads,
            schemas,
            first,
        }
    }

    /// Whether the index names a document.
    pub(super) fn is_named(&self, oid: Oid) -> bool {
        self.index.is_some_and(|index| index.contains(oid))
    }

    /// The run of a load to which a document belongs that no index names.
    pub(super) fn load(&self, oid: Oid) -> Option<Run> {
        self.loads
            .get(&oid)
            .copied()
            .filter(|_| !self.is_named(oid))
    }

    /// The run of a failed import of version 0.1 to which a document belongs that no index
    /// names.
    pub(super) fn failed_import(&self, oid: Oid, document: &StoredDocument) -> Option<Run> {
        let run = run_of(&document.version)?;
        if self.is_named(oid) || !is_ours(oid, document) {
            return None;
        }
        let has_schema = self
            .schemas
            .is_none_or(|schemas| schemas.contains(&document.version));
        let assigned = document.configurations.iter();
        let assigned = assigned
            .filter_map(|it| choice::instant(&it.assigned))
            .max();
        let is_older = matches!(
            (assigned, self.first.get(&run)),
            (Some(assigned), Some(first)) if assigned < *first
        );
        (!has_schema || is_older).then_some(run)
    }
}

/// The documents that an old index names and that are not there, of runs that have others
/// in the new index: without them a run would look whole that is not. Only those of ours
/// are known to have been there: an oid in a damaged index may be any.
pub(super) fn missed(old: &Index, new: &Index, found: &[Oid]) -> Vec<Oid> {
    let lost = old.oids().iter().copied();
    let lost: HashSet<Oid> = lost
        .filter(|oid| found.binary_search(oid).is_err())
        .collect();
    let mut missed = Vec::new();
    for version in old.configurations().filter(|_| !lost.is_empty()) {
        if new.documents(version).is_empty() {
            continue;
        }
        let of_run = old.documents(version).iter().copied();
        for oid in of_run.filter(|oid| lost.contains(oid)) {
            let entities = old.entities(&[oid]);
            if is_derived(oid, version, entities.keys()) {
                missed.push(oid);
            }
        }
    }
    missed
}

/// Whether the archiver wrote a document.
fn is_ours(oid: Oid, document: &StoredDocument) -> bool {
    is_derived(oid, &document.version, document.entities.iter())
}

/// Whether an oid is one that the archiver gives: others are random.
fn is_derived<'e>(oid: Oid, version: &str, mut entities: impl Iterator<Item = &'e String>) -> bool {
    entities.any(|entity| {
        let mut numbers = 0..SAME_ENTITY;
        numbers.any(|it| Oid::of_names(&[version, entity, &it.to_string()]) == oid)
    })
}
