//! The converters against what the archive holds: real .txt files and the
//! FHiCL that has been made of them so far.

use std::fs;
use std::path::{Path, PathBuf};

use run_record_archiver::run::Run;
use run_record_archiver::run_record::convert;

/// Where ours differs although the reference is FHiCL, and why.
const DIFFERENT: [(&str, &str); 2] = [
    (
        "settings__02",
        "the reference takes `false #true` for a string: the comment becomes part of the value",
    ),
    ("settings__27", "as settings__02"),
];

/// The reference files, or `None` (said) where they are not at hand.
fn shared(below: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(below);
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

/// Converts a text as the kind of file that the name begins with.
fn convert(name: &str, text: &str) -> String {
    let (kind, rest) = name.split_once("__").expect("a kind in the name");
    let converted = match kind {
        "boot" => convert::boot::convert(text),
        "settings" => convert::settings::convert(text),
        "setup" => convert::setup::convert(text),
        "environment" => convert::environment::convert(text),
        "ranks" => convert::ranks::convert(text),
        "known_boardreaders_list" => convert::known_boardreaders_list::convert(text),
        "metadata" => convert::metadata::convert(text),
        "RunHistory2" => convert::run_history2::convert(text),
        "RunHistory" => {
            let run = rest.trim_start_matches("run").parse().expect("a run");
            convert::run_history::convert(text, Run(run))
        }
        other => panic!("a golden file of unknown kind {other}"),
    };
    converted.text
}

/// Name, input and reference output of every golden file.
fn golden() -> Vec<(String, String, String)> {
    let Some(directory) = shared("golden/convert") else {
        return Vec::new();
    };
    let mut all: Vec<_> = fs::read_dir(&directory)
        .expect("readable")
        .filter_map(|entry| {
            let name = entry.expect("readable").file_name().into_string().ok()?;
            let name = name.strip_suffix(".in.txt")?.to_string();
            let read = |end: &str| {
                fs::read_to_string(directory.join(format!("{name}{end}"))).expect("readable")
            };
            let (input, output) = (read(".in.txt"), read(".out.fcl"));
            Some((name, input, output))
        })
        .collect();
    all.sort();
    assert!(all.len() > 100, "only {} golden files", all.len());
    all
}

#[test]
fn what_the_reference_gets_right_is_the_same_byte_for_byte() {
    let mut different = Vec::new();
    for (name, input, output) in golden() {
        if name.ends_with(".invalid") {
            continue;
        }
        let ours = convert(&name, &input);
        let listed = DIFFERENT.iter().find(|(listed, _)| *listed == name);
        match (ours == output, listed) {
            (true, Some((_, reason))) => {
                different.push(format!("{name} is the same, but listed as different: {reason}"));
            }
            (false, None) => {
                let (line, (ours, reference)) = ours
                    .lines()
                    .chain([""])
                    .zip(output.lines().chain([""]))
                    .enumerate()
                    .find(|(_, (ours, reference))| ours != reference)
                    .unwrap_or_default();
                different.push(format!(
                    "{name}:{}\n  ours      {ours:?}\n  reference {reference:?}",
                    line + 1
                ));
            }
            _ => {}
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
