//! FilesystemDB on disk: archives of the real tools, and archives that something
//! went wrong with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{copy_tree, fcl, shared, small_run, text_of};
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::artdaqdb::{ArtdaqDb, Inserted, NativeDb, Presence};
use run_record_archiver::error::{Disposition, Remedy};
use run_record_archiver::run::Run;

const NO_FILES: [PathBuf; 0] = [];

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

/// The indexes of an archive, to be put back as a program does that writes what it had
/// read before.
fn indexes(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = ["RunHistory", "SystemLayout"].map(|name| root.join(name).join("index.json"));
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

fn put_back(indexes: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in indexes {
        fs::write(path, bytes).unwrap();
    }
}

/// What the real tools leave out of the index when others write.
#[test]
fn documents_and_index_that_differ_are_found() {
    let (_alive, root) = archive();
    let lost = documents(&root, "RunHistory")[0].clone();
    fs::remove_file(&lost).unwrap();
    let before = indexes(&root);
    let db = open(&root);
    db.insert(Run(3), "c", &small_run(3)).unwrap();
    db.publish().unwrap();
    put_back(&before);
    let comparisons = open(&root).compare_indexes().unwrap();
    let (name, comparison) = &comparisons[0];
    assert_eq!(*name, "RunHistory");
    assert_eq!(comparison.documents, 5);
    assert_eq!(comparison.lost.len(), 1);
    assert!(lost.ends_with(format!("{}.json", comparison.lost[0])));
    assert_eq!(comparison.unnamed.len(), 3);
    assert_eq!(comparison.left_over, []);

    let db = open(&root);
    for rebuilt in db.rebuild_indexes().unwrap() {
        assert_eq!(rebuilt.left_out, []);
    }
    assert_eq!(db.read(Run(3)).unwrap().files.len(), 4);
}

#[test]
fn a_rebuild_makes_no_run_whole_of_which_documents_are_lost() {
    let (alive, root) = archive();
    let is_of =
        |run: &'static str| move |path: &PathBuf| fs::read_to_string(path).unwrap().contains(run);
    let all = documents(&root, "RunHistory");
    let (of_first, of_second): (Vec<_>, Vec<_>) = all.into_iter().partition(is_of("\"1/c\""));
    let kept = alive.path().join("kept");
    fs::rename(&of_first[0], &kept).unwrap();
    for path in of_second {
        fs::remove_file(path).unwrap();
    }
    for _ in 0..2 {
        let rebuilt = open(&root).rebuild_indexes().unwrap();
        assert_eq!(rebuilt[0].lost, of_first[..1]);
        let db = open(&root);
        let error = db.read(Run(1)).unwrap_err();
        assert_eq!(error.remedy(), Some(&Remedy::RestoreDocument), "{error}");
        // Nothing is left of the other one but its schema: it is imported again.
        assert_eq!(db.runs().unwrap()[&Run(2)], Presence::Partial);
    }
    fs::rename(&kept, &of_first[0]).unwrap();
    let db = open(&root);
    assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
    db.insert(Run(2), "c", &small_run(2)).unwrap();
    db.publish().unwrap();
    assert_eq!(open(&root).read(Run(2)).unwrap().files.len(), 4);
}

/// The files that loads leave beside the collections.
fn loads(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_of_a_load = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".load.") || name.contains(".staging.")
    };
    paths.filter(is_of_a_load).collect()
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    let (_alive, root) = archive();
    let before = [
        documents(&root, "RunHistory"),
        documents(&root, "SystemLayout"),
    ];
    let db = open(&root);
    let mut files = small_run(3);
    files[2] = fcl("metadata", "x: {\n");
    db.insert(Run(3), "c", &files).unwrap_err();
    db.update(Run(1), &files[2..]).unwrap_err();
    let after = [
        documents(&root, "RunHistory"),
        documents(&root, "SystemLayout"),
    ];
    assert_eq!(after, before);
    db.insert(Run(4), "c", &small_run(4)).unwrap();
    assert_eq!(documents(&root, "RunHistory"), before[0]);
    drop(db);
    assert_eq!(loads(&root), NO_FILES);
}

/// Copies the documents of a run out of one archive into another, where no index names
/// them.
fn leave(from: &Path, to: &Path, is_left: impl Fn(&serde_json::Value) -> bool) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for collection in ["RunHistory", "SystemLayout"] {
        for path in documents(from, collection) {
            let text = fs::read_to_string(&path).unwrap();
            if is_left(&serde_json::from_str(&text).unwrap()) {
                let target = to.join(collection).join(path.file_name().unwrap());
                fs::write(&target, text).unwrap();
                left.push(target);
            }
        }
    }
    left.sort();
    left
}

fn rebuild_leaves_out(root: &Path) -> Vec<PathBuf> {
    let compared = open(root).compare_indexes().unwrap();
    let rebuilt = open(root).rebuild_indexes().unwrap();
    let left_out = rebuilt.into_iter().flat_map(|it| it.left_out);
    let mut left_out: Vec<PathBuf> = left_out.map(|(path, _)| path).collect();
    left_out.sort();
    let left_over = compared.iter().map(|(_, it)| it.left_over.len());
    assert_eq!(left_over.sum::<usize>(), left_out.len());
    assert!(compared.iter().all(|(_, it)| it.unnamed.is_empty()));
    left_out
}

/// As after a kill between the documents and the indexes.
#[test]
fn what_a_killed_load_left_is_in_no_rebuilt_index_and_gone_with_the_next_load() {
    let (_alive, root) = archive();
    let before = indexes(&root);
    let db = open(&root);
    db.insert(Run(3), "c", &small_run(3)).unwrap();
    db.update(Run(1), &[fcl("RunHistory2", "stop: 1\n")])
        .unwrap();
    db.publish().unwrap();
    let mut all = documents(&root, "RunHistory");
    all.extend(documents(&root, "SystemLayout"));
    put_back(&before);
    let named = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let run = if text.contains("\"3/c\"") {
            3
        } else if text.contains("stop") {
            1
        } else {
            return None;
        };
        Some((path.clone(), run))
    };
    let left: Vec<(PathBuf, u64)> = all.iter().filter_map(named).collect();
    assert_eq!(left.len(), 5);
    let lines = left.iter().map(|(path, run)| {
        let path = path.strip_prefix(&root).unwrap();
        format!("{} {run}\n", path.display())
    });
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let file = format!(".run_record_archiver.load.{}.0123456789abcdef", boot.trim());
    fs::write(root.join(&file), lines.collect::<String>()).unwrap();
    fs::create_dir(root.join(file.replace("load", "staging"))).unwrap();

    let paths: Vec<PathBuf> = left.into_iter().map(|(path, _)| path).collect();
    let mut sorted = paths.clone();
    sorted.sort();
    for _ in 0..2 {
        assert_eq!(rebuild_leaves_out(&root), sorted);
        let db = open(&root);
        assert_eq!(db.runs().unwrap().len(), 2);
        assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
    }
    // One of them is archived, the others are removed.
    let db = open(&root);
    db.update(Run(1), &[fcl("RunHistory2", "stop: 2\n")])
        .unwrap();
    db.publish().unwrap();
    drop(db);
    assert_eq!(loads(&root), NO_FILES);
    let there: Vec<_> = paths.iter().filter(|path| path.exists()).collect();
    assert_eq!(there.len(), 1, "{there:?}");
    assert_eq!(open(&root).read(Run(1)).unwrap().files.len(), 5);
    assert_eq!(rebuild_leaves_out(&root), NO_FILES);
}

/// Version 0.1 wrote documents one by one, the schema last, and named them nowhere.
#[test]
fn what_failed_imports_of_version_0_1_left_is_in_no_rebuilt_index() {
    let elsewhere = tempfile::tempdir().unwrap();
    let old = elsewhere.path().join("archive");
    let db = open(&old);
    let mut files = small_run(3);
    files.insert(0, fcl("removed", "stray: 1\n"));
    db.insert(Run(3), "c", &files).unwrap();
    db.insert(Run(4), "c", &small_run(4)).unwrap();
    db.publish().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));

    let (_alive, root) = archive();
    let db = open(&root);
    // Its record was corrected, and lacks a file by now.
    db.insert(Run(3), "c", &small_run(3)).unwrap();
    db.publish().unwrap();
    let is = |value: &serde_json::Value, what: &str| value.to_string().contains(what);
    let mut left = leave(&old, &root, |it| is(it, "\"removed\""));
    left.extend(leave(&old, &root, |it| {
        is(it, "\"4/c\"") && !is(it, "\"schema\"")
    }));
    left.sort();
    assert_eq!(left.len(), 4);
    for _ in 0..2 {
        assert_eq!(rebuild_leaves_out(&root), left);
        assert_eq!(open(&root).runs().unwrap().len(), 3);
        assert_eq!(open(&root).read(Run(3)).unwrap().files.len(), 4);
    }
    // With its schema a run is whole.
    leave(&old, &root, |it| is(it, "\"4/c\""));
    open(&root).rebuild_indexes().unwrap();
    assert_eq!(open(&root).read(Run(4)).unwrap().files.len(), 4);
}

#[test]
fn a_document_of_another_program_is_taken_into_a_rebuilt_index_whatever_it_lacks() {
    let (_alive, root) = archive();
    let ours = documents(&root, "RunHistory")[0].clone();
    let name = ours.file_stem().unwrap().to_str().unwrap();
    let text = fs::read_to_string(&ours).unwrap();
    let (run, other) = match text.contains("\"1/c\"") {
        true => ("\"1/c\"", "\"5/c\""),
        false => ("\"2/c\"", "\"5/c\""),
    };
    let text = text
        .replace(name, "0123456789abcdef01234567")
        .replace(run, other);
    fs::write(ours.with_file_name("0123456789abcdef01234567.json"), text).unwrap();
    for rebuilt in open(&root).rebuild_indexes().unwrap() {
        assert_eq!(rebuilt.left_out, []);
    }
    let runs = open(&root).runs().unwrap();
    assert_eq!(runs.get(&Run(5)), Some(&Presence::Partial));
}

#[test]
fn a_run_that_was_archived_meanwhile_is_a_success_if_it_is_the_same() {
    let (_alive, root) = archive();
    let [first, same, other] = [open(&root), open(&root), open(&root)];
    let mut differs = small_run(3);
    differs[0] = fcl("tpc01", "mark: 100\n");
    // The schema is not the run's.
    let mut files = small_run(3);
    files[3] = fcl("schema", "artdaq_processes: [1]\n");
    first.insert(Run(3), "c", &small_run(3)).unwrap();
    same.insert(Run(3), "c", &files).unwrap();
    other.insert(Run(3), "d", &differs).unwrap();
    for db in [&first, &same, &other] {
        db.insert(Run(4), "c", &small_run(4)).unwrap();
    }
    assert!(first.publish().unwrap().is_empty());
    let before: Vec<_> = documents(&root, "RunHistory")
        .into_iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    assert!(same.publish().unwrap().is_empty());
    let refused = other.publish().unwrap();
    let [(Run(3), error)] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(error.disposition(), Disposition::FailRun);
    let text = error.to_string();
    assert!(
        text.contains("run 3 is archived already, as 3/c, with other content: tpc01"),
        "{text}"
    );
    let after = documents(&root, "RunHistory").into_iter();
    let after: Vec<_> = after.map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(after, before);
    assert_eq!(documents(&root, "SystemLayout").len(), 4);
    // Once it is known, nothing is written.
    assert_eq!(same.insert(Run(3), "c", &files).unwrap(), Inserted::Before);
    assert!(other.insert(Run(3), "c", &differs).is_err());
    drop([first, same, other]);
    assert_eq!(loads(&root), NO_FILES);
}

#[test]
fn what_was_added_to_a_run_meanwhile_is_not_added_again() {
    let (_alive, root) = archive();
    let update = |db: &FilesystemDb, text: &str| {
        db.update(Run(1), &[fcl("RunHistory2", text)]).unwrap();
    };
    let [first, same, other, late] = [open(&root), open(&root), open(&root), open(&root)];
    update(&first, "stop: 1\n");
    update(&same, "stop: 1\n");
    update(&other, "stop: 2\n");
    late.read(Run(1)).unwrap();
    assert!(first.publish().unwrap().is_empty());
    assert!(same.publish().unwrap().is_empty());
    let refused = other.publish().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].1.disposition(), Disposition::RetryRun);
    // One that knew the archive as it was.
    update(&late, "stop: 1\n");
    assert!(late.publish().unwrap().is_empty());
    assert_eq!(documents(&root, "RunHistory").len(), 7);
    update(&other, "stop: 2\n");
    assert!(other.publish().unwrap().is_empty());
    assert_eq!(documents(&root, "RunHistory").len(), 8);
    let files = open(&root).read(Run(1)).unwrap().files;
    assert_eq!(text_of(&files, "RunHistory2"), "\nstop: 2 \n");
}

/// As when another archiver was killed between the two indexes.
#[test]
fn a_run_that_became_partial_meanwhile_is_completed() {
    let (_alive, root) = archive();
    let [slow, killed] = [open(&root), open(&root)];
    slow.insert(Run(3), "c", &small_run(3)).unwrap();
    killed.insert(Run(3), "c", &small_run(3)[..3]).unwrap();
    killed.publish().unwrap();
    assert!(slow.publish().unwrap().is_empty());
    let db = open(&root);
    assert_eq!(db.runs().unwrap()[&Run(3)], Presence::Whole);
    assert_eq!(db.read(Run(3)).unwrap().files.len(), 4);
    assert_eq!(documents(&root, "RunHistory").len(), 9);
    // Not if it became one of another configuration.
    let [slow, killed] = [open(&root), open(&root)];
    slow.insert(Run(4), "c", &small_run(4)).unwrap();
    killed.insert(Run(4), "d", &small_run(4)[..3]).unwrap();
    killed.publish().unwrap();
    assert_eq!(slow.publish().unwrap().len(), 1);
    let stored = open(&root).documents(Run(4)).unwrap().unwrap();
    assert_eq!(stored.configurations, ["4/d"]);
}

#[test]
fn a_collection_on_another_file_system_takes_documents() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), root.join("RunHistory")).unwrap();
    let db = open(&root);
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    assert_eq!(loads(&root).len(), 1);
    db.publish().unwrap();
    assert_eq!(open(&root).read(Run(1)).unwrap().files.len(), 4);
    drop(db);
    assert_eq!(documents(&root, "RunHistory").len(), 3);
}

/// A rebuild would take what is just getting its name for a whole run.
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
    assert_eq!(open(&root).runs().unwrap().len(), 3);
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
