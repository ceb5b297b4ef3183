//! What tasks wait for: events, conditions and barriers.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::error::ObjectError;
use super::lock::LockGuard;
use super::reference::{Wait, proxy, unless_timeout};

proxy! {
    /// A flag that tasks wait for, as Python's `multiprocessing.Event`.
    Event, Event, "event"
}

impl Event {
    /// Sets the flag. All tasks that wait for it go on.
    ///
    /// # Errors
    /// If the event can't be used.
    pub fn set(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "set", &())
    }

    /// Clears the flag.
    ///
    /// # Errors
    /// If the event can't be used.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "clear", &())
    }

    /// Returns whether the flag is set.
    ///
    /// # Errors
    /// If the event can't be used.
    pub fn is_set(&self) -> Result<bool, ObjectError> {
        self.reference.call(Self::KIND, "is_set", &(), Wait::Never)
    }

    /// Waits until the flag is set, until the deadline of the call.
    ///
    /// # Errors
    /// If the event can't be used.
    pub fn wait(&self) -> Result<(), ObjectError> {
        self.wait_within(Wait::Forever)
    }

    /// Waits until the flag is set, but at most `timeout`. Returns whether it is set.
    ///
    /// # Errors
    /// If the event can't be used.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        Ok(unless_timeout(self.wait_within(Wait::For(timeout)))?.is_some())
    }

    fn wait_within(&self, wait: Wait) -> Result<(), ObjectError> {
        let done: Result<IgnoredAny, _> = self.reference.call(Self::KIND, "wait", &(), wait);
        done.map(drop)
    }
}

proxy! {
    /// A lock with which tasks wait for a notification, as Python's `multiprocessing.Condition`.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::{Condition, List};
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(changed: Condition, numbers: List<i64>) -> Result<(), Error> {
    /// // Waits until another task has put three numbers into the list, and has called `notify_all`.
    /// let mut guard = changed.acquire()?;
    /// guard.wait_for(|| Ok(numbers.len()? >= 3))?;
    /// # Ok(())
    /// # }
    /// ```
    Condition, Condition, "condition"
}

impl Condition {
    /// Acquires the lock. Waits for it, until the deadline of the call.
    ///
    /// # Errors
    /// [`Deadlock`](super::ObjectErrorKind::Deadlock), if the wait would never end.
    pub fn acquire(&self) -> Result<ConditionGuard<'_>, ObjectError> {
        LockGuard::acquire(&self.reference, Self::KIND, Wait::Forever).map(ConditionGuard)
    }

    /// Acquires the lock. Returns `None` if it is still held after `timeout`.
    ///
    /// # Errors
    /// [`Deadlock`](super::ObjectErrorKind::Deadlock), if the wait would never end.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<ConditionGuard<'_>>, ObjectError> {
        let guard = LockGuard::acquire(&self.reference, Self::KIND, Wait::For(timeout));
        Ok(unless_timeout(guard)?.map(ConditionGuard))
    }
}

/// The right to what a condition's lock protects. Releases the lock when it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct ConditionGuard<'a>(LockGuard<'a>);

impl ConditionGuard<'_> {
    /// Releases the lock, waits for a notification until the deadline of the call, and acquires the lock again.
    ///
    /// Check after it what the task waits for: another task may have been faster.
    ///
    /// # Errors
    /// [`Deadlock`](super::ObjectErrorKind::Deadlock), if the wait for the lock would never end.
    pub fn wait(&mut self) -> Result<(), ObjectError> {
        self.0.wait(Wait::Forever).map(drop)
    }

    /// Waits as [`wait`](Self::wait) does, but at most `timeout`. Returns whether a notification came. The lock is held again in
    /// both cases.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, ObjectError> {
        self.0.wait(Wait::For(timeout))
    }

    /// Waits until `condition` returns true. It is called with the lock held.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of `condition`.
    pub fn wait_for(
        &mut self,
        mut condition: impl FnMut() -> Result<bool, ObjectError>,
    ) -> Result<(), ObjectError> {
        while !condition()? {
            self.wait()?;
        }
        Ok(())
    }

    /// Wakes up to `count` of the tasks that wait. They go on when the lock is free.
    ///
    /// # Errors
    /// If the condition can't be used.
    pub fn notify(&self, count: u32) -> Result<(), ObjectError> {
        self.0.tell("notify", &(count,))
    }

    /// Wakes all tasks that wait. They go on, one after the other, when the lock is free.
    ///
    /// # Errors
    /// If the condition can't be used.
    pub fn notify_all(&self) -> Result<(), ObjectError> {
        self.0.tell("notify_all", &())
    }

    /// Returns whether the holder before ended without releasing the lock.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.0.abandoned()
    }

    /// Releases the lock, and tells whether that worked. Dropping the guard does not tell.
    ///
    /// # Errors
    /// If the lock can't be used any more.
    pub fn release(self) -> Result<(), ObjectError> {
        self.0.release()
    }
}

proxy! {
    /// A point at which tasks wait for each other, as Python's `multiprocessing.Barrier`.
    ///
    /// All go on when as many wait as the barrier has parties. It breaks at once when one of them ends while it waits.
    Barrier, Barrier, "barrier"
}

impl Barrier {
    /// Waits for the other parties, until the deadline of the call. Returns the number of this task among them, from 0: one task gets
    /// each number.
    ///
    /// # Errors
    /// [`Broken`](super::ObjectErrorKind::Broken), if the barrier is or becomes broken.
    pub fn wait(&self) -> Result<u32, ObjectError> {
        self.reference.call(Self::KIND, "wait", &(), Wait::Forever)
    }

    /// Waits as [`wait`](Self::wait) does. Breaks the barrier if the others have not come within `timeout`.
    ///
    /// # Errors
    /// [`Broken`](super::ObjectErrorKind::Broken), if the barrier is or becomes broken; [`Timeout`](super::ObjectErrorKind::Timeout),
    /// if this task broke it.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u32, ObjectError> {
        self.reference.call(Self::KIND, "wait", &(), Wait::For(timeout))
    }

    /// Breaks the barrier: all that wait, and all that come, get an error.
    ///
    /// # Errors
    /// If the barrier can't be used.
    pub fn abort(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "abort", &())
    }

    /// Makes the barrier usable again. All that wait get an error.
    ///
    /// # Errors
    /// If the barrier can't be used.
    pub fn reset(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "reset", &())
    }

    /// Returns how many tasks wait for each other.
    ///
    /// # Errors
    /// If the barrier can't be used.
    pub fn parties(&self) -> Result<u32, ObjectError> {
        self.reference.call(Self::KIND, "parties", &(), Wait::Never)
    }

    /// Returns how many tasks wait now.
    ///
    /// # Errors
    /// If the barrier can't be used.
    pub fn waiting(&self) -> Result<u32, ObjectError> {
        self.reference.call(Self::KIND, "waiting", &(), Wait::Never)
    }

    /// Returns whether the barrier is broken.
    ///
    /// # Errors
    /// If the barrier can't be used.
    pub fn broken(&self) -> Result<bool, ObjectError> {
        self.reference.call(Self::KIND, "broken", &(), Wait::Never)
    }
}
