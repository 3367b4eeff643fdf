//! Every operation on a file fails once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Instant, UNIX_EPOCH};

use super::snapshot::{self, Snapshot, tree};
use super::{Ended, copy, execute, fresh, is_long};
use crate::support::archiver::Test;

/// In how many days the cases are all tried, when it may not take long.
const TURNS: usize = 3;

/// Which cases it is the turn of: another third every day, or the one that
/// `RUN_RECORD_ARCHIVER_TURN` names.
fn turn() -> usize {
    let chosen = std::env::var("RUN_RECORD_ARCHIVER_TURN").ok();
    let days = || UNIX_EPOCH.elapsed().unwrap().as_secs() as usize / 86400;
    chosen.map_or_else(days, |turn| turn.parse().unwrap()) % TURNS
}

/// How many cases are tried at the same time.
const THREADS: usize = 2;

/// How an operation fails, as `src/faults.rs` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Eio,
    Enospc,
    Short,
    Wrong,
    Kill,
    StickyEnospc,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Eio => "eio",
            Way::Enospc => "enospc",
            Way::Short => "short",
            Way::Wrong => "wrong",
            Way::Kill => "kill",
            Way::StickyEnospc => "sticky-enospc",
        }
    }
}

/// What is executed, and on what.
pub struct Scenario<'a> {
    /// In words.
    pub name: &'a str,
    /// The command.
    pub arguments: &'a [&'a str],
    /// Whether a run fails in an undisturbed execution too.
    pub fails: bool,
    /// Makes the records, and the databases from before.
    pub prepare: &'a (dyn Fn(Test) -> Test + Sync),
}

/// What was tried, to be told at the end.
#[derive(Default)]
struct Tally {
    cases: BTreeMap<Way, usize>,
    executions: usize,
    /// Of the disturbed executions, by how they ended.
    codes: BTreeMap<String, usize>,
}

/// Fails every operation of a scenario in each of these ways.
pub fn sweep(ways: &[Way], scenario: &Scenario) {
    let started = Instant::now();
    let template = (scenario.prepare)(fresh());
    let reference = copy(&template);
    let sources = tree(&reference, &["run_records", "elsewhere", "schema"]);
    let before = Snapshot::take(&reference);
    let undisturbed = execute(&reference, scenario.arguments, None);
    assert_eq!(
        undisturbed.status.code(),
        Some(i32::from(scenario.fails)),
        "{}",
        undisturbed.stderr
    );
    assert!(
        undisturbed.operations > 100,
        "the binary was built without fault-injection"
    );
    let after = Snapshot::take(&reference);
    assert_ne!(before, after);
    execute(&reference, scenario.arguments, None);
    assert_eq!(after, Snapshot::take(&reference), "nothing was left to do");

    let turn = turn();
    let tally = Mutex::new(Tally::default());
    let failed = Mutex::new(Vec::new());
    for way in ways {
        let (next, beyond) = (AtomicUsize::new(1), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    // Threads of the archiver may do a few operations more or less.
                    while beyond.load(Ordering::SeqCst) < 5 {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if !is_long() && (number + *way as usize) % TURNS != turn {
                            continue;
                        }
                        let case = Case {
                            scenario,
                            sources: &sources,
                            after: &after,
                            way: *way,
                            number,
                            template: &template,
                        };
                        match case.run(&tally) {
                            Ok(true) => {}
                            Ok(false) => {
                                beyond.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(problem) => failed.lock().unwrap().push(problem),
                        }
                        assert!(number < 100_000, "it never ends");
                    }
                });
            }
        });
    }
    let tally = tally.into_inner().unwrap();
    println!(
        "{}: {} operations; {}; cases {:?}, {} executions in {:.0} s; the disturbed ones ended {:?}",
        scenario.name,
        undisturbed.operations,
        match is_long() {
            true => "every case".to_owned(),
            false => format!("turn {turn} of {TURNS}"),
        },
        tally.cases,
        tally.executions,
        started.elapsed().as_secs_f64(),
        tally.codes
    );
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} cases failed:\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

struct Case<'a> {
    scenario: &'a Scenario<'a>,
    sources: &'a BTreeMap<String, Vec<u8>>,
    after: &'a Snapshot,
    way: Way,
    number: usize,
    template: &'a Test,
}

impl Case<'_> {
    /// Whether there was such an operation; what is wrong, if anything.
    fn run(&self, tally: &Mutex<Tally>) -> Result<bool, String> {
        let test = copy(self.template);
        let fault = format!("{}:{}", self.number, self.way.name());
        let arguments = self.scenario.arguments;
        let disturbed = execute(&test, arguments, Some(&fault));
        let Some(struck) = &disturbed.struck else {
            return Ok(false);
        };
        let mut executions = 1;
        let mut said = disturbed.stderr.clone();
        let result = self.judge(&test, &disturbed, struck).and_then(|()| {
            let mut again = |arguments: &[&str], may_fail: bool| {
                executions += 1;
                let ended = execute(&test, arguments, None);
                said.push_str(&format!("--- {arguments:?}\n{}", ended.stderr));
                match ended.status.code() {
                    Some(0) => Ok(()),
                    Some(1) if may_fail => Ok(()),
                    _ => Err(format!("{arguments:?} ended with {}", ended.status)),
                }
            };
            if self.way == Way::Kill && self.number.is_multiple_of(2) {
                rebuild_index(&test, &mut again)?;
            }
            again(arguments, self.scenario.fails)?;
            // What the manual has an operator do about runs in the failure logs.
            let may_fail = self.way == Way::Wrong || is_of_a_record(struck);
            if !test.failures("import_failures.log").is_empty() && may_fail {
                again(&["--retry-failed-import"], self.scenario.fails)?;
                again(arguments, self.scenario.fails)?;
            }
            if !test.failures("migrate_failures.log").is_empty() {
                again(&["--retry-failed-migrate"], false)?;
            }
            self.after.compare(&Snapshot::take(&test))?;
            self.look(&test)?;
            let may_stay = self.way == Way::Kill || struck.contains(" Remove ");
            match snapshot::temporaries(&test) {
                left if left.is_empty() || may_stay => Ok(()),
                left => Err(format!("temporary files were left: {left:?}")),
            }
        });
        let mut tally = tally.lock().unwrap();
        *tally.cases.entry(self.way).or_default() += 1;
        *tally
            .codes
            .entry(match disturbed.status.code() {
                Some(code) => format!("with {code}"),
                None => "dead".to_owned(),
            })
            .or_default() += 1;
        tally.executions += executions;
        result.map(|()| true).map_err(|problem| {
            format!(
                "{}: {fault} ({struck}): {problem}\n{said}",
                self.scenario.name
            )
        })
    }

    /// Whether a disturbed execution ended in good order.
    fn judge(&self, test: &Test, ended: &Ended, struck: &str) -> Result<(), String> {
        if ended.stderr.contains("panicked") {
            return Err("it panicked".into());
        }
        match (ended.status.code(), ended.status.signal()) {
            (None, Some(9)) if self.way == Way::Kill => {}
            (Some(1), _) if self.way != Way::Kill => {}
            // A document or a record that can't be read is no reason to stop: it says so,
            // and the next execution adds what is missing.
            (Some(0), _)
                if (self.way == Way::Wrong || is_of_a_record(struck))
                    && ended.stderr.contains("its stop time could not be added") => {}
            (Some(0), _) if self.way != Way::Kill && !self.scenario.fails => {
                self.after
                    .compare(&Snapshot::take(test))
                    .map_err(|problem| format!("it ended with 0, but {problem}"))?;
            }
            _ => return Err(format!("it ended with {}", ended.status)),
        }
        // A record that can't be read is that run's failure.
        if self.way != Way::Wrong && !is_of_a_record(struck) {
            let logs = ["import_failures.log", "migrate_failures.log"];
            for run in logs.iter().flat_map(|log| test.failures(log)) {
                // The one that is no FHiCL, or was none before.
                if run != 2
                    || !(self.scenario.fails || self.scenario.arguments[0].contains("retry"))
                {
                    return Err(format!("run {run} was made to answer for it"));
                }
            }
        }
        self.look(test)
    }

    /// Whether sources are as they were and every file can be read.
    fn look(&self, test: &Test) -> Result<(), String> {
        if tree(test, &["run_records", "elsewhere", "schema"]) != *self.sources {
            return Err("the sources were touched".into());
        }
        snapshot::parses(test)
    }
}

/// Has the indexes made anew of whatever a kill left, if there is an archive. What was
/// kept of the old ones is removed.
fn rebuild_index(
    test: &Test,
    execute: &mut impl FnMut(&[&str], bool) -> Result<(), String>,
) -> Result<(), String> {
    let archive = test.path().join("archive");
    let mut indexes = ["RunHistory", "SystemLayout"]
        .iter()
        .map(|it| archive.join(it));
    if !indexes.all(|it| it.join("index.json").exists()) {
        return Ok(());
    }
    execute(&["--rebuild-index", "--yes"], false)?;
    for entry in fs::read_dir(archive).unwrap() {
        let path = entry.unwrap().path();
        if path.display().to_string().contains(".index.json.") {
            fs::remove_file(path).unwrap();
        }
    }
    Ok(())
}

/// Whether an operation was one on a run record.
fn is_of_a_record(struck: &str) -> bool {
    struck.contains("/run_records/") || struck.contains("/elsewhere/")
}
