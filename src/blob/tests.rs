use super::*;

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
    let files = [file("a", "#####\nb.fcl:\n#####\nx"), file("c", "")];
    let blob = pack(Run(1), &files, noon());
    assert_eq!(unpack(&blob).unwrap(), files);
    let found = check(&blob)[0].to_string();
    assert!(
        found.starts_with("a.fcl, line 8 of the blob: it contains"),
        "{found}"
    );
}
