use std::fs;

use super::*;
use crate::artdaqdb::index::{Entry, Index};

/// A document with an identity that sorts anywhere.
pub(in super::super) fn entry(run: u64, entity: u64) -> Entry {
    let version = format!("{run}/tpc \"north\"");
    Entry {
        oid: Oid::of_names(&[&version, &entity.to_string()]),
        configuration: version.clone(),
        version,
        entity: format!("entity{entity}"),
        run: run.to_string(),
        assigned: format!("2026-11-23T07:{:02}:14.{:03}+0000", run % 60, entity % 3),
    }
}

fn index(runs: u64, entities: u64) -> Index {
    let mut index = Index::default();
    let entries: Vec<Entry> = (0..runs)
        .flat_map(|run| (0..entities).map(move |entity| entry(run, entity)))
        .collect();
    index.extend(&entries);
    index
}

fn catalogue(text: &str) -> Option<Catalogue> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Catalogue::read(File::open(file.path()).unwrap()).unwrap()
}

fn assert_agree(index: &Index, catalogue: &Catalogue) {
    let names: Vec<&str> = index.configurations().collect();
    assert_eq!(catalogue.configurations().collect::<Vec<_>>(), names);
    for name in names {
        let documents = catalogue.documents(name).unwrap().unwrap();
        assert_eq!(documents, index.documents(name), "{name}");
        let weights = documents.iter().map(|oid| oid.weight());
        let mut stamps = catalogue.stamps().filter(|(it, _)| *it == name);
        let stamp = stamps.next().map(|(_, stamp)| stamp);
        assert_eq!(stamp, Some(weights.fold(0, u64::wrapping_add)), "{name}");
    }
}

#[test]
fn it_says_what_the_index_says() {
    // The last is larger than a piece.
    for (runs, entities) in [(0, 0), (1, 1), (3, 2), (90, 97)] {
        let index = index(runs, entities);
        assert_agree(&index, &catalogue(&index.write()).unwrap());
    }
    assert_eq!(
        catalogue(&index(2, 2).write())
            .unwrap()
            .documents("7/c")
            .unwrap(),
        Some(Vec::new())
    );
}

#[test]
fn a_text_that_is_not_whole_or_laid_out_otherwise_is_left_to_the_parser() {
    let text = index(2, 2).write();
    for end in 0..text.len() {
        assert!(catalogue(&text[..end]).is_none(), "{end}");
    }
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(catalogue(&value.to_string()).is_none());
    assert!(catalogue(&(text.clone() + "x")).is_none());
    assert!(catalogue(&text.replace("\"ouid\"", "\"other\"")).is_none());
    assert!(catalogue(&"x".repeat(3 * PIECE)).is_none());
}

/// A line end that is read as something else must not hide the configurations behind it.
#[test]
fn no_changed_byte_hides_a_configuration() {
    let index = index(3, 2);
    let text = index.write();
    let file = tempfile::NamedTempFile::new().unwrap();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x80;
        fs::write(file.path(), bytes).unwrap();
        let catalogue = Catalogue::read(File::open(file.path()).unwrap()).unwrap();
        if let Some(catalogue) = catalogue {
            assert!(
                catalogue.configurations().eq(index.configurations()),
                "{at}"
            );
        }
    }
}

#[test]
fn a_list_that_changed_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.json");
    fs::write(&path, index(2, 2).write()).unwrap();
    let catalogue = Catalogue::read(File::open(&path).unwrap())
        .unwrap()
        .unwrap();
    fs::write(&path, "{\n").unwrap();
    let name = entry(1, 0).configuration;
    assert_eq!(catalogue.documents(&name).unwrap(), None);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let directory = File::open(tempfile::tempdir().unwrap().path()).unwrap();
    assert!(Catalogue::read(directory).is_err());
}

#[test]
fn a_line_end_at_the_end_does_no_harm() {
    let index = index(2, 2);
    assert_agree(&index, &catalogue(&(index.write() + "\n")).unwrap());
}

#[test]
fn a_list_that_became_another_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index.json");
    let text = index(2, 2).write();
    fs::write(&path, &text).unwrap();
    let catalogue = Catalogue::read(File::open(&path).unwrap())
        .unwrap()
        .unwrap();
    let list = entry(0, 0).configuration;
    let documents = || catalogue.documents(&list).unwrap();
    assert_eq!(documents().unwrap().len(), 2);
    let at = catalogue.lists[&list][0].at as usize;
    let changed = |rest: &str| fs::write(&path, text[..at].to_owned() + rest).unwrap();
    let oid = Oid::of_names(&["x"]);
    for (rest, expected) in [
        (format!("\"{oid}\"\n]"), Some(vec![oid])),
        (format!("\"{oid}\",\n\n],\n\"more\""), Some(vec![oid])),
        (format!("\"{oid}\""), None),
        (format!("\"{oid}\",\n}}"), None),
        ("\"no oid\"\n]".to_owned(), None),
    ] {
        changed(&rest);
        assert_eq!(documents(), expected, "{rest}");
    }
}

#[test]
fn a_configuration_that_stands_twice_has_both_lists() {
    let oids = [Oid::of_names(&["a"]), Oid::of_names(&["b"])];
    let [one, two] = oids;
    let catalogue = catalogue(&format!(
        "{{\n\"ouid\" : [\n\n],\n\"configurations.name\" : {{\n\
         \"7/c\" : [\n\"{one}\"\n],\n\"7/c\" : [\n\"{two}\"\n]\n}}\n}}"
    ));
    let documents = catalogue.unwrap().documents("7/c").unwrap();
    assert_eq!(documents, Some(oids.to_vec()));
}
