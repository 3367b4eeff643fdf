//! One run in three places: its record, artdaqDB and UconDB.

use std::fmt;
use std::path::Path;

use super::diff::unified;
use super::trees::Trees;
use super::{Options, Stores};
use crate::artdaqdb::Presence;
use crate::blob;
use crate::clock;
use crate::comparison::{self, Difference, FileSet, Kind, RecordFiles};
use crate::error::{Disposition, Error, Result};
use crate::pipeline::journal::Store;
use crate::run::{FclFile, Run};
use crate::run_record::{self, Generated, SourceDigests};

/// What a place has of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// So many files.
    Files(usize),
    /// Nothing.
    Nothing,
    /// A part of the run: its import was cut short.
    Part,
    /// What cannot be read, and why.
    Unreadable(String),
}

/// What is wrong with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A file of a store is not what it should be.
    File(FileFinding),
    /// artdaqDB has the run, UconDB has not.
    NotMigrated,
    /// artdaqDB has a part of the run only.
    Partial,
    /// There is a record, and neither database has the run.
    NotArchived,
    /// A place could not be read, and why.
    Unreadable(Store, String),
}

/// A file of a store that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFinding {
    /// The file as an operator knows it: `boot.fcl (from boot.txt)`.
    pub name: String,
    /// The store whose file it is.
    pub store: Store,
    /// What it was compared with.
    pub reference: Store,
    /// How it differs.
    pub kind: Kind,
    /// The first changes that lead from the reference to the store.
    pub diff: Vec<String>,
}

/// What is worth saying of a run and no finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// There is no record any more.
    NoRecord,
    /// artdaqDB has the run no longer.
    Pruned,
    /// This program converts the record's file into another one than artdaqDB has,
    /// and the record is not known to have changed.
    ConvertedDifferently(FileFinding),
    /// metadata.txt gained its times after the import.
    GainedTimes(FileFinding),
    /// Files of a database that the record does not have.
    OnlyStored(Vec<String>),
    /// The configuration's name in the record and in artdaqDB.
    OtherName(String, String),
    /// A blob that can be read in two ways, or does not meet its readers' demands.
    Blob(String),
}

/// A run, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedRun {
    /// The run.
    pub run: Run,
    /// Its record.
    pub record: Column,
    /// artdaqDB.
    pub artdaqdb: Column,
    /// UconDB.
    pub ucondb: Column,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth saying.
    pub notes: Vec<Note>,
    /// Whether UconDB has what artdaqDB has.
    pub is_migrated: bool,
}

/// Where a run was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) run: Run,
    pub(super) record: Option<&'a Path>,
    /// Whether records could be looked for.
    pub(super) has_records: bool,
    pub(super) artdaqdb: Option<Presence>,
    pub(super) ucondb: bool,
}

/// A compared run, and the failure of a store that may have more than this run.
pub(super) type Examined = (ComparedRun, Option<(Store, Error)>);

/// What is read of a run.
struct Examination<'a> {
    stores: &'a Stores<'a>,
    options: &'a Options<'a>,
    seen: Seen<'a>,
    compared: ComparedRun,
    fault: Option<(Store, Error)>,
}

/// Compares a run.
///
/// # Errors
/// A shutdown; the trees cannot be written.
pub(super) fn examine<'a>(
    stores: &'a Stores<'a>,
    options: &'a Options<'a>,
    seen: Seen<'a>,
) -> Result<Examined> {
    let mut examination = Examination {
        stores,
        options,
        seen,
        compared: ComparedRun {
            run: seen.run,
            record: Column::Nothing,
            artdaqdb: Column::Nothing,
            ucondb: Column::Nothing,
            findings: Vec::new(),
            notes: Vec::new(),
            is_migrated: false,
        },
        fault: None,
    };
    let record = examination.record()?;
    let artdaqdb = examination.artdaqdb()?;
    let blob = examination.blob()?;
    let files = examination.compare(record.as_ref(), artdaqdb, blob);
    if let Some(trees) = options.trees {
        let record = record.map(|record| record.files);
        write_trees(trees, seen.run, record, files)?;
    }
    Ok((examination.compared, examination.fault))
}

fn write_trees(
    trees: &Trees,
    run: Run,
    record: Option<FileSet>,
    (artdaqdb, ucondb): (Option<FileSet>, Option<FileSet>),
) -> Result<()> {
    let all = [
        (Store::Records, record),
        (Store::Artdaqdb, artdaqdb),
        (Store::Ucondb, ucondb),
    ];
    for (store, files) in all {
        if let Some(files) = files {
            trees.write(store, run, &files)?;
        }
    }
    Ok(())
}

impl Examination<'_> {
    fn find(&mut self, finding: Finding) {
        self.compared.findings.push(finding);
    }

    /// Notes that a place cannot be read.
    ///
    /// # Errors
    /// It was a shutdown.
    fn unreadable(&mut self, store: Store, error: Error) -> Result<Column> {
        if matches!(error, Error::Interrupted(_)) {
            return Err(error);
        }
        let reason = error.to_string();
        self.find(Finding::Unreadable(store, reason.clone()));
        if error.disposition() == Disposition::StopStage {
            self.fault = Some((store, error));
        }
        Ok(Column::Unreadable(reason))
    }

    fn record(&mut self) -> Result<Option<RecordFiles>> {
        let Some(path) = self.seen.record else {
            if self.seen.has_records {
                self.compared.notes.push(Note::NoRecord);
            }
            return Ok(None);
        };
        let options = run_record::Options {
            generate: self.stores.generate,
            max_file_bytes: self.stores.max_file_bytes,
        };
        match RecordFiles::read(self.seen.run, path, &options) {
            Ok(record) => {
                self.compared.record = Column::Files(record.files.len());
                Ok(Some(record))
            }
            Err(error) => {
                self.compared.record = self.unreadable(Store::Records, error)?;
                Ok(None)
            }
        }
    }

    /// Reads what artdaqDB has, with the configuration's name.
    fn artdaqdb(&mut self) -> Result<Option<(String, Vec<FclFile>)>> {
        match self.seen.artdaqdb {
            Some(Presence::Whole) => {}
            Some(Presence::Partial) => {
                self.compared.artdaqdb = Column::Part;
                self.find(Finding::Partial);
                return Ok(None);
            }
            None if self.seen.ucondb => {
                self.compared.notes.push(Note::Pruned);
                return Ok(None);
            }
            None => {
                self.find(Finding::NotArchived);
                return Ok(None);
            }
        }
        match self.stores.artdaqdb.read(self.seen.run) {
            Ok(configuration) => {
                self.compared.artdaqdb = Column::Files(configuration.files.len());
                Ok(Some((configuration.name, configuration.files)))
            }
            Err(error) => {
                self.compared.artdaqdb = self.unreadable(Store::Artdaqdb, error)?;
                Ok(None)
            }
        }
    }

    /// Downloads the blob. A run that was not listed may have been migrated since.
    fn blob(&mut self) -> Result<Option<Vec<u8>>> {
        let (ucondb, run) = (self.stores.ucondb, self.seen.run);
        if !self.seen.ucondb {
            if self.seen.artdaqdb != Some(Presence::Whole) {
                return Ok(None);
            }
            match ucondb.version(run) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.find(Finding::NotMigrated);
                    return Ok(None);
                }
                Err(error) => {
                    self.compared.ucondb = self.unreadable(Store::Ucondb, error)?;
                    return Ok(None);
                }
            }
        }
        match ucondb.download(run) {
            Ok(blob) => Ok(Some(blob)),
            Err(error) => {
                self.compared.ucondb = self.unreadable(Store::Ucondb, error)?;
                Ok(None)
            }
        }
    }

    /// Compares what was read. Returns the files of both databases.
    fn compare(
        &mut self,
        record: Option<&RecordFiles>,
        artdaqdb: Option<(String, Vec<FclFile>)>,
        blob: Option<Vec<u8>>,
    ) -> (Option<FileSet>, Option<FileSet>) {
        let run = self.seen.run;
        // Mostly the blob is that of these files, and need not be taken apart.
        let is_same = match (&artdaqdb, &blob) {
            (Some((_, files)), Some(blob)) => {
                let ours = blob::pack(run, files, clock::now());
                blob::same_record(ours.as_bytes(), blob)
            }
            _ => false,
        };
        self.compared.is_migrated = is_same;
        if self.options.validate
            && let Some(text) = blob.as_deref().map(String::from_utf8_lossy)
        {
            let findings = blob::check(&text);
            let notes = findings.iter().map(|finding| {
                Note::Blob(format!(
                    "the blob does not meet its readers' demands: {finding}"
                ))
            });
            self.compared.notes.extend(notes);
        }
        let artdaqdb = artdaqdb.map(|(name, files)| {
            if let Some(record) = record
                && record.configuration != name
            {
                let names = Note::OtherName(record.configuration.clone(), name);
                self.compared.notes.push(names);
            }
            FileSet::new(files)
        });
        if let (Some(record), Some(stored)) = (record, &artdaqdb) {
            self.with_record(record, stored, Store::Artdaqdb);
        }
        let ucondb = match blob {
            None => None,
            Some(_) if is_same => {
                self.compared.ucondb = self.compared.artdaqdb.clone();
                // Only trees need the texts again.
                self.options.trees.and(artdaqdb.clone().map(packed))
            }
            Some(blob) => {
                let ucondb = self.unpack(blob);
                match (&ucondb, &artdaqdb, record) {
                    (Some(ucondb), Some(artdaqdb), _) => self.with_artdaqdb(artdaqdb, ucondb),
                    (Some(ucondb), None, Some(record)) => {
                        let record = RecordFiles {
                            files: packed(record.files.clone()),
                            ..record.clone()
                        };
                        self.with_record(&record, ucondb, Store::Ucondb);
                    }
                    _ => {}
                }
                ucondb
            }
        };
        (artdaqdb, ucondb)
    }

    /// Takes a blob apart.
    fn unpack(&mut self, blob: Vec<u8>) -> Option<FileSet> {
        let run = self.seen.run;
        let text = String::from_utf8(blob).map_err(|error| format!("it is not UTF-8: {error}"));
        let read = text
            .and_then(|text| blob::read(&text))
            .and_then(|blob| match blob.run == run {
                true => Ok(blob),
                false => Err(format!("it says it is of run {}", blob.run)),
            });
        let blob = match read {
            Ok(blob) => blob,
            Err(problem) => {
                let reason = format!("run {run}: this is no blob of the run: {problem}");
                self.find(Finding::Unreadable(Store::Ucondb, reason.clone()));
                self.compared.ucondb = Column::Unreadable(reason);
                return None;
            }
        };
        let notes = blob.ambiguities.into_iter().map(Note::Blob);
        self.compared.notes.extend(notes);
        self.compared.ucondb = Column::Files(blob.files.len());
        Some(FileSet::new(blob.files))
    }

    /// Compares what UconDB has with what artdaqDB has.
    fn with_artdaqdb(&mut self, artdaqdb: &FileSet, ucondb: &FileSet) {
        let expected = packed(artdaqdb.clone());
        for difference in comparison::compare(&expected, ucondb) {
            if difference.kind == Kind::Text && !self.options.strict {
                continue;
            }
            let stores = (Store::Artdaqdb, Store::Ucondb);
            let finding = file_finding(&difference, stores, &expected, ucondb);
            self.find(Finding::File(finding));
        }
        let has_finding = self.compared.findings.iter().any(Finding::is_of_ucondb);
        self.compared.is_migrated = !has_finding;
    }

    /// Compares what a database has with the record.
    fn with_record(&mut self, record: &RecordFiles, stored: &FileSet, store: Store) {
        let run = self.seen.run;
        let mut before = None;
        let mut only_stored = Vec::new();
        for difference in record.compare(stored) {
            if difference.kind == Kind::Extra {
                only_stored.push(format!("{}.fcl", difference.entity));
                continue;
            }
            let finding =
                |it: &Difference| file_finding(it, (Store::Records, store), &record.files, stored);
            match difference.kind {
                Kind::Text if !self.options.strict => {}
                Kind::Times if !self.options.strict => {
                    let finding = finding(&difference);
                    self.compared.notes.push(Note::GainedTimes(finding));
                }
                Kind::Content
                    if !self.options.strict
                        && difference.generated.is_some_and(|generated| {
                            let before = before.get_or_insert_with(|| (self.stores.sources)(run));
                            is_converted_differently(record, generated, before.as_ref())
                        }) =>
                {
                    let finding = finding(&difference);
                    self.compared
                        .notes
                        .push(Note::ConvertedDifferently(finding));
                }
                _ => self.find(Finding::File(finding(&difference))),
            }
        }
        if !only_stored.is_empty() {
            self.compared.notes.push(Note::OnlyStored(only_stored));
        }
    }
}

/// Whether a generated file differs because it was made in another way: its source is
/// not known to have changed since the import.
fn is_converted_differently(
    record: &RecordFiles,
    generated: Generated,
    before: Option<&SourceDigests>,
) -> bool {
    // Its source is copied without a conversion to speak of.
    generated != Generated::RunHistory2
        && !before.is_some_and(|before| record.has_changed_since(generated, before))
}

/// The files in the texts that a blob has of them.
fn packed(files: FileSet) -> FileSet {
    files.map(|text| blob::text_as_packed(&text).into_owned())
}

fn file_finding(
    difference: &Difference,
    (reference, store): (Store, Store),
    expected: &FileSet,
    stored: &FileSet,
) -> FileFinding {
    let entity = difference.entity.as_str();
    let name = match difference.generated {
        Some(generated) => format!("{entity}.fcl (from {})", generated.source()),
        None => format!("{entity}.fcl"),
    };
    let diff = match (expected.text(entity), stored.text(entity)) {
        (Some(expected), Some(stored)) => unified(expected, stored),
        _ => Vec::new(),
    };
    FileFinding {
        name,
        store,
        reference,
        kind: difference.kind,
        diff,
    }
}

impl Finding {
    /// Returns whether UconDB is not as it should be.
    #[must_use]
    pub fn is_of_ucondb(&self) -> bool {
        match self {
            Finding::File(file) => file.store == Store::Ucondb,
            Finding::Unreadable(store, _) => *store == Store::Ucondb,
            Finding::NotMigrated => true,
            Finding::Partial | Finding::NotArchived => false,
        }
    }
}

impl ComparedRun {
    /// Returns whether nothing is wrong with the run.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns the places that were read and compared, as in "record, artdaqDB and
    /// UconDB".
    #[must_use]
    pub fn places(&self) -> String {
        let columns = [
            ("record", &self.record),
            ("artdaqDB", &self.artdaqdb),
            ("UconDB", &self.ucondb),
        ];
        let there = columns
            .into_iter()
            .filter(|(_, column)| matches!(column, Column::Files(_)));
        let names: Vec<&str> = there.map(|(name, _)| name).collect();
        match names.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} and {last}", others.join(", "))
            }
            _ => names.concat(),
        }
    }

    /// Returns how many files the run has.
    #[must_use]
    pub fn files(&self) -> usize {
        let columns = [&self.artdaqdb, &self.ucondb, &self.record];
        let counts = columns.into_iter().filter_map(|column| match column {
            Column::Files(count) => Some(*count),
            Column::Nothing | Column::Part | Column::Unreadable(_) => None,
        });
        counts.max().unwrap_or_default()
    }
}

impl FileFinding {
    /// Returns the file's name alone: `boot.fcl`.
    #[must_use]
    pub fn file(&self) -> &str {
        self.name.split(" (from ").next().unwrap_or(&self.name)
    }
}

/// Returns a place's name in sentences.
#[must_use]
pub fn place(store: Store) -> &'static str {
    match store {
        Store::Records => "the record",
        Store::Artdaqdb => "artdaqDB",
        Store::Ucondb => "UconDB",
    }
}

impl fmt::Display for FileFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, store, reference) = (&self.name, place(self.store), place(self.reference));
        match self.kind {
            Kind::Missing => write!(f, "{name} is missing in {store}; {reference} has it"),
            Kind::Extra => write!(
                f,
                "{name} is extra in {store}; {reference} does not have it"
            ),
            Kind::Content => write!(f, "{name} differs: {reference} (-) and {store} (+)"),
            Kind::Text | Kind::Times => {
                write!(
                    f,
                    "{name} differs in its text: {reference} (-) and {store} (+)"
                )
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::File(file) => file.fmt(f),
            Finding::NotMigrated => f.write_str("in artdaqDB, not in UconDB"),
            Finding::Partial => f.write_str("in artdaqDB in part only: its import was cut short"),
            Finding::NotArchived => f.write_str("there is a record; neither database has the run"),
            Finding::Unreadable(store, reason) => {
                write!(f, "{} cannot be read: {reason}", place(*store))
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoRecord => f.write_str("its record is gone"),
            Note::Pruned => f.write_str("pruned: artdaqDB does not have it any more"),
            Note::ConvertedDifferently(file) => write!(
                f,
                "{} is converted differently than at its import; the record is not known to have \
                 changed",
                file.name
            ),
            Note::GainedTimes(file) => write!(
                f,
                "{} lacks the times that its record gained since; RunHistory2.fcl is where they \
                 belong",
                file.name
            ),
            Note::OnlyStored(names) => {
                write!(
                    f,
                    "not in the record, and still archived: {}",
                    names.join(", ")
                )
            }
            Note::OtherName(record, stored) => write!(
                f,
                "the record names the configuration {record:?}, artdaqDB has it as {stored:?}"
            ),
            Note::Blob(problem) => f.write_str(problem),
        }
    }
}
