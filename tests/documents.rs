//! README and docs against the program: every command parses, every flag is
//! described, every link leads somewhere.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::project;
use run_record_archiver::cli::CommandLine;

fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![project("README.md"), project("samples/README.md")];
    let mut directories = vec![project("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    assert!(paths.len() > 8, "{paths:?}");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// A command line's words: quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, piece) in line.split(['"', '\'']).enumerate() {
        if number % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The archiver's command lines in a document's code blocks and code spans.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        for piece in line.split('`') {
            let Some((_, arguments)) = piece.split_once("run_archiver.sh ") else {
                continue;
            };
            let arguments = arguments
                .split(['#', ';', '|', '>', '&'])
                .next()
                .unwrap_or_default();
            // What follows on a line of a crontab or a unit is no argument.
            let arguments = words(arguments);
            // In running text the script's name alone is not a command.
            if arguments
                .iter()
                .all(|argument| argument.starts_with('-') || !argument.contains(['(', ',']))
            {
                found.push(arguments);
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_parses() {
    let mut count = 0;
    for (path, text) in documents() {
        for arguments in commands(&text) {
            if !arguments
                .iter()
                .any(|argument| argument.starts_with("--") || argument.ends_with(".yaml"))
            {
                continue;
            }
            let line = std::iter::once("run_record_archiver".to_owned()).chain(arguments.clone());
            if let Err(error) = CommandLine::parse(line)
                && error.use_stderr()
            {
                panic!("{}: {arguments:?}: {error}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count} commands found");
}

#[test]
fn every_flag_is_described() {
    let help = Command::new(env!("CARGO_BIN_EXE_run_record_archiver"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let text: String = documents().into_iter().map(|(_, text)| text).collect();
    let mut flags = 0;
    for word in help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        if word.starts_with("--") && word.len() > 2 {
            assert!(
                text.contains(word),
                "{word} is in --help and in no document"
            );
            flags += 1;
        }
    }
    assert!(flags > 20, "{help}");
}

#[test]
fn every_link_leads_somewhere() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = path
                .parent()
                .unwrap()
                .join(target.split('#').next().unwrap());
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}
