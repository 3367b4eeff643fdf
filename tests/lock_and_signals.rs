//! The lock and the signals, between real processes: the tests start this
//! test binary again as an execution that works until it is asked to end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::support::{test_name, with_default_signals};
use log::LevelFilter;
use run_record_archiver::error::Error;
use run_record_archiver::lock::LockGuard;
use run_record_archiver::logging::{self, Options, rotate::Limits};
use run_record_archiver::shutdown::{self, EXIT_INTERRUPTED, Shutdown};
use rustix::process::{Pid, Signal, kill_process};

/// An execution in miniature: lock, signals, work, end.
fn work(lock_file: &Path) -> ExitCode {
    logging::start(Options {
        level: LevelFilter::Info,
        quiet: false,
        file: None,
        limits: Limits::default(),
    })
    .unwrap();
    let shutdown = Shutdown::default();
    shutdown.listen_to_signals().unwrap();
    let mut lock = match LockGuard::acquire(lock_file) {
        Ok(lock) => lock,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::from(1);
        }
    };
    lock.monitor(&shutdown).unwrap();
    log::info!(target: "run_record_archiver", "working");
    if !shutdown.wait(Duration::from_secs(60)) {
        return ExitCode::SUCCESS;
    }
    // The run in hand takes its time.
    std::thread::sleep(Duration::from_millis(
        std::env::var("RUN_TAKES").unwrap().parse().unwrap(),
    ));
    shutdown::completed(&shutdown.reason().unwrap());
    drop(lock);
    ExitCode::from(EXIT_INTERRUPTED)
}

/// Such an execution in a process of its own.
struct Execution {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Execution {
    fn start(lock_file: &Path, run_takes: Duration) -> Execution {
        let program = Command::new(std::env::current_exe().unwrap());
        Execution::start_as(with_default_signals(&program), lock_file, run_takes)
    }

    fn start_as(mut program: Command, lock_file: &Path, run_takes: Duration) -> Execution {
        let mut child = program
            .args([
                "--exact",
                &test_name(
                    module_path!(),
                    "a_second_execution_is_refused_and_told_by_whom",
                ),
                "--nocapture",
            ])
            .env("LOCK_FILE", lock_file)
            .env("RUN_TAKES", run_takes.as_millis().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Execution { child, stderr }
    }

    /// Reads stderr up to a line that contains `part`; all messages up to it.
    fn until(&mut self, part: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            let mut line = String::new();
            let count = self.stderr.read_line(&mut line).unwrap();
            assert_ne!(count, 0, "stderr ended before `{part}`: {messages:#?}");
            let message = line.trim_end().splitn(4, " - ").last().unwrap();
            messages.push(message.to_owned());
            if message.contains(part) {
                return messages;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until no signal is pending: the system makes one of two that it delivers
    /// at once.
    fn wait_for_delivery(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        let is_pending = || {
            let status = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = status.lines();
            lines.any(|line| {
                let mask = line.strip_prefix("SigPnd:");
                let mask = mask.or_else(|| line.strip_prefix("ShdPnd:"));
                mask.is_some_and(|mask| mask.trim().bytes().any(|digit| digit != b'0'))
            })
        };
        while is_pending() {
            std::thread::yield_now();
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Execution {
    /// None outlives its test.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct LockFile(PathBuf);

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn lock_file() -> LockFile {
    LockFile(tempfile::tempdir().unwrap().keep().join(".archiver.lock"))
}

/// What a process started by [`Execution::start`] does instead of its test, as
/// main does it: the exit code after every destructor.
fn be_the_execution(lock_file: &Path) -> ! {
    let code = work(lock_file);
    std::process::exit(if code == ExitCode::SUCCESS {
        0
    } else if code == ExitCode::from(1) {
        1
    } else {
        EXIT_INTERRUPTED.into()
    });
}

#[test]
fn a_second_execution_is_refused_and_told_by_whom() {
    if let Some(path) = std::env::var_os("LOCK_FILE") {
        be_the_execution(Path::new(&path));
    }
    let file = lock_file();
    let mut first = Execution::start(&file.0, Duration::ZERO);
    first.until("working");
    let pid = first.child.id();
    assert_eq!(fs::read_to_string(&file.0).unwrap(), format!("{pid}\n"));

    let mut second = Execution::start(&file.0, Duration::ZERO);
    let message = second.until("holds the lock").pop().unwrap();
    for part in [
        "Another process may be running",
        &format!("process {pid} holds the lock since 20"),
        &format!("kill -SIGINT {pid}"),
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(second.exit_code(), Some(1));
    // The refused one has not touched the file.
    assert_eq!(fs::read_to_string(&file.0).unwrap(), format!("{pid}\n"));
    first.signal(Signal::INT);
    assert_eq!(first.exit_code(), Some(130));
}

#[test]
fn ctrl_c_finishes_the_run_and_removes_the_lock() {
    let file = lock_file();
    let mut execution = Execution::start(&file.0, Duration::from_millis(50));
    execution.until("working");
    execution.signal(Signal::INT);
    let messages = execution.until("Reason: ");
    let rule = logging::RULE;
    assert_eq!(
        messages,
        [
            rule,
            "GRACEFUL SHUTDOWN REQUESTED (Ctrl-C)",
            "Current run will finish processing...",
            "Press Ctrl-C two more times within 2 seconds for immediate shutdown",
            rule,
            rule,
            "✓ GRACEFUL SHUTDOWN COMPLETED",
            "Reason: User interrupt",
        ]
    );
    assert_eq!(execution.exit_code(), Some(130));
    assert!(!file.0.exists());
}

#[test]
fn sigterm_says_so() {
    let file = lock_file();
    let mut execution = Execution::start(&file.0, Duration::from_millis(50));
    execution.until("working");
    execution.signal(Signal::TERM);
    execution.until("GRACEFUL SHUTDOWN REQUESTED (SIGTERM)");
    let reason = execution.until("Reason: ").pop().unwrap();
    assert!(reason.contains("SIGTERM"), "{reason}");
    assert_eq!(execution.exit_code(), Some(130));
}

#[test]
fn sighup_is_as_good_as_sigterm() {
    let file = lock_file();
    let mut execution = Execution::start(&file.0, Duration::from_millis(50));
    execution.until("working");
    execution.signal(Signal::HUP);
    execution.until("GRACEFUL SHUTDOWN REQUESTED (SIGHUP)");
    let reason = execution.until("Reason: ").pop().unwrap();
    assert!(reason.contains("SIGHUP"), "{reason}");
    assert_eq!(execution.exit_code(), Some(130));
    assert!(!file.0.exists());
}

#[test]
fn a_sighup_that_nohup_ignores_stays_ignored() {
    let file = lock_file();
    let mut program = Command::new("nohup");
    program.arg(std::env::current_exe().unwrap());
    let mut execution = Execution::start_as(program, &file.0, Duration::from_millis(50));
    execution.until("working");
    for _ in 0..3 {
        execution.signal(Signal::HUP);
    }
    std::thread::sleep(Duration::from_millis(200));
    execution.signal(Signal::TERM);
    let messages = execution.until("Reason: ");
    let heard = |it: &&String| it.contains("SIGHUP");
    assert_eq!(messages.iter().find(heard), None);
    assert_eq!(execution.exit_code(), Some(130));
}

#[test]
fn three_presses_back_to_back_end_at_once() {
    let file = lock_file();
    let mut execution = Execution::start(&file.0, Duration::from_secs(60));
    execution.until("working");
    let start = Instant::now();
    for _ in 0..3 {
        execution.signal(Signal::INT);
        execution.wait_for_delivery();
    }
    execution.until("IMMEDIATE SHUTDOWN REQUESTED (3x Ctrl-C)");
    assert_eq!(execution.exit_code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn three_times_ctrl_c_ends_at_once() {
    let file = lock_file();
    let mut execution = Execution::start(&file.0, Duration::from_secs(60));
    execution.until("working");
    let start = Instant::now();
    execution.signal(Signal::INT);
    execution.until("Press Ctrl-C two more times");
    execution.signal(Signal::INT);
    execution.until("Ctrl-C pressed 2/3 times - press 1 more for immediate shutdown");
    execution.signal(Signal::INT);
    execution.until("IMMEDIATE SHUTDOWN REQUESTED (3x Ctrl-C)");
    assert_eq!(execution.exit_code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(30));
    // The file is left, and the next execution takes it over.
    assert!(file.0.exists());
    drop(LockGuard::acquire(&file.0).unwrap());
}

#[test]
fn removing_or_replacing_the_lock_file_asks_for_the_end() {
    for replace in [false, true] {
        let file = lock_file();
        let mut execution = Execution::start(&file.0, Duration::ZERO);
        execution.until("working");
        fs::remove_file(&file.0).unwrap();
        if replace {
            fs::write(&file.0, "1\n").unwrap();
        }
        let messages = execution.until("Process will finish current run and then exit");
        assert_eq!(
            messages[messages.len() - 3..messages.len() - 1],
            [
                "LOCK FILE REMOVED - INITIATING GRACEFUL SHUTDOWN".to_owned(),
                format!("Lock file: {}", file.0.display()),
            ]
        );
        execution.until("Reason: Lock file removed");
        assert_eq!(execution.exit_code(), Some(130));
        // A file that is not ours any more stays.
        assert_eq!(file.0.exists(), replace);
    }
}

#[test]
fn the_file_of_a_dead_process_is_taken_over() {
    let file = lock_file();
    let mut dead = Execution::start(&file.0, Duration::ZERO);
    dead.until("working");
    dead.signal(Signal::KILL);
    assert_eq!(dead.exit_code(), None);
    assert!(file.0.exists());
    let guard = LockGuard::acquire(&file.0).unwrap();
    let own = format!("{}\n", std::process::id());
    assert_eq!(fs::read_to_string(&file.0).unwrap(), own);
    drop(guard);
    assert!(!file.0.exists());
}

#[test]
fn the_lock_goes_with_a_panic_too() {
    let file = lock_file();
    let path = file.0.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = LockGuard::acquire(&path).unwrap();
        assert!(!path.exists(), "on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!file.0.exists());
}

/// Threads that take and release the lock as fast as they can: never two at once.
#[test]
fn one_holder_at_a_time() {
    let file = lock_file();
    let inside = std::sync::atomic::AtomicU32::new(0);
    let taken = std::sync::atomic::AtomicU32::new(0);
    let relaxed = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    match LockGuard::acquire(&file.0) {
                        Ok(guard) => {
                            assert_eq!(inside.fetch_add(1, relaxed), 0);
                            taken.fetch_add(1, relaxed);
                            std::thread::yield_now();
                            inside.fetch_sub(1, relaxed);
                            drop(guard);
                        }
                        Err(Error::Locked { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() > 0);
}

#[test]
fn the_work_directory_is_made_but_not_the_one_above() {
    let top = tempfile::tempdir().unwrap();
    let work = top.path().join("work");
    let guard = LockGuard::acquire(&work.join(".archiver.lock")).unwrap();
    let mode = fs::metadata(&work).unwrap().permissions().mode();
    assert_eq!(mode & 0o027, 0);
    drop(guard);
    let missing = top.path().join("no/such/.archiver.lock");
    let message = LockGuard::acquire(&missing).unwrap_err().to_string();
    assert!(message.contains("correct `app.work_dir`"), "{message}");
    assert!(!top.path().join("no").exists());
}
