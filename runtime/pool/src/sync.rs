//! [`Mutex`] and [`Condvar`] without poisoning.
//!
//! A panic under one of these locks leaves intact state behind. The only code of the user that runs under a lock, a reporter or an
//! iterator of tasks, has no access to the state.
//!
//! They wrap the types of the standard library, which keep no state outside of themselves. `parking_lot` keeps a table of waiting
//! threads for the whole process. A fork that is made while another thread changes that table could wait forever in a pool of its own.

use std::sync::PoisonError;
use std::time::Instant;

pub use std::sync::MutexGuard;

/// A mutual exclusion lock that a panic does not poison.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates an unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the value without locking, as the exclusive reference proves that no other thread has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable for a [`Mutex`].
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Creates a condition variable.
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    #[inline]
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits while `condition` returns true.
    pub fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0
            .wait_while(guard, condition)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `condition` returns true, at most until `until` if that is given. The caller checks the condition again to find
    /// out which of the two ended the wait.
    pub fn wait_while_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        until: Option<Instant>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        let Some(until) = until else {
            return self.wait_while(guard, condition);
        };
        while condition(&mut guard) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.0.wait_timeout(guard, left);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        guard
    }
}
