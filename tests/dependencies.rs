//! What the archiver is built from: licences, sources, versions and bans as
//! `deny.toml` has them, checked without cargo-deny, which takes longer to build
//! than the archiver. It does the same and more: `docs/reliability.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn project(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The quoted words of a list `key = [ ... ]` of deny.toml.
fn list(key: &str) -> Vec<String> {
    let text = project("deny.toml");
    let start = format!("\n{key} = [");
    let after = text.split_once(&start).expect(key).1;
    let inside = after.split_once("]\n").expect(key).0;
    inside
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// The packages that a build on this machine uses, as cargo tells them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether a licence expression can be met by the licences allowed: `OR` is a
/// choice, `AND` binds closer, and old crates write `/` for `OR`.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let mut words = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    words.push_str(" )");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

/// Up to the closing bracket, which is taken.
fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = false;
    loop {
        let mut all = true;
        loop {
            all &= one(words, at, allowed);
            if words.get(*at) != Some(&"AND") {
                break;
            }
            *at += 1;
        }
        met |= all;
        let next = words.get(*at).copied();
        *at += 1;
        match next {
            Some("OR") => {}
            Some(")") => return met,
            other => panic!("{other:?} in {words:?}"),
        }
    }
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut name = words[*at].to_owned();
    *at += 1;
    if name == "(" {
        return any_of(words, at, allowed);
    }
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words[*at + 1]);
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn expressions() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("GPL-3.0 OR ISC AND MIT", true),
        ("(GPL-3.0 OR X) AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(is_met(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = list("allow");
    assert!(allowed.contains(&"MIT".to_owned()), "{allowed:?}");
    let mut used = BTreeMap::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str();
        let licence = licence.unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(
            is_met(licence, &allowed),
            "{name}: {licence} is not among the licences of deny.toml"
        );
        *used.entry(licence.to_owned()).or_insert(0) += 1;
    }
    println!("{used:#?}");
}

/// Every crate of every platform: from crates.io, with its checksum, and none
/// that is banned.
#[test]
fn every_crate_comes_from_the_one_registry_and_none_is_banned() {
    let registry = format!("registry+{}", list("allow-registry")[0]);
    let banned = list("deny");
    assert!(banned.contains(&"openssl".to_owned()), "{banned:?}");
    let lock = project("Cargo.lock");
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |key: &str| {
            let start = format!("{key} = \"");
            let line = package.lines().find_map(|line| line.strip_prefix(&start));
            line.and_then(|rest| rest.strip_suffix('"'))
        };
        let name = field("name").unwrap();
        *versions.entry(name).or_default() += 1;
        assert!(!banned.iter().any(|one| one == name), "{name} is banned");
        if name != env!("CARGO_PKG_NAME") {
            assert_eq!(field("source"), Some(registry.as_str()), "{name}");
            assert_eq!(field("checksum").map(str::len), Some(64), "{name}");
        }
    }
    assert!(versions.len() > 100);
    let several: Vec<_> = versions.iter().filter(|(_, count)| **count > 1).collect();
    println!("in several versions: {several:?}");
}

#[test]
fn no_dependency_is_a_wildcard_or_lies_elsewhere() {
    let manifest = project("Cargo.toml");
    let sections = ["[dependencies]", "[dev-dependencies]"];
    for section in sections {
        let after = manifest.split_once(section).unwrap().1;
        let inside = after.split_once("\n[").unwrap().0;
        for line in inside.lines().filter(|line| line.contains('=')) {
            for bad in ["\"*\"", "git =", "path =", "\">"] {
                assert!(!line.contains(bad), "{line}");
            }
        }
    }
}
