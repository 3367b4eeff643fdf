//! Run records and archives to measure with.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use run_record_archiver::artdaqdb::index::{Entry, Index, Oid};

/// The files of an SBND record.
const FILES: usize = 97;
/// Documents of a run in an index.
const ENTITIES: usize = 60;

/// Makes run records, all of them links to one record of SBND.
pub fn links_to_record(directory: &Path, runs: impl Iterator<Item = u64>) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/run_records/20101");
    let record = match real.is_dir() {
        true => real.canonicalize().expect("a path"),
        false => generated(&directory.with_file_name("record")),
    };
    for run in runs {
        symlink(&record, directory.join(run.to_string())).expect("a link");
    }
}

/// A record of the size of a real one.
fn generated(directory: &Path) -> PathBuf {
    fs::create_dir(directory).expect("a directory");
    for file in 0..FILES {
        let mut text = String::from("# generated\ndaq: {\n  fragment_receiver: {\n");
        for channel in 0..400 {
            let _ = writeln!(
                text,
                "    channel_{channel}: {{ pedestal: {file} gain: 1.5e{channel} mask: [0, 1, 2] }}"
            );
        }
        text.push_str("  }\n}\n");
        fs::write(directory.join(format!("component{file:02}.fcl")), text).expect("a file");
    }
    let metadata = "Config name: bench\n\nDAQInterface start time: Mon Nov 23 07:35:14 UTC 2026\n\
                    DAQInterface stop time: Mon Nov 23 08:35:14 UTC 2026\n";
    fs::write(directory.join("metadata.txt"), metadata).expect("a file");
    directory.to_path_buf()
}

/// Records of two small files each, which have a stop time or not.
pub fn tiny_records(directory: &Path, runs: u64, have_ended: bool) {
    let stop = match have_ended {
        true => "DAQInterface stop time: Mon Nov 23 08:35:14 UTC 2026\n",
        false => "",
    };
    for run in 1..=runs {
        let record = directory.join(run.to_string());
        fs::create_dir(&record).expect("a directory");
        fs::write(record.join("tpc01.fcl"), format!("mark: {run}\n")).expect("a file");
        let metadata = format!(
            "Config name: bench\n\nDAQInterface start time: Mon Nov 23 07:35:14 UTC 2026\n{stop}"
        );
        fs::write(record.join("metadata.txt"), metadata).expect("a file");
    }
}

/// Records that are no FHiCL.
pub fn broken_records(directory: &Path, runs: u64) {
    for run in 1..=runs {
        let record = directory.join(run.to_string());
        fs::create_dir(&record).expect("a directory");
        fs::write(record.join("tpc01.fcl"), "mark: [\n").expect("a file");
    }
}

/// Run directories with nothing in them.
pub fn empty_records(directory: &Path, runs: u64) {
    for run in 1..=runs {
        fs::create_dir(directory.join(run.to_string())).expect("a directory");
    }
}

/// The indexes of a FilesystemDB of so many runs, without its documents.
pub fn make_index(root: &Path, runs: u64) {
    for (collection, entities) in [("RunHistory", ENTITIES - 1), ("SystemLayout", 1)] {
        let mut index = Index::default();
        let mut entries = Vec::new();
        for run in 1..=runs {
            let version = format!("{run}/bench");
            for entity in 0..entities {
                let name = match collection {
                    "SystemLayout" => "schema".to_owned(),
                    _ => format!("component{entity:02}"),
                };
                entries.push(Entry {
                    oid: Oid::of_names(&[&version, &name]),
                    configuration: version.clone(),
                    version: version.clone(),
                    entity: name,
                    run: run.to_string(),
                    assigned: format!("2026-11-23T07:35:14.{entity:03}+0000"),
                });
            }
        }
        index.extend(&entries);
        fs::create_dir_all(root.join(collection)).expect("a directory");
        fs::write(root.join(collection).join("index.json"), index.write()).expect("an index");
    }
}
