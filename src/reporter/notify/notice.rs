//! What a notification says, before it is a mail or a Slack message.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::reporter::stage_report::{Ending, StageReport};
use crate::reporter::summary::{LISTED_FAILURES, Summary, ranges};
use crate::run_set::RunSet;
use crate::sys::text::one_line;

/// How much of a reason is told, in characters; the log has all of it.
const LONGEST_REASON: usize = 400;

/// What a summary doesn't know of its execution.
#[derive(Debug, Clone)]
pub struct Context {
    /// The machine.
    pub host: String,
    /// When the execution ended, for people.
    pub time: String,
    /// The command line that was executed.
    pub command: String,
    /// The command line without flags, for the commands to run next.
    pub base_command: String,
    /// How the execution ends.
    pub exit_code: u8,
    /// Where the log is, if anywhere.
    pub log_file: Option<PathBuf>,
}

/// What went wrong in one execution, and what to do about it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Where, when and how.
    pub context: Context,
    /// What went wrong, in one line: `12 runs failed (import), migrate stopped`.
    pub headline: String,
    /// The stages in which something went wrong.
    pub stages: Vec<StageNotice>,
    /// What to run next.
    pub next: Vec<String>,
}

/// What went wrong in one stage.
#[derive(Debug, Clone)]
pub struct StageNotice {
    /// `Import Stage`.
    pub title: String,
    /// How many runs were archived, failed and left.
    pub counts: String,
    /// Runs with the reason why they failed; why the stage stopped.
    pub reasons: Vec<String>,
}

impl Notice {
    /// The notice of an execution, or `None` if nobody needs one. An execution
    /// that was asked to end is worth one only for the runs that failed in it.
    #[must_use]
    pub fn of(summary: &Summary, context: &Context, interrupted: bool) -> Option<Notice> {
        let mut headlines = Vec::new();
        let mut stages = Vec::new();
        for stage in summary.stages() {
            let failed = stage.failed.iter().filter(|failed| failed.is_news).count();
            let held_back = !stage.held_back.is_empty();
            let changed = stage.changed_records.len();
            let stopped = stage.obstacle().is_some() && !interrupted;
            let verb = stage.kind.verb();
            if failed > 0 {
                headlines.push(format!("{} failed ({verb})", count(failed)));
            }
            if stopped {
                headlines.push(format!("{verb} stopped"));
            }
            if held_back {
                headlines.push(format!("{} held back ({verb})", count_of(&stage.held_back)));
            }
            if changed > 0 {
                headlines.push(format!("{} with a changed record", count(changed)));
            }
            if failed > 0 || stopped || held_back || changed > 0 {
                stages.push(StageNotice::of(stage));
            }
        }
        if let (Some(reason), false) = (summary.aborted(), interrupted) {
            headlines.push("the execution stopped".to_owned());
            stages.push(StageNotice {
                title: "Execution".into(),
                counts: "ended before its stages were done".into(),
                reasons: vec![brief(reason)],
            });
        }
        if stages.is_empty() {
            return None;
        }
        let mut next = summary.next(&context.base_command);
        if summary.aborted().is_some() {
            next.push(
                "put right what stopped the execution, then run the same command again".into(),
            );
        }
        Some(Notice {
            context: context.clone(),
            headline: headlines.join(", "),
            stages,
            next,
        })
    }

    /// The line by which a message is known in a list of messages.
    #[must_use]
    pub fn subject(&self) -> String {
        format!(
            "Run Record Archiver on {}: {}",
            self.context.host, self.headline
        )
    }

    /// What is known of the execution, with its names.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let context = &self.context;
        let mut facts = vec![
            ("Host", context.host.clone()),
            ("Time", context.time.clone()),
            ("Command", context.command.clone()),
            ("Exit code", context.exit_code.to_string()),
        ];
        if let Some(file) = &context.log_file {
            facts.push(("Log", file.display().to_string()));
        }
        facts
    }

    /// The whole notice as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}.\n\n", self.headline);
        // Writing to a String can't fail.
        for (name, value) in self.facts() {
            let _ = writeln!(text, "{:<11}{value}", format!("{name}:"));
        }
        for stage in &self.stages {
            let _ = writeln!(text, "\n{}: {}", stage.title, stage.counts);
            for reason in &stage.reasons {
                let _ = writeln!(text, "  {reason}");
            }
        }
        text.push_str("\nNext:\n");
        for step in &self.next {
            let _ = writeln!(text, "  {step}");
        }
        text
    }
}

impl StageNotice {
    fn of(report: &StageReport) -> StageNotice {
        let mut reasons = Vec::new();
        let counts = match &report.ending {
            Ending::NotBegun(error) => {
                reasons.push(brief(&error.to_string()));
                "did not begin".to_owned()
            }
            Ending::Finished | Ending::Stopped(_) => {
                // Several workers fail in no order.
                let news = report.failed.iter().filter(|failed| failed.is_news);
                let mut failed: Vec<_> = news.collect();
                failed.sort_by_key(|failed| failed.run);
                for failed in failed.iter().take(LISTED_FAILURES) {
                    reasons.push(format!("{}: {}", failed.run, brief(&failed.reason)));
                }
                if failed.len() > LISTED_FAILURES {
                    let others = failed.iter().skip(LISTED_FAILURES);
                    reasons.push(brief(&format!(
                        "and {} more: {}",
                        failed.len() - LISTED_FAILURES,
                        ranges(others.map(|failed| &failed.run))
                    )));
                }
                let mut counts = format!(
                    "{} failed, {} {}",
                    count(failed.len()),
                    report.archived.len(),
                    report.kind.done()
                );
                if !report.held_back.is_empty() {
                    reasons.push(format!(
                        "held back, more than 100,000 above the highest archived run: {}",
                        report.held_back
                    ));
                }
                for (run, files) in report.changed_records.iter().take(LISTED_FAILURES) {
                    reasons.push(brief(&format!(
                        "{run}: its record is another one than was archived: {}",
                        files.join(", ")
                    )));
                }
                if report.changed_records.len() > LISTED_FAILURES {
                    let others = report.changed_records.keys().skip(LISTED_FAILURES);
                    reasons.push(brief(&format!("and the records of {}", ranges(others))));
                }
                if let Ending::Stopped(error) = &report.ending {
                    counts += &format!(
                        ", stopped with {} left, which are neither failed nor attempted",
                        report.left
                    );
                    reasons.push(format!("stopped: {}", brief(&error.to_string())));
                } else if report.left > 0 {
                    counts += &format!(", {} left because of the shutdown", report.left);
                }
                counts
            }
        };
        StageNotice {
            title: report.kind.title().to_owned(),
            counts,
            reasons,
        }
    }
}

fn count(runs: usize) -> String {
    match runs {
        1 => "1 run".to_owned(),
        _ => format!("{runs} runs"),
    }
}

fn count_of(runs: &RunSet) -> String {
    count(usize::try_from(runs.len()).unwrap_or(usize::MAX))
}

/// The first line of a reason, without what would break a message's layout.
fn brief(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    shorten(&one_line(line), LONGEST_REASON)
}

/// At most so many characters, the last an ellipsis where some are left out.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Disposition, Error};
    use crate::reporter::stage_report::FailedRun;
    use crate::run::{Run, StageKind};

    fn context() -> Context {
        Context {
            host: "daq01".into(),
            time: "2025-10-24 14:32:15 CDT".into(),
            command: "/opt/a/run_archiver.sh /etc/c.yaml --incremental".into(),
            base_command: "/opt/a/run_archiver.sh /etc/c.yaml".into(),
            exit_code: 1,
            log_file: Some("/var/lib/a/archiver.log".into()),
        }
    }

    fn unreachable() -> Error {
        Error::ucondb("https://u/app", "no connection", Disposition::StopStage)
    }

    fn failed(kind: StageKind, runs: std::ops::Range<u64>) -> StageReport {
        let failed = runs.rev().map(|run| FailedRun {
            run: Run(run),
            reason: format!("bad\x1b {run}\nsecond line"),
            is_news: true,
        });
        StageReport {
            failed: failed.collect(),
            failures: 14,
            failed_open: (1..=14).map(Run).collect(),
            ..StageReport::new(kind, "db")
        }
    }

    #[test]
    fn changed_records_are_told_with_their_files() {
        let mut report = StageReport::new(StageKind::Import, "filesystemdb:///a");
        report
            .changed_records
            .insert(Run(7), vec!["boot.txt".into(), "tpc01.fcl".into()]);
        let mut summary = Summary::default();
        summary.add(report);
        assert!(!summary.is_success());
        let notice = Notice::of(&summary, &context(), false).unwrap();
        assert_eq!(notice.headline, "1 run with a changed record");
        let reason = "  7: its record is another one than was archived: boot.txt, tpc01.fcl\n";
        assert!(notice.text().contains(reason), "{}", notice.text());
    }

    #[test]
    fn says_all_that_an_operator_needs() {
        let mut summary = Summary::default();
        let mut report = failed(StageKind::Import, 1..13);
        report.archived.insert(Run(99));
        summary.add(report);
        summary.add(StageReport {
            ending: Ending::Stopped(unreachable()),
            left: 5,
            ..StageReport::new(StageKind::Migrate, "u")
        });
        let notice = Notice::of(&summary, &context(), false).unwrap();
        assert_eq!(
            notice.subject(),
            "Run Record Archiver on daq01: 12 runs failed (import), migrate stopped"
        );
        assert_eq!(
            notice.text(),
            "12 runs failed (import), migrate stopped.

Host:      daq01
Time:      2025-10-24 14:32:15 CDT
Command:   /opt/a/run_archiver.sh /etc/c.yaml --incremental
Exit code: 1
Log:       /var/lib/a/archiver.log

Import Stage: 12 runs failed, 1 imported
  1: bad  1
  2: bad  2
  3: bad  3
  4: bad  4
  5: bad  5
  6: bad  6
  7: bad  7
  8: bad  8
  9: bad  9
  10: bad  10
  and 2 more: 11-12

Migrate Stage: 0 runs failed, 0 migrated, stopped with 5 left, which are neither failed nor attempted
  stopped: https://u/app: no connection

Next:
  /opt/a/run_archiver.sh /etc/c.yaml --retry-failed-import (takes the 14 run(s) of its failure log)
  put right what stopped the Migrate Stage, then run the same command again
"
        );
    }

    #[test]
    fn nothing_wrong_is_not_worth_a_message() {
        let mut summary = Summary::default();
        assert!(Notice::of(&summary, &context(), false).is_none());
        summary.add(StageReport::new(StageKind::Import, "db"));
        assert!(Notice::of(&summary, &context(), false).is_none());
    }

    #[test]
    fn a_shutdown_is_not_worth_a_message_but_failed_runs_are() {
        let mut summary = Summary::default();
        let interrupted = Error::Interrupted("x".into());
        summary.add(StageReport::not_begun(StageKind::Import, "db", interrupted));
        assert!(Notice::of(&summary, &context(), true).is_none());
        assert!(Notice::of(&Summary::of_aborted("x".into()), &context(), true).is_none());
        summary.add(failed(StageKind::Migrate, 7..8));
        let notice = Notice::of(&summary, &context(), true).unwrap();
        assert_eq!(notice.headline, "1 run failed (migrate)");
    }

    #[test]
    fn what_never_began_is_told_too() {
        let mut summary = Summary::default();
        summary.add(StageReport::not_begun(
            StageKind::Import,
            "db",
            unreachable(),
        ));
        let notice = Notice::of(&summary, &context(), false).unwrap();
        assert_eq!(notice.headline, "import stopped");
        assert!(
            notice
                .text()
                .contains("Import Stage: did not begin\n  https://u/app: no")
        );
        let notice = Notice::of(&Summary::of_aborted("why".into()), &context(), false).unwrap();
        assert_eq!(notice.headline, "the execution stopped");
        assert!(notice.text().contains("\n  why\n"), "{}", notice.text());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }
}
