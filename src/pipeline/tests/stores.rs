//! Whose fault a failure is: the store's or the run's.

use super::*;
use crate::pipeline::journal::FailureClass;

fn numbers(report: &StageReport) -> Vec<u64> {
    let mut runs: Vec<u64> = report.failed.iter().map(|it| it.run.0).collect();
    runs.sort_unstable();
    runs
}

#[test]
fn a_store_that_takes_no_run_stops_the_stage_and_no_run_counts_as_failed() {
    let fake =
        Fake::new(&(1..=20).collect::<Vec<_>>(), &[]).process_in_store(|_, _| Err(transient()));
    let report = fake.run(Mode::Incremental);
    assert_eq!(reason_to_stop(&report), transient().to_string());
    assert!(report.failed.is_empty() && report.left == 20, "{report:?}");
    assert!(fake.store().failures().unwrap().is_empty());
    // Three are held; the fourth is the trial.
    assert_eq!((fake.attempts(4), fake.attempts(5)), (2, 0));
    assert_eq!(fake.state(), (None, None));
}

#[test]
fn a_store_that_says_that_it_does_not_work_is_not_tried_with_another_run() {
    let mut fake = Fake::new(&[1, 2, 3, 4, 5], &[]).process_in_store(|_, _| Err(transient()));
    fake.trials = Box::new(|| Trial::Fails(unreachable()));
    let report = fake.run(Mode::Incremental);
    assert_eq!(reason_to_stop(&report), unreachable().to_string());
    assert_eq!((report.left, fake.attempts(4)), (5, 0));
}

#[test]
fn runs_that_fail_while_others_succeed_are_at_fault() {
    let fake = Fake::new(&(1..=9).collect::<Vec<_>>(), &[]).process_in_store(|run, _| match run {
        Run(2 | 5 | 6) => Err(transient()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Incremental);
    assert!(matches!(report.ending, Ending::Finished), "{report:?}");
    assert_eq!(numbers(&report), [2, 5, 6]);
    assert_eq!(report.archived.len(), 6);
    assert_eq!(fake.count(&Action::Trial), 0);
    // They pass by themselves: they are due in the next hourly execution.
    let failures = fake.journal().failures(StageKind::Import).unwrap();
    let details = failures.details(Run(2)).unwrap();
    let pause = details.next_try.unwrap().duration_since(details.last);
    assert_eq!(pause.as_mins(), 55);
}

#[test]
fn runs_for_which_nothing_had_to_be_stored_show_nothing_of_a_store_that_is_full() {
    let mut fake = Fake::new(&(1..=20).collect::<Vec<_>>(), &[]);
    fake.processes = Box::new(|run, _| match run.0 % 2 {
        0 => Ok(Done {
            stored_nothing: true,
            ..Done::default()
        }),
        _ => Err(Side::WriteUcondb.fault(transient())),
    });
    fake.trials = Box::new(|| Trial::Inconclusive);
    let report = fake.run(Mode::Incremental);
    assert_eq!(reason_to_stop(&report), transient().to_string());
    assert!(report.failed.is_empty(), "{report:?}");
    assert!(fake.store().failures().unwrap().is_empty());
}

#[test]
fn three_bad_runs_in_a_row_stop_nothing_when_the_next_one_succeeds() {
    let fake = Fake::new(&(1..=9).collect::<Vec<_>>(), &[]).process_in_store(|run, _| match run {
        Run(2..=4 | 6) => Err(transient()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Incremental);
    assert!(matches!(report.ending, Ending::Finished), "{report:?}");
    assert_eq!(numbers(&report), [2, 3, 4, 6]);
    assert_eq!(fake.count(&Action::Trial), 1);
}

#[test]
fn a_trial_that_succeeds_shows_that_the_runs_are_at_fault() {
    let mut fake = Fake::new(&[1, 2, 3, 4], &[]).process_in_store(|_, _| Err(transient()));
    fake.trials = Box::new(|| Trial::Works);
    let report = fake.run(Mode::Incremental);
    assert!(matches!(report.ending, Ending::Finished), "{report:?}");
    assert_eq!(numbers(&report), [1, 2, 3, 4]);
    assert_eq!(
        fake.count(&Action::Trial),
        2,
        "after the third, and at the end"
    );
}

#[test]
fn without_a_trial_runs_count_as_failed_in_the_second_execution() {
    let mut fake = Fake::new(&[1, 2], &[]).process_in_store(|run, _| match run {
        Run(2) => Err(transient()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Incremental);
    assert_eq!(reason_to_stop(&report), transient().to_string());
    assert_eq!((report.archived, report.left), (runs(&[1]), 1));
    assert!(fake.store().failures().unwrap().is_empty());

    fake.survey.archived = runs(&[1]);
    let report = fake.run(Mode::Incremental);
    assert!(matches!(report.ending, Ending::Finished), "{report:?}");
    assert_eq!(numbers(&report), [2]);
    assert_eq!(fake.store().failures().unwrap(), runs(&[2]));
}

#[test]
fn a_store_without_its_known_runs_is_not_taken_for_the_real_one() {
    let mut fake = Fake::new(&[1, 2, 3], &[]);
    let see = |fake: &mut Fake, runs_: &[u64]| {
        fake.survey.archived = runs(runs_);
        fake.survey.sightings = vec![(Store::Artdaqdb, runs(runs_))];
    };
    see(&mut fake, &[1, 2]);
    assert!(fake.run(Mode::Incremental).is_success());
    see(&mut fake, &[]);
    let report = fake.run(Mode::Incremental);
    let Ending::NotBegun(error) = &report.ending else {
        panic!("{report:?}");
    };
    let error = error.to_string();
    assert!(
        error.contains("has 0 of 3 known runs: is it mounted?")
            && error.contains("--recover-import-state"),
        "{error}"
    );
    assert_eq!(fake.attempts(1), 0);
    // Who asks for all runs is warned; but there is no new archive in its place.
    assert_eq!(fake.run(Mode::Full).archived.len(), 3);
    assert_eq!(fake.log("known runs: is it mounted?").len(), 1);
    fake.survey.archive_exists = false;
    assert!(!fake.run(Mode::Full).has_begun());
}

#[test]
fn a_run_that_another_archiver_stored_otherwise_meanwhile_is_a_failure_alone() {
    let fake = Fake::new(&[1, 2, 3], &[]).refuse(2);
    let report = fake.run(Mode::Incremental);
    assert!(matches!(report.ending, Ending::Finished), "{report:?}");
    assert_eq!(numbers(&report), [2]);
    assert_eq!(report.archived.len(), 2);
    assert_eq!(fake.store().failures().unwrap(), runs(&[2]));
    let failures = fake.journal().failures(StageKind::Import).unwrap();
    assert_eq!(
        failures.details(Run(2)).unwrap().class,
        FailureClass::Permanent
    );
}
