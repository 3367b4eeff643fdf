//! What a run costs in an archive that grows: `cargo bench --bench filesystemdb`.
//!
//! Archives of 0, 1,000 and 10,000 runs of 60 entities (their indexes; no run's
//! import reads another run's documents) get 20 runs more. Writing a run's
//! documents must not depend on the size of the archive; reading and replacing
//! the index, once for all 20, must run at more than 200 MB/s.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::index::{Entry, Index, Oid};
use run_record_archiver::run::{FclFile, Run};

const ENTITIES: usize = 60;
const NEW_RUNS: u64 = 20;
const ROUNDS: usize = 5;

fn main() {
    let archives: Vec<Archive> = [0, 1_000, 10_000].map(Archive::new).into();
    println!(
        "archived runs | index MB | parse MB/s | write MB/s | read all ms | documents ms/run | publish ms"
    );
    // In turn, as a disk's speed changes with what was written before.
    let mut measured: Vec<Vec<Measured>> = archives.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (archive, measured) in archives.iter().zip(&mut measured) {
            measured.push(archive.measure());
        }
    }
    let mut per_run = Vec::new();
    for (archive, measured) in archives.iter().zip(&measured) {
        let [parse, write, read, documents, publish] =
            std::array::from_fn(|figure| median(measured.iter().map(|it| it[figure])));
        println!(
            "{:13} | {:8.1} | {parse:10.0} | {write:10.0} | {read:11.1} | {documents:16.2} | {publish:10.1}",
            archive.runs, archive.megabytes,
        );
        per_run.push(documents);
    }
    let least = per_run.iter().copied().fold(f64::INFINITY, f64::min);
    let most = per_run.iter().copied().fold(0.0, f64::max);
    println!(
        "documents of a run, dearest to cheapest: {:.2}",
        most / least
    );
}

/// Parse and write in MB/s, reading all in ms, documents in ms a run, publishing in ms.
type Measured = [f64; 5];

/// An archive as it is before it is written to.
struct Archive {
    runs: u64,
    megabytes: f64,
    directory: tempfile::TempDir,
}

impl Archive {
    fn new(runs: u64) -> Archive {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let megabytes = make_archive(&directory.path().join("archive"), runs);
        Archive {
            runs,
            megabytes,
            directory,
        }
    }

    fn measure(&self) -> Measured {
        let root = self.directory.path().join("archive");
        let (parse, write) = index_speed(&root);
        // Each time the same archive: its indexes without the documents of the last time.
        let copy = tempfile::tempdir_in(self.directory.path()).expect("a temporary directory");
        for collection in ["RunHistory", "SystemLayout"] {
            let index = Path::new(collection).join("index.json");
            fs::create_dir(copy.path().join(collection)).expect("a directory");
            fs::copy(root.join(&index), copy.path().join(&index)).expect("a copy");
        }
        let uri = format!("filesystemdb://{}", copy.path().display());
        let db = FilesystemDb::new(&uri).expect("an archive");
        let started = Instant::now();
        assert_eq!(db.runs().expect("runs").len() as u64, self.runs);
        let read = started.elapsed();

        let files = run_of_entities();
        let started = Instant::now();
        for run in self.runs + 1..=self.runs + NEW_RUNS {
            db.insert(Run(run), "bench", &files).expect("inserted");
        }
        let documents = started.elapsed() / NEW_RUNS as u32;
        let started = Instant::now();
        db.publish().expect("published");
        let publish = started.elapsed();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        [
            parse,
            write,
            milliseconds(read),
            milliseconds(documents),
            milliseconds(publish),
        ]
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// An archive whose indexes name `runs` runs; gives their size in MB.
fn make_archive(root: &Path, runs: u64) -> f64 {
    let mut size = 0;
    for (collection, entities) in [("RunHistory", ENTITIES - 1), ("SystemLayout", 1)] {
        let mut entries = Vec::new();
        for run in 1..=runs {
            for entity in 0..entities {
                let name = match collection {
                    "SystemLayout" => "schema".to_owned(),
                    _ => format!("component{entity:02}"),
                };
                let version = format!("{run}/bench");
                entries.push(Entry {
                    oid: Oid::of_names(&[&version, &name]),
                    configuration: version.clone(),
                    version,
                    entity: name,
                    run: run.to_string(),
                    assigned: format!(
                        "2026-11-23T07:{:02}:{:02}.{:03}+0000",
                        run / 60 % 60,
                        run % 60,
                        entity
                    ),
                });
            }
        }
        let mut index = Index::default();
        index.extend(&entries);
        let text = index.write();
        size += text.len();
        fs::create_dir_all(root.join(collection)).expect("a directory");
        fs::write(root.join(collection).join("index.json"), text).expect("an index");
    }
    size as f64 / 1e6
}

/// MB/s of reading RunHistory's index from its text, and of writing it as text.
fn index_speed(root: &Path) -> (f64, f64) {
    let text = fs::read_to_string(root.join("RunHistory/index.json")).expect("an index");
    let megabytes = text.len() as f64 / 1e6;
    let started = Instant::now();
    let index = Index::parse(&text).expect("an index");
    let parse = started.elapsed();
    let started = Instant::now();
    assert_eq!(index.write(), text);
    (
        megabytes / parse.as_secs_f64(),
        megabytes / started.elapsed().as_secs_f64(),
    )
}

/// 60 files of 20 KB.
fn run_of_entities() -> Vec<FclFile> {
    let mut text = String::new();
    for channel in 0..400 {
        let _ = writeln!(
            text,
            "channel{channel}: {{ pedestal: {channel} gain: 1.5e0 name: \"ch {channel}\" }}"
        );
    }
    let mut files: Vec<FclFile> = (0..ENTITIES - 1)
        .map(|entity| FclFile {
            entity: format!("component{entity:02}"),
            text: text.clone(),
        })
        .collect();
    files.push(FclFile {
        entity: "schema".into(),
        text: "artdaq_processes: []\n".into(),
    });
    files
}
