//! What a record should have and has not, and where its files may lie.

use std::fs;
use std::path::PathBuf;

use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::run::Run;

use crate::support::archiver::Test;
use crate::support::text_of;

/// A record that is whole: every process that it names has its file, and every .txt
/// file is there.
fn whole(test: Test, run: u64) -> (Test, PathBuf) {
    let test = test.record(run);
    let record = test.records().join(run.to_string());
    let write = |name: &str, text: &str| fs::write(record.join(name), text).unwrap();
    write(
        "boot.txt",
        "DAQ setup script: /x/setup.sh\n\nEventBuilder host: h\nEventBuilder label: evb01\n",
    );
    write("evb01.fcl", "mode: 3\n");
    write(
        "ranks.txt",
        "host   port   label   subsystem   rank\n\nh1  11100  tpc01  1  0\nh2  11101  crt01  1  1\n",
    );
    write("settings.txt", "log_directory: /tmp\n");
    write("setup.txt", "echo set up\n");
    write("environment.txt", "export DAQINTERFACE_X=1\n");
    write("known_boardreaders_list.txt", "tpc01 h1 5 1\n");
    (test, record)
}

fn entities(test: &Test, run: u64) -> Vec<String> {
    let stored = test.artdaqdb().read(Run(run)).unwrap();
    stored.files.into_iter().map(|file| file.entity).collect()
}

#[test]
fn what_a_record_names_and_does_not_have_is_warned_of_once_and_reported() {
    let (test, record) = whole(Test::new(), 7);
    let (test, _) = whole(test, 8);
    let (test, bare) = whole(test, 9);
    for name in ["evb01.fcl", "crt01.fcl", "setup.txt"] {
        fs::remove_file(record.join(name)).unwrap();
    }
    for name in ["boot.txt", "ranks.txt", "metadata.txt", "settings.txt"] {
        fs::remove_file(bare.join(name)).unwrap();
    }
    let lines = [
        "WARNING - run 7: not there, and so not archived: setup.txt, crt01.fcl, evb01.fcl\n",
        "WARNING - run 9: not there, and so not archived: boot.txt, metadata.txt, ranks.txt, \
         settings.txt\n",
        "Import Stage: 2 incomplete record(s), archived without what they lack: 7, 9",
    ];
    let ended = test.run(&["--incremental"]).exits(0);
    let ended = lines
        .into_iter()
        .fold(ended, |ended, line| ended.says(line));
    ended.does_not_say("run 8: not there");
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("not there");

    let report = test.run(&["--report-status"]).exits(0).stdout;
    for part in [
        "  Incomplete:      2 incomplete records: files that they name are not there\n",
        "    7: setup.txt, crt01.fcl, evb01.fcl\n",
        "    9: boot.txt, metadata.txt, ranks.txt, settings.txt\n",
    ] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
    let json = test.run(&["--report-status", "--format", "json"]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let incomplete = &json["records"]["incomplete"];
    assert_eq!(incomplete[0]["files"][2], "evb01.fcl");
    assert_eq!(incomplete[1]["runs"]["ranges"][0][0], 9);
    let html = test.run(&["--report-status", "--format", "html"]).exits(0);
    assert!(html.stdout.contains("setup.txt, crt01.fcl, evb01.fcl"));
}

#[test]
fn a_whole_record_is_not_complained_of() {
    let (test, _) = whole(Test::new(), 7);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("not there")
        .does_not_say("incomplete record");
    let report = test.run(&["--report-status"]).exits(0).stdout;
    assert!(!report.contains("RECORDS OF ARCHIVED RUNS"), "{report}");
}

#[test]
fn files_of_directories_below_are_archived_under_their_stem() {
    let (test, record) = whole(Test::new(), 7);
    let below = record.join("boardreaders/spare");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("pds09.fcl"), "deep: true\n").unwrap();
    fs::write(record.join("boardreaders/tpc02.fcl"), "second: 2\n").unwrap();
    // The one at the top wins, and of two below the one that is read first.
    fs::write(record.join("boardreaders/tpc01.fcl"), "mark: 99\n").unwrap();
    fs::write(below.join("tpc02.fcl"), "third: 3\n").unwrap();
    fs::write(below.join("schema.fcl"), "no: schema\n").unwrap();
    fs::write(below.join("metadata.txt"), "Config name: no\n").unwrap();
    test.run(&["--incremental"])
        .exits(0)
        .says(
            "WARNING - run 7: boardreaders/tpc01.fcl is left out: tpc01.fcl has the same name and \
             is archived",
        )
        .says(
            "WARNING - run 7: boardreaders/spare/tpc02.fcl is left out: boardreaders/tpc02.fcl has \
             the same name and is archived",
        );
    let stored = test.artdaqdb().read(Run(7)).unwrap();
    assert_eq!(stored.name, "test");
    assert_eq!(text_of(&stored.files, "pds09"), "\ndeep: true \n");
    assert_eq!(text_of(&stored.files, "tpc02"), "\nsecond: 2 \n");
    assert!(text_of(&stored.files, "tpc01").contains("mark: 7"));
    assert!(test.blob(7).contains("pds09.fcl:\n"));
}

#[test]
fn a_record_may_have_all_of_its_files_below() {
    let test = Test::new().record(7);
    let record = test.records().join("7");
    fs::create_dir(record.join("fcl")).unwrap();
    for name in ["tpc01.fcl", "crt01.fcl"] {
        fs::rename(record.join(name), record.join("fcl").join(name)).unwrap();
    }
    test.run(&["--incremental"]).exits(0);
    assert_eq!(
        entities(&test, 7),
        [
            "RunHistory",
            "RunHistory2",
            "crt01",
            "metadata",
            "schema",
            "tpc01"
        ]
    );
}

#[test]
fn files_that_are_left_out_are_named_once() {
    let (test, record) = whole(Test::new(), 7);
    for name in [
        "TPC03.FCL",
        "tpc04.fcl.gz",
        "tpc05.fcl~",
        ".tpc06.fcl.Xy12z",
        "pds.tmp",
        "rc_info_start.txt",
        "BOOT.TXT",
    ] {
        fs::write(record.join(name), "x: [\n").unwrap();
    }
    test.run(&["--incremental"])
        .exits(0)
        .says(
            "INFO - run 7: left out, as their names do not end in .fcl or are no .txt file that is \
             archived: .tpc06.fcl.Xy12z, BOOT.TXT, TPC03.FCL, pds.tmp, tpc04.fcl.gz, tpc05.fcl~\n",
        )
        .does_not_say("rc_info_start");
    test.run(&["--incremental", "--verbose"])
        .exits(0)
        .does_not_say("left out");
    assert!(!entities(&test, 7).iter().any(|name| name.contains('3')));
}
