//! Blobs that are damaged, or were there before: replaced on request, compared before
//! they count.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::{Override, UconDb};
use serde_json::Value;

use crate::support::archiver::Test;
use crate::support::ucondb_server::{
    Action, FOLDER, Fault, OBJECT, Options, PASSWORD, Reply, USER, UconDbServer,
};

/// An archiver whose UconDB is this server.
fn archiver(server: &UconDbServer) -> Test {
    Test::in_memory()
        .set("ucon_db.server_url", &server.url())
        .set("ucon_db.folder_name", FOLDER)
        .set("ucon_db.object_name", OBJECT)
        .set("ucon_db.writer_user", USER)
        .set("ucon_db.writer_password", &format!("'{PASSWORD}'"))
        .set("ucon_db.timeout_seconds", "10")
}

/// What happens to the blob of a run as often as it is asked for in one go.
fn on_blob(run: u64, action: Action) -> Fault {
    Fault::on("GET", &format!("key={run}"))
        .without("meta_only")
        .times(4)
        .then(action)
}

/// How many versions UconDB has of each run, with and without a key.
fn versions(server: &UconDbServer) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for version in server.versions(OBJECT) {
        *counts.entry(version.tags[0].clone()).or_default() += 1;
    }
    counts
}

#[test]
fn a_damaged_blob_is_found_and_replaced_without_being_read() {
    for action in [
        Action::ChangeAnswer,
        Action::CloseAnswerAfter(100),
        Action::Answer(Reply::html(500, "Server Error")),
    ] {
        let server = UconDbServer::start(Options::default());
        let test = archiver(&server).records_in(1..=3);
        test.run(&[]).exits(0);
        server.fault(on_blob(2, action.clone()));
        test.run(&["--verify"])
            .exits(1)
            .says("Run 2: UconDB cannot be read: ")
            .says("Agree: 2 of 3 run(s)")
            .says("--migrate-only --override-existing --runs 2 ");
        server.no_faults();
        server.fault(on_blob(2, action));
        test.run(&["--migrate-only", "--override-existing", "--runs", "2"])
            .exits(0)
            .says("Run 2: what UconDB has under its key cannot be read")
            .says("✓ Run 2 migrated successfully");
        server.no_faults();
        test.run(&["--verify"]).exits(0);
        let expected = [("1", 1), ("2", 2), ("3", 1)];
        let expected = expected.map(|(run, count)| (run.to_owned(), count));
        assert_eq!(versions(&server), BTreeMap::from(expected));
    }
}

#[test]
fn what_is_the_same_is_not_stored_again() {
    let server = UconDbServer::start(Options::default());
    let test = archiver(&server).records_in(1..=2);
    test.run(&[]).exits(0);
    test.run(&["--migrate-only", "--override-existing", "--runs", "1-2"])
        .exits(0)
        .says("Run 2 is in UconDB already, with the same content");
    assert!(versions(&server).values().all(|count| *count == 1));
}

/// The server answers nothing any more: that is no reason to replace blobs.
#[test]
fn nothing_is_replaced_while_the_server_is_down() {
    let server = UconDbServer::start(Options::default());
    let test = archiver(&server).records_in(1..=2);
    test.run(&[]).exits(0);
    server.fault(
        Fault::on("", "/data/")
            .always()
            .then(Action::Answer(Reply::html(502, "Bad Gateway"))),
    );
    test.run(&["--migrate-only", "--override-existing", "--runs", "1"])
        .exits(1);
    server.no_faults();
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert!(versions(&server).values().all(|count| *count == 1));
    test.run(&["--verify"]).exits(0);
}

/// Keys that were there before the runs were imported.
#[test]
fn a_key_with_other_content_never_counts_as_migrated() {
    let test = Test::in_memory().records_in(1..=4);
    // Another archiver has stored run 2 as it is, and something else as 3 and 4.
    let other = Test::in_memory().records_in(2..=4);
    other.run(&[]).exits(0);
    let put = |run: u64, blob: String| {
        test.ucondb()
            .upload(Run(run), Bytes::from(blob), Override::No)
            .unwrap();
    };
    put(2, other.blob(2));
    put(3, other.blob(3).replace("mark: 3 ", "mark: 33 "));
    put(4, other.blob(4).replace("mark: 4 ", "mark: 5 "));
    let (size, ours) = (other.blob(3).len() + 1, other.blob(3).len());
    test.run(&["--incremental"])
        .exits(1)
        .says("3 imported run(s) were in UconDB already: 2-4. They are compared now")
        .says("Run 2 is in UconDB already, with the same content")
        .says(&format!(
            "run 3: UconDB has another record under this key: {size} bytes, where this one has \
             {ours} bytes. Nothing was overwritten."
        ))
        .says("run 4: UconDB has another record under this key: also ")
        .says("--migrate-only --override-existing --runs 4 stores its record as a new version")
        .says(" --migrate-only --override-existing --runs 3-4\n")
        .does_not_say("--retry-failed-migrate");
    assert_eq!(test.failures("migrate_failures.log"), [3, 4]);
    assert!(test.blob(3).contains("mark: 33 "));
    // It is said once, and stays so until it is decided.
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("another record");
    assert_eq!(test.failures("migrate_failures.log"), [3, 4]);
    // The next step that the message names.
    test.run(&["--migrate-only", "--override-existing", "--runs", "3-4"])
        .exits(0);
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    test.run(&["--incremental"])
        .exits(0)
        .does_not_say("They are compared now");
    test.run(&["--verify"]).exits(0);
}

#[test]
fn what_another_archiver_stored_is_counted_until_it_is_compared() {
    let test = Test::in_memory().records_in(1..=4);
    test.run(&[]).exits(0);
    let report = || test.run(&["--report-status"]).exits(0).stdout;
    let json = || -> Value {
        let ended = test.run(&["--report-status", "--format", "json"]).exits(0);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    assert!(!report().contains("VERIFICATION"), "{}", report());
    assert_eq!(json()["verification"]["not_compared"]["count"], 0);

    // The journal of another archiver does not know what was compared.
    fs::remove_dir_all(test.work("")).unwrap();
    let test = test.record(5);
    test.run(&["--incremental"])
        .exits(0)
        .says("✓ Run 5 migrated successfully")
        .does_not_say("They are compared now");
    let said = test.run(&["--report-status"]).exits(0).stdout;
    let line = "  Not Compared:    4 run(s) (in UconDB, not stored by this archiver; --verify \
                --incremental compares them): 1-4\n";
    assert!(said.contains(line), "{said}");
    let page = test.run(&["--report-status", "--format", "html"]).exits(0);
    assert!(page.stdout.contains("not stored by this archiver"));

    // A verification finds one of them wrong.
    let wrong = test.blob(2).replace("mark: 2 ", "mark: 22 ");
    test.ucondb()
        .upload(Run(2), Bytes::from(wrong), Override::Yes)
        .unwrap();
    test.run(&["--verify", "--incremental"]).exits(1);
    let said = test.run(&["--report-status"]).exits(0).stdout;
    for line in [
        "  Not Compared:    1 run(s) (",
        "  Not Well:        1 run(s) (when --verify compared them last): 2\n",
        "  Finding:         2: tpc01.fcl differs: artdaqDB (-) and UconDB (+)\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    test.run(&["--migrate-only", "--override-existing", "--runs", "2"])
        .exits(0);
    test.run(&["--verify", "--runs", "2"]).exits(0);
    let said = test.run(&["--report-status"]).exits(0).stdout;
    assert!(!said.contains("VERIFICATION"), "{said}");
}
