use super::*;

fn entry(oid: u8, entity: &str, run: &str, assigned: &str) -> Entry {
    Entry {
        oid: Oid([oid; 12]),
        version: format!("{run}/C"),
        configuration: format!("{run}/C"),
        entity: entity.into(),
        run: run.into(),
        assigned: assigned.into(),
    }
}

#[test]
fn an_empty_index_has_every_map() {
    let text = Index::default().write();
    assert_eq!(Index::parse(&text).unwrap(), Index::default());
    assert!(
        text.starts_with("{\n\"ouid\" : [\n\n],\n\"version\" : {\n\n},\n"),
        "{text}"
    );
}

#[test]
fn lists_are_sorted_and_keys_keep_the_order_in_which_they_came() {
    let mut index = Index::default();
    index.extend(&[entry(9, "tpc", "20", "b"), entry(3, "crt", "20", "a")]);
    index.extend(&[entry(3, "crt", "20", "a"), entry(1, "tpc", "10", "c")]);
    assert_eq!(index.len(), 3);
    assert_eq!(index.configurations().collect::<Vec<_>>(), ["20/C", "10/C"]);
    assert_eq!(index.documents("20/C"), [Oid([3; 12]), Oid([9; 12])]);
    assert_eq!(index.entities["tpc"], [Oid([1; 12]), Oid([9; 12])]);
    assert_eq!(index.assigned["20/C"], ["a", "b"]);
    assert_eq!(Index::parse(&index.write()).unwrap(), index);
}

#[test]
fn another_order_of_keys_reads_the_same() {
    let mut index = Index::default();
    index.extend(&[entry(1, "tpc", "10", "c")]);
    let value: serde_json::Value = serde_json::from_str(&index.write()).unwrap();
    // serde_json sorts the keys of a map.
    assert_eq!(Index::parse(&value.to_string()).unwrap(), index);
}

#[test]
fn a_key_that_is_not_known_is_given_back() {
    let text = Index::parse(r#"{"new": {"a": [1.50]}, "ouid": []}"#)
        .unwrap()
        .write();
    assert!(text.ends_with(",\n\"new\" : {\"a\": [1.50]}\n}"), "{text}");
}

#[test]
fn what_is_no_index_is_refused() {
    for text in ["", "{", "{}", "[]", "null", r#"{"ouid": ["x"]}"#] {
        assert!(Index::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_configuration_is_found_by_its_whole_name_alone() {
    let mut index = Index::default();
    index.extend(&[entry(1, "tpc", "110", "c")]);
    assert!(index.documents("10/C").is_empty());
    assert!(index.documents("110").is_empty());
}

fn oids(numbers: &[u8]) -> Vec<Oid> {
    numbers.iter().map(|number| Oid([*number; 12])).collect()
}

#[test]
fn an_identity_is_that_of_its_names_and_reads_as_it_is_written() {
    // printf 'a\0b\0' | md5sum
    let oid = Oid::of_names(&["a", "b"]);
    assert_eq!(oid.to_string(), "aa3a791e273bce9cf4a2a7ca");
    assert_eq!(oid.bytes()[..3], [0xaa, 0x3a, 0x79]);
    assert_eq!(Oid::parse(&oid.to_string()), Some(oid));
    assert_ne!(oid, Oid::of_names(&["ab"]));
    for text in [
        "",
        "aa3a791e273bce9cf4a2a7c",
        "aa3a791e273bce9cf4a2a7caa",
        "AA3a791e273bce9cf4a2a7ca",
        "ga3a791e273bce9cf4a2a7ca",
        "aa3a791e273bce9cf4a2a7c:",
        "aa3a791e273bce9cf4a2a7c/",
        "aa3a791e273bce9cf4a2a7c`",
    ] {
        assert_eq!(Oid::parse(text), None, "{text}");
    }
}

#[test]
fn documents_are_found_and_counted() {
    let mut index = Index::default();
    assert!(index.is_empty() && !index.contains(Oid([1; 12])));
    index.extend(&[
        entry(1, "tpc", "10", "a"),
        entry(2, "tpc", "10", "a"),
        entry(3, "crt", "10", "a"),
        entry(4, "pds", "20", "b"),
    ]);
    assert!(!index.is_empty());
    assert_eq!(index.oids(), oids(&[1, 2, 3, 4]));
    assert!(index.contains(Oid([4; 12])) && !index.contains(Oid([5; 12])));
    let entities = index.entities(index.documents("10/C"));
    let expected = [("crt", 1), ("tpc", 2)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(entities, BTreeMap::from(expected));
}

#[test]
fn what_is_there_already_is_not_added_again() {
    let mut index = Index::default();
    index.extend(&[entry(1, "tpc", "10", "a"), entry(2, "crt", "10", "a")]);
    let before = index.clone();
    index.extend(&[entry(1, "tpc", "10", "a"), entry(2, "crt", "10", "a")]);
    assert_eq!(index, before);
    assert_eq!(index.runs["10"], oids(&[1, 2]));
    assert_eq!(index.versions["10/C"], oids(&[1, 2]));
    assert_eq!(index.assigned["10/C"], ["a"]);
}

#[test]
fn each_list_stands_where_the_real_tools_look_for_it() {
    let mut index = Index::default();
    index.extend(&[
        Entry {
            version: "10/\"V\"".into(),
            ..entry(0x1f, "tpc", "10", "a")
        },
        entry(2, "tpc", "10", "b"),
    ]);
    let (one, two) = (Oid([2; 12]), Oid([0x1f; 12]));
    assert_eq!(
        index.write(),
        format!(
            "{{\n\"ouid\" : [\n\"{one}\",\n\"{two}\"\n],\n\
             \"version\" : {{\n\"10/\\\"V\\\"\" : [\n\"{two}\"\n],\n\"10/C\" : [\n\"{one}\"\n]\n}},\n\
             \"configurations.name\" : {{\n\"10/C\" : [\n\"{one}\",\n\"{two}\"\n]\n}},\n\
             \"entities.name\" : {{\n\"tpc\" : [\n\"{one}\",\n\"{two}\"\n]\n}},\n\
             \"aliases.active.name\" : {{\n\n}},\n\
             \"runs.name\" : {{\n\"10\" : [\n\"{one}\",\n\"{two}\"\n]\n}},\n\
             \"configurations.assigned\" : {{\n\"10/C\" : [\n\"a\",\n\"b\"\n]\n}}\n}}"
        )
    );
}

#[test]
fn a_file_whose_lists_are_not_sorted_is_put_right() {
    let [one, two] = [Oid([1; 12]), Oid([2; 12])];
    let index = Index::parse(&format!(
        r#"{{"ouid": ["{two}", "{one}", "{two}"], "aliases.active.name": {{"x": ["{two}"]}},
            "entities.name": {{"tpc": ["{two}", "{one}"]}}}}"#
    ))
    .unwrap();
    assert_eq!(index.oids(), [one, two]);
    assert_eq!(index.entities(&[one])["tpc"], 1);
    assert_eq!(index.aliases["x"], [two]);
}

#[test]
fn a_key_that_stands_twice_has_both_lists() {
    let [one, two] = [Oid([1; 12]), Oid([2; 12])];
    let index = Index::parse(&format!(
        r#"{{"ouid": [], "runs.name": {{"7": ["{one}"], "8": [], "7": ["{two}"]}}}}"#
    ))
    .unwrap();
    assert_eq!(index.runs["7"], [one, two]);
    assert!(index.runs["8"].is_empty());
}

#[test]
fn a_refusal_says_what_was_expected() {
    for (text, expected) in [
        ("[]", "the index of a collection"),
        (r#"{"ouid": [], "version": []}"#, "a map of lists"),
        (r#"{"ouid": ["x"]}"#, "\"x\" is not an oid"),
        ("{}", "missing field `ouid`"),
    ] {
        let error = Index::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_needs_escapes_is_written_as_it_was_read() {
    let mut index = Index::default();
    index.extend(&[entry(1, "t\"pc", "10", "a\"b\\c\n")]);
    assert_eq!(Index::parse(&index.write()).unwrap(), index);
}

#[test]
fn an_identity_before_another_one_sorts_before_it_again_and_again() {
    let mut oid = Oid::of_names(&["7/c", "RunHistory2", "0"]);
    for _ in 0..1000 {
        let before = oid
            .before(&["7/c", "RunHistory2", &oid.to_string()])
            .unwrap();
        assert_eq!(
            oid.before(&["7/c", "RunHistory2", &oid.to_string()]),
            Some(before)
        );
        assert!(before < oid && before.to_string() < oid.to_string());
        oid = before;
    }
    let lowest = Oid::parse("000000000000000000000001").unwrap();
    let zero = lowest.before(&["x"]).unwrap();
    assert_eq!(zero.to_string(), "0".repeat(24));
    assert_eq!(zero.before(&["x"]), None);
}

#[test]
fn weights_are_those_of_the_text_and_differ() {
    let oids: Vec<Oid> = (0..1000)
        .map(|n: u32| Oid::of_names(&[&n.to_string()]))
        .collect();
    let mut weights: Vec<u64> = oids.iter().map(|oid| oid.weight()).collect();
    for (oid, of_oid) in oids.iter().zip(&weights) {
        let text = oid.to_string();
        assert_eq!(weight(text.as_bytes().try_into().unwrap()), *of_oid);
    }
    weights.sort_unstable();
    weights.dedup();
    assert_eq!(weights.len(), oids.len());
}
