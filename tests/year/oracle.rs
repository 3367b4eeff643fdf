//! What an execution must have said and done, worked out from what the test did.

use std::collections::BTreeSet;

use run_record_archiver::run_set::RunSet;

use super::site::Books;

/// What is so at the end of an execution.
pub struct Truth<'a> {
    pub before: &'a Books,
    pub after: &'a Books,
    /// The directories of the record directory whose numbers are runs.
    pub records: &'a BTreeSet<u64>,
    /// Those that can be archived.
    pub good: &'a BTreeSet<u64>,
    /// Numbers that are no runs, and that no operator decided about.
    pub strays: &'a BTreeSet<u64>,
    /// Runs that an operator declared to be impossible to archive.
    pub ignored: &'a BTreeSet<u64>,
}

/// A line that begins with "Next:".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing to do until there are new runs.
    Nothing,
    /// `--retry-failed-import` takes so many runs.
    RetryImport(usize),
    /// `--retry-failed-migrate` takes so many runs.
    RetryMigrate(usize),
    /// `--ignore` is for these.
    Ignore(BTreeSet<u64>),
    /// `--runs` or `--ignore` is for these.
    Decide(BTreeSet<u64>),
    /// `--incremental` takes so many runs, to be imported.
    Import(usize),
    /// `--incremental` takes so many runs, to be migrated.
    Migrate(usize),
    /// `--reimport` is for these.
    Reimport(BTreeSet<u64>),
    /// A store has to be repaired.
    Repair,
    /// Anything else.
    Other(String),
}

impl Step {
    /// Reads the lines of a log.
    pub fn all(log: &str) -> Vec<Step> {
        let lines = log.lines().filter_map(|line| line.split_once("  Next: "));
        lines.map(|(_, text)| Step::read(text)).collect()
    }

    fn read(text: &str) -> Step {
        Step::try_read(text).unwrap_or_else(|| Step::Other(text.to_owned()))
    }

    fn try_read(text: &str) -> Option<Step> {
        if text == "nothing to do until there are new runs" {
            return Some(Step::Nothing);
        }
        if text.starts_with("mount or restore ") || text.starts_with("put right ") {
            return Some(Step::Repair);
        }
        let count = || {
            let (before, _) = text.split_once(" run(s)")?;
            before.rsplit([' ', '(']).next()?.parse().ok()
        };
        let argument = |flag: &str| {
            let (_, after) = text.split_once(flag)?;
            let runs = RunSet::parse(after.split(' ').next()?).ok()?;
            Some(runs.iter().map(|run| run.0).collect())
        };
        if text.contains(" --reimport ") {
            Some(Step::Reimport(argument(" --reimport ")?))
        } else if text.contains(" --retry-failed-import ") {
            Some(Step::RetryImport(count()?))
        } else if text.contains(" --retry-failed-migrate ") {
            Some(Step::RetryMigrate(count()?))
        } else if text.contains(" --runs ") {
            let (runs, ignored) = (argument(" --runs ")?, argument(" --ignore ")?);
            (runs == ignored).then_some(Step::Decide(runs))
        } else if text.contains(" --ignore ") {
            Some(Step::Ignore(argument(" --ignore ")?))
        } else if text.contains(" --incremental ") && text.contains("still to import") {
            Some(Step::Import(count()?))
        } else if text.contains(" --incremental ") && text.contains("still to migrate") {
            Some(Step::Migrate(count()?))
        } else {
            None
        }
    }
}

impl Truth<'_> {
    /// Runs that failed for the first time, or for another reason than before.
    pub fn news(&self) -> BTreeSet<u64> {
        let (before, after) = (self.before, self.after);
        let logs = [
            (&before.import_failures, &after.import_failures),
            (&before.migrate_failures, &after.migrate_failures),
        ];
        let mut news = BTreeSet::new();
        for (before, after) in logs {
            for (run, reason) in after {
                let same = |it: &String| without_digits(it) == without_digits(reason);
                if !before.get(run).is_some_and(same) {
                    news.insert(*run);
                }
            }
        }
        news
    }

    /// Runs whose record was seen for the first time to be another one.
    pub fn changed(&self) -> BTreeSet<u64> {
        let after = self.after.differing.iter();
        let is_new =
            |(run, files): &(&u64, &Vec<String>)| self.before.differing.get(run) != Some(*files);
        after.filter(is_new).map(|(run, _)| *run).collect()
    }

    /// Good runs that were neither archived nor failed before an execution.
    pub fn to_import(&self) -> BTreeSet<u64> {
        let before = self.before;
        let is_open = |run: &&u64| {
            !before.imported.contains(run)
                && !before.import_failures.contains_key(run)
                && !self.ignored.contains(run)
        };
        self.good.iter().filter(is_open).copied().collect()
    }

    /// The runs that UconDB has and that were compared.
    fn migrated(&self) -> BTreeSet<u64> {
        let after = self.after;
        after
            .migrated
            .difference(&after.unverified)
            .copied()
            .collect()
    }

    /// Runs of artdaqDB that were neither migrated nor failed before.
    pub fn to_migrate(&self) -> BTreeSet<u64> {
        let imported = self.after.imported.iter();
        imported
            .filter(|run| {
                !self.before.migrated.contains(run)
                    && !self.before.migrate_failures.contains_key(run)
            })
            .copied()
            .collect()
    }

    /// The steps that an undisturbed execution names at its end.
    pub fn steps(&self) -> Vec<Step> {
        let after = self.after;
        let mut steps = Vec::new();
        let sources = [self.records, &after.imported];
        let archives = [&after.imported, &self.migrated()];
        let logs = [&after.import_failures, &after.migrate_failures];
        for (stage, ((source, archived), log)) in
            sources.into_iter().zip(archives).zip(logs).enumerate()
        {
            let is_import = stage == 0;
            let open = |run: &&u64| {
                !archived.contains(run) && !self.ignored.contains(run) && !self.strays.contains(run)
            };
            let (failed, open): (Vec<u64>, Vec<u64>) = source
                .iter()
                .filter(open)
                .partition(|run| log.contains_key(run));
            if !failed.is_empty() {
                steps.push(match is_import {
                    true => Step::RetryImport(failed.len()),
                    false => Step::RetryMigrate(failed.len()),
                });
            }
            let gone = |run: &&u64| !source.contains(run) && !self.ignored.contains(run);
            let gone: BTreeSet<u64> = log.keys().filter(gone).copied().collect();
            if !gone.is_empty() {
                steps.push(Step::Ignore(gone));
            }
            if is_import && !self.strays.is_empty() {
                steps.push(Step::Decide(self.strays.clone()));
            }
            if !open.is_empty() {
                steps.push(match is_import {
                    true => Step::Import(open.len()),
                    false => Step::Migrate(open.len()),
                });
            }
        }
        let changed = self.changed();
        if !changed.is_empty() {
            steps.push(Step::Reimport(changed));
        }
        if steps.is_empty() {
            steps.push(Step::Nothing);
        }
        steps
    }

    /// Whether nothing is to be done until there are new runs.
    pub fn is_all_done(&self) -> bool {
        let after = self.after;
        let failed = after
            .import_failures
            .keys()
            .chain(after.migrate_failures.keys());
        self.good.is_subset(&after.imported)
            && self.good.is_subset(&self.migrated())
            && self.strays.is_empty()
            && failed.copied().all(|run| self.ignored.contains(&run))
    }

    /// Runs that `last_attempted_run` passed though they were neither archived nor
    /// noted as failed.
    pub fn passed(&self) -> Vec<u64> {
        let (old, new) = (self.before.attempted, self.after.attempted);
        let known = self.records.iter();
        known
            .filter(|run| {
                (old < **run && **run <= new)
                    && !self.after.imported.contains(run)
                    && !self.after.import_failures.contains_key(run)
                    && !self.ignored.contains(run)
            })
            .copied()
            .collect()
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|it| !it.is_ascii_digit()).collect()
}

/// The runs that a dry run says a stage would take.
pub fn planned(log: &str, done: &str) -> BTreeSet<u64> {
    let marker = format!(" run(s) would be {done} in ");
    let Some(line) = log.lines().find(|line| line.contains(&marker)) else {
        return BTreeSet::new();
    };
    let runs = line.rsplit(": ").next().unwrap();
    let runs = RunSet::parse(runs).unwrap_or_else(|problem| panic!("{problem}: {line}"));
    runs.iter().map(|run| run.0).collect()
}
