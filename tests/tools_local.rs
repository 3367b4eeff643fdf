//! The real tools' stand-ins on this machine: what they do well, and every way
//! in which they fail.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::tools::{StandIns, assert_says};
use crate::support::{fcl, small_run, text_of};
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::tools::{Settings, ToolsDb};
use run_record_archiver::artdaqdb::{ArtdaqDb, NativeDb, Presence};
use run_record_archiver::error::Disposition;
use run_record_archiver::run::{FclFile, Run};

struct Setup {
    directory: tempfile::TempDir,
    tools: StandIns,
}

impl Setup {
    fn new() -> Setup {
        let directory = tempfile::tempdir().unwrap();
        let tools = StandIns::new(directory.path().join("tools"));
        Setup { directory, tools }
    }

    fn uri(&self) -> String {
        format!("filesystemdb://{}/archive", self.directory.path().display())
    }

    fn open(&self) -> ToolsDb {
        self.open_with(self.tools.settings())
    }

    fn open_with(&self, settings: Settings) -> ToolsDb {
        ToolsDb::filesystem(&self.uri(), settings).unwrap()
    }

    fn native(&self) -> FilesystemDb {
        FilesystemDb::new(&self.uri()).unwrap()
    }

    /// A run archived without a fault.
    fn archive(&self, run: u64) {
        let db = self.open();
        db.insert(Run(run), "BootDAQ", &small_run(run)).unwrap();
        db.publish().unwrap();
    }

    fn started(&self) -> Vec<String> {
        self.tools
            .calls()
            .into_iter()
            .map(|call| call.tool)
            .collect()
    }
}

#[test]
fn the_tools_get_their_arguments_and_one_thread() {
    let setup = Setup::new();
    setup.archive(7);
    setup.open().read(Run(7)).unwrap();
    let calls = setup.tools.calls();
    assert_eq!(
        setup.started(),
        ["bulkloader", "bulkloader", "bulkdownloader"]
    );
    for call in calls {
        let words: Vec<&str> = call.arguments.split(' ').collect();
        assert_eq!(words[..5], ["-r", "7", "-c", "BootDAQ", "-p"]);
        assert_eq!(words[6..], ["-t", "1"]);
        assert!(!fs::exists(words[5]).unwrap(), "{} was left", words[5]);
    }
}

#[test]
fn what_a_shell_acts_on_reaches_no_tool() {
    for name in [
        "$(touch /tmp/x);'\"*`id`",
        "a;touch${IFS}X;",
        "..",
        "../../x",
        "a(b)",
        "a&b",
        "a'b",
        "a\\b",
        "a|b",
        "a<b",
        "-rf",
    ] {
        let setup = Setup::new();
        let db = setup.open();
        db.insert(Run(7), name, &small_run(7)).unwrap();
        let update = fcl("RunHistory2", "stop: \"18:02\"\n");
        db.update(Run(7), &[update]).unwrap();
        db.publish().unwrap();
        let read = db.read(Run(7)).unwrap();
        assert_eq!(read, setup.native().read(Run(7)).unwrap());
        assert_eq!(read.name, name);
        assert_eq!(read.files.len(), small_run(7).len() + 1);
        // A later one, by another process.
        let db = setup.open();
        let update = fcl("RunHistory3", "stop: \"18:03\"\n");
        db.update(Run(7), &[update]).unwrap();
        db.publish().unwrap();
        let read = setup.open().read(Run(7)).unwrap();
        assert_eq!(read.files.len(), small_run(7).len() + 2);
        assert_eq!(setup.started(), [""; 0], "{name}");
        // Other names do go through the tools.
        setup.archive(8);
        assert_eq!(setup.started(), ["bulkloader", "bulkloader"]);
    }
}

#[test]
fn a_path_that_a_shell_acts_on_reaches_no_tool() {
    for odd in ["a b", "a;b", "a'b", "$(id)", "a(b)"] {
        let setup = Setup::new();
        let root = setup.directory.path().join(odd).join("archive");
        let db = ToolsDb::directory(&root, setup.tools.settings());
        fs::create_dir(root.parent().unwrap()).unwrap();
        db.insert(Run(7), "c", &small_run(7)).unwrap();
        db.publish().unwrap();
        assert_eq!(db.read(Run(7)).unwrap().files.len(), 4, "{odd}");
        assert_eq!(setup.started(), [""; 0], "{odd}");
    }
}

#[test]
fn what_bulkloader_can_never_store_is_not_tried_again() {
    for (entity, text) in [
        ("tpc02", ""),
        ("tpc02", "\n"),
        ("t'pc", "a: 1\n"),
        ("t\"pc", "a: 1\n"),
    ] {
        let setup = Setup::new();
        let mut files = small_run(7);
        files.push(fcl(entity, text));
        let error = setup.open().insert(Run(7), "c", &files).unwrap_err();
        let words = ["run 7", "bulkloader can't store", "use_tools: false"];
        assert_says(&error, Disposition::FailRun, &words);
        assert_eq!(setup.started(), [""; 0]);
    }
}

#[test]
fn documents_that_are_missing_after_a_good_exit_are_named() {
    let setup = Setup::new();
    setup.tools.set("bulkloader", "lose 1 once");
    let db = setup.open();
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    let words = [
        "run 7",
        "without an error",
        "not in the database: tpc01",
        "2 of 4",
    ];
    assert_says(&error, Disposition::RetryRun, &words);

    // The next attempt loads what is missing, and nothing twice.
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    db.publish().unwrap();
    let documents = setup.native().documents(Run(7)).unwrap().unwrap();
    assert!(
        documents.entities.values().all(|count| *count == 1),
        "{documents:?}"
    );
    assert_eq!(
        db.read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
}

#[test]
fn a_run_that_a_crash_cut_short_is_never_taken_for_whole() {
    for mode in ["crash 2 once", "fail 2 once"] {
        let setup = Setup::new();
        setup.tools.set("bulkloader", mode);
        let error = setup.open().insert(Run(7), "c", &small_run(7)).unwrap_err();
        let words: &[&str] = match mode.starts_with("crash") {
            true => &["crashed (signal 6)", "2 of 4", "Failed Assertion"],
            false => &["exit code 1", "2 of 4", "the disk is on fire"],
        };
        assert_says(&error, Disposition::RetryRun, words);
        let runs = setup.open().runs().unwrap();
        assert_eq!(runs[&Run(7)], Presence::Partial);
        let error = setup.open().read(Run(7)).unwrap_err();
        assert_says(&error, Disposition::FailRun, &["run 7", "in part"]);

        // Another execution completes it, under the name that it has.
        let db = setup.open();
        db.insert(Run(7), "other", &small_run(7)).unwrap();
        db.publish().unwrap();
        assert_eq!(db.runs().unwrap()[&Run(7)], Presence::Whole);
        assert_eq!(db.read(Run(7)).unwrap().name, "c");
        let documents = setup.native().documents(Run(7)).unwrap().unwrap();
        assert!(
            documents.entities.values().all(|count| *count == 1),
            "{documents:?}"
        );
    }
}

#[test]
fn a_crash_while_publishing_leaves_the_run_in_part() {
    let setup = Setup::new();
    let db = setup.open();
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    setup.tools.set("bulkloader", "crash 0 once");
    let error = db.publish().unwrap_err();
    assert_says(&error, Disposition::RetryRun, &["run 7", "3 of 4"]);
    assert_eq!(setup.open().runs().unwrap()[&Run(7)], Presence::Partial);
}

#[test]
fn a_tool_that_hangs_ends_with_all_it_started() {
    let setup = Setup::new();
    setup.tools.set("bulkloader", "hang 1");
    let settings = Settings {
        limit: Duration::from_secs(1),
        ..setup.tools.settings()
    };
    let start = Instant::now();
    let db = setup.open_with(settings);
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    let words = ["did not end within 1 s", "1 of 4", "tools_timeout_seconds"];
    assert_says(&error, Disposition::RetryRun, &words);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(setup.tools.all_gone());
    let directory = setup.tools.calls()[0]
        .arguments
        .split(' ')
        .nth(5)
        .unwrap()
        .to_owned();
    assert!(!fs::exists(directory).unwrap());
}

#[test]
fn a_torn_index_is_put_back() {
    let setup = Setup::new();
    setup.archive(5);
    setup.tools.set("bulkloader", "tear 2 once");
    let db = setup.open();
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(
        &error,
        Disposition::RetryRun,
        &["run 7", "torn index", "put back"],
    );
    assert_eq!(
        setup.native().runs().unwrap(),
        [(Run(5), Presence::Whole)].into()
    );
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    db.publish().unwrap();
    assert_eq!(
        text_of(&db.read(Run(5)).unwrap().files, "schema"),
        "\nartdaq_processes: [] \n"
    );
    assert_eq!(
        db.read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
}

#[test]
fn what_only_the_tools_refuse_is_not_tried_again() {
    let setup = Setup::new();
    setup.tools.set("bulkloader", "parse 0");
    let error = setup.open().insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(&error, Disposition::FailRun, &["run 7", "use_tools: false"]);
}

#[test]
fn a_file_that_the_tools_would_take_for_the_schema_is_refused_before() {
    let setup = Setup::new();
    let mut files = small_run(7);
    files.push(fcl("x_schema", "a: 1\n"));
    let error = setup.open().insert(Run(7), "c", &files).unwrap_err();
    assert_says(
        &error,
        Disposition::FailRun,
        &["run 7", "x_schema.fcl", "use_tools: false"],
    );
    assert_eq!(setup.started(), [""; 0]);
}

#[test]
fn noise_is_no_failure() {
    let setup = Setup::new();
    setup.tools.set("bulkloader", "noise");
    setup.tools.set("bulkdownloader", "noise");
    setup.archive(7);
    assert_eq!(
        setup.open().read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
}

#[test]
fn a_download_with_missing_files_is_an_error() {
    let setup = Setup::new();
    setup.archive(7);
    for (mode, words) in [
        ("lose 1", vec!["run 7", "1 of 4 files are missing: tpc01"]),
        ("extra", vec!["run 7", "no documents: another"]),
        ("crash 2", vec!["bulkdownloader crashed (signal 6)"]),
        (
            "fail 2",
            vec!["bulkdownloader ended with exit code 1", "on fire"],
        ),
    ] {
        setup.tools.set("bulkdownloader", mode);
        let error = setup.open().read(Run(7)).unwrap_err();
        assert_says(&error, Disposition::RetryRun, &words);
    }
}

#[test]
fn what_the_downloader_does_not_find_is_read_without_it() {
    let setup = Setup::new();
    let db = setup.open();
    // A name of two sub-configurations comes back empty from the real one.
    db.insert(Run(7), "tpc crt", &small_run(7)).unwrap();
    // Of two documents of an entity it takes any.
    db.insert(Run(8), "c", &small_run(8)).unwrap();
    for stop in ["none", "18:02"] {
        std::thread::sleep(Duration::from_millis(5));
        let update = fcl("RunHistory2", &format!("stop: \"{stop}\"\n"));
        db.update(Run(8), &[update]).unwrap();
    }
    db.publish().unwrap();
    let files: Vec<FclFile> = db.read(Run(7)).unwrap().files;
    assert_eq!(files.len(), small_run(7).len());
    let files = db.read(Run(8)).unwrap().files;
    assert!(text_of(&files, "RunHistory2").contains("18:02"));
    assert!(!setup.started().contains(&"bulkdownloader".into()));

    // A configuration's digits at the end are no part of its directory's name.
    db.insert(Run(9), "c0012", &small_run(9)).unwrap();
    db.publish().unwrap();
    assert_eq!(
        db.read(Run(9)).unwrap(),
        setup.native().read(Run(9)).unwrap()
    );
    assert!(setup.started().contains(&"bulkdownloader".into()));
}

#[test]
fn a_missing_tool_is_nobodys_run() {
    let setup = Setup::new();
    let settings = Settings {
        tools_dir: Some("/nonexistent".into()),
        ..setup.tools.settings()
    };
    let error = setup
        .open_with(settings)
        .insert(Run(7), "c", &small_run(7))
        .unwrap_err();
    let words = ["/nonexistent/bulkloader", "artdaq_db.tools_dir"];
    assert_says(&error, Disposition::StopStage, &words);
    let settings = Settings {
        tools_dir: None,
        ..setup.tools.settings()
    };
    let error = setup
        .open_with(settings)
        .insert(Run(7), "c", &small_run(7))
        .unwrap_err();
    assert_says(
        &error,
        Disposition::StopStage,
        &["bulkloader", "PATH", "artdaq_db.tools_dir"],
    );
}

#[test]
fn an_archive_in_other_hands_is_waited_for_and_then_named() {
    let setup = Setup::new();
    setup.archive(5);
    let lock = setup
        .directory
        .path()
        .join("archive/.run_record_archiver.lock");
    let lock = fs::File::options().write(true).open(lock).unwrap();
    lock.lock().unwrap();
    let settings = Settings {
        limit: Duration::from_secs(1),
        ..setup.tools.settings()
    };
    let db = setup.open_with(settings);
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(
        &error,
        Disposition::StopStage,
        &["archive/.run_record_archiver.lock", "fuser"],
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| setup.open().insert(Run(7), "c", &small_run(7)));
        std::thread::sleep(Duration::from_millis(200));
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_password_is_seen_nowhere() {
    let setup = Setup::new();
    setup.tools.set("bulkloader", "leak");
    let uri = "mongodb://archiver:sword%2Dfish@localhost:1/archive";
    // The stand-in opens no database here; any native client will do.
    let db = ToolsDb::server(uri, Box::new(setup.native()), setup.tools.settings());
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(&error, Disposition::RetryRun, &["cannot connect to", "***"]);
    for secret in ["sword%2Dfish", "sword-fish"] {
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
    assert_eq!(setup.tools.left("spied").unwrap(), "");
    let cores = std::thread::available_parallelism().unwrap().get();
    let call = &setup.tools.calls()[0].arguments;
    assert!(
        call.ends_with(&format!("-t {}", cores.div_ceil(2))),
        "{call}"
    );
}
