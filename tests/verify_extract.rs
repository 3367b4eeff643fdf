//! Getting a run's files back from a database.

use std::fs;
use std::path::Path;

use crate::support::archiver::Test;
use bytes::Bytes;
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::{Override, UconDb};

/// Runs 1 to 4, all in both databases.
fn archived() -> Test {
    let test = Test::new().records_in(1..=4);
    test.run(&[]).exits(0);
    test
}

#[test]
fn a_blob_comes_back_as_its_files() {
    let test = archived();
    let output = test.path().join("run 3");
    let to = output.to_str().unwrap();
    test.run(&["--extract", "3", "--output", to])
        .exits(0)
        .says("6 files written");
    for file in test.artdaqdb().read(Run(3)).unwrap().files {
        let path = output.join(format!("{}.fcl", file.entity));
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            file.text,
            "{}",
            file.entity
        );
    }
    test.run(&["--extract", "3", "--output", to])
        .exits(1)
        .says("exists; nothing was written");
    // The same from artdaqDB.
    let imported = test.path().join("imported");
    let imported = imported.to_str().unwrap();
    let arguments = ["--extract", "3", "--from", "artdaqdb", "--output", imported];
    test.run(&arguments).exits(0).says("6 files written from");
    for file in test.artdaqdb().read(Run(3)).unwrap().files {
        let path = Path::new(imported).join(format!("{}.fcl", file.entity));
        assert_eq!(fs::read_to_string(path).unwrap(), file.text);
    }
    let other = test.path().join("other");
    let arguments = ["--extract", "99", "--from", "artdaqdb", "--output"];
    let mut arguments = arguments.to_vec();
    arguments.push(other.to_str().unwrap());
    test.run(&arguments).exits(1).says("run 99 is not archived");
    test.run(&["--extract", "99", "--output", other.to_str().unwrap()])
        .exits(1)
        .says("99");
    assert!(!other.exists());
}

#[test]
fn a_blob_can_not_write_outside_its_directory() {
    let test = archived();
    let output = test.path().join("a/b");
    fs::create_dir_all(&output).unwrap();
    for (run, name) in [
        (11, "../up"),
        (12, "/etc/x"),
        (13, "sub/x"),
        (14, ""),
        (15, ".hidden"),
        (16, "a\u{7}b"),
    ] {
        let blob = format!(
            "Start of Record\nRun Number: {run}\nPacked on Oct 26 14:30 UTC\n\n#####\ngood.fcl:\n#####\na: 1\n\
             \n#####\n{name}.fcl:\n#####\nb: 1\n\nEnd of Record\nRun Number: {run}\nPacked on Oct 26 14:30 UTC\n"
        );
        test.ucondb()
            .upload(Run(run), Bytes::from(blob), Override::No)
            .unwrap();
        let run = run.to_string();
        test.run(&["--extract", &run, "--output", output.to_str().unwrap()])
            .exits(1)
            .says("nothing was written");
        assert_eq!(fs::read_dir(&output).unwrap().count(), 0, "{name:?}");
    }
    assert!(!test.path().join("a/up.fcl").exists());
    test.ucondb()
        .upload(Run(20), Bytes::from_static(b"<html>"), Override::No)
        .unwrap();
    test.run(&["--extract", "20", "--output", output.to_str().unwrap()])
        .exits(1)
        .says("this is no blob");
}

/// A blob as an archiver of old packed it.
fn old_blob(run: u64, files: &[(&str, &str)]) -> String {
    let stamp = format!("Run Number: {run}\nPacked on Oct 26 14:30 UTC\n");
    let files: String = files
        .iter()
        .map(|(name, text)| format!("\n#####\n{name}.fcl:\n#####\n{text}"))
        .collect();
    format!("Start of Record\n{stamp}{files}\nEnd of Record\n{stamp}")
}

#[test]
fn an_ambiguous_blob_is_extracted_with_a_warning() {
    let test = archived();
    let m1 = "\nx: \"a\n#####\nevil.fcl:\n#####\n\ny: 1\n\" \n";
    let long = "x".repeat(300);
    let names = [long.as_str(), &format!("{long}y")];
    for (run, files) in [
        (11, vec![("m1", m1), ("n", "\na: 1 \n")]),
        (12, vec![("b", "\na: 1 \n"), ("a", "\na: 2 \n")]),
        (13, vec![(names[0], "\na: 1 \n"), (names[1], "\na: 2 \n")]),
    ] {
        test.ucondb()
            .upload(Run(run), Bytes::from(old_blob(run, &files)), Override::No)
            .unwrap();
    }
    let output = test.path().join("out");
    let extract = |run: &str| test.run(&["--extract", run, "--output", output.to_str().unwrap()]);
    extract("11")
        .exits(0)
        .says("a string of m1.fcl looks like the heading of evil.fcl");
    assert_eq!(fs::read_to_string(output.join("m1.fcl")).unwrap(), m1);
    assert!(!output.join("evil.fcl").exists());
    extract("12").exits(0).says("a.fcl stands behind b.fcl");
    extract("13")
        .exits(0)
        .says("a file name of 304 bytes is too long");
    let shortened = |end: &str| output.join(format!("{}{end}.fcl", "x".repeat(235)));
    assert_eq!(fs::read_to_string(shortened("~")).unwrap(), "\na: 1 \n");
    assert_eq!(fs::read_to_string(shortened("~2")).unwrap(), "\na: 2 \n");
}

#[test]
fn a_blob_of_another_run_or_with_more_behind_it_is_an_error() {
    let test = archived();
    let files = [("a", "\na: 1 \n")];
    let mut two_runs = old_blob(13, &files);
    let last = two_runs.rfind("13").unwrap();
    two_runs.replace_range(last..last + 2, "14");
    for (run, blob, problem) in [
        (11, old_blob(12, &files), "the blob says it is of run 12"),
        (
            12,
            old_blob(12, &files) + "\n",
            "it has 1 bytes behind its end",
        ),
        (
            13,
            two_runs,
            "it says run 13 at its beginning and 14 at its end",
        ),
        (
            14,
            old_blob(14, &files).replacen("UTC\n\n", "UTC\nx\n\n", 1),
            "it has 2 bytes before its first file",
        ),
    ] {
        test.ucondb()
            .upload(Run(run), Bytes::from(blob), Override::No)
            .unwrap();
        let output = test.path().join(format!("out{run}"));
        test.run(&[
            "--extract",
            &run.to_string(),
            "--output",
            output.to_str().unwrap(),
        ])
        .exits(1)
        .says(problem);
        assert!(!output.exists());
    }
}

/// A file that art reads in another way than artdaqDB is one warning; a string
/// that looks like a file of the blob comes back in its file.
#[test]
fn odd_files_go_all_the_way_and_are_said_once() {
    let test = Test::in_memory().record(7);
    for (name, text) in [
        (
            "art",
            "a: 1\nt: {\n  #include \"x.fcl\"\n  #include \"y.fcl\"\n  b.c: false#c\n}\n",
        ),
        ("m1", "x: \"a\n#####\nevil.fcl:\n#####\n\ny: 1\n\"\n"),
    ] {
        fs::write(test.records().join(format!("7/{name}.fcl")), text).unwrap();
    }
    let ended = test.run(&[]).exits(0);
    let said = "run 7: art.fcl, line 3: an indented #include, a comment to art, is archived as a live \
                one; line 5: a dotted name inside a table";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{}", ended.stderr);
    let output = test.path().join("out");
    test.run(&["--extract", "7", "--output", output.to_str().unwrap()])
        .exits(0)
        .does_not_say("WARNING");
    assert!(!output.join("evil.fcl").exists());
    assert_eq!(
        fs::read_to_string(output.join("m1.fcl")).unwrap(),
        "\nx: \"a\\n#####\\nevil.fcl:\\n#####\\n\\ny: 1\\n\" \n"
    );
    test.run(&["--verify"]).exits(0);
}

/// On Linux a backslash leads nowhere.
#[test]
fn a_file_name_with_a_backslash_comes_back() {
    let test = Test::in_memory().record(7);
    fs::write(test.records().join("7/a\\b.fcl"), "a: 1\n").unwrap();
    test.run(&[]).exits(0);
    let output = test.path().join("out");
    test.run(&["--extract", "7", "--output", output.to_str().unwrap()])
        .exits(0);
    assert_eq!(
        fs::read_to_string(output.join("a\\b.fcl")).unwrap(),
        "\na: 1 \n"
    );
}
