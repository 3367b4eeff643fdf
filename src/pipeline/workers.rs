//! The workers of a stage, and the one thread that writes down what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::event::{Counts, Event, FailedAttempt, Outcome};
use super::journal::{FailureClass, FailureDetails, Ledger, is_same_reason};
use super::{
    Class, Context, Done, Fault, Job, PUBLISH_INTERVAL, PUBLISH_PAUSE, Planned, Side, Stage, Trial,
};
use crate::clock;
use crate::error::{Disposition, Error, Remedy, Result};
use crate::reporter::stage_report::{FailedRun, StageReport};
use crate::run::Run;
use crate::run_set::RunSet;

/// How long failed runs are tried again in one execution: the next one has its own
/// new runs to take.
const RETRY_TIME: Duration = Duration::from_secs(30 * 60);

/// After how many failures in a row that could be a store's the store is tried.
const HELD_AT_MOST: usize = 3;

/// How often a worker that waits for a trial looks whether it is over, and the
/// clerk whether the workers wait.
const POLL: Duration = Duration::from_millis(5);

/// What a worker says of a job.
enum Answer<'j, J> {
    /// Processed, from this moment on; archived once it is published.
    Processed(&'j Planned<J>, Done, Instant),
    /// Failed for good.
    Failed(&'j Planned<J>, Failed),
    /// The run is not whole yet; it is neither archived nor failed.
    Waits(Run),
    /// The stage cannot go on; the run is neither archived nor failed.
    Stop(Error),
}

/// How a job failed.
struct Failed {
    fault: Fault,
    /// The run's source as it was.
    evidence: Option<String>,
    /// When it failed.
    at: Instant,
}

impl Failed {
    /// Whether the store may have caused it, and not the run.
    fn may_be_the_stores(&self) -> Option<Side> {
        match self.fault.disposition {
            Disposition::RetryRun => self.fault.side,
            Disposition::FailRun | Disposition::LeaveRun | Disposition::StopStage => None,
        }
    }
}

/// Takes out the jobs of runs that were in progress when the last execution died:
/// they are done last, one at a time. A run that was alone in progress then, and in
/// progress at the death before, counts as failed.
///
/// # Errors
/// The failure log cannot be written.
pub(super) fn set_suspects_apart<S: Stage>(
    stage: &S,
    jobs: &mut Vec<Planned<S::Job>>,
    context: &Context,
    ledger: &mut Ledger,
    report: &mut StageReport,
) -> Result<Vec<Planned<S::Job>>> {
    let kind = stage.kind();
    let Some(death) = context.journal.active().death(kind) else {
        return Ok(Vec::new());
    };
    if !death.suspects.is_empty() {
        log::warn!(
            target: kind.target(),
            "The last execution died with these runs in progress: {}. They come last, one at a time",
            death.suspects
        );
    }
    let culprit = death.culprit;
    if let Some(place) = jobs.iter().position(|it| Some(it.job.run()) == culprit) {
        let planned = jobs.remove(place);
        let run = planned.job.run();
        let reason = "the archiver died twice while it worked on this run, the second time with no \
                      other run in progress: see the system's log for why (out of memory?)";
        log::error!(target: kind.target(), "✗ Run {run} {} failed: {reason}", kind.verb());
        let details = FailureDetails::new(
            FailureClass::Transient,
            reason.to_owned(),
            stage.evidence(run),
            planned.before.as_ref(),
            clock::now(),
        );
        ledger.settle(&[], vec![(run, details)])?;
        report.failed.push(FailedRun {
            run,
            reason: reason.to_owned(),
            is_news: true,
        });
        report.set_aside += 1;
    }
    let (alone, others) = std::mem::take(jobs)
        .into_iter()
        .partition(|planned| death.is_suspect(planned.job.run()));
    *jobs = others;
    Ok(alone)
}

/// Does the jobs with the stage's workers, then those that are done one at a time,
/// and writes down results as they come.
pub(super) fn run<S: Stage>(
    stage: &S,
    jobs: &[Planned<S::Job>],
    alone: &[Planned<S::Job>],
    context: &Context,
    ledger: &mut Ledger,
    report: &mut StageReport,
) {
    let total = jobs.len() + alone.len();
    let workers = context.settings.workers.clamp(1, jobs.len().max(1));
    context.observers.tell(
        stage.kind(),
        &Event::Planned {
            runs: total,
            workers,
        },
    );
    let mut books = Books {
        ledger,
        report,
        counts: Counts {
            total,
            ..Counts::default()
        },
        waiting: 0,
    };
    for (jobs, workers) in [(jobs, workers), (alone, 1)] {
        if !jobs.is_empty() && books.report.obstacle().is_none() {
            run_part(stage, jobs, workers, context, &mut books);
        }
    }
    let ended = books.counts.settled + books.waiting;
    report.left = total - ended - report.untried;
}

fn run_part<S: Stage>(
    stage: &S,
    jobs: &[Planned<S::Job>],
    workers: usize,
    context: &Context,
    books: &mut Books,
) {
    let pool = match rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|number| format!("worker-{number}"))
        .build()
    {
        Ok(pool) => pool,
        Err(error) => {
            let error = std::io::Error::other(error);
            books.report.stop(Error::io("start", "the workers", error));
            return;
        }
    };
    let shared = Shared {
        stage,
        context,
        jobs,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        pause: AtomicBool::new(false),
        suspicious: AtomicUsize::new(0),
        in_work: AtomicUsize::new(0),
        untried: AtomicUsize::new(0),
        retries_end: OnceLock::new(),
        budget: Budget::new(context.settings.memory_budget),
    };
    let (sender, answers) = channel();
    thread::scope(|scope| {
        let (shared, pool) = (&shared, &pool);
        let started = thread::Builder::new().spawn_scoped(scope, move || {
            // Each worker has a sender of its own; when all are done, the clerk's
            // receiver finds the channel closed.
            pool.broadcast(|_| shared.work(&sender.clone()));
        });
        if let Err(error) = started {
            books.report.stop(Error::io("start", "the workers", error));
            return;
        }
        let mut clerk = Clerk {
            shared,
            books,
            processed: Vec::new(),
            failed: Vec::new(),
            held: Vec::new(),
        };
        clerk.keep_books(&answers);
    });
    books.report.untried += shared.untried.load(Ordering::Relaxed);
}

/// What the workers share.
struct Shared<'j, S: Stage> {
    stage: &'j S,
    context: &'j Context<'j>,
    jobs: &'j [Planned<S::Job>],
    next: AtomicUsize,
    stop: AtomicBool,
    /// Whether the workers wait while a store is tried.
    pause: AtomicBool,
    /// How many failures in a row could be a store's.
    suspicious: AtomicUsize,
    /// How many workers have a job.
    in_work: AtomicUsize,
    /// Runs that failed before, and for which there was no time left.
    untried: AtomicUsize,
    /// Until when failed runs are tried again, from the first one on.
    retries_end: OnceLock<Instant>,
    /// What the jobs in work may have in memory.
    budget: Budget,
}

impl<'j, S: Stage> Shared<'j, S> {
    fn tell(&self, event: &Event<'_>) {
        self.context.observers.tell(self.stage.kind(), event);
    }

    /// Tells that a run that was processed could not be made visible.
    fn tell_refused(&self, planned: &Planned<S::Job>, error: &Error) {
        let attempts = self.context.settings.attempts;
        self.tell(&Event::Failed {
            run: planned.job.run(),
            attempt: attempts,
            attempts,
            error,
            outcome: FailedAttempt::Final,
            is_known: is_known(planned, error),
        });
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.context.shutdown.requested()
    }

    /// One worker: takes the next job until there are none.
    fn work(&self, answers: &Sender<Answer<'j, S::Job>>) {
        while !self.is_over() {
            // Before it looks whether to wait: who makes it wait then sees it.
            self.in_work.fetch_add(1, Ordering::SeqCst);
            if self.pause.load(Ordering::SeqCst) {
                self.in_work.fetch_sub(1, Ordering::SeqCst);
                thread::sleep(POLL);
                continue;
            }
            let Some(planned) = self.take() else {
                self.in_work.fetch_sub(1, Ordering::SeqCst);
                return;
            };
            let is_heard = match self.archive(planned) {
                Some(answer) => {
                    self.hesitate(&answer);
                    answers.send(answer).is_ok()
                }
                None => true,
            };
            self.in_work.fetch_sub(1, Ordering::SeqCst);
            if !is_heard {
                return;
            }
        }
    }

    /// Takes no further job before the clerk has looked at the failures so far.
    fn hesitate(&self, answer: &Answer<'j, S::Job>) {
        if let Answer::Failed(_, failed) = answer
            && failed.may_be_the_stores().is_some()
            && self.suspicious.fetch_add(1, Ordering::SeqCst) + 1 >= HELD_AT_MOST
        {
            self.pause.store(true, Ordering::SeqCst);
        }
    }

    /// Takes the next job. Runs that failed before are passed over once their time
    /// is up.
    fn take(&self) -> Option<&'j Planned<S::Job>> {
        loop {
            let planned = self.jobs.get(self.next.fetch_add(1, Ordering::SeqCst))?;
            if planned.class != Class::Retry {
                return Some(planned);
            }
            let end = self.retries_end.get_or_init(|| Instant::now() + RETRY_TIME);
            if Instant::now() < *end {
                return Some(planned);
            }
            self.untried.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tries a job as often as it may be tried. `None` if it was left because of
    /// a shutdown.
    fn archive(&self, planned: &'j Planned<S::Job>) -> Option<Answer<'j, S::Job>> {
        let run = planned.job.run();
        let weight = match self.context.settings.workers {
            // Alone in any case.
            1 => 0,
            _ => self.stage.weight(&planned.job),
        };
        let _share = self.budget.take(weight, || self.is_over())?;
        let active = self.context.journal.active();
        active.begin(self.stage.kind(), run);
        let answer = self.attempts(planned);
        active.end(run);
        answer
    }

    fn attempts(&self, planned: &'j Planned<S::Job>) -> Option<Answer<'j, S::Job>> {
        let run = planned.job.run();
        let attempts = self.context.settings.attempts;
        let mut attempt = 1;
        loop {
            self.tell(&Event::Started {
                run,
                attempt,
                attempts,
            });
            let started = Instant::now();
            let fault = match self.attempt(&planned.job) {
                Ok(done) => return Some(Answer::Processed(planned, done, started)),
                Err(fault) => fault,
            };
            if let Error::Interrupted(_) = fault.error {
                self.tell(&Event::Left { run });
                return None;
            }
            let outcome = match fault.disposition {
                Disposition::LeaveRun => {
                    self.tell(&Event::Waits {
                        run,
                        error: &fault.error,
                    });
                    return Some(Answer::Waits(run));
                }
                Disposition::StopStage => FailedAttempt::StageStops,
                Disposition::RetryRun if attempt < attempts => FailedAttempt::Retried,
                Disposition::RetryRun | Disposition::FailRun => FailedAttempt::Final,
            };
            self.tell(&Event::Failed {
                run,
                attempt,
                attempts,
                error: &fault.error,
                outcome,
                is_known: is_known(planned, &fault.error),
            });
            match outcome {
                FailedAttempt::StageStops => {
                    self.stop.store(true, Ordering::SeqCst);
                    return Some(Answer::Stop(fault.error));
                }
                FailedAttempt::Final => {
                    let failed = Failed {
                        fault,
                        evidence: self.stage.evidence(run),
                        at: Instant::now(),
                    };
                    return Some(Answer::Failed(planned, failed));
                }
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
    fn attempt(&self, job: &S::Job) -> Result<Done, Fault> {
        let run = job.run();
        catch_unwind(AssertUnwindSafe(|| {
            let strike = self.context.settings.fuzz.strike(run);
            strike.map_err(Fault::of_run)?;
            self.stage.process(job)
        }))
        .unwrap_or_else(|panic| {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Fault::of_run(Error::Unexpected(format!(
                "panic while processing run {run}: {message}"
            ))))
        })
    }
}

fn runs_of<J: Job>(processed: &[(&Planned<J>, Done)]) -> Vec<(Run, Done)> {
    let processed = processed.iter();
    processed
        .map(|(it, done)| (it.job.run(), done.clone()))
        .collect()
}

/// Whether a run failed for this reason in an earlier execution.
fn is_known<J>(planned: &Planned<J>, error: &Error) -> bool {
    let before = planned.before.as_ref();
    before.is_some_and(|before| before.is_same_reason(&error.to_string()))
}

/// Where the results of a stage go.
struct Books<'b, 'l> {
    ledger: &'b mut Ledger<'l>,
    report: &'b mut StageReport,
    counts: Counts,
    /// Runs that were found not to be whole yet.
    waiting: usize,
}

/// Publishes what the workers processed and writes down what became of each run.
struct Clerk<'s, 'b, 'l, 'j, S: Stage> {
    shared: &'s Shared<'j, S>,
    books: &'s mut Books<'b, 'l>,
    /// Processed, but not yet published.
    processed: Vec<(&'j Planned<S::Job>, Done)>,
    /// Failed, but not yet in the failure log: thousands of failures share a write.
    failed: Vec<(Run, FailureDetails)>,
    /// Failed in a way that can be a store's fault, and not counted as failed yet.
    held: Vec<(&'j Planned<S::Job>, Failed, Side)>,
}

impl<'j, S: Stage> Clerk<'_, '_, '_, 'j, S> {
    fn keep_books(&mut self, answers: &Receiver<Answer<'j, S::Job>>) {
        let mut due = Instant::now() + PUBLISH_INTERVAL;
        loop {
            match answers.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(answer) => self.accept(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.held.len() >= HELD_AT_MOST {
                self.wait_for_workers(answers);
                self.try_store();
            }
            // A worker that makes the others wait sends its answer after that.
            self.shared.pause.store(false, Ordering::SeqCst);
            if self.shared.context.shutdown.requested() {
                self.shared.context.journal.active().stopping();
            }
            let now = Instant::now();
            if due <= now {
                self.publish();
                due = Instant::now() + PUBLISH_INTERVAL.max(now.elapsed() * PUBLISH_PAUSE);
            }
        }
        if !self.held.is_empty() && !self.shared.is_over() {
            self.try_store();
        }
        self.publish();
    }

    fn accept(&mut self, answer: Answer<'j, S::Job>) {
        match answer {
            Answer::Processed(planned, done, started) => {
                // A success shows that the stores worked when it began.
                self.book_held_before(started, &done);
                self.processed.push((planned, done));
            }
            Answer::Failed(planned, failed) => match failed.may_be_the_stores() {
                Some(side) => self.held.push((planned, failed, side)),
                None => self.fail(planned, &failed),
            },
            Answer::Waits(run) => self.wait_for(run),
            Answer::Stop(error) => self.stop(error),
        }
    }

    /// Notes a run that is not whole yet.
    fn wait_for(&mut self, run: Run) {
        let settling = &mut self.books.report.settling;
        *settling = settling.union(&RunSet::all_of(run..=run));
        self.books.waiting += 1;
    }

    /// Keeps the workers from taking jobs, and takes in what they still have.
    fn wait_for_workers(&mut self, answers: &Receiver<Answer<'j, S::Job>>) {
        self.shared.pause.store(true, Ordering::SeqCst);
        loop {
            match answers.recv_timeout(POLL) {
                Ok(answer) => self.accept(answer),
                Err(RecvTimeoutError::Timeout) => {
                    if self.shared.in_work.load(Ordering::SeqCst) == 0 {
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        while let Ok(answer) = answers.try_recv() {
            self.accept(answer);
        }
    }

    /// Finds out by trying whether the held failures are the store's fault or the
    /// runs'. The workers wait.
    fn try_store(&mut self) {
        let Some((_, _, side)) = self.held.last() else {
            return;
        };
        let side = *side;
        // What was archived in this execution can be read, too.
        self.publish();
        if self.shared.is_over() {
            return;
        }
        self.shared.tell(&Event::Trying {
            runs: self.held.len(),
            side,
        });
        let held: BTreeSet<Run> = self.held.iter().map(|(it, ..)| it.job.run()).collect();
        let archived = self.books.ledger.archived() - &held;
        match self.shared.stage.trial(side, &archived) {
            Trial::Works => {
                self.shared.tell(&Event::Works { side });
                self.book_held();
            }
            Trial::Fails(error) => self.stop(error),
            Trial::Inconclusive => self.try_with_next_run(side),
        }
    }

    /// Lets the next planned run show whether the store works.
    fn try_with_next_run(&mut self, side: Side) {
        while !self.shared.is_over() {
            let Some(planned) = self.shared.take() else {
                return self.give_up_trial();
            };
            match self.shared.archive(planned) {
                Some(Answer::Processed(planned, done, _)) => {
                    let is_shown = done.shows(side);
                    self.processed.push((planned, done));
                    if is_shown {
                        self.shared.tell(&Event::Works { side });
                        return self.book_held();
                    }
                }
                Some(Answer::Failed(planned, failed)) => {
                    if failed.may_be_the_stores().is_some() {
                        return self.stop(failed.fault.error);
                    }
                    // Its own fault shows nothing of the store.
                    self.fail(planned, &failed);
                }
                Some(Answer::Waits(run)) => self.wait_for(run),
                Some(Answer::Stop(error)) => return self.stop(error),
                None => return,
            }
        }
    }

    /// No trial is possible: the stage stops. Runs that came to this in two
    /// executions in a row count as failed.
    fn give_up_trial(&mut self) {
        let kind = self.shared.stage.kind();
        // What is in the failure log already only fails again.
        let (known, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(planned, ..)| planned.before.is_some());
        self.held = known;
        self.book_held();
        self.held = held;
        if self.held.is_empty() {
            return;
        }
        let before = self.shared.context.journal.unproven(kind);
        if self
            .held
            .iter()
            .all(|(it, ..)| before.contains(it.job.run()))
        {
            return self.book_held();
        }
        let runs: RunSet = {
            let runs: BTreeSet<Run> = self.held.iter().map(|(it, ..)| it.job.run()).collect();
            runs.into_iter().collect()
        };
        if let Err(error) = self.books.ledger.note_unproven(runs) {
            return self.stop(error);
        }
        if let Some((_, failed, _)) = self.held.pop() {
            self.stop(failed.fault.error);
        }
    }

    /// Counts the runs as failed that are held since before this moment, from which
    /// on a job succeeded with the same store.
    fn book_held_before(&mut self, moment: Instant, done: &Done) {
        let (before, since) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(_, failed, side)| failed.at < moment && done.shows(*side));
        self.held = before;
        self.book_held();
        self.held = since;
        let held = self.held.len();
        self.shared.suspicious.store(held, Ordering::SeqCst);
    }

    /// Counts the held runs as failed: the store works.
    fn book_held(&mut self) {
        self.shared.suspicious.store(0, Ordering::SeqCst);
        for (planned, failed, _) in std::mem::take(&mut self.held) {
            self.fail(planned, &failed);
        }
    }

    fn fail(&mut self, planned: &Planned<S::Job>, failed: &Failed) {
        let error = &failed.fault.error;
        let is_news = !is_known(planned, error);
        let failed_run = FailedRun {
            run: planned.job.run(),
            reason: error.to_string(),
            is_news,
        };
        let report = &mut *self.books.report;
        report.unexpected |= matches!(error, Error::Unexpected(_));
        if planned.is_update() {
            // The run is archived: it does not belong into the failure log.
            let (run, reason) = (failed_run.run, failed_run.reason.clone());
            let journal = self.shared.context.journal;
            let before = journal.update_failure(self.shared.stage.kind(), run);
            let is_known = before.is_some_and(|before| is_same_reason(&before, &reason));
            report.not_updated.push(FailedRun {
                is_news: !is_known,
                ..failed_run
            });
            if let Err(error) = self.books.ledger.note_not_updated(run, &reason) {
                self.stop(error);
            }
            return self.count(run, Outcome::NotUpdated);
        }
        if let Some(Remedy::ChooseRecord(run)) = error.remedy() {
            report.conflicts = report.conflicts.union(&[*run].into_iter().collect());
        }
        let class = match failed.fault.disposition {
            Disposition::FailRun => FailureClass::Permanent,
            Disposition::RetryRun | Disposition::LeaveRun | Disposition::StopStage => {
                FailureClass::Transient
            }
        };
        let details = FailureDetails::new(
            class,
            failed_run.reason.clone(),
            failed.evidence.clone(),
            planned.before.as_ref(),
            clock::now(),
        );
        let run = failed_run.run;
        self.failed.push((run, details));
        report.failed.push(failed_run);
        self.count(run, Outcome::Failed { is_news });
    }

    /// Makes visible what was processed, and writes down what became of all runs
    /// since the last time.
    fn publish(&mut self) {
        let mut processed = std::mem::take(&mut self.processed);
        let mut runs = runs_of(&processed);
        let published = self.make_visible(&runs).map(|refused| {
            let mut refused: BTreeMap<Run, Fault> = refused.into_iter().collect();
            processed.retain(|(planned, _)| match refused.remove(&planned.job.run()) {
                None => true,
                Some(fault) => {
                    let failed = Failed {
                        fault,
                        evidence: self.shared.stage.evidence(planned.job.run()),
                        at: Instant::now(),
                    };
                    self.shared.tell_refused(planned, &failed.fault.error);
                    self.fail(planned, &failed);
                    false
                }
            });
            runs = runs_of(&processed);
        });
        for (run, done) in &mut runs {
            if let Some(note) = &mut done.note {
                note.documents = self.shared.stage.stamp(*run);
            }
        }
        let failed = std::mem::take(&mut self.failed);
        let archived = match &published {
            Ok(()) => runs.as_slice(),
            Err(_) => &[],
        };
        if !archived.is_empty() || !failed.is_empty() {
            let recorded = self.books.ledger.settle(archived, failed);
            if let (Err(error), Ok(())) = (recorded, &published) {
                self.stop(error);
            }
        }
        match published {
            Ok(()) => processed
                .into_iter()
                .for_each(|(planned, done)| self.succeed(planned, &done)),
            Err(error) => {
                self.shared.tell(&Event::Unpublished {
                    runs: runs.len(),
                    error: &error,
                });
                self.stop(error);
            }
        }
    }

    /// Returns the runs that failed in it.
    fn make_visible(&self, runs: &[(Run, Done)]) -> Result<Vec<(Run, Fault)>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        self.books.ledger.before_publish(runs)?;
        self.shared.stage.publish()
    }

    fn succeed(&mut self, planned: &Planned<S::Job>, done: &Done) {
        let run = planned.job.run();
        let report = &mut *self.books.report;
        if done.without_stop_time {
            report.without_stop_time.insert(run);
        }
        let note = done.note.as_ref();
        if !planned.is_update() && note.is_some_and(|note| !note.missing.is_empty()) {
            report.incomplete.insert(run);
        }
        let outcome = match planned.is_update() {
            true => {
                report.updated.insert(run);
                match done.adds_times_only {
                    true => Outcome::Ended,
                    false => Outcome::Updated,
                }
            }
            false => {
                report.archived.insert(run);
                Outcome::Archived
            }
        };
        self.count(run, outcome);
    }

    /// Counts a run that ended, and tells of it.
    fn count(&mut self, run: Run, outcome: Outcome) {
        self.books.counts.add(outcome);
        self.shared.tell(&Event::Settled {
            run,
            outcome,
            progress: self.books.counts,
        });
    }

    fn stop(&mut self, error: Error) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.books.report.stop(error);
    }
}
