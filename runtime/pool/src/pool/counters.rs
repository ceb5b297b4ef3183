//! Counts how tasks ended: [`Stats`].

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crate::sync::{Condvar, Mutex};
use mpwasm_types::outcome::{CallbackStatus, Kind, Outcome};

/// Number of tasks of a pool, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted tasks, including invalid ones.
    pub accepted: u64,
    /// Tasks that succeeded.
    pub ok: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Tasks whose callback failed.
    pub callbacks_failed: u64,
    failed: [u64; Kind::ALL.len()],
}

impl Stats {
    /// Returns the number of tasks that ended as `kind`.
    #[must_use]
    pub fn failed(&self, kind: Kind) -> u64 {
        self.failed[kind as usize]
    }

    /// Returns the number of tasks that have an outcome.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ok + self.failed.iter().sum::<u64>()
    }

    /// Returns the number of tasks that have no outcome yet.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.ended())
    }
}

/// The counters that the pool's threads update.
#[derive(Debug, Default)]
pub struct Counters {
    /// Number of accepted tasks that were not sent to the dispatcher, as they are invalid.
    invalid: AtomicU64,
    ok: AtomicU64,
    retried: AtomicU64,
    callbacks_failed: AtomicU64,
    failed: [AtomicU64; Kind::ALL.len()],
    /// Number of [`Progress`](crate::Progress) iterators to be woken on changes.
    subscribers: AtomicUsize,
    /// Number of published changes.
    version: Mutex<u64>,
    changed: Condvar,
}

impl Counters {
    /// Counts an outcome.
    pub fn count(&self, outcome: &Outcome) {
        let counter = match &outcome.result {
            Ok(_) => &self.ok,
            Err(error) => &self.failed[error.kind as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let CallbackStatus::Failed(_) = outcome.callback {
            self.callbacks_failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an accepted task that was not sent to the dispatcher, besides its outcome.
    pub fn count_invalid(&self) {
        self.invalid.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of accepted tasks that were not sent to the dispatcher.
    pub fn invalid(&self) -> u64 {
        self.invalid.load(Ordering::Relaxed)
    }

    /// Counts a retry.
    pub fn count_retry(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Wakes all waiting iterators. Called after each batch of messages.
    pub fn publish(&self) {
        // Either this thread sees the subscriber, or the subscriber sees what was counted.
        fence(Ordering::SeqCst);
        if self.subscribers.load(Ordering::Relaxed) > 0 {
            *self.version.lock() += 1;
            self.changed.notify_all();
        }
    }

    /// Counts one more [`Progress`] iterator. What is counted after this call wakes it.
    ///
    /// [`Progress`]: crate::Progress
    pub fn subscribe(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Counts one iterator less.
    pub fn unsubscribe(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits while `is_unchanged` returns true for the number of published changes, and returns that number.
    pub fn wait_while(&self, is_unchanged: impl Fn(u64) -> bool) -> u64 {
        let version = self.version.lock();
        *self.changed.wait_while(version, |version| is_unchanged(*version))
    }

    /// Returns the counts. The number of accepted tasks is 0 in them.
    pub fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            accepted: 0,
            ok: read(&self.ok),
            retried: read(&self.retried),
            callbacks_failed: read(&self.callbacks_failed),
            failed: self.failed.each_ref().map(read),
        }
    }
}
