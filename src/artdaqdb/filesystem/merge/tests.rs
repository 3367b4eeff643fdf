use super::*;

use std::path::Path;

use crate::artdaqdb::filesystem::catalogue::tests::entry;
use crate::artdaqdb::index::{Index, Oid};

fn index(entries: &[Entry]) -> Index {
    let mut index = Index::default();
    index.extend(entries);
    index
}

fn merged(old: &str, entries: &[Entry]) -> Option<String> {
    let mut new = Vec::new();
    let is_merged = merge(&mut old.as_bytes(), entries, &mut new).unwrap();
    is_merged.then(|| String::from_utf8(new).unwrap())
}

/// That the merge writes what the whole index would.
fn assert_merges(old: &[Entry], added: &[Entry]) {
    let mut whole = index(old);
    let text = whole.write();
    whole.extend(added);
    assert_eq!(merged(&text, added).unwrap(), whole.write());
}

fn entries(runs: std::ops::Range<u64>, entities: std::ops::Range<u64>) -> Vec<Entry> {
    let of_run = |run| entities.clone().map(move |entity| entry(run, entity));
    runs.flat_map(of_run).collect()
}

#[test]
fn new_documents_stand_where_the_whole_index_would_have_them() {
    assert_merges(&[], &[]);
    assert_merges(&[], &entries(5..6, 0..1));
    assert_merges(&[], &entries(5..8, 0..9));
    assert_merges(&entries(1..2, 0..1), &[]);
    assert_merges(&entries(1..2, 0..1), &entries(2..3, 0..1));
    assert_merges(&entries(1..4, 0..9), &entries(4..6, 3..20));
    // The last is larger than a piece.
    assert_merges(&entries(1..90, 0..97), &entries(90..92, 0..97));
}

#[test]
fn more_documents_of_a_run_join_those_it_has() {
    assert_merges(&entries(1..4, 0..3), &entries(2..3, 3..5));
    assert_merges(&entries(1..4, 0..3), &entries(2..6, 0..9));
    // Those that are there already are there once.
    assert_merges(&entries(1..4, 0..3), &entries(1..4, 0..3));
}

#[test]
fn chance_finds_no_difference() {
    let seed = 2026;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let mut some = |count: usize| -> Vec<Entry> {
            let mut one = || entry(random.u64(0..6), random.u64(0..12));
            (0..count).map(|_| one()).collect()
        };
        let (old, added) = (some(round % 23), some(round % 7));
        assert_merges(&old, &added);
    }
}

#[test]
fn aliases_are_copied_as_they_stand() {
    let [one, two] = ["a", "b"].map(|name| Oid::of_names(&[name]));
    let old = index(&entries(1..3, 0..2)).write().replace(
        "\"aliases.active.name\" : {\n\n}",
        &format!(
            "\"aliases.active.name\" : {{\n\"x\" : [\n\"{two}\",\n\"{one}\",\n\"{two}\"\n],\n\
             \"y\" : [\n\n]\n}}"
        ),
    );
    let mut whole = Index::parse(&old).unwrap();
    whole.extend(&entries(3..4, 0..2));
    assert_eq!(merged(&old, &entries(3..4, 0..2)).unwrap(), whole.write());
}

#[test]
fn what_is_not_whole_or_laid_out_otherwise_is_left_to_the_parser() {
    let added = entries(9..10, 0..2);
    let text = index(&entries(1..3, 0..2)).write();
    for end in 0..text.len() {
        assert!(merged(&text[..end], &added).is_none(), "{end}");
    }
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(merged(&value.to_string(), &added).is_none());
    assert!(merged(&"x".repeat(3 * PIECE), &added).is_none());
    let comma = text.find(",\n").unwrap();
    let oids: Vec<&str> = text.lines().skip(2).take(2).collect();
    for (what, with) in [
        ("x", text.clone() + "x"),
        ("another member", text.replace("\"ouid\"", "\"other\"")),
        ("two members in turn", text.replace("runs.name", "version")),
        (
            "a member more",
            text.replace("\n}\n}", "\n},\n\"new\" : [\n\n]\n}"),
        ),
        ("no comma", text[..comma].to_owned() + &text[comma + 1..]),
        ("a comma more", text.replacen("\"\n]", "\",\n]", 1)),
        ("no oid", text.replacen(&oids[0][1..4], "xyz", 1)),
        ("an oid twice", text.replacen(oids[1], oids[0], 1)),
        ("an escape", text.replacen("2026", "\\u0032026", 1)),
        ("line ends of Windows", text.replace('\n', "\r\n")),
    ] {
        assert!(with != text && merged(&with, &added).is_none(), "{what}");
    }
    assert!(merged(&(text + "\n"), &added).is_some());
}

#[test]
fn a_damaged_byte_of_a_list_is_left_to_the_parser() {
    let text = index(&entries(1..2, 0..1)).write();
    let lines = text.match_indices("\n\"").filter(|(at, _)| {
        let line = text[at + 1..].lines().next().unwrap();
        !line.ends_with(['{', '['])
    });
    let mut damaged = 0;
    for (at, _) in lines {
        let length = text[at + 1..].find('\n').unwrap();
        for byte in at + 2..at + length {
            for wrong in [0, b'\n', text.as_bytes()[byte] ^ 0x80] {
                let mut bytes = text.clone().into_bytes();
                bytes[byte] = wrong;
                let merged = merge(&mut bytes.as_slice(), &[], &mut Vec::new());
                assert!(!merged.unwrap(), "{}", String::from_utf8_lossy(&bytes));
                damaged += 1;
            }
        }
    }
    // Five lists of an oid, and one of a time stamp.
    assert_eq!(damaged, 3 * (5 * 24 + entry(1, 0).assigned.len()));
}

#[test]
fn what_can_not_be_read_or_written_is_told_apart() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let read = merge(&mut Broken, &[], &mut Vec::new());
    assert!(matches!(read, Err(Failure::Read(_))));
    let text = index(&entries(1..2, 0..1)).write();
    let written = merge(&mut text.as_bytes(), &[], &mut Broken);
    assert!(matches!(written, Err(Failure::Write(_))));
}

/// An index of another layout would be read whole: right, but slow.
#[test]
fn indexes_of_the_real_tools_are_laid_out_for_it() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden/db");
    if !golden.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no {}", golden.display());
        eprintln!("no {}: nothing to compare with", golden.display());
        return;
    }
    for collection in [
        "after_load/RunHistory",
        "after_load/SystemLayout",
        "after_update/RunHistory",
        "after_update/SystemLayout",
    ] {
        let text = std::fs::read_to_string(golden.join(collection).join("index.json")).unwrap();
        let added = entries(9..10, 0..2);
        let mut whole = Index::parse(&text).unwrap();
        whole.extend(&added);
        let merged = merged(&text, &added).expect(collection);
        assert_eq!(merged, whole.write(), "{collection}");
    }
}
