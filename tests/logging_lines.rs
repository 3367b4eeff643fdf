//! What reaches stderr and what reaches the file, in a process of its own for
//! each case.

use std::path::PathBuf;
use std::process::Command;

use crate::support::test_name;
use log::{Level, LevelFilter};
use run_record_archiver::critical;
use run_record_archiver::logging::{self, Options, RULE, rotate::Limits};

/// Logs one record of each kind; runs in the processes that the test starts.
fn log_everything(file: PathBuf) {
    logging::start(Options {
        level: std::env::var("LEVEL").unwrap().parse().unwrap(),
        quiet: std::env::var_os("QUIET").is_some(),
        file: Some(file),
        limits: Limits::default(),
    })
    .unwrap();
    let ours = "run_record_archiver::stage";
    log::debug!(target: ours, "a debug record");
    log::info!(target: ours, "an info record");
    log::warn!(target: ours, "a warning");
    log::error!(target: ours, "an error");
    critical!("the worst");
    log::info!(target: "reqwest::connect", "authorization: Basic c2VjcmV0");
    log::warn!(target: "rustls", "a peer's warning");
    logging::banner(
        ours,
        Level::Info,
        &["Run Record Archiver Starting", "Config: c.yaml"],
    );
}

/// The messages on stderr and in the file, as `LEVEL message`.
fn messages(level: LevelFilter, quiet: bool) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("archiver.log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("--exact")
        .arg(test_name(
            module_path!(),
            "what_reaches_stderr_and_the_file",
        ))
        .arg("--nocapture")
        .env("LOG_TO", &file)
        .env("LEVEL", level.to_string());
    if quiet {
        command.env("QUIET", "1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success());
    let parts = |text: &str| {
        text.lines()
            .filter_map(|line| line.split_once(" - ")?.1.split_once(" - "))
            .map(|(_, rest)| rest.replacen(" - ", " ", 1))
            .collect()
    };
    (
        parts(&String::from_utf8(output.stderr).unwrap()),
        parts(&std::fs::read_to_string(file).unwrap()),
    )
}

#[test]
fn what_reaches_stderr_and_the_file() {
    if let Some(file) = std::env::var_os("LOG_TO") {
        return log_everything(file.into());
    }
    let rule = format!("INFO {RULE}");
    let all = [
        "DEBUG a debug record",
        "INFO an info record",
        "WARNING a warning",
        "ERROR an error",
        "CRITICAL the worst",
        "WARNING a peer's warning",
        &rule,
        "INFO Run Record Archiver Starting",
        "INFO Config: c.yaml",
        &rule,
    ];
    let errors = ["ERROR an error", "CRITICAL the worst"];
    let (stderr, file) = messages(LevelFilter::Debug, false);
    assert_eq!(stderr, all);
    assert_eq!(file, all);
    let (stderr, file) = messages(LevelFilter::Info, true);
    assert_eq!(stderr, errors);
    assert_eq!(file, all[1..]);
    let (stderr, file) = messages(LevelFilter::Error, false);
    assert_eq!(stderr, errors);
    assert_eq!(file, errors);
}
