//! The status report of a million runs, once its sources have answered.

use std::time::Instant;

use jiff::ZonedDateTime;
use run_record_archiver::reporter::backlog::Backlog;
use run_record_archiver::reporter::{Memory, Source, Status, html, json, text};
use run_record_archiver::run::Run;
use run_record_archiver::run_set::RunSet;

use super::{figure, milliseconds};

const RUNS: u64 = 1_000_000;

/// Renders it in every format.
pub fn bench() {
    // Every seventh run is not in artdaqDB, every eleventh not in UconDB.
    let status = Status {
        generated: ZonedDateTime::now(),
        filesystem: source("Filesystem", &|_| true),
        artdaqdb: source("artdaqDB", &|run| run % 7 != 0),
        partial: RunSet::default(),
        ucondb: source("UconDB", &|run| run % 7 != 0 && run % 11 != 0),
        awaited: Ok(RunSet::default()),
        import: memory(&|run| run % 70 == 0),
        migrate: memory(&|run| run % 110 == 0),
        ignored: Ok(Vec::new()),
        records: Default::default(),
        proof: None,
        first_run: None,
        command: "./run_archiver.sh config.yaml".to_owned(),
        compare: true,
        executions: Vec::new(),
    };
    let render: [(&str, &dyn Fn() -> usize); 3] = [
        ("text", &|| text::render(&status).len()),
        ("json", &|| json::render(&status).expect("a report").len()),
        ("html", &|| html::render(&status).len()),
    ];
    for (format, render) in render {
        let started = Instant::now();
        let size = render();
        let took = milliseconds(started.elapsed());
        figure(&format!("report of {RUNS} runs, {format}"), took, "ms");
        figure(
            &format!("report of {RUNS} runs, {format}: size"),
            size as f64 / 1e6,
            "MB",
        );
    }
}

fn runs(has: &dyn Fn(u64) -> bool) -> RunSet {
    (1..=RUNS).filter(|run| has(*run)).map(Run).collect()
}

fn source(name: &'static str, has: &dyn Fn(u64) -> bool) -> Source {
    Source {
        name,
        location: vec![("Location", name.to_owned())],
        runs: Ok(runs(has)),
    }
}

fn memory(failed: &dyn Fn(u64) -> bool) -> Memory {
    Memory {
        state_file: "state.json".into(),
        failure_log: "failures.log".into(),
        state: Ok(None),
        failures: Ok(runs(failed)),
        failed: Vec::new(),
        backlog: Some(Backlog {
            new: runs(&|run| run % 77 == 0),
            failed: runs(failed),
            ..Backlog::default()
        }),
    }
}
