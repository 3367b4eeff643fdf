//! A real mongod on a free port, with its data in a temporary directory.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, doc};
use mongodb::sync::Client;
use run_record_archiver::artdaqdb::mongo::MongoDb;

use super::project;

/// How a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A replica set of one server: it has transactions.
    ReplicaSet,
    /// A server by itself.
    Standalone,
}

/// A running mongod. It ends when this is dropped.
pub struct Mongod {
    process: Child,
    port: u16,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The mongod to run: `$MONGOD`, on the PATH, or installed under `target/`.
/// Without one the test says so and passes, but never under CI.
fn binary() -> Option<PathBuf> {
    let is_there = |path: &PathBuf| path.is_file();
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join("mongod"))
            .collect::<Vec<_>>()
    });
    let installed = fs::read_dir(project("target/mongod-venv/lib"))
        .into_iter()
        .flatten()
        .map(|python| {
            python
                .unwrap()
                .path()
                .join("site-packages/fiftyone/db/bin/mongod")
        });
    let found = std::env::var_os("MONGOD")
        .map(PathBuf::from)
        .into_iter()
        .chain(on_path)
        .chain(installed)
        .find(is_there);
    if found.is_none() {
        let message = "no mongod: run tests/install_mongod.sh, or set MONGOD to one";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("{message}");
    }
    found
}

impl Mongod {
    /// Starts a server, ready for writes.
    pub fn start(kind: Kind) -> Option<Mongod> {
        Mongod::start_with(kind, &[])
    }

    /// Starts a server with more arguments. One that demands TLS or credentials
    /// must be standalone.
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Option<Mongod> {
        let small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"];
        Mongod::start_sized(kind, &[&small, arguments].concat())
    }

    /// Starts a server that takes what memory and disk it wants, as one that has a
    /// machine to itself: for benches. A test's is small, for there are many.
    pub fn start_large(kind: Kind) -> Option<Mongod> {
        Mongod::start_sized(kind, &[])
    }

    /// Starts a server whose data and log are in a new directory below this one.
    pub fn start_in(kind: Kind, place: &Path) -> Option<Mongod> {
        let small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"];
        Mongod::start_at(kind, &small, tempfile::tempdir_in(place).unwrap())
    }

    fn start_sized(kind: Kind, arguments: &[&str]) -> Option<Mongod> {
        Mongod::start_at(kind, arguments, tempfile::tempdir().unwrap())
    }

    fn start_at(kind: Kind, arguments: &[&str], directory: tempfile::TempDir) -> Option<Mongod> {
        let binary = binary()?;
        let port = free_port();
        let mut all: Vec<String> = [
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--setParameter",
            "enableTestCommands=1",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
        ]
        .map(String::from)
        .into();
        if kind == Kind::ReplicaSet {
            all.extend(["--replSet".into(), "rs0".into()]);
        }
        all.extend(arguments.iter().map(ToString::to_string));
        let mut server = Mongod {
            process: spawn(&binary, &all, directory.path(), port),
            port,
            arguments: all,
            directory,
        };
        server.await_listening();
        if kind == Kind::ReplicaSet {
            server.initiate();
        }
        Some(server)
    }

    fn initiate(&self) {
        let admin = self.client("directConnection=true").database("admin");
        let member = format!("127.0.0.1:{}", self.port);
        admin
            .run_command(doc! { "replSetInitiate": {
                "_id": "rs0", "members": [{ "_id": 0, "host": member }],
                "settings": { "electionTimeoutMillis": 500 },
            } })
            .run()
            .unwrap();
        self.await_primary();
    }

    fn await_primary(&self) {
        let admin = self.client("directConnection=true").database("admin");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let hello = admin.run_command(doc! { "hello": 1 }).run().unwrap();
            if hello.get_bool("isWritablePrimary").unwrap() {
                return;
            }
            assert!(Instant::now() < deadline, "{hello}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn await_listening(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.log().contains("Waiting for connections") {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("mongod: {status}\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The directory of its data and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URI of the database `archive`, with options.
    pub fn uri(&self, options: &str) -> String {
        format!("mongodb://127.0.0.1:{}/archive?{options}", self.port)
    }

    /// The database `archive` as the archiver sees it.
    pub fn archive(&self) -> MongoDb {
        MongoDb::new(&self.uri("serverSelectionTimeoutMS=5000")).unwrap()
    }

    /// A client of its own, for a look behind the archiver's back.
    pub fn client(&self, options: &str) -> Client {
        Client::with_uri_str(self.uri(options)).unwrap()
    }

    /// Every document of a collection of `archive`.
    pub fn documents(&self, collection: &str) -> Vec<Document> {
        let collection = self
            .client("")
            .database("archive")
            .collection::<Document>(collection);
        collection
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .run()
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// Makes commands fail: `{"failCommands": ["insert"], ...}`.
    pub fn fail(&self, mode: impl Into<Bson>, data: Document) {
        self.client("directConnection=true")
            .database("admin")
            .run_command(
                doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data },
            )
            .run()
            .unwrap();
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Makes it give up being the primary of its replica set for so many seconds.
    pub fn step_down(&self, seconds: i32) {
        let command = doc! { "replSetStepDown": seconds, "force": true };
        let admin = self.client("directConnection=true").database("admin");
        admin.run_command(command).run().unwrap();
    }

    /// Lets it be elected again, and waits for it.
    pub fn step_up(&self) {
        let admin = self.client("directConnection=true").database("admin");
        admin
            .run_command(doc! { "replSetFreeze": 0 })
            .run()
            .unwrap();
        self.await_primary();
    }

    /// Ends the server without a word.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts a killed server again, on its data and its port.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// The same, with more arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        fs::remove_file(self.directory.path().join("log")).unwrap();
        let binary = binary().unwrap();
        self.process = spawn(&binary, &self.arguments, self.directory.path(), self.port);
        self.await_listening();
    }

    /// Stops the server in its tracks (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

fn spawn(binary: &Path, arguments: &[impl AsRef<OsStr>], directory: &Path, port: u16) -> Child {
    Command::new(binary)
        .arg("--dbpath")
        .arg(directory)
        .arg("--logpath")
        .arg(directory.join("log"))
        .args(["--port", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
