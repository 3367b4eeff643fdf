//! How much of the runs may be in memory at once, counted in bytes of their documents:
//! sixteen workers with large runs would take more than a machine has.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a worker that waits looks whether the stage ends.
const POLL: Duration = Duration::from_millis(50);

/// The bytes that the workers of a stage share.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: Mutex<u64>,
    changed: Condvar,
    /// Held by the worker that waits, so that the others are let in behind it, and a
    /// large run does not wait for ever.
    door: Mutex<()>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// So many bytes.
    pub(super) fn new(limit: u64) -> Budget {
        Budget {
            limit,
            used: Mutex::new(0),
            changed: Condvar::new(),
            door: Mutex::new(()),
        }
    }

    /// Waits for so many bytes; for all of them, if that is more. `None` once the stage
    /// is over.
    pub(super) fn take(&self, bytes: u64, is_over: impl Fn() -> bool) -> Option<Share<'_>> {
        let bytes = bytes.min(self.limit);
        let _first = lock(&self.door);
        let mut used = lock(&self.used);
        while self.limit - *used < bytes {
            if is_over() {
                return None;
            }
            let waited = self.changed.wait_timeout(used, POLL);
            (used, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Some(Share {
            budget: self,
            bytes,
        })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *lock(&self.budget.used) -= self.bytes;
        self.budget.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A number is whole whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn no_more_than_the_budget_is_taken_and_more_than_it_is_alone() {
        let budget = Budget::new(100);
        let (at_once, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for worker in 0..8 {
                let (budget, at_once, most) = (&budget, &at_once, &most);
                scope.spawn(move || {
                    for round in 0..50 {
                        let bytes = [0, 10, 60, 100, 1000][(worker + round) % 5];
                        let share = budget.take(bytes, || false).unwrap();
                        let counted = bytes.min(100);
                        let now = at_once.fetch_add(counted, Ordering::SeqCst) + counted;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        at_once.fetch_sub(counted, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 100);
    }

    #[test]
    fn a_worker_that_waits_ends_with_the_stage() {
        let budget = Budget::new(100);
        let first = budget.take(70, || false).unwrap();
        assert!(budget.take(40, || true).is_none());
        drop(first);
        assert!(budget.take(40, || true).is_some());
    }
}
