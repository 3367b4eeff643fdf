use super::*;
use crate::pipeline::journal::{FailureClass, FailureDetails};

fn runs(numbers: &[u64]) -> BTreeSet<Run> {
    numbers.iter().copied().map(Run).collect()
}

fn list(numbers: &[u64]) -> Vec<Run> {
    numbers.iter().copied().map(Run).collect()
}

fn set(text: &str) -> RunSet {
    match text {
        "" => RunSet::default(),
        text => RunSet::parse(text).unwrap(),
    }
}

fn survey(source: &[u64], archived: &[u64]) -> Survey<()> {
    let (source, archived) = (runs(source), runs(archived));
    Survey {
        known: &source | &archived,
        source,
        archived,
        holds_back: true,
        ..Survey::default()
    }
}

/// What a test knows besides the survey.
struct Known {
    failures: Failures,
    changed: BTreeSet<Run>,
    ignored: RunSet,
    left: RunSet,
    first_run: Option<Run>,
    batch_size: usize,
    unsettled: BTreeSet<Run>,
}

impl Known {
    fn nothing() -> Known {
        Known {
            failures: Failures::default(),
            changed: BTreeSet::new(),
            ignored: RunSet::default(),
            left: RunSet::default(),
            first_run: None,
            batch_size: 0,
            unsettled: BTreeSet::new(),
        }
    }

    fn plan(&self, survey: &Survey<()>, mode: Mode) -> Plan {
        let outlook = Outlook {
            failures: &self.failures,
            changed: self.changed.clone(),
            ignored: self.ignored.clone(),
            left: self.left.clone(),
            known: RunSet::default(),
            first_run: self.first_run,
            batch_size: self.batch_size,
            now: now(),
        };
        Plan::new(survey, mode, &outlook, &mut |run| {
            !self.unsettled.contains(&run)
        })
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn failures(transient: &[u64], permanent: &[u64]) -> Failures {
    let mut failures = Failures::default();
    for (numbers, class) in [
        (transient, FailureClass::Transient),
        (permanent, FailureClass::Permanent),
    ] {
        for run in numbers {
            let details = FailureDetails::new(class, "x".into(), None, None, now());
            failures.insert(Run(*run), details);
        }
    }
    failures
}

#[test]
fn incremental_takes_new_runs_then_late_ones_and_keeps_a_place_for_these() {
    let survey = survey(&[3, 4, 5, 6, 7, 8, 9], &[3, 6]);
    for (batch_size, new, late, beyond) in [
        (0, &[7, 8, 9][..], &[4, 5][..], ""),
        (5, &[7, 8, 9], &[4, 5], ""),
        (4, &[7, 8, 9], &[4], "5"),
        (3, &[7, 8], &[4], "5, 9"),
        (2, &[7], &[4], "5, 8-9"),
        (1, &[7], &[4], "5, 8-9"),
    ] {
        let known = Known {
            batch_size,
            ..Known::nothing()
        };
        let plan = known.plan(&survey, Mode::Incremental);
        assert_eq!(
            (plan.new, plan.late),
            (list(new), list(late)),
            "{batch_size}"
        );
        assert_eq!(plan.beyond_limit, set(beyond), "{batch_size}");
    }
}

#[test]
fn numbers_far_above_the_highest_archived_run_are_held_back() {
    let known = Known::nothing();
    for (source, archived, new, held_back) in [
        (
            &[12_501, 99_999_999][..],
            &[12_500][..],
            &[12_501][..],
            "99999999",
        ),
        (&[112_500, 112_501], &[12_500], &[112_500], "112501"),
        // In an empty archive each is measured by the one before it, and the
        // lowest is taken.
        (
            &[901, 8001, 20_251_024, 20_251_025],
            &[],
            &[901, 8001],
            "20251024-20251025",
        ),
        (&[20_251_024], &[], &[20_251_024], ""),
    ] {
        let plan = known.plan(&survey(source, archived), Mode::Incremental);
        assert_eq!((plan.new, plan.held_back), (list(new), set(held_back)));
    }
    let strays = survey(&[12_501, 99_999_999], &[12_500]);
    assert_eq!(
        known.plan(&strays, Mode::Full).new,
        list(&[12_501, 99_999_999])
    );
    let asked = set("99999999");
    assert_eq!(
        known.plan(&strays, Mode::Runs(&asked)).new,
        list(&[99_999_999])
    );
}

#[test]
fn a_run_that_was_taken_though_it_is_far_away_does_not_stop_the_others() {
    let known = Known {
        batch_size: 3,
        ..Known::nothing()
    };
    let survey = survey(&[5, 6, 7, 8, 99_999_999], &[5, 99_999_999]);
    assert_eq!(
        known.plan(&survey, Mode::Incremental).late,
        list(&[6, 7, 8])
    );
}

#[test]
fn failed_runs_are_taken_when_they_are_due_or_changed() {
    let mut known = Known {
        failures: failures(&[4], &[5, 6]),
        ..Known::nothing()
    };
    // An operator's line has no details.
    known.failures.runs.insert(Run(7));
    known.changed = runs(&[6]);
    let survey = survey(&[3, 4, 5, 6, 7], &[3]);
    let plan = known.plan(&survey, Mode::Incremental);
    assert_eq!((plan.new, plan.retries), (list(&[]), list(&[6, 7])));
    assert_eq!(known.plan(&survey, Mode::Full).new, list(&[4, 5, 6, 7]));
}

#[test]
fn what_is_set_apart_is_taken_only_when_asked_for() {
    let known = Known {
        ignored: set("4"),
        left: set("5"),
        first_run: Some(Run(3)),
        ..Known::nothing()
    };
    let mut survey = survey(&[2, 4, 5, 6, 7], &[7]);
    survey.asks_elsewhere = true;
    survey.elsewhere = Some(runs(&[6]));
    let plan = known.plan(&survey, Mode::Incremental);
    assert!(plan.new.is_empty() && plan.late.is_empty(), "{plan:?}");
    assert_eq!(
        (&plan.ignored, &plan.left, &plan.below_first, &plan.pruned),
        (&set("4"), &set("5"), &set("2"), &set("6"))
    );
    assert_eq!(plan.apart(), set("2,4-6"));
    assert_eq!(known.plan(&survey, Mode::Full).new, list(&[5]));
    let all = set("2-6");
    let plan = known.plan(&survey, Mode::Runs(&all));
    // What an operator declared holds until it is taken back.
    assert_eq!((plan.apart(), plan.new), (set("4"), list(&[2, 5, 6])));
}

#[test]
fn late_runs_wait_while_ucondb_cannot_tell_whether_it_has_them() {
    let mut survey = survey(&[3, 4, 8], &[7]);
    survey.asks_elsewhere = true;
    let plan = Known::nothing().plan(&survey, Mode::Incremental);
    assert_eq!((plan.new, plan.waiting), (list(&[8]), set("3-4")));
    assert!(plan.late.is_empty());
}

#[test]
fn full_takes_all_without_a_limit() {
    let source: Vec<u64> = (1..=25).collect();
    let known = Known {
        batch_size: 2,
        ..Known::nothing()
    };
    let plan = known.plan(&survey(&source, &[1]), Mode::Full);
    assert_eq!((plan.new.len(), plan.beyond_limit.len()), (24, 0));
}

#[test]
fn retry_takes_the_failure_log_less_what_is_archived_or_gone() {
    let survey = survey(&[3, 4, 5, 6], &[3, 4]);
    let mut known = Known {
        failures: failures(&[4, 5], &[99]),
        batch_size: 1,
        ..Known::nothing()
    };
    let plan = known.plan(&survey, Mode::Retry { only: None });
    assert_eq!(plan.new, list(&[5]));
    assert_eq!(plan.archived_since, list(&[4]));
    assert_eq!(plan.unknown, list(&[99]));
    let only = set("6-98");
    let plan = known.plan(&survey, Mode::Retry { only: Some(&only) });
    assert!(plan.new.is_empty());
    assert_eq!(plan.unmatched, ["6-98"]);
    known.ignored = set("5");
    assert!(
        known
            .plan(&survey, Mode::Retry { only: None })
            .new
            .is_empty()
    );
}

#[test]
fn selected_runs_are_taken_and_numbers_that_are_no_run_are_named() {
    let survey = survey(&[3, 4, 5, 6], &[3]);
    let wanted = set("3-5,90-99,200");
    let plan = Known::nothing().plan(&survey, Mode::Runs(&wanted));
    assert_eq!(plan.new, list(&[4, 5]));
    assert_eq!(plan.archived_already, 1);
    assert_eq!(plan.unmatched, ["90-99", "200"]);
}

#[test]
fn runs_that_are_still_being_written_wait_and_take_no_place() {
    let known = Known {
        batch_size: 3,
        unsettled: runs(&[4, 8, 9]),
        ..Known::nothing()
    };
    let survey = survey(&[4, 5, 6, 7, 8, 9, 10, 11, 12, 13], &[7]);
    let plan = known.plan(&survey, Mode::Incremental);
    assert_eq!((plan.new, plan.late), (list(&[10, 11]), list(&[5])));
    assert_eq!(
        (plan.settling, plan.beyond_limit),
        (set("4,8-9"), set("6,12-13"))
    );
    let asked = set("8,10");
    let plan = known.plan(&survey, Mode::Runs(&asked));
    assert_eq!((plan.new, plan.settling), (list(&[10]), set("8")));
    assert_eq!(
        known.plan(&survey, Mode::Full).new,
        list(&[5, 6, 10, 11, 12, 13])
    );
}
