//! The status report as the operations manual shows it.

use std::fmt::Write;

use super::{Comparison, Memory, Source, Status};
use crate::logging::RULE;
use crate::run::Run;
use crate::run_set::RunSet;

/// The line below a heading.
const LINE: &str = "----------------------------------------------------------------------";

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
    }
    if recommendations.is_empty() {
        page.line("None: every run on filesystem is in artdaqDB and in UconDB");
    }
    page.0
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
