//! How long other programs and machines are waited for: up to a limit, and only
//! briefly once the execution is to end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::shutdown::Shutdown;

/// How long others are waited for once the execution is to end. The documentation
/// promises this time.
pub const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// How often a thread that waits for a call looks for the shutdown.
const STEP: Duration = Duration::from_millis(50);

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The limit has passed.
    Limit,
    /// The execution is to end.
    Shutdown {
        /// Whether this is the first waiter to give up: the one to report it.
        is_first: bool,
    },
}

/// Limits the waits of all threads for one thing. Clones share one state: after
/// one wait has ended because of a shutdown, all others end at once. Otherwise each
/// worker would add its own last patience to that of the others.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    shutdown: Shutdown,
    is_spent: Arc<AtomicBool>,
}

impl Patience {
    /// Waits that last at most `limit`, and end early after a `shutdown`.
    #[must_use]
    pub fn new(limit: Duration, shutdown: &Shutdown) -> Patience {
        Patience {
            limit,
            shutdown: shutdown.clone(),
            is_spent: Arc::default(),
        }
    }

    /// How long a wait lasts at most.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What ends the waits early.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Whether a wait that began then is over.
    #[must_use]
    pub fn over(&self, begun: Instant) -> Option<Over> {
        let waited = begun.elapsed();
        if self.shutdown.requested() {
            if waited >= LAST_PATIENCE {
                let is_first = !self.is_spent.swap(true, Ordering::Relaxed);
                return Some(Over::Shutdown { is_first });
            }
            if self.is_spent.load(Ordering::Relaxed) {
                return Some(Over::Shutdown { is_first: false });
            }
        }
        (waited >= self.limit).then_some(Over::Limit)
    }
}

/// Makes a call that cannot be interrupted, such as one of a driver that looks for
/// a server, on a thread of its own, and waits for it no longer than five seconds
/// after a shutdown. The thread then ends with the process.
///
/// # Errors
/// Those of the call; [`Error::Interrupted`] if it was not waited for.
pub fn abandonable<T: Send + 'static>(
    name: &str,
    shutdown: &Shutdown,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, result) = channel();
    thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // The caller may be gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(call)));
        })
        .map_err(|error| Error::io("start", format!("a thread for {name}"), error))?;
    loop {
        match result.recv_timeout(STEP) {
            Ok(Ok(result)) => return result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Unexpected(format!("the thread for {name} is gone")));
            }
            Err(RecvTimeoutError::Timeout) => {
                let since = shutdown.since();
                if since.is_some_and(|since| since.elapsed() >= LAST_PATIENCE) {
                    shutdown.check()?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now()
            .checked_sub(Duration::from_secs(seconds))
            .unwrap()
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let patience = Patience::new(Duration::from_secs(60), &Shutdown::default());
        assert_eq!(patience.over(ago(59)), None);
        assert_eq!(patience.over(ago(60)), Some(Over::Limit));
    }

    #[test]
    fn a_call_is_abandoned_some_time_after_a_shutdown() {
        let shutdown = Shutdown::default();
        assert_eq!(abandonable("test", &shutdown, || Ok(7)).unwrap(), 7);
        shutdown.request("test");
        assert_eq!(abandonable("test", &shutdown, || Ok(8)).unwrap(), 8);
        let begun = Instant::now();
        let hangs = || {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        };
        let error = abandonable("test", &shutdown, hangs).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        assert!(begun.elapsed() < LAST_PATIENCE * 2);
    }

    #[test]
    #[should_panic(expected = "loudly")]
    fn a_panic_of_a_call_is_that_of_the_caller() {
        let _ = abandonable("test", &Shutdown::default(), || -> Result<()> {
            std::panic::panic_any("loudly")
        });
    }

    #[test]
    fn after_a_shutdown_one_waiter_gives_up_for_all() {
        let shutdown = Shutdown::default();
        let patience = Patience::new(Duration::from_secs(60), &shutdown);
        let other = patience.clone();
        shutdown.request("test");
        assert_eq!(patience.over(ago(4)), None);
        assert_eq!(other.over(ago(0)), None);
        assert_eq!(
            patience.over(ago(5)),
            Some(Over::Shutdown { is_first: true })
        );
        assert_eq!(other.over(ago(0)), Some(Over::Shutdown { is_first: false }));
        assert_eq!(other.over(ago(9)), Some(Over::Shutdown { is_first: false }));
    }
}
