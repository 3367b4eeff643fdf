//! What the operator is told to do, from the runs that each source has.

use super::text::listed;
use super::{Memory, Status};
use crate::run_set::RunSet;

/// From how many failed runs on the operations manual asks for an investigation.
const HIGH_FAILURE_COUNT: u64 = 50;

/// How many ranges of runs a command names at most.
const RANGES_OF_A_COMMAND: usize = 100;

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
    /// Numbers are too far above the highest archived run.
    HeldBack,
    /// An earlier archiver left runs.
    LeftByEarlier,
    /// Runs were removed from artdaqDB after they were archived.
    Pruned,
    /// Records are others than were archived, or artdaqDB lacks some of them.
    Reimport,
    /// Failed runs have no source any longer.
    FailedWithoutSource,
    /// Runs are in the import failure log.
    RetryImport,
    /// Runs are in the migrate failure log.
    RetryMigrate,
    /// The import state counts runs as done that are not archived.
    RecoverImportState,
    /// The migrate state counts runs as done that are not archived.
    RecoverMigrateState,
    /// Runs that failed and are nowhere archived.
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
    /// The commands that do it.
    pub commands: Vec<String>,
}

impl Recommendation {
    /// The commands that are shown below the sentence: the operations manual shows
    /// none for the stages themselves.
    #[must_use]
    pub fn shown_commands(&self) -> &[String] {
        match self.kind {
            Kind::RunImporter | Kind::RunMigrator => &[],
            _ => &self.commands,
        }
    }
}

impl Status {
    /// What is to be done, the most urgent first.
    #[must_use]
    pub fn recommendations(&self) -> Vec<Recommendation> {
        let mut list = List {
            command: &self.command,
            all: Vec::new(),
        };
        for problem in self.problems() {
            list.all.push(Recommendation {
                kind: Kind::Unreachable,
                runs: RunSet::default(),
                text: format!("WARNING: {problem}"),
                commands: Vec::new(),
            });
        }
        list.add(
            Kind::RunImporter,
            self.to_import(),
            |count, runs| {
                format!(
                    "Run IMPORTER: {count} run(s) on filesystem not in artdaqDB (range: {runs})"
                )
            },
            &["--import-only --incremental"],
        );
        list.add(
            Kind::RunMigrator,
            self.to_migrate(),
            |count, runs| {
                format!("Run MIGRATOR: {count} run(s) in artdaqDB not in UconDB (range: {runs})")
            },
            &["--migrate-only --incremental"],
        );
        for (kind, memory, stage, flag) in [
            (
                Kind::RetryImport,
                &self.import,
                "IMPORTER",
                "--retry-failed-import",
            ),
            (
                Kind::RetryMigrate,
                &self.migrate,
                "MIGRATOR",
                "--retry-failed-migrate",
            ),
        ] {
            retry(&mut list, kind, memory, stage, flag);
        }
        self.undecided(&mut list);
        list.add(
            Kind::Reimport,
            Some(self.records.to_store.clone()),
            |count, runs| {
                format!(
                    "WARNING: {count} archived run(s) whose record is another one by now, or not all \
                     in artdaqDB ({runs}). The first command says what storing it anew would change, \
                     the second does it:"
                )
            },
            &["--reimport RUNS --dry-run", "--reimport RUNS"],
        );
        list.add(
            Kind::AwaitsStopTime,
            self.waiting(),
            |count, runs| {
                format!(
                    "NOTE: {count} run(s) in artdaqDB wait for their stop time before they count \
                     as archived (range: {runs})"
                )
            },
            &[],
        );
        if self.compare {
            self.compare_states(&mut list);
        }
        list.add(
            Kind::FailedInAllStages,
            self.failed_in_all_stages(),
            |count, runs| format!("WARNING: {count} run(s) failed in all stages ({runs})"),
            &[],
        );
        self.oddities(&mut list);
        list.all
    }

    /// Runs that no execution takes until an operator decides.
    fn undecided(&self, list: &mut List) {
        for (memory, stage, place, target) in [
            (&self.import, "import", "on filesystem", ""),
            (&self.migrate, "migrate", "in artdaqDB", "--migrate-only "),
        ] {
            let Some(backlog) = &memory.backlog else {
                continue;
            };
            list.add(
                Kind::FailedWithoutSource,
                Some(backlog.gone.clone()),
                |count, runs| {
                    format!(
                        "WARNING: {count} run(s) of the {stage} failure log are no longer {place} \
                         ({runs}). If they are gone for good:"
                    )
                },
                &["--ignore RUNS --reason TEXT"],
            );
            list.add(
                Kind::HeldBack,
                Some(backlog.held_back.clone()),
                |count, runs| {
                    format!(
                        "WARNING: {count} number(s) are held back, more than 100,000 above the \
                         highest archived run ({runs}). If they are runs, the first command; if \
                         not, the second:"
                    )
                },
                &["--runs RUNS", "--ignore RUNS --reason TEXT"],
            );
            list.add(
                Kind::LeftByEarlier,
                Some(backlog.left.clone()),
                |count, runs| {
                    format!(
                        "NOTE: {count} run(s) {place} were left by an earlier archiver and are \
                         taken only when asked for (range: {runs}):"
                    )
                },
                &[&format!("{target}--runs RUNS")],
            );
            list.add(
                Kind::Pruned,
                Some(backlog.pruned.clone()),
                |count, runs| {
                    format!(
                        "NOTE: {count} run(s) on filesystem were removed from artdaqDB after they \
                         were archived (range: {runs}). To import them again:"
                    )
                },
                &["--runs RUNS"],
            );
        }
    }

    fn compare_states(&self, list: &mut List) {
        for (kind, memory, comparison, stage, archive, flag) in [
            (
                Kind::RecoverImportState,
                &self.import,
                self.import_comparison(),
                "import",
                "artdaqDB",
                "--recover-import-state",
            ),
            (
                Kind::RecoverMigrateState,
                &self.migrate,
                self.migrate_comparison(),
                "migration",
                "UconDB",
                "--recover-migrate-state",
            ),
        ] {
            // An incremental execution takes what came late, and corrects the state.
            let missing = comparison.zip(memory.backlog.as_ref());
            let missing = missing.map(|(found, backlog)| {
                let taken = [&backlog.failed, &backlog.waiting, &backlog.settling]
                    .into_iter()
                    .fold(backlog.new.clone(), |all, runs| all.union(runs));
                found.missing.difference(&taken)
            });
            list.add(
                kind,
                missing,
                |count, runs| {
                    format!(
                        "Run {flag}: the {stage} state counts {count} run(s) as done that are not \
                         in {archive} (range: {runs})"
                    )
                },
                &[flag],
            );
        }
    }

    fn oddities(&self, list: &mut List) {
        list.add(
            Kind::PartialInArtdaqdb,
            Some(self.partial.clone()),
            |count, runs| {
                format!(
                    "WARNING: {count} run(s) in artdaqDB in part only ({runs}): IMPORTER completes \
                     those on filesystem"
                )
            },
            &[],
        );
        let (filesystem, artdaqdb) = (self.filesystem.known(), self.artdaqdb.known());
        let without = |one: Option<&RunSet>, other: Option<&RunSet>| Some(one?.difference(other?));
        list.add(
            Kind::NotOnFilesystem,
            without(artdaqdb, filesystem),
            |count, runs| {
                format!("WARNING: {count} run(s) in artdaqDB but not on filesystem ({runs})")
            },
            &[],
        );
        let pruned = self.import.backlog.as_ref().map(|it| &it.pruned);
        let alone = without(self.ucondb.known(), artdaqdb);
        let alone = alone.map(|runs| runs.difference(pruned.unwrap_or(&RunSet::default())));
        list.add(
            Kind::NotInArtdaqdb,
            alone,
            |count, runs| format!("WARNING: {count} run(s) in UconDB but not in artdaqDB ({runs})"),
            &[],
        );
        for memory in [&self.import, &self.migrate] {
            let many = Some(memory.failed()).filter(|runs| runs.len() > HIGH_FAILURE_COUNT);
            list.add(
                Kind::HighFailureCount,
                many,
                |count, _| {
                    format!(
                        "WARNING: High failure count: {count} run(s) in {}",
                        memory.failure_log.display()
                    )
                },
                &[],
            );
        }
    }
}

/// The runs of a failure log that have a source.
fn retry(list: &mut List, kind: Kind, memory: &Memory, stage: &str, flag: &str) {
    let failed = memory
        .backlog
        .as_ref()
        .map(|backlog| backlog.failed.clone());
    let permanent = memory.failed.iter().filter(|it| it.class() == "permanent");
    let permanent: RunSet = permanent.map(|failure| failure.run).collect();
    list.add(
        kind,
        failed.clone(),
        |count, runs| {
            let failed = failed.unwrap_or_default();
            let by_itself = failed.difference(&permanent).len();
            let others = match (by_itself, count - by_itself) {
                (0, _) => ". They fail until their record is corrected:".to_owned(),
                (_, 0) => ". --incremental tries them again by itself; at once:".to_owned(),
                (_, others) => format!(
                    ". --incremental tries {by_itself} of them again by itself; {others} fail until \
                     their record is corrected:"
                ),
            };
            format!("Run {stage} with {flag}: {count} run(s) are in its failure log (range: {runs}){others}")
        },
        &[flag],
    );
}

struct List<'a> {
    /// The command line without flags.
    command: &'a str,
    all: Vec<Recommendation>,
}

impl List<'_> {
    /// Adds the sentence if there are runs that it is about. `flags` become commands,
    /// with the runs in the place of `RUNS`.
    fn add(
        &mut self,
        kind: Kind,
        runs: Option<RunSet>,
        sentence: impl FnOnce(u64, &str) -> String,
        flags: &[&str],
    ) {
        if let Some(runs) = runs.filter(|runs| !runs.is_empty()) {
            let argument = runs.to_string().replace(' ', "");
            // The command must fit into a terminal; done, the next report has the rest.
            let argument = match argument.match_indices(',').nth(RANGES_OF_A_COMMAND - 1) {
                Some((end, _)) => argument.get(..end).unwrap_or_default().to_owned(),
                None => argument,
            };
            let commands = flags
                .iter()
                .map(|flags| format!("{} {}", self.command, flags.replace("RUNS", &argument)));
            self.all.push(Recommendation {
                kind,
                text: sentence(runs.len(), &listed(&runs)),
                commands: commands.collect(),
                runs,
            });
        }
    }
}
