//! What the integration tests share.
#![allow(dead_code, reason = "each of the two test crates uses a part of it")]

pub mod archiver;
pub mod books;
pub mod captured_log;
pub mod certificates;
pub mod disk;
pub mod fhicl;
#[cfg(feature = "mongodb")]
pub mod mongo_proxy;
#[cfg(feature = "mongodb")]
pub mod mongod;
pub mod mutations;
pub mod peer;
mod shared;
pub mod smtp;
pub mod sshd;
pub mod tools;
pub mod ucondb_client;
pub mod ucondb_server;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use run_record_archiver::run::FclFile;
use rustix::process::{Pid, Signal, kill_process};
#[allow(
    unused_imports,
    reason = "each of the two test crates uses a part of it"
)]
pub use shared::shared;

/// The same command with signals that are not ignored, as they are where the tests
/// run in the background of a script or under nohup.
pub fn with_default_signals(command: &Command) -> Command {
    let mut outer = Command::new("env");
    outer
        .arg("--default-signal=HUP,INT,TERM")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    outer
}

/// Copies a program, to be run from there. By another process: while this one has the
/// copy open, a child that another test starts has it open, too, and it can't be run.
pub fn copy_program(program: impl AsRef<OsStr>, copy: &Path) {
    let status = Command::new("cp").arg(program).arg(copy).status();
    assert!(status.unwrap().success());
}

/// Sends a signal as `kill` does.
pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited in vain for {what}"
        );
        sleep(Duration::from_millis(2));
    }
}

/// Whether the tests that can go on for long are to do so.
pub fn is_long() -> bool {
    std::env::var_os("RUN_RECORD_ARCHIVER_LONG").is_some_and(|value| value == "1")
}

/// The seed of a test that leaves much to chance: that of an earlier one, from
/// `RUN_RECORD_ARCHIVER_SEED`, or any. Under CI it is another one each day: what passes
/// here passes there, but for time. It is printed.
pub fn seed(name: &str) -> u64 {
    let given = std::env::var("RUN_RECORD_ARCHIVER_SEED").ok();
    let any = || match std::env::var_os("CI") {
        Some(_) if !is_long() => jiff::Timestamp::now().as_second().unsigned_abs() / 86_400,
        _ => fastrand::u64(..1 << 48),
    };
    let seed = given.map_or_else(any, |seed| seed.parse().unwrap());
    println!("{name}: RUN_RECORD_ARCHIVER_SEED={seed}");
    seed
}

/// How many documents a collection's directory holds, whatever its index says.
pub fn documents_in(directory: &Path) -> usize {
    std::fs::read_dir(directory)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_str().unwrap();
            name.ends_with(".json") && name != "index.json" && !name.starts_with('.')
        })
        .count()
}

/// The full name of a test, as `--exact` takes it: for tests that start themselves
/// in a process of their own. `module` is `module_path!()`.
pub fn test_name(module: &str, test: &str) -> String {
    let (_, module) = module.split_once("::").unwrap();
    format!("{module}::{test}")
}

/// A file of the project.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Copies a directory tree; the copy is writable.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// An .fcl file.
pub fn fcl(entity: &str, text: &str) -> FclFile {
    FclFile {
        entity: entity.into(),
        text: text.into(),
    }
}

/// A small run: two processes, metadata and the schema.
pub fn small_run(mark: u64) -> Vec<FclFile> {
    vec![
        fcl(
            "tpc01",
            &format!("mark: {mark}\ndaq: {{ fragment_receiver: {{ board_id: 0x{mark:x} }} }}\n"),
        ),
        fcl("crt01", "hosts: [\"crt01\", \"crt02\"] # both\n"),
        fcl(
            "metadata",
            &format!(
                "config_name: \"c\"\ncomponents: [\"tpc01\"]\nsbndaq_commit_or_version: \"v{mark}\"\n"
            ),
        ),
        fcl("schema", "artdaq_processes: []\n"),
    ]
}

/// The text of one entity of a configuration.
pub fn text_of<'a>(files: &'a [FclFile], entity: &str) -> &'a str {
    let found: Vec<&FclFile> = files.iter().filter(|file| file.entity == entity).collect();
    assert_eq!(
        found.len(),
        1,
        "{entity} in {:?}",
        files.iter().map(|f| &f.entity).collect::<Vec<_>>()
    );
    &found[0].text
}
