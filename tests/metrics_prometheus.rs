//! The textfile for Prometheus, the alert rules and the dashboards, checked by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::archiver::Test;
use crate::support::peer::{debian, spoil, succeeds, wait_for};
use crate::support::project;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PREFIX: &str = "run_record_archiver_";

fn with_textfile(test: Test) -> Test {
    let file = test.path().join("archiver.prom");
    test.set("metrics.prometheus_textfile", &file.display().to_string())
}

fn text(test: &Test) -> String {
    fs::read_to_string(test.path().join("archiver.prom")).unwrap()
}

/// The metrics of the textfile: `last_exit_code`, `backlog_runs{stage="import"}`.
fn metrics(test: &Test) -> BTreeMap<String, f64> {
    let text = text(test);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.strip_prefix(PREFIX).unwrap().rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64()
}

#[track_caller]
fn assert_metrics(test: &Test, expected: &[(&str, f64)]) {
    let metrics = metrics(test);
    for (name, value) in expected {
        assert_eq!(metrics.get(*name), Some(value), "{name}\n{}", text(test));
    }
}

#[test]
fn promtool_takes_the_textfile() {
    let Some(promtool) = debian("promtool", "prometheus") else {
        return;
    };
    let test = with_textfile(Test::new().records_in([7, 8, 9]));
    spoil(&test.records(), 8);
    test.run(&[]).exits(1);
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    input.write_all(text(&test).as_bytes()).unwrap();
    drop(input);
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\n{}",
        text(&test)
    );
}

#[test]
fn the_textfile_tells_one_execution_after_the_other() {
    let test = with_textfile(Test::new().records_in([7, 8, 9]));
    spoil(&test.records(), 8);
    let begun = now().floor();
    test.run(&[]).exits(1);
    assert_metrics(
        &test,
        &[
            ("execution_running", 0.0),
            ("last_exit_code", 1.0),
            ("consecutive_failures", 1.0),
            ("executions_total", 1.0),
            ("runs_processed_total{stage=\"import\"}", 2.0),
            ("runs_failed_total{stage=\"import\"}", 1.0),
            ("failure_log_runs{stage=\"import\"}", 1.0),
            ("backlog_runs{stage=\"import\"}", 1.0),
            ("gap_runs{stage=\"import\"}", 1.0),
            ("last_contiguous_run{stage=\"import\"}", 7.0),
            ("last_attempted_run{stage=\"import\"}", 9.0),
            ("stage_stopped{stage=\"import\"}", 0.0),
            ("runs_processed_total{stage=\"migrate\"}", 2.0),
            ("last_contiguous_run{stage=\"migrate\"}", 9.0),
        ],
    );
    let first = metrics(&test);
    assert!(!first.contains_key("last_success_timestamp_seconds"));
    for name in [
        "last_execution_timestamp_seconds",
        "execution_start_timestamp_seconds",
        "last_progress_timestamp_seconds{stage=\"import\"}",
        "state_updated_timestamp_seconds{stage=\"migrate\"}",
    ] {
        assert!(
            (begun..=now()).contains(&first[name]),
            "{name}: {}",
            first[name]
        );
    }
    let (free, size) = (
        first["filesystem_avail_bytes{directory=\"artdaqdb\"}"],
        first["filesystem_size_bytes{directory=\"work_dir\"}"],
    );
    assert!(0.0 < free && free < size);

    // The other stage keeps what it had.
    fs::write(test.records().join("8/tpc01.fcl"), "mark: 8\n").unwrap();
    test.run(&["--retry-failed-import"]).exits(0);
    assert_metrics(
        &test,
        &[
            ("last_exit_code", 0.0),
            ("consecutive_failures", 0.0),
            ("executions_total", 2.0),
            ("executions_failed_total", 1.0),
            ("runs_processed_total{stage=\"import\"}", 3.0),
            ("last_runs_processed{stage=\"import\"}", 1.0),
            ("failure_log_runs{stage=\"import\"}", 0.0),
            ("gap_runs{stage=\"import\"}", 0.0),
            ("last_contiguous_run{stage=\"import\"}", 9.0),
            ("runs_processed_total{stage=\"migrate\"}", 2.0),
        ],
    );
    assert!(metrics(&test)["last_success_timestamp_seconds"] >= begun);

    // A stage that can't begin.
    fs::rename(test.records(), test.path().join("away")).unwrap();
    test.run(&["--import-only"]).exits(1);
    assert_metrics(
        &test,
        &[
            ("stage_stopped{stage=\"import\"}", 1.0),
            ("consecutive_failures", 1.0),
            ("runs_processed_total{stage=\"import\"}", 3.0),
        ],
    );
    // What does not archive leaves the file alone.
    let before = text(&test);
    test.run(&["--import-only", "--dry-run"]).exits(1);
    test.run(&["--recover-migrate-state"]).exits(0);
    assert_eq!(text(&test), before);
}

#[test]
fn everybody_can_read_the_textfile_whatever_the_umask() {
    let test = with_textfile(Test::new().record(7));
    let file = test.path().join("archiver.prom");
    for _ in 0..2 {
        let archiver = test.command(&[]);
        let status = Command::new("sh")
            .args(["-c", "umask 077; exec \"$@\"", "sh"])
            .arg(archiver.get_program())
            .args(archiver.get_args())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        // What somebody else made of it does not stay.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let names = fs::read_dir(test.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".tmp")).count(), 0);
}

#[test]
fn what_is_no_file_is_a_warning_and_a_link_is_followed() {
    let test = Test::new().record(7);
    let fifo = test.path().join("fifo.prom");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let test = test.set("metrics.prometheus_textfile", &fifo.display().to_string());
    test.run(&[])
        .exits(0)
        .says("The metrics for Prometheus are not written")
        .says("it is a FIFO, not a regular file");
    let link = test.path().join("link.prom");
    std::os::unix::fs::symlink("archiver.prom", &link).unwrap();
    let test = test.set("metrics.prometheus_textfile", &link.display().to_string());
    test.run(&[]).exits(0);
    let written = fs::read_to_string(test.path().join("archiver.prom")).unwrap();
    assert!(written.contains("executions_total"), "{written}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

/// The alerts on disks that are full watch these.
#[test]
fn an_archive_behind_a_variable_is_measured() {
    let test = Test::new().record(7);
    let file = test.path().join("archiver.prom");
    let test = test
        .set("metrics.prometheus_textfile", &file.display().to_string())
        .set("artdaq_db.database_uri", "filesystemdb://$ARCH/archive");
    let output = test
        .command(&["--import-only"])
        .env("ARCH", test.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(&file).unwrap();
    let metric = r#"filesystem_avail_bytes{directory="artdaqdb"}"#;
    assert!(text.contains(metric), "{text}");
}

#[test]
fn a_directory_that_is_missing_is_a_warning() {
    let test = Test::new()
        .record(7)
        .set("metrics.prometheus_textfile", "/no/such/archiver.prom");
    test.run(&[])
        .exits(0)
        .says("WARNING - The metrics for Prometheus are not written: /no/such/archiver.prom")
        .says("metrics.prometheus_textfile");
}

#[test]
fn an_execution_that_was_killed_still_shows_as_running() {
    let test = with_textfile(Test::new().records_in(1000..1400))
        .set("app.batch_size", "0")
        .set("app.parallel_workers", "1");
    let signalled = |begins: usize, signal| {
        let mut child = test.start(&["--import-only"]);
        wait_for("the first run", || {
            let log = fs::read_to_string(test.work("archiver.log")).ok()?;
            let begun = log
                .match_indices("Starting parallel processing")
                .nth(begins)?
                .0;
            log[begun..].contains("Processing run").then_some(())
        });
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap().code()
    };
    assert_eq!(signalled(0, Signal::KILL), None);
    assert_metrics(&test, &[("execution_running", 1.0)]);
    // One that somebody stops is neither a failure nor a success.
    assert_eq!(signalled(1, Signal::INT), Some(130));
    let expected = [
        ("execution_running", 0.0),
        ("last_exit_code", 130.0),
        ("consecutive_failures", 0.0),
        ("executions_failed_total", 0.0),
    ];
    assert_metrics(&test, &expected);
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    let Some(promtool) = debian("promtool", "prometheus") else {
        return;
    };
    let monitoring = project("docs/monitoring");
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let mut command = Command::new(&promtool);
        succeeds(command.args(arguments).current_dir(&monitoring));
    }
    // Each rule has its test.
    let rules = fs::read_to_string(monitoring.join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(monitoring.join("alerts.test.yml")).unwrap();
    let readme = fs::read_to_string(monitoring.join("README.md")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut count = 0;
    for alert in alerts {
        count += 1;
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        let does_not = format!("alertname: {alert}\n        exp_alerts: []\n");
        assert!(
            tests.contains(&fires) && tests.contains(&does_not),
            "{alert}"
        );
        let family = alert.trim_end_matches("Warning").trim_end_matches("Info");
        assert!(
            readme.contains(family.trim_end_matches("Critical")),
            "{alert}"
        );
    }
    assert_eq!(count, 13);
}

/// The names in a text that begin with `prefix`.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    text.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn rules_dashboard_and_documentation_know_the_metrics_that_there_are() {
    let test = with_textfile(Test::new().record(7));
    test.run(&[]).exits(0);
    let there: BTreeSet<String> = metrics(&test)
        .into_keys()
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect();
    assert_eq!(there.len(), 24);
    for file in ["alerts.yml", "alerts.test.yml", "grafana-prometheus.json"] {
        let text = fs::read_to_string(project("docs/monitoring").join(file)).unwrap();
        let used = names(&text, PREFIX);
        assert!(used.len() > 8, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&there).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let readme = fs::read_to_string(project("docs/monitoring/README.md")).unwrap();
    for name in &there {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}

/// A dashboard's panels, with what Grafana needs of each.
fn panels(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(project("docs/monitoring").join(file)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string());
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    let titles: Vec<_> = panels
        .iter()
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    for title in [
        "Processing rate",
        "Failure rate",
        "Execution duration",
        "State progress",
        "Failure log size",
    ] {
        assert!(titles.contains(&title), "{file}: {title}");
    }
    // No panel lies on another.
    let mut cells = BTreeSet::new();
    for panel in &panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{file}: {}", panel["title"]);
        }
    }
    panels
}

fn targets<'a>(panels: &'a [Value], key: &str) -> Vec<&'a str> {
    panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target[key].as_str().unwrap())
        .collect()
}

#[test]
fn promtool_takes_the_expressions_of_the_dashboard() {
    let Some(promtool) = debian("promtool", "prometheus") else {
        return;
    };
    let panels = panels("grafana-prometheus.json");
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in targets(&panels, "expr").into_iter().enumerate() {
        let quoted = serde_json::to_string(&expression.replace("$instance", ".*")).unwrap();
        rules += &format!("  - record: panel:{number}\n    expr: {quoted}\n");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yml");
    fs::write(&file, rules).unwrap();
    succeeds(Command::new(promtool).args(["check", "rules"]).arg(file));
}

#[test]
fn the_graphite_dashboard_knows_what_is_sent() {
    let readme = fs::read_to_string(project("docs/monitoring/README.md")).unwrap();
    let carbon = fs::read_to_string(project("src/reporter/metrics/carbon.rs")).unwrap();
    let panels = panels("grafana-graphite.json");
    let text = targets(&panels, "target").join("\n");
    let mut used = BTreeSet::new();
    for stage in ["*", "import", "migrate"] {
        used.extend(names(&text, &format!("$prefix.{stage}.")));
    }
    assert!(used.len() >= 7, "{used:?}");
    for name in used {
        assert!(carbon.contains(&format!("add(\"{name}\", ")), "{name}");
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
