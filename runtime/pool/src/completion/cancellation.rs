//! [`CancellationToken`]: cancels a group of tasks, at once or at a deadline.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::completion::timer;
use crate::completion::timer::ScheduledCall;
use crate::sync::{Mutex, MutexGuard};
use mpwasm_types::ids::{DispatchId, PoolId};

/// Cancels a group of tasks: all tasks that were made with it ([`Task::token`](crate::guest::Task::token),
/// [`Results::token`](crate::maps::Results::token)), of any pool.
///
/// Cloning it gives another handle of the same token. A task that is pushed with a cancelled token
/// never runs and ends as `cancelled`. Dropping a token cancels nothing. A deadline set by [`cancel_after`] is dropped with the
/// last handle of the token and the last task that has it.
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

/// What a token needs of a pool.
pub(crate) trait CancelTask: std::fmt::Debug + Send + Sync {
    /// Returns the id of the pool.
    fn id(&self) -> PoolId;

    /// Cancels the task or chunk that was submitted under this id. Does nothing when it has ended.
    fn cancel_dispatched(&self, id: DispatchId);
}

#[derive(Debug, Default)]
struct CancellationGroup {
    state: Mutex<GroupState>,
}

#[derive(Debug, Default)]
struct GroupState {
    is_cancelled: bool,
    /// Pending tasks of the group, by their pool and their id.
    tasks: HashMap<(PoolId, DispatchId), Weak<dyn CancelTask>>,
    scheduled: Option<ScheduledCall>,
}

impl CancellationToken {
    /// Creates a token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all tasks of the group. Tasks that have not started end at once. Running ones are stopped as at their deadline, which
    /// takes about 100 ms at most. Returns at once. A token stays cancelled.
    pub fn cancel(&self) {
        let mut state = self.0.lock();
        state.is_cancelled = true;
        let tasks = std::mem::take(&mut state.tasks);
        let scheduled = state.scheduled.take();
        // Unlocked: a task that ends meanwhile takes the lock.
        drop(state);
        drop(scheduled);
        for ((_, id), pool) in tasks {
            if let Some(pool) = pool.upgrade() {
                pool.cancel_dispatched(id);
            }
        }
    }

    /// Cancels the group after `delay`, which sets a deadline for it. A second call replaces the first. A task ends at
    /// this deadline or at its own timeout, whichever comes first.
    ///
    /// # Panics
    /// When the timer's thread can't be started.
    pub fn cancel_after(&self, delay: Duration) {
        match Instant::now().checked_add(delay) {
            Some(at) => self.cancel_at(at),
            // The clock can't express so late a time: the group has no deadline then.
            None => drop(self.0.lock().scheduled.take()),
        }
    }

    /// Cancels the group at `at`. Otherwise as [`CancellationToken::cancel_after`].
    ///
    /// # Panics
    /// When the timer's thread can't be started.
    pub fn cancel_at(&self, at: Instant) {
        let token = Arc::downgrade(&self.0);
        let cancel = move || {
            if let Some(token) = token.upgrade() {
                Self(token).cancel();
            }
        };
        let scheduled = timer::at(at, cancel).expect("the system can start another thread");
        let before = self.0.lock().scheduled.replace(scheduled);
        drop(before);
    }

    /// Returns whether the token was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().is_cancelled
    }

    /// Adds a task that was accepted and not sent yet. Cancels it if the token was cancelled already.
    pub(crate) fn add_task(&self, pool: &Arc<impl CancelTask + 'static>, id: DispatchId) {
        let mut state = self.0.lock();
        if state.is_cancelled {
            drop(state);
            pool.cancel_dispatched(id);
        } else {
            let pool_id = pool.id();
            let pool = Arc::downgrade(pool) as Weak<dyn CancelTask>;
            state.tasks.insert((pool_id, id), pool);
        }
    }

    /// Removes a task that has ended.
    pub(crate) fn remove_task(&self, pool: &impl CancelTask, id: DispatchId) {
        self.0.lock().tasks.remove(&(pool.id(), id));
    }
}

impl CancellationGroup {
    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock()
    }
}
