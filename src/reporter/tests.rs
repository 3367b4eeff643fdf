//! The forms of the report on made-up sources.

use jiff::ZonedDateTime;

use super::*;
use crate::error::{Disposition, Error};
use crate::reporter::backlog::FailureDetails;
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
        failed: Vec::new(),
        backlog: None,
    }
}

/// As the pipeline sorts runs where nothing is special about any of them.
fn sorted(mut status: Status) -> Status {
    let failed = [&status.import, &status.migrate].map(Memory::failed);
    status.sort(&|kind, source, archived, _| {
        let [imports, migrations] = &failed;
        let failures = match kind {
            StageKind::Import => imports,
            StageKind::Migrate => migrations,
        };
        let open = source.difference(archived);
        Some(Backlog {
            new: open.difference(failures),
            failed: open.intersection(failures),
            gone: failures.difference(source).difference(archived),
            ..Backlog::default()
        })
    });
    status
}

fn time(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn status(filesystem: &str, artdaqdb: &str, ucondb: &str) -> Status {
    let server = "https://ucondb.example.com:9443/instance/app".to_owned();
    sorted(Status {
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
        ignored: Ok(Vec::new()),
        records: RecordFindings::default(),
        proof: None,
        first_run: None,
        command: "./run_archiver.sh config.yaml".to_owned(),
        compare: false,
        executions: Vec::new(),
    })
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
    let status = sorted(status);
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
    let mut status = sorted(status);
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
    let html = html::render(&status);
    assert!(html.contains("State comparison") && html.contains("115-120"));
    // An incremental execution takes the late 114, and no recovery is needed.
    assert!(
        !advice(&status)
            .iter()
            .any(|text| text.contains("--recover"))
    );
    if let Some(backlog) = &mut status.import.backlog {
        backlog.new = set("115-120");
    }
    let advice = advice(&status);
    let recover = advice.iter().find(|text| text.contains("--recover"));
    assert_eq!(
        recover.unwrap(),
        "Run --recover-import-state: the import state counts 1 run(s) as done that are not in \
         artdaqDB (range: 114)"
    );
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
    let mut status = sorted(status);
    assert_eq!(
        advice(&status),
        [
            "Run MIGRATOR: 3 run(s) in artdaqDB not in UconDB (range: 11-13)",
            "NOTE: 1 run(s) in artdaqDB wait for their stop time before they count as archived \
             (range: 14)",
        ]
    );
    status.awaited = Err("/work/incomplete_runs.json: broken".into());
    let status = sorted(status);
    assert!(advice(&status)[0].contains("incomplete_runs.json"));
    assert_eq!(status.to_migrate().unwrap(), set("11-14"));
}

#[test]
fn what_is_odd_is_warned_about() {
    let mut status = status("10-14", "8-12", "7-9,12");
    status.partial = set("13");
    status.import = memory("importer", 9, 13, "13,200-260");
    status.migrate = memory("migrator", 9, 13, "10");
    let mut status = sorted(status);
    let detailed = |run, is_permanent| Failure {
        run: Run(run),
        details: Some(FailureDetails {
            is_permanent,
            reason: "x".to_owned(),
            since: time("2025-10-24T08:00:00Z"),
            last: time("2025-10-24T09:00:00Z"),
            attempts: 2,
            next_try: None,
        }),
    };
    status.import.failed = vec![detailed(13, true)];
    let advice = advice(&status);
    for expected in [
        "Run IMPORTER with --retry-failed-import: 1 run(s) are in its failure log (range: 13). They \
         fail until their record is corrected:",
        "Run MIGRATOR with --retry-failed-migrate: 1 run(s) are in its failure log (range: 10). \
         --incremental tries them again by itself; at once:",
        "WARNING: 61 run(s) of the import failure log are no longer on filesystem (200-260). If \
         they are gone for good:",
        "WARNING: 62 run(s) failed in all stages (13, 200-260)",
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
        "complete executions failed_in_all_stages generated ignored no_record nowhere problems \
         recommendations records schema sources stages to_import to_migrate verification version \
         waiting"
    );
    assert_eq!(
        keys(&report["sources"]["artdaqdb"]),
        "error gaps location partial range reached runs"
    );
    assert_eq!(
        keys(&report["stages"]["import"]),
        "backlog errors expected failed_runs failure_log failures has_state last_attempted_run \
         last_contiguous_run missing new state_file"
    );
    assert_eq!(
        keys(&report["stages"]["import"]["backlog"]),
        "below_first_run failed failed_without_source held_back ignored left_by_earlier new pruned \
         settling waiting"
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
    status.import.failed = (1..=1000)
        .map(|run| Failure {
            run: Run(run),
            details: Some(FailureDetails {
                is_permanent: false,
                reason: "y".repeat(2000),
                since: time("2025-10-24T08:00:00Z"),
                last: time("2025-10-24T09:00:00Z"),
                attempts: 2,
                next_try: Some(time("2025-10-24T10:00:00Z")),
            }),
        })
        .collect();
    let mut status = sorted(status);
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

/// The example: a stray directory, numbers that were never used, and runs
/// of each kind that no execution takes by itself.
fn with_every_kind() -> Status {
    let mut status = status(
        "12000-12100,12102-12522,99999999",
        "12000-12100,12102-12498",
        "",
    );
    status.ucondb.runs = status.artdaqdb.runs.clone();
    status.first_run = Some(Run(12002));
    status.ignored = Ok(vec![Declaration {
        runs: set("12499"),
        reason: "disk lost, see ticket 4711".to_owned(),
        user: "anna".to_owned(),
        date: time("2025-10-24T08:00:00Z"),
    }]);
    status.import.failures = Ok(set("12500,12501"));
    status.import.failed = vec![
        Failure {
            run: Run(12500),
            details: Some(FailureDetails {
                is_permanent: true,
                reason: "tpc01.fcl: not FHiCL\n  line 1".to_owned(),
                since: time("2025-10-24T08:00:00Z"),
                last: time("2025-10-25T09:00:00Z"),
                attempts: 3,
                next_try: None,
            }),
        },
        Failure {
            run: Run(12501),
            details: None,
        },
    ];
    status.import.backlog = Some(Backlog {
        new: set("12510-12522"),
        failed: set("12500-12501"),
        gone: set("12400"),
        held_back: set("99999999"),
        waiting: set("12502"),
        settling: RunSet::default(),
        pruned: set("12503"),
        left: set("12504-12509"),
        below_first: set("7"),
        ignored: set("12499"),
    });
    status
}

#[test]
fn runs_that_no_execution_takes_are_listed_with_the_reason() {
    let status = with_every_kind();
    let text = text::render(&status);
    for part in [
        "NOT ARCHIVED, AND WHY\n",
        "  Ignored:         12499: disk lost, see ticket 4711 (anna, 2025-10-24)\n",
        "  Failed:          import of run 12500 (permanent, since 2025-10-24 ",
        ", 3 attempt(s)): tpc01.fcl: not FHiCL\n",
        "  Failed:          import of run 12501 (transient): the reason is not known\n",
        "  Held back:       1 run(s) (far above the highest archived run): 99999999\n",
        "  Waiting:         1 run(s) (late, until UconDB can be asked): 12502\n",
        "  Left:            6 run(s) (by an earlier archiver, taken only with --runs): 12504-12509\n",
        "  Below first:     1 run(s) (below source_files.first_run): 7\n",
        "1. Run IMPORTER: 13 run(s) on filesystem not in artdaqDB (range: 12510-12522)\n",
        "fail until their record is corrected:\n   ./run_archiver.sh config.yaml --retry-failed-import\n",
        "   ./run_archiver.sh config.yaml --ignore 12400 --reason TEXT\n",
        "   ./run_archiver.sh config.yaml --runs 99999999\n   \
         ./run_archiver.sh config.yaml --ignore 99999999 --reason TEXT\n",
        "   ./run_archiver.sh config.yaml --runs 12504-12509\n",
        "   ./run_archiver.sh config.yaml --runs 12503\n",
        "WARNING: 3 run(s) failed in all stages (12101, 12500-12501)\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(status.range(), Some((Run(12000), Run(12522))));

    let json: serde_json::Value = serde_json::from_str(&json::render(&status).unwrap()).unwrap();
    let import = &json["stages"]["import"];
    assert_eq!(import["backlog"]["held_back"]["ranges"][0][0], 99_999_999);
    assert_eq!(import["failed_runs"][0]["class"], "permanent");
    assert_eq!(import["failed_runs"][0]["attempts"], 3);
    assert_eq!(import["failed_runs"][0]["since"], "2025-10-24T08:00:00Z");
    assert!(import["failed_runs"][1]["reason"].is_null());
    assert_eq!(json["ignored"][0]["user"], "anna");
    assert_eq!(json["ignored"][0]["runs"]["ranges"][0][0], 12499);
    assert_eq!(json["no_record"]["count"], 0);

    let html = html::render(&status);
    for part in [
        "Not archived, and why",
        "disk lost, see ticket 4711",
        "tpc01.fcl: not FHiCL",
        "1 held back",
        "--ignore 99999999 --reason TEXT",
    ] {
        assert!(html.contains(part), "no {part:?} in {html}");
    }
}

#[test]
fn numbers_that_were_never_used_did_not_fail() {
    let gaps = |first_run, ignored: &str| {
        let mut status = status("900-904,8001-8010,8020-8030,8032", "900", "900");
        status.first_run = first_run;
        status.ignored = Ok(vec![Declaration {
            runs: set(ignored),
            reason: "x".to_owned(),
            user: "anna".to_owned(),
            date: time("2025-10-24T08:00:00Z"),
        }]);
        let shown = [status.failed_in_all_stages(), status.no_record()];
        shown.map(|runs| runs.unwrap().to_string())
    };
    assert_eq!(gaps(None, "1"), ["8011-8019, 8031", "905-8000"]);
    assert_eq!(gaps(Some(Run(8015)), "8031"), ["8015-8019", ""]);
    let status = status("900-904,8001-8010", "900", "900");
    let text = text::render(&status);
    assert!(text.contains("no record: 905-8000\n"), "{text}");
    assert!(!text.contains("failed in all stages"), "{text}");
}

#[test]
fn what_is_accounted_for_is_neither_missing_nor_new() {
    let mut status = with_every_kind();
    status.import.state = memory("importer", 12498, 12510, "").state;
    let found = status.import_comparison().unwrap();
    assert_eq!(found.missing, set("12502,12510"));
    assert_eq!(found.new, set("12511-12522"));
}

#[test]
fn nothing_to_do_but_ignored_runs() {
    let mut status = status("10-14", "10-13", "10-13");
    status.import.backlog = Some(Backlog {
        ignored: set("14"),
        ..Backlog::default()
    });
    let text = text::render(&status);
    assert!(
        text.ends_with("in UconDB, except 1 that are ignored or below first_run\n"),
        "{text}"
    );
}
