use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::fhicl::{self, AtomKind, Content, Entry};

fn file(entity: &str, text: &str) -> FclFile {
    FclFile {
        entity: entity.into(),
        text: text.into(),
    }
}

fn noon() -> Timestamp {
    "2025-10-06T14:30:59Z".parse().unwrap()
}

const METADATA: &str =
    "\nconfig_name: \"c\" \n\ncomponents: [\"a\"] \n\nsbndaq_commit_or_version: \"v1\" \n";

#[test]
fn packs_the_format_byte_for_byte() {
    let blob = pack(Run(12345), &[file("tpc01", "\na: 1 \n")], noon());
    assert_eq!(
        blob,
        "Start of Record\nRun Number: 12345\nPacked on Oct 06 14:30 UTC\n\
         \n#####\ntpc01.fcl:\n#####\n\na: 1 \n\
         \nEnd of Record\nRun Number: 12345\nPacked on Oct 06 14:30 UTC\n"
    );
}

/// A string that ends in a backslash can't be written in another way.
#[test]
fn a_heading_in_a_string_is_found() {
    let files = [
        file("m", "\nx: 'a\n#####\nevil.fcl:\n#####\n\\' \n"),
        file("n", "\na: 1 \n"),
        file("metadata", METADATA),
    ];
    let found: Vec<String> = check(&pack(Run(1), &files, noon()))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "m.fcl, line 10 of the blob: a string looks like the heading of evil.fcl, where the \
             file-metadata exporter cuts it short"
        ]
    );
}

#[test]
fn orders_by_lower_case_name_and_puts_the_generated_files_last() {
    let names = [
        "RunHistory2",
        "RunHistory",
        "ranks",
        "settings",
        "metadata",
        "environment",
        "setup",
        "known_boardreaders_list",
        "boot",
        "tpc02",
        "schema",
        "Dispatcher1",
        "DFO",
        "crt.b",
        "crt",
    ];
    let files: Vec<FclFile> = names.iter().map(|name| file(name, "\n")).collect();
    let order: Vec<String> = unpack(&pack(Run(1), &files, noon()))
        .unwrap()
        .into_iter()
        .map(|file| file.entity)
        .collect();
    assert_eq!(
        order,
        [
            "crt.b",
            "crt",
            "DFO",
            "Dispatcher1",
            "schema",
            "tpc02",
            "boot",
            "known_boardreaders_list",
            "setup",
            "environment",
            "metadata",
            "settings",
            "ranks",
            "RunHistory",
            "RunHistory2",
        ]
    );
}

#[test]
fn names_that_differ_in_case_alone_are_both_kept() {
    let blob = pack(Run(1), &[file("tpc01", "a"), file("TPC01", "b")], noon());
    assert_eq!(
        unpack(&blob).unwrap(),
        [file("TPC01", "b"), file("tpc01", "a")]
    );
}

#[test]
fn unpacks_what_it_packed() {
    let files = [
        file("a", ""),
        file("b", "\n#####\n"),
        file("c", "\n#####\nnot a heading\n#####\n"),
        file("d", "\nEnd of Record\n"),
        file("metadata", METADATA),
    ];
    assert_eq!(unpack(&pack(Run(1), &files, noon())).unwrap(), files);
}

#[test]
fn refuses_what_is_no_blob() {
    assert!(unpack("<html>").unwrap_err().contains("Start of Record"));
    assert!(
        unpack("Start of Record\nRun Number: 1\n")
            .unwrap_err()
            .contains("End of Record")
    );
}

#[test]
fn the_same_record_packed_at_another_time_is_the_same() {
    let files = [file("a", "\na: 1 \n")];
    let later = "2025-10-06T15:00:00Z".parse().unwrap();
    assert!(same_record(
        pack(Run(1), &files, noon()).as_bytes(),
        pack(Run(1), &files, later).as_bytes()
    ));
    assert!(!same_record(
        pack(Run(1), &files, noon()).as_bytes(),
        pack(Run(2), &files, noon()).as_bytes()
    ));
    assert!(!same_record(
        pack(Run(1), &files, noon()).as_bytes(),
        pack(Run(1), &[file("a", "\na: 2 \n")], noon()).as_bytes()
    ));
}

/// What FHiCL has to look like a blob, in strings and comments.
const PIECES: [&str; 14] = [
    "\n#####\nevil.fcl:\n#####\n",
    "#####\n",
    "\n#####",
    "\nb.fcl:\n",
    ".fcl:",
    "\n",
    "\nEnd of Record\n",
    "Run Number: 1\n",
    "Packed on Oct 06 14:30 UTC\n",
    "Start of Record\n",
    "x",
    "\\\\",
    "# ",
    "y: 1 ",
];

fn piece() -> impl Strategy<Value = String> {
    vec(select(PIECES.to_vec()), 0..6).prop_map(|pieces| pieces.concat())
}

/// A FHiCL text as the archive holds it, of strings and comments made of pieces.
fn fcl() -> impl Strategy<Value = String> {
    let comment = vec(select(vec!["#####", "# a.fcl:", "#b.fcl:", "# c"]), 0..3);
    let entry = (
        comment,
        piece(),
        any::<bool>(),
        select(vec!["", "#####", "# z.fcl:"]),
    );
    vec(entry, 0..5).prop_map(|entries| {
        let mut text = String::new();
        for (number, (comments, string, single, annotation)) in entries.into_iter().enumerate() {
            for comment in comments {
                text.push_str(comment);
                text.push('\n');
            }
            let quote = if single { '\'' } else { '"' };
            text.push_str(&format!(
                "a{number}: {quote}{string} {quote} {annotation}\n"
            ));
        }
        fhicl::write(&fhicl::parse(&text).unwrap_or_else(|error| panic!("{error}")))
    })
}

/// The names and strings of a text, escapes undone.
fn meaning(text: &str) -> Vec<(String, String)> {
    let document = fhicl::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut values = Vec::new();
    for entry in &document.main {
        let Entry::Assignment { name, value } = entry else {
            panic!("{entry:?}");
        };
        let string = match &value.content {
            Content::Atom(AtomKind::DoubleQuoted, text) => text
                .replace("\\\\", "\u{0}")
                .replace("\\n", "\n")
                .replace('\u{0}', "\\"),
            Content::Atom(_, text) => text.to_string(),
            other => panic!("{other:?}"),
        };
        values.push((name.to_string(), string));
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Files come back as they were; where something in them looks like another
    /// file, with the same meaning.
    #[test]
    fn whatever_files_hold_they_come_back(texts in vec(fcl(), 0..4)) {
        let names = ["a", "b", "evil", "RunHistory"];
        let files: Vec<FclFile> =
            names.iter().zip(&texts).map(|(name, text)| file(name, text)).collect();
        let blob = pack(Run(7), &files, noon());
        let read = read(&blob).unwrap();
        prop_assert_eq!(read.run, Run(7));
        prop_assert_eq!(read.files.len(), files.len(), "{}", blob);
        for (back, file) in read.files.iter().zip(&files) {
            prop_assert_eq!(&back.entity, &file.entity);
            if !blob.contains(&file.text) {
                prop_assert_eq!(meaning(&back.text), meaning(&file.text), "{}", blob);
            } else {
                prop_assert_eq!(&back.text, &file.text);
            }
        }
        // Who takes it apart at its headings alone finds the same.
        let end = blob.rfind(END).unwrap();
        prop_assert_eq!(headings(&blob[..end]).len(), files.len(), "{}", blob);
    }
}

#[test]
fn a_string_that_looks_like_a_heading_is_written_on_one_line() {
    let heading = "\n#####\nevil.fcl:\n#####\n";
    for (text, packed) in [
        (
            format!("\nx: \"a{heading}\ny: 1\n\" \n\nz: \"b\nc\" \n"),
            "\nx: \"a\\n#####\\nevil.fcl:\\n#####\\n\\ny: 1\\n\" \n\nz: \"b\nc\" \n",
        ),
        (
            format!("\nx: ['\\{heading}\"'] \n"),
            "\nx: [\"\\\\\\n#####\\nevil.fcl:\\n#####\\n\\\"\"] \n",
        ),
        // A comment, and a name and an annotation that look like a file's name.
        (
            "#####\na: 1 # x.fcl:\n#####\nb: 2 \n".to_owned(),
            "#####\na: 1 # x.fcl:\n##### \nb: 2 \n",
        ),
        (
            "#####\na: \"\n#####\n\" \n".to_owned(),
            "#####\na: \"\n#####\n\" \n",
        ),
    ] {
        assert_eq!(unambiguous::text(&text), packed, "{text}");
    }
}

/// Only the two lines that say when a blob was packed are left out.
#[test]
fn a_line_of_a_file_that_begins_like_the_time_is_compared() {
    let one = [file("a", "\na: \"\nPacked on Monday\n\" \n")];
    let other = [file("a", "\na: \"\nPacked on Tuesday\n\" \n")];
    let pack = |files: &[FclFile]| pack(Run(1), files, noon());
    assert!(same_record(pack(&one).as_bytes(), pack(&one).as_bytes()));
    assert!(!same_record(pack(&one).as_bytes(), pack(&other).as_bytes()));
    // What is no blob is compared as it is.
    assert!(same_record(b"Packed on x\n", b"Packed on x\n"));
    assert!(!same_record(b"Packed on x\n", b"Packed on y\n"));
    let more = pack(&one) + "Packed on z\n";
    assert!(!same_record(pack(&one).as_bytes(), more.as_bytes()));
}

#[test]
fn a_clean_blob_has_no_findings() {
    let blob = pack(
        Run(1),
        &[file("metadata", METADATA), file("tpc01", "\na: 1 \n")],
        noon(),
    );
    assert_eq!(check(&blob), []);
}

/// Each demand broken once, and what the finding must say.
#[test]
fn each_broken_demand_is_found_and_placed() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("tpc01", "\na: \"#####\" \n")],
            "tpc01.fcl, line 9 of the blob: it contains \"#####\"",
        ),
        (
            &[("tpc01", "\na: \"End of Record\" \n")],
            "contains \"End of Record\"",
        ),
        (&[("tpc01", "\na: 1 \r\n")], "CR LF"),
        (
            &[(
                "metadata",
                &METADATA.replace("\"v1\"", "\"components: all\""),
            )],
            "2 values for \"components\"",
        ),
        (
            &[("metadata", &METADATA.replace("config_name: \"c\" \n", ""))],
            "0 values for \"config_name\"",
        ),
        (
            &[("metadata", &format!("{METADATA}\nmy_config_name: 1 \n"))],
            "2 values for \"config_name\"",
        ),
        (&[("boot", "\ncomponents_x: 1 \n")], "5 distinct lines"),
    ];
    for (files, expected) in cases {
        let mut files: Vec<FclFile> = files.iter().map(|(name, text)| file(name, text)).collect();
        if files[0].entity != "metadata" {
            files.push(file("metadata", METADATA));
        }
        let findings: Vec<String> = check(&pack(Run(1), &files, noon()))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            findings.iter().any(|finding| finding.contains(expected)),
            "{expected}: {findings:#?}"
        );
    }
}

#[test]
fn a_blob_cut_short_is_a_finding() {
    assert!(
        check("Start of Record\nRun Number: 1\n")[0]
            .problem
            .contains("cut short")
    );
}

#[test]
fn a_finding_is_placed_where_there_is_a_place() {
    let blob = pack(Run(1), &[file("tpc01", "\na: 1 \n#####\n\n")], noon());
    let shown: Vec<String> = check(&blob).iter().map(ToString::to_string).collect();
    assert!(shown[0].starts_with("tpc01.fcl, line 10 of the blob: it contains \"#####\""));
    assert_eq!(shown[1], "the blob: it holds no metadata.fcl");
    assert!(
        shown[2].starts_with("the blob: 0 distinct lines begin with"),
        "{shown:#?}"
    );
}

#[test]
fn a_blob_without_files_is_a_finding() {
    let findings = check(&pack(Run(1), &[], noon()));
    assert_eq!(findings[0].problem, "it holds no file");
}

/// To the exporter the line after a bare key is its value, whatever stands there.
#[test]
fn a_value_on_the_next_line_is_a_value() {
    let metadata = METADATA.replace("components: ", "components:\n components: ");
    let blob = pack(Run(1), &[file("metadata", &metadata)], noon());
    assert_eq!(check(&blob), []);
}

#[test]
fn a_text_that_begins_like_a_heading_is_a_text() {
    let text = "#####\nb.fcl:\n#####\nx";
    let files = [file("a", text), file("c", "")];
    let blob = pack(Run(1), &files, noon());
    // FHiCL that no archiver writes: the comment gets a blank behind it.
    let expected = [file("a", "#####\nb.fcl:\n##### \nx"), file("c", "")];
    assert_eq!(unpack(&blob).unwrap(), expected);
    // What is no FHiCL stays, and is found all the same.
    let files = [file("a", &format!("{text} ;")), file("c", "")];
    let blob = pack(Run(1), &files, noon());
    assert_eq!(unpack(&blob).unwrap(), files);
    let found = check(&blob)[0].to_string();
    assert!(
        found.starts_with("a.fcl, line 8 of the blob: it contains"),
        "{found}"
    );
}
