//! Our documents and texts against those of the real tools, byte for byte.

use std::path::Path;

use crate::support::fhicl::{files, read};
use crate::support::shared;
use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;

/// A golden in which the real tools lost or invented something.
struct Fault {
    golden: &'static str,
    reason: &'static str,
    /// What our text has and theirs has not.
    ours: &'static str,
}

const FAULTS: [Fault; 3] = [
    Fault {
        golden: "051c877a6b63",
        reason: "the main part sets `a` anew, and `a` vanished from the prolog",
        ours: "BEGIN_PROLOG\n\na: 5 \n",
    },
    Fault {
        golden: "a5b9cb6d1dae",
        reason: "after an empty string, the `#` in the string \"0x#\" became a comment",
        ours: "\nformat: \"0x#\" \n\n",
    },
    Fault {
        golden: "ac9826ce2449",
        reason: "after an empty string, the `#` in the string \"0x#\" became a comment",
        ours: "\nformat: \"0x#\" \n\n",
    },
];

const HEAD: DocumentHead = DocumentHead {
    oid: "0123456789abcdef01234567",
    collection: "RunHistory",
    entity: "x",
    version: "1/C",
    run: Run(1),
    time: "2026-11-23T07:35:14.122+0000",
};

#[test]
fn documents_and_texts_equal_those_of_the_real_tools() {
    let Some(directory) = shared("golden/fhicl") else {
        return;
    };
    let inputs = files(&directory, ".in.fcl");
    assert!(inputs.len() > 200, "{} goldens", inputs.len());
    for path in inputs {
        let name = path.file_name().unwrap().to_string_lossy();
        let name = name.trim_end_matches(".in.fcl");
        let golden = |suffix: &str| read(&directory.join(format!("{name}.{suffix}")));
        let input = read(&path);
        let tree = fhicl::parse(&input).unwrap_or_else(|e| panic!("{name}: {e}"));
        let json = document::write(&HEAD, &tree);
        let text = fhicl::write(&tree);

        let equal = fhicl_and_comments(&json) == fhicl_and_comments(&golden("doc.json"))
            && text == golden("out.fcl");
        match FAULTS.iter().find(|fault| fault.golden == name) {
            Some(fault) => {
                assert!(!equal, "{name} is equal, although {}", fault.reason);
                assert!(text.contains(fault.ours), "{name}: {text}");
            }
            None => {
                assert_lines(
                    name,
                    &fhicl_and_comments(&json),
                    &fhicl_and_comments(&golden("doc.json")),
                );
                assert_lines(name, &text, &golden("out.fcl"));
            }
        }

        let back = document::read(&json).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_lines(name, &back.text, &text);
        let theirs = document::read(&golden("doc.json")).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_lines(name, &theirs.text, &golden("out.fcl"));
        let again = fhicl::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(again == tree, "{name} reads back as something else");
    }
}

/// The part of a document that holds the FHiCL. The goldens come from a
/// converter, which leaves out the `search` field of stored documents.
fn fhicl_and_comments(json: &str) -> String {
    let end = json.find("\n\"origin\" : {").expect("an origin");
    json[..end].replacen(",\n\"search\" : [\n\n]\n}", "\n}", 1)
}

/// What the real tools stored and gave back of the database's inputs: the two
/// files that show their faults, with what ours has instead.
const STORED_FAULTS: [Fault; 2] = [
    Fault {
        golden: "scalars",
        reason: "a complex number was cut at its blank",
        ours: "\ncplx: (1.5, -2.5) \n",
    },
    Fault {
        golden: "strings",
        reason: "after `\\\"`, the `#` in a later string became a comment",
        ours: "\nhash_in_str: \"value # not a comment\" \n\nslashes_in_str",
    },
];

#[test]
fn stored_documents_equal_those_of_the_real_tools() {
    let Some(directory) = shared("golden/db") else {
        return;
    };
    let mut compared = 0;
    for database in ["after_load", "after_update"] {
        for collection in ["RunHistory", "SystemLayout"] {
            for path in files(&directory.join(database).join(collection), ".json") {
                if !path.ends_with("index.json") {
                    compare_stored(&directory, &path);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 14 + 16);
}

fn compare_stored(directory: &Path, path: &Path) {
    let golden = read(path);
    let stored = document::read(&golden).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let [entity] = &stored.entities[..] else {
        panic!("{}: entities {:?}", path.display(), stored.entities);
    };
    assert_eq!(stored.oid, path.file_stem().unwrap().to_string_lossy());
    assert_eq!(stored.version, "12500/BootDAQ");
    assert_eq!(stored.configurations[0].name, "12500/BootDAQ");
    assert!(
        stored.configurations[0]
            .assigned
            .starts_with("2026-11-23T07:35:")
    );
    assert_eq!(stored.runs, ["12500"]);
    assert!(stored.aliases_active.is_empty());

    let downloaded = if entity == "schema" {
        directory.join("downloaded/schema.fcl")
    } else {
        directory.join(format!("downloaded/BootDAQ/{entity}.fcl"))
    };
    assert_lines(entity, &stored.text, &read(&downloaded));

    let file = format!("{entity}.fcl");
    let input = ["input", "input_update"]
        .map(|inputs| directory.join(inputs).join(&file))
        .into_iter()
        .find(|input| input.exists())
        .expect("the input of a document");
    let input = read(&input);
    let tree = fhicl::parse(&input).unwrap_or_else(|e| panic!("{entity}: {e}"));
    let text = fhicl::write(&tree);
    let head = DocumentHead {
        oid: &stored.oid,
        collection: &stored.collection,
        entity,
        version: &stored.version,
        run: Run(12500),
        time: HEAD.time,
    };
    let ours = document::write(&head, &tree);
    match STORED_FAULTS.iter().find(|fault| fault.golden == entity) {
        Some(fault) => {
            assert_ne!(
                text, stored.text,
                "{entity} is equal, although {}",
                fault.reason
            );
            assert!(text.contains(fault.ours), "{entity}: {text}");
        }
        None => {
            assert_lines(entity, &without_times(&ours), &without_times(&golden));
            assert_lines(entity, &text, &stored.text);
        }
    }
    assert_lines(entity, &document::read(&ours).unwrap().text, &text);
}

fn without_times(json: &str) -> String {
    let lines = json.split('\n').map(|line| {
        let time = line.contains(" : \"2026-11-23T07:35:");
        let comma = if line.ends_with(',') { "," } else { "" };
        match line.split_once(" : ") {
            Some((key @ ("\"timestamp\"" | "\"created\"" | "\"assigned\""), _)) if time => {
                format!("{key}{comma}")
            }
            _ => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The blobs of the existing pipeline hold what the real tools give back for
/// whole run records.
#[test]
fn run_records_come_back_as_from_the_real_tools() {
    let Some(blobs) = shared("golden/blob") else {
        return;
    };
    let Some(records) = shared("corpus/run_records") else {
        return;
    };
    let mut compared = 0;
    for blob in files(&blobs, ".blob") {
        let run = blob.file_stem().unwrap().to_string_lossy().into_owned();
        let blob = read(&blob);
        for path in files(&records.join(&run), ".fcl") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let header = format!("\n#####\n{name}:\n#####\n");
            let start = blob
                .find(&header)
                .unwrap_or_else(|| panic!("{run} has no {name}"));
            let rest = &blob[start + header.len()..];
            let end = rest
                .find("\n#####\n")
                .or_else(|| rest.find("\nEnd of Record\n"));
            let input = read(&path);
            let tree = fhicl::parse(&input).unwrap_or_else(|e| panic!("{run}/{name}: {e}"));
            let text = fhicl::write(&tree);
            assert_lines(&format!("{run}/{name}"), &text, &rest[..end.unwrap()]);
            let json = document::write(&HEAD, &tree);
            assert_lines(&name, &document::read(&json).unwrap().text, &text);
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared} files");
}

/// Asserts that two texts are equal, and shows the first line that is not.
fn assert_lines(name: &str, ours: &str, theirs: &str) {
    if ours == theirs {
        return;
    }
    let mut theirs_lines = theirs.split('\n');
    for (index, line) in ours.split('\n').enumerate() {
        assert_eq!(
            Some(line),
            theirs_lines.next(),
            "{name}: line {}",
            index + 1
        );
    }
    panic!("{name}: ours ends before {:?}", theirs_lines.next());
}
