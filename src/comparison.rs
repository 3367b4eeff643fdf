//! A run's files as an import would store them now, and those that are stored:
//! compared file by file, whatever their order.
//!
//! Two texts are the same if they configure the same. A difference in comments or
//! layout alone is a [`Kind::Text`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::Result;
use crate::fhicl::{self, Document, Entry};
use crate::run::{FclFile, Run, SCHEMA_ENTITY};
use crate::run_record::{Generated, Options, RunRecord, SourceDigests};

/// The files of a run by their entities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSet(BTreeMap<String, String>);

impl FileSet {
    /// Collects files. Of two of one entity the later one counts.
    pub fn new(files: impl IntoIterator<Item = FclFile>) -> FileSet {
        let files = files.into_iter();
        FileSet(files.map(|file| (file.entity, file.text)).collect())
    }

    /// Returns the text of an entity.
    #[must_use]
    pub fn text(&self, entity: &str) -> Option<&str> {
        self.0.get(entity).map(String::as_str)
    }

    /// Returns entities and texts, in the order of the entities.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(entity, text)| (entity.as_str(), text.as_str()))
    }

    /// Returns the number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes every text.
    #[must_use]
    pub fn map(self, change: impl Fn(String) -> String) -> FileSet {
        let files = self.0.into_iter();
        FileSet(files.map(|(entity, text)| (entity, change(text))).collect())
    }
}

/// What an import would store of a run record now, without the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFiles {
    /// The configuration's name, without the run.
    pub configuration: String,
    /// The files, RunHistory2 among them, in the text that artdaqDB gives back. A
    /// file that is not FHiCL has its own text.
    pub files: FileSet,
    /// The entities that the archiver makes itself.
    pub generated: BTreeSet<Generated>,
    /// What tells whether the .txt files are others than at another time.
    pub sources: SourceDigests,
}

impl RecordFiles {
    /// Reads the record of `run` in the directory `path`. What is unusual about it
    /// was logged at its import.
    ///
    /// # Errors
    /// Those of [`RunRecord::read`].
    pub fn read(run: Run, path: &Path, options: &Options) -> Result<RecordFiles> {
        Ok(RecordFiles::of(RunRecord::read_again(run, path, options)?))
    }

    /// Takes over a record that was read.
    #[must_use]
    pub fn of(record: RunRecord) -> RecordFiles {
        let mut generated = record.generated;
        if !record.update.files.is_empty() {
            generated.insert(Generated::RunHistory2);
        }
        let files = FileSet::new(record.files.into_iter().chain(record.update.files));
        RecordFiles {
            configuration: record.configuration,
            files: files.map(|text| as_stored(&text).unwrap_or(text)),
            generated,
            sources: record.sources,
        }
    }

    /// Returns whether the file from which another one is made is known to have
    /// changed since.
    #[must_use]
    pub fn has_changed_since(&self, generated: Generated, before: &SourceDigests) -> bool {
        let place = generated.source_place();
        before[place] != 0 && before[place] != self.sources[place]
    }

    /// Compares a database's files with the record. The schema is not compared, as
    /// it does not come from the record.
    #[must_use]
    pub fn compare(&self, stored: &FileSet) -> Vec<Difference> {
        let mut differences = compare(&self.files, stored);
        differences.retain(|difference| difference.entity != SCHEMA_ENTITY);
        for difference in &mut differences {
            difference.generated = Generated::ALL
                .into_iter()
                .find(|one| one.entity() == difference.entity && self.generated.contains(one));
            let entity = difference.entity.as_str();
            if let (Kind::Content, Some(Generated::Metadata), Some(expected), Some(stored)) = (
                difference.kind,
                difference.generated,
                self.files.text(entity),
                stored.text(entity),
            ) && gained_times(expected, stored)
            {
                difference.kind = Kind::Times;
            }
        }
        differences
    }
}

/// How a stored file differs from what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is expected and not stored.
    Missing,
    /// It is stored and not expected.
    Extra,
    /// It configures something else.
    Content,
    /// Its comments or its layout differ, and it configures the same.
    Text,
    /// The record's metadata.txt only gained start or stop time, which RunHistory2
    /// holds: no change of the record.
    Times,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file's entity.
    pub entity: String,
    /// How it differs.
    pub kind: Kind,
    /// Which file the archiver made itself, if it is one: another version of the
    /// archiver may have made it in another way.
    pub generated: Option<Generated>,
}

/// Compares stored files with those that are expected, in the order of the entities.
#[must_use]
pub fn compare(expected: &FileSet, stored: &FileSet) -> Vec<Difference> {
    let entities: BTreeSet<&String> = expected.0.keys().chain(stored.0.keys()).collect();
    let kind = |entity: &str| match (expected.text(entity), stored.text(entity)) {
        (Some(_), None) => Some(Kind::Missing),
        (None, _) => Some(Kind::Extra),
        (Some(expected), Some(stored)) if expected == stored => None,
        (Some(expected), Some(stored)) if configure_the_same(expected, stored) => Some(Kind::Text),
        (Some(_), Some(_)) => Some(Kind::Content),
    };
    let differences = entities.into_iter().filter_map(|entity| {
        Some(Difference {
            entity: entity.clone(),
            kind: kind(entity)?,
            generated: None,
        })
    });
    differences.collect()
}

/// Returns the text that artdaqDB gives back for a file; `None` if it is not FHiCL.
fn as_stored(text: &str) -> Option<String> {
    fhicl::parse(text)
        .ok()
        .map(|document| fhicl::write(&document))
}

fn configure_the_same(one: &str, other: &str) -> bool {
    matches!((fhicl::parse(one), fhicl::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// Returns whether metadata.fcl would have times now that the stored one lacks, and
/// is the same apart from that.
fn gained_times(expected: &str, stored: &str) -> bool {
    let (Ok(expected), Ok(stored)) = (fhicl::parse(expected), fhicl::parse(stored)) else {
        return false;
    };
    let has = |document: &Document, wanted: &str| {
        document
            .main
            .iter()
            .any(|entry| matches!(entry, Entry::Assignment { name, .. } if name == wanted))
    };
    let is_gained = |entry: &&Entry| match entry {
        Entry::Assignment { name, .. } => {
            ["daqinterface_start_time", "daqinterface_stop_time"].contains(&&**name)
                && !has(&stored, name)
        }
        Entry::Include { .. } | Entry::Splice { .. } => false,
    };
    let mut rest = expected.main.iter().filter(|entry| !is_gained(entry));
    expected.prolog == stored.prolog
        && stored.main.iter().all(|entry| rest.next() == Some(entry))
        && rest.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(all: &[(&str, &str)]) -> FileSet {
        FileSet::new(all.iter().map(|(entity, text)| FclFile {
            entity: (*entity).into(),
            text: (*text).into(),
        }))
    }

    fn kinds(differences: &[Difference]) -> Vec<(&str, Kind)> {
        let all = differences.iter();
        all.map(|it| (it.entity.as_str(), it.kind)).collect()
    }

    #[test]
    fn each_file_is_compared_with_its_own() {
        let expected = files(&[
            ("a", "\na: 1 \n"),
            ("b", "\nb: 1 \n"),
            ("c", "\nc: 1 \n"),
            ("d", "\nd: 1 \n"),
            ("e", "\ne: {"),
        ]);
        let stored = files(&[
            ("a", "\na: 1 \n"),
            ("b", "\nb: 2 \n"),
            ("c", "#as before\nc: 1 \n"),
            ("e", "\ne: {}"),
            ("f", ""),
        ]);
        assert_eq!(
            kinds(&compare(&expected, &stored)),
            [
                ("b", Kind::Content),
                ("c", Kind::Text),
                ("d", Kind::Missing),
                ("e", Kind::Content),
                ("f", Kind::Extra),
            ]
        );
        assert_eq!(compare(&expected, &expected), []);
    }

    const METADATA: &str = "Config name: c\nsbndaq commit/version: v1 \"a\" \"b\"\n";
    const START: &str = "DAQInterface start time: Wed Mar 18 18:02:11 UTC 2026\n";
    const STOP: &str = "DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";

    fn record(metadata: &str) -> RecordFiles {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("tpc01.fcl"), "a: 1 // a\n").unwrap();
        fs::write(directory.path().join("metadata.txt"), metadata).unwrap();
        let generate = BTreeSet::from(Generated::ALL);
        let options = Options {
            generate: &generate,
            max_file_bytes: 1 << 20,
        };
        RecordFiles::read(Run(7), directory.path(), &options).unwrap()
    }

    #[test]
    fn a_record_is_compared_as_an_import_would_store_it() {
        let now = record(&format!("{METADATA}{START}{STOP}"));
        assert_eq!(now.files.text("tpc01"), Some("\na: 1 // a\n"));
        assert_eq!(now.compare(&now.files), []);
        let mut stored = now.files.clone();
        stored.0.insert(SCHEMA_ENTITY.into(), "\ns: 1 \n".into());
        assert_eq!(now.compare(&stored), []);
        let other = record(&format!("{}{START}{STOP}", METADATA.replace("v1", "v2")));
        let differences = other.compare(&stored);
        assert_eq!(kinds(&differences), [("metadata", Kind::Content)]);
        assert_eq!(differences[0].generated, Some(Generated::Metadata));
    }

    #[test]
    fn times_that_were_appended_are_no_change_of_metadata() {
        let going = record(&format!("{METADATA}{START}"));
        let ended = record(&format!("{METADATA}{START}{STOP}"));
        assert_eq!(
            kinds(&ended.compare(&going.files)),
            [("RunHistory2", Kind::Content), ("metadata", Kind::Times)]
        );
        assert_eq!(
            kinds(&ended.compare(&record(METADATA).files)),
            [("RunHistory2", Kind::Missing), ("metadata", Kind::Times)]
        );
        // Another time is a change.
        let other = record(&format!("{METADATA}{START}{}", STOP.replace("19", "20")));
        assert_eq!(
            kinds(&other.compare(&ended.files)),
            [("RunHistory2", Kind::Content), ("metadata", Kind::Content)]
        );
        // So is one that vanished.
        assert_eq!(
            kinds(&going.compare(&ended.files)),
            [("RunHistory2", Kind::Content), ("metadata", Kind::Content)]
        );
    }
}
