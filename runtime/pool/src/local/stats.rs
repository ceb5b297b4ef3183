//! Counts how tasks ended: [`Stats`], and [`Progress`], which waits for changes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::local::state::PoolState;
use crate::pool::Pool;
use mpwasm_types::outcome::{Kind, Outcome};

/// Number of tasks of a pool, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted tasks, including invalid ones.
    pub accepted: u64,
    /// Tasks that succeeded.
    pub ok: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
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
    ok: AtomicU64,
    retried: AtomicU64,
    failed: [AtomicU64; Kind::ALL.len()],
    /// Number of [`Progress`] iterators to be woken on changes.
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
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.changed.notify_all();
        }
    }

    fn read(&self, accepted: u64) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            accepted,
            ok: read(&self.ok),
            retried: read(&self.retried),
            failed: self.failed.each_ref().map(read),
        }
    }
}

/// The progress of a pool, from [`Pool::progress`]: an iterator that waits until something has changed. It ends after the
/// pool.
///
/// A slow consumer gets the latest counts and skips those between. Without a consumer, it costs the pool nothing.
#[derive(Debug)]
pub struct Progress {
    shared: Arc<PoolState>,
    seen: Option<u64>,
    ended: bool,
}

impl Iterator for Progress {
    type Item = Stats;

    fn next(&mut self) -> Option<Stats> {
        if self.ended || !self.shared.owner.is_here() {
            return None;
        }
        let counters = &self.shared.counters;
        let version = counters.version.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen;
        let unchanged = |version: &mut u64| seen == Some(*version) && !self.shared.has_ended();
        let version = counters
            .changed
            .wait_while(version, unchanged)
            .unwrap_or_else(PoisonError::into_inner);
        self.seen = Some(*version);
        // Read before the counts, so that the last item has the final counts.
        self.ended = self.shared.has_ended();
        drop(version);
        Some(self.shared.stats())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PoolState {
    pub(crate) fn stats(&self) -> Stats {
        // Ended tasks are read before accepted ones, so that no more have ended than were accepted.
        let stats = self.counters.read(0);
        Stats {
            accepted: self.ledger.accepted(),
            ..stats
        }
    }

    /// Counts an outcome and passes it to the reporter.
    pub(crate) fn report_outcome(&self, outcome: &Outcome) {
        self.counters.count(outcome);
        self.report(|reporter| reporter.outcome(outcome));
    }
}

impl Pool {
    /// Returns how many tasks were accepted and how they ended. Reads a few atomics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Returns an iterator over the pool's counts: the first item at once, further ones when the counts have changed, the last one
    /// when the pool has ended.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// # let pool = mpwasm::Pool::builder().start()?;
    /// let progress = pool.progress();
    /// std::thread::spawn(move || {
    ///     for stats in progress {
    ///         eprintln!("{} of {} tasks have ended", stats.ended(), stats.accepted);
    ///     }
    /// });
    /// # pool.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.counters.subscribers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Progress {
            shared: Arc::clone(&self.shared),
            seen: None,
            ended: false,
        }
    }
}
