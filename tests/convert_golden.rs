//! The converters against what the archive holds: real .txt files and the
//! FHiCL that has been made of them so far.

use std::fs;
use std::path::{Path, PathBuf};

use run_record_archiver::run::Run;
use run_record_archiver::run_record::convert;

/// Where ours differs although the reference is FHiCL, and why.
const DIFFERENT: [(&str, &str); 2] = [
    (
        "boot__27",
        "the reference drops the port of a Dispatcher whose host and label are commented out",
    ),
    (
        "boot__run901",
        "the reference does not say which subsystem has the fragmentMode",
    ),
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
                different.push(format!(
                    "{name} is the same, but listed as different: {reason}"
                ));
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

/// What ours makes of the inputs that the reference makes no FHiCL of: the
/// lines that differ from the reference, as (reference, ours).
fn changed_lines(name: &str) -> Vec<(String, String)> {
    let Some((_, input, reference)) = golden().into_iter().find(|golden| golden.0 == name) else {
        return Vec::new();
    };
    let ours = convert(name, &input);
    assert_eq!(
        ours.lines().count(),
        reference.lines().count(),
        "{name}: {ours}"
    );
    reference
        .lines()
        .zip(ours.lines())
        .filter(|(reference, ours)| reference != ours)
        .map(|(reference, ours)| (reference.to_string(), ours.to_string()))
        .collect()
}

#[test]
fn a_space_separated_list_becomes_a_sequence() {
    for name in ["03", "07", "19", "31"] {
        for (reference, ours) in changed_lines(&format!("settings__{name}.invalid")) {
            assert!(reference.starts_with("package_hashes_to_save: [ artdaq artdaq_core"));
            let words = |text: &str| -> Vec<String> {
                text.split([' ', ','])
                    .filter(|word| !word.is_empty())
                    .map(str::to_string)
                    .collect()
            };
            assert_eq!(words(&reference), words(&ours));
            assert!(ours.starts_with("package_hashes_to_save: [ artdaq, artdaq_core, "));
        }
    }
}

#[test]
fn a_boot_txt_that_is_fhicl_stays_what_it_is() {
    let boot = golden()
        .into_iter()
        .find(|golden| golden.0 == "boot__31.invalid");
    if let Some((name, input, _)) = boot {
        assert_eq!(convert(&name, &input), input);
    }
}

#[test]
fn a_board_reader_whose_name_is_no_fhicl_name_keeps_it_in_a_comment() {
    let Some((name, input, reference)) = golden()
        .into_iter()
        .find(|golden| golden.0 == "known_boardreaders_list__26.invalid")
    else {
        return;
    };
    let (odd, good) = ("icarus-crt01-3: [", "# icarus-crt01-3\nicarus_crt01_3: [");
    assert_eq!(convert(&name, &input), reference.replace(odd, good));
}

#[test]
fn a_list_of_board_readers_that_is_fhicl_stays_what_it_is() {
    let Some((name, input, _)) = golden()
        .into_iter()
        .find(|golden| golden.0 == "known_boardreaders_list__31.invalid")
    else {
        return;
    };
    let lines: String = input
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    assert_eq!(convert(&name, &input), lines);
}
