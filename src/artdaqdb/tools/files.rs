//! The .fcl files on their way to and from the tools, and the temporary
//! directories in which they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use tempfile::TempDir;

use crate::artdaqdb::Documents;
use crate::error::{Error, Result};
use crate::faults;
use crate::faults::fs;
use crate::fhicl;
use crate::run::{FclFile, Run, SCHEMA_ENTITY};

/// What the names of all temporary directories begin with, here and on the
/// remote host.
pub(super) const PREFIX: &str = "run_record_archiver.";

/// No tool may work for that long, so an older temporary directory is one that
/// a process left when it was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Makes a temporary directory, and the first time removes those that killed
/// processes have left.
///
/// # Errors
/// It can't be made.
pub(super) fn temporary_directory() -> Result<TempDir> {
    static SWEEP: Once = Once::new();
    let above = std::env::temp_dir();
    SWEEP.call_once(|| sweep(&above));
    tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(&above)
        .map_err(|source| Error::io("create a directory in", above, source))
}

/// Removes abandoned directories of ours. Best effort: another user's stay.
fn sweep(above: &Path) {
    let Ok(entries) = faults::read_dir(above) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = entry.metadata().ok().filter(fs::Metadata::is_dir);
        let age = age.and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if is_ours && age > Some(ABANDONED) && fs::remove_dir_all(entry.path()).is_ok() {
            log::info!(
                "Removed {}, which a killed execution had left",
                entry.path().display()
            );
        }
    }
}

/// Why the tools can't load one of the files, if so. They take every path that
/// has `.fcl` in it and name its entity after it, and every path that has
/// `schema.fcl` in it for the schema. They fail at an empty file, and at a name that
/// ends a string of JSON.
pub(super) fn refusal(files: &[FclFile]) -> Option<String> {
    let mut entities = BTreeSet::new();
    for FclFile { entity, text } in files {
        let name = format!("{entity}.fcl");
        if entity.is_empty() || entity.contains(['/', '\0']) {
            return Some(format!("{entity:?} can't be the name of a file"));
        }
        if entity != SCHEMA_ENTITY && name.contains("schema.fcl") {
            return Some(format!("bulkloader would store {name} as the schema"));
        }
        if text.trim().is_empty() {
            return Some(format!("bulkloader can't store {name}, which is empty"));
        }
        if entity.contains(['"', '\'', '`', '\\']) || entity.contains(char::is_control) {
            return Some(format!(
                "bulkloader can't store a file of the name {name:?}"
            ));
        }
        if !entities.insert(entity) {
            return Some(format!("{name} is there twice"));
        }
    }
    None
}

/// Checks that every file is FHiCL, before any of them goes into the database.
///
/// # Errors
/// [`Error::Syntax`] of the first that is not.
pub(super) fn check_syntax(run: Run, files: &[FclFile]) -> Result<()> {
    for file in files {
        let document = fhicl::parse(&file.text).map_err(|source| Error::Syntax {
            path: PathBuf::from(format!("{}.fcl", file.entity)),
            source: Box::new(source),
        })?;
        if let Some(warning) = document.warning() {
            log::warn!("run {run}: {}.fcl, {warning}", file.entity);
        }
    }
    Ok(())
}

/// Writes files for bulkloader to find.
///
/// # Errors
/// One can't be written.
pub(super) fn write(files: &[&FclFile], directory: &Path) -> Result<()> {
    for file in files {
        let path = directory.join(format!("{}.fcl", file.entity));
        fs::write(&path, &file.text).map_err(|source| Error::io("write", &path, source))?;
    }
    Ok(())
}

/// Reads what bulkdownloader has left: `schema.fcl`, and the others in a
/// directory that is named after the configuration in a way of its own.
///
/// # Errors
/// A file or directory can't be read.
pub(super) fn read(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let failed = |source: io::Error| Error::io("read", &directory, source);
        for entry in faults::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() {
                directories.push(path);
            } else if let (true, Some(entity)) = (kind.is_file(), name.strip_suffix(".fcl")) {
                let bytes = fs::read(&path).map_err(|source| Error::io("read", &path, source))?;
                files.insert(entity.to_owned(), bytes);
            }
        }
    }
    Ok(files)
}

/// Makes a configuration's files of what was downloaded, if it is what the
/// database has documents of: no more, no less.
pub(super) fn complete(
    mut downloaded: BTreeMap<String, Vec<u8>>,
    documents: &Documents,
) -> Result<Vec<FclFile>, String> {
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for entity in documents.entities.keys() {
        match downloaded.remove(entity).map(String::from_utf8) {
            Some(Ok(text)) => files.push(FclFile {
                entity: entity.clone(),
                text,
            }),
            Some(Err(_)) => return Err(format!("{entity}.fcl is not UTF-8")),
            None => missing.push(entity.as_str()),
        }
    }
    if !missing.is_empty() {
        return Err(format!(
            "{} of {} files are missing: {}",
            missing.len(),
            documents.entities.len(),
            list(&missing)
        ));
    }
    if !downloaded.is_empty() {
        let surplus: Vec<&str> = downloaded.keys().map(String::as_str).collect();
        return Err(format!(
            "there are files of which the run has no documents: {}",
            list(&surplus)
        ));
    }
    Ok(files)
}

/// Names for a message: the first few.
pub(super) fn list(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entity: &str) -> FclFile {
        FclFile {
            entity: entity.into(),
            text: "a: 1\n".into(),
        }
    }

    #[test]
    fn names_that_the_tools_would_mistake_are_refused() {
        assert_eq!(refusal(&[file("schema"), file("tpc01")]), None);
        for entity in [
            "",
            "a/b",
            "x_schema",
            "schema.fcl",
            "a\"b",
            "a'b",
            "a\\b",
            "a\nb",
        ] {
            assert!(refusal(&[file(entity)]).is_some(), "{entity:?}");
        }
        for text in ["", " \n", "\t\r\n"] {
            let mut empty = file("tpc01");
            empty.text = text.into();
            assert!(
                refusal(&[empty]).is_some_and(|it| it.contains("empty")),
                "{text:?}"
            );
        }
        assert!(refusal(&[file("a"), file("a")]).is_some());
    }

    #[test]
    fn only_old_directories_of_ours_are_swept() {
        let above = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * ABANDONED;
        for (name, aged) in [
            ("run_record_archiver.old", true),
            ("run_record_archiver.new", false),
            ("other.old", true),
        ] {
            let path = above.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
            if aged {
                fs::File::open(&path).unwrap().set_modified(old).unwrap();
            }
        }
        sweep(above.path());
        let left: BTreeSet<_> = fs::read_dir(above.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(
            left,
            ["other.old".into(), "run_record_archiver.new".into()].into()
        );
    }

    #[test]
    fn a_download_is_complete_only_if_it_is_just_that() {
        let documents = Documents {
            configurations: vec!["7/c".into()],
            entities: [("schema".into(), 2), ("tpc01".into(), 1)].into(),
        };
        let of = |names: &[&str]| {
            let files = names
                .iter()
                .map(|name| ((*name).to_owned(), b"a: 1\n".to_vec()));
            complete(files.collect(), &documents)
        };
        assert_eq!(
            of(&["tpc01", "schema"]).unwrap(),
            [file("schema"), file("tpc01")]
        );
        assert!(
            of(&["schema"])
                .unwrap_err()
                .ends_with("1 of 2 files are missing: tpc01")
        );
        assert!(of(&["schema", "tpc01", "x"]).unwrap_err().ends_with(": x"));
    }
}
