//! A stage whose source, archive and database are what a test says they are.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, Once};

use super::*;
use crate::error::Disposition;

mod books;
mod selected;
mod workers;

/// What the stage was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Begin(Vec<Run>),
    Process(Run),
    Publish,
}

use Event::{Begin, Process, Publish};

type Begins = Box<dyn Fn() -> Result<()> + Send + Sync>;
/// What becomes of a run, at its how manieth attempt, counted from 1.
type Processes = Box<dyn Fn(Run, usize) -> Result<()> + Send + Sync>;
/// What becomes of publishing, the how manieth time, counted from 1.
type Publishes = Box<dyn Fn(usize) -> Result<()> + Send + Sync>;

/// A stage, where it keeps its books, and how it works.
struct Fake {
    words: &'static Words,
    survey: Survey,
    begins: Begins,
    processes: Processes,
    publishes: Publishes,
    events: Mutex<Vec<Event>>,
    settings: Settings,
    shutdown: Shutdown,
    directory: tempfile::TempDir,
}

impl Fake {
    /// One worker, two attempts, no limit; every run succeeds.
    fn new(source: &[u64], archived: &[u64]) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("books")).unwrap();
        let (source, archived): (BTreeSet<Run>, BTreeSet<Run>) = (runs(source), runs(archived));
        Fake {
            words: Box::leak(Box::new(Words {
                title: "Import Stage",
                verb: "import",
                done: "imported",
                // Each test's own, by which its part of the log is found.
                target: Box::leak(format!("{}", directory.path().display()).into_boxed_str()),
                retry_flag: "--retry",
                recover_flag: "--recover",
            })),
            survey: Survey {
                known: &source | &archived,
                source,
                archived,
                again: BTreeSet::new(),
            },
            begins: Box::new(|| Ok(())),
            processes: Box::new(|_, _| Ok(())),
            publishes: Box::new(|_| Ok(())),
            events: Mutex::default(),
            settings: Settings {
                workers: 1,
                attempts: 2,
                retry_delay: Duration::ZERO,
                batch_size: 0,
                fuzz: Fuzz::default(),
                dry_run: false,
            },
            shutdown: Shutdown::default(),
            directory,
        }
    }

    fn process(
        mut self,
        processes: impl Fn(Run, usize) -> Result<()> + Send + Sync + 'static,
    ) -> Fake {
        self.processes = Box::new(processes);
        self
    }

    fn publish(mut self, publishes: impl Fn(usize) -> Result<()> + Send + Sync + 'static) -> Fake {
        self.publishes = Box::new(publishes);
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

    fn try_run(&self, mode: Mode) -> Result<Report> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| log::set_logger(&LOG).unwrap());
        log::set_max_level(log::LevelFilter::Info);
        run(self, mode, &self.settings, &self.store(), &self.shutdown)
    }

    fn run(&self, mode: Mode) -> Report {
        self.try_run(mode).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// How often the run was tried.
    fn attempts(&self, run: u64) -> usize {
        self.count(&Process(Run(run)))
    }

    fn count(&self, event: &Event) -> usize {
        let events = self.events.lock().unwrap();
        events.iter().filter(|other| *other == event).count()
    }

    /// Notes an event, and says the how manieth of its kind it is.
    fn note(&self, event: Event) -> usize {
        self.events.lock().unwrap().push(event.clone());
        self.count(&event)
    }

    /// The lines of this stage's log that contain the text.
    fn log(&self, text: &str) -> Vec<String> {
        let lines = LOG.0.lock().unwrap();
        let ours = lines.iter().filter(|line| line.0 == self.words.target);
        ours.map(|line| line.1.clone())
            .filter(|line| line.contains(text))
            .collect()
    }
}

impl Stage for Fake {
    fn words(&self) -> &'static Words {
        self.words
    }

    fn survey(&self) -> Result<Survey> {
        Ok(self.survey.clone())
    }

    fn begin(&self, runs: &[Run]) -> Result<()> {
        self.note(Begin(runs.to_vec()));
        (self.begins)()
    }

    fn process(&self, run: Run) -> Result<()> {
        let attempt = self.note(Process(run));
        (self.processes)(run, attempt)
    }

    fn publish(&self) -> Result<()> {
        let time = self.note(Publish);
        (self.publishes)(time)
    }
}

/// Keeps what is logged, by target.
struct Capture(Mutex<Vec<(String, String)>>);

static LOG: Capture = Capture(Mutex::new(Vec::new()));

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = format!("{} {}", record.level(), record.args());
        self.0
            .lock()
            .unwrap()
            .push((record.target().to_owned(), line));
    }

    fn flush(&self) {}
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
    Error::UconDb {
        location: "http://server".into(),
        problem: "no answer".into(),
        disposition: Disposition::StopStage,
    }
}
