//! The workers of a stage, and the one thread that writes down what they did.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use super::{PUBLISH_INTERVAL, PUBLISH_PAUSE, Record, Report, Settings, Stage};
use crate::error::{Disposition, Error, Result};
use crate::logging::Progress;
use crate::run::Run;
use crate::service;
use crate::shutdown::Shutdown;

/// How many runs lie between two progress lines.
const PROGRESS_INTERVAL: usize = 10;

/// What a worker says of a run.
enum Verdict {
    /// Processed; archived once it is published.
    Processed(Run),
    Failed(Run, Error),
    /// The stage can't go on; the run is neither archived nor failed.
    Stop(Error),
}

/// Archives `runs` with the stage's workers, recording results as they come.
pub(super) fn run(
    stage: &dyn Stage,
    runs: &[Run],
    settings: &Settings,
    shutdown: &Shutdown,
    record: &mut Record,
    report: &mut Report,
) {
    let workers = settings.workers.clamp(1, runs.len());
    log::info!(
        target: stage.words().target,
        "Starting parallel processing of {} runs with {workers} workers",
        runs.len()
    );
    let pool = match rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|number| format!("worker-{number}"))
        .build()
    {
        Ok(pool) => pool,
        Err(error) => {
            report.stopped = Some(Error::Unexpected(format!(
                "cannot start {workers} workers: {error}"
            )));
            return;
        }
    };
    let job = Job {
        stage,
        settings,
        shutdown,
        runs,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let (sender, verdicts) = channel();
    let mut clerk = Clerk {
        job: &job,
        record,
        report,
        processed: Vec::new(),
        settled: 0,
        progress: Progress::start(stage.words().title, runs.len()),
    };
    std::thread::scope(|scope| {
        let (job, pool) = (&job, &pool);
        scope.spawn(move || {
            // Each worker has a sender of its own; when all are done, the clerk's
            // receiver finds the channel closed.
            pool.broadcast(|_| job.work(&sender.clone()));
        });
        clerk.keep_books(&verdicts);
    });
}

/// What the workers share.
struct Job<'a> {
    stage: &'a dyn Stage,
    settings: &'a Settings,
    shutdown: &'a Shutdown,
    runs: &'a [Run],
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Job<'_> {
    /// One worker: takes the lowest run left until there are none.
    fn work(&self, verdicts: &Sender<Verdict>) {
        while !self.stop.load(Ordering::Relaxed) && !self.shutdown.requested() {
            let Some(run) = self.runs.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Some(verdict) = self.archive(*run)
                && verdicts.send(verdict).is_err()
            {
                return;
            }
        }
    }

    /// Tries a run as often as it may be tried. `None` if it was left because of
    /// a shutdown.
    fn archive(&self, run: Run) -> Option<Verdict> {
        let words = self.stage.words();
        let target = words.target;
        let attempts = self.settings.attempts;
        let mut attempt = 1;
        loop {
            log::info!(target: target, "→ Processing run {run} (attempt {attempt}/{attempts})");
            let error = match self.attempt(run) {
                Ok(()) => return Some(Verdict::Processed(run)),
                Err(error) => error,
            };
            if let Error::Interrupted(_) = error {
                log::info!(target: target, "Run {run} is left for the next execution");
                return None;
            }
            let class = error.class();
            if error.disposition() == Disposition::StopStage {
                self.stop.store(true, Ordering::Relaxed);
                log::error!(target: target, "Run {run} was not {}: {class}: {error}", words.done);
                return Some(Verdict::Stop(error));
            }
            log::error!(
                target: target,
                "Run {run} failed (attempt {attempt}/{attempts}): {class}: {error}"
            );
            if error.disposition() == Disposition::FailRun || attempt == attempts {
                return Some(Verdict::Failed(run, error));
            }
            let delay = self.settings.retry_delay;
            log::info!(target: target, "Retrying run {run} in {} seconds...", delay.as_secs_f64());
            if self.shutdown.wait(delay) {
                log::info!(target: target, "Run {run} is left for the next execution");
                return None;
            }
            attempt += 1;
        }
    }

    /// Tries a run once. A panic is this run's failure and nobody else's.
    fn attempt(&self, run: Run) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| {
            self.settings.fuzz.strike(run)?;
            self.stage.process(run)
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
struct Clerk<'a, 'r> {
    job: &'a Job<'a>,
    record: &'a mut Record<'r>,
    report: &'a mut Report,
    /// Processed, but not yet published.
    processed: Vec<Run>,
    /// Runs of which it is known what became of them.
    settled: usize,
    progress: Progress,
}

impl Clerk<'_, '_> {
    fn keep_books(&mut self, verdicts: &Receiver<Verdict>) {
        let mut due = Instant::now() + PUBLISH_INTERVAL;
        loop {
            match verdicts.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Verdict::Processed(run)) => self.processed.push(run),
                Ok(Verdict::Failed(run, error)) => self.fail(run, &error),
                Ok(Verdict::Stop(error)) => self.stop(error),
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

    fn fail(&mut self, run: Run, error: &Error) {
        let words = self.job.stage.words();
        log::error!(target: words.target, "✗ Run {run} {} failed", words.verb);
        self.report.unexpected |= matches!(error, Error::Unexpected(_));
        self.report.failed.push((run, error.to_string()));
        let settled = self.record.settle(&[], &[run]);
        self.count(settled);
    }

    fn publish(&mut self) {
        let runs = std::mem::take(&mut self.processed);
        if runs.is_empty() {
            return;
        }
        if let Err(error) = self.job.stage.publish() {
            log::error!(
                target: self.job.stage.words().target,
                "{} run(s) were not {}: {}: {error}",
                runs.len(),
                self.job.stage.words().done,
                error.class()
            );
            self.stop(error);
            return;
        }
        let recorded = self.record.settle(&runs, &[]);
        let words = self.job.stage.words();
        let mut recorded = Some(recorded);
        for run in runs {
            log::info!(target: words.target, "✓ Run {run} {} successfully", words.done);
            self.report.archived.insert(run);
            self.count(recorded.take().unwrap_or(Ok(())));
        }
    }

    /// Counts a settled run; a record that can't be written stops the stage.
    fn count(&mut self, recorded: Result<()>) {
        self.settled += 1;
        self.progress.advance();
        let total = self.job.runs.len();
        if self.settled.is_multiple_of(PROGRESS_INTERVAL) || self.settled == total {
            let words = self.job.stage.words();
            let progress = format!(
                "{}/{total} runs processed ({} successful, {} failed)",
                self.settled,
                self.report.archived.len(),
                self.report.failed.len()
            );
            log::info!(target: words.target, "Progress: {progress}");
            service::status(&format!("{}: {progress}", words.title));
        }
        if let Err(error) = recorded {
            self.stop(error);
        }
    }

    fn stop(&mut self, error: Error) {
        self.job.stop.store(true, Ordering::Relaxed);
        // The first reason is the one to look at; others follow from it.
        self.report.stopped.get_or_insert(error);
    }
}
