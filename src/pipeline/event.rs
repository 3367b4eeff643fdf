//! What the pipeline tells while it works, and who listens: the log, the progress
//! bar, the service manager, and the recorder of the tests.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::{Mode, Side};
use crate::error::Error;
use crate::logging::Progress;
use crate::reporter::stage_report::{Ending, StageReport};
use crate::run::{Run, StageKind};
use crate::service;
use crate::sys::sync;

/// How many runs lie between two progress lines.
const PROGRESS_INTERVAL: usize = 10;

/// Something that happened in a stage.
#[derive(Debug)]
pub enum Event<'a> {
    /// The stage begins to find out what there is to do.
    Begun {
        /// Which runs it takes.
        mode: Mode<'a>,
    },
    /// The stage begins to process this many runs.
    Planned {
        /// Runs to be processed.
        runs: usize,
        /// Threads that process them.
        workers: usize,
    },
    /// A worker begins with a run.
    Started {
        /// The run.
        run: Run,
        /// Which attempt it is, counted from 1.
        attempt: u32,
        /// How many attempts the run has at most.
        attempts: u32,
    },
    /// An attempt failed.
    Failed {
        /// The run.
        run: Run,
        /// Which attempt it was, counted from 1.
        attempt: u32,
        /// How many attempts the run has at most.
        attempts: u32,
        /// Why.
        error: &'a Error,
        /// What becomes of the run.
        outcome: FailedAttempt,
        /// Whether the run failed for this reason before.
        is_known: bool,
    },
    /// Runs failed in a way that could be a store's fault: the store is tried.
    Trying {
        /// How many runs are held back until it is known.
        runs: usize,
        /// What was being done.
        side: Side,
    },
    /// A store was tried, and works: what failed is the runs' own.
    Works {
        /// What was being done.
        side: Side,
    },
    /// A worker waits before it tries a run again.
    Retrying {
        /// The run.
        run: Run,
        /// How long the worker waits.
        delay: Duration,
    },
    /// A run is not whole yet, and waits for the next execution.
    Waits {
        /// The run.
        run: Run,
        /// What shows it.
        error: &'a Error,
    },
    /// A run is left for the next execution because of a shutdown.
    Left {
        /// The run.
        run: Run,
    },
    /// A run is done: published, or failed for good.
    Settled {
        /// The run.
        run: Run,
        /// How it ended.
        outcome: Outcome,
        /// How far the stage is, this run included.
        progress: Counts,
    },
    /// What was processed could not be published.
    Unpublished {
        /// The runs that do not count as archived.
        runs: usize,
        /// Why.
        error: &'a Error,
    },
    /// The stage ends.
    Finished {
        /// What it did.
        report: &'a StageReport,
    },
}

/// What becomes of a run whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedAttempt {
    /// It is tried again.
    Retried,
    /// It failed.
    Final,
    /// The stage stops; the run is neither failed nor attempted.
    StageStops,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was archived.
    Archived,
    /// Something was added to a run that was archived before.
    Updated,
    /// The same, and it was the stop time alone.
    Ended,
    /// It failed.
    Failed {
        /// Whether it did not fail before, or for another reason.
        is_news: bool,
    },
    /// Nothing could be added to a run that was archived before.
    NotUpdated,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that ended.
    pub settled: usize,
    /// Of them, those archived or updated.
    pub successful: usize,
    /// Of them, those that failed.
    pub failed: usize,
    /// Runs to be processed in all.
    pub total: usize,
}

impl Counts {
    /// Counts one run more.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.settled += 1;
        match outcome {
            Outcome::Archived | Outcome::Updated | Outcome::Ended => self.successful += 1,
            Outcome::Failed { .. } | Outcome::NotUpdated => self.failed += 1,
        }
    }

    /// Whether the progress is worth a line at this point.
    fn is_milestone(self) -> bool {
        self.settled.is_multiple_of(PROGRESS_INTERVAL) || self.settled == self.total
    }

    /// `20/25 runs processed (18 successful, 2 failed)`, as the manual shows it.
    fn sentence(self) -> String {
        let Counts {
            settled,
            successful,
            failed,
            total,
        } = self;
        format!("{settled}/{total} runs processed ({successful} successful, {failed} failed)")
    }
}

/// Listens to what the pipeline tells. Called by many threads at once.
pub trait Observer: Sync {
    /// Takes note of an event. Must not block: a worker waits for it.
    fn on(&self, stage: StageKind, event: &Event<'_>);
}

/// Everyone who listens to an execution.
#[derive(Clone, Copy)]
pub struct Observers<'a>(pub &'a [&'a dyn Observer]);

impl Observers<'_> {
    /// Tells all of them.
    pub fn tell(&self, stage: StageKind, event: &Event<'_>) {
        for observer in self.0 {
            observer.on(stage, event);
        }
    }
}

/// Writes the manual's lines into the log.
#[derive(Debug, Default)]
pub struct LogLines;

impl Observer for LogLines {
    fn on(&self, stage: StageKind, event: &Event<'_>) {
        let target = stage.target();
        match event {
            Event::Begun { mode } => log::info!(
                target: target,
                "{}: Fetching runs (mode: {}).",
                stage.title(),
                mode.name()
            ),
            Event::Planned { runs, workers } => log::info!(
                target: target,
                "Starting parallel processing of {runs} runs with {workers} workers"
            ),
            Event::Started {
                run,
                attempt,
                attempts,
            } => {
                log::info!(target: target, "→ Processing run {run} (attempt {attempt}/{attempts})")
            }
            Event::Failed {
                run,
                attempt,
                attempts,
                error,
                outcome,
                is_known,
            } => {
                let class = error.class();
                match outcome {
                    FailedAttempt::Retried | FailedAttempt::Final if *is_known => log::warn!(
                        target: target,
                        "Run {run} failed (attempt {attempt}/{attempts}): {class}: {error}"
                    ),
                    FailedAttempt::StageStops => log::error!(
                        target: target,
                        "Run {run} was not {}: {class}: {error}",
                        stage.done()
                    ),
                    FailedAttempt::Retried | FailedAttempt::Final => log::error!(
                        target: target,
                        "Run {run} failed (attempt {attempt}/{attempts}): {class}: {error}"
                    ),
                }
            }
            Event::Trying { runs, side } => log::warn!(
                target: target,
                "{runs} run(s) failed in a way that can be the fault of {0}: {0} is tried before \
                 any of them counts as failed",
                side.name()
            ),
            Event::Works { side } => log::info!(
                target: target,
                "✓ {} works: the failures are of the runs themselves",
                side.name()
            ),
            Event::Retrying { run, delay } => log::info!(
                target: target,
                "Retrying run {run} in {} seconds...",
                delay.as_secs_f64()
            ),
            Event::Waits { run, error } => log::info!(
                target: target,
                "Run {run} waits for the next execution: {error}"
            ),
            Event::Left { run } => {
                log::info!(target: target, "Run {run} is left for the next execution");
            }
            Event::Settled {
                run,
                outcome,
                progress,
            } => {
                match outcome {
                    Outcome::Archived => {
                        log::info!(target: target, "✓ Run {run} {} successfully", stage.done());
                    }
                    Outcome::Ended => {
                        log::info!(target: target, "✓ Run {run}: stop time added in artdaqDB");
                    }
                    Outcome::Updated => match stage {
                        StageKind::Import => log::info!(
                            target: target,
                            "✓ Run {run}: brought up to date in artdaqDB"
                        ),
                        StageKind::Migrate => log::info!(
                            target: target,
                            "✓ Run {run} {} successfully",
                            stage.done()
                        ),
                    },
                    Outcome::Failed { is_news: false } => log::warn!(
                        target: target,
                        "✗ Run {run} {} failed again, for the same reason as before",
                        stage.verb()
                    ),
                    Outcome::Failed { is_news: true } | Outcome::NotUpdated => {
                        log::error!(target: target, "✗ Run {run} {} failed", stage.verb());
                    }
                }
                if progress.is_milestone() {
                    log::info!(target: target, "Progress: {}", progress.sentence());
                }
            }
            Event::Unpublished { runs, error } => log::error!(
                target: target,
                "{runs} run(s) were not {}: {}: {error}",
                stage.done(),
                error.class()
            ),
            Event::Finished { report } => match &report.ending {
                Ending::NotBegun(error) => log::error!(
                    target: target,
                    "{} did not begin: {}: {error}",
                    stage.title(),
                    error.class()
                ),
                Ending::Finished | Ending::Stopped(_) => log::info!(
                    target: target,
                    "{} completed in {:.0} seconds",
                    stage.title(),
                    report.duration.as_secs_f64()
                ),
            },
        }
    }
}

/// Moves the bar on the terminal.
#[derive(Debug, Default)]
pub struct ProgressBar(Mutex<Option<Progress>>);

impl ProgressBar {
    fn bar(&self) -> MutexGuard<'_, Option<Progress>> {
        // A bar is whole whatever panicked beside it.
        sync::lock(&self.0)
    }
}

impl Observer for ProgressBar {
    fn on(&self, stage: StageKind, event: &Event<'_>) {
        match event {
            Event::Planned { runs, .. } => {
                *self.bar() = Some(Progress::start(stage.title(), *runs));
            }
            Event::Settled { .. } => {
                if let Some(bar) = &*self.bar() {
                    bar.advance();
                }
            }
            Event::Finished { .. } => *self.bar() = None,
            _ => {}
        }
    }
}

/// Tells the service manager, whose `systemctl status` shows it.
#[derive(Debug, Default)]
pub struct ServiceStatus;

impl Observer for ServiceStatus {
    fn on(&self, stage: StageKind, event: &Event<'_>) {
        match event {
            Event::Begun { .. } => service::status(&format!("{} under way", stage.title())),
            Event::Settled { progress, .. } if progress.is_milestone() => {
                service::status(&format!("{}: {}", stage.title(), progress.sentence()));
            }
            _ => {}
        }
    }
}
