//! How fast FHiCL is read and written, and in how much memory:
//! `cargo bench --bench fhicl`. Ends with an error if a bound is not kept.
//!
//! The real SBND record is used where `../shared` is there, generated text of
//! its size otherwise.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use run_record_archiver::artdaqdb::document::{self, DocumentHead};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;

/// What each step may take for 1.5 MB, and each document in memory.
const MOST_TIME: Duration = Duration::from_millis(200);
const MOST_MEMORY: f64 = 20.0;

/// The argument with which the bench starts itself to measure memory.
const MEMORY: &str = "--memory-of";

const HEAD: DocumentHead = DocumentHead {
    oid: "0123456789abcdef01234567",
    collection: "RunHistory",
    entity: "x",
    version: "1/C",
    run: Run(1),
    time: "2026-11-23T07:35:14.122+0000",
};

/// Makes a text.
type Maker = fn() -> String;

/// The texts whose size is a bound: their names and how they are made.
const LARGE: [(&str, Maker); 2] = [
    ("one array of 200,000 numbers", array),
    ("16,000 small tables", tables),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name] = &arguments[..]
        && flag == MEMORY
    {
        let text = LARGE.iter().find(|(large, _)| large == name);
        return exit(text.is_some_and(|(_, text)| memory(&text())));
    }
    let record = record();
    println!(
        "run record: {} files, {:.1} MB",
        record.len(),
        megabytes(&record)
    );
    let mut kept = measure(&record, None);
    for (name, text) in LARGE {
        let texts = [text()];
        println!("{name}: {:.1} MB", megabytes(&texts));
        kept &= measure(&texts, Some(MOST_TIME));
        // In a process of its own: what was freed before would hide what is used.
        let child = std::env::current_exe()
            .and_then(|bench| Command::new(bench).args([MEMORY, name]).status());
        kept &= child.is_ok_and(|status| status.success());
    }
    exit(kept)
}

fn exit(kept: bool) -> ExitCode {
    if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Times every step over all texts, best of five, and prints a line for each.
fn measure(texts: &[String], most: Option<Duration>) -> bool {
    let trees: Vec<_> = texts.iter().map(|t| parse(t)).collect();
    let documents: Vec<_> = trees.iter().map(|t| document::write(&HEAD, t)).collect();
    let steps: [(&str, &dyn Fn()); 4] = [
        ("parse", &|| {
            texts.iter().for_each(|t| drop(black_box(parse(t))))
        }),
        ("write", &|| {
            trees.iter().for_each(|t| drop(black_box(fhicl::write(t))))
        }),
        ("document write", &|| {
            trees
                .iter()
                .for_each(|t| drop(black_box(document::write(&HEAD, t))));
        }),
        ("document read", &|| {
            documents
                .iter()
                .for_each(|d| drop(black_box(document::read(d))));
        }),
    ];
    let mut kept = true;
    for (step, work) in steps {
        let time = best(work);
        let rate = megabytes(texts) / time.as_secs_f64();
        let late = most.is_some_and(|most| time > most);
        let note = if late { "  TOO SLOW" } else { "" };
        println!(
            "  {step:<15} {:>7.1} ms {rate:>7.0} MB/s of FHiCL{note}",
            time.as_secs_f64() * 1e3
        );
        kept &= !late;
    }
    kept
}

fn best(work: &dyn Fn()) -> Duration {
    let once = || {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

/// Prints how much memory a text's tree, document and text take, and whether
/// that keeps the bound.
fn memory(text: &str) -> bool {
    let before = resident("VmRSS");
    let tree = parse(text);
    let json = document::write(&HEAD, &tree);
    let written = fhicl::write(&tree);
    let after = resident("VmHWM");
    black_box((tree, json, written));
    // Elsewhere than on Linux there is nothing to see.
    let Some((before, after)) = before.zip(after) else {
        return true;
    };
    let times = after.saturating_sub(before) as f64 / text.len() as f64;
    let kept = times < MOST_MEMORY;
    let note = if kept { "" } else { "  TOO MUCH" };
    println!("  memory          {times:>7.1} times the text{note}");
    kept
}

/// A size from the process's status, in bytes.
fn resident(field: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[expect(
    clippy::panic,
    reason = "a bench without its input has nothing to measure"
)]
fn parse(text: &str) -> fhicl::Document<'_> {
    fhicl::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn megabytes(texts: &[String]) -> f64 {
    texts.iter().map(String::len).sum::<usize>() as f64 / 1e6
}

/// The .fcl files of a real run record, or one like it.
fn record() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/run_records/20101");
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    let record: Vec<String> = files
        .filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "fcl")
        })
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect();
    if record.is_empty() {
        (0..97).map(generated).collect()
    } else {
        record
    }
}

/// A board reader's configuration of the size of a real one.
fn generated(number: usize) -> String {
    let mut text = String::from("# generated\ndaq: {\n  fragment_receiver: {\n");
    for channel in 0..400 {
        let _ = writeln!(
            text,
            "    channel_{channel}: {{ pedestal: {number} gain: 1.5e{channel} mask: [0, 1, 0x{channel:x}] }} # {channel}"
        );
    }
    text.push_str("  }\n}\n");
    text
}

fn array() -> String {
    let numbers: Vec<String> = (0..200_000).map(|number| format!("{number}")).collect();
    format!("data: [{}]\n", numbers.join(", "))
}

fn tables() -> String {
    let mut text = String::new();
    for channel in 0..16_000 {
        let _ = writeln!(
            text,
            "chan{channel:05}: {{ ped: {channel} gain: 1.{channel} name: \"channel number {channel}\" mask: [0, 1, 2] }}"
        );
    }
    text
}
