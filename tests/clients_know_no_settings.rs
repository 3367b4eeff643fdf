//! The clients of the databases name no configuration keys and no flags: what an
//! operator can do is a value, which `src/error/remedy.rs` puts into words.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::project;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What the string literals of a file hold, without its comments and unit tests.
fn literals(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut literals = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if !inside && line.trim_start().starts_with("//") {
            continue;
        }
        let mut literal = String::new();
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if inside => literal.extend(characters.next()),
                '\'' if !inside && characters.peek() == Some(&'"') => {
                    characters.next();
                }
                '"' => inside = !inside,
                '/' if !inside && characters.peek() == Some(&'/') => break,
                _ if inside => literal.push(character),
                _ => {}
            }
        }
        literals.push((number + 1, literal));
    }
    literals
}

#[test]
fn neither_keys_nor_flags_stand_in_their_texts() {
    let mut files = Vec::new();
    for client in ["src/artdaqdb", "src/ucondb"] {
        sources(&project(client), &mut files);
    }
    assert!(files.len() > 30);
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<(usize, String)> = match file.extension().and_then(|it| it.to_str()) {
            Some("rs") => literals(&text),
            // Whole lines of the script: only its own messages are looked at.
            _ => text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains("fail "))
                .map(|(number, line)| (number + 1, line.to_owned()))
                .collect(),
        };
        for (number, line) in lines {
            let names_key = line.contains("artdaq_db.") || line.contains("ucon_db.");
            let names_flag = line.split_whitespace().any(|word| {
                let flag =
                    word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                // Of the real tools' own flags, one is as every program's.
                flag.strip_prefix("--").is_some_and(|name| {
                    name != "help" && name.starts_with(|c: char| c.is_ascii_lowercase())
                })
            });
            if names_key || names_flag {
                found.push(format!("{}:{number}: {line}", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
