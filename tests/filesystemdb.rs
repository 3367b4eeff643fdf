//! FilesystemDB on disk: archives of the real tools, and archives that something
//! went wrong with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{copy_tree, fcl, shared, small_run, text_of};
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::error::{Disposition, Remedy};
use run_record_archiver::run::Run;

fn open(root: &Path) -> FilesystemDb {
    FilesystemDb::new(&format!("filesystemdb://{}", root.display())).unwrap()
}

/// The documents of a collection, index aside.
fn documents(root: &Path, collection: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root.join(collection))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "index.json")
        .collect();
    paths.sort();
    paths
}

/// An archive with runs 1 and 2 in a new directory.
fn archive() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    let db = open(&root);
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    db.insert(Run(2), "c", &small_run(2)).unwrap();
    db.publish().unwrap();
    (directory, root)
}

#[test]
fn an_archive_that_vanished_since_its_runs_were_listed_is_not_made_anew() {
    let (_directory, root) = archive();
    let db = open(&root);
    db.runs().unwrap();
    db.insert(Run(3), "c", &small_run(3)).unwrap();
    let away = root.with_extension("away");
    fs::rename(&root, &away).unwrap();
    for is_mount_point in [false, true] {
        if is_mount_point {
            fs::create_dir(&root).unwrap();
        }
        for error in [
            db.insert(Run(4), "c", &small_run(4)).unwrap_err(),
            db.read(Run(1)).unwrap_err(),
        ] {
            assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
            assert!(error.to_string().contains("is it mounted?"), "{error}");
        }
        assert_eq!(root.exists(), is_mount_point);
    }
    let error = db.publish().unwrap_err();
    assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
    assert!(!root.join("RunHistory").exists());

    fs::remove_dir_all(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    db.insert(Run(4), "c", &small_run(4)).unwrap();
    db.publish().unwrap();
    let runs: Vec<Run> = open(&root).runs().unwrap().into_keys().collect();
    assert_eq!(runs, [Run(1), Run(2), Run(4)]);
}

#[test]
fn an_archive_of_the_real_tools_reads_back_as_their_downloader_reads_it() {
    let Some(golden) = shared("golden/db") else {
        return;
    };
    let db = open(&golden.join("after_update"));
    assert_eq!(
        db.runs().unwrap(),
        BTreeMap::from([(Run(12500), Presence::Whole)])
    );
    let configuration = db.read(Run(12500)).unwrap();
    assert_eq!(configuration.name, "BootDAQ");

    let mut expected = documents(&golden, "downloaded/BootDAQ");
    expected.push(golden.join("downloaded/schema.fcl"));
    assert_eq!(configuration.files.len(), expected.len());
    for path in expected {
        let entity = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text_of(&configuration.files, entity), text, "{entity}");
    }
}

#[test]
fn an_index_of_the_real_tools_is_written_as_they_write_it() {
    let Some(golden) = shared("golden/db") else {
        return;
    };
    for state in ["after_load", "after_update"] {
        for collection in ["RunHistory", "SystemLayout"] {
            let text =
                fs::read_to_string(golden.join(state).join(collection).join("index.json")).unwrap();
            assert_eq!(
                Index::parse(&text).unwrap().write(),
                text.trim_end(),
                "{state}/{collection}"
            );
        }
    }
}

#[test]
fn a_run_can_be_added_to_an_archive_of_the_real_tools() {
    let Some(golden) = shared("golden/db") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("db");
    copy_tree(&golden.join("after_update"), &root);
    let before = documents(&root, "SystemMetadata");
    let db = open(&root);
    db.insert(Run(12501), "BootDAQ", &small_run(12501)).unwrap();
    db.publish().unwrap();
    let db = open(&root);
    assert_eq!(db.runs().unwrap().len(), 2);
    assert_eq!(db.read(Run(12500)).unwrap().files.len(), 15);
    assert_eq!(db.read(Run(12501)).unwrap().files.len(), 4);
    assert_eq!(documents(&root, "SystemMetadata"), before);
    let text = fs::read_to_string(root.join("RunHistory/index.json")).unwrap();
    assert_eq!(
        Index::parse(&text).unwrap().len(),
        documents(&root, "RunHistory").len()
    );
}

#[test]
fn a_new_archive_has_the_layout_of_the_real_tools() {
    let (_alive, root) = archive();
    assert_eq!(documents(&root, "RunHistory").len(), 6);
    assert_eq!(documents(&root, "SystemLayout").len(), 2);
    let metadata = documents(&root, "SystemMetadata");
    assert_eq!(metadata.len(), 1);
    let metadata: serde_json::Value =
        serde_json::from_slice(&fs::read(&metadata[0]).unwrap()).unwrap();
    assert_eq!(metadata["document"]["name"], "artdaq");
    assert_eq!(metadata["document"]["database_format"], 3);
    for collection in ["RunHistory", "SystemLayout"] {
        let text = fs::read_to_string(root.join(collection).join("index.json")).unwrap();
        let index = Index::parse(&text).unwrap();
        assert_eq!(index.len(), documents(&root, collection).len());
        for document in documents(&root, collection) {
            let document: serde_json::Value =
                serde_json::from_slice(&fs::read(document).unwrap()).unwrap();
            assert_eq!(document["collection"], collection);
        }
    }
}

#[test]
fn an_archive_that_was_begun_and_no_more_gets_its_metadata() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    fs::create_dir_all(root.join("SystemMetadata")).unwrap();
    open(&root).insert(Run(1), "c", &small_run(1)).unwrap();
    assert_eq!(documents(&root, "SystemMetadata").len(), 1);
}

#[test]
fn a_uri_is_taken_as_the_real_tools_take_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive");
    for uri in [
        format!("filesystemdb://{}/", path.display()),
        format!("filesystemdb://{}", path.display()),
    ] {
        assert_eq!(FilesystemDb::new(&uri).unwrap().root(), path);
    }
    let home = std::env::var("HOME").unwrap();
    let db = FilesystemDb::new("filesystemdb://$HOME/a${HOME}").unwrap();
    assert_eq!(db.root(), Path::new(&format!("{home}/a{home}")));
    for (uri, problem) in [
        ("filesystemdb://relative", "absolute path"),
        ("filesystemdb://", "absolute path"),
        ("filesystemdb:///$NOT_SET_ANYWHERE/x", "NOT_SET_ANYWHERE"),
        ("filesystemdb:///${HOME", "not closed"),
    ] {
        let error = FilesystemDb::new(uri).unwrap_err().to_string();
        assert!(
            error.contains(problem) && error.contains("database_uri"),
            "{error}"
        );
    }
}

/// Nothing that can't be read is ever taken for empty, nor changed.
#[test]
fn a_damaged_index_is_an_error_that_changes_nothing() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("missing", |index| fs::remove_file(index).unwrap()),
        ("empty", |index| fs::write(index, "").unwrap()),
        ("cut short", |index| {
            let text = fs::read(index).unwrap();
            fs::write(index, &text[..text.len() / 2]).unwrap();
        }),
        ("not UTF-8", |index| {
            fs::write(index, b"{\"ouid\": [\"\xff\"]}").unwrap()
        }),
    ];
    for collection in ["RunHistory", "SystemLayout"] {
        for (name, damage) in &damages {
            let (_alive, root) = archive();
            let index = root.join(collection).join("index.json");
            damage(&index);
            let before = fs::read(&index).ok();
            let db = open(&root);
            for error in [
                db.runs().unwrap_err(),
                db.read(Run(1)).unwrap_err(),
                db.insert(Run(3), "c", &small_run(3)).unwrap_err(),
            ] {
                assert_eq!(
                    error.disposition(),
                    Disposition::StopStage,
                    "{name}: {error}"
                );
                let text = error.to_string();
                assert!(
                    text.contains("index.json") && text.contains("--rebuild-index"),
                    "{name}: {text}"
                );
            }
            assert_eq!(fs::read(&index).ok(), before, "{name}");
        }
    }
}

#[test]
fn a_damaged_document_fails_its_run_alone() {
    let (_alive, root) = archive();
    for (number, bytes) in [None, Some(&b""[..]), Some(b"{"), Some(b"[]"), Some(b"\xff")]
        .into_iter()
        .enumerate()
    {
        let victim = documents(&root, "RunHistory")
            .into_iter()
            .find(|path| {
                fs::read_to_string(path)
                    .unwrap_or_default()
                    .contains("\"1/c\"")
            })
            .unwrap();
        let whole = fs::read(&victim).unwrap();
        match bytes {
            None => fs::remove_file(&victim).unwrap(),
            Some(bytes) => fs::write(&victim, bytes).unwrap(),
        }
        let db = open(&root);
        let error = db.read(Run(1)).unwrap_err();
        // One that is not there may be back when the disk is.
        let expected = match bytes {
            None => Disposition::RetryRun,
            Some(_) => Disposition::FailRun,
        };
        assert_eq!(error.disposition(), expected, "{number}: {error}");
        let name = victim.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(db.read(Run(2)).unwrap().files.len(), 4);
        fs::write(&victim, whole).unwrap();
    }
}

#[test]
fn a_document_under_the_wrong_run_is_never_returned() {
    let (_alive, root) = archive();
    let of = |run: &str| {
        let mark = format!("\"{run}/c\"");
        documents(&root, "RunHistory")
            .into_iter()
            .find(|path| fs::read_to_string(path).unwrap().contains(&mark))
            .unwrap()
    };
    fs::copy(of("2"), of("1")).unwrap();
    let error = open(&root).read(Run(1)).unwrap_err().to_string();
    assert!(error.contains("belongs to 2/c"), "{error}");
}

/// As after a kill between the two indexes.
#[test]
fn a_run_without_its_schema_is_partial_and_is_completed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    let db = open(&root);
    let files = small_run(1);
    let (schema, others) = files.split_last().unwrap();
    assert_eq!(schema.entity, "schema");
    db.insert(Run(1), "c", others).unwrap();
    db.publish().unwrap();

    let db = open(&root);
    assert_eq!(
        db.runs().unwrap(),
        BTreeMap::from([(Run(1), Presence::Partial)])
    );
    let error = db.read(Run(1)).unwrap_err().to_string();
    assert!(
        error.contains("in part only") && error.contains("--import-only"),
        "{error}"
    );
    let before = documents(&root, "RunHistory");
    db.insert(Run(1), "c", &files).unwrap();
    db.publish().unwrap();
    let db = open(&root);
    assert_eq!(
        db.runs().unwrap(),
        BTreeMap::from([(Run(1), Presence::Whole)])
    );
    assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
    assert_eq!(documents(&root, "RunHistory"), before);
}

/// The real tools rewrite the index in place and without a lock.
#[test]
fn what_a_foreign_writer_added_is_kept() {
    let (_alive, root) = archive();
    let db = open(&root);
    assert_eq!(db.runs().unwrap().len(), 2);
    db.insert(Run(3), "c", &small_run(3)).unwrap();

    let other = open(&root);
    other.insert(Run(4), "c", &small_run(4)).unwrap();
    other.publish().unwrap();
    for collection in ["RunHistory", "SystemLayout"] {
        // In place: the same inode.
        let index = root.join(collection).join("index.json");
        let text = fs::read(&index).unwrap();
        fs::write(&index, text).unwrap();
    }
    db.publish().unwrap();
    let runs: Vec<Run> = open(&root).runs().unwrap().into_keys().collect();
    assert_eq!(runs, [Run(1), Run(2), Run(3), Run(4)]);
}

/// The archiver of old writes versions `R/C` and `R/Cv1` and loads a run twice.
#[test]
fn of_two_documents_of_one_entity_the_later_is_read() {
    let (_alive, root) = archive();
    let update = |text: &str| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let db = open(&root);
        db.update(Run(1), &[fcl("tpc01", text)]).unwrap();
        db.publish().unwrap();
    };
    update("mark: 100\n");
    update("mark: 200\n");
    for _ in 0..3 {
        let configuration = open(&root).read(Run(1)).unwrap();
        assert_eq!(configuration.files.len(), 4);
        assert_eq!(text_of(&configuration.files, "tpc01"), "\nmark: 200 \n");
    }
}

#[test]
fn an_unreadable_archive_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    fs::write(&root, "a file").unwrap();
    let db = open(&root);
    assert!(db.runs().is_err());
    assert!(db.insert(Run(1), "c", &small_run(1)).is_err());
}

/// A rebuilt index says what the index said that was lost.
#[test]
fn an_index_can_be_rebuilt_from_the_documents() {
    let (_alive, root) = archive();
    let paths = ["RunHistory", "SystemLayout"].map(|name| root.join(name).join("index.json"));
    let before = paths
        .each_ref()
        .map(|path| Index::parse(&fs::read_to_string(path).unwrap()).unwrap());
    fs::remove_file(&paths[0]).unwrap();
    fs::write(&paths[1], "{\"ouid\": [").unwrap();

    let rebuilt = open(&root).rebuild_indexes().unwrap();
    assert_eq!(
        rebuilt.iter().map(|one| one.documents).collect::<Vec<_>>(),
        [6, 2]
    );
    assert_eq!(rebuilt[0].kept, None);
    let kept = rebuilt[1].kept.as_ref().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "{\"ouid\": [");
    for (path, before) in paths.iter().zip(before) {
        let after = Index::parse(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(after.oids(), before.oids());
        for name in ["1/c", "2/c"] {
            assert_eq!(after.documents(name), before.documents(name));
        }
    }
    let db = open(&root);
    assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
    for (collection, comparison) in db.compare_indexes().unwrap() {
        assert!(
            comparison.lost.is_empty() && comparison.unnamed.is_empty(),
            "{collection}"
        );
    }
}

#[test]
fn the_index_of_the_real_tools_is_rebuilt_as_they_would_have_it() {
    let Some(golden) = shared("golden/db/after_update") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("db");
    copy_tree(&golden, &root);
    open(&root).rebuild_indexes().unwrap();
    for collection in ["RunHistory", "SystemLayout"] {
        let index = |root: &Path| {
            let text = fs::read_to_string(root.join(collection).join("index.json")).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        assert_eq!(index(&root), index(&golden), "{collection}");
    }
}

#[test]
fn an_index_without_a_document_that_can_not_be_read_is_never_made() {
    let (_alive, root) = archive();
    let victim = &documents(&root, "RunHistory")[0];
    fs::write(victim, "{").unwrap();
    let index = root.join("RunHistory/index.json");
    let before = fs::read(&index).unwrap();
    let error = open(&root).rebuild_indexes().unwrap_err().to_string();
    assert!(
        error.contains(victim.to_str().unwrap()) && error.contains("Nothing was changed"),
        "{error}"
    );
    assert_eq!(fs::read(&index).unwrap(), before);
}

/// What the real tools leave out of the index when two of them write.
#[test]
fn documents_and_index_that_differ_are_found() {
    let (_alive, root) = archive();
    let lost = documents(&root, "RunHistory")[0].clone();
    fs::remove_file(&lost).unwrap();
    open(&root).insert(Run(3), "c", &small_run(3)).unwrap();
    let comparisons = open(&root).compare_indexes().unwrap();
    let (name, comparison) = &comparisons[0];
    assert_eq!(*name, "RunHistory");
    assert_eq!(comparison.documents, 5);
    assert_eq!(comparison.lost.len(), 1);
    assert!(lost.ends_with(format!("{}.json", comparison.lost[0])));
    assert_eq!(comparison.unnamed.len(), 3);

    let db = open(&root);
    db.rebuild_indexes().unwrap();
    assert_eq!(db.read(Run(3)).unwrap().files.len(), 4);
}

/// A rebuild would take the documents of a load that is under way for a whole run.
#[test]
fn a_rebuild_waits_until_documents_that_were_written_are_published() {
    let (_directory, root) = archive();
    let db = open(&root);
    db.insert(Run(3), "c", &small_run(3)).unwrap();
    std::thread::scope(|scope| {
        let rebuild = scope.spawn(|| open(&root).rebuild_indexes().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!rebuild.is_finished());
        db.publish().unwrap();
        rebuild.join().unwrap();
    });
    assert_eq!(open(&root).runs().unwrap().len(), 3);
    // A load that is given up keeps no rebuild off either.
    db.insert(Run(4), "c", &small_run(4)).unwrap();
    drop(db);
    open(&root).rebuild_indexes().unwrap();
}

#[test]
fn reading_an_archive_creates_no_file() {
    let (_directory, root) = archive();
    let list = || {
        let entries = fs::read_dir(&root).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for lock in [
        ".run_record_archiver.lock",
        ".run_record_archiver.documents.lock",
    ] {
        fs::remove_file(root.join(lock)).unwrap();
    }
    let before = list();
    let db = open(&root);
    db.runs().unwrap();
    db.read(Run(1)).unwrap();
    db.compare_indexes().unwrap();
    assert_eq!(list(), before);
}

#[test]
fn what_caused_a_failure_and_what_to_do_are_values() {
    let (_directory, root) = archive();
    let document = documents(&root, "RunHistory").remove(0);
    fs::remove_file(&document).unwrap();
    let errors = [1, 2].map(|run| open(&root).read(Run(run)).err());
    let error = errors.into_iter().flatten().next().unwrap();
    assert_eq!(error.remedy(), Some(&Remedy::RestoreDocument));
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.is::<std::io::Error>(), "{cause:?}");
    fs::write(root.join("RunHistory/index.json"), "{").unwrap();
    let error = open(&root).runs().unwrap_err();
    assert_eq!(error.remedy(), Some(&Remedy::RebuildIndex));
    let end = "Nothing was changed. Restore the index from a backup, or have a new one made of \
               the documents beside it with --rebuild-index";
    assert!(error.to_string().ends_with(end), "{error}");
}
