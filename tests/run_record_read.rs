//! Finding and reading run records: the samples, and directories with all that
//! has been seen in them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::captured_log::{listen, logged};
use log::Level;
use run_record_archiver::error::{Disposition, Error, Result};
use run_record_archiver::fhicl;
use run_record_archiver::run::Run;
use run_record_archiver::run_record::{Generated, MAX_FILE_BYTES, Options, RunRecord, scan};
use tempfile::TempDir;

fn sample(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(below)
}

/// Reads a run record with everything generated.
fn read(path: &Path) -> Result<RunRecord> {
    listen();
    let generate = BTreeSet::from(Generated::ALL);
    let options = Options {
        generate: &generate,
        max_file_bytes: MAX_FILE_BYTES,
    };
    RunRecord::read(Run(12_500), path, &options)
}

fn read_sample(below: &str) -> RunRecord {
    read(&sample(below)).expect("a run record")
}

fn entities(record: &RunRecord) -> Vec<&str> {
    record
        .files
        .iter()
        .map(|file| file.entity.as_str())
        .collect()
}

fn text<'a>(record: &'a RunRecord, entity: &str) -> &'a str {
    let file = record.files.iter().find(|file| file.entity == entity);
    &file.expect("the entity").text
}

/// A run record with one .fcl file, and what a test puts beside it.
fn record_with(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("tpc01.fcl"), "a: 1\n").expect("written");
    for (name, content) in files {
        fs::write(directory.path().join(name), content).expect("written");
    }
    directory
}

#[test]
fn only_directories_with_a_number_for_a_name_are_runs() {
    listen();
    let runs = scan(&sample("run_records")).expect("scanned");
    let numbers: Vec<u64> = runs.keys().map(|run| run.0).collect();
    assert_eq!(numbers, (12_500..=12_508).collect::<Vec<_>>());
    assert_eq!(runs[&Run(12_503)], sample("run_records/12503"));
    assert_eq!(logged(Level::Info), Vec::<String>::new());
}

#[test]
fn odd_names_are_passed_over_and_links_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for name in [
        "7",
        "007",
        "0042",
        "42x",
        "+5",
        " 6",
        "0",
        "18446744073709551616",
        "٣",
    ] {
        fs::create_dir(at(name)).expect("created");
    }
    fs::write(at("8"), "a file").expect("written");
    symlink(at("8"), at("9")).expect("linked");
    symlink(at("7"), at("10")).expect("linked");
    symlink(at("gone"), at("11")).expect("linked");
    symlink(at("12"), at("12")).expect("linked");

    listen();
    let runs = scan(directory.path()).expect("scanned");
    assert_eq!(
        runs.into_iter().collect::<Vec<_>>(),
        [
            (Run(7), at("7")),
            (Run(10), at("10")),
            (Run(42), at("0042"))
        ]
    );
    let warnings = logged(Level::Warn);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|line| line.starts_with("run 7 has two run records: ")
                && line.contains("/7 is used, ")
                && line.contains("/007 is not"))
    );
}

#[test]
fn a_missing_directory_is_an_error_and_not_an_empty_one() {
    let error = scan(Path::new("/nowhere/run_records")).expect_err("an error");
    assert!(matches!(error, Error::Io { .. }));
    assert!(
        error
            .to_string()
            .starts_with("cannot read the run records in /nowhere/run_records: "),
        "{error}"
    );
}

#[test]
fn many_runs_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    for run in 1..=2_000 {
        fs::create_dir(directory.path().join(run.to_string())).expect("created");
    }
    assert_eq!(scan(directory.path()).expect("scanned").len(), 2_000);
}

#[test]
fn every_sample_but_the_broken_ones_is_fhicl() {
    for run in 12_500..=12_508 {
        let record = read_sample(&format!("run_records/{run}"));
        for file in record.files.iter().chain(&record.update.files) {
            if let Err(error) = fhicl::parse(&file.text) {
                panic!("{run}/{}.fcl: {error}", file.entity);
            }
        }
        assert_eq!(
            record.update.has_stop_time,
            ![12_503, 12_507].contains(&run)
        );
    }
    let schema = fs::read_to_string(sample("schema/schema.fcl")).expect("readable");
    assert!(fhicl::parse(&schema).is_ok());
}

#[test]
fn a_whole_run_record() {
    let record = read_sample("run_records/12500");
    assert_eq!(
        entities(&record),
        [
            "Dispatcher1",
            "EventBuilder1",
            "EventBuilder2",
            "RunHistory",
            "boot",
            "environment",
            "known_boardreaders_list",
            "metadata",
            "pmt01",
            "ranks",
            "settings",
            "setup",
            "tpc01",
            "tpc02",
            "trig01"
        ]
    );
    assert_eq!(record.configuration, "physics_001");
    assert_eq!(
        text(&record, "tpc01"),
        fs::read_to_string(sample("run_records/12500/tpc01.fcl")).expect("readable")
    );
    assert_eq!(record.update.files.len(), 1);
    assert_eq!(record.update.files[0].entity, "RunHistory2");
    assert_eq!(logged(Level::Info), Vec::<String>::new());
}

#[test]
fn only_what_is_asked_for_is_generated() {
    let generate = BTreeSet::from([Generated::Boot]);
    let options = Options {
        generate: &generate,
        max_file_bytes: MAX_FILE_BYTES,
    };
    let path = sample("run_records/12502");
    let record = RunRecord::read(Run(12_502), &path, &options).expect("a run record");
    assert_eq!(
        entities(&record),
        [
            "Dispatcher1",
            "EventBuilder1",
            "EventBuilder2",
            "boot",
            "laser01",
            "tpc01",
            "trig01"
        ]
    );
    // What the archiver itself needs of metadata.txt it reads all the same.
    assert_eq!(record.configuration, "cosmics calib_laser");
    assert!(record.update.has_stop_time);
    assert!(record.update.files.is_empty());
}

#[test]
fn the_update_appears_with_the_stop_time() {
    let going = read_sample("run_records/12503");
    assert!(!going.update.has_stop_time);
    assert_eq!(
        going.update.files[0].text,
        "DAQInterface_start_time: \"Tue Feb 10 12:00:00 UTC 2026\""
    );

    let directory = record_with(&[("metadata.txt", b"DAQInterface start time: x\n")]);
    let generate = BTreeSet::from(Generated::ALL);
    let options = Options {
        generate: &generate,
        max_file_bytes: MAX_FILE_BYTES,
    };
    let update = || RunRecord::read_update(Run(1), directory.path(), &options).expect("read");
    assert!(!update().has_stop_time);
    fs::write(
        directory.path().join("metadata.txt"),
        "DAQInterface start time: x\n\nDAQInterface stop time: y\n",
    )
    .expect("written");
    assert!(update().has_stop_time);
    assert_eq!(update(), read(directory.path()).expect("read").update);
}

#[test]
fn a_record_of_fcl_files_alone_is_archived_as_standard() {
    let record = read_sample("run_records/12507");
    assert_eq!(record.configuration, "standard");
    assert_eq!(
        entities(&record),
        ["Dispatcher1", "EventBuilder1", "pmt01", "tpc01"]
    );
    assert_eq!(
        logged(Level::Info),
        [
            "run 12500: not there, and so not archived: boot.txt, environment.txt, \
             known_boardreaders_list.txt, metadata.txt, ranks.txt, settings.txt, setup.txt",
            "run 12500: no metadata.txt, archived as \"standard\""
        ]
    );
}

#[test]
fn what_is_left_out_and_what_is_kept_of_other_files() {
    let record = read_sample("run_records/12508");
    assert!(entities(&record).contains(&"hashes"));
    assert!(!entities(&record).contains(&"schema"));
    let lines = logged(Level::Debug);
    assert!(
        lines.iter().any(|line| line
            == "run 12500: not archived: rc_info_start.txt, rc_info_stop.txt, schema.fcl"),
        "{lines:?}"
    );
    let left_out = "run 12500: left out, as their names do not end in .fcl or are no .txt file that is \
                    archived: #tpc01.fcl#";
    assert!(logged(Level::Info).iter().any(|line| line == left_out));
}

#[test]
fn the_broken_samples() {
    for (run, problem) in [
        (13_001, "has no .fcl file, only .gitkeep; "),
        (13_006, "has no .fcl file, only boot.txt, metadata.txt; "),
    ] {
        let error = read(&sample(&format!("broken/{run}"))).expect_err("an error");
        assert!(matches!(error, Error::RunRecord { .. }));
        assert_eq!(error.disposition(), Disposition::FailRun);
        assert!(error.to_string().contains(problem), "{error}");
    }
    for (run, entity) in [(13_002, "pmt01"), (13_004, "tpc01")] {
        let record = read_sample(&format!("broken/{run}"));
        assert!(fhicl::parse(text(&record, entity)).is_err());
    }
    for run in [13_003, 13_005] {
        assert_eq!(
            read_sample(&format!("broken/{run}")).configuration,
            "standard"
        );
    }
    let warnings = logged(Level::Warn);
    for expected in [
        "run 12500: not there, and so not archived: metadata.txt",
        "run 12500: no \"Config name:\" in metadata.txt, archived as \"standard\"",
    ] {
        assert!(warnings.iter().any(|line| line == expected), "{warnings:?}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let directory = record_with(&[
        ("#x.fcl#", b"{"),
        (".#y.fcl", b"{"),
        (":wq", b""),
        (".fcl", b"{"),
    ]);
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("dir.fcl")).expect("created");
    symlink(at("gone"), at("dangling.fcl")).expect("linked");
    symlink(at("tpc01.fcl"), at("link.fcl")).expect("linked");
    let socket = UnixListener::bind(at("socket.fcl")).expect("bound");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("boot.txt"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a FIFO");

    let record = read(directory.path()).expect("a run record");
    drop(socket);
    assert_eq!(entities(&record), ["link", "tpc01"]);
    let warnings = logged(Level::Warn);
    for expected in [
        "dir.fcl is left out: a directory",
        "dangling.fcl is left out: a dangling link",
        "socket.fcl is left out: not a regular file",
        "boot.txt is left out: not a regular file",
        ".#y.fcl is left out: an editor's file",
        ".fcl is left out: an editor's file",
    ] {
        assert!(
            warnings.iter().any(|line| line.ends_with(expected)),
            "{expected}: {warnings:?}"
        );
    }
}

#[test]
fn a_file_that_can_not_be_read_is_an_error_that_names_it() {
    let directory = record_with(&[]);
    for name in ["pmt01.fcl", "boot.txt"] {
        let path = directory.path().join(name);
        symlink(&path, &path).expect("linked to itself");
        let error = read(directory.path()).expect_err("an error");
        assert!(matches!(error, Error::Io { .. }));
        assert!(error.to_string().contains(name), "{error}");
        fs::remove_file(&path).expect("removed");
    }
    assert!(read(directory.path()).is_ok());
    assert!(matches!(
        read(&directory.path().join("gone")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_file_too_large_to_be_a_configuration_is_refused_unread() {
    let directory = record_with(&[]);
    let path = directory.path().join("huge.fcl");
    let file = fs::File::create(&path).expect("created");
    file.set_len(MAX_FILE_BYTES + 1).expect("sparse");
    let error = read(directory.path()).expect_err("an error");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: has 268435457 bytes, more than the 256 MiB of app.max_file_mb; if it is a \
             configuration, raise that",
            path.display()
        )
    );
}

#[test]
fn bytes_that_are_not_utf8_are_read_and_named() {
    let directory = record_with(&[
        ("pmt01.fcl", b"a: 1\nb: 2 # caf\xe9\n"),
        ("setup.txt", b"echo caf\xe9\n"),
        ("empty.fcl", b" \n"),
    ]);
    let record = read(directory.path()).expect("a run record");
    assert_eq!(text(&record, "pmt01"), "a: 1\nb: 2 # café\n");
    assert_eq!(text(&record, "setup"), "setup_script: \"echo café\\n\"");
    assert_eq!(text(&record, "empty"), " \n");
    let warnings = logged(Level::Warn);
    assert!(
        warnings.iter().any(|line| line
            .ends_with("pmt01.fcl: line 2: not UTF-8; 1 bytes of the file are read as Latin-1")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|line| line == "run 12500: empty.fcl is empty")
    );
}

#[test]
fn the_records_own_files_go_before_generated_ones() {
    let directory = record_with(&[
        ("boot.fcl", b"mine: 1\n"),
        ("boot.txt", b"debug level: 1\n"),
        ("RunHistory2.fcl", b"mine: 2\n"),
        (
            "metadata.txt",
            b"Config name: x\nDAQInterface stop time: y\n",
        ),
    ]);
    let record = read(directory.path()).expect("a run record");
    assert_eq!(text(&record, "boot"), "mine: 1\n");
    assert_eq!(text(&record, "RunHistory2"), "mine: 2\n");
    assert!(record.update.files.is_empty());
    let warnings = logged(Level::Warn);
    for expected in [
        "run 12500: boot.fcl is the record's own, none is made from boot.txt",
        "run 12500: RunHistory2.fcl is the record's own, none is made from metadata.txt",
    ] {
        assert!(warnings.iter().any(|line| line == expected), "{warnings:?}");
    }
}

#[test]
fn notes_of_the_converters_are_logged_with_run_and_file() {
    let _ = read_sample("run_records/12506");
    let lines = logged(Level::Info);
    for expected in [
        "run 12500: known_boardreaders_list.txt: a repeated name is kept each time (line 3: gps)",
        "run 12500: known_boardreaders_list.txt: a name that FHiCL does not allow is changed, the \
         original kept above it (line 5: obs-crt-3)",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{lines:?}");
    }
}

#[test]
fn names_that_can_be_generated() {
    for generated in Generated::ALL {
        assert_eq!(generated.entity().parse(), Ok(generated));
    }
    let error = "Boot".parse::<Generated>().expect_err("an error");
    assert!(
        error.to_string().starts_with("\"Boot\" is not a file"),
        "{error}"
    );
}

/// Every run record of the corpus is read, and all that is made of it is FHiCL.
#[test]
fn the_corpus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/run_records");
    if !path.is_dir() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is missing in CI",
            path.display()
        );
        eprintln!("skipped: {} is missing", path.display());
        return;
    }
    let runs = scan(&path).expect("scanned");
    assert_eq!(runs.len(), 14);
    for (run, path) in runs {
        let record = read(&path).expect("a run record");
        let made = record.files.iter().chain(&record.update.files);
        for file in made.filter(|file| file.entity.parse::<Generated>().is_ok()) {
            if let Err(error) = fhicl::parse(&file.text) {
                panic!("{run}/{}.fcl: {error}", file.entity);
            }
        }
        let expected = match run.0 {
            901 => "complex_subsystems subconfigs_toy",
            903 => "simple_subsystems subconfigs_toy",
            905 => "multiple_dataloggers subconfigs_toy",
            907 => "config_includes subconfigs_toy",
            1_001_506 => "standard",
            _ => continue,
        };
        assert_eq!(record.configuration, expected);
    }
}
