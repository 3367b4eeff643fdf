//! The real tools' stand-ins on another host: a real sshd on loopback.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::sshd::Sshd;
use crate::support::tools::{StandIns, assert_says};
use crate::support::{fcl, small_run, text_of};
use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::tools::{self, Settings, ToolsDb};
use run_record_archiver::artdaqdb::{ArtdaqDb, NativeDb, Presence};
use run_record_archiver::error::Disposition;
use run_record_archiver::run::Run;

struct Setup {
    directory: tempfile::TempDir,
    tools: StandIns,
    sshd: Sshd,
}

impl Setup {
    /// `None` if there is no sshd here.
    fn new() -> Option<Setup> {
        let sshd = Sshd::start()?;
        let directory = tempfile::tempdir().unwrap();
        let tools = StandIns::new(directory.path().join("tools"));
        Some(Setup {
            directory,
            tools,
            sshd,
        })
    }

    fn uri(&self) -> String {
        format!("filesystemdb://{}/archive", self.directory.path().display())
    }

    fn settings(&self) -> Settings {
        self.sshd.through(self.tools.settings())
    }

    fn open(&self) -> ToolsDb {
        self.open_with(self.settings())
    }

    fn open_with(&self, settings: Settings) -> ToolsDb {
        ToolsDb::filesystem(&self.uri(), settings).unwrap()
    }

    /// The archive as it stands on the host's disk.
    fn native(&self) -> FilesystemDb {
        FilesystemDb::new(&self.uri()).unwrap()
    }

    #[track_caller]
    fn assert_left_nothing(&self) {
        assert_eq!(
            self.sshd.temporary_files(),
            [""; 0].map(std::path::PathBuf::from)
        );
    }
}

#[test]
fn a_run_goes_there_and_comes_back() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    assert_eq!(db.runs().unwrap(), [].into());
    let name = "Boot@DAQ%0012";
    db.insert(Run(7), name, &small_run(7)).unwrap();
    db.update(Run(7), &[fcl("RunHistory2", "start: \"now\"\n")])
        .unwrap();
    db.publish().unwrap();
    assert_eq!(db.runs().unwrap(), [(Run(7), Presence::Whole)].into());
    let read = db.read(Run(7)).unwrap();
    assert_eq!(read, setup.native().read(Run(7)).unwrap());
    assert_eq!((read.name.as_str(), read.files.len()), (name, 5));
    let calls = setup.tools.calls();
    assert_eq!(calls.last().unwrap().tool, "bulkdownloader");
    assert!(calls.iter().all(|call| call.arguments.ends_with("-t 1")));
    setup.assert_left_nothing();

    let error = db.read(Run(8)).unwrap_err();
    assert_says(
        &error,
        Disposition::FailRun,
        &["run 8 is not archived", "127.0.0.1:/"],
    );
}

#[test]
fn what_the_downloader_does_not_find_is_read_through_ssh() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    db.insert(Run(7), "tpc crt", &small_run(7)).unwrap();
    db.publish().unwrap();
    assert_eq!(
        db.read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
    assert!(
        setup
            .tools
            .calls()
            .iter()
            .all(|call| call.tool == "bulkloader")
    );
    setup.assert_left_nothing();
}

/// Only bulkdownloader has a shell; only bulkloader writes there.
#[test]
fn what_a_shell_acts_on_is_read_without_the_tool_there() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    for (run, name) in [(7, "a;touch${IFS}X;"), (8, "a(b)"), (9, "a b"), (10, "a&b")] {
        db.insert(Run(run), name, &small_run(run)).unwrap();
        db.publish().unwrap();
        let read = db.read(Run(run)).unwrap();
        assert_eq!(read, setup.native().read(Run(run)).unwrap());
        assert_eq!((read.name.as_str(), read.files.len()), (name, 4));
    }
    let calls = setup.tools.calls();
    assert!(
        calls.iter().all(|call| call.tool == "bulkloader"),
        "{calls:?}"
    );
    for (run, name) in [(17, ".."), (18, "a'b"), (19, "a\"b"), (20, "-x")] {
        let error = setup
            .open()
            .insert(Run(run), name, &small_run(run))
            .unwrap_err();
        let words = [
            "can't be given the configuration's name",
            "use_tools: false",
        ];
        assert_says(&error, Disposition::FailRun, &words);
        // One that is there is read nevertheless.
        let native = setup.native();
        native.insert(Run(run), name, &small_run(run)).unwrap();
        native.publish().unwrap();
        let read = setup.open().read(Run(run)).unwrap();
        assert_eq!(read, native.read(Run(run)).unwrap());
    }
    assert_eq!(setup.tools.calls(), calls);
    // The same of the archive's path, whatever the run.
    let root = setup.directory.path().join("a b/archive");
    fs::create_dir(root.parent().unwrap()).unwrap();
    let db = ToolsDb::directory(&root, setup.settings());
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    let words = ["can't be given the archive's path", "use_tools: false"];
    assert_says(&error, Disposition::StopStage, &words);
    assert_eq!(setup.tools.calls(), calls);
    setup.assert_left_nothing();
}

#[test]
fn tools_are_tried_out_there() {
    let Some(setup) = Setup::new() else { return };
    for (tool, result) in tools::try_out(setup.settings()) {
        result.unwrap_or_else(|error| panic!("{tool}: {error}"));
    }
    let missing = Settings {
        tools_dir: Some("/no/such/tools".into()),
        ..setup.settings()
    };
    for (tool, result) in tools::try_out(missing) {
        let error = result.unwrap_err();
        let missing = format!("/no/such/tools/{tool} is missing");
        assert_says(&error, Disposition::StopStage, &[&missing, "tools_dir"]);
    }
    let calls = setup.tools.calls();
    assert!(
        calls.iter().all(|call| call.arguments == "--help"),
        "{calls:?}"
    );
    assert!(!setup.directory.path().join("archive").exists());
    setup.assert_left_nothing();
}

#[test]
fn tools_that_fail_there_fail_as_they_do_here() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    for (mode, words) in [
        (
            "lose 1 once",
            &["without an error", "not in the database: tpc01"][..],
        ),
        (
            "crash 0 once",
            &["crashed (signal 6)", "2 of 4", "Failed Assertion"],
        ),
        (
            "fail 0 once",
            &["exit code 1", "2 of 4", "the disk is on fire"],
        ),
    ] {
        setup.tools.set("bulkloader", mode);
        let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
        assert_says(&error, Disposition::RetryRun, words);
        setup.assert_left_nothing();
    }
    assert_eq!(db.runs().unwrap(), [(Run(7), Presence::Partial)].into());
    setup.tools.set("bulkloader", "noise");
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    db.publish().unwrap();
    let documents = setup.native().documents(Run(7)).unwrap().unwrap();
    assert!(
        documents.entities.values().all(|count| *count == 1),
        "{documents:?}"
    );
    for (mode, words) in [
        ("lose 1 once", &["1 of 4 files are missing: tpc01"][..]),
        ("extra once", &["no documents: another"]),
        ("fail 2 once", &["bulkdownloader ended with exit code 1"]),
    ] {
        setup.tools.set("bulkdownloader", mode);
        let error = db.read(Run(7)).unwrap_err();
        assert_says(&error, Disposition::RetryRun, words);
    }
    assert_eq!(
        db.read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
    setup.assert_left_nothing();
}

#[test]
fn a_torn_index_is_put_back_there() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    db.insert(Run(5), "c", &small_run(5)).unwrap();
    db.publish().unwrap();
    setup.tools.set("bulkloader", "tear 2 once");
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
    let schema = setup.native().read(Run(5)).unwrap().files;
    assert_eq!(text_of(&schema, "schema"), "\nartdaq_processes: [] \n");
    setup.assert_left_nothing();
}

#[test]
fn a_tool_that_hangs_there_ends_with_all_it_started() {
    let Some(setup) = Setup::new() else { return };
    setup.tools.set("bulkloader", "hang 1");
    let start = Instant::now();
    let db = setup.open_with(Settings {
        limit: Duration::from_secs(2),
        ..setup.settings()
    });
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    let words = ["did not end within 2 s", "1 of 4", "tools_timeout_seconds"];
    assert_says(&error, Disposition::RetryRun, &words);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(setup.tools.all_gone());
    setup.assert_left_nothing();
}

#[test]
fn an_index_that_is_missing_there_is_not_taken_for_an_empty_archive() {
    let Some(setup) = Setup::new() else { return };
    let db = setup.open();
    db.insert(Run(5), "c", &small_run(5)).unwrap();
    db.publish().unwrap();
    let index = setup.native().root().join("RunHistory/index.json");
    let text = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    let error = db.runs().unwrap_err();
    let words = [
        "RunHistory/index.json is missing",
        "--rebuild-index",
        "127.0.0.1",
    ];
    assert_says(&error, Disposition::StopStage, &words);
    fs::write(&index, &text[..text.len() / 2]).unwrap();
    let error = db.runs().unwrap_err();
    let place = format!("127.0.0.1:{}", index.display());
    assert_says(&error, Disposition::StopStage, &[&place, "can't be used"]);
}

#[test]
fn what_stands_in_the_way_is_named() {
    let Some(setup) = Setup::new() else { return };
    let settings = |key: &str, known_hosts: &str| Settings {
        ssh_options: setup.sshd.options(key, known_hosts),
        ..setup.settings()
    };
    let error = |settings| setup.open_with(settings).runs().unwrap_err();

    let unknown = error(settings("user", "nobody"));
    let words = [
        "ssh to 127.0.0.1",
        "Host key verification failed",
        "known_hosts",
    ];
    assert_says(&unknown, Disposition::StopStage, &words);
    let stranger = error(settings("stranger", "known_hosts"));
    assert_says(
        &stranger,
        Disposition::StopStage,
        &["Permission denied", "by a key"],
    );
    let mut wrong = setup.settings();
    wrong.ssh_options.push("-oNoSuchOption=1".into());
    assert_says(
        &error(wrong),
        Disposition::StopStage,
        &["artdaq_db.ssh_options"],
    );
    let mut refused = setup.settings();
    refused.ssh_options[3] = "1".into();
    assert_says(
        &error(refused),
        Disposition::StopStage,
        &["refused", "artdaq_db.remote_host"],
    );

    let missing = setup.open_with(Settings {
        tools_dir: Some("/nonexistent".into()),
        ..setup.settings()
    });
    let missing = missing.insert(Run(7), "c", &small_run(7)).unwrap_err();
    let words = [
        "/nonexistent/bulkloader",
        "artdaq_db.tools_dir",
        "127.0.0.1",
    ];
    assert_says(&missing, Disposition::StopStage, &words);
    let missing = setup.open_with(Settings {
        tools_dir: None,
        ..setup.settings()
    });
    let missing = missing.insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(
        &missing,
        Disposition::StopStage,
        &["bulkloader is not in PATH"],
    );
    setup.assert_left_nothing();
}

#[test]
fn steps_can_share_a_connection() {
    let Some(setup) = Setup::new() else { return };
    let socket = setup.directory.path().join("socket");
    let mut settings = setup.settings();
    settings.ssh_options.extend([
        "-oControlMaster=auto".into(),
        format!("-oControlPath={}", socket.display()),
        "-oControlPersist=5".into(),
    ]);
    let db = setup.open_with(settings);
    db.insert(Run(7), "c", &small_run(7)).unwrap();
    // It outlives the ssh that made it.
    assert!(socket.exists());
    db.publish().unwrap();
    assert_eq!(
        db.read(Run(7)).unwrap(),
        setup.native().read(Run(7)).unwrap()
    );
}

#[test]
fn a_password_is_seen_on_neither_side() {
    let Some(setup) = Setup::new() else { return };
    setup.tools.set("bulkloader", "leak");
    let uri = "mongodb://archiver:swordfish@localhost:1/archive";
    // The stand-in opens no database here; any native client will do.
    let db = ToolsDb::server(uri, Box::new(setup.native()), setup.settings());
    let error = db.insert(Run(7), "c", &small_run(7)).unwrap_err();
    assert_says(&error, Disposition::RetryRun, &["cannot connect to", "***"]);
    assert!(
        !format!("{error} {error:?}").contains("swordfish"),
        "{error:?}"
    );
    assert_eq!(setup.tools.left("spied").unwrap(), "");
    let cores = std::thread::available_parallelism().unwrap().get();
    let call = &setup.tools.calls()[0].arguments;
    assert!(
        call.ends_with(&format!("-t {}", cores.div_ceil(2))),
        "{call}"
    );
    setup.assert_left_nothing();
}
