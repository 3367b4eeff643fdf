//! The directory in the place of a UconDB server: what its files are, and what
//! it says when they can't be used. What it shares with every UconDB is in
//! `ucondb_contract.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use run_record_archiver::error::{Disposition, Error};
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::directory::DirectoryUconDb;
use run_record_archiver::ucondb::http::HttpSettings;
use run_record_archiver::ucondb::{self, Override, UconDb, UconUrl, Upload};

const RUN: Run = Run(12500);

struct Store {
    db: DirectoryUconDb,
    root: PathBuf,
    _directory: tempfile::TempDir,
}

fn store() -> Store {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    Store {
        db: DirectoryUconDb::new(&root, "ev01", "configuration").unwrap(),
        root,
        _directory: directory,
    }
}

fn put(db: &dyn UconDb, blob: &'static [u8], existing: Override) -> Result<Upload, Error> {
    db.upload(RUN, Bytes::from_static(blob), existing)
}

/// Every file below a directory, without it.
fn files(below: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(files(&path).iter().map(|file| format!("{name}/{file}")));
        } else {
            found.insert(name.to_owned());
        }
    }
    found
}

#[track_caller]
fn assert_failure<T: std::fmt::Debug>(result: Result<T, Error>, words: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.disposition(), Disposition::StopStage, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

#[track_caller]
fn assert_all_fail(db: &dyn UconDb, words: &[&str]) {
    assert_failure(db.check(), words);
    assert_failure(db.runs(), words);
    assert_failure(db.version(RUN), words);
    assert_failure(db.download(RUN), words);
    assert_failure(put(db, b"blob", Override::No), words);
}

#[test]
fn a_blob_is_a_file_for_owner_and_group() {
    let store = store();
    put(&store.db, b"blob", Override::No).unwrap();
    assert_eq!(
        files(&store.root),
        ["ev01/configuration/12500.blob".to_owned()].into()
    );
    let path = store.root.join("ev01/configuration/12500.blob");
    assert_eq!(fs::read(&path).unwrap(), b"blob");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    for directory in ["", "ev01", "ev01/configuration"] {
        let metadata = fs::metadata(store.root.join(directory)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o027, 0, "{directory}");
    }
}

#[test]
fn an_override_keeps_what_it_replaces() {
    let store = store();
    for blob in [b"first", b"secnd", b"third"] {
        put(&store.db, blob, Override::Yes).unwrap();
    }
    let expected = [
        "12500.blob",
        "replaced/12500.1.blob",
        "replaced/12500.2.blob",
    ]
    .map(|file| format!("ev01/configuration/{file}"));
    assert_eq!(files(&store.root), expected.into());
    let object = store.root.join("ev01/configuration");
    assert_eq!(fs::read(object.join("12500.blob")).unwrap(), b"third");
    let replaced = object.join("replaced");
    assert_eq!(fs::read(replaced.join("12500.1.blob")).unwrap(), b"first");
    assert_eq!(fs::read(replaced.join("12500.2.blob")).unwrap(), b"secnd");
}

#[test]
fn an_override_that_ended_early_keeps_nothing_twice() {
    let store = store();
    put(&store.db, b"first", Override::No).unwrap();
    let object = store.root.join("ev01/configuration");
    fs::create_dir(object.join("replaced")).unwrap();
    fs::hard_link(
        object.join("12500.blob"),
        object.join("replaced/12500.1.blob"),
    )
    .unwrap();
    put(&store.db, b"secnd", Override::Yes).unwrap();
    let expected = ["12500.blob", "replaced/12500.1.blob"];
    let expected = expected.map(|file| format!("ev01/configuration/{file}"));
    assert_eq!(files(&store.root), expected.into());
    assert_eq!(fs::read(object.join("12500.blob")).unwrap(), b"secnd");
}

#[test]
fn parallel_overrides_lose_no_version() {
    let store = store();
    thread::scope(|scope| {
        for writer in 0..8_u8 {
            let db = &store.db;
            scope.spawn(move || {
                for count in 0..5_u8 {
                    let blob = Bytes::from(vec![writer, count]);
                    db.upload(RUN, blob, Override::Yes).unwrap();
                }
            });
        }
    });
    let found = files(&store.root);
    assert_eq!(found.len(), 40);
    let blobs: BTreeSet<Vec<u8>> = found
        .iter()
        .map(|file| fs::read(store.root.join(file)).unwrap())
        .collect();
    assert_eq!(blobs.len(), 40);
}

#[test]
fn what_is_no_run_is_no_run() {
    let store = store();
    put(&store.db, b"blob", Override::Yes).unwrap();
    put(&store.db, b"blob", Override::Yes).unwrap();
    let object = store.root.join("ev01/configuration");
    for name in [
        ".upload-x1y2z3",
        "007.blob",
        "8.blob.gz",
        "9",
        "notes.blob",
        ".blob",
        "\u{e9}.blob",
    ] {
        fs::write(object.join(name), "").unwrap();
    }
    assert_eq!(store.db.runs().unwrap(), BTreeSet::from([RUN]));
}

#[test]
fn a_store_that_cannot_be_read_is_never_empty() {
    let store = store();
    fs::write(&store.root, "a file in the place of the store").unwrap();
    let root = store.root.to_str().unwrap();
    assert_all_fail(&store.db, &[root]);
    fs::remove_file(&store.root).unwrap();
    fs::create_dir_all(store.root.join("ev01")).unwrap();
    fs::write(store.root.join("ev01/configuration"), "").unwrap();
    assert_all_fail(&store.db, &["ev01/configuration"]);
}

#[test]
fn a_blob_that_cannot_be_read_is_named() {
    let store = store();
    let blob = store.root.join("ev01/configuration/12500.blob");
    fs::create_dir_all(&blob).unwrap();
    let name = blob.to_str().unwrap();
    // Whether the run is at fault or the store is found out by trying.
    let text = |error: Error| {
        assert_eq!(error.disposition(), Disposition::RetryRun);
        error.to_string()
    };
    for text in [
        text(store.db.version(RUN).unwrap_err()),
        text(store.db.download(RUN).unwrap_err()),
    ] {
        assert!(
            text.contains("cannot read") && text.contains(name),
            "{text}"
        );
    }
}

#[test]
fn a_store_on_a_file_system_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("not-mounted/store");
    let db = DirectoryUconDb::new(&root, "ev01", "configuration").unwrap();
    assert_all_fail(&db, &["not-mounted"]);
    assert_eq!(files(directory.path()), BTreeSet::new());
}

#[test]
fn urls_and_names_that_cannot_be_used_are_refused() {
    for url in ["file://host/store", "file:", "store", "http://h/app"] {
        DirectoryUconDb::from_url(url, "ev01", "configuration").unwrap_err();
    }
    for name in ["", ".", "..", "a/b", ".hidden", "a\0"] {
        let root = Path::new("/nowhere");
        let folder = DirectoryUconDb::new(root, name, "configuration");
        assert_failure(folder, &["ucon_db.folder_name"]);
        let object = DirectoryUconDb::new(root, "ev01", name);
        assert_failure(object, &["ucon_db.object_name"]);
    }
}

#[test]
fn the_url_decides_what_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("a store");
    let url = format!("file://{}/a%20store", directory.path().display());
    let open = |url: &str| {
        let url = UconUrl::parse(url).unwrap();
        ucondb::open(HttpSettings::new(url, "ev01", "configuration", "", "")).unwrap()
    };
    let db = open(&url);
    put(&*db, b"blob", Override::No).unwrap();
    assert!(root.join("ev01/configuration/12500.blob").is_file());
    assert!(db.location().starts_with("file:///"), "{}", db.location());
    let url = "http://127.0.0.1:1/app";
    let db = open(url);
    assert_eq!(db.location(), "http://127.0.0.1:1/app (ev01/configuration)");
}
