//! What becomes of a run that is tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::*;

fn reason(report: &StageReport) -> String {
    assert_eq!(report.failed.len(), 1, "{report:?}");
    report.failed[0].reason.clone()
}

#[test]
fn runs_are_tried_lowest_first_and_published_together() {
    let fake = Fake::new(&[5, 1, 3, 2], &[2]);
    let report = fake.run(Mode::Full);
    assert_eq!(
        fake.actions(),
        [Process(Run(1)), Process(Run(3)), Process(Run(5)), Publish]
    );
    assert_eq!(report.archived, runs(&[1, 3, 5]));
    assert!(report.is_success());
    assert!(!report.unexpected);
    assert_eq!((report.left, report.backlog, report.gaps), (0, 0, 0));
    assert_eq!(fake.state(), (Some(5), Some(5)));
}

#[test]
fn a_run_that_may_succeed_is_tried_again() {
    let fake = Fake::new(&[1, 2], &[]).process(|run, attempt| match (run, attempt) {
        (Run(1), 1 | 2) => Err(transient()),
        _ => Ok(()),
    });
    let mut fake = fake;
    fake.settings.attempts = 3;
    let report = fake.run(Mode::Full);
    assert_eq!(report.archived, runs(&[1, 2]));
    assert!(report.is_success());
    assert_eq!((fake.attempts(1), fake.attempts(2)), (3, 1));
}

#[test]
fn a_run_is_tried_no_more_than_the_configured_times() {
    let mut fake = Fake::new(&[1, 2], &[]).process(|run, _| match run {
        Run(1) => Err(transient()),
        _ => Ok(()),
    });
    fake.settings.attempts = 3;
    let report = fake.run(Mode::Full);
    assert_eq!((fake.attempts(1), fake.attempts(2)), (3, 1));
    assert_eq!(report.archived, runs(&[2]));
    assert_eq!(reason(&report), transient().to_string());
    assert!(
        !report.is_success() && !report.unexpected && matches!(report.ending, Ending::Finished)
    );
    assert_eq!(fake.log("ERROR ✗ Run 1 import failed").len(), 1);
}

#[test]
fn a_run_at_fault_is_tried_once() {
    let fake = Fake::new(&[1], &[]).process(|_, _| Err(permanent()));
    let report = fake.run(Mode::Full);
    assert_eq!(fake.attempts(1), 1);
    assert_eq!(reason(&report), permanent().to_string());
    assert_eq!(fake.count(&Publish), 0, "there is nothing to publish");
}

#[test]
fn a_panic_is_the_failure_of_its_run_alone() {
    let fake = Fake::new(&[1, 2, 3], &[]).process(|run, _| match run {
        Run(1) => panic!("words of one"),
        Run(2) => panic!("words with a number, {run}"),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Full);
    assert_eq!(report.archived, runs(&[3]));
    assert!(report.unexpected && !report.is_success() && matches!(report.ending, Ending::Finished));
    let [one, two] = report.failed.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((one.run, two.run), (Run(1), Run(2)));
    assert!(
        one.reason
            .contains("panic while processing run 1: words of one")
    );
    assert!(two.reason.contains("words with a number, 2"));
    assert_eq!(fake.attempts(1), 1);
}

#[test]
fn a_database_that_is_gone_stops_the_stage_and_is_not_held_against_the_run() {
    let fake = Fake::new(&(1..=50).collect::<Vec<_>>(), &[]).process(|run, _| match run {
        Run(1) => Err(permanent()),
        Run(3) => Err(unreachable()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Full);
    assert_eq!(report.archived, runs(&[2]));
    assert_eq!(reason(&report), permanent().to_string());
    assert_eq!(report.left, 48);
    assert_eq!(reason_to_stop(&report), unreachable().to_string());
    assert!(!report.is_success());
    assert_eq!((fake.attempts(3), fake.attempts(4)), (1, 0));
    assert_eq!(fake.state(), (None, Some(2)));
    assert_eq!((report.failures, report.backlog), (1, 49));
}

#[test]
fn an_interrupted_run_is_left_and_not_failed() {
    let fake =
        Fake::new(&[1, 2], &[]).process(|_, _| Err(Error::Interrupted("User interrupt".into())));
    let report = fake.run(Mode::Full);
    assert!(report.archived.is_empty() && report.is_success());
    assert_eq!(report.left, 2);
    assert_eq!(fake.attempts(1), 1);
}

#[test]
fn a_shutdown_ends_the_stage_after_the_run_in_hand() {
    let mut fake = Fake::new(&[1, 2, 3], &[]);
    let shutdown = fake.shutdown.clone();
    fake = fake.process(move |run, _| {
        if run == Run(2) {
            shutdown.request("enough");
        }
        Ok(())
    });
    let report = fake.run(Mode::Full);
    assert_eq!(report.archived, runs(&[1, 2]));
    assert_eq!((report.left, fake.attempts(3)), (1, 0));
    assert_eq!(fake.state(), (Some(2), Some(2)));
}

#[test]
fn a_shutdown_ends_the_wait_for_another_attempt() {
    let mut fake = Fake::new(&[1, 2], &[]);
    fake.settings.retry_delay = Duration::from_secs(60);
    let shutdown = fake.shutdown.clone();
    fake = fake.process(move |_, _| {
        shutdown.request("enough");
        Err(transient())
    });
    let started = Instant::now();
    let report = fake.run(Mode::Full);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(report.failed, []);
    assert_eq!((report.left, fake.attempts(1)), (2, 1));
}

/// Says whether another worker said the same within some seconds.
fn meet(others: &Mutex<Receiver<()>>) -> bool {
    let receiver = others.lock().unwrap();
    receiver.recv_timeout(Duration::from_secs(20)).is_ok()
}

#[test]
fn workers_work_at_the_same_time() {
    let ((to_one, one), (to_two, two)) = (channel(), channel());
    let (one, two) = (Mutex::new(one), Mutex::new(two));
    let met = std::sync::Arc::new(AtomicUsize::new(0));
    let count = met.clone();
    let mut fake = Fake::new(&[1, 2], &[]).process(move |run, _| {
        let (tell, hear) = match run {
            Run(1) => (&to_two, &one),
            _ => (&to_one, &two),
        };
        tell.send(()).unwrap();
        count.fetch_add(usize::from(meet(hear)), Ordering::Relaxed);
        Ok(())
    });
    fake.settings.workers = 8;
    assert_eq!(fake.run(Mode::Full).archived, runs(&[1, 2]));
    assert_eq!(met.load(Ordering::Relaxed), 2);
    assert_eq!(
        fake.log("parallel processing of 2 runs with 2 workers")
            .len(),
        1
    );
}

#[test]
fn runs_fail_on_purpose_as_configured() {
    for (skip_percent, skip_is_permanent, attempts) in
        [(100, true, 0), (100, false, 0), (0, true, 1)]
    {
        let mut fake = Fake::new(&[1], &[]);
        fake.settings.fuzz = Fuzz {
            skip_percent,
            skip_is_permanent,
            ..Fuzz::default()
        };
        let report = fake.run(Mode::Full);
        assert_eq!(fake.attempts(1), attempts);
        assert_eq!(report.failed.len(), 1 - attempts);
        let tries = if skip_is_permanent { 1 } else { 2 };
        assert_eq!(fake.started.lock().unwrap().len(), tries);
    }
}
