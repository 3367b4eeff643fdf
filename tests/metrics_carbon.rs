//! Metrics to a real carbon-cache, read back from its files.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::archiver::Test;
use crate::support::peer::{self, Server, spoil, succeeds, wait_for};
use serde_json::Value;

/// carbon-cache on a free port, with its files in a directory of its own.
struct Carbon {
    port: u16,
    directory: tempfile::TempDir,
    _server: Server,
}

impl Carbon {
    fn start() -> Option<Carbon> {
        let program = peer::debian("carbon-cache", "graphite-carbon")?;
        peer::debian("whisper-fetch", "graphite-carbon")?;
        let directory = tempfile::tempdir().unwrap();
        let [line, pickle, query] = [0; 3].map(|_| peer::free_port());
        let at = directory.path().display();
        fs::write(
            directory.path().join("carbon.conf"),
            format!(
                "[cache]\nSTORAGE_DIR = {at}\nCONF_DIR = {at}\nLOG_DIR = {at}\nPID_DIR = {at}\n\
                 LOCAL_DATA_DIR = {at}/whisper\nUSER =\nLOG_LISTENER_CONN_SUCCESS = True\n\
                 MAX_CREATES_PER_MINUTE = inf\nENABLE_UDP_LISTENER = False\n\
                 LINE_RECEIVER_INTERFACE = 127.0.0.1\nLINE_RECEIVER_PORT = {line}\n\
                 PICKLE_RECEIVER_INTERFACE = 127.0.0.1\nPICKLE_RECEIVER_PORT = {pickle}\n\
                 CACHE_QUERY_INTERFACE = 127.0.0.1\nCACHE_QUERY_PORT = {query}\n"
            ),
        )
        .unwrap();
        fs::write(
            directory.path().join("storage-schemas.conf"),
            "[all]\npattern = .*\nretentions = 1s:1h\n",
        )
        .unwrap();
        let log = fs::File::create(directory.path().join("output")).unwrap();
        let server = Command::new(program)
            .arg(format!("--config={at}/carbon.conf"))
            .args(["--instance=a", "--debug", "start"])
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let carbon = Carbon {
            port: line,
            directory,
            _server: Server(server),
        };
        wait_for("carbon-cache", || {
            TcpStream::connect(("127.0.0.1", line)).ok()
        });
        Some(carbon)
    }

    /// The last value of a metric.
    fn value(&self, metric: &str) -> f64 {
        let file = format!("{}.wsp", metric.replace('.', "/"));
        let file = self.directory.path().join("whisper").join(file);
        wait_for(metric, || {
            if !Path::new(&file).exists() {
                return None;
            }
            let from = std::time::SystemTime::now() - Duration::from_secs(600);
            let from = from.duration_since(std::time::UNIX_EPOCH).unwrap();
            let text = succeeds(
                Command::new("whisper-fetch")
                    .args(["--json", &format!("--from={}", from.as_secs())])
                    .arg(&file),
            );
            let series: Value = serde_json::from_str(&text).unwrap();
            let values = series["values"].as_array().unwrap();
            values.iter().rev().find_map(Value::as_f64)
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap()
    }
}

fn with_carbon(test: Test, port: u16) -> Test {
    test.set("carbon.enabled", "true")
        .set("carbon.host", "127.0.0.1")
        .set("carbon.port", &port.to_string())
        .set("carbon.metric_prefix", "exp.run_archiver.prod")
}

#[test]
fn carbon_keeps_what_the_archiver_sends() {
    let Some(carbon) = Carbon::start() else {
        return;
    };
    let test = with_carbon(Test::new().records_in([7, 8, 9, 10]), carbon.port);
    spoil(&test.records(), 9);
    test.run(&[])
        .exits(1)
        .says("16 metrics sent to Carbon at 127.0.0.1:");
    for (metric, expected) in [
        ("import.runs_processed", 3.0),
        ("import.runs_failed", 1.0),
        ("import.last_contiguous_run", 8.0),
        ("import.failure_log_runs", 1.0),
        ("import.backlog_runs", 1.0),
        ("import.gap_runs", 1.0),
        ("import.stopped", 0.0),
        ("migrate.runs_processed", 3.0),
        ("migrate.runs_failed", 0.0),
        ("migrate.last_contiguous_run", 10.0),
        ("migrate.backlog_runs", 0.0),
        ("migrate.stopped", 0.0),
    ] {
        let value = carbon.value(&format!("exp.run_archiver.prod.{metric}"));
        assert_eq!(value, expected, "{metric}");
    }
    for stage in ["import", "migrate"] {
        let seconds = carbon.value(&format!("exp.run_archiver.prod.{stage}.duration_seconds"));
        assert!(seconds > 0.0 && seconds < 60.0, "{stage}: {seconds}");
    }
    let log = carbon.log();
    assert!(!log.contains("invalid line"), "{log}");
    // One connection an execution; the other was the test's own.
    assert_eq!(log.matches("established").count(), 2, "{log}");
    // A line that is wrong would have been in the log.
    let mut connection = TcpStream::connect(("127.0.0.1", carbon.port)).unwrap();
    connection.write_all(b"nonsense\n").unwrap();
    wait_for("the complaint", || {
        carbon.log().contains("invalid line").then_some(())
    });
}

#[test]
fn a_carbon_that_is_not_there_or_hangs_changes_nothing() {
    let test = with_carbon(Test::new().record(7), peer::free_port());
    test.run(&[])
        .exits(0)
        .says("WARNING - The metrics were not sent to Carbon at 127.0.0.1:")
        .says("✓ EXECUTION COMPLETED SUCCESSFULLY");
    // An address for documentation, where nobody answers.
    let test = with_carbon(Test::new().record(7), 2003).set("carbon.host", "192.0.2.1");
    let begun = Instant::now();
    test.run(&[])
        .exits(0)
        .says("The metrics were not sent to Carbon");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn only_executions_that_archive_send_metrics() {
    let test = with_carbon(Test::new().record(7), peer::free_port());
    for arguments in [&["--dry-run"][..], &["--recover-import-state"]] {
        test.run(arguments).exits(0).does_not_say("Carbon");
    }
}
