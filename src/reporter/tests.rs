//! The forms of the report on made-up sources.

use jiff::ZonedDateTime;

use super::*;
use crate::error::{Disposition, Error};
use crate::reporter::history::Counts;

fn set(runs: &str) -> RunSet {
    match runs {
        "" => RunSet::default(),
        runs => RunSet::parse(runs).unwrap(),
    }
}

fn memory(stage: &str, contiguous: u64, attempted: u64, failures: &str) -> Memory {
    let state = State {
        last_contiguous_run: Some(Run(contiguous)),
        last_attempted_run: Some(Run(attempted)),
        ..State::default()
    };
    Memory {
        state_file: format!("/work/{stage}_state.json").into(),
        failure_log: format!("/work/{stage}_failures.log").into(),
        state: Ok(Some(state)),
        failures: Ok(set(failures)),
    }
}

fn status(filesystem: &str, artdaqdb: &str, ucondb: &str) -> Status {
    let server = "https://ucondb.example.com:9443/instance/app".to_owned();
    Status {
        generated: "2025-10-24T06:00:00-05:00[America/Chicago]"
            .parse::<ZonedDateTime>()
            .unwrap(),
        filesystem: Source::filesystem(Path::new("/daq/run_records"), Ok(set(filesystem))),
        artdaqdb: Source::artdaqdb(
            "filesystemdb:///data/artdaqdb_archive".to_owned(),
            Ok(set(artdaqdb)),
        ),
        partial: RunSet::default(),
        ucondb: Source::ucondb(
            server,
            "production/configuration".to_owned(),
            Ok(set(ucondb)),
        ),
        awaited: Ok(RunSet::default()),
        import: memory("importer", 12498, 12498, ""),
        migrate: memory("migrator", 12498, 12498, ""),
        compare: false,
        executions: Vec::new(),
    }
}

/// The sources of the operations manual's example.
fn example() -> Status {
    status(
        "12000-12100,12102-12522",
        "12000-12100,12102-12498",
        "12000-12100,12102-12498",
    )
}

fn unreachable() -> Error {
    Error::artdaqdb(
        "mongodb://h/db",
        "connection refused\nis it <running> & listening?",
        Disposition::StopStage,
    )
}

fn advice(status: &Status) -> Vec<String> {
    let list = status.recommendations();
    list.into_iter().map(|advice| advice.text).collect()
}

#[test]
fn the_manuals_example() {
    let expected = "\
======================================================================
RUN RECORD ARCHIVER - STATUS REPORT
======================================================================

DATA SOURCE SUMMARY
======================================================================

FILESYSTEM (Source)
----------------------------------------------------------------------
  Location:        /daq/run_records
  Total Runs:      522
  Range:           12000 to 12522
  Contiguous:      12000-12100, 12102-12522
  Gaps:            12101

ARTDAQDB (Intermediate Storage)
----------------------------------------------------------------------
  Database URI:    filesystemdb:///data/artdaqdb_archive
  Total Runs:      498
  Range:           12000 to 12522
  Contiguous:      12000-12100, 12102-12498
  Gaps:            12101, 12499-12522

UCONDB (Long-term Storage)
----------------------------------------------------------------------
  Server URL:      https://ucondb.example.com:9443/instance/app
  Folder/Object:   production/configuration
  Total Runs:      498
  Range:           12000 to 12498
  Contiguous:      12000-12100, 12102-12498
  Gaps:            12101

======================================================================
RECOMMENDATIONS
======================================================================
1. Run IMPORTER: 24 run(s) on filesystem not in artdaqDB (range: 12499-12522)
2. WARNING: 1 run(s) failed in all stages (12101)
";
    assert_eq!(text::render(&example()), expected);
}

#[test]
fn the_migrators_line_of_the_manuals_example() {
    let status = status(
        "12000-12100,12102-12522",
        "12000-12100,12102-12522",
        "12000-12100,12102-12507",
    );
    assert_eq!(
        advice(&status),
        [
            "Run MIGRATOR: 15 run(s) in artdaqDB not in UconDB (range: 12508-12522)",
            "WARNING: 1 run(s) failed in all stages (12101)",
        ]
    );
}

#[test]
fn a_source_that_is_not_reached_is_shown_and_the_others_too() {
    let mut status = example();
    status.artdaqdb = Source::artdaqdb("mongodb://h/db".into(), Err(unreachable()));
    assert!(!status.is_complete());
    let text = text::render(&status);
    let part = "\
  Database URI:    mongodb://h/db
  Status:          UNREACHABLE
  Error:           mongodb://h/db: connection refused
                   is it <running> & listening?

UCONDB";
    assert!(text.contains(part), "{text}");
    assert!(text.contains("  Total Runs:      522\n"), "{text}");
    // What can't be known is not said.
    assert!(
        text.contains("1. WARNING: artdaqDB can't be reached"),
        "{text}"
    );
    assert!(
        !text.contains("Run IMPORTER") && !text.contains("2. "),
        "{text}"
    );
    assert_eq!((status.to_import(), status.nowhere()), (None, None));

    let json: serde_json::Value = serde_json::from_str(&json::render(&status).unwrap()).unwrap();
    assert_eq!(json["complete"], false);
    assert_eq!(json["sources"]["artdaqdb"]["reached"], false);
    assert!(json["sources"]["artdaqdb"]["runs"].is_null());
    assert!(json["to_import"].is_null());
    assert_eq!(json["sources"]["ucondb"]["runs"]["count"], 498);

    let html = html::render(&status);
    assert!(html.contains("✗ Not reached: artdaqDB"));
    assert!(html.contains("&lt;running&gt; &amp; listening"));
    assert!(!html.contains("<running>"));
}

#[test]
fn nothing_anywhere_and_nothing_to_do() {
    let text = text::render(&status("", "", ""));
    for line in [
        "  Total Runs:      0\n",
        "  Range:           none\n",
        "  Contiguous:      none\n",
        "  Gaps:            none\n",
        "None: every run on filesystem is in artdaqDB and in UconDB\n",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(html::render(&status("", "", "")).contains("no runs"));
}

#[test]
fn the_state_is_compared_with_the_sources() {
    let mut status = status("100-120", "100-104,106-112", "100-110");
    status.compare = true;
    // 105 counts as done; 113 failed; 114 is claimed as attempted; the rest is new.
    status.import = memory("importer", 110, 114, "105,113");
    status.migrate = memory("migrator", 110, 111, "111");
    let text = text::render(&status);
    let expected = "\
======================================================================
STATE COMPARISON
======================================================================

IMPORT STAGE (filesystem to artdaqDB)
----------------------------------------------------------------------
  State File:      /work/importer_state.json
  Last Contiguous: 110
  Last Attempted:  114
  Failures:        2 (105, 113)
  Missing:         2 run(s) missing from expected range 100-114 (105, 114)
  New:             6 run(s) available since last state update (range: 115-120)

MIGRATION STAGE (artdaqDB to UconDB)
----------------------------------------------------------------------
  State File:      /work/migrator_state.json
  Last Contiguous: 110
  Last Attempted:  111
  Failures:        1 (111)
  Missing:         none missing from expected range 100-111
  New:             1 run(s) available since last state update (range: 112)

======================================================================
RECOMMENDATIONS
";
    assert!(text.contains(expected), "{text}");
    let advice = advice(&status);
    assert_eq!(
        advice[4],
        "Run --recover-import-state: the import state counts 2 run(s) as done that are not in \
         artdaqDB (range: 105, 114)"
    );
    let html = html::render(&status);
    assert!(html.contains("State comparison") && html.contains("115-120"));
}

#[test]
fn states_that_are_not_there_or_not_readable() {
    let mut status = status("5-9", "5-7", "5");
    status.compare = true;
    status.import.state = Ok(None);
    status.migrate.state = Err("/work/migrator_state.json: it is broken".into());
    let text = text::render(&status);
    assert!(text.contains("no state file yet"), "{text}");
    assert!(
        text.contains("New:             2 run(s) available"),
        "{text}"
    );
    assert!(text.contains("  Status:          UNREADABLE\n"), "{text}");
    assert!(text.contains("Missing:         not known"), "{text}");
    assert!(
        text.contains("1. WARNING: /work/migrator_state.json"),
        "{text}"
    );
    assert!(!status.is_complete());
}

#[test]
fn runs_that_wait_for_their_stop_time_are_not_to_be_migrated() {
    let mut status = status("10-14", "10-14", "10");
    status.awaited = Ok(set("9-10,14"));
    assert_eq!(
        advice(&status),
        [
            "Run MIGRATOR: 3 run(s) in artdaqDB not in UconDB (range: 11-13)",
            "NOTE: 1 run(s) in artdaqDB wait for their stop time before they count as archived \
             (range: 14)",
        ]
    );
    status.awaited = Err("/work/incomplete_runs.json: broken".into());
    assert!(advice(&status)[0].contains("incomplete_runs.json"));
    assert_eq!(status.to_migrate().unwrap(), set("11-14"));
}

#[test]
fn what_is_odd_is_warned_about() {
    let mut status = status("10-14", "8-12", "7-9,12");
    status.partial = set("13");
    status.import = memory("importer", 9, 13, "13,200-260");
    status.migrate = memory("migrator", 9, 13, "10");
    let advice = advice(&status);
    for expected in [
        "Run IMPORTER with --retry-failed-import: 1 of them are in its failure log (range: 13)",
        "Run MIGRATOR with --retry-failed-migrate: 1 of them are in its failure log (range: 10)",
        "WARNING: 1 run(s) in artdaqDB in part only (13): IMPORTER completes those on filesystem",
        "WARNING: 2 run(s) in artdaqDB but not on filesystem (8-9)",
        "WARNING: 1 run(s) in UconDB but not in artdaqDB (7)",
        "WARNING: High failure count: 62 run(s) in /work/importer_failures.log",
    ] {
        assert!(
            advice.iter().any(|text| text == expected),
            "no {expected:?} in {advice:#?}"
        );
    }
}

#[test]
fn long_lists_are_cut_in_text_and_whole_in_json() {
    let odd: RunSet = (1..=99).step_by(2).map(Run).collect();
    let shown = text::listed(&odd);
    assert!(
        shown.starts_with("1, 3, 5, ") && shown.ends_with(", 39, … and 30 more"),
        "{shown}"
    );
    assert_eq!(text::listed(&set("1-99")), "1-99");
    let mut status = status("1-99", "1-99", "");
    status.artdaqdb.runs = Ok(odd);
    let json: serde_json::Value = serde_json::from_str(&json::render(&status).unwrap()).unwrap();
    let runs = &json["sources"]["artdaqdb"]["runs"];
    assert_eq!(
        (&runs["count"], runs["ranges"].as_array().unwrap().len()),
        (&50.into(), 50)
    );
    assert_eq!(runs["ranges"][49], serde_json::json!([99, 99]));
}

#[test]
fn the_keys_of_the_json_report() {
    let mut status = example();
    status.executions = vec![Execution {
        import: Some(Counts::default()),
        ..Execution::ending_now(jiff::Timestamp::now(), "Import Only (full)".into(), 0)
    }];
    let report: serde_json::Value = serde_json::from_str(&json::render(&status).unwrap()).unwrap();
    let keys = |value: &serde_json::Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&report),
        "complete executions generated nowhere problems recommendations schema sources stages \
         to_import to_migrate version waiting"
    );
    assert_eq!(
        keys(&report["sources"]["artdaqdb"]),
        "error gaps location partial range reached runs"
    );
    assert_eq!(
        keys(&report["stages"]["import"]),
        "errors expected failure_log failures has_state last_attempted_run last_contiguous_run \
         missing new state_file"
    );
    assert_eq!(
        keys(&report["executions"][0]),
        "duration_seconds end error exit_code import migrate mode start version"
    );
    assert_eq!(report["schema"], 1);
    assert_eq!(report["generated"], "2025-10-24T11:00:00Z");
    assert_eq!(
        report["to_import"],
        serde_json::json!({"count": 24, "ranges": [[12499, 12522]]})
    );
    assert_eq!(report["recommendations"][0]["kind"], "run_importer");
}

#[test]
fn the_page_stays_small_and_needs_nothing_else() {
    let third = |rest: u64| (1..=1_000_000).filter(move |run| run % 3 != rest).map(Run);
    let mut status = status("1-1000000", "1", "1");
    status.filesystem.runs = Ok(third(2).collect());
    status.artdaqdb.runs = Ok(third(1).collect());
    status.ucondb.runs = Ok(third(0).collect());
    status.import.failures = Ok((1..=1_000_000).step_by(7).map(Run).collect());
    status.compare = true;
    status.executions = (0..60)
        .map(|number| Execution {
            error: Some("x".repeat(500)),
            ..Execution::ending_now(jiff::Timestamp::now(), format!("mode {number}"), 1)
        })
        .collect();
    let page = html::render(&status);
    assert!(page.len() < 400_000, "{} bytes", page.len());
    for strip in page.split("<svg").skip(1) {
        assert!(strip.matches("<rect").count() <= 1000);
    }
    for foreign in [
        "<script", "<link", "src=", "href=", "url(", "@import", "http",
    ] {
        let found = page.replace("https://ucondb.example.com", "");
        assert!(!found.contains(foreign), "{foreign}");
    }
    for part in [
        "prefers-color-scheme: dark",
        "@media print",
        "name=\"viewport\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn each_run_of_a_strip_is_in_its_class() {
    let mut status = status("1-10", "1-6,8", "1-4");
    status.import.failures = Ok(set("7"));
    status.migrate.failures = Ok(set("5"));
    let page = html::render(&status);
    for label in [
        "Filesystem: 10 archived",
        "artdaqDB: 7 archived, 2 pending, 1 failed",
        "UconDB: 4 archived, 4 pending, 2 failed",
    ] {
        assert!(page.contains(label), "no {label} in {page}");
    }
}
