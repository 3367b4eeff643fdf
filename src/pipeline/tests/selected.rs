//! Which runs are taken, and what is said of them.

use super::*;

/// What the log says of the selection, without the stage's name.
fn said(fake: &Fake) -> Vec<String> {
    let from = "Import Stage: ";
    fake.log(from)
        .iter()
        .filter(|line| !line.contains("Fetching runs"))
        .map(|line| line.replace(from, ""))
        .collect()
}

#[test]
fn a_dry_run_plans_and_does_nothing() {
    let mut fake = Fake::new(&(1..=25).collect::<Vec<_>>(), &[1]);
    fake.settings.dry_run = true;
    fake.settings.batch_size = 2;
    fake.store().write_failures(&runs(&[1, 9])).unwrap();
    let report = fake.run(Mode::Full);
    assert_eq!(report.planned, (2..=25).map(Run).collect());
    assert_eq!((report.beyond_limit, report.failures), (0, 2));
    assert!(report.archived.is_empty() && fake.actions().is_empty());
    assert!(!fake.store().state_file().exists());
    assert_eq!(fake.store().failures().unwrap(), runs(&[1, 9]));
}

#[test]
fn runs_beyond_the_limit_wait_and_are_told() {
    let mut fake = Fake::new(&[1, 2, 3, 4, 5], &[]);
    fake.settings.batch_size = 2;
    let report = fake.run(Mode::Incremental);
    assert_eq!(report.archived, runs(&[1, 2]));
    assert_eq!(
        (report.beyond_limit, report.backlog, report.left),
        (3, 3, 0)
    );
    assert_eq!(
        said(&fake),
        [
            "INFO Found 5 runs to import.",
            "INFO Limited to 2 runs by app.batch_size. 3 runs remain for the next execution.",
            "INFO Runs 1-2",
        ]
    );
}

#[test]
fn a_batch_that_is_just_full_is_not_limited() {
    let mut fake = Fake::new(&[1, 2], &[]);
    fake.settings.batch_size = 2;
    let report = fake.run(Mode::Incremental);
    assert_eq!((report.archived.len(), report.beyond_limit), (2, 0));
    assert_eq!(
        said(&fake),
        ["INFO Found 2 runs to import.", "INFO Runs 1-2"]
    );
}

#[test]
fn late_runs_are_told() {
    let fake = Fake::new(&[1, 2, 3, 7], &[7]);
    fake.run(Mode::Incremental);
    assert_eq!(
        said(&fake),
        [
            "INFO 3 run(s) came late, below the highest archived run, and are taken after the new \
             ones: 1-3",
            "INFO Found 3 runs to import.",
            "INFO Runs 1-3",
        ]
    );
}

#[test]
fn a_number_that_is_no_run_is_held_back_and_told_with_what_decides_it() {
    let mut fake = Fake::new(&[1, 2, 20_251_024], &[1]);
    fake.survey.holds_back = true;
    let report = fake.run(Mode::Incremental);
    assert_eq!(report.archived, runs(&[2]));
    assert!(!report.is_success());
    let told = fake.log("held back");
    assert!(
        told[0].starts_with("WARN ") && told[0].contains("--ignore 20251024"),
        "{told:?}"
    );
}

#[test]
fn numbers_that_match_no_run_are_named() {
    let fake = Fake::new(&[1, 2], &[1]);
    let report = fake.run(Mode::Runs(&RunSet::parse("1-2,99").unwrap()));
    assert_eq!(report.unmatched, ["99"]);
    assert!(report.unarchived.is_empty());
}

#[test]
fn a_retry_tells_what_it_can_not_take() {
    let fake = Fake::new(&[1, 2], &[1]);
    fake.store().write_failures(&runs(&[1, 9])).unwrap();
    let report = fake.run(Mode::Retry { only: None });
    assert_eq!(fake.store().failures().unwrap(), runs(&[9]));
    assert_eq!(report.failures, 1);
    let said = said(&fake);
    assert_eq!(
        said[0],
        "INFO 1 run(s) of the failure log are imported already and leave it: 1"
    );
    assert!(
        said[1].starts_with(
            "WARN 1 run(s) can't be taken, because their source no longer has them: 9."
        ) && said[1].contains("failures.log"),
        "{said:?}"
    );
    assert_eq!(said[2..], ["INFO No failed runs to retry."]);
}

#[test]
fn selected_runs_that_are_archived_are_counted() {
    let fake = Fake::new(&[1, 2, 3], &[1, 2]);
    let all = RunSet::parse("1-2").unwrap();
    fake.run(Mode::Runs(&all));
    assert_eq!(
        said(&fake),
        [
            "INFO 2 of the selected runs are imported already",
            "INFO No new runs to import."
        ]
    );
    assert_eq!(fake.actions(), []);
}

#[test]
fn each_mode_has_its_name_in_the_log() {
    let some = RunSet::parse("1").unwrap();
    for (mode, name) in [
        (Mode::Full, "full"),
        (Mode::Incremental, "incremental"),
        (Mode::Retry { only: None }, "retry of failed runs"),
        (Mode::Runs(&some), "selected runs"),
    ] {
        let fake = Fake::new(&[], &[]);
        fake.run(mode);
        assert_eq!(
            fake.log("Fetching runs"),
            [format!("INFO Import Stage: Fetching runs (mode: {name}).")]
        );
    }
}
