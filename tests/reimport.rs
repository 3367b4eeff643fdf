//! `--reimport`: a record that is another one than was archived is stored anew, in both
//! databases and for the real tools, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::document;
use run_record_archiver::artdaqdb::index::Index;
use run_record_archiver::run::Run;

use crate::support::archiver::Test;
use crate::support::{project, text_of};

fn record(test: &Test, run: u64) -> PathBuf {
    test.records().join(run.to_string())
}

fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "no {old:?} in {}", path.display());
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// The documents of a run, by entity, in the order of their identities.
fn documents(test: &Test, run: u64) -> BTreeMap<String, Vec<(String, String)>> {
    let collection = test.path().join("archive/RunHistory");
    let index = Index::parse(&fs::read_to_string(collection.join("index.json")).unwrap()).unwrap();
    let mut names = index.configurations();
    let name = names.find(|name| name.starts_with(&format!("{run}/")));
    let mut documents: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for oid in index.documents(name.unwrap()) {
        let text = fs::read_to_string(collection.join(format!("{oid}.json"))).unwrap();
        let document = document::read(&text).unwrap();
        for entity in &document.entities {
            let of_entity = documents.entry(entity.clone()).or_default();
            of_entity.push((document.oid.clone(), document.text.clone()));
        }
    }
    documents
}

/// What the real tools read, what the archiver reads and what is in UconDB is the same.
#[track_caller]
fn assert_in_line(test: &Test, run: u64) {
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    for (entity, of_entity) in documents(test, run) {
        let first = &of_entity[0].1;
        assert_eq!(text_of(&stored.files, &entity), first, "{entity}");
        assert!(test.blob(run).contains(first.as_str()), "{entity}");
    }
    test.run(&["--verify", "--runs", &run.to_string()]).exits(0);
}

/// Of each kind of file, what is in it, and what it becomes.
const KINDS: [(&str, &str, &str); 4] = [
    ("tpc01.fcl", "0", "8"),
    ("boot.txt", "0", "9"),
    ("metadata.txt", "Component #0: ", "Component #0: z"),
    ("settings.txt", "1", "2"),
];

#[test]
fn a_byte_in_each_kind_of_file_is_brought_into_both_databases() {
    let samples = fs::read_dir(project("samples/run_records")).unwrap();
    let mut tried = 0;
    for sample in samples {
        let sample = sample.unwrap();
        let name = sample.file_name().into_string().unwrap();
        let (Ok(run), true) = (name.parse::<u64>(), sample.file_type().unwrap().is_dir()) else {
            continue;
        };
        let test = Test::new().sample("run_records", run);
        test.run(&["--incremental"]).exits(0);
        let before = documents(&test, run);
        for (file, old, new) in KINDS {
            let path = record(&test, run).join(file);
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            // What stands alone in comments at the head of a file is not in what artdaqDB
            // gives back.
            let has_old = |line: &&str| line.contains(old) && !line.contains('#');
            let Some(line) = text.lines().rfind(has_old) else {
                continue;
            };
            tried += 1;
            let edited = text.replacen(line, &line.replacen(old, new, 1), 1);
            fs::write(&path, edited).unwrap();
            let ended = test.run(&["--incremental"]);
            let line = ended
                .stderr
                .lines()
                .find(|line| line.contains("another one"));
            let line = line.unwrap_or_else(|| panic!("{name}/{file}: {}", ended.stderr));
            assert!(
                line.contains(&format!("nothing was changed: {file}. If")),
                "{line}"
            );
            ended.exits(1);

            let runs = run.to_string();
            let blob = test.blob(run);
            test.run(&["--reimport", &runs, "--dry-run"])
                .exits(0)
                .says(&format!("Run {run}: "));
            assert_eq!(test.blob(run), blob, "{name}/{file}");
            test.run(&["--reimport", &runs])
                .exits(0)
                .says(&format!("✓ Run {run}: brought up to date in artdaqDB"))
                .says("a new version is stored under its key");
            assert_in_line(&test, run);
            assert_ne!(test.blob(run), blob, "{name}/{file}");
            test.run(&["--incremental"])
                .exits(0)
                .does_not_say("another one")
                .does_not_say("→ Processing");
        }
        // Nothing that was there is gone.
        let after = documents(&test, run);
        for (entity, old) in before {
            assert!(after[&entity].ends_with(&old), "{entity}");
        }
        let report = test.run(&["--report-status"]).exits(0).stdout;
        assert!(!report.contains("Changed:"), "{report}");
    }
    assert!(tried >= 12, "{tried}");
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let test = Test::new().records_in([7, 8]);
    test.run(&["--incremental"]).exits(0);
    edit(&record(&test, 7).join("tpc01.fcl"), "mark: 7", "mark: 70");
    fs::write(record(&test, 7).join("pds.fcl"), "new: 1\n").unwrap();
    fs::remove_file(record(&test, 7).join("crt01.fcl")).unwrap();
    let before = documents(&test, 7);
    test.run(&["--reimport", "7-8", "--dry-run"])
        .exits(0)
        .says("Run 7: differ from the record: tpc01.fcl")
        .says("Run 7: are added: pds.fcl")
        .says("Run 7: artdaqDB keeps what the record does not have: crt01")
        .says("Run 8: artdaqDB has the record as it is");
    assert_eq!(documents(&test, 7), before);
    test.run(&["--reimport", "7-8"])
        .exits(0)
        .says("artdaqDB keeps what the record does not have: crt01");
    let stored = test.artdaqdb().read(Run(7)).unwrap();
    assert_eq!(
        text_of(&stored.files, "tpc01").lines().nth(1),
        Some("mark: 70 ")
    );
    assert!(test.blob(7).contains("crt01.fcl:") && test.blob(7).contains("pds.fcl:"));
    assert_in_line(&test, 7);
    assert_eq!(documents(&test, 8)["tpc01"].len(), 1);
}

/// A run number that was used again.
#[test]
fn another_configuration_name_is_stored_under_the_first_one() {
    let test = Test::new().record(7);
    test.run(&["--incremental"]).exits(0);
    edit(
        &record(&test, 7).join("metadata.txt"),
        "Config name: test",
        "Config name: cosmics laser",
    );
    edit(&record(&test, 7).join("tpc01.fcl"), "mark: 7", "mark: 71");
    test.run(&["--reimport", "7"])
        .exits(0)
        .says("names the configuration \"cosmics laser\"; it is stored as \"test\"");
    let stored = test.artdaqdb().read(Run(7)).unwrap();
    assert_eq!(stored.name, "test");
    assert!(text_of(&stored.files, "metadata").contains("cosmics laser"));
    assert_in_line(&test, 7);
}

#[test]
fn a_run_without_record_is_an_error_and_one_that_is_not_archived_is_imported() {
    let test = Test::new().records_in([7, 8, 9]);
    test.run(&["--runs", "7-8"]).exits(0);
    fs::remove_dir_all(record(&test, 8)).unwrap();
    test.run(&["--reimport", "8"]).exits(1).says("    8: ");
    assert_eq!(test.failures("import_failures.log"), [0; 0]);
    test.run(&["--reimport", "9"]).exits(0);
    assert_eq!(test.migrated(), [7, 8, 9]);
    test.run(&["--reimport", "77"])
        .exits(1)
        .says("there is no such run");
}

#[test]
fn a_record_that_is_no_fhicl_changes_nothing() {
    let test = Test::new().record(7);
    test.run(&["--incremental"]).exits(0);
    fs::write(record(&test, 7).join("tpc01.fcl"), "mark: [\n").unwrap();
    let before = documents(&test, 7);
    test.run(&["--incremental"])
        .exits(1)
        .says("nothing was changed: tpc01.fcl");
    test.run(&["--reimport", "7"]).exits(1).says("tpc01.fcl");
    assert_eq!(documents(&test, 7), before);
}

/// As version 0.1 left it: the stop time in a document that sorts behind the first one,
/// which is the one that the real tools read.
#[test]
fn an_order_of_documents_that_the_real_tools_read_wrong_is_counted_and_repaired() {
    let test = Test::new().records_in([1, 2]).still_going(2);
    test.run(&["--incremental"]).exits(0);
    test.ends(2);
    test.run(&["--incremental"]).exits(0);
    let of_entity = documents(&test, 2)["RunHistory2"].clone();
    let [(low, _), (high, _)] = &of_entity[..] else {
        panic!("{of_entity:?}")
    };
    let collection = test.path().join("archive/RunHistory");
    let path = |oid: &str| collection.join(format!("{oid}.json"));
    let (new, old) = (
        fs::read_to_string(path(low)).unwrap(),
        fs::read_to_string(path(high)).unwrap(),
    );
    fs::write(path(low), old.replace(high, low)).unwrap();
    fs::write(path(high), new.replace(low, high)).unwrap();

    let checked = test.run(&["--check"]);
    let line = "of 1 run(s) the real tools read an older document than the latest, as they take the \
                lowest oid: 2; --reimport 2 puts the latest first";
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
    test.run(&["--reimport", "2", "--dry-run"])
        .exits(0)
        .says("Run 2: are read by the real tools in an older form: RunHistory2.fcl");
    test.run(&["--reimport", "2"])
        .exits(0)
        .does_not_say("two documents that differ");
    assert_in_line(&test, 2);
    let checked = test.run(&["--check"]);
    assert!(!checked.stdout.contains("lowest oid"), "{}", checked.stdout);
}

#[cfg(feature = "mongodb")]
#[test]
fn mongodb_has_each_document_once_and_what_was_replaced_is_kept() {
    use crate::support::mongod::{Kind, Mongod};
    use mongodb::bson::{Document, doc};

    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let Some(server) = Mongod::start(kind) else {
            return;
        };
        let test = Test::new()
            .records_in([1, 2])
            .still_going(2)
            .set("artdaq_db.database_uri", &server.uri(""));
        test.run(&["--incremental"]).exits(0);
        let count = |entity: &str| {
            let archive = server.client("").database("archive");
            let collection = archive.collection::<Document>("RunHistory");
            let of_entity = doc! { "entities.name": entity, "runs.name": "2" };
            collection.count_documents(of_entity).run().unwrap()
        };
        test.ends(2);
        test.run(&["--incremental"])
            .exits(0)
            .says("✓ Run 2: stop time added in artdaqDB");
        edit(&record(&test, 2).join("tpc01.fcl"), "mark: 2", "mark: 22");
        fs::write(record(&test, 2).join("late.fcl"), "late: 1\n").unwrap();
        test.run(&["--incremental"])
            .exits(1)
            .says("nothing was changed: tpc01.fcl");
        assert!(test.blob(2).contains("mark: 2 ") && test.blob(2).contains("late.fcl:"));
        test.run(&["--reimport", "2"]).exits(0);
        assert!(test.blob(2).contains("mark: 22 ") && test.blob(2).contains("stop_time"));
        for entity in ["tpc01", "RunHistory2", "late", "metadata"] {
            assert_eq!(count(entity), 1, "{entity}");
        }
        let kept: Vec<PathBuf> = fs::read_dir(test.work("replaced/2"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let old = |entity: &str| {
            let name = format!("_{entity}.fcl");
            let path = kept
                .iter()
                .find(|path| path.to_str().unwrap().ends_with(&name));
            fs::read_to_string(path.unwrap_or_else(|| panic!("{entity}: {kept:?}"))).unwrap()
        };
        assert!(old("tpc01").contains("mark: 2 "));
        assert!(!old("RunHistory2").contains("stop_time"));
        let whole = kept
            .iter()
            .filter(|path| path.extension().unwrap() == "bson")
            .count();
        assert_eq!(whole * 2, kept.len());
        test.run(&["--verify"]).exits(0);
        test.run(&["--incremental"])
            .exits(0)
            .does_not_say("→ Processing");
    }
}
