//! What is written down, when, and in which order.

use std::sync::Arc;

use super::*;

/// The identity of a file: another one once it was replaced.
fn identity(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.ino())
}

#[test]
fn a_run_counts_only_when_it_is_published() {
    let mut fake = Fake::new(&[1, 2], &[]);
    let directory = fake.directory.path().to_path_buf();
    fake = fake.publish(move |_| {
        let state = store_in(&directory).read("").unwrap();
        assert_eq!(state.last_attempted_run, None);
        Ok(())
    });
    assert!(fake.run(Mode::Full).is_success());
    assert_eq!(fake.state(), (Some(2), Some(2)));
}

#[test]
fn what_could_not_be_published_is_not_archived() {
    let fake = Fake::new(&[1, 2], &[]).publish(|_| Err(permanent()));
    let report = fake.run(Mode::Full);
    assert!(report.archived.is_empty());
    assert_eq!((report.left, report.backlog), (2, 2));
    assert_eq!(reason_to_stop(&report), permanent().to_string());
    assert_eq!(fake.state(), (None, None));
    assert_eq!(fake.count(&Publish), 1);
    let said = fake.log("2 run(s) were not imported: ArchiverError: failed on purpose");
    assert_eq!(said.len(), 1);
}

/// Run 2 ends when run 1 was published, which must not wait for it. Those after it
/// wait for each other.
#[test]
fn what_is_done_is_published_while_other_runs_go_on() {
    let (published, publication) = std::sync::mpsc::channel();
    let (published, publication) = (Mutex::new(published), Mutex::new(publication));
    let fake = Fake::new(&[1, 2, 3, 4], &[])
        .publish(move |_| {
            published.lock().unwrap().send(()).unwrap();
            Ok(())
        })
        .process(move |run, _| {
            if run == Run(2) {
                let publication = publication.lock().unwrap();
                let waited = publication.recv_timeout(PUBLISH_INTERVAL * 10);
                assert!(waited.is_ok(), "nothing was published");
            } else {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
    assert!(fake.run(Mode::Full).is_success());
    assert_eq!(
        fake.actions(),
        [
            Process(Run(1)),
            Process(Run(2)),
            Publish,
            Process(Run(3)),
            Process(Run(4)),
            Publish
        ]
    );
    assert_eq!(fake.state(), (Some(4), Some(4)));
}

#[test]
fn the_first_reason_to_stop_is_the_one_reported() {
    let fake = Fake::new(&[1, 2], &[])
        .process(|run, _| match run {
            Run(2) => Err(unreachable()),
            _ => Ok(()),
        })
        .publish(|_| Err(permanent()));
    let report = fake.run(Mode::Full);
    assert_eq!(reason_to_stop(&report), unreachable().to_string());
    assert_eq!(report.left, 2);
}

#[test]
fn a_failure_log_that_cannot_be_written_stops_the_stage_before_the_state_moves() {
    let mut fake = Fake::new(&[1, 2, 3], &[]);
    let directory = fake.directory.path().to_path_buf();
    fake = fake.process(move |run, _| match run {
        Run(1) => {
            std::fs::remove_dir_all(directory.join("books")).unwrap();
            Err(permanent())
        }
        _ => Ok(()),
    });
    let report = fake.run(Mode::Full);
    let stopped = reason_to_stop(&report);
    assert!(stopped.contains("failures.log"), "{stopped}");
    assert_eq!(fake.state(), (None, None));
}

#[test]
fn runs_that_fail_share_a_write_of_the_failure_log() {
    let mut fake = Fake::new(&(1..=500).collect::<Vec<_>>(), &[]);
    let directory = fake.directory.path().to_path_buf();
    let lengths = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&lengths);
    fake = fake.process(move |_, _| {
        let log = store_in(&directory).failures().unwrap();
        seen.lock().unwrap().insert(log.len());
        Err(permanent())
    });
    let started = Instant::now();
    let report = fake.run(Mode::Full);
    assert!(!report.unexpected, "{report:?}");
    assert_eq!(fake.store().failures().unwrap().len(), 500);
    // One write each two seconds at most, however long a busy machine takes.
    let writes = lengths.lock().unwrap().len() as u64 - 1;
    assert!(writes <= started.elapsed().as_secs() / 2, "{writes} writes");
}

#[test]
fn failed_runs_go_into_the_failure_log_and_the_state_passes_them() {
    let fake = Fake::new(&[1, 2, 3], &[]).process(|run, _| match run {
        Run(2) => Err(permanent()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Full);
    assert_eq!(fake.store().failures().unwrap(), runs(&[2]));
    assert_eq!(fake.state(), (Some(1), Some(3)));
    assert_eq!((report.failures, report.backlog, report.gaps), (1, 1, 1));

    // The same run taken again, with success.
    let mut fake = fake.process(|_, _| Ok(()));
    fake.survey.archived = runs(&[1, 3]);
    let report = fake.run(Mode::Retry { only: None });
    assert_eq!(report.archived, runs(&[2]));
    assert_eq!((report.failures, report.backlog, report.gaps), (0, 0, 0));
    assert!(fake.store().failures().unwrap().is_empty());
    assert_eq!(fake.state(), (Some(3), Some(3)));
}

#[test]
fn runs_archived_meanwhile_leave_the_failure_log() {
    let fake = Fake::new(&[1, 2], &[1, 2]);
    fake.store().write_failures(&runs(&[2, 9])).unwrap();
    let report = fake.run(Mode::Full);
    assert_eq!(fake.store().failures().unwrap(), runs(&[9]));
    assert_eq!(report.failures, 1);
    assert_eq!(fake.actions(), [], "there is nothing to do");
}

#[test]
fn late_runs_are_taken_after_the_new_ones_and_the_state_does_not_fall() {
    let fake = Fake::new(&[1, 2, 3, 4], &[1, 3]);
    let state = State {
        last_attempted_run: Some(Run(3)),
        ..State::default()
    };
    // An execution of this archiver, which noted that nothing is left.
    fake.run(Mode::Runs(&RunSet::parse("1").unwrap()));
    fake.store().write(&state).unwrap();
    let report = fake.run(Mode::Incremental);
    assert_eq!(fake.actions(), [Process(Run(4)), Process(Run(2)), Publish]);
    assert_eq!((report.late, report.failures), (1, 0));
    assert_eq!(fake.state(), (Some(4), Some(4)));
}

#[test]
fn what_an_earlier_archiver_left_is_listed_and_taken_only_when_asked_for() {
    let fake = Fake::new(&[1, 2, 3, 4, 5], &[1, 3]);
    let state = State {
        last_contiguous_run: Some(Run(1)),
        last_attempted_run: Some(Run(4)),
        ..State::default()
    };
    fake.store().write(&state).unwrap();
    fake.store().write_failures(&runs(&[4])).unwrap();
    let report = fake.run(Mode::Incremental);
    assert_eq!(report.archived, runs(&[4, 5]), "a line of the log is due");
    assert_eq!(report.left_by_earlier, RunSet::parse("2").unwrap());
    assert!(report.is_success());
    assert_eq!(fake.log("were left by an earlier archiver").len(), 1);
    // Not a second time, and not when the state is lost.
    let mut fake = fake;
    fake.survey.archived = runs(&[1, 3, 4, 5]);
    let report = fake.run(Mode::Incremental);
    assert_eq!(report.left_by_earlier, RunSet::parse("2").unwrap());
    assert!(report.archived.is_empty());
    let report = fake.run(Mode::Full);
    assert_eq!(report.archived, runs(&[2]));
    assert_eq!(fake.journal().left(StageKind::Import), RunSet::default());
}

#[test]
fn failed_runs_are_tried_again_by_themselves_when_they_changed() {
    let mut fake = Fake::new(&[1, 2], &[]).process(|run, _| match run {
        Run(1) => Err(permanent()),
        _ => Ok(()),
    });
    assert!(!fake.run(Mode::Incremental).is_success());
    fake.survey.archived = runs(&[2]);
    let report = fake.run(Mode::Incremental);
    assert!(report.is_success() && report.failed.is_empty());
    assert_eq!(fake.attempts(1), 1);

    fake.evidence.insert(Run(1), "changed".into());
    let report = fake.run(Mode::Incremental);
    assert_eq!(fake.attempts(1), 2);
    // For the same reason as before: it is told, but no news.
    assert_eq!(report.failed.len(), 1);
    assert!(report.is_success(), "{report:?}");
    assert!(!fake.run(Mode::Retry { only: None }).is_success());
}

#[test]
fn a_failure_log_that_is_edited_meanwhile_keeps_the_edits() {
    let mut fake = Fake::new(&[1, 2, 3], &[]);
    fake.store().write_failures(&runs(&[8, 9])).unwrap();
    let log = fake.store().failure_log().to_path_buf();
    fake = fake.process(move |run, _| match run {
        Run(2) => {
            std::fs::write(&log, "# gone for good\n9\n3\n").unwrap();
            Err(permanent())
        }
        _ => Ok(()),
    });
    fake.run(Mode::Full);
    let text = std::fs::read_to_string(fake.store().failure_log()).unwrap();
    assert_eq!(text, "# gone for good\n2\n3\n9\n");
}

#[test]
fn ignored_runs_are_neither_failures_nor_gaps() {
    let fake = Fake::new(&[1, 2, 3, 4], &[1, 4]);
    let journal = fake.journal();
    let set = |text| RunSet::parse(text).unwrap();
    journal.ignore(set("2-3"), "never finished", "me").unwrap();
    assert_eq!(journal.unignore(&set("3,7")).unwrap(), set("7"));
    let fake = fake.process(|_, _| Err(permanent()));
    let report = fake.run(Mode::Full);
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(report.ignored, set("2"));
    assert_eq!((report.gaps, report.backlog), (1, 1));
    assert_eq!(fake.state(), (Some(2), Some(4)));
}

#[test]
fn a_file_that_says_what_it_should_is_not_written_again() {
    let fake = Fake::new(&[1, 2], &[1]).process(|_, _| Err(permanent()));
    fake.run(Mode::Full);
    let store = fake.store();
    let before = [store.state_file(), store.failure_log()].map(identity);
    assert!(before.iter().all(Option::is_some));
    fake.run(Mode::Full);
    assert_eq!(
        [store.state_file(), store.failure_log()].map(identity),
        before
    );
}

#[test]
fn the_first_execution_leaves_a_state_whatever_becomes_of_it() {
    let fake = Fake::new(&[1], &[]).process(|_, _| Err(unreachable()));
    fake.run(Mode::Full);
    assert_eq!(
        std::fs::read_to_string(fake.store().state_file()).unwrap(),
        "{\"last_contiguous_run\": 0, \"last_attempted_run\": 0}\n"
    );
}

#[test]
fn a_stage_that_knows_of_no_run_forgets_nothing() {
    let fake = Fake::new(&[], &[]);
    let state = State {
        last_contiguous_run: Some(Run(7)),
        last_attempted_run: Some(Run(8)),
        ..State::default()
    };
    fake.store().write(&state).unwrap();
    assert!(fake.run(Mode::Full).is_success());
    assert_eq!(fake.state(), (Some(7), Some(8)));
}

#[test]
fn a_broken_state_is_told_before_any_work_with_the_flag_that_rebuilds_it() {
    let fake = Fake::new(&[1], &[]);
    std::fs::write(fake.store().state_file(), "{").unwrap();
    let report = fake.run(Mode::Full);
    let Ending::NotBegun(error) = report.ending else {
        panic!("{report:?}");
    };
    let error = error.to_string();
    assert!(
        error.contains("Run with --recover-import-state to rebuild it"),
        "{error}"
    );
    assert_eq!(fake.actions(), []);
}

#[test]
fn a_stage_that_cannot_note_its_runs_processes_nothing() {
    let fake = Fake::new(&[1], &[]);
    std::fs::create_dir(fake.directory.path().join("journal.json")).unwrap();
    // Opened before, as in an execution whose disk fills up later.
    let journal = {
        std::fs::remove_dir(fake.directory.path().join("journal.json")).unwrap();
        let journal = fake.journal();
        std::fs::create_dir(fake.directory.path().join("journal.json")).unwrap();
        journal
    };
    let context = Context {
        settings: &fake.settings,
        journal: &journal,
        observers: Observers(&[]),
        shutdown: &fake.shutdown,
    };
    let report = super::super::run(&fake, Mode::Full, &context);
    assert!(matches!(report.ending, Ending::NotBegun(_)), "{report:?}");
    assert_eq!(fake.actions(), []);
}

#[test]
fn runs_without_a_stop_time_are_noted_before_they_are_published() {
    let mut fake = Fake::new(&[1, 2], &[]);
    let list = fake.directory.path().join("incomplete_runs.json");
    let seen = list.clone();
    fake.processes = Box::new(|run, _| {
        Ok(Done {
            without_stop_time: true,
            awaits_stop_time: run == Run(2),
            ..Done::default()
        })
    });
    let fake = fake.publish(move |_| {
        let noted = IncompleteRuns::load(&seen, Duration::MAX).unwrap();
        assert_eq!(noted.going(), runs(&[2]));
        Ok(())
    });
    let report = fake.run(Mode::Full);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.without_stop_time, runs(&[1, 2]));
}

#[test]
fn what_is_in_progress_is_noted_while_it_is() {
    let mut fake = Fake::new(&[1, 2, 3], &[]);
    let path = fake.directory.path().join("journal.json");
    let importing = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let journal: serde_json::Value = serde_json::from_str(&text).unwrap();
        journal["importing"].as_str().unwrap().to_owned()
    };
    let journal = path.clone();
    fake = fake.process(move |run, _| {
        assert_eq!(importing(&journal), "1-3");
        match run {
            Run(2) => Err(permanent()),
            _ => Ok(()),
        }
    });
    let report = fake.run(Mode::Full);
    assert!(!report.unexpected, "{report:?}");
    // It is not known of a run that failed whether the database has it.
    assert_eq!(importing(&path), "2");
}

#[test]
fn an_update_that_fails_is_not_in_the_failure_log() {
    let mut fake = Fake::new(&[1, 2, 3], &[1, 2]);
    fake.survey.updates = [1, 2].map(|run| (Run(run), Run(run))).into();
    let fake = fake.process(|run, _| match run {
        Run(2) => Err(permanent()),
        _ => Ok(()),
    });
    let report = fake.run(Mode::Full);
    assert_eq!(
        fake.actions(),
        [Process(Run(3)), Process(Run(1)), Process(Run(2)), Publish]
    );
    assert_eq!(
        (&report.archived, &report.updated),
        (&runs(&[3]), &runs(&[1]))
    );
    assert_eq!(report.not_updated.len(), 1);
    assert!(report.failed.is_empty());
    assert_eq!(fake.store().failures().unwrap(), runs(&[]));
    assert_eq!(fake.state(), (Some(3), Some(3)));
}

#[test]
fn progress_is_told_every_ten_runs_and_at_the_end() {
    let fake = Fake::new(&(1..=23).collect::<Vec<_>>(), &[]).process(|run, _| match run {
        // Failures are told at once, so that these are the first.
        Run(run) if run <= 10 => Err(permanent()),
        _ => Ok(()),
    });
    fake.run(Mode::Full);
    assert_eq!(
        fake.log("Progress: "),
        [
            "INFO Progress: 10/23 runs processed (0 successful, 10 failed)",
            "INFO Progress: 20/23 runs processed (10 successful, 10 failed)",
            "INFO Progress: 23/23 runs processed (13 successful, 10 failed)",
        ]
    );
    assert_eq!(fake.log("✓ Run 11 imported successfully").len(), 1);
}
