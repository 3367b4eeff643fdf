//! SIGTERM while every worker waits for another program: the execution ends below
//! six seconds, however many workers there are, and no run is booked.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::send;
use crate::support::sshd::Sshd;
use crate::support::tools::StandIns;
use rustix::process::Signal;

/// How long an execution may take to end. Five seconds are promised for the wait.
const MOST: Duration = Duration::from_secs(6);

const WORKERS: [usize; 4] = [1, 2, 4, 8];

const INDEX: &str = "archive/.run_record_archiver.lock";
const DOCUMENTS: &str = "archive/.run_record_archiver.documents.lock";

/// An archiver with this many workers, run 1 in its archive and others to come.
fn archiver(workers: usize) -> Test {
    let test = Test::new()
        .record(1)
        .set("app.parallel_workers", &workers.to_string());
    test.run(&["--import-only"]).exits(0);
    test.records_in(2..=30)
}

/// Starts an execution for each number of workers, ends it with SIGTERM once all
/// of its workers have begun a run, and returns how long that took.
#[track_caller]
fn assert_ends<P>(set: impl Fn(usize) -> (Test, P) + Sync) {
    let figures = thread::scope(|scope| {
        let set = &set;
        let playing = WORKERS.map(|workers| scope.spawn(move || (workers, play(workers, set))));
        playing.map(|thread| thread.join().unwrap())
    });
    println!("ended after {figures:?}");
    for (workers, took) in figures {
        assert!(took < MOST, "{workers} workers: {took:?}");
    }
}

fn play<P>(workers: usize, set: &impl Fn(usize) -> (Test, P)) -> Duration {
    let (test, _prop) = set(workers);
    let (mut child, words) = test.start_and_listen(&["--import-only"]);
    let begun = Instant::now();
    let log = || fs::read_to_string(test.work("archiver.log")).unwrap_or_default();
    // The log also has the execution before.
    let count = || log().matches("→ Processing run").count() - 1;
    while count() < workers {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", log());
        sleep(Duration::from_millis(10));
    }
    // A moment to get to where they wait.
    sleep(Duration::from_millis(700));
    let signalled = Instant::now();
    send(&child, Signal::TERM);
    let status = child.wait().unwrap();
    let took = signalled.elapsed();
    let words = words.join().unwrap();
    assert_eq!(status.code(), Some(130), "{words}");
    assert!(words.contains("GRACEFUL SHUTDOWN COMPLETED"), "{words}");
    assert!(!words.contains(" failed"), "{words}");
    assert_eq!(test.failures("import_failures.log"), [0; 0], "{words}");
    took
}

fn lock(test: &Test, name: &str, is_shared: bool) -> fs::File {
    let path = test.path().join(name);
    let file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    match is_shared {
        true => file.lock_shared().unwrap(),
        false => file.lock().unwrap(),
    }
    file
}

#[test]
fn while_another_program_holds_the_lock_of_the_index() {
    assert_ends(|workers| {
        let test = archiver(workers);
        let lock = lock(&test, INDEX, false);
        (test, lock)
    });
}

#[test]
fn while_another_program_rebuilds_the_index() {
    assert_ends(|workers| {
        let test = archiver(workers);
        let lock = lock(&test, DOCUMENTS, false);
        (test, lock)
    });
}

fn with_tools(test: Test, tools: &StandIns) -> Test {
    test.set("artdaq_db.use_tools", "true")
        .set("artdaq_db.tools_dir", &tools.path().display().to_string())
}

#[test]
fn while_another_program_holds_the_lock_of_the_index_in_tools_mode() {
    assert_ends(|workers| {
        let test = archiver(workers);
        // Shared: the runs can be listed, and none can be loaded.
        let lock = lock(&test, INDEX, true);
        let tools = StandIns::new(test.path().join("tools"));
        (with_tools(test, &tools), (lock, tools))
    });
}

#[test]
fn while_another_program_holds_the_lock_of_the_index_on_another_host() {
    let Some(sshd) = Sshd::start() else { return };
    let options = sshd.options("user", "known_hosts").join(" ");
    assert_ends(|workers| {
        let test = archiver(workers);
        let lock = lock(&test, INDEX, true);
        let tools = StandIns::new(test.path().join("tools"));
        let test = with_tools(test, &tools)
            .set("artdaq_db.remote_host", "127.0.0.1")
            .set("artdaq_db.ssh_options", &format!("\"{options}\""));
        (test, (lock, tools))
    });
}
