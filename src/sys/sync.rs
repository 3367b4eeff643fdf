//! Mutexes of values that are whole at any time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose value a panic cannot leave half changed: each change of it is
/// one assignment, or is undone by who reads it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
