//! Work that nobody waits for longer than it is worth: messages to other
//! machines at the end of an execution.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::shutdown::Shutdown;

/// How much longer is waited once the execution is asked to end.
const GRACE: Duration = Duration::from_secs(3);

/// How often it is looked whether it is.
const STEP: Duration = Duration::from_millis(50);

/// Work under way on a thread of its own.
#[derive(Debug)]
pub struct Pending<T> {
    result: Receiver<T>,
    until: Instant,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The time was up.
    Late,
    /// The execution was asked to end.
    Shutdown,
    /// The work panicked, or its thread could not be started.
    Broken,
}

/// Starts work that may take so long. Even what the system lets nobody
/// interrupt, such as looking up a name, then keeps no one: at the end of the
/// process its thread ends too.
pub fn start<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    let (sender, result) = channel();
    let spawned = thread::Builder::new().name(name.into()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    if let Err(error) = spawned {
        log::warn!("cannot start a thread for {name}: {error}");
    }
    Pending {
        result,
        until: Instant::now() + limit,
    }
}

impl<T> Pending<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait(self, shutdown: &Shutdown) -> Result<T, Overdue> {
        let mut until = self.until;
        let mut reason = Overdue::Late;
        loop {
            if reason == Overdue::Late && shutdown.requested() {
                let short = Instant::now() + GRACE;
                if short < until {
                    (until, reason) = (short, Overdue::Shutdown);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.result.recv_timeout(left.min(STEP)) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Overdue::Broken),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(reason),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping(seconds: f64, limit: f64, shutdown: &Shutdown) -> Result<u8, Overdue> {
        let work = move || {
            thread::sleep(Duration::from_secs_f64(seconds));
            7
        };
        start("test", Duration::from_secs_f64(limit), work).wait(shutdown)
    }

    #[test]
    fn waits_as_long_as_it_may() {
        let shutdown = Shutdown::default();
        assert_eq!(sleeping(0.0, 30.0, &shutdown), Ok(7));
        let begun = Instant::now();
        assert_eq!(sleeping(30.0, 0.1, &shutdown), Err(Overdue::Late));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_panic_is_not_waited_for() {
        let pending = start("test", Duration::from_secs(30), || -> u8 {
            std::panic::resume_unwind(Box::new("quietly"))
        });
        assert_eq!(pending.wait(&Shutdown::default()), Err(Overdue::Broken));
    }

    #[test]
    fn a_shutdown_leaves_a_little_time() {
        let shutdown = Shutdown::default();
        shutdown.request("test");
        assert_eq!(sleeping(0.1, 30.0, &shutdown), Ok(7));
        let begun = Instant::now();
        assert_eq!(sleeping(60.0, 30.0, &shutdown), Err(Overdue::Shutdown));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
