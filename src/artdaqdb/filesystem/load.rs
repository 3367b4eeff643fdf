//! Loads: documents on their way into the archive.
//!
//! A document is written into a directory beside the collections, where no program
//! takes it for one of the archive, and gets its name when its run is published.
//! Before the first one gets it, a file beside the collections names them all. It is
//! removed once the indexes are durable. What such a file names and no index does was
//! left by a process that was killed: no rebuild takes it, and the next load removes
//! it. A run that fails leaves nothing.
//!
//! The names hold the boot of the machine. What was left in this boot belongs to no
//! living process once the archive's locks are held here. Elsewhere the locks may not
//! hold: not every network file system passes them on, and then only age tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::lock::{ArchiveLock, Held};
use crate::artdaqdb::index::Oid;
use crate::artdaqdb::{RUN_HISTORY, SYSTEM_LAYOUT};
use crate::durable::{self, Temporary};
use crate::error::{Error, Result};
use crate::faults::fs::{self, File, OpenOptions};
use crate::regular_file;
use crate::run::Run;
use crate::run_set::RunSet;
use crate::sys::boot;
use crate::sys::sync::lock;

/// How the names of the files begin that name the documents of a load.
const LOAD: &str = ".run_record_archiver.load.";
/// How the names of the directories begin in which documents wait.
const STAGING: &str = ".run_record_archiver.staging.";

/// After this time no process of another machine still works on a load.
const LONGEST_LOAD: Duration = Duration::from_secs(24 * 3600);

/// Documents on their way into the archive: from the first that is written until an
/// index names them, or they are given up. Until then no index is rebuilt.
#[derive(Debug)]
pub(super) struct Load {
    root: PathBuf,
    /// Where the documents of each collection wait; `None`: beside those of the
    /// archive, because the collection is on another file system.
    staging: Mutex<BTreeMap<&'static str, Option<Staging>>>,
    _documents: Held,
}

impl Load {
    /// A load of the archive at `root`, whose lock `documents` is held.
    pub(super) fn new(root: &Path, documents: Held) -> Load {
        Load {
            root: root.to_path_buf(),
            staging: Mutex::default(),
            _documents: documents,
        }
    }

    /// Creates an empty file for the document of a collection.
    ///
    /// # Errors
    /// The file can't be created.
    pub(super) fn create(
        &self,
        collection: &'static str,
        document: &Path,
    ) -> Result<(Temporary, File)> {
        match self.staging(collection)? {
            Some(directory) => durable::open_temporary_in(&directory, document, durable::SHARED),
            None => durable::open_temporary(document, durable::SHARED),
        }
    }

    /// Where the documents of a collection wait.
    fn staging(&self, collection: &'static str) -> Result<Option<PathBuf>> {
        let mut staging = lock(&self.staging);
        let path = |found: &Option<Staging>| found.as_ref().map(|it| it.0.clone());
        if let Some(found) = staging.get(collection) {
            return Ok(path(found));
        }
        let created = Staging::create(&self.root, &self.root.join(collection))?;
        Ok(path(staging.entry(collection).or_insert(created)))
    }
}

/// A directory in which documents wait. It goes with this, if it is empty.
#[derive(Debug)]
struct Staging(PathBuf);

impl Staging {
    /// Creates a directory beside the collections. It is made in the collection and
    /// then moved: its files get the group and the access rights that documents get
    /// there, and it is seen whether files can be moved from one to the other.
    fn create(root: &Path, collection: &Path) -> Result<Option<Staging>> {
        let name = name(STAGING);
        let (made, directory) = (collection.join(&name), root.join(&name));
        fs::DirBuilder::new()
            .mode(0o777)
            .create(&made)
            .map_err(|source| Error::io("create", &made, source))?;
        match fs::rename(&made, &directory) {
            Ok(()) => Ok(Some(Staging(directory))),
            Err(source) => {
                // Best effort: it is empty, and nothing reads it.
                let _ = fs::remove_dir(&made);
                match source.kind() {
                    io::ErrorKind::CrossesDevices => Ok(None),
                    _ => Err(Error::io("create", &directory, source)),
                }
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Best effort: the next load removes what is left.
        let _ = fs::remove_dir(&self.0);
    }
}

/// A name that no other load has.
fn name(prefix: &str) -> String {
    format!("{prefix}{}.{:016x}", boot::id(), fastrand::u64(..))
}

/// The file that names the documents of a load.
#[derive(Debug)]
pub(super) struct LoadFile(PathBuf);

impl LoadFile {
    /// Writes the file durably: before the first of these documents gets its name.
    /// The caller holds the lock `index`.
    ///
    /// # Errors
    /// It can't be written; then it is not there.
    pub(super) fn create<'d>(
        root: &Path,
        documents: impl Iterator<Item = (&'d str, Oid, &'d str)>,
    ) -> Result<LoadFile> {
        let mut text = String::new();
        for (collection, oid, run) in documents {
            text.push_str(&format!("{collection}/{oid}.json {run}\n"));
        }
        let path = root.join(name(LOAD));
        // Under its own name at once: one that was cut short names nothing that is
        // there, because no document has its name yet.
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|source| Error::io("write", &path, source))
            .and_then(|()| durable::sync_directory(root));
        let file = LoadFile(path);
        match written {
            Ok(()) => Ok(file),
            Err(error) => {
                file.remove();
                Err(error)
            }
        }
    }

    /// Removes the file: the indexes name its documents durably, or none has its name.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            // It does no harm: what it names the indexes name, too.
            log::debug!("{}: not removed: {error}", self.0.display());
        }
    }
}

/// A document that a file of a load names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    collection: &'static str,
    oid: Oid,
    run: Run,
}

/// Reads the file of a load. Lines that were cut short name nothing.
fn read(path: &Path) -> io::Result<Vec<Named>> {
    let bytes = regular_file::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let named = |line: &str| {
        let (document, run) = line.strip_suffix('\n')?.split_once(' ')?;
        let (collection, name) = document.split_once('/')?;
        let mut collections = [RUN_HISTORY, SYSTEM_LAYOUT].into_iter();
        Some(Named {
            collection: collections.find(|it| *it == collection)?,
            oid: Oid::parse(name.strip_suffix(".json")?)?,
            run: Run::parse(run)?,
        })
    };
    Ok(text.split_inclusive('\n').filter_map(named).collect())
}

/// Every document that a file of a load names, with its run.
///
/// # Errors
/// The archive's directory, or a file of a load, can't be read.
pub(super) fn open_loads(root: &Path) -> Result<HashMap<Oid, Run>> {
    let mut documents = HashMap::new();
    for path in find(root, LOAD)? {
        match read(&path) {
            Ok(named) => documents.extend(named.into_iter().map(|it| (it.oid, it.run))),
            // Its load was published meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("read", &path, source)),
        }
    }
    Ok(documents)
}

/// What is in the archive's directory under names that begin so.
fn find(root: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::io("read", root, source);
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(root.join(name));
        }
    }
    Ok(found)
}

/// Removes what earlier loads left that did not end in good order. `indexed` says which
/// documents of a run the indexes name; it is called with the lock `index` held.
///
/// # Errors
/// Something can't be read or removed; it does no harm.
pub(super) fn clear(
    root: &Path,
    locks: &ArchiveLock,
    mut indexed: impl FnMut(Run) -> Result<BTreeSet<Oid>>,
) -> Result<()> {
    let staging = find(root, STAGING)?;
    let loads = find(root, LOAD)?;
    // Who lets documents wait holds the lock `documents`.
    if !staging.is_empty()
        && let Some(_alone) = locks.try_all_documents()?
    {
        for directory in staging.iter().filter(|path| is_abandoned(path, STAGING)) {
            clear_staging(directory)?;
        }
    }
    if loads.is_empty() {
        return Ok(());
    }
    // Who has such a file holds the lock `index`.
    let _index = locks.index()?;
    for path in loads {
        clear_load(root, &path, &mut indexed)?;
    }
    Ok(())
}

fn clear_staging(directory: &Path) -> Result<()> {
    let failed = |source| Error::io("remove", directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = directory.join(entry.map_err(failed)?.file_name());
        fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
    }
    fs::remove_dir(directory).map_err(failed)
}

/// Removes the documents that a load left and no index names, and then its file.
fn clear_load(
    root: &Path,
    path: &Path,
    indexed: &mut impl FnMut(Run) -> Result<BTreeSet<Oid>>,
) -> Result<()> {
    let failed = |source| Error::io("read", path, source);
    let named = match read(path) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    let is_abandoned = is_abandoned(path, LOAD);
    let written = fs::metadata(path).and_then(|it| it.modified());
    let written = written.map_err(failed)?;
    let mut by_run: BTreeMap<Run, Vec<Named>> = BTreeMap::new();
    for document in named {
        by_run.entry(document.run).or_default().push(document);
    }
    let (mut removed, mut runs) = (0, Vec::new());
    for (run, documents) in by_run {
        let known = indexed(run)?;
        let unnamed = documents.iter().filter(|it| !known.contains(&it.oid));
        for left in unnamed {
            if !is_abandoned {
                return Ok(());
            }
            let document = root
                .join(left.collection)
                .join(format!("{}.json", left.oid));
            if remove_older(&document, written)? {
                removed += 1;
                runs.push(run);
            }
        }
    }
    if removed > 0 {
        for collection in [RUN_HISTORY, SYSTEM_LAYOUT] {
            durable::sync_directory(&root.join(collection))?;
        }
        let runs: RunSet = runs.into_iter().collect();
        log::info!(
            "{}: removed {removed} document(s) of an import that was cut short (run(s) {runs})",
            root.display()
        );
    }
    fs::remove_file(path).map_err(|source| Error::io("remove", path, source))
}

/// Removes a document, unless it is younger than the file that names it: then a later
/// load wrote it. Returns whether it did.
fn remove_older(document: &Path, written: SystemTime) -> Result<bool> {
    let failed = |source| Error::io("remove", document, source);
    match fs::symlink_metadata(document).and_then(|it| it.modified()) {
        Ok(modified) if modified > written => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed(source)),
    }
    fs::remove_file(document).map_err(failed)?;
    Ok(true)
}

/// Whether what is there under a name belongs to no living process. The caller holds
/// the lock that its process would hold.
fn is_abandoned(path: &Path, prefix: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let id = name
        .and_then(|name| name.strip_prefix(prefix)?.split_once('.'))
        .map_or("", |(id, _)| id);
    if !id.is_empty() && id == boot::id() {
        return true;
    }
    let modified = fs::metadata(path).and_then(|it| it.modified());
    let age = modified.ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > LONGEST_LOAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Shutdown;

    fn oid(number: u64) -> Oid {
        Oid::of_names(&[&number.to_string()])
    }

    /// An archive with the documents 1 to 4.
    fn archive() -> (tempfile::TempDir, ArchiveLock) {
        let directory = tempfile::tempdir().unwrap();
        for collection in [RUN_HISTORY, SYSTEM_LAYOUT] {
            fs::create_dir_all(directory.path().join(collection)).unwrap();
        }
        for number in 1..=4 {
            fs::write(document(directory.path(), number), "{}").unwrap();
        }
        let locks = ArchiveLock::new(directory.path(), &Shutdown::default());
        (directory, locks)
    }

    fn document(root: &Path, number: u64) -> PathBuf {
        root.join(format!("{RUN_HISTORY}/{}.json", oid(number)))
    }

    fn documents(root: &Path) -> Vec<u64> {
        let is_there = |number: &u64| document(root, *number).exists();
        (1..=5).filter(is_there).collect()
    }

    fn load(root: &Path, numbers: &[u64]) -> LoadFile {
        let named = numbers.iter().map(|it| (RUN_HISTORY, oid(*it), "7"));
        LoadFile::create(root, named).unwrap()
    }

    #[test]
    fn what_a_load_left_and_no_index_names_is_removed() {
        let (directory, locks) = archive();
        let root = directory.path();
        let _left = load(root, &[1, 2, 3, 5]);
        let named = open_loads(root).unwrap();
        assert_eq!(named.len(), 4);
        assert_eq!(named[&oid(5)], Run(7));
        // Written by a later load.
        let later = File::open(document(root, 3)).unwrap();
        let in_a_minute = SystemTime::now() + Duration::from_secs(60);
        later.set_modified(in_a_minute).unwrap();
        clear(root, &locks, |run| {
            assert_eq!(run, Run(7));
            Ok([oid(2)].into())
        })
        .unwrap();
        assert_eq!(documents(root), [2, 3, 4]);
        assert!(open_loads(root).unwrap().is_empty());
        clear(root, &locks, |_| unreachable!()).unwrap();
    }

    #[test]
    fn a_load_of_another_machine_is_left_alone_for_a_day() {
        let (directory, locks) = archive();
        let root = directory.path();
        let LoadFile(path) = load(root, &[1, 2]);
        let other = root.join(format!("{LOAD}another-boot.0"));
        fs::rename(&path, &other).unwrap();
        let staging = root.join(format!("{STAGING}another-boot.0"));
        fs::create_dir_all(&staging).unwrap();
        clear(root, &locks, |_| Ok([oid(1)].into())).unwrap();
        assert_eq!(documents(root), [1, 2, 3, 4]);
        assert!(staging.exists());
        // If the indexes name all of it, its file is of no use.
        clear(root, &locks, |_| Ok([oid(1), oid(2)].into())).unwrap();
        assert!(!other.exists());
        let LoadFile(path) = load(root, &[1, 2]);
        fs::rename(&path, &other).unwrap();
        let old = SystemTime::now() - LONGEST_LOAD - Duration::from_secs(60);
        for path in [&document(root, 2), &other, &staging] {
            File::open(path).unwrap().set_modified(old).unwrap();
        }
        clear(root, &locks, |_| Ok([oid(1)].into())).unwrap();
        assert_eq!(documents(root), [1, 3, 4]);
        assert!(!staging.exists() && !other.exists());
    }

    #[test]
    fn documents_that_wait_are_removed_when_nobody_writes_any() {
        let (directory, locks) = archive();
        let root = directory.path();
        let load = Load::new(root, locks.documents().unwrap());
        let (waiting, _) = load.create(RUN_HISTORY, &document(root, 5)).unwrap();
        let (path, staging) = (waiting.path().to_path_buf(), find(root, STAGING).unwrap());
        assert_eq!(path.parent(), Some(staging[0].as_path()));
        clear(root, &locks, |_| unreachable!()).unwrap();
        assert!(path.exists());
        // As after a kill.
        let (kept, load) = (std::mem::ManuallyDrop::new(waiting), load._documents);
        drop(load);
        clear(root, &locks, |_| unreachable!()).unwrap();
        assert!(!kept.path().exists() && !staging[0].exists());
    }

    #[test]
    fn a_file_that_was_cut_short_names_what_it_names() {
        let (directory, _) = archive();
        let root = directory.path();
        let LoadFile(path) = load(root, &[1, 2]);
        let text = fs::read(&path).unwrap();
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let lines = text[..length].iter().filter(|byte| **byte == b'\n');
            assert_eq!(open_loads(root).unwrap().len(), lines.count());
        }
        fs::write(&path, b"RunHistory/../x.json 7\n\xff\n RunHistory 7\n").unwrap();
        assert!(open_loads(root).unwrap().is_empty());
    }
}
