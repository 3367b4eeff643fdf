//! Record, artdaqDB and UconDB, compared run by run and file by file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::archiver::{Ended, Test};
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options as ServerOptions, PASSWORD, Transport, USER,
    UconDbServer,
};
use crate::support::{copy_tree, fcl, project, shared, wait_until};
use bytes::Bytes;
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::blob;
use run_record_archiver::run::Run;
use run_record_archiver::shutdown::Shutdown;
use run_record_archiver::ucondb::{Override, UconDb};
use run_record_archiver::verify::{self, Options, Selection, Stores};
use serde_json::Value;

/// Runs 1 to 4, all in both databases.
fn archived() -> Test {
    let test = Test::in_memory().records_in(1..=4);
    test.run(&[]).exits(0);
    test
}

/// Replaces a run's blob.
fn store(test: &Test, run: u64, blob: String) {
    test.ucondb()
        .upload(Run(run), Bytes::from(blob), Override::Yes)
        .unwrap();
}

/// The file of a run's blob.
fn blob_file(test: &Test, run: u64) -> PathBuf {
    test.path()
        .join(format!("ucondb/test/configuration/{run}.blob"))
}

/// Changes a file of a record.
fn change(test: &Test, run: u64, name: &str, from: &str, to: &str) {
    let path = test.records().join(run.to_string()).join(name);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn what_agrees_is_said_to_in_a_line_a_run() {
    let test = archived();
    test.run(&["--verify"])
        .exits(0)
        .says("✓ Run 1: record, artdaqDB and UconDB agree, 6 files\n")
        .says("✓ Run 4: record, artdaqDB and UconDB agree, 6 files\n")
        .says("Agree: 4 of 4 run(s)")
        .does_not_say("WARNING")
        .does_not_say("Next:");
    test.run(&["--verify", "--strict", "--validate", "--runs", "1,3-4"])
        .exits(0)
        .says("Agree: 3 of 3 run(s)");
}

#[test]
fn every_kind_of_difference_is_named_with_its_file() {
    let test = archived().record(5).record(8);
    test.run(&["--import-only", "--runs", "5"]).exits(0);
    // A run that artdaqDB has no longer.
    let foreign = test.blob(1).replace("Run Number: 1", "Run Number: 9");
    store(&test, 9, foreign);
    // A blob with a changed, a missing and an added file.
    let changed = test
        .blob(2)
        .replace("mark: 2 ", "mark: 22 ")
        .replace("crt01.fcl:", "crt02.fcl:");
    store(&test, 2, changed);
    // A record that changed since.
    change(&test, 3, "tpc01.fcl", "mark: 3", "mark: 33");
    fs::write(test.records().join("3/late.fcl"), "a: 1\n").unwrap();
    fs::remove_file(test.records().join("3/crt01.fcl")).unwrap();
    let db = test.artdaqdb();
    db.insert(Run(6), "test", &[fcl("tpc01", "a: 1\n")])
        .unwrap();
    db.publish().unwrap();
    test.run(&["--verify"])
        .exits(1)
        .says("✗ Run 2: 3 finding(s)")
        .says("Run 2: tpc01.fcl differs: artdaqDB (-) and UconDB (+)\n    @@ -1,3 +1,3 @@\n     \n    -mark: 2 \n    +mark: 22\n")
        .says("Run 2: crt01.fcl is missing in UconDB; artdaqDB has it")
        .says("Run 2: crt02.fcl is extra in UconDB; artdaqDB does not have it")
        .says("✗ Run 3: 2 finding(s)")
        .says("Run 3: tpc01.fcl differs: the record (-) and artdaqDB (+)\n    @@ -1,3 +1,3 @@\n     \n    -mark: 33 \n    +mark: 3\n")
        .says("Run 3: late.fcl is missing in artdaqDB; the record has it")
        .says("INFO - Run 3: not in the record, and still archived: crt01.fcl")
        .says("Run 5: in artdaqDB, not in UconDB")
        .says("INFO - ✓ Run 9: in UconDB alone, 6 files; its record is gone; pruned: artdaqDB does not have it any more")
        .says("Agree: 3 of 7 run(s)")
        .says("artdaqDB differs from the record: 1 run(s): 3. Next: ")
        .says("UconDB differs or cannot be read: 1 run(s): 2. Next: ")
        .says("--migrate-only --override-existing --runs 2 ")
        .says("Not in UconDB: 1 run(s): 5. Next: ")
        .says("In artdaqDB in part only: 1 run(s): 6. Next: ")
        .does_not_say("Run 8");
    test.run(&["--verify", "--runs", "1,4"]).exits(0);
    test.run(&["--verify", "--runs", "8"])
        .exits(1)
        .says("Run 8: there is a record; neither database has the run")
        .says("Not archived: 1 run(s): 8. Next: ");
    test.run(&["--verify", "--runs", "1,99"])
        .exits(1)
        .says("--runs 99: there is no such run");
}

#[test]
fn the_order_of_the_files_does_not_count() {
    let test = archived();
    let mut files = blob::unpack(&test.blob(1)).unwrap();
    files.reverse();
    let body: String = files
        .iter()
        .map(|file| format!("\n#####\n{}.fcl:\n#####\n{}", file.entity, file.text))
        .collect();
    let stamp = "Run Number: 1\nPacked on Oct 26 14:30 UTC\n";
    let other = format!("Start of Record\n{stamp}{body}\nEnd of Record\n{stamp}");
    store(&test, 1, other);
    test.run(&["--verify"])
        .exits(0)
        .says("✓ Run 1: record, artdaqDB and UconDB agree, 6 files")
        .says("stands behind");
}

#[test]
fn comments_count_only_when_asked_for() {
    let test = archived();
    store(&test, 2, test.blob(2).replace("# both", "# of them"));
    change(&test, 3, "crt01.fcl", "# both", "# of them");
    test.run(&["--verify"]).exits(0).does_not_say("crt01");
    let ended = test
        .run(&["--verify", "--strict"])
        .exits(1)
        .says("Run 2: crt01.fcl differs in its text: artdaqDB (-) and UconDB (+)")
        .says("Run 3: crt01.fcl differs in its text: the record (-) and artdaqDB (+)");
    assert_eq!(ended.stderr.matches("finding(s)").count(), 2);
}

#[test]
fn a_record_that_is_gone_and_a_run_that_was_pruned_are_no_errors() {
    let test = archived();
    fs::remove_dir_all(test.records().join("2")).unwrap();
    // artdaqDB without the runs 3 and 4.
    fs::remove_dir_all(test.path().join("archive")).unwrap();
    let pruned = Test::in_memory().records_in(1..=2);
    pruned.run(&["--import-only"]).exits(0);
    copy_tree(&pruned.path().join("archive"), &test.path().join("archive"));
    test.run(&["--verify"])
        .exits(0)
        .says("✓ Run 2: artdaqDB and UconDB agree, 6 files; its record is gone")
        .says("✓ Run 3: record and UconDB agree, 6 files; pruned")
        .says("Without a record any more: 1 run(s): 2")
        .says("Pruned, not in artdaqDB any more: 2 run(s): 3-4")
        .says("Agree: 4 of 4 run(s)");
    // What is left of a pruned run is compared all the same.
    store(&test, 3, test.blob(3).replace("mark: 3 ", "mark: 33 "));
    test.run(&["--verify"])
        .exits(1)
        .says("Run 3: tpc01.fcl differs: the record (-) and UconDB (+)");

    // A directory without any record is not a thousand records that are gone.
    for run in [1, 3, 4] {
        fs::remove_dir_all(test.records().join(run.to_string())).unwrap();
    }
    test.run(&["--verify", "--runs", "1"])
        .exits(0)
        .says("is it mounted?")
        .does_not_say("is gone");
    fs::remove_dir(test.records()).unwrap();
    test.run(&["--verify", "--runs", "1"])
        .exits(1)
        .says("The records were not compared: ")
        .says("✓ Run 1: artdaqDB and UconDB agree");
}

#[test]
fn what_cannot_be_read_is_the_finding_of_its_run_alone() {
    let test = archived().record(5);
    test.run(&[]).exits(0);
    let document = fs::read_dir(test.path().join("archive/RunHistory"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let is_index = path.file_name().unwrap() == "index.json";
            !is_index && fs::read_to_string(path).unwrap().contains("\"2/test\"")
        })
        .unwrap();
    fs::remove_file(&document).unwrap();
    let unreadable = |path: &Path| {
        fs::remove_file(path).unwrap();
        symlink("/proc/self/mem", path).unwrap();
    };
    unreadable(&blob_file(&test, 3));
    fs::write(blob_file(&test, 4), "<html>").unwrap();
    unreadable(&test.records().join("5/tpc01.fcl"));
    test.run(&["--verify"])
        .exits(1)
        .says("Run 2: artdaqDB cannot be read: ")
        .says(document.file_name().unwrap().to_str().unwrap())
        .says("Run 3: UconDB cannot be read: ")
        .says("Run 4: UconDB cannot be read: run 4: this is no blob of the run")
        .says("Run 5: the record cannot be read: ")
        .says("✓ Run 1: record, artdaqDB and UconDB agree")
        .says("Agree: 1 of 5 run(s)")
        .says("artdaqDB cannot be read: 1 run(s): 2. Next: ")
        .says("The record cannot be read: 1 run(s): 5. Next: ")
        .says("UconDB differs or cannot be read: 2 run(s): 3-4. Next: ");
}

#[test]
fn a_store_that_is_gone_is_no_finding_of_a_run() {
    let test = archived();
    fs::remove_dir_all(test.path().join("archive/SystemLayout")).unwrap();
    fs::write(test.path().join("archive/SystemLayout"), "").unwrap();
    test.run(&["--verify"]).exits(1).does_not_say("finding(s)");
}

#[test]
fn a_stop_time_that_came_later_is_no_change_of_metadata() {
    let test = Test::in_memory().records_in(1..=2).still_going(2);
    test.run(&[]).exits(0);
    test.ends(2);
    test.run(&["--verify"])
        .exits(1)
        .says("✗ Run 2: 1 finding(s)")
        .says("Run 2: RunHistory2.fcl (from metadata.txt) differs: the record (-) and artdaqDB (+)")
        .says("INFO - Run 2: metadata.fcl (from metadata.txt) lacks the times");
    test.run(&["--incremental"]).exits(0);
    test.run(&["--verify"])
        .exits(0)
        .says("✓ Run 2: record, artdaqDB and UconDB agree, 6 files; metadata.fcl (from metadata.txt) lacks the times");
}

#[test]
fn the_report_is_there_for_programs() {
    let test = archived();
    store(&test, 2, test.blob(2).replace("mark: 2 ", "mark: 22 "));
    fs::remove_dir_all(test.records().join("3")).unwrap();
    let report = |ended: &Ended| -> Value { serde_json::from_str(&ended.stdout).unwrap() };
    let ended = test.run(&["--verify", "--format", "json"]).exits(1);
    let found = report(&ended);
    assert_eq!(found["schema"], 1);
    assert_eq!(found["success"], false);
    assert_eq!(
        (&found["compared"], &found["with_findings"], &found["last"]),
        (&4.into(), &1.into(), &4.into())
    );
    assert_eq!(found["without_record"], serde_json::json!([3]));
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["run"], 2);
    assert_eq!(
        runs[0]["ucondb"],
        serde_json::json!({"state": "whole", "files": 6, "problem": null})
    );
    let finding = &runs[0]["findings"][0];
    for (key, value) in [
        ("kind", "differs"),
        ("place", "ucondb"),
        ("reference", "artdaqdb"),
        ("file", "tpc01.fcl"),
    ] {
        assert_eq!(finding[key], value, "{key}");
    }
    assert_eq!(finding["diff"][2], "-mark: 2 ");
    let ended = test
        .run(&["--verify", "--runs", "1", "--format", "json"])
        .exits(0);
    assert_eq!(report(&ended)["success"], true);
}

#[test]
fn the_trees_are_there_for_diff() {
    let test = archived();
    store(&test, 2, test.blob(2).replace("mark: 2 ", "mark: 22 "));
    let trees = test.path().join("trees");
    let to = trees.to_str().unwrap();
    test.run(&["--verify", "--output", to]).exits(1);
    let diff = |one: &str, other: &str| {
        let output = Command::new("diff")
            .args(["-r", "-q", one, other])
            .current_dir(&trees)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        diff("artdaqdb", "ucondb"),
        "Files artdaqdb/2/tpc01.fcl and ucondb/2/tpc01.fcl differ\n"
    );
    assert_eq!(
        diff("record/1", "artdaqdb/1"),
        "Only in artdaqdb/1: schema.fcl\n"
    );
    assert_eq!(fs::read_dir(trees.join("ucondb")).unwrap().count(), 4);
    test.run(&["--verify", "--output", to])
        .exits(1)
        .says("is not empty; nothing was written");
}

#[test]
fn a_share_goes_on_where_the_last_one_ended() {
    let test = archived();
    store(&test, 2, test.blob(2).replace("mark: 2 ", "mark: 22 "));
    test.run(&["--verify", "--incremental"])
        .exits(1)
        .says("✓ Round finished: all runs were compared since")
        .says("4 in all, 4 by this execution")
        .says("1 run(s) were not well when they were last compared: 2")
        .does_not_say("✓ Run 1");
    let file = test.work("verify.json");
    let memory = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    assert_eq!(memory()["position"], Value::Null);
    assert_eq!(
        memory()["findings"]["2"],
        "tpc01.fcl differs: artdaqDB (-) and UconDB (+)"
    );

    // As after half an hour.
    let mut half = memory();
    half["position"] = 2.into();
    half["compared"] = 2.into();
    half["began"] = "2026-03-18T18:00:00Z".into();
    fs::write(&file, half.to_string()).unwrap();
    test.run(&["--verify", "--incremental"])
        .exits(0)
        .says("Agree: 2 of 2 run(s)")
        .says("4 in all, 2 by this execution");
    assert_eq!(
        memory()["findings"]["2"],
        "tpc01.fcl differs: artdaqDB (-) and UconDB (+)"
    );

    // What is well again is not named any longer, and the position stays.
    half["position"] = 3.into();
    fs::write(&file, half.to_string()).unwrap();
    test.run(&["--migrate-only", "--override-existing", "--runs", "2"])
        .exits(0);
    test.run(&["--verify", "--runs", "1-2"]).exits(0);
    assert_eq!(memory()["findings"], serde_json::json!({}));
    assert_eq!(memory()["position"], 3);

    fs::write(&file, "ten").unwrap();
    test.run(&["--verify", "--incremental"])
        .exits(1)
        .says("verify.json")
        .says("Remove the file");
}

/// The time is up at once: a few runs are compared each time all the same.
#[test]
fn a_share_ends_with_its_time() {
    let test = Test::in_memory().records_in(1..=30);
    test.run(&[]).exits(0);
    let (artdaqdb, ucondb, records) = (test.artdaqdb(), test.ucondb(), test.records());
    let generate = [].into();
    let stores = Stores {
        run_records_dir: &records,
        generate: &generate,
        max_file_bytes: 1 << 20,
        artdaqdb: &artdaqdb,
        ucondb: &ucondb,
        sources: &|_| None,
    };
    let options = Options {
        strict: false,
        validate: false,
        trees: None,
        workers: 2,
        deadline: Some(Instant::now()),
    };
    let (mut seen, mut after, mut shares) = (Vec::new(), None, 0);
    loop {
        let selection = Selection {
            after,
            ..Selection::default()
        };
        let mut tell = |run: &verify::ComparedRun| {
            seen.push(run.run.0);
            Ok(())
        };
        let shutdown = Shutdown::default();
        let report = verify::verify(&stores, &selection, &options, &shutdown, &mut tell).unwrap();
        after = report.last;
        shares += 1;
        if report.left == 0 {
            break;
        }
    }
    assert_eq!(seen, (1..=30).collect::<Vec<u64>>());
    assert!(shares > 2, "{shares}");
}

#[test]
fn archiving_goes_on_beside_a_verification() {
    let server = UconDbServer::start(ServerOptions {
        transport: Transport::KeepAlive,
        ..ServerOptions::default()
    });
    let test = Test::in_memory()
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "300")
        .records_in(1..=4);
    test.run(&[]).exits(0);
    // The verification waits for a blob.
    let before = server.count("GET", "/data/");
    server.fault(Fault::on("GET", "/data/").then(Action::StallAnswer));
    let mut verification = test.start(&["--verify"]);
    wait_until("the request", || server.count("GET", "/data/") > before);
    let test = test.record(5);
    let journal = test.work("journal.json");
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 5 migrated successfully");
    let written = fs::read(&journal).unwrap();
    test.run(&["--verify", "--incremental"])
        .exits(1)
        .says("LockExistsError")
        .says(".verify.lock");
    // Ends the connection on which it waits.
    server.close_connections();
    let ended = wait(&mut verification);
    assert_eq!(ended, Some(0));
    assert_eq!(fs::read(&journal).unwrap(), written);
    assert!(!test.work(".verify.lock").exists());
    assert!(test.work("verify.json").exists());
}

fn wait(child: &mut std::process::Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("it goes on");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_archive_of_old_is_reported_and_not_touched() {
    let test = Test::in_memory().record(7);
    fs::write(test.records().join("7/settings.txt"), "a: 1\n").unwrap();
    // As the API of the existing archiver left it.
    let db = test.artdaqdb();
    db.insert(
        Run(7),
        "testv1",
        &[
            fcl("tpc01", "mark: 7\nboard: { id: 0x7 }\n"),
            fcl("crt01", "hosts: [\"crt01\", \"crt02\"] # both\n"),
            fcl("hashes", "tpc01: \"d41d8cd98f00b204e9800998ecf8427e\"\n"),
            fcl("schema", "artdaq_processes: []\n"),
        ],
    )
    .unwrap();
    db.publish().unwrap();
    test.run(&["--migrate-only"]).exits(0);
    let (before, blob) = (db.read(Run(7)).unwrap(), test.blob(7));
    test.run(&["--verify"])
        .exits(1)
        .says("✗ Run 7: 4 finding(s)")
        .says("settings.fcl (from settings.txt) is missing in artdaqDB; the record has it")
        .says("metadata.fcl (from metadata.txt) is missing in artdaqDB")
        .says("RunHistory.fcl (from metadata.txt) is missing in artdaqDB")
        .says("RunHistory2.fcl (from metadata.txt) is missing in artdaqDB")
        .says("Run 7: the record names the configuration \"test\", artdaqDB has it as \"testv1\"")
        .says("Run 7: not in the record, and still archived: hashes.fcl");
    assert_eq!(test.artdaqdb().read(Run(7)).unwrap(), before);
    assert_eq!(test.blob(7), blob);
}

/// One byte changed in one file of each kind: that file is named, and no other, until
/// the record is stored anew.
fn assert_each_change_is_named(records: &Path) {
    let test = Test::in_memory();
    copy_tree(records, &test.records());
    test.run(&[]);
    let imported = test.imported();
    assert!(!imported.is_empty());
    test.run(&["--verify"]).exits(0).does_not_say("finding(s)");
    let mut changes = 0;
    for run in imported {
        let record = test.records().join(run.to_string());
        let mut kinds = vec!["boot.txt", "metadata.txt", "settings.txt"];
        let fcl = fs::read_dir(&record)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".fcl") && name != "schema.fcl")
            .min();
        kinds.extend(fcl.as_deref());
        for name in kinds {
            let path = record.join(name);
            let Ok(good) = fs::read(&path) else {
                continue;
            };
            let Some(bad) = one_byte_changed(name, &good) else {
                continue;
            };
            fs::write(&path, bad).unwrap();
            let run = run.to_string();
            let ended = test
                .run(&["--verify", "--runs", &run])
                .exits(1)
                .says("✗ Run")
                .says(": 1 finding(s)");
            let stem = name.rsplit_once('.').unwrap().0;
            let named = named(&ended.stderr, &run);
            assert_eq!(named, [format!("{stem}.fcl")], "{}", ended.stderr);
            // Stored anew, all three are in line.
            test.run(&["--reimport", &run]).exits(0);
            test.run(&["--verify", "--runs", &run])
                .exits(0)
                .says("record, artdaqDB and UconDB agree");
            changes += 1;
        }
    }
    assert!(changes > 10, "{changes}");
}

/// Changes a byte of a value that only one generated file is made from.
fn one_byte_changed(name: &str, good: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(good);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let value = line
            .split_once(':')
            .map(|(key, value)| (key.trim(), value.trim()));
        if let Some((key, value)) = value
            && !key.starts_with('#')
            && !key.contains("//")
            && (name != "metadata.txt" || key.contains("commit/version"))
            && (name.ends_with(".txt") || value.chars().all(|c| c.is_ascii_digit()))
            && let Some(at) = line.rfind(|c: char| c.is_ascii_digit())
            && at > line.find(':').unwrap()
        {
            let mut bad = good.to_vec();
            bad[start + at] = match bad[start + at] {
                b'7' => b'8',
                _ => b'7',
            };
            return Some(bad);
        }
        start += line.len();
    }
    None
}

/// The files that a verification names with a run.
fn named(log: &str, run: &str) -> Vec<String> {
    let line = format!("Run {run}: ");
    let mut names: Vec<String> = log
        .lines()
        .filter(|text| text.contains(&line))
        .flat_map(|text| text.split([' ', ';', ',']))
        .filter(|word| word.ends_with(".fcl"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn one_byte_in_a_sample_is_found() {
    let records = tempfile::tempdir().unwrap();
    for run in 12_500..=12_508_u64 {
        let run = run.to_string();
        copy_tree(
            &project("samples/run_records").join(&run),
            &records.path().join(&run),
        );
    }
    assert_each_change_is_named(records.path());
}

#[test]
fn one_byte_in_a_real_record_is_found() {
    let Some(records) = shared("corpus/run_records") else {
        return;
    };
    assert_each_change_is_named(&records);
}
