//! The workers of a stage, and the one thread that writes down what they did.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::event::{Counts, Event, FailedAttempt, Outcome};
use super::journal::Ledger;
use super::{Context, Done, Job, PUBLISH_INTERVAL, PUBLISH_PAUSE, Planned, Stage};
use crate::error::{Disposition, Error, Result};
use crate::reporter::stage_report::{FailedRun, StageReport};
use crate::run::Run;

/// What a worker says of a job.
enum Answer<'j, J> {
    /// Processed; archived once it is published.
    Processed(&'j Planned<J>, Done),
    /// Failed for good.
    Failed(&'j Planned<J>, Error),
    /// The stage cannot go on; the run is neither archived nor failed.
    Stop(Error),
}

/// Does the jobs with the stage's workers, and writes down results as they come.
pub(super) fn run<S: Stage>(
    stage: &S,
    jobs: &[Planned<S::Job>],
    context: &Context,
    ledger: &mut Ledger,
    report: &mut StageReport,
) {
    let workers = context.settings.workers.clamp(1, jobs.len());
    context.observers.tell(
        stage.kind(),
        &Event::Planned {
            runs: jobs.len(),
            workers,
        },
    );
    let pool = match rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|number| format!("worker-{number}"))
        .build()
    {
        Ok(pool) => pool,
        Err(error) => {
            report.stop(Error::Unexpected(format!(
                "cannot start {workers} workers: {error}"
            )));
            return;
        }
    };
    let shared = Shared {
        stage,
        context,
        jobs,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let (sender, answers) = channel();
    let mut clerk = Clerk {
        shared: &shared,
        ledger,
        report,
        processed: Vec::new(),
        failed: Vec::new(),
        counts: Counts {
            total: jobs.len(),
            ..Counts::default()
        },
    };
    std::thread::scope(|scope| {
        let (shared, pool) = (&shared, &pool);
        scope.spawn(move || {
            // Each worker has a sender of its own; when all are done, the clerk's
            // receiver finds the channel closed.
            pool.broadcast(|_| shared.work(&sender.clone()));
        });
        clerk.keep_books(&answers);
    });
}

/// What the workers share.
struct Shared<'j, S: Stage> {
    stage: &'j S,
    context: &'j Context<'j>,
    jobs: &'j [Planned<S::Job>],
    next: AtomicUsize,
    stop: AtomicBool,
}

impl<'j, S: Stage> Shared<'j, S> {
    fn tell(&self, event: &Event<'_>) {
        self.context.observers.tell(self.stage.kind(), event);
    }

    /// One worker: takes the next job until there are none.
    fn work(&self, answers: &Sender<Answer<'j, S::Job>>) {
        while !self.stop.load(Ordering::Relaxed) && !self.context.shutdown.requested() {
            let Some(planned) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Some(answer) = self.archive(planned)
                && answers.send(answer).is_err()
            {
                return;
            }
        }
    }

    /// Tries a job as often as it may be tried. `None` if it was left because of
    /// a shutdown.
    fn archive(&self, planned: &'j Planned<S::Job>) -> Option<Answer<'j, S::Job>> {
        let run = planned.job.run();
        let attempts = self.context.settings.attempts;
        let mut attempt = 1;
        loop {
            self.tell(&Event::Started {
                run,
                attempt,
                attempts,
            });
            let error = match self.attempt(&planned.job) {
                Ok(done) => return Some(Answer::Processed(planned, done)),
                Err(error) => error,
            };
            if let Error::Interrupted(_) = error {
                self.tell(&Event::Left { run });
                return None;
            }
            let outcome = match error.disposition() {
                Disposition::StopStage => FailedAttempt::StageStops,
                Disposition::RetryRun if attempt < attempts => FailedAttempt::Retried,
                Disposition::RetryRun | Disposition::FailRun => FailedAttempt::Final,
            };
            self.tell(&Event::Failed {
                run,
                attempt,
                attempts,
                error: &error,
                outcome,
            });
            match outcome {
                FailedAttempt::StageStops => {
                    self.stop.store(true, Ordering::Relaxed);
                    return Some(Answer::Stop(error));
                }
                FailedAttempt::Final => return Some(Answer::Failed(planned, error)),
                FailedAttempt::Retried => {}
            }
            let delay = self.context.settings.retry_delay;
            self.tell(&Event::Retrying { run, delay });
            if self.context.shutdown.wait(delay) {
                self.tell(&Event::Left { run });
                return None;
            }
            attempt += 1;
        }
    }

    /// Tries a job once. A panic is the failure of its run alone.
    fn attempt(&self, job: &S::Job) -> Result<Done> {
        let run = job.run();
        catch_unwind(AssertUnwindSafe(|| {
            self.context.settings.fuzz.strike(run)?;
            self.stage.process(job)
        }))
        .unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::Unexpected(format!(
                "panic while processing run {run}: {message}"
            )))
        })
    }
}

/// Publishes what the workers processed and writes down what became of each run.
struct Clerk<'s, 'j, 'l, S: Stage> {
    shared: &'s Shared<'j, S>,
    ledger: &'s mut Ledger<'l>,
    report: &'s mut StageReport,
    /// Processed, but not yet published.
    processed: Vec<(&'j Planned<S::Job>, Done)>,
    /// Failed, but not yet in the failure log: thousands of failures share a write.
    failed: Vec<Run>,
    counts: Counts,
}

impl<'j, S: Stage> Clerk<'_, 'j, '_, S> {
    fn keep_books(&mut self, answers: &Receiver<Answer<'j, S::Job>>) {
        let mut due = Instant::now() + PUBLISH_INTERVAL;
        loop {
            match answers.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Answer::Processed(planned, done)) => self.processed.push((planned, done)),
                Ok(Answer::Failed(planned, error)) => self.fail(planned, &error),
                Ok(Answer::Stop(error)) => self.stop(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if due <= now {
                self.publish();
                due = Instant::now() + PUBLISH_INTERVAL.max(now.elapsed() * PUBLISH_PAUSE);
            }
        }
        self.publish();
    }

    fn fail(&mut self, planned: &Planned<S::Job>, error: &Error) {
        let failed = FailedRun {
            run: planned.job.run(),
            reason: error.to_string(),
        };
        self.report.unexpected |= matches!(error, Error::Unexpected(_));
        let outcome = match planned.is_update {
            true => Outcome::NotUpdated,
            false => Outcome::Failed,
        };
        self.count(failed.run, outcome);
        match outcome {
            // The run is archived: it does not belong into the failure log.
            Outcome::NotUpdated => self.report.not_updated.push(failed),
            _ => {
                self.failed.push(failed.run);
                self.report.failed.push(failed);
            }
        }
    }

    /// Makes visible what was processed, and writes down what became of all runs
    /// since the last time.
    fn publish(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        let processed = std::mem::take(&mut self.processed);
        let runs: Vec<(Run, Done)> = processed
            .iter()
            .map(|(planned, done)| (planned.job.run(), *done))
            .collect();
        let published = self.make_visible(&runs);
        let archived = match &published {
            Ok(()) => runs.as_slice(),
            Err(_) => &[],
        };
        if !archived.is_empty() || !failed.is_empty() {
            let recorded = self.ledger.settle(archived, &failed);
            if let (Err(error), Ok(())) = (recorded, &published) {
                self.stop(error);
            }
        }
        match published {
            Ok(()) => processed
                .into_iter()
                .for_each(|(planned, done)| self.succeed(planned, done)),
            Err(error) => {
                self.shared.tell(&Event::Unpublished {
                    runs: runs.len(),
                    error: &error,
                });
                self.stop(error);
            }
        }
    }

    fn make_visible(&self, runs: &[(Run, Done)]) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        self.ledger.before_publish(runs)?;
        self.shared.stage.publish()
    }

    fn succeed(&mut self, planned: &Planned<S::Job>, done: Done) {
        let run = planned.job.run();
        if done.without_stop_time {
            self.report.without_stop_time.insert(run);
        }
        let outcome = match planned.is_update {
            true => Outcome::Updated,
            false => Outcome::Archived,
        };
        match outcome {
            Outcome::Updated => self.report.updated.insert(run),
            _ => self.report.archived.insert(run),
        };
        self.count(run, outcome);
    }

    /// Counts a run that ended, and tells of it.
    fn count(&mut self, run: Run, outcome: Outcome) {
        self.counts.add(outcome);
        self.shared.tell(&Event::Settled {
            run,
            outcome,
            progress: self.counts,
        });
    }

    fn stop(&mut self, error: Error) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.report.stop(error);
    }
}
