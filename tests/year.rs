//! A year of hourly executions of the archiver on a site where everything happens
//! that can happen, in some minutes: the clock is the test's.
//!
//! The test draws what happens from a seed before it begins: runs, some late or
//! broken, or copied slowly, or still going; records that change; directories that are no runs; stores that are down, read-only, slow or
//! empty; the work directory lost. Kills and signals come by chance. After each
//! execution an oracle, which knows what was done, compares exit code and "Next"
//! lines with what is so. After each calm day everything is archived once and to
//! the byte, and the failure logs hold only broken runs.
//!
//! CI sees a share of the year, as much as it has time for, but at least 60 days;
//! `RUN_RECORD_ARCHIVER_LONG=1` three whole years. `RUN_RECORD_ARCHIVER_SEED` takes
//! the seed of an earlier year, `RUN_RECORD_ARCHIVER_DAYS` another number of days.
#![cfg(feature = "fault-injection")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use run_record_archiver::artdaqdb::NativeDb;
use run_record_archiver::run::Run;
use rustix::process::Signal;

use crate::support::archiver::Test;
use crate::support::books::digest;
use crate::support::ucondb_server::OBJECT;
use crate::support::{is_long, seed, send};
use oracle::{Step, Truth, planned};
use schedule::{DAY, Event, Kind, Outage, Schedule, Store, YEAR};
use site::{Books, LATE_FILE, Site, is_counted};

mod oracle;
mod schedule;
mod site;

/// The first hour of the year, in seconds since 1970.
const START: u64 = 1_767_225_600;
/// Runs that an execution takes.
const BATCH: usize = 8;
/// How many good runs at most are noted as failed in one execution: a store is tried
/// after three failures in a row, and two workers are at work.
const SUSPECTED: usize = 4;
/// After how many hours without a disturbance everything must be archived: failures
/// that may pass are tried again after a day at the latest.
const CALM: u64 = DAY + 2;
/// How many days CI sees at least, and for how long it goes on.
const SHARE: u64 = 60;
const SHARE_TIME: Duration = Duration::from_secs(150);
/// How long an execution may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The documents of a run in artdaqDB.
const ENTITIES: [&str; 6] = [
    "RunHistory",
    "RunHistory2",
    "crt01",
    "metadata",
    "schema",
    "tpc01",
];

/// What a run's record is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Good,
    Broken,
    Gone,
}

/// How an execution is disturbed.
#[derive(Debug, Clone, Copy, Default)]
struct Disturbance {
    /// A store that fails while it is at work.
    outage: Option<Outage>,
    /// A signal that it gets.
    signal: Option<Signal>,
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    executions: u64,
    killed: u64,
    terminated: u64,
    failing: u64,
    disturbed: u64,
    commands: u64,
    calm_days: u64,
    outages: u64,
}

struct Simulation {
    site: Site,
    random: Rng,
    /// Hours since the start.
    hour: u64,
    /// Executions in this hour.
    minute: u64,
    conditions: BTreeMap<u64, Condition>,
    strays: BTreeSet<u64>,
    ignored: BTreeSet<u64>,
    /// Runs whose record has not all of its files yet.
    partial: BTreeSet<u64>,
    /// Runs that may have several documents of an entity.
    grown: BTreeSet<u64>,
    /// Archived runs whose record is another one, and was not stored anew.
    changed: BTreeSet<u64>,
    /// Whether this archiver has `--ignore`.
    can_ignore: bool,
    /// The last hour in which something was not as it should be.
    disturbed: u64,
    /// How long an execution with work takes.
    span: Duration,
    books: Books,
    /// What is right in UconDB.
    digests: BTreeMap<u64, String>,
    /// The last thing that the archiver said.
    said: String,
    counts: Counts,
}

impl Simulation {
    fn new(random: Rng) -> Simulation {
        let help = Command::new(env!("CARGO_BIN_EXE_run_record_archiver"))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        Simulation {
            site: Site::new(BATCH),
            random,
            hour: 0,
            minute: 0,
            conditions: BTreeMap::new(),
            strays: BTreeSet::new(),
            ignored: BTreeSet::new(),
            partial: BTreeSet::new(),
            grown: BTreeSet::new(),
            changed: BTreeSet::new(),
            can_ignore: help.contains("--ignore"),
            disturbed: 0,
            span: Duration::from_millis(30),
            books: Books::default(),
            digests: BTreeMap::new(),
            said: String::new(),
            counts: Counts::default(),
        }
    }

    fn with_condition(&self, wanted: &[Condition]) -> BTreeSet<u64> {
        let runs = self.conditions.iter();
        runs.filter(|(_, condition)| wanted.contains(condition))
            .map(|(run, _)| *run)
            .collect()
    }

    fn now(&self) -> u64 {
        START + self.hour * 3600 + self.minute * 60
    }

    /// Something that must not be so.
    fn fail(&self, what: &str) -> ! {
        let log = fs::read_to_string(self.site.test.work("archiver.log")).unwrap_or_default();
        let log: Vec<&str> = log.lines().collect();
        panic!(
            "day {}, hour {}: {what}\noutages: {:?}\nstrays: {:?}, ignored: {:?}\nit said:\n{}\n\
             the end of the log:\n{}",
            self.hour / DAY,
            self.hour % DAY,
            self.site.outages(),
            self.strays,
            self.ignored,
            self.said,
            log[log.len().saturating_sub(80)..].join("\n")
        );
    }

    /// An hour of the year.
    fn live(&mut self, schedule: &Schedule) {
        let events = schedule.at(self.hour).to_vec();
        let mut disturbance = Disturbance::default();
        for event in &events {
            self.happens(*event, &mut disturbance);
        }
        let good = self.with_condition(&[Condition::Good]);
        let is_open =
            !good.is_subset(&self.books.imported) || !good.is_subset(&self.books.migrated);
        let outages = self.site.outages().iter();
        let share = match outages.map(|it| it.kind.takes_time()).max() {
            Some(true) => 0.1,
            Some(false) => 0.35,
            None if is_open => 1.0,
            None => 0.03,
        };
        if !events.is_empty() || self.random.f64() < share {
            if is_open || self.random.u8(..10) == 0 {
                disturbance.signal = match self.random.u8(..100) {
                    0..5 => Some(Signal::KILL),
                    5..9 => Some(Signal::TERM),
                    _ => None,
                };
            }
            self.execute(disturbance);
        }
        if let Some(outage) = disturbance.outage {
            self.site.go_on(outage);
        }
        if self.site.is_disturbed() {
            self.disturbed = self.hour;
        }
        if self.hour % DAY == DAY - 1 && self.hour - self.disturbed >= CALM {
            self.end_calm_day();
        }
        self.hour += 1;
        self.minute = 0;
    }

    fn happens(&mut self, event: Event, disturbance: &mut Disturbance) {
        match event {
            Event::Arrives(run) => {
                self.site.add_record(run);
                self.conditions.insert(run, Condition::Good);
            }
            Event::ArrivesPartly(run) => {
                self.site.add_part_of_record(run);
                self.partial.insert(run);
                self.conditions.insert(run, Condition::Good);
            }
            Event::GainsTheRest(run) => {
                self.site.complete_record(run);
                self.partial.remove(&run);
                self.grow(run);
            }
            Event::ArrivesGoing(run) => {
                self.site.add_going_record(run);
                self.conditions.insert(run, Condition::Good);
            }
            Event::Stops(run) => {
                self.site.stop_run(run);
                self.grow(run);
            }
            Event::Changes(run) => {
                self.site.change_record(run);
                self.grow(run);
                // One that is archived, or may be, counts as changed.
                self.changed.insert(run);
            }
            Event::Reimported(run) => {
                if !self.site.is_disturbed() {
                    self.reimport(run);
                }
            }
            Event::ArrivesBroken(run, damage) => {
                self.site.add_broken_record(run, damage);
                self.conditions.insert(run, Condition::Broken);
            }
            Event::Repaired(run) => {
                self.site.remove(run);
                self.site.add_record(run);
                self.conditions.insert(run, Condition::Good);
                // At times the operator does not wait for the next hour.
                if !self.site.is_disturbed() && self.random.u8(..3) == 0 {
                    self.retry_failed_import();
                }
            }
            Event::Withdrawn(run) => {
                self.site.remove(run);
                self.conditions.insert(run, Condition::Gone);
            }
            Event::Acknowledged(run) => self.acknowledge(run),
            Event::StrayAppears(number, stray) => {
                self.site.add_stray(number, stray);
                self.strays.insert(number);
            }
            Event::StrayVanishes(number) => {
                self.site.remove(number);
                self.strays.remove(&number);
            }
            Event::Begins(outage) => {
                self.counts.outages += 1;
                match outage.begins_within {
                    true => disturbance.outage = Some(outage),
                    false => self.site.begin(outage, 0),
                }
            }
            Event::Ends(outage) => {
                if self.site.has_new_archive() {
                    self.fail("there is a new archive in the place of the one that is away");
                }
                self.disturbed = self.hour;
                self.site.end(outage.kind);
            }
            Event::WorkDirectoryLost => {
                self.site.lose_work_directory();
                self.ignored.clear();
                self.books = self.site.books();
                // Before a store vanishes of which nobody would know.
                self.execute(Disturbance::default());
            }
        }
    }

    fn acknowledge(&mut self, run: u64) {
        if !self.can_ignore {
            return;
        }
        let arguments = ["--ignore", &run.to_string(), "--reason", "beyond repair"];
        let environment = self.site.environment(self.now(), u64::MAX);
        let mut command = self.site.test.command(&arguments);
        let output = command.envs(environment).output().unwrap();
        self.said = String::from_utf8(output.stderr).unwrap();
        if output.status.code() != Some(0) {
            self.fail("a run cannot be ignored");
        }
        self.ignored.insert(run);
        self.books = self.site.books();
    }

    /// What is right in UconDB is another blob from now on.
    fn grow(&mut self, run: u64) {
        self.grown.insert(run);
        self.digests.remove(&run);
    }

    /// What an operator does about a changed record.
    fn reimport(&mut self, run: u64) {
        let status = self.start_and_wait(&["--reimport", &run.to_string()], Disturbance::default());
        self.books = self.site.books();
        if status.code() != Some(0) {
            self.fail(&format!("--reimport {run} ended with {:?}", status.code()));
        }
        self.changed.remove(&run);
        self.digests.remove(&run);
    }

    /// What an operator does after a repair.
    fn retry_failed_import(&mut self) {
        let status = self.start_and_wait(&["--retry-failed-import"], Disturbance::default());
        self.books = self.site.books();
        let is_open = |run: &&u64| {
            self.conditions.get(run) == Some(&Condition::Broken) && !self.ignored.contains(run)
        };
        let open = self.books.import_failures.keys().filter(is_open).count();
        let expected = i32::from(open > 0);
        if status.code() != Some(expected) {
            self.fail(&format!(
                "a retry ended with {:?}, with {open} of the failed runs still broken",
                status.code()
            ));
        }
    }

    /// An execution as cron starts it, and what is to be said of it.
    fn execute(&mut self, disturbance: Disturbance) {
        let is_quiet = self.random.u8(..5) == 0;
        let arguments: &[&str] = match is_quiet {
            true => &["--incremental", "--quiet"],
            false => &["--incremental"],
        };
        let failing = self.site.outages().to_vec();
        let status = self.start_and_wait(arguments, disturbance);
        let before = std::mem::take(&mut self.books);
        self.books = self.site.books();
        self.counts.executions += 1;
        if disturbance.outage.is_some() || disturbance.signal.is_some() {
            self.disturbed = self.hour;
        }

        let records = self.with_condition(&[Condition::Good, Condition::Broken]);
        let good = self.with_condition(&[Condition::Good]);
        let strays = self.strays.difference(&self.ignored).copied().collect();
        let records = records.union(&self.strays).copied().collect();
        let truth = Truth {
            before: &before,
            after: &self.books,
            records: &records,
            good: &good,
            strays: &strays,
            ignored: &self.ignored,
        };
        self.judge_archives(&truth);
        if self.said.contains("panicked") || self.said.contains("UNEXPECTED") {
            self.fail("it panicked");
        }
        let code = match (status.code(), status.signal(), disturbance.signal) {
            (None, Some(9), Some(Signal::KILL)) => {
                self.counts.killed += 1;
                return;
            }
            // Before it listens to signals, it ends as any program does.
            (Some(130), _, Some(Signal::TERM)) | (None, Some(15), Some(Signal::TERM)) => {
                self.counts.terminated += 1;
                return;
            }
            (Some(code @ (0 | 1)), ..) => code,
            _ => self.fail(&format!("it ended with {status}")),
        };
        self.counts.failing += u64::from(code == 1);
        if is_quiet && (code == 0) != self.said.is_empty() {
            self.fail(&format!("--quiet, exit code {code}"));
        }
        let is_undisturbed = !self.site.is_disturbed()
            && failing.iter().all(|it| it.kind.is_slow_only())
            && disturbance.outage.is_none();
        self.judge_code(&truth, code, &failing, is_undisturbed);
        if !is_quiet {
            self.judge_steps(&truth, code, is_undisturbed);
        }
        let is_calm = is_undisturbed && self.hour - self.disturbed >= CALM;
        if is_calm {
            self.judge_failures(&truth);
        }
        self.counts.disturbed += u64::from(!is_undisturbed);
        let steps = Step::all(&self.said);
        if is_undisturbed && !is_quiet && self.random.u8(..12) == 0 {
            self.try_steps(&steps);
        }
    }

    /// Starts the archiver, lets happen to it what is to happen, and waits.
    fn start_and_wait(
        &mut self,
        arguments: &[&str],
        disturbance: Disturbance,
    ) -> std::process::ExitStatus {
        self.minute += 1;
        let now = self.now();
        self.site.server.set_time(now as f64);
        let mut after = self.random.u64(..20);
        // Signals, and what is moved away, come at any time; the rest after so many
        // requests or operations.
        let pause = self.span.mul_f64(self.random.f64() * 1.2);
        let mut outage = disturbance.outage;
        if let Some(within) = outage
            && is_counted(within.kind)
        {
            if within.kind.store() != Store::Ucondb {
                after *= 10;
            }
            self.site.begin(within, after);
            outage = None;
        }
        if disturbance.outage.is_none() {
            after = 0;
        }
        let said = self.site.test.path().join("stderr");
        let lock = self.site.foreign_lock();
        let mut child = self
            .site
            .test
            .command(arguments)
            .envs(self.site.environment(now, after))
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        if lock.is_some() || outage.is_some() || disturbance.signal.is_some() {
            thread::sleep(pause);
        }
        if let Some(outage) = outage {
            self.site.begin(outage, 0);
        }
        if let Some(signal) = disturbance.signal
            && child.try_wait().unwrap().is_none()
        {
            send(&child, signal);
        }
        drop(lock);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                self.said = fs::read_to_string(&said).unwrap();
                self.fail("it hangs");
            }
            thread::sleep(Duration::from_millis(1));
        };
        if disturbance.signal.is_none() && !self.site.is_disturbed() {
            self.span = (self.span * 7 + started.elapsed()) / 8;
        }
        self.said = fs::read_to_string(&said).unwrap();
        status
    }

    /// Nothing is lost, nothing is archived that is no good run, and none is passed.
    fn judge_archives(&self, truth: &Truth) {
        let (before, after) = (truth.before, truth.after);
        let archives = [
            ("artdaqDB", &before.imported, &after.imported),
            ("UconDB", &before.migrated, &after.migrated),
        ];
        for (name, before, after) in archives {
            let lost: Vec<_> = before.difference(after).collect();
            if !lost.is_empty() {
                self.fail(&format!("{name} lost {lost:?}"));
            }
            let wrong: Vec<_> = after.difference(truth.good).collect();
            if !wrong.is_empty() {
                self.fail(&format!("{name} has {wrong:?}, which are no good runs"));
            }
        }
        let passed = truth.passed();
        if !passed.is_empty() {
            self.fail(&format!("last_attempted_run passed {passed:?}"));
        }
    }

    fn judge_code(&self, truth: &Truth, code: i32, failing: &[Outage], is_undisturbed: bool) {
        let news = truth.news();
        let suspected = news.intersection(truth.good).count();
        if suspected > SUSPECTED {
            self.fail(&format!("of {news:?}, {suspected} are good runs"));
        }
        let must_fail = !news.is_empty()
            || !truth.changed().is_empty()
            || (!truth.strays.is_empty() && !self.is_down(Store::Records, failing))
            || failing.iter().any(|it| self.is_in_the_way(it.kind, truth));
        if must_fail && code == 0 {
            self.fail(&format!(
                "exit code 0; failed for the first time, or anew: {news:?}"
            ));
        }
        if !must_fail && code == 1 && is_undisturbed {
            self.fail("exit code 1 without a reason");
        }
    }

    fn is_down(&self, store: Store, failing: &[Outage]) -> bool {
        failing.iter().any(|it| it.kind.store() == store)
    }

    /// Whether an outage that lasted for all of an execution was in its way.
    fn is_in_the_way(&self, kind: Kind, truth: &Truth) -> bool {
        match kind {
            Kind::ArtdaqdbReadOnly | Kind::ArtdaqdbWithoutRights => {
                // Other outages may have been quicker.
                self.site.outages().len() == 1 && !truth.to_import().is_empty()
            }
            Kind::UcondbReadOnly
            | Kind::UcondbFull
            | Kind::UcondbRefusesToStore
            | Kind::UcondbFreezesUploads => {
                self.site.outages().len() == 1 && !truth.to_migrate().is_empty()
            }
            Kind::ArtdaqdbSlow | Kind::UcondbSlow => false,
            _ => true,
        }
    }

    fn judge_steps(&self, truth: &Truth, code: i32, is_undisturbed: bool) {
        let mut steps = Step::all(&self.said);
        if steps.contains(&Step::Nothing) && (!truth.is_all_done() || code != 0 || steps.len() > 1)
        {
            self.fail("it says that there is nothing to do");
        }
        if !is_undisturbed {
            return;
        }
        let mut expected = truth.steps();
        steps.sort();
        expected.sort();
        if steps != expected {
            self.fail(&format!("next steps {steps:?} where {expected:?} are so"));
        }
    }

    /// The failure logs hold only runs that are broken.
    fn judge_failures(&self, truth: &Truth) {
        let broken = self.with_condition(&[Condition::Broken, Condition::Gone]);
        let failed = truth.after.import_failures.keys();
        let wrong: Vec<_> = failed.filter(|run| !broken.contains(run)).collect();
        if !wrong.is_empty() || !truth.after.migrate_failures.is_empty() {
            self.fail(&format!(
                "failure logs: import {wrong:?}, migrate {:?}",
                truth.after.migrate_failures
            ));
        }
    }

    /// Every command that is named takes the runs that it is said to take.
    fn try_steps(&mut self, steps: &[Step]) {
        for step in steps {
            let (flags, done, count) = match step {
                Step::RetryImport(count) => (vec!["--retry-failed-import"], "imported", *count),
                Step::RetryMigrate(count) => (vec!["--retry-failed-migrate"], "migrated", *count),
                Step::Import(count) => (
                    vec!["--incremental"],
                    "imported",
                    // A late arrival beside them may be left.
                    *count.min(&BATCH),
                ),
                Step::Migrate(count) => (vec!["--incremental"], "migrated", *count.min(&BATCH)),
                _ => continue,
            };
            let before = self.said.clone();
            self.dry_run(&flags);
            let runs = planned(&self.said, done);
            let failed = self.books.import_failures.len() + self.books.migrate_failures.len();
            // Failed runs that are due come on top of a batch.
            let may_be_more = flags == ["--incremental"] && failed > 0;
            if runs.len() != count && !(may_be_more && runs.len() > count) {
                self.fail(&format!(
                    "{step:?} takes {runs:?}; it was named here:\n{before}"
                ));
            }
        }
        let decide = steps.iter().find_map(|step| match step {
            Step::Decide(runs) => Some(runs.clone()),
            _ => None,
        });
        if let Some(runs) = decide {
            let list: Vec<String> = runs.iter().map(u64::to_string).collect();
            self.dry_run(&["--runs", &list.join(",")]);
            let planned = planned(&self.said, "imported");
            if planned != runs {
                self.fail(&format!("--runs {list:?} takes {planned:?}"));
            }
        }
    }

    fn dry_run(&mut self, flags: &[&str]) {
        let arguments = [flags, &["--dry-run"]].concat();
        let before = self.site.books();
        let _ = self.start_and_wait(&arguments, Disturbance::default());
        let after = self.site.books();
        if format!("{before:?}") != format!("{after:?}") {
            self.fail("a dry run changed something");
        }
        self.counts.commands += 1;
    }

    /// After a day without disturbance: what is still open comes in within some
    /// executions, and then everything is right.
    fn end_calm_day(&mut self) {
        self.counts.calm_days += 1;
        let good = self.with_condition(&[Condition::Good]);
        let open = good.difference(&self.books.migrated).count();
        for _ in 0..open.div_ceil(BATCH - 1) + 1 {
            self.execute(Disturbance::default());
        }
        for (name, archived) in [
            ("artdaqDB", &self.books.imported),
            ("UconDB", &self.books.migrated),
        ] {
            let missing: Vec<_> = good.difference(archived).collect();
            if !missing.is_empty() {
                self.fail(&format!("{name} lacks {missing:?} after a calm day"));
            }
        }
        self.compare_new_runs(&good);
    }

    /// Compares what was archived since the last time with an undisturbed archive.
    fn compare_new_runs(&mut self, good: &BTreeSet<u64>) {
        let control = Test::in_memory().set("app.batch_size", "0");
        let new: Vec<u64> = good
            .iter()
            .filter(|run| !self.digests.contains_key(run) && !self.changed.contains(run))
            .copied()
            .collect();
        for run in &new {
            self.site.copy_record(*run, &control.records());
        }
        if !new.is_empty() {
            control.run(&[]).exits(0);
        }
        for run in &new {
            let digest = digest_without_times(control.blob(*run).as_bytes());
            self.digests.insert(*run, digest);
        }
        for (key, blob) in self.site.server.blobs(OBJECT) {
            let run = key.parse().unwrap();
            let is_right = self.digests.get(&run) == Some(&digest_without_times(&blob));
            if !is_right && !self.changed.contains(&run) {
                self.fail(&format!("the blob of run {key} is wrong"));
            }
        }
        self.compare_documents(&new);
        for (collection, comparison) in self.site.test.artdaqdb().compare_indexes().unwrap() {
            let unnamed = [&comparison.unnamed[..], &comparison.left_over].concat();
            let unnamed: Vec<String> = unnamed.iter().map(ToString::to_string).collect();
            if !comparison.lost.is_empty() || !unnamed.is_empty() {
                self.fail(&format!(
                    "{collection}: lost {:?}, named by no index {unnamed:?}",
                    comparison.lost
                ));
            }
        }
    }

    /// artdaqDB has each document of these runs once.
    fn compare_documents(&self, runs: &[u64]) {
        let db = self.site.test.artdaqdb();
        for run in runs {
            let stored = db.documents(Run(*run)).unwrap().unwrap();
            let entities: Vec<&str> = stored.entities.keys().map(String::as_str).collect();
            let is_once = stored.entities.values().all(|count| *count == 1);
            let is_once = is_once || self.grown.contains(run);
            let has =
                |entity: &&str| !self.partial.contains(run) || format!("{entity}.fcl") != LATE_FILE;
            let expected: Vec<&str> = ENTITIES.into_iter().filter(has).collect();
            if entities != expected || !is_once || stored.configurations != [format!("{run}/test")]
            {
                self.fail(&format!("artdaqDB has {stored:?} of run {run}"));
            }
        }
    }

    /// The end of the year: all stores work, and everything comes in.
    fn finish(&mut self) {
        for outage in self.site.outages().to_vec() {
            self.site.end(outage.kind);
        }
        let end = self.hour + CALM + 1;
        self.disturbed = self.hour;
        while self.hour < end {
            self.execute(Disturbance::default());
            self.hour += 1;
            self.minute = 0;
        }
        for run in self.changed.clone() {
            self.reimport(run);
        }
        self.end_calm_day();
        self.digests.clear();
        self.compare_new_runs(&self.with_condition(&[Condition::Good]));
    }
}

/// Identifies a blob but for the times in metadata.fcl: those that a run gets later are in
/// RunHistory2 alone.
fn digest_without_times(blob: &[u8]) -> String {
    let lines = blob.split_inclusive(|byte| *byte == b'\n');
    let is_kept = |line: &&[u8]| *line != b"\n" && !line.starts_with(b"daqinterface_");
    let kept: Vec<u8> = lines.filter(is_kept).flatten().copied().collect();
    digest(&kept)
}

/// Lives through a year, or the share of it for which there is time.
fn live_through(seed: u64, days: Option<u64>) {
    let started = Instant::now();
    let schedule = Schedule::draw(&mut Rng::with_seed(seed));
    let mut simulation = Simulation::new(Rng::with_seed(seed ^ 1));
    while simulation.hour < YEAR {
        let is_over = match days {
            Some(days) => simulation.hour >= days * DAY,
            None => simulation.hour >= SHARE * DAY && started.elapsed() > SHARE_TIME,
        };
        if is_over {
            break;
        }
        simulation.live(&schedule);
    }
    let days = simulation.hour / DAY;
    simulation.finish();
    println!(
        "{days} days in {:.0?}: {} runs, {:?}",
        started.elapsed(),
        simulation.conditions.len(),
        simulation.counts
    );
}

#[test]
fn a_run_whose_documents_are_missing_is_migrated_once_they_are_back() {
    let test = Test::new().records_in([1, 2]);
    let execute = |hour: u64| {
        let mut command = test.command(&["--incremental"]);
        command.env("RUN_RECORD_ARCHIVER_NOW", (START + hour * 3600).to_string());
        command.stderr(Stdio::null()).status().unwrap().code()
    };
    let collection = test.path().join("archive/RunHistory");
    // Renames the documents of some runs, from one ending to another.
    let rename = |runs: &[&str], from: &str, to: &str| {
        for entry in fs::read_dir(&collection).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_named = name.ends_with(from) && name.len() == 24 + from.len();
            let text = fs::read_to_string(&path).unwrap();
            let is_of = |run: &&str| text.contains(&format!("\"{run}/test\""));
            if is_named && runs.iter().any(is_of) {
                fs::rename(&path, path.with_extension(to)).unwrap();
            }
        }
    };
    test.run(&["--import-only"]).exits(0);
    test.run(&["--migrate-only", "--runs", "1"]).exits(0);

    // Where others are missing, too, the archive is at fault.
    rename(&["1", "2"], ".json", "away");
    assert_eq!(execute(0), Some(1));
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    rename(&["1"], ".away", "json");
    assert_eq!(execute(1), Some(1));
    assert_eq!(test.failures("migrate_failures.log"), [2]);
    rename(&["2"], ".away", "json");
    // The failure was some moments after the hour.
    assert_eq!(execute(2), Some(0));
    assert_eq!(test.failures("migrate_failures.log"), [0; 0]);
    assert_eq!(test.migrated(), [1, 2]);
}

#[test]
fn a_year_of_hourly_executions_archives_every_good_run_once_and_says_what_is_so() {
    let days = std::env::var("RUN_RECORD_ARCHIVER_DAYS").ok();
    let days = days.map(|days| days.parse().unwrap());
    let seed = seed("year");
    match is_long() {
        true => (seed..seed + 3).for_each(|seed| live_through(seed, Some(365))),
        false => live_through(seed, days),
    }
}
