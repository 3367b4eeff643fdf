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

/// The order in which an import makes durable what it writes, from the list of its
/// operations on files.
#[cfg(feature = "fault-injection")]
mod order {
    use std::collections::BTreeMap;
    use std::fs;

    use crate::faulty::{execute, fresh};

    /// The operations, each with its path below the test's directory.
    struct Trace(Vec<(String, String)>);

    impl Trace {
        /// The first such operation from a place on.
        #[track_caller]
        fn find(&self, from: usize, operation: &str, is_it: impl Fn(&str) -> bool) -> usize {
            let found = |(name, path): &(String, String)| name == operation && is_it(path);
            let found = self.0[from..].iter().position(found);
            found.unwrap_or_else(|| panic!("no {operation} after {from}: {:#?}", self.0)) + from
        }

        /// The last such operation before a place.
        #[track_caller]
        fn last(&self, to: usize, operation: &str, is_it: impl Fn(&str) -> bool) -> usize {
            let found = |(name, path): &(String, String)| name == operation && is_it(path);
            let found = self.0[..to].iter().rposition(found);
            found.unwrap_or_else(|| panic!("no {operation} before {to}: {:#?}", self.0))
        }
    }

    /// The document that a path is one of, or becomes one of.
    fn oid(path: &str) -> Option<&str> {
        let (_, name) = path.rsplit_once('/')?;
        let (oid, _) = name.strip_prefix('.').unwrap_or(name).split_once(".json")?;
        (oid.len() == 24).then_some(oid)
    }

    #[test]
    fn documents_are_durable_before_they_are_named_and_named_before_the_state_says_so() {
        let test = fresh().records_in(1..=3);
        test.run(&["--import-only", "--runs", "1"]).exits(0);
        let ended = execute(&test, &["--import-only"], None);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let list = fs::read_to_string(test.path().join("operations")).unwrap();
        let place = format!("{}/", test.path().display());
        let trace = Trace(
            list.lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(name, path)| (name.to_owned(), path.replace(&place, "")))
                .collect(),
        );
        let is_load = |path: &str| path.contains("/.run_record_archiver.load.");
        let is = |expected: &'static str| move |path: &str| path == expected;

        // The file that names the documents, and its name, before the first of them.
        let load = trace.find(0, "Create", is_load);
        let load_synced = trace.find(load, "Sync", is_load);
        let named = trace.find(load_synced, "Sync", is("archive"));
        let is_named = |(name, path): &(String, String)| name == "Rename" && oid(path).is_some();
        let renames: Vec<usize> = (0..trace.0.len())
            .filter(|place| is_named(&trace.0[*place]))
            .collect();
        assert_eq!(renames.len(), 2 * 6);
        assert!(named < renames[0]);

        // Each document after its last byte, before its name.
        let mut written: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (place, (name, path)) in trace.0.iter().enumerate() {
            if let Some(oid) = oid(path) {
                let (write, sync) = written.entry(oid).or_default();
                match name.as_str() {
                    "Write" => *write = place,
                    "Sync" => *sync = place,
                    _ => {}
                }
            }
        }
        for place in &renames {
            let (write, sync) = written[oid(&trace.0[*place].1).unwrap()];
            assert!(
                0 < write && write < sync && sync < load,
                "{}",
                trace.0[*place].1
            );
        }

        // Their names before the first index, the indexes one after the other.
        let last = *renames.last().unwrap();
        let mut place = ["archive/RunHistory", "archive/SystemLayout"]
            .map(|directory| trace.find(last, "Sync", is(directory)))
            .into_iter()
            .max()
            .unwrap();
        for collection in ["RunHistory", "SystemLayout"] {
            let directory = format!("archive/{collection}");
            let index = format!("{directory}/index.json");
            let temporary = format!("{directory}/.index.json.");
            let renamed = trace.find(place, "Rename", |path| path == index);
            let write = trace.last(renamed, "Write", |path| path.starts_with(&temporary));
            let sync = trace.last(renamed, "Sync", |path| path.starts_with(&temporary));
            assert!(write < sync);
            place = trace.find(renamed, "Sync", |path| path == directory);
        }
        let removed = trace.find(place, "Remove", is_load);
        trace.find(removed, "Rename", is("work/importer_state.json"));
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
