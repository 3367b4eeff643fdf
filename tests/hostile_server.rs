//! Servers in UconDB's place that are none, or mean harm: nothing of what they
//! send is believed, kept without bound, or followed.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, USER, UconDbServer,
};

/// An archiver at this server, with runs in artdaqDB.
fn at(server: &UconDbServer) -> Test {
    let test = Test::new()
        .records_in(1..=3)
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "10")
        .set("app.parallel_workers", "1")
        .set("app.run_process_retries", "0");
    test.run(&["--import-only"]).exits(0);
    test
}

/// Runs the archiver; what it said, its exit code, its peak memory in bytes.
fn measured(test: &Test, arguments: &[&str]) -> (String, Option<i32>, u64) {
    let (mut child, words) = test.start_and_listen(arguments);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let begun = Instant::now();
    let code = loop {
        // The last look may find a process that has ended.
        let now = fs::read_to_string(&status).unwrap_or_default();
        let line = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if begun.elapsed() > Duration::from_secs(180) {
            child.kill().unwrap();
            panic!("it hangs: {}", words.join().unwrap());
        }
        thread::sleep(Duration::from_millis(5));
    };
    (words.join().unwrap(), code, peak)
}

const MB: u64 = 1_000_000;

/// A server that answers with gigabytes where UconDB answers with this.
#[track_caller]
fn endless(what: &str, fault: fn() -> Fault, begin: &str, most: u64) {
    for length in ["", "Content-Length: 9000000000000\r\n"] {
        let server = UconDbServer::start(Options::default());
        server.put(OBJECT, Some("1000"), b"for the challenge");
        let test = at(&server);
        let bytes = format!("HTTP/1.1 200 OK\r\n{length}Connection: close\r\n\r\n{begin}");
        let answer = Action::Endless(bytes.into_bytes());
        server.fault(fault().always().then(answer));
        let begun = Instant::now();
        let (said, code, peak) = measured(&test, &["--migrate-only"]);
        println!(
            "{what}: {:.1} s, {} MB at most",
            begun.elapsed().as_secs_f64(),
            peak / MB
        );
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(peak < most, "{} MB: {said}", peak / MB);
        assert!(said.contains(server.url().as_str()), "{said}");
        server.no_faults();
        test.run(&["--migrate-only"]);
        test.run(&["--retry-failed-migrate"]);
        assert_eq!(server.blobs(OBJECT).len(), 4);
    }
}

#[test]
fn gigabytes_in_place_of_a_listing() {
    // A gigabyte is what the longest listing may have.
    let fault = || Fault::on("GET", "/versions");
    endless("listing", fault, "[ ", 1_200 * MB);
}

#[test]
fn gigabytes_in_place_of_a_blob() {
    let fault = || Fault::on("GET", "/data/").without("meta_only");
    endless("blob", fault, "Start of Record\n", 400 * MB);
}

#[test]
fn gigabytes_in_place_of_a_version() {
    let fault = || Fault::on("GET", "meta_only");
    endless("version", fault, "{ ", 100 * MB);
}

#[test]
fn gigabytes_in_place_of_an_answer_to_an_upload() {
    let fault = || Fault::on("POST", "/data/");
    endless("answer to an upload", fault, "{ ", 100 * MB);
}

/// Answers like those of a web server that is in UconDB's place.
#[test]
fn pages_and_silence_stop_the_stage_and_fail_no_run() {
    let page = Reply::html(200, "<html><body>Please log in</body></html>");
    let empty = Reply::new(200, "text/json", "");
    let nothing = Action::Raw(Vec::new());
    for (what, action) in [
        ("a page", Action::Answer(page)),
        ("an empty answer", Action::Answer(empty)),
        ("nothing", nothing),
        (
            "headers alone",
            Action::Raw(b"HTTP/1.1 200 OK\r\n".to_vec()),
        ),
        (
            "endless headers",
            Action::Endless(b"HTTP/1.1 200 OK\r\nX: y".to_vec()),
        ),
    ] {
        let server = UconDbServer::start(Options::default());
        let test = at(&server);
        server.fault(Fault::on("", "").always().then(action));
        let (said, code, peak) = measured(&test, &["--incremental"]);
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains("UconDBError"), "{what}: {said}");
        assert!(peak < 100 * MB, "{what}: {} MB", peak / MB);
        assert_eq!(test.failures("migrate_failures.log"), [0; 0], "{what}");
        assert!(server.blobs(OBJECT).is_empty());
        server.no_faults();
        test.run(&["--incremental"]).exits(0);
        assert_eq!(server.blobs(OBJECT).len(), 3, "{what}");
    }
}

/// Where a server sends the archiver, the password does not follow, nor anything else.
#[test]
fn credentials_do_not_follow_a_redirect() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = UconDbServer::start(Options::default());
        let server = UconDbServer::start(Options::default());
        let test = at(&server);
        let target = format!("{}/data/{FOLDER}/{OBJECT}?key=1", elsewhere.url());
        // Only once the password is asked for: the server itself answers the rest.
        let reply = Reply::html(status, "Moved").header("Location", &target);
        server.fault(
            Fault::on("POST", "/data/")
                .always()
                .then(Action::Answer(reply)),
        );
        test.run(&["--incremental"])
            .exits(1)
            .says("redirects to")
            .says(&elsewhere.address().to_string())
            .does_not_say(PASSWORD);
        assert_eq!(elsewhere.connections(), 0, "{status}");
        // The answer to a challenge stays with the server that posed it.
        server.no_faults();
        let reply = Reply::html(status, "Moved").header("Location", &target);
        server.fault(
            Fault::on("POST", "/data/")
                .after(1)
                .always()
                .then(Action::Answer(reply)),
        );
        test.run(&["--incremental"]).exits(1).says("redirects to");
        let seen = server.requests();
        assert!(
            seen.iter()
                .any(|seen| seen.headers.contains_key("authorization"))
        );
        assert_eq!(elsewhere.connections(), 0, "{status}");
        assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    }
}
