//! The binary on records, databases and a work directory of its own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use run_record_archiver::artdaqdb::filesystem::FilesystemDb;
use run_record_archiver::artdaqdb::{ArtdaqDb, Presence};
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::UconDb;
use run_record_archiver::ucondb::directory::DirectoryUconDb;

use super::{copy_tree, project, with_default_signals};

/// The line that a record's metadata.txt gets when its run ends.
const STOP_LINE: &str = "DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";

/// An archiver to try: `Test::new().record(7).run(&["--incremental"])`.
#[must_use]
pub struct Test {
    directory: tempfile::TempDir,
    /// Section, then key, then the YAML value.
    config: BTreeMap<String, BTreeMap<String, String>>,
}

impl Test {
    /// No records yet; FilesystemDB and a `file://` UconDB.
    pub fn new() -> Test {
        Test::at(tempfile::tempdir().unwrap())
    }

    /// The same, in memory where there is a place for it: many executions wait
    /// for the disk else.
    pub fn in_memory() -> Test {
        Test::at(tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()))
    }

    fn at(directory: tempfile::TempDir) -> Test {
        let path = directory.path();
        fs::create_dir(path.join("run_records")).unwrap();
        fs::create_dir(path.join("schema")).unwrap();
        fs::write(path.join("schema/schema.fcl"), "artdaq_processes: []\n").unwrap();
        let at = |name: &str| path.join(name).display().to_string();
        let mut test = Test {
            config: BTreeMap::new(),
            directory: tempfile::tempdir().unwrap(),
        };
        test = test
            .set("app.work_dir", &at("work"))
            .set("app.retry_delay_seconds", "0.01")
            .set("source_files.settle_seconds", "0")
            .set("source_files.run_records_dir", &at("run_records"))
            .set("artdaq_db.fcl_conf_dir", &at("schema"))
            .set(
                "artdaq_db.database_uri",
                &format!("filesystemdb://{}", at("archive")),
            )
            .set("ucon_db.server_url", &format!("file://{}", at("ucondb")))
            .set("ucon_db.folder_name", "test")
            .set("ucon_db.object_name", "configuration")
            .set("ucon_db.writer_user", "writer")
            .set("ucon_db.writer_password", "swordfish");
        test.directory = directory;
        test
    }

    /// Sets `section.key` to a YAML value.
    pub fn set(mut self, key: &str, value: &str) -> Test {
        let (section, key) = key.split_once('.').unwrap();
        self.config
            .entry(section.into())
            .or_default()
            .insert(key.into(), value.into());
        self
    }

    /// Takes the run records of a directory instead of its own.
    pub fn records_of(self, directory: &Path) -> Test {
        self.set(
            "source_files.run_records_dir",
            &directory.display().to_string(),
        )
    }

    /// Adds a small run record.
    pub fn record(self, run: u64) -> Test {
        let record = self.records().join(run.to_string());
        fs::create_dir_all(&record).unwrap();
        fs::write(
            record.join("tpc01.fcl"),
            format!("mark: {run}\nboard: {{ id: 0x{run:x} }}\n"),
        )
        .unwrap();
        fs::write(
            record.join("crt01.fcl"),
            "hosts: [\"crt01\", \"crt02\"] # both\n",
        )
        .unwrap();
        fs::write(
            record.join("metadata.txt"),
            format!(
                "Config name: test\nComponent #0: tpc01\nsbndaq commit/version: v{run} \"t\" \"b\"\n\n\
                 DAQInterface start time: Wed Mar 18 18:02:11 UTC 2026\n{STOP_LINE}"
            ),
        )
        .unwrap();
        self
    }

    /// Adds many.
    pub fn records_in(mut self, runs: impl IntoIterator<Item = u64>) -> Test {
        for run in runs {
            self = self.record(run);
        }
        self
    }

    /// Takes the stop time out of a record, as while the run is going.
    pub fn still_going(self, run: u64) -> Test {
        let (path, text) = self.metadata(run);
        fs::write(path, text.replace(STOP_LINE, "")).unwrap();
        self
    }

    /// Gives a run its stop time.
    pub fn ends(&self, run: u64) {
        let (path, text) = self.metadata(run);
        fs::write(path, text + STOP_LINE).unwrap();
    }

    fn metadata(&self, run: u64) -> (PathBuf, String) {
        let path = self.records().join(run.to_string()).join("metadata.txt");
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    }

    /// Adds the sample record of that number.
    pub fn sample(self, kind: &str, run: u64) -> Test {
        copy_tree(
            &project("samples").join(kind).join(run.to_string()),
            &self.records().join(run.to_string()),
        );
        self
    }

    /// The directory of everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the run records.
    pub fn records(&self) -> PathBuf {
        self.path().join("run_records")
    }

    /// A file of the work directory.
    pub fn work(&self, name: &str) -> PathBuf {
        self.path().join("work").join(name)
    }

    /// The command, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut yaml = String::from(
            "fhiclize_generate: [boot, metadata, known_boardreaders_list, RunHistory, \
             RunHistory2, settings, setup, environment, ranks]\n",
        );
        for (section, keys) in &self.config {
            writeln!(yaml, "{section}:").unwrap();
            for (key, value) in keys {
                writeln!(yaml, "  {key}: {value}").unwrap();
            }
        }
        let config = self.path().join("config.yaml");
        // It holds a password.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&config);
        file.unwrap().write_all(yaml.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_run_record_archiver"));
        command.arg(config).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the archiver to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the archiver; what it says goes to its log file alone.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Starts the archiver; what it says is there once it has ended.
    pub fn start_and_listen(&self, arguments: &[&str]) -> (Child, JoinHandle<String>) {
        let mut child = with_default_signals(&self.command(arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let words = std::thread::spawn(move || {
            let mut words = String::new();
            pipe.read_to_string(&mut words).unwrap();
            words
        });
        (child, words)
    }

    /// artdaqDB as it stands on disk.
    pub fn artdaqdb(&self) -> FilesystemDb {
        FilesystemDb::new(&self.config["artdaq_db"]["database_uri"]).unwrap()
    }

    /// The runs that artdaqDB has whole.
    pub fn imported(&self) -> Vec<u64> {
        let runs = self.artdaqdb().runs().unwrap();
        runs.into_iter()
            .filter(|(_, presence)| *presence == Presence::Whole)
            .map(|(run, _)| run.0)
            .collect()
    }

    /// UconDB as it stands on disk.
    pub fn ucondb(&self) -> DirectoryUconDb {
        let ucon = &self.config["ucon_db"];
        DirectoryUconDb::from_url(
            &ucon["server_url"],
            &ucon["folder_name"],
            &ucon["object_name"],
        )
        .unwrap()
    }

    /// The runs that UconDB has.
    pub fn migrated(&self) -> Vec<u64> {
        self.ucondb()
            .runs()
            .unwrap()
            .into_iter()
            .map(|run| run.0)
            .collect()
    }

    /// A run's blob.
    pub fn blob(&self, run: u64) -> String {
        String::from_utf8(self.ucondb().download(Run(run)).unwrap()).unwrap()
    }

    /// A state file: `last_contiguous_run` and `last_attempted_run`.
    pub fn state(&self, name: &str) -> (u64, u64) {
        let text = fs::read_to_string(self.work(name)).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = |key: &str| state[key].as_u64().unwrap();
        (number("last_contiguous_run"), number("last_attempted_run"))
    }

    /// A failure log.
    pub fn failures(&self, name: &str) -> Vec<u64> {
        fs::read_to_string(self.work(name))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }
}

/// What an archiver said and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What a report would go to.
    pub stdout: String,
    /// What the log goes to.
    pub stderr: String,
}

impl Ended {
    /// It ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Its log has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Ended {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in:\n{}",
            self.stderr
        );
        self
    }

    /// Its log does not have this text.
    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Ended {
        assert!(!self.stderr.contains(text), "{text:?} in:\n{}", self.stderr);
        self
    }
}
