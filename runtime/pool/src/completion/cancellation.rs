//! Cancelling groups of tasks: by a word, or at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::completion::timer;
use crate::completion::timer::ScheduledCall;
use crate::local::state::PoolState;

/// Ends a group of tasks as `cancelled`: all those that were made with it ([`Task::token`](crate::guest::Task::token),
/// [`Results::token`](crate::maps::Results::token)), of any pool.
///
/// Cloning it gives another handle of the same token. A task that is pushed with a token that is cancelled already never
/// runs: it has its outcome, as `cancelled`. Dropping a token cancels nothing; what [`cancel_after`] began is called off
/// when no handle of it is left, and no task that has it.
///
/// [`cancel_after`]: CancellationToken::cancel_after
///
/// ```no_run
/// use std::time::Duration;
/// use mpwasm::CancellationToken;
///
/// # fn f(pool: &mpwasm::Pool, guest: &mpwasm::Guest) -> Result<(), mpwasm::Error> {
/// let token = CancellationToken::new();
/// token.cancel_after(Duration::from_secs(10)); // a deadline for the whole group
/// for number in 0..100 {
///     pool.push(guest.task([number]).token(&token).timeout(Duration::from_secs(1)))?;
/// }
/// token.cancel(); // or now
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<CancellationGroup>);

#[derive(Debug, Default)]
struct CancellationGroup {
    state: Mutex<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    is_cancelled: bool,
    /// The tasks that have it and have not ended: by the numbers of their pools, and their ids.
    tasks: HashMap<(u64, u64), Weak<PoolState>>,
    scheduled: Option<ScheduledCall>,
}

impl CancellationToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all tasks that have it as `cancelled`: at once those that have not started, through the timeout ladder those
    /// that run, within 100 ms. Returns at once. A token stays cancelled.
    pub fn cancel(&self) {
        let mut state = self.0.lock();
        state.is_cancelled = true;
        let tasks = std::mem::take(&mut state.tasks);
        let scheduled = state.scheduled.take();
        // Without the lock: a task that ends meanwhile takes it.
        drop(state);
        drop(scheduled);
        for ((_, id), pool) in tasks {
            if let Some(pool) = pool.upgrade() {
                pool.cancel_dispatched(id);
            }
        }
    }

    /// As [`CancellationToken::cancel`], so much scheduled: a deadline for the group. A second call takes the place of the
    /// first. A task ends by whatever comes first, this or its own timeout.
    ///
    /// # Panics
    /// When the system has no thread to give.
    pub fn cancel_after(&self, delay: Duration) {
        match Instant::now().checked_add(delay) {
            Some(at) => self.cancel_at(at),
            // Beyond what the clock can express.
            None => drop(self.0.lock().scheduled.take()),
        }
    }

    /// As [`CancellationToken::cancel_after`], with the time itself.
    ///
    /// # Panics
    /// When the system has no thread to give.
    pub fn cancel_at(&self, at: Instant) {
        let token = Arc::downgrade(&self.0);
        let cancel = move || {
            if let Some(token) = token.upgrade() {
                Self(token).cancel();
            }
        };
        let scheduled = timer::at(at, cancel).expect("the system has a thread to give");
        let before = self.0.lock().scheduled.replace(scheduled);
        drop(before);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().is_cancelled
    }

    /// The task was accepted with this token, and has not been sent yet.
    pub(crate) fn add_task(&self, pool: &Arc<PoolState>, id: u64) {
        let mut state = self.0.lock();
        if state.is_cancelled {
            drop(state);
            pool.cancel_dispatched(id);
        } else {
            state.tasks.insert((pool.number, id), Arc::downgrade(pool));
        }
    }

    /// The task has ended.
    pub(crate) fn remove_task(&self, pool: &PoolState, id: u64) {
        self.0.lock().tasks.remove(&(pool.number, id));
    }
}

impl CancellationGroup {
    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
