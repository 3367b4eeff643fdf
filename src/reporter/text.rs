//! The status report as the operations manual shows it.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::backlog::Failure;
use super::proof::ProofView;
use super::records::RecordFindings;
use super::{Comparison, Memory, Source, Status};
use crate::logging::RULE;
use crate::run::Run;
use crate::run_set::RunSet;

/// The line below a heading.
const LINE: &str = "----------------------------------------------------------------------";

/// How many failed runs of a stage are listed with their reasons.
const FAILURES: usize = 10;

/// How many groups of records with the same fault are listed.
const CONCERNS: usize = 20;

/// How long a reason is at most.
const REASON: usize = 100;

/// How many ranges of runs a line shows.
const RANGES: usize = 20;

/// The report.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut page = Page(String::new());
    page.banner("RUN RECORD ARCHIVER - STATUS REPORT");
    page.line("");
    page.line("DATA SOURCE SUMMARY");
    page.line(RULE);
    page.line("");
    let titles = [
        "FILESYSTEM (Source)",
        "ARTDAQDB (Intermediate Storage)",
        "UCONDB (Long-term Storage)",
    ];
    for (title, (source, before)) in titles.into_iter().zip(status.sources()) {
        page.heading(title);
        page.source(source, before);
        page.line("");
    }
    page.not_archived(status);
    page.records(&status.records);
    if let Some(proof) = ProofView::of(status).filter(ProofView::is_worth_saying) {
        page.proof(&proof);
    }
    if status.compare {
        page.banner("STATE COMPARISON");
        page.line("");
        page.heading("IMPORT STAGE (filesystem to artdaqDB)");
        page.stage(&status.import, status.import_comparison());
        page.line("");
        page.heading("MIGRATION STAGE (artdaqDB to UconDB)");
        page.stage(&status.migrate, status.migrate_comparison());
        page.line("");
    }
    page.banner("RECOMMENDATIONS");
    let recommendations = status.recommendations();
    for (number, recommendation) in recommendations.iter().enumerate() {
        let text = recommendation.text.replace('\n', "\n   ");
        page.line(&format!("{}. {text}", number + 1));
        for command in recommendation.shown_commands() {
            page.line(&format!("   {command}"));
        }
    }
    if recommendations.is_empty() {
        page.line(&nothing_to_do(status));
    }
    page.0
}

/// What is said where nothing is recommended.
#[must_use]
pub fn nothing_to_do(status: &Status) -> String {
    let all = "None: every run on filesystem is in artdaqDB and in UconDB";
    let backlogs = [&status.import.backlog, &status.migrate.backlog];
    let settling = backlogs.into_iter().flatten();
    if settling.map(|it| it.settling.len()).sum::<u64>() > 0 {
        return "None now: runs that are still being written are taken later".to_owned();
    }
    let apart = backlogs.into_iter().flatten();
    let apart = apart.fold(RunSet::default(), |all, backlog| {
        all.union(&backlog.ignored).union(&backlog.below_first)
    });
    match apart.len() {
        0 => all.to_owned(),
        count => format!("{all}, except {count} that are ignored or below first_run"),
    }
}

/// Runs as ranges, the first of them if there are many; `none` if there are none.
#[must_use]
pub fn listed(runs: &RunSet) -> String {
    listed_up_to(runs, RANGES)
}

/// Like [`listed`], with a limit of its own.
#[must_use]
pub fn listed_up_to(runs: &RunSet, limit: usize) -> String {
    if runs.is_empty() {
        return "none".to_owned();
    }
    let mut shown = RunSet::default();
    if runs.ranges().nth(limit).is_none() {
        return runs.to_string();
    }
    for range in runs.ranges().take(limit) {
        shown = shown.union(&RunSet::all_of(range));
    }
    format!("{shown}, … and {} more", runs.len() - shown.len())
}

/// A run, or `none`.
#[must_use]
pub fn run_or_none(run: Option<Run>) -> String {
    run.map_or_else(|| "none".to_owned(), |run| run.to_string())
}

/// `12105 (permanent, since 2025-10-24 15:00, 3 attempts): not FHiCL`.
fn short(failure: &Failure) -> String {
    let mut text = format!("{} ({}", failure.run, failure.class());
    if let Some(details) = &failure.details {
        // Writing to a String can't fail.
        let _ = write!(
            text,
            ", since {}, {} attempt(s)",
            local(details.since),
            details.attempts
        );
        if let Some(time) = details.next_try {
            let _ = write!(text, ", next try from {}", local(time));
        }
    }
    let reason = failure.reason();
    let shown: String = reason.chars().take(REASON).collect();
    let end = if shown.len() < reason.len() {
        "…"
    } else {
        ""
    };
    format!("{text}): {shown}{end}")
}

/// A time in the time of this machine: `2025-10-24 15:00`.
#[must_use]
pub fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn banner(&mut self, title: &str) {
        for line in [RULE, title, RULE] {
            self.line(line);
        }
    }

    fn heading(&mut self, title: &str) {
        self.line(title);
        self.line(LINE);
    }

    fn field(&mut self, name: &str, value: &str) {
        let value = value.replace('\n', "\n                   ");
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "  {:<16} {value}", format!("{name}:"));
    }

    fn source(&mut self, source: &Source, before: Option<&Source>) {
        for (name, value) in &source.location {
            self.field(name, value);
        }
        let runs = match &source.runs {
            Ok(runs) => runs,
            Err(error) => {
                self.field("Status", "UNREACHABLE");
                self.field("Error", error);
                return;
            }
        };
        self.field("Total Runs", &runs.len().to_string());
        let range = source.range(before);
        let range = range.map(|(first, last)| format!("{first} to {last}"));
        self.field("Range", range.as_deref().unwrap_or("none"));
        self.field("Contiguous", &listed(runs));
        self.field("Gaps", &listed(&source.gaps(before)));
    }

    /// The runs that are not archived and are no new ones, and why. Where there are
    /// none, the report is as the operations manual shows it.
    fn not_archived(&mut self, status: &Status) {
        let mut part = Page(String::new());
        for declaration in status.ignored.iter().flatten() {
            part.field("Ignored", &declaration.sentence());
        }
        for (stage, memory) in [("import", &status.import), ("migration", &status.migrate)] {
            part.failures(stage, memory);
            let Some(backlog) = &memory.backlog else {
                continue;
            };
            for (name, runs, what) in [
                (
                    "Held back",
                    &backlog.held_back,
                    "far above the highest archived run",
                ),
                (
                    "Settling",
                    &backlog.settling,
                    "still being written, taken when nothing changes any longer",
                ),
                (
                    "Waiting",
                    &backlog.waiting,
                    "late, until UconDB can be asked",
                ),
                (
                    "Left",
                    &backlog.left,
                    "by an earlier archiver, taken only with --runs",
                ),
                (
                    "Removed",
                    &backlog.pruned,
                    "from artdaqDB after they were archived, taken only with --runs",
                ),
                (
                    "Below first",
                    &backlog.below_first,
                    "below source_files.first_run",
                ),
            ] {
                if !runs.is_empty() {
                    let text = format!("{} run(s) ({what}): {}", runs.len(), listed(runs));
                    part.field(name, &text);
                }
            }
        }
        if let Some(runs) = status.no_record().filter(|runs| !runs.is_empty()) {
            part.line(&format!(
                "  {} number(s) that were never used, no record: {}",
                runs.len(),
                listed(&runs)
            ));
        }
        if !part.0.is_empty() {
            self.heading("NOT ARCHIVED, AND WHY");
            self.0.push_str(&part.0);
            self.line("");
        }
    }

    /// Records of archived runs that need a look. Where there are none, the report is
    /// as the operations manual shows it.
    fn records(&mut self, records: &RecordFindings) {
        if records.is_empty() {
            return;
        }
        self.heading("RECORDS OF ARCHIVED RUNS THAT NEED A LOOK");
        for (name, meaning, concerns) in records.each() {
            if concerns.is_empty() {
                continue;
            }
            let runs: u64 = concerns.iter().map(|concern| concern.runs.len()).sum();
            self.field(name, &format!("{runs} {meaning}"));
            for concern in concerns.iter().take(CONCERNS) {
                self.line(&format!("    {}", concern.sentence()));
            }
            if let Some(others) = concerns.get(CONCERNS..).filter(|others| !others.is_empty()) {
                let others = others.iter().flat_map(|concern| concern.runs.iter());
                let others: RunSet = others.collect::<BTreeSet<Run>>().into_iter().collect();
                self.line(&format!(
                    "    and {} more: {}",
                    others.len(),
                    listed(&others)
                ));
            }
        }
        self.line("");
    }

    /// What was not compared, and what was found wrong.
    fn proof(&mut self, proof: &ProofView) {
        self.heading("VERIFICATION");
        let finished = proof.finished.map_or_else(|| "never".to_owned(), local);
        self.field(
            "Last Round",
            &format!("{finished} (--verify --incremental)"),
        );
        let sets = [
            (
                "Not Compared",
                &proof.not_compared,
                "in UconDB, not stored by this archiver; --verify --incremental compares them",
            ),
            (
                "Not Well",
                proof.not_well,
                "when --verify compared them last",
            ),
        ];
        for (name, runs, what) in sets {
            if !runs.is_empty() {
                let text = format!("{} run(s) ({what}): {}", runs.len(), listed(runs));
                self.field(name, &text);
            }
        }
        for (run, finding) in proof.findings.iter().take(FAILURES) {
            self.field("Finding", &format!("{run}: {finding}"));
        }
        self.line("");
    }

    fn failures(&mut self, stage: &str, memory: &Memory) {
        for failure in memory.failed.iter().take(FAILURES) {
            self.field("Failed", &format!("{stage} of run {}", short(failure)));
        }
        let others = memory.failed.get(FAILURES..).unwrap_or_default();
        if !others.is_empty() {
            let runs: RunSet = others.iter().map(|failure| failure.run).collect();
            let text = format!("{stage} of {} more: {}", runs.len(), listed(&runs));
            self.field("Failed", &text);
        }
    }

    fn stage(&mut self, memory: &Memory, comparison: Option<Comparison>) {
        self.field("State File", &memory.state_file.display().to_string());
        match &memory.state {
            Ok(None) => self.field("Status", "no state file yet: the first execution writes it"),
            Ok(Some(state)) => {
                self.field("Last Contiguous", &run_or_none(state.last_contiguous_run));
                self.field("Last Attempted", &run_or_none(state.last_attempted_run));
            }
            Err(error) => {
                self.field("Status", "UNREADABLE");
                self.field("Error", error);
            }
        }
        match &memory.failures {
            Ok(failures) if failures.is_empty() => self.field("Failures", "0"),
            Ok(failures) => self.field(
                "Failures",
                &format!("{} ({})", failures.len(), listed(failures)),
            ),
            Err(error) => self.field("Failures", &format!("UNREADABLE: {error}")),
        }
        let Some(Comparison {
            expected,
            missing,
            new,
        }) = comparison
        else {
            self.field("Missing", "not known");
            self.field("New", "not known");
            return;
        };
        let expected = expected.map_or_else(
            || "(nothing yet)".to_owned(),
            |(first, last)| format!("{first}-{last}"),
        );
        let count = match missing.len() {
            0 => "none".to_owned(),
            count => format!("{count} run(s)"),
        };
        let which = match missing.is_empty() {
            true => String::new(),
            false => format!(" ({})", listed(&missing)),
        };
        self.field(
            "Missing",
            &format!("{count} missing from expected range {expected}{which}"),
        );
        let new = match new.len() {
            0 => "none available since last state update".to_owned(),
            count => format!(
                "{count} run(s) available since last state update (range: {})",
                listed(&new)
            ),
        };
        self.field("New", &new);
    }
}
