//! Every operation on a file fails once, in every way: the archiver ends in good
//! order, and the same command again brings what an undisturbed execution brings.
//!
//! Needs the feature `fault-injection`, by which the binary under test can be told
//! which of its operations fails: `src/faults.rs`. With `RUN_RECORD_ARCHIVER_LONG`
//! set, every operation fails in every way; else every operation in some of the
//! ways, and a third of all cases each day.

#[cfg(not(feature = "fault-injection"))]
#[test]
fn needs_the_feature_fault_injection() {
    let message = "built without it, nothing can be made to fail: add --features fault-injection";
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("{message}");
}

#[cfg(feature = "fault-injection")]
mod operations {
    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::faulty::operations::{Scenario, Way, sweep};
    use crate::support::archiver::Test;
    use crate::support::{copy_tree, peer};

    const ALL: [Way; 6] = [
        Way::Eio,
        Way::Enospc,
        Way::Short,
        Way::Wrong,
        Way::Kill,
        Way::StickyEnospc,
    ];

    /// Whether a run's metadata has its stop time.
    fn set_stop_time(test: &Test, run: u64, is_known: bool) {
        let path = test.records().join(format!("{run}/metadata.txt"));
        let text = fs::read_to_string(&path).unwrap();
        let stop = "DAQInterface stop time: Wed Mar 18 19:02:11 UTC 2026\n";
        let text = text.replace(stop, "") + if is_known { stop } else { "" };
        fs::write(path, text).unwrap();
    }

    /// Two runs, one of them behind a link, and one that has not ended.
    fn three_runs(test: Test) -> Test {
        let test = test.records_in(1..=3);
        let (elsewhere, record) = (test.path().join("elsewhere"), test.records().join("2"));
        fs::rename(&record, &elsewhere).unwrap();
        symlink("../elsewhere", &record).unwrap();
        set_stop_time(&test, 3, false);
        test
    }

    #[test]
    fn of_a_first_execution() {
        sweep(
            &ALL,
            &Scenario {
                name: "three runs into an archive that does not exist yet",
                arguments: &["--incremental"],
                fails: false,
                prepare: &three_runs,
            },
        );
    }

    #[test]
    fn of_an_execution_that_adds_a_stop_time() {
        sweep(
            &ALL,
            &Scenario {
                name: "a stop time and another run into an archive of three",
                arguments: &["--incremental"],
                fails: false,
                prepare: &|test| {
                    let test = three_runs(test);
                    test.run(&["--incremental"]).exits(0);
                    set_stop_time(&test, 3, true);
                    test.record(4)
                },
            },
        );
    }

    #[test]
    fn of_an_execution_in_which_a_run_fails() {
        sweep(
            &ALL,
            &Scenario {
                name: "two runs, and one that is no FHiCL",
                arguments: &["--incremental"],
                fails: true,
                prepare: &|test| {
                    let test = test.records_in(1..=3);
                    peer::spoil(&test.records(), 2);
                    test
                },
            },
        );
    }

    #[test]
    fn of_a_retry() {
        sweep(
            &ALL,
            &Scenario {
                name: "a run of the failure log, repaired",
                arguments: &["--retry-failed-import"],
                fails: false,
                prepare: &|test| {
                    let test = test.records_in(1..=3);
                    let good = test.path().join("good");
                    copy_tree(&test.records().join("2"), &good);
                    peer::spoil(&test.records(), 2);
                    test.run(&["--incremental"]).exits(1);
                    copy_tree(&good, &test.records().join("2"));
                    fs::remove_dir_all(good).unwrap();
                    test
                },
            },
        );
    }
}

/// Every file of the source that is not the door itself goes through it.
#[test]
fn nothing_goes_past_the_door() {
    let mut directories = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut looked_at = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            // The door itself, and unit tests.
            let passed_over = ["faults", "faults.rs", "tests", "tests.rs"];
            if passed_over.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            assert!(
                !code.contains("std::fs"),
                "{}: crate::faults::fs is std::fs, and lets tests make it fail",
                path.display()
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 80, "{looked_at}");
}
