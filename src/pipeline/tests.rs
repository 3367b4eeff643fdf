//! A stage whose source, archive and database are what a test says they are.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, Once};

use super::*;
use crate::error::{Disposition, Error};
use crate::state::{State, StateStore};

mod books;
mod selected;
mod stores;
mod workers;

/// What the stage was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Process(Run),
    Publish,
    Trial,
}

use Action::{Process, Publish};

/// What becomes of a run at its Nth attempt, counted from 1.
type Processes = Box<dyn Fn(Run, usize) -> Result<Done, Fault> + Send + Sync>;
/// What becomes of publishing for the Nth time, counted from 1.
type Publishes = Box<dyn Fn(usize) -> Result<()> + Send + Sync>;

/// What a trial of a store shows.
type Trials = Box<dyn Fn() -> Trial + Send + Sync>;

/// A stage, where it keeps its books, and how it works.
struct Fake {
    survey: Survey<Run>,
    processes: Processes,
    publishes: Publishes,
    trials: Trials,
    actions: Mutex<Vec<Action>>,
    /// The attempts that observers were told of.
    started: Mutex<Vec<(Run, u32)>>,
    settings: Settings,
    shutdown: Shutdown,
    directory: tempfile::TempDir,
    /// What identifies the sources of runs.
    evidence: BTreeMap<Run, String>,
    /// The runs that are processed and then not made visible.
    refused: BTreeSet<Run>,
}

impl Job for Run {
    fn run(&self) -> Run {
        *self
    }
}

impl Fake {
    /// One worker, two attempts, no limit; every run succeeds.
    fn new(source: &[u64], archived: &[u64]) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("books")).unwrap();
        let (source, archived): (BTreeSet<Run>, BTreeSet<Run>) = (runs(source), runs(archived));
        Fake {
            survey: Survey {
                known: &source | &archived,
                source,
                archived,
                ..Survey::default()
            },
            processes: Box::new(|_, _| Ok(Done::default())),
            publishes: Box::new(|_| Ok(())),
            trials: Box::new(|| Trial::Inconclusive),
            actions: Mutex::default(),
            started: Mutex::default(),
            settings: Settings {
                workers: 1,
                attempts: 2,
                retry_delay: Duration::ZERO,
                batch_size: 0,
                first_run: None,
                settle: Duration::ZERO,
                memory_budget: u64::MAX,
                fuzz: Fuzz::default(),
                dry_run: false,
            },
            shutdown: Shutdown::default(),
            directory,
            evidence: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Has runs fail in a way that can be the store's fault.
    fn process_in_store(
        mut self,
        processes: impl Fn(Run, usize) -> Result<()> + Send + Sync + 'static,
    ) -> Fake {
        self.processes = Box::new(move |run, attempt| {
            let failed = |error| Side::WriteUcondb.fault(error);
            processes(run, attempt)
                .map(|()| Done::default())
                .map_err(failed)
        });
        self
    }

    fn process(
        mut self,
        processes: impl Fn(Run, usize) -> Result<()> + Send + Sync + 'static,
    ) -> Fake {
        self.processes = Box::new(move |run, attempt| match processes(run, attempt) {
            Ok(()) => Ok(Done::default()),
            Err(error) => Err(Fault::of_run(error)),
        });
        self
    }

    fn publish(mut self, publishes: impl Fn(usize) -> Result<()> + Send + Sync + 'static) -> Fake {
        self.publishes = Box::new(publishes);
        self
    }

    /// Refuses to make this run visible.
    fn refuse(mut self, run: u64) -> Fake {
        self.refused.insert(Run(run));
        self
    }

    fn store(&self) -> StateStore {
        store_in(self.directory.path())
    }

    fn state(&self) -> (Option<u64>, Option<u64>) {
        let state = self.store().read("").unwrap();
        (
            state.last_contiguous_run.map(|run| run.0),
            state.last_attempted_run.map(|run| run.0),
        )
    }

    fn journal(&self) -> Journal {
        let work_dir = self.directory.path().to_path_buf();
        let list = work_dir.join("incomplete_runs.json");
        let places = journal::Places {
            import: self.store(),
            migrate: StateStore::new(work_dir.join("m.json"), work_dir.join("m.log")),
            work_dir,
            addresses: journal::Addresses::default(),
        };
        let incomplete = IncompleteRuns::load(&list, Duration::from_secs(3600)).unwrap();
        Journal::open(places, incomplete).unwrap()
    }

    fn run(&self, mode: Mode) -> StageReport {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| log::set_logger(&Capture).unwrap());
        log::set_max_level(log::LevelFilter::Info);
        LINES.with_borrow_mut(Vec::clear);
        let journal = self.journal();
        let context = Context {
            settings: &self.settings,
            journal: &journal,
            observers: Observers(&[&LogLines, self]),
            shutdown: &self.shutdown,
        };
        super::run(self, mode, &context)
    }

    fn actions(&self) -> Vec<Action> {
        self.actions.lock().unwrap().clone()
    }

    /// How often the run was tried.
    fn attempts(&self, run: u64) -> usize {
        self.count(&Process(Run(run)))
    }

    fn count(&self, action: &Action) -> usize {
        let actions = self.actions.lock().unwrap();
        actions.iter().filter(|other| *other == action).count()
    }

    /// Notes an action, and returns how many of its kind there were so far.
    fn note(&self, action: Action) -> usize {
        self.actions.lock().unwrap().push(action.clone());
        self.count(&action)
    }

    /// The lines of the last execution's log that contain the text, less those of
    /// the workers' threads.
    fn log(&self, text: &str) -> Vec<String> {
        LINES.with_borrow(|lines| {
            let found = lines.iter().filter(|line| line.contains(text));
            found.cloned().collect()
        })
    }
}

impl Stage for Fake {
    type Job = Run;

    fn kind(&self) -> StageKind {
        StageKind::Import
    }

    fn destination(&self) -> &str {
        "archive"
    }

    fn survey(&self) -> Result<Survey<Run>> {
        let mut survey = self.survey.clone();
        let open = survey.source.difference(&survey.archived);
        survey.jobs = open.map(|run| (*run, *run)).collect();
        Ok(survey)
    }

    fn process(&self, job: &Run) -> Result<Done, Fault> {
        let attempt = self.note(Process(*job));
        (self.processes)(*job, attempt)
    }

    fn publish(&self) -> Result<Vec<(Run, Fault)>> {
        let time = self.note(Publish);
        (self.publishes)(time)?;
        let refused = self.refused.iter();
        let fault = |run: &Run| (*run, Fault::of_run(permanent()));
        Ok(refused.map(fault).collect())
    }

    fn trial(&self, _: Side, _: &BTreeSet<Run>) -> Trial {
        self.note(Action::Trial);
        (self.trials)()
    }

    fn evidence(&self, run: Run) -> Option<String> {
        Some(self.evidence.get(&run).cloned().unwrap_or_default())
    }
}

impl Observer for Fake {
    fn on(&self, _: StageKind, event: &Event<'_>) {
        if let Event::Started { run, attempt, .. } = event {
            self.started.lock().unwrap().push((*run, *attempt));
        }
    }
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged, by thread.
struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// Why a stage stopped.
#[track_caller]
fn reason_to_stop(report: &StageReport) -> String {
    match &report.ending {
        Ending::Stopped(error) => error.to_string(),
        ending => panic!("{ending:?}"),
    }
}

fn store_in(directory: &Path) -> StateStore {
    StateStore::new(
        directory.join("state.json"),
        directory.join("books/failures.log"),
    )
}

fn runs<T: FromIterator<Run>>(numbers: &[u64]) -> T {
    numbers.iter().copied().map(Run).collect()
}

fn transient() -> Error {
    Error::OnPurpose {
        key: "transient",
        is_permanent: false,
    }
}

fn permanent() -> Error {
    Error::OnPurpose {
        key: "permanent",
        is_permanent: true,
    }
}

fn unreachable() -> Error {
    Error::ucondb("http://server", "no answer", Disposition::StopStage)
}
