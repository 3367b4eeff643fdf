//! Whole run records against what the archive's pipeline has made of them:
//! each file, in artdaqDB's layout, as it stands in the blob.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use run_record_archiver::fhicl;
use run_record_archiver::run::Run;
use run_record_archiver::run_record::{Generated, Options, RunRecord};

/// Where ours differs, and why.
const DIFFERENT: [(u64, &str, &str); 5] = [
    (
        904,
        "settings",
        "the reference renames the package artdaq-demo to artdaq_demo",
    ),
    (950, "settings", "as in run 904"),
    (
        20101,
        "settings",
        "the reference takes `false #true` for a string",
    ),
    (
        8001,
        "setup",
        "the real tools take the first `#` within the script for a comment and repeat what follows",
    ),
    (20101, "setup", "as in run 8001"),
];

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing in CI",
        path.display()
    );
    eprintln!("skipped: {} is missing", path.display());
    None
}

/// The files of a blob by entity.
fn unpack(blob: &str) -> BTreeMap<String, String> {
    let end = blob.rfind("\nEnd of Record\n").expect("an end");
    blob[..end]
        .split("\n#####\n")
        .skip(1)
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| {
            let entity = pair[0].strip_suffix(".fcl:").expect("a file name");
            (entity.to_string(), pair[1].to_string())
        })
        .collect()
}

fn compare(run: u64) {
    let Some(shared) = shared() else { return };
    let bytes = fs::read(shared.join(format!("golden/blob/{run}.blob"))).expect("readable");
    let blob = unpack(&String::from_utf8_lossy(&bytes));
    let generate = BTreeSet::from(Generated::ALL);
    let path = shared.join(format!("corpus/run_records/{run}"));
    let options = Options {
        generate: &generate,
    };
    let record = RunRecord::read(Run(run), &path, &options).expect("a run record");
    assert!(record.update.has_stop_time);

    let ours: BTreeMap<String, String> = record
        .files
        .into_iter()
        .chain(record.update.files)
        .map(|file| {
            let document = fhicl::parse(&file.text)
                .unwrap_or_else(|error| panic!("{run}: {}.fcl is not FHiCL: {error}", file.entity));
            (file.entity, fhicl::write(&document))
        })
        .collect();

    let mut entities: BTreeSet<&String> = blob.keys().collect();
    entities.remove(&"schema".to_string());
    assert_eq!(ours.keys().collect::<BTreeSet<_>>(), entities);
    let mut wrong = Vec::new();
    for (entity, ours) in &ours {
        let listed = DIFFERENT
            .iter()
            .find(|(of, listed, _)| *of == run && listed == entity);
        match (*ours == blob[entity], listed) {
            (true, Some((_, _, reason))) => {
                wrong.push(format!("{entity} is the same, but listed: {reason}"));
            }
            (false, None) => {
                let at = ours
                    .bytes()
                    .zip(blob[entity].bytes())
                    .take_while(|(ours, reference)| ours == reference)
                    .count();
                let end = |text: &str| text.get(at..).unwrap_or_default().to_string();
                wrong.push(format!(
                    "{entity}, byte {at}: {:.100?} and not {:.100?}",
                    end(ours),
                    end(&blob[entity])
                ));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "run {run}:\n{}", wrong.join("\n"));
}

#[test]
fn run_904() {
    compare(904);
}

#[test]
fn run_950() {
    compare(950);
}

#[test]
fn run_8001_of_icarus() {
    compare(8001);
}

#[test]
fn run_20101_of_sbnd() {
    compare(20101);
}
