//! What the archiver stores in a real MongoDB and what it reads there, against
//! what the real tools store and read.
#![cfg(feature = "mongodb")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::support::mongod::{Kind, Mongod};
use crate::support::{fcl, shared, small_run, text_of};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId, rawdoc};
use run_record_archiver::artdaqdb::mongo::MongoDb;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::error::Disposition;
use run_record_archiver::run::{FclFile, Run};

const COLLECTIONS: [&str; 3] = ["RunHistory", "SystemLayout", "SystemMetadata"];

/// The documents that the real tools stored in a collection.
fn golden(collection: &str) -> Option<Vec<Document>> {
    let path = shared(&format!("golden/mongodb/{collection}.extended.json"))?;
    let text = std::fs::read_to_string(path).unwrap();
    let documents: Vec<Document> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!documents.is_empty());
    Some(documents)
}

/// Loads the documents of the real tools as they stand.
fn load_golden(server: &Mongod) -> Option<()> {
    let archive = server.client("").database("archive");
    for name in COLLECTIONS {
        let collection = archive.collection::<Document>(name);
        collection.insert_many(golden(name)?).run().unwrap();
    }
    Some(())
}

/// The .fcl files of a directory.
fn fcl_files(directory: &Path) -> Vec<FclFile> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<FclFile> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "fcl"))
        .map(|path| {
            fcl(
                path.file_stem().unwrap().to_str().unwrap(),
                &std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort_by(|one, other| one.entity.cmp(&other.entity));
    files
}

/// A document with its types and the order of its fields, without what differs
/// from one load to the next: ObjectIds and time stamps.
fn normal(document: &Document) -> String {
    fn value(out: &mut String, bson: &Bson) {
        let is_time = |text: &str| {
            text.len() == 28 && text.as_bytes()[10] == b'T' && text.as_bytes()[23] == b'+'
        };
        match bson {
            Bson::Document(document) => {
                out.push('{');
                for (key, bson) in document {
                    write!(out, "{key:?}: ").unwrap();
                    value(out, bson);
                    out.push('\n');
                }
                out.push('}');
            }
            Bson::Array(values) => {
                out.push('[');
                for bson in values {
                    value(out, bson);
                    out.push('\n');
                }
                out.push(']');
            }
            Bson::ObjectId(_) => out.push_str("an ObjectId"),
            Bson::String(text) if is_time(text) => out.push_str("a time"),
            other => write!(out, "{other:?}").unwrap(),
        }
    }
    let mut out = String::new();
    value(&mut out, &Bson::Document(document.clone()));
    out
}

/// Documents in an order that does not depend on ids and times.
fn normal_all(documents: &[Document]) -> Vec<String> {
    let mut all: Vec<String> = documents.iter().map(normal).collect();
    all.sort();
    all
}

/// Faults of the real tools that ours must not have: by entity, the lines that
/// ours has and those that theirs has.
const FAULTS: [(&str, &[(&str, &str)]); 2] = [
    // A complex number is cut short.
    (
        "scalars",
        &[(
            r#""cplx": String("(1.5, -2.5)")"#,
            r#""cplx": String("(1.5,")"#,
        )],
    ),
    // A `#` after an escaped quote in a string is taken for a comment.
    (
        "strings",
        &[
            (
                r#""annotation": String("")"#,
                r##""annotation": String("# not a comment\"")"##,
            ),
            (
                r#""comment": String("")"#,
                r##""comment": String("# not a comment\"")"##,
            ),
            (
                r#""comments": [{"linenum": Int32(0)"#,
                r#""comments": [{"linenum": Int32(8)"#,
            ),
            (
                r#""value": String("No comments")"#,
                r##""value": String("# not a comment\"")"##,
            ),
        ],
    ),
];

#[test]
fn documents_are_stored_as_the_real_tools_store_them() {
    let (Some(input), Some(update)) = (shared("golden/db/input"), shared("golden/db/input_update"))
    else {
        return;
    };
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(12500), "BootDAQ", &fcl_files(&input))
        .unwrap();
    db.update(Run(12500), &fcl_files(&update)).unwrap();
    db.publish().unwrap();

    for name in ["RunHistory", "SystemLayout"] {
        let ours = normal_all(&server.documents(name));
        let mut theirs = normal_all(&golden(name).unwrap());
        // They store the same schema again with each update.
        theirs.dedup();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let lines = ours.lines().zip(theirs.lines());
            let differences: Vec<(&str, &str)> = lines.filter(|(a, b)| a != b).collect();
            let faults = FAULTS.iter().find(|(entity, _)| {
                ours.contains(&format!(r#""entities": [{{"name": String("{entity}")"#))
            });
            let expected = faults.map_or(&[][..], |(_, expected)| expected);
            assert_eq!(differences, expected, "{name}");
            assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}");
        }
    }
    let metadata = server.documents("SystemMetadata");
    assert_eq!(metadata.len(), 1);
    let theirs = &golden("SystemMetadata").unwrap()[0];
    assert_eq!(
        shape(&Bson::Document(metadata[0].clone())),
        shape(&Bson::Document(theirs.clone()))
    );
    assert_eq!(
        metadata[0]
            .get_document("document")
            .unwrap()
            .get_str("uri")
            .unwrap(),
        db.location()
    );
}

/// The fields and their types.
fn shape(bson: &Bson) -> String {
    match bson {
        Bson::Document(document) => document
            .iter()
            .map(|(key, value)| format!("{key}({})", shape(value)))
            .collect(),
        other => format!("{:?}", other.element_type()),
    }
}

#[test]
fn a_database_of_the_real_tools_reads_back_as_their_downloader_reads_it() {
    let Some(downloaded) = shared("golden/db/downloaded") else {
        return;
    };
    let Some(server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    load_golden(&server).unwrap();
    let before = COLLECTIONS.map(|name| server.documents(name));
    let db = server.archive();
    assert_eq!(
        db.runs().unwrap(),
        BTreeMap::from([(Run(12500), Presence::Whole)])
    );
    let configuration = db.read(Run(12500)).unwrap();
    assert_eq!(configuration.name, "BootDAQ");
    let mut expected = fcl_files(&downloaded.join("BootDAQ"));
    expected.extend(fcl_files(&downloaded));
    assert_eq!(configuration.files.len(), expected.len());
    for file in &expected {
        assert_eq!(
            text_of(&configuration.files, &file.entity),
            file.text,
            "{}",
            file.entity
        );
    }

    // And it goes on from there.
    db.insert(Run(12501), "BootDAQ", &small_run(12501)).unwrap();
    assert_eq!(db.runs().unwrap().len(), 2);
    assert_eq!(db.read(Run(12501)).unwrap().files.len(), 4);
    assert_eq!(server.documents("SystemMetadata"), before[2]);
    for (name, before) in COLLECTIONS.iter().zip(before) {
        let after = server.documents(name);
        assert!(
            before.iter().all(|document| after.contains(document)),
            "{name}"
        );
    }
}

#[test]
fn every_run_record_of_the_corpus_comes_back() {
    let Some(records) = shared("corpus/run_records") else {
        return;
    };
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    for run in [20101, 8001, 901, 1001506] {
        let mut files = fcl_files(&records.join(run.to_string()));
        assert!(!files.is_empty(), "{run}");
        files.retain(|file| run_record_archiver::fhicl::parse(&file.text).is_ok());
        files.push(fcl("schema", "artdaq_processes: []\n"));
        db.insert(Run(run), "c", &files).unwrap();
        let stored = db.read(Run(run)).unwrap().files;
        assert_eq!(stored.len(), files.len(), "{run}");
        for file in &files {
            let tree = run_record_archiver::fhicl::parse(&file.text).unwrap();
            assert_eq!(
                text_of(&stored, &file.entity),
                run_record_archiver::fhicl::write(&tree),
                "{run} {}",
                file.entity
            );
        }
    }
}

#[test]
fn a_new_archive_has_its_collections_index_and_metadata() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let archive = server.client("").database("archive");
    let db = server.archive();
    // Looking makes nothing.
    assert!(db.runs().unwrap().is_empty());
    assert!(db.read(Run(1)).is_err());
    assert!(archive.list_collection_names().run().unwrap().is_empty());

    db.insert(Run(1), "c", &small_run(1)).unwrap();
    server.archive().insert(Run(2), "c", &small_run(2)).unwrap();
    let mut names = archive.list_collection_names().run().unwrap();
    names.sort();
    assert_eq!(names, COLLECTIONS);
    for name in ["RunHistory", "SystemLayout"] {
        let mut indexes = archive
            .collection::<Document>(name)
            .list_index_names()
            .run()
            .unwrap();
        indexes.sort();
        assert_eq!(indexes, ["_id_", "configurations.name_1"], "{name}");
    }
    assert_eq!(server.documents("SystemMetadata").len(), 1);
    assert_eq!(server.documents("RunHistory").len(), 6);
    assert_eq!(server.documents("SystemLayout").len(), 2);
}

/// Neither listing nor reading looks at the documents of other runs.
#[test]
fn the_index_is_used() {
    let Some(server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let db = server.archive();
    for run in 1..=30 {
        db.insert(Run(run), "c", &small_run(run)).unwrap();
    }
    let archive = server.client("").database("archive");
    archive.run_command(doc! { "profile": 2 }).run().unwrap();
    assert_eq!(db.runs().unwrap().len(), 30);
    db.read(Run(7)).unwrap();
    archive.run_command(doc! { "profile": 0 }).run().unwrap();
    let profile: Vec<Document> = archive
        .collection::<Document>("system.profile")
        .find(doc! { "command.$db": "archive", "ns": { "$regex": "RunHistory|SystemLayout" } })
        .run()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let of = |command: &str, name: &str| -> Vec<&Document> {
        profile
            .iter()
            .filter(|entry| {
                entry
                    .get_document("command")
                    .unwrap()
                    .get_str(command)
                    .is_ok_and(|of| of == name)
            })
            .collect()
    };
    for (name, documents) in [("RunHistory", 3), ("SystemLayout", 1)] {
        let [listing] = of("distinct", name)[..] else {
            panic!("{profile:?}");
        };
        assert_eq!(
            listing.get_str("planSummary").unwrap(),
            "DISTINCT_SCAN { configurations.name: 1 }"
        );
        assert!(listing.get_i32("keysExamined").unwrap() <= 31, "{listing}");
        let [reading] = of("find", name)[..] else {
            panic!("{profile:?}");
        };
        assert_eq!(
            reading.get_i32("docsExamined").unwrap(),
            documents,
            "{reading}"
        );
        assert!(
            reading.get_i32("keysExamined").unwrap() <= documents + 1,
            "{reading}"
        );
    }
}

#[test]
fn an_archive_with_more_names_than_fit_in_one_answer_is_listed() {
    let Some(server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let archive = server.client("").database("archive");
    let long = "n".repeat(900);
    let documents: Vec<RawDocumentBuf> = (0..20_000)
        .map(|run| {
            let spaces = if run % 100 == 0 { " " } else { "" };
            let name = format!("{spaces}{run}/{long}");
            let mut configurations = mongodb::bson::RawArrayBuf::new();
            configurations.push(rawdoc! { "name": name, "assigned": "" });
            rawdoc! { "configurations": configurations }
        })
        .collect();
    for name in ["RunHistory", "SystemLayout"] {
        archive
            .collection::<RawDocumentBuf>(name)
            .insert_many(&documents)
            .run()
            .unwrap();
    }
    let runs = server.archive().runs().unwrap();
    assert_eq!(runs.len(), 20_000);
    assert!(runs.values().all(|presence| *presence == Presence::Whole));
}

/// As the real tools leave it when they are cut short.
#[test]
fn a_run_without_its_schema_is_partial_until_it_is_inserted_again() {
    for kind in [Kind::ReplicaSet, Kind::Standalone] {
        let Some(server) = Mongod::start(kind) else {
            return;
        };
        let db = server.archive();
        db.insert(Run(1), "c", &small_run(1)).unwrap();
        db.insert(Run(2), "c", &small_run(2)).unwrap();
        let archive = server.client("").database("archive");
        archive
            .collection::<Document>("SystemLayout")
            .delete_one(doc! { "configurations.name": "1/c" })
            .run()
            .unwrap();
        archive
            .collection::<Document>("RunHistory")
            .delete_one(doc! { "configurations.name": "1/c", "entities.name": "crt01" })
            .run()
            .unwrap();
        assert_eq!(
            db.runs().unwrap(),
            BTreeMap::from([(Run(1), Presence::Partial), (Run(2), Presence::Whole)])
        );
        let error = db.read(Run(1)).unwrap_err();
        assert_eq!(error.disposition(), Disposition::FailRun);
        assert!(error.to_string().contains("in part only"), "{error}");

        let before = server.documents("RunHistory");
        db.insert(Run(1), "c", &small_run(1)).unwrap();
        assert_eq!(db.runs().unwrap()[&Run(1)], Presence::Whole);
        assert_eq!(db.read(Run(1)).unwrap().files.len(), 4);
        let after = server.documents("RunHistory");
        assert_eq!(after.len(), before.len() + 1);
        assert!(before.iter().all(|document| after.contains(document)));
    }
}

#[test]
fn of_two_documents_of_one_entity_the_later_is_read() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    // More than are looked up at once.
    for value in 1..=20 {
        std::thread::sleep(Duration::from_millis(3));
        db.update(Run(1), &[fcl("tpc01", &format!("mark: {value}00\n"))])
            .unwrap();
    }
    assert_eq!(server.documents("RunHistory").len(), 3 + 20);
    for _ in 0..3 {
        let configuration = server.archive().read(Run(1)).unwrap();
        assert_eq!(configuration.files.len(), 4);
        assert_eq!(text_of(&configuration.files, "tpc01"), "\nmark: 2000 \n");
    }
}

/// The real tools take a run's number with white space before it.
#[test]
fn a_run_whose_name_is_written_in_an_unusual_way_is_listed_and_read() {
    let Some(server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    let archive = server.client("").database("archive");
    for name in ["RunHistory", "SystemLayout"] {
        archive
            .collection::<Document>(name)
            .update_many(
                doc! {},
                doc! { "$set": { "configurations.0.name": " 007/odd name" } },
            )
            .run()
            .unwrap();
    }
    assert_eq!(
        db.runs().unwrap(),
        BTreeMap::from([(Run(7), Presence::Whole)])
    );
    let configuration = db.read(Run(7)).unwrap();
    assert_eq!(configuration.name, "odd name");
    assert_eq!(configuration.files.len(), 4);
}

#[test]
fn a_damaged_document_fails_its_run_alone() {
    let Some(server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let db = server.archive();
    db.insert(Run(1), "c", &small_run(1)).unwrap();
    db.insert(Run(2), "c", &small_run(2)).unwrap();
    let collection = server
        .client("")
        .database("archive")
        .collection::<Document>("RunHistory");
    let victim = collection
        .find_one(doc! { "configurations.name": "1/c" })
        .run()
        .unwrap()
        .unwrap();
    let id: ObjectId = victim.get_object_id("_id").unwrap();
    for damage in [
        doc! { "$unset": { "document.metadata.main": 1 } },
        doc! { "$set": { "document.data.main": 5 } },
        doc! { "$set": { "document": mongodb::bson::DateTime::now() } },
    ] {
        collection
            .update_one(doc! { "_id": id }, damage)
            .run()
            .unwrap();
        let error = db.read(Run(1)).unwrap_err();
        assert_eq!(error.disposition(), Disposition::FailRun, "{error}");
        assert!(error.to_string().contains(&id.to_hex()), "{error}");
        assert!(error.to_string().contains("run 1"), "{error}");
        assert_eq!(db.read(Run(2)).unwrap().files.len(), 4);
        collection
            .replace_one(doc! { "_id": id }, &victim)
            .run()
            .unwrap();
    }
}

/// What MongoDB can't hold is refused by name, and nothing of its run is stored.
#[test]
fn what_does_not_fit_in_mongodb_is_refused() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let db = server.archive();
    let nested = |depth: usize| {
        let open: String = (0..depth).map(|level| format!("t{level}: {{ ")).collect();
        format!("{open} a: 1 {}\n", "}".repeat(depth))
    };
    let large = format!("a: \"{}\"\n", "x".repeat(16 * 1024 * 1024));
    for (text, problem) in [
        (large.as_str(), "MongoDB stores 16777216 at most"),
        (&nested(88), "too deep"),
    ] {
        let mut files = small_run(7);
        files.push(fcl("large01", text));
        let error = db.insert(Run(7), "c", &files).unwrap_err();
        assert_eq!(error.disposition(), Disposition::FailRun);
        let message = error.to_string();
        assert!(
            message.contains("run 7") && message.contains("large01") && message.contains(problem),
            "{message}"
        );
        assert!(db.runs().unwrap().is_empty());
        assert!(server.documents("RunHistory").is_empty());
    }
    // The limits are MongoDB's, not lower ones of ours.
    let large = format!("a: \"{}\"\n", "x".repeat(16 * 1024 * 1024 - 4096));
    for (run, text) in [(8, large.as_str()), (9, &nested(87))] {
        let mut files = small_run(run);
        files.push(fcl("large01", text));
        db.insert(Run(run), "c", &files).unwrap();
        assert_eq!(db.read(Run(run)).unwrap().files.len(), 5);
    }
}

#[test]
fn eight_threads_share_the_connections_that_the_uri_allows() {
    let Some(server) = Mongod::start(Kind::ReplicaSet) else {
        return;
    };
    let admin = server.client("").database("admin");
    let mut base = 0;
    let mut used = Vec::new();
    for limit in [2, 8] {
        let uri = server.uri(&format!("maxPoolSize={limit}&appName=limit{limit}"));
        let db = MongoDb::new(&uri).unwrap();
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let db = &db;
                scope.spawn(move || {
                    for number in 1..=10 {
                        let run = base + worker * 10 + number;
                        db.insert(Run(run), "c", &small_run(run)).unwrap();
                    }
                });
            }
        });
        base += 80;
        assert_eq!(db.runs().unwrap().len() as u64, base);
        let connections = admin
            .aggregate([
                doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
                doc! { "$match": { "appName": format!("limit{limit}") } },
            ])
            .run()
            .unwrap()
            .count();
        used.push(connections);
    }
    let db = server.archive();
    for run in 1..=base {
        let files = db.read(Run(run)).unwrap().files;
        assert!(text_of(&files, "tpc01").contains(&format!("mark: {run} ")));
    }
    // Two more than the pool's are those with which the driver watches the server.
    assert!(used[0] <= 2 + 2 && used[1] > 2 + 2, "{used:?}");
}
