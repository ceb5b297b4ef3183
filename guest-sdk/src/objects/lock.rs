//! Locks and semaphores.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ObjectError;
use super::reference::{Kind, Reference, Wait, proxy, unless_timeout};

proxy! {
    /// A lock that one task holds at a time, as Python's `multiprocessing.Lock`.
    ///
    /// It is released when its guard is dropped, and however the task that holds it ends: the next holder is then told that it was
    /// [abandoned](LockGuard::abandoned). A wait that could never end, because tasks wait for each other's locks, fails as
    /// [`Deadlock`](super::ObjectErrorKind::Deadlock).
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::{Dict, Lock};
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(lock: Lock, counts: Dict<String, u64>) -> Result<(), Error> {
    /// let guard = lock.acquire()?;
    /// let count = counts.get("a")?.unwrap_or(0);
    /// counts.set("a", &(count + 1))?;
    /// guard.release()?;
    /// # Ok(())
    /// # }
    /// ```
    Lock, Lock, "lock"
}

proxy! {
    /// A lock that its holder may acquire again, as Python's `multiprocessing.RLock`. It is free when all guards are dropped.
    RLock, RLock, "lock"
}

/// Defines what both locks have.
macro_rules! lock {
    ($name:ident) => {
        impl $name {
            /// Acquires the lock. Waits for it, until the deadline of the call.
            ///
            /// # Errors
            /// [`Deadlock`](super::ObjectErrorKind::Deadlock), if the wait would never end.
            pub fn acquire(&self) -> Result<LockGuard<'_>, ObjectError> {
                LockGuard::acquire(&self.reference, Self::KIND, Wait::Forever)
            }

            /// Acquires the lock. Returns `None` if it is still held after `timeout`.
            ///
            /// # Errors
            /// [`Deadlock`](super::ObjectErrorKind::Deadlock), if the wait would never end.
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<LockGuard<'_>>, ObjectError> {
                unless_timeout(LockGuard::acquire(
                    &self.reference,
                    Self::KIND,
                    Wait::For(timeout),
                ))
            }

            /// Acquires the lock if it is free.
            ///
            /// # Errors
            /// If the lock can't be used.
            pub fn try_acquire(&self) -> Result<Option<LockGuard<'_>>, ObjectError> {
                unless_timeout(LockGuard::acquire(&self.reference, Self::KIND, Wait::Never))
            }
        }
    };
}

lock!(Lock);
lock!(RLock);

/// The reply to `acquire`.
#[derive(Deserialize)]
struct Acquired {
    #[serde(default)]
    abandoned: bool,
}

/// The reply to a condition's `wait`: the lock is held again.
#[derive(Deserialize)]
struct Waited {
    notified: bool,
    #[serde(default)]
    abandoned: bool,
}

/// The right to what a lock protects. Releases the lock when it is dropped.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    reference: &'a Reference,
    kind: Kind,
    abandoned: bool,
    released: bool,
}

impl<'a> LockGuard<'a> {
    pub(super) fn acquire(reference: &'a Reference, kind: Kind, wait: Wait) -> Result<Self, ObjectError> {
        let acquired: Acquired = reference.call(kind, "acquire", &(), wait)?;
        Ok(Self {
            reference,
            kind,
            abandoned: acquired.abandoned,
            released: false,
        })
    }

    /// Returns whether the holder before ended without releasing the lock: what it protects may be half changed.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// Releases the lock, and tells whether that worked. Dropping the guard does not tell.
    ///
    /// # Errors
    /// If the lock can't be used any more.
    pub fn release(mut self) -> Result<(), ObjectError> {
        self.released = true;
        self.reference.tell(self.kind, "release", &())
    }

    /// Waits for a notification of the condition. Returns whether one came.
    pub(super) fn wait(&mut self, wait: Wait) -> Result<bool, ObjectError> {
        let waited: Waited = self.reference.call(self.kind, "wait", &(), wait)?;
        self.abandoned = waited.abandoned;
        Ok(waited.notified)
    }

    /// Calls an operation for which the lock must be held.
    pub(super) fn tell(&self, operation: &str, args: &impl Serialize) -> Result<(), ObjectError> {
        self.reference.tell(self.kind, operation, args)
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if !self.released {
            // If that fails, the manager is gone, and with it the lock.
            let _ = self.reference.tell(self.kind, "release", &());
        }
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lock", &self.reference.label())
            .field("abandoned", &self.abandoned)
            .finish()
    }
}

proxy! {
    /// A counter of permits, as Python's `multiprocessing.Semaphore`: as many tasks as it has permits hold it at a time.
    ///
    /// A permit is given back when it is dropped, and however the task that holds it ends.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Semaphore;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(connections: Semaphore) -> Result<(), Error> {
    /// let permit = connections.acquire()?;
    /// // At most as many tasks as there are permits are here.
    /// drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    Semaphore, Semaphore, "semaphore"
}

proxy! {
    /// A semaphore that never has more permits than at its start, as Python's `multiprocessing.BoundedSemaphore`.
    BoundedSemaphore, BoundedSemaphore, "bounded semaphore"
}

/// Defines what both semaphores have.
macro_rules! semaphore {
    ($name:ident, $error:literal) => {
        impl $name {
            /// Acquires a permit. Waits for it, until the deadline of the call.
            ///
            /// # Errors
            /// If the semaphore can't be used.
            pub fn acquire(&self) -> Result<Permit<'_>, ObjectError> {
                Permit::acquire(&self.reference, Self::KIND, Wait::Forever)
            }

            /// Acquires a permit. Returns `None` if there is still none after `timeout`.
            ///
            /// # Errors
            /// If the semaphore can't be used.
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Permit<'_>>, ObjectError> {
                unless_timeout(Permit::acquire(
                    &self.reference,
                    Self::KIND,
                    Wait::For(timeout),
                ))
            }

            /// Acquires a permit if there is one.
            ///
            /// # Errors
            /// If the semaphore can't be used.
            pub fn try_acquire(&self) -> Result<Option<Permit<'_>>, ObjectError> {
                unless_timeout(Permit::acquire(&self.reference, Self::KIND, Wait::Never))
            }

            /// Adds a permit: one that was [kept](Permit::keep), or one more.
            ///
            /// # Errors
            #[doc = $error]
            pub fn release(&self) -> Result<(), ObjectError> {
                self.reference.tell(Self::KIND, "release", &())
            }
        }
    };
}

semaphore!(Semaphore, "If the semaphore can't be used.");
semaphore!(
    BoundedSemaphore,
    "If the semaphore has all its permits, or can't be used."
);

/// A permit of a semaphore, which gets it back when this is dropped.
#[must_use = "the permit is given back when this is dropped"]
pub struct Permit<'a> {
    reference: &'a Reference,
    kind: Kind,
    abandoned: bool,
    kept: bool,
}

impl<'a> Permit<'a> {
    fn acquire(reference: &'a Reference, kind: Kind, wait: Wait) -> Result<Self, ObjectError> {
        let acquired: Acquired = reference.call(kind, "acquire", &(), wait)?;
        Ok(Self {
            reference,
            kind,
            abandoned: acquired.abandoned,
            kept: false,
        })
    }

    /// Returns whether the call that had this permit before ended without giving it back: what the semaphore protects may be half
    /// changed.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// Keeps the permit until the call ends, or gives it back with `release`.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // If that fails, the manager is gone, and with it the semaphore.
            let _ = self.reference.tell(self.kind, "release", &());
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.reference.label()).finish()
    }
}
