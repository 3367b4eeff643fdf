//! Stopping in good order: signals, the flag that every stage asks, and the
//! banners of the operations manual.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Error, Result};
use crate::faults::fs;
use crate::logging::banner;
use crate::sys::sync;

/// The exit code of an execution that a signal ended.
pub const EXIT_INTERRUPTED: u8 = 130;

/// So many signals, none more than [`WINDOW`] after the one before, end the
/// process at once.
const IMMEDIATE: u32 = 3;
const WINDOW: Duration = Duration::from_secs(2);

/// How long a banner may take: a log on a disk that hangs must not keep the
/// next signal from being heard.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether, and why, the work is to end. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    reason: Mutex<Option<String>>,
    since: OnceLock<Instant>,
    changed: Condvar,
}

impl Shutdown {
    /// Whether the work is to end after the runs in hand. Costs next to nothing.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Why the work is to end, if it is: `User interrupt`.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Since when the work is to end, if it is.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.0.since.get().copied()
    }

    /// Asks for the work to end. The first reason stays.
    pub fn request(&self, reason: &str) {
        self.0.since.get_or_init(Instant::now);
        self.lock().get_or_insert_with(|| reason.to_owned());
        self.0.requested.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }

    /// Asks for the work to end, after a banner that says so: in this order, so
    /// that nothing which the request sets going comes before it in the log.
    pub fn announce(&self, reason: &str, target: &'static str, lines: Vec<String>) {
        say(move || {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            banner(target, Level::Warn, &lines);
        });
        self.request(reason);
    }

    /// Sleeps for `time`, or until the work is to end; returns whether it is.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), time, |reason| reason.is_none());
        waited.is_ok_and(|(reason, _)| reason.is_some()) || self.requested()
    }

    /// An error if the work is to end, for code that stops by returning one.
    ///
    /// # Errors
    /// [`Error::Interrupted`] with the reason.
    pub fn check(&self) -> Result<()> {
        match self.reason() {
            Some(reason) => Err(Error::Interrupted(reason)),
            None => Ok(()),
        }
    }

    /// Makes Ctrl-C, SIGTERM and SIGHUP ask for the end, and three of them within
    /// two seconds of each other end the process at once. A SIGHUP that was ignored
    /// when the process began, as under nohup, stays ignored.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen_to_signals(&self) -> Result<()> {
        let failed = |error| Error::io("install", "signal handlers", error);
        let presses = Arc::new(Mutex::new(Presses::default()));
        let (shutdown, counted) = (self.clone(), Arc::clone(&presses));
        // It hears presses one by one that come back to back. With its `termination`
        // it would not tell which signal came, and hear a SIGHUP that is ignored.
        ctrlc::set_handler(move || {
            let count = sync::lock(&counted).count(Instant::now());
            shutdown.heard(SIGINT, count);
        })
        .map_err(|error| failed(io::Error::other(error)))?;
        let others: &[i32] = match is_ignored(SIGHUP) {
            true => &[SIGTERM],
            false => &[SIGTERM, SIGHUP],
        };
        let mut signals = Signals::new(others).map_err(failed)?;
        let shutdown = self.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let count = sync::lock(&presses).count(Instant::now());
                    shutdown.heard(signal, count);
                }
            })
            .map_err(failed)?;
        Ok(())
    }

    fn heard(&self, signal: i32, count: u32) {
        if count >= IMMEDIATE {
            say(|| {
                banner(
                    module_path!(),
                    Level::Warn,
                    &["IMMEDIATE SHUTDOWN REQUESTED (3x Ctrl-C)"],
                );
            });
            // Without destructors and without waiting for any thread.
            signal_hook::low_level::exit(i32::from(EXIT_INTERRUPTED));
        }
        let (name, reason) = match signal {
            SIGTERM => (
                "SIGTERM",
                "SIGTERM (from the system, a service manager or kill)",
            ),
            SIGHUP => ("SIGHUP", "SIGHUP (the terminal or the connection is gone)"),
            _ => ("Ctrl-C", "User interrupt"),
        };
        if count == 1 {
            self.announce(
                reason,
                module_path!(),
                vec![
                    format!("GRACEFUL SHUTDOWN REQUESTED ({name})"),
                    "Current run will finish processing...".into(),
                    "Press Ctrl-C two more times within 2 seconds for immediate shutdown".into(),
                ],
            );
        } else {
            let more = IMMEDIATE - count;
            say(move || {
                log::warn!(
                    "Ctrl-C pressed {count}/{IMMEDIATE} times - press {more} more for immediate shutdown"
                );
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // The text is whole whoever panicked while holding it.
        sync::lock(&self.0.reason)
    }
}

/// Whether the process was started with a signal ignored.
fn is_ignored(signal: i32) -> bool {
    // From proc(5): a mask in hexadecimal, the lowest bit for signal 1.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Logs the last words of an execution that was asked to end.
pub fn completed(reason: &str) {
    banner(
        module_path!(),
        Level::Warn,
        &[
            "✓ GRACEFUL SHUTDOWN COMPLETED",
            &format!("Reason: {reason}"),
        ],
    );
}

/// Logs from a thread of its own, and waits for it only so long.
fn say(words: impl FnOnce() + Send + 'static) {
    let (done, waiting) = mpsc::channel::<()>();
    let spawned = thread::Builder::new().spawn(move || {
        words();
        drop(done);
    });
    if spawned.is_ok() {
        let _ = waiting.recv_timeout(PATIENCE);
    }
}

/// Counts signals that follow each other closely.
#[derive(Default)]
struct Presses {
    last: Option<Instant>,
    count: u32,
}

impl Presses {
    fn count(&mut self, now: Instant) -> u32 {
        let close = self
            .last
            .is_some_and(|last| now.duration_since(last) <= WINDOW);
        self.count = if close { self.count + 1 } else { 1 };
        self.last = Some(now);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_signals_add_up() {
        let start = Instant::now();
        let mut presses = Presses::default();
        let mut at = |seconds| presses.count(start + Duration::from_secs_f64(seconds));
        assert_eq!([at(0.0), at(1.9), at(3.8)], [1, 2, 3]);
        assert_eq!([at(6.0), at(7.0), at(9.5)], [1, 2, 1]);
    }

    #[test]
    fn the_first_reason_stays_and_clones_share_it() {
        let shutdown = Shutdown::default();
        let clone = shutdown.clone();
        assert!(!clone.requested());
        assert!(clone.check().is_ok());
        shutdown.request("first");
        shutdown.request("second");
        assert!(clone.requested());
        assert_eq!(clone.reason().as_deref(), Some("first"));
        assert_eq!(clone.check().unwrap_err().to_string(), "stopped: first");
    }

    #[test]
    fn waiting_ends_early_when_the_end_is_asked_for() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.wait(Duration::from_millis(5)));
        let start = Instant::now();
        let clone = shutdown.clone();
        let asking = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            clone.request("enough");
        });
        assert!(shutdown.wait(Duration::from_secs(60)));
        assert!(shutdown.wait(Duration::from_secs(60)));
        assert!(start.elapsed() < Duration::from_secs(30));
        asking.join().unwrap();
    }
}
