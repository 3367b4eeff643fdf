//! Which of a run's documents count. The real tools never look whether a run is
//! there already, so that an entity can have several documents; every database
//! of ours then makes the same choice.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::document::StoredDocument;
use super::{Configuration, Inspection};
use crate::fhicl;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};

/// The document of each entity that counts: the one assigned last, and among
/// equals the one with the greater oid.
pub(super) fn newest(run: Run, documents: Vec<StoredDocument>) -> BTreeMap<String, StoredDocument> {
    let mut newest: BTreeMap<String, StoredDocument> = BTreeMap::new();
    for document in documents {
        let mut of_entities: Vec<&String> = document.entities.iter().collect();
        of_entities.retain(|entity| match newest.get(*entity) {
            Some(other) if age(other) >= age(&document) => {
                note_duplicate(run, entity, other, &document);
                false
            }
            other => {
                if let Some(other) = other {
                    note_duplicate(run, entity, &document, other);
                }
                true
            }
        });
        let mut of_entities: Vec<String> = of_entities.into_iter().cloned().collect();
        // Mostly it has one entity, and is not copied.
        let last = of_entities.pop();
        for entity in of_entities {
            newest.insert(entity, document.clone());
        }
        if let Some(entity) = last {
            newest.insert(entity, document);
        }
    }
    newest
}

/// A configuration of the documents that count; `version` is its whole name.
pub(super) fn configuration(
    version: &str,
    newest: BTreeMap<String, StoredDocument>,
) -> Configuration {
    Configuration {
        name: super::name_of(version).to_owned(),
        files: newest
            .into_iter()
            .map(|(entity, document)| FclFile {
                entity,
                text: document.text,
            })
            .collect(),
    }
}

/// A run of these documents, in the order in which the real tools read them; `version`
/// is its whole name.
pub(super) fn inspection(run: Run, version: &str, documents: Vec<StoredDocument>) -> Inspection {
    let instants = documents.iter().flat_map(assigned);
    let (first, last) = (instants.clone().min(), instants.max());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entity in documents.iter().flat_map(|document| &document.entities) {
        *counts.entry(entity.clone()).or_default() += 1;
    }
    // Each load adds a schema document, which says the same.
    counts.retain(|entity, count| *count > 1 && entity != SCHEMA_ENTITY);
    let read_first: BTreeMap<String, String> = counts
        .keys()
        .filter_map(|entity| {
            let mut all = documents.iter();
            let first = all.find(|document| document.entities.contains(entity))?;
            Some((entity.clone(), first.text.clone()))
        })
        .collect();
    let newest = newest(run, documents);
    let misordered = read_first.into_iter().filter(|(entity, text)| {
        let counts = newest.get(entity);
        counts.is_some_and(|counts| counts.text != *text)
    });
    Inspection {
        misordered: misordered.map(|(entity, _)| entity).collect(),
        configuration: configuration(version, newest),
        first,
        last,
        superseded: counts.into_keys().collect(),
    }
}

/// Which of these files a run needs that has these documents, in the order in which the
/// real tools read them: what it lacks, what it has with other content, and what the
/// real tools read with other content.
pub(super) fn lacking<'f>(
    run: Run,
    documents: Vec<StoredDocument>,
    files: impl Iterator<Item = &'f FclFile>,
) -> Vec<&'f FclFile> {
    let misordered = inspection(run, "", documents.clone()).misordered;
    let present = newest(run, documents);
    files
        .filter(|file| is_missing(file, &present) || misordered.contains(&file.entity))
        .collect()
}

/// The time stamp after which a run's next documents come.
pub(super) fn last_time(documents: &[StoredDocument]) -> Option<Timestamp> {
    documents.iter().flat_map(assigned).max()
}

/// When a document was assigned to its configurations.
fn assigned(document: &StoredDocument) -> impl Iterator<Item = Timestamp> + Clone + '_ {
    let configurations = document.configurations.iter();
    configurations.filter_map(|configuration| instant(&configuration.assigned))
}

/// Whether a run that is partly there needs this file, too: it has no document
/// of it, or one that says something else.
/// Whether a run needs this file, too: it has no document of it, or one that says
/// something else.
pub(super) fn is_missing(file: &FclFile, newest: &BTreeMap<String, StoredDocument>) -> bool {
    let stored = newest.get(&file.entity);
    differs(file, stored.map(|stored| stored.text.as_str()))
}

fn differs(file: &FclFile, stored: Option<&str>) -> bool {
    stored.is_none_or(|stored| match fhicl::parse(&file.text) {
        Ok(document) => fhicl::write(&document) != stored,
        // Whoever writes it says what is wrong.
        Err(_) => true,
    })
}

/// The FHiCL of the documents that count, by entity.
pub(super) fn texts(newest: &BTreeMap<String, StoredDocument>) -> BTreeMap<&str, &str> {
    let texts = newest.iter();
    texts
        .map(|(entity, it)| (entity.as_str(), it.text.as_str()))
        .collect()
}

/// Which of these texts, by entity, are not stored as they are. The schema is not
/// compared: it is a file of the site, not of the run.
pub(super) fn differing<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
    stored: &BTreeMap<&str, &str>,
) -> Vec<String> {
    texts
        .into_iter()
        .filter(|(entity, text)| *entity != SCHEMA_ENTITY && stored.get(entity) != Some(text))
        .map(|(entity, _)| entity.to_owned())
        .collect()
}

/// Which of these files, by entity, are not stored as they are. The schema is not
/// compared.
pub(super) fn differing_files(files: &[FclFile], stored: &BTreeMap<&str, &str>) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.entity != SCHEMA_ENTITY)
        .filter(|file| differs(file, stored.get(file.entity.as_str()).copied()))
        .map(|file| file.entity.clone())
        .collect()
}

/// Says that a run with the same content came into the archive meanwhile.
pub(super) fn note_archived_meanwhile(run: Run) {
    log::info!("Run {run}: archived meanwhile by another archiver, with the same content");
}

/// Why a run is refused that the archive has with other content.
pub(super) fn conflict(run: Run, version: &str, differing: &[String]) -> String {
    format!(
        "run {run} is archived already, as {version}, with other content: {} differ(s). Nothing was \
         changed",
        differing.join(", ")
    )
}

/// When a document was assigned to a configuration for the last time.
fn age(document: &StoredDocument) -> (Option<Timestamp>, Option<&str>, &str) {
    let assigned = document.configurations.iter().map(|c| c.assigned.as_str());
    // Local times order right only with their offsets.
    let last = assigned.map(|text| (instant(text), Some(text))).max();
    let (instant, text) = last.unwrap_or_default();
    (instant, text, &document.oid)
}

/// The time of a time stamp.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()
}

fn note_duplicate(run: Run, entity: &str, kept: &StoredDocument, other: &StoredDocument) {
    if kept.text == other.text {
        log::debug!("Run {run}: {entity} has two documents that say the same");
    } else if age(kept).0 > age(other).0 {
        log::debug!(
            "Run {run}: {entity}: document {} supersedes {}",
            kept.oid,
            other.oid
        );
    } else {
        log::warn!(
            "Run {run}: {entity} has two documents that differ; {} is the later one and is \
             used, {} is not",
            kept.oid,
            other.oid
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artdaqdb::document::Assigned;

    fn document(oid: &str, assigned: &str, text: &str) -> StoredDocument {
        StoredDocument {
            oid: oid.into(),
            collection: "RunHistory".into(),
            version: "7/c".into(),
            entities: vec!["boot".into()],
            configurations: vec![Assigned {
                name: "7/c".into(),
                assigned: assigned.into(),
            }],
            runs: vec!["7".into()],
            aliases_active: Vec::new(),
            text: text.into(),
        }
    }

    fn chosen(documents: [StoredDocument; 2]) -> String {
        let mut reversed = documents.clone();
        reversed.reverse();
        let choose = |documents: [StoredDocument; 2]| {
            newest(Run(7), documents.into()).remove("boot").unwrap().oid
        };
        let chosen = choose(documents);
        assert_eq!(chosen, choose(reversed));
        chosen
    }

    #[test]
    fn the_later_document_counts_whatever_the_order() {
        assert_eq!(
            chosen([
                document("b", "2026-03-18T18:02:11.122+0000", "old"),
                document("a", "2026-03-18T18:02:11.123+0000", "new"),
            ]),
            "a"
        );
    }

    #[test]
    fn times_are_compared_as_instants() {
        // The hour that comes twice when summer time ends.
        assert_eq!(
            chosen([
                document("b", "2026-11-01T01:50:00.000-0500", "old"),
                document("a", "2026-11-01T01:10:00.000-0600", "new"),
            ]),
            "a"
        );
    }

    #[test]
    fn of_two_of_one_time_the_greater_oid_counts() {
        let time = "2026-03-18T18:02:11.122+0000";
        assert_eq!(
            chosen([document("a", time, "x"), document("b", time, "y")]),
            "b"
        );
    }
}
