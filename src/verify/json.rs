//! The report of a verification for programs. `docs/verify.md` has the schema; keys
//! are added to it, never renamed or removed, while [`SCHEMA`] stays the same.

use serde::Serialize;

use super::{Column, ComparedRun, FileFinding, Finding, Note, Report};
use crate::comparison::Kind;
use crate::error::{Error, Result};
use crate::pipeline::journal::Store;
use crate::run::Run;

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// Returns the report in one line, and a newline at its end.
///
/// # Errors
/// None that this program does not rule out.
pub fn render(report: &Report) -> Result<String> {
    let view = View {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        success: report.is_success(),
        compared: report.compared,
        with_findings: report.runs.iter().filter(|run| !run.is_well()).count(),
        not_compared: report.left,
        last: report.last.map(|run| run.0),
        unmatched: &report.unmatched,
        records_problem: report.records_problem.as_deref(),
        without_record: report.without_record.iter().map(|run| run.0).collect(),
        runs: report.runs.iter().map(RunView::of).collect(),
    };
    let mut text = serde_json::to_string(&view)
        .map_err(|error| Error::Unexpected(format!("the verification as JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct View<'a> {
    schema: u32,
    version: &'static str,
    success: bool,
    compared: usize,
    with_findings: usize,
    not_compared: usize,
    last: Option<u64>,
    unmatched: &'a [String],
    records_problem: Option<&'a str>,
    without_record: Vec<u64>,
    runs: Vec<RunView<'a>>,
}

#[derive(Serialize)]
struct RunView<'a> {
    run: u64,
    record: ColumnView<'a>,
    artdaqdb: ColumnView<'a>,
    ucondb: ColumnView<'a>,
    findings: Vec<FindingView<'a>>,
    notes: Vec<NoteView>,
}

impl<'a> RunView<'a> {
    fn of(compared: &'a ComparedRun) -> RunView<'a> {
        let Run(run) = compared.run;
        RunView {
            run,
            record: ColumnView::of(&compared.record),
            artdaqdb: ColumnView::of(&compared.artdaqdb),
            ucondb: ColumnView::of(&compared.ucondb),
            findings: compared.findings.iter().map(FindingView::of).collect(),
            notes: compared.notes.iter().map(NoteView::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct ColumnView<'a> {
    state: &'static str,
    files: Option<usize>,
    problem: Option<&'a str>,
}

impl<'a> ColumnView<'a> {
    fn of(column: &'a Column) -> ColumnView<'a> {
        let (state, files, problem) = match column {
            Column::Files(count) => ("whole", Some(*count), None),
            Column::Nothing => ("none", None, None),
            Column::Part => ("partial", None, None),
            Column::Unreadable(problem) => ("unreadable", None, Some(problem.as_str())),
        };
        ColumnView {
            state,
            files,
            problem,
        }
    }
}

#[derive(Serialize)]
struct FindingView<'a> {
    kind: &'static str,
    /// Where it is wrong: `record`, `artdaqdb` or `ucondb`.
    place: &'static str,
    /// What it was compared with.
    reference: Option<&'static str>,
    file: Option<&'a str>,
    text: String,
    diff: &'a [String],
}

impl<'a> FindingView<'a> {
    fn of(finding: &'a Finding) -> FindingView<'a> {
        let of_run = |kind, place| FindingView {
            kind,
            place,
            reference: None,
            file: None,
            text: finding.to_string(),
            diff: &[],
        };
        match finding {
            Finding::File(file) => FindingView {
                kind: kind(file),
                place: key(file.store),
                reference: Some(key(file.reference)),
                file: Some(file.file()),
                text: finding.to_string(),
                diff: &file.diff,
            },
            Finding::NotMigrated => of_run("not_migrated", key(Store::Ucondb)),
            Finding::Partial => of_run("partial", key(Store::Artdaqdb)),
            Finding::NotArchived => of_run("not_archived", key(Store::Artdaqdb)),
            Finding::Unreadable(store, _) => of_run("unreadable", key(*store)),
        }
    }
}

#[derive(Serialize)]
struct NoteView {
    kind: &'static str,
    text: String,
}

impl NoteView {
    fn of(note: &Note) -> NoteView {
        NoteView {
            kind: match note {
                Note::NoRecord => "no_record",
                Note::Pruned => "pruned",
                Note::ConvertedDifferently(_) => "converted_differently",
                Note::GainedTimes(_) => "gained_times",
                Note::OnlyStored(_) => "only_stored",
                Note::OtherName(..) => "other_name",
                Note::Blob(_) => "blob",
            },
            text: note.to_string(),
        }
    }
}

fn key(store: Store) -> &'static str {
    match store {
        Store::Records => "record",
        Store::Artdaqdb => "artdaqdb",
        Store::Ucondb => "ucondb",
    }
}

fn kind(file: &FileFinding) -> &'static str {
    match file.kind {
        Kind::Missing => "missing",
        Kind::Extra => "extra",
        Kind::Content => "differs",
        Kind::Text | Kind::Times => "text_differs",
    }
}
