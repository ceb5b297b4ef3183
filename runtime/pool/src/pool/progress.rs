//! [`Progress`]: waits for changes of a pool's counts.

use std::sync::Arc;

use crate::pool::Pool;
use crate::pool::counters::Stats;
use crate::pool::state::PoolState;

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
        let seen = self.seen;
        let is_unchanged = |version: u64| seen == Some(version) && !self.shared.has_ended();
        self.seen = Some(self.shared.counters.wait_while(is_unchanged));
        // Read before the counts, so that the last item has the final counts.
        self.ended = self.shared.has_ended();
        Some(self.shared.stats())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.counters.unsubscribe();
    }
}

impl Pool {
    /// Returns how many tasks were accepted and how they ended. Reads a few atomics. Counts what this process has read from
    /// the dispatcher: [`Pool::status`] may know of an end or of a retry sooner.
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
        self.shared.counters.subscribe();
        Progress {
            shared: Arc::clone(&self.shared),
            seen: None,
            ended: false,
        }
    }
}
