//! What the operator is told to do, from the runs that each source has.

use super::text::listed;
use super::{Memory, Status};
use crate::run_set::RunSet;

/// From how many failed runs on the operations manual asks for an investigation.
const HIGH_FAILURE_COUNT: u64 = 50;

/// What a recommendation is about. The names are those of the JSON report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something could not be reached or read.
    Unreachable,
    /// Runs wait for the import stage.
    RunImporter,
    /// Runs wait for the migrate stage.
    RunMigrator,
    /// Runs wait for their stop time before they are migrated.
    AwaitsStopTime,
    /// Runs are in the import failure log.
    RetryImport,
    /// Runs are in the migrate failure log.
    RetryMigrate,
    /// The import state counts runs as done that are not archived.
    RecoverImportState,
    /// The migrate state counts runs as done that are not archived.
    RecoverMigrateState,
    /// Numbers that no source has.
    FailedInAllStages,
    /// artdaqDB has runs in part only.
    PartialInArtdaqdb,
    /// artdaqDB has runs without a run record.
    NotOnFilesystem,
    /// UconDB has runs that artdaqDB lacks.
    NotInArtdaqdb,
    /// Many runs are in a failure log.
    HighFailureCount,
}

/// One thing to do or to look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// What it is about.
    pub kind: Kind,
    /// The runs concerned.
    pub runs: RunSet,
    /// The sentence.
    pub text: String,
}

impl Status {
    /// What is to be done, the most urgent first.
    #[must_use]
    pub fn recommendations(&self) -> Vec<Recommendation> {
        let mut list = List::default();
        for problem in self.problems() {
            list.0.push(Recommendation {
                kind: Kind::Unreachable,
                runs: RunSet::default(),
                text: format!("WARNING: {problem}"),
            });
        }
        let (to_import, to_migrate) = (self.to_import(), self.to_migrate());
        list.add(Kind::RunImporter, to_import.clone(), |count, runs| {
            format!("Run IMPORTER: {count} run(s) on filesystem not in artdaqDB (range: {runs})")
        });
        list.add(Kind::RunMigrator, to_migrate.clone(), |count, runs| {
            format!("Run MIGRATOR: {count} run(s) in artdaqDB not in UconDB (range: {runs})")
        });
        let still = |memory: &Memory, waiting: Option<&RunSet>| {
            let failed = memory.failures.as_ref().ok()?;
            Some(failed.intersection(waiting?))
        };
        let failed_imports = still(&self.import, to_import.as_ref());
        list.add(Kind::RetryImport, failed_imports, |count, runs| {
            format!(
                "Run IMPORTER with --retry-failed-import: {count} of them are in its failure log \
                 (range: {runs})"
            )
        });
        let failed_migrations = still(&self.migrate, to_migrate.as_ref());
        list.add(Kind::RetryMigrate, failed_migrations, |count, runs| {
            format!(
                "Run MIGRATOR with --retry-failed-migrate: {count} of them are in its failure log \
                 (range: {runs})"
            )
        });
        list.add(Kind::AwaitsStopTime, self.waiting(), |count, runs| {
            format!(
                "NOTE: {count} run(s) in artdaqDB wait for their stop time before they count as \
                 archived (range: {runs})"
            )
        });
        if self.compare {
            self.compare_states(&mut list);
        }
        list.add(Kind::FailedInAllStages, self.nowhere(), |count, runs| {
            format!("WARNING: {count} run(s) failed in all stages ({runs})")
        });
        self.oddities(&mut list);
        list.0
    }

    fn compare_states(&self, list: &mut List) {
        for (kind, comparison, stage, archive, flag) in [
            (
                Kind::RecoverImportState,
                self.import_comparison(),
                "import",
                "artdaqDB",
                "--recover-import-state",
            ),
            (
                Kind::RecoverMigrateState,
                self.migrate_comparison(),
                "migration",
                "UconDB",
                "--recover-migrate-state",
            ),
        ] {
            list.add(kind, comparison.map(|found| found.missing), |count, runs| {
                format!(
                    "Run {flag}: the {stage} state counts {count} run(s) as done that are not in \
                     {archive} (range: {runs})"
                )
            });
        }
    }

    fn oddities(&self, list: &mut List) {
        let partial = Some(self.partial.clone());
        list.add(Kind::PartialInArtdaqdb, partial, |count, runs| {
            format!(
                "WARNING: {count} run(s) in artdaqDB in part only ({runs}): IMPORTER completes \
                 those on filesystem"
            )
        });
        let (filesystem, artdaqdb) = (self.filesystem.known(), self.artdaqdb.known());
        let without = |one: Option<&RunSet>, other: Option<&RunSet>| Some(one?.difference(other?));
        let gone = without(artdaqdb, filesystem);
        list.add(Kind::NotOnFilesystem, gone, |count, runs| {
            format!("WARNING: {count} run(s) in artdaqDB but not on filesystem ({runs})")
        });
        let alone = without(self.ucondb.known(), artdaqdb);
        list.add(Kind::NotInArtdaqdb, alone, |count, runs| {
            format!("WARNING: {count} run(s) in UconDB but not in artdaqDB ({runs})")
        });
        for memory in [&self.import, &self.migrate] {
            let many = Some(memory.failed()).filter(|runs| runs.len() > HIGH_FAILURE_COUNT);
            list.add(Kind::HighFailureCount, many, |count, _| {
                format!(
                    "WARNING: High failure count: {count} run(s) in {}",
                    memory.failure_log.display()
                )
            });
        }
    }
}

#[derive(Default)]
struct List(Vec<Recommendation>);

impl List {
    /// Adds the sentence if there are runs that it is about.
    fn add(
        &mut self,
        kind: Kind,
        runs: Option<RunSet>,
        sentence: impl FnOnce(u64, &str) -> String,
    ) {
        if let Some(runs) = runs.filter(|runs| !runs.is_empty()) {
            let text = sentence(runs.len(), &listed(&runs));
            self.0.push(Recommendation { kind, runs, text });
        }
    }
}
