//! How long other programs and machines are waited for: up to a limit, and only
//! briefly once the execution is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::shutdown::Shutdown;

/// How long others are waited for once the execution is to end. The documentation
/// promises this time.
pub const LAST_PATIENCE: Duration = Duration::from_secs(5);

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
