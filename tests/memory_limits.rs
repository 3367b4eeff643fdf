//! How large files, documents and the runs in work may be.

use std::fs;

use crate::support::archiver::Test;

/// Adds a file of so many bytes to a record.
fn grow(test: &Test, run: u64, name: &str, bytes: usize) {
    let mut text = String::from("values: [ 1");
    while text.len() < bytes {
        text += ", 123456789012345678901234567890123456789012345678901234567890";
    }
    let path = test.records().join(run.to_string()).join(name);
    fs::write(path, text + " ]\n").unwrap();
}

#[test]
fn a_file_above_the_limit_fails_its_run_alone() {
    let test = Test::new().records_in(1..=4).set("app.max_file_mb", "1");
    grow(&test, 2, "large.fcl", 1024 * 1024 + 1);
    grow(&test, 3, "small.fcl", 1024 * 1024 - 1000);
    let file = test.records().join("2/large.fcl");
    test.run(&["--incremental"])
        .exits(1)
        .says(&format!("{}: has ", file.display()))
        .says("more than the 1 MiB of app.max_file_mb");
    assert_eq!(test.imported(), [1, 3, 4]);
    assert_eq!(test.migrated(), [1, 3, 4]);
    assert_eq!(test.failures("import_failures.log"), [2]);
    // As it says.
    let test = test.set("app.max_file_mb", "2");
    test.run(&["--retry-failed-import"]).exits(0);
    assert_eq!(test.imported(), [1, 2, 3, 4]);
}

#[test]
fn a_document_above_the_limit_fails_its_run_alone() {
    let test = Test::new()
        .records_in(1..=3)
        .set("app.max_document_mb", "1");
    grow(&test, 2, "large.fcl", 900_000);
    test.run(&["--incremental"])
        .exits(1)
        .says("run 2: the document of large.fcl has ")
        .says("more than 1 MiB")
        .says("app.max_document_mb");
    assert_eq!(test.imported(), [1, 3]);
    assert_eq!(test.failures("import_failures.log"), [2]);
    let test = test.set("app.max_document_mb", "16");
    test.run(&["--retry-failed-import"]).exits(0);
    test.run(&["--incremental"]).exits(0);
    assert_eq!(test.migrated(), [1, 2, 3]);
    // Read, it is the same.
    fs::remove_file(test.path().join("ucondb/test/configuration/2.blob")).unwrap();
    let test = test.set("app.max_document_mb", "1");
    test.run(&["--migrate-only", "--runs", "2"])
        .exits(1)
        .says("run 2: the document of ")
        .says("app.max_document_mb");
}

#[test]
fn runs_above_the_budget_work_alone_and_all_are_archived() {
    let test = Test::new()
        .records_in(1..=12)
        .set("app.memory_budget_mb", "1")
        .set("app.parallel_workers", "8")
        .set("app.batch_size", "0");
    for run in [2, 5, 6, 11] {
        grow(&test, run, "large.fcl", 600_000);
    }
    test.run(&["--incremental"]).exits(0);
    let all: Vec<u64> = (1..=12).collect();
    assert_eq!(test.imported(), all);
    assert_eq!(test.migrated(), all);
}
