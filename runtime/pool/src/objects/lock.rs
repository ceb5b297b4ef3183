//! [`Lock`], [`RLock`], and the guards of everything that can be acquired.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;

use crate::objects::proxy::{NO_ARGS, Proxy, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

typed_proxy! {
    /// A lock, as `multiprocessing.Lock`. Its holder is a thread of this program, or an attempt of a task. However a holder ends, the
    /// lock is released, and the next holder learns that it was [abandoned](LockGuard::abandoned).
    ///
    /// A wait that would close a cycle of holders that wait for each other fails as `Deadlock`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = mpwasm::objects::Manager::start()?;
    /// let lock = manager.lock()?;
    /// {
    ///     let guard = lock.acquire()?;
    ///     if guard.abandoned() {
    ///         // What it protects may be half changed.
    ///     }
    /// } // released here
    /// # Ok(())
    /// # }
    /// ```
    Lock
}

typed_proxy! {
    /// A [`Lock`] that its holder may acquire again, as `multiprocessing.RLock`. It is released with the last guard.
    RLock
}

/// The reply to `acquire`.
#[derive(Deserialize)]
struct AcquireReply {
    abandoned: bool,
}

/// Holds a lock, and releases it when it is dropped. It stays on the thread that acquired it, which is the holder.
#[derive(Debug)]
#[must_use = "it is released at once if the guard is not kept"]
pub struct LockGuard {
    /// `None` once it was released.
    proxy: Option<Proxy>,
    is_abandoned: bool,
    on_this_thread: PhantomData<*const ()>,
}

impl LockGuard {
    /// Acquires the object of `proxy`.
    ///
    /// # Errors
    /// `Timeout`, `Deadlock`, `Unavailable`.
    pub(super) fn acquire(proxy: &Proxy, wait: WaitLimit) -> Result<Self, ObjectError> {
        let AcquireReply { abandoned } = proxy.call("acquire", &NO_ARGS, wait)?;
        Ok(Self {
            proxy: Some(proxy.clone()),
            is_abandoned: abandoned,
            on_this_thread: PhantomData,
        })
    }

    /// Returns whether the holder before ended without a release: by an error, a timeout, a crash. What the lock protects may be half
    /// changed.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Releases it, as dropping the guard does, and reports whether that worked.
    ///
    /// # Errors
    /// `Unavailable` when the manager has ended.
    pub fn release(mut self) -> Result<(), ObjectError> {
        self.proxy.take().map_or(Ok(()), |proxy| release(&proxy))
    }

    /// Returns the object that is held.
    pub(super) fn proxy(&self) -> &Proxy {
        self.proxy
            .as_ref()
            .expect("a guard has its proxy until it is consumed")
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // A manager that has ended holds nothing.
        let _ = self.proxy.take().map(|proxy| release(&proxy));
    }
}

/// Releases what this thread has acquired.
pub(super) fn release(proxy: &Proxy) -> Result<(), ObjectError> {
    proxy.run("release", &NO_ARGS, WaitLimit::Never)
}

/// Defines the operations of what can be acquired.
macro_rules! acquire_operations {
    ($name:ident, $guard:ident) => {
        impl $name {
            /// Acquires it, and waits until that is possible.
            ///
            /// # Errors
            /// `Deadlock` when the wait would close a cycle of holders that wait for each other; `Unavailable`.
            pub fn acquire(&self) -> Result<$guard, ObjectError> {
                $guard::acquire(&self.proxy, WaitLimit::Forever)
            }

            /// Acquires it, and waits at most `timeout`. Returns `None` if that was not possible.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<$guard>, ObjectError> {
                in_time($guard::acquire(&self.proxy, WaitLimit::For(timeout)))
            }

            /// Acquires it if that is possible at once; `None` if not.
            ///
            /// # Errors
            /// `Unavailable`.
            pub fn try_acquire(&self) -> Result<Option<$guard>, ObjectError> {
                in_time($guard::acquire(&self.proxy, WaitLimit::Never))
            }
        }
    };
}

/// Returns `None` for a wait that timed out.
fn in_time<T>(result: Result<T, ObjectError>) -> Result<Option<T>, ObjectError> {
    match result {
        Err(error) if error.kind == ObjectErrorKind::Timeout => Ok(None),
        result => result.map(Some),
    }
}

acquire_operations!(Lock, LockGuard);
acquire_operations!(RLock, LockGuard);

typed_proxy! {
    /// A semaphore, as `multiprocessing.Semaphore`. A count that a task has acquired and not released when it ends is released for
    /// it.
    Semaphore
}

typed_proxy! {
    /// A [`Semaphore`] that can't be released above its initial value, as `multiprocessing.BoundedSemaphore`.
    BoundedSemaphore
}

acquire_operations!(Semaphore, Permit);
acquire_operations!(BoundedSemaphore, Permit);

/// A permit of a semaphore, which is given back when it is dropped. It stays on the thread that acquired it.
#[derive(Debug)]
#[must_use = "it is given back at once if it is not kept"]
pub struct Permit(LockGuard);

impl Permit {
    fn acquire(proxy: &Proxy, wait: WaitLimit) -> Result<Self, ObjectError> {
        LockGuard::acquire(proxy, wait).map(Self)
    }

    /// Gives it back, as dropping it does, and reports whether that worked.
    ///
    /// # Errors
    /// `Unavailable` when the manager has ended.
    pub fn release(self) -> Result<(), ObjectError> {
        self.0.release()
    }

    /// Keeps the permit. A `release` of the semaphore gives it back, or the end of this thread does.
    pub fn keep(mut self) {
        self.0.proxy = None;
    }
}

/// Defines the release of a semaphore by another than its holder.
macro_rules! release_operation {
    ($name:ident) => {
        impl $name {
            /// Adds one to the count, whether or not this thread has acquired it: a semaphore can carry a signal.
            ///
            /// # Errors
            /// `NotOwner` for a bounded semaphore whose count is its initial value; `Unavailable`.
            pub fn release(&self) -> Result<(), ObjectError> {
                release(&self.proxy)
            }
        }
    };
}

release_operation!(Semaphore);
release_operation!(BoundedSemaphore);

typed_proxy! {
    /// A condition variable with its own lock, as `multiprocessing.Condition`.
    Condition
}

impl Condition {
    /// Acquires the condition's lock, and waits until that is possible.
    ///
    /// # Errors
    /// `Deadlock`, `Unavailable`.
    pub fn acquire(&self) -> Result<ConditionGuard, ObjectError> {
        LockGuard::acquire(&self.proxy, WaitLimit::Forever).map(ConditionGuard)
    }

    /// Acquires the condition's lock, and waits at most `timeout`. Returns `None` if that was not possible.
    ///
    /// # Errors
    /// As [`Condition::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<ConditionGuard>, ObjectError> {
        in_time(LockGuard::acquire(&self.proxy, WaitLimit::For(timeout)).map(ConditionGuard))
    }
}

/// The reply to `wait`.
#[derive(Deserialize)]
struct WaitReply {
    notified: bool,
}

/// Holds the lock of a [`Condition`], and releases it when it is dropped.
#[derive(Debug)]
#[must_use = "it is released at once if the guard is not kept"]
pub struct ConditionGuard(LockGuard);

impl ConditionGuard {
    /// Returns whether the holder before ended without a release.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.0.abandoned()
    }

    /// Releases the lock, waits for a notification, and acquires the lock again.
    ///
    /// # Errors
    /// `Deadlock`, `Unavailable`.
    pub fn wait(&self) -> Result<(), ObjectError> {
        self.waited(WaitLimit::Forever).map(drop)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`. Returns whether there was a notification. It holds the lock in both cases.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        self.waited(WaitLimit::For(timeout))
    }

    fn waited(&self, wait: WaitLimit) -> Result<bool, ObjectError> {
        let WaitReply { notified } = self.0.proxy().call("wait", &NO_ARGS, wait)?;
        Ok(notified)
    }

    /// Waits until `condition` returns true, which is called with the lock held.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and those of `condition`.
    pub fn wait_for(
        &self,
        mut condition: impl FnMut() -> Result<bool, ObjectError>,
    ) -> Result<(), ObjectError> {
        while !condition()? {
            self.wait()?;
        }
        Ok(())
    }

    /// Wakes up to `count` waiters.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn notify(&self, count: u32) -> Result<(), ObjectError> {
        self.0.proxy().run("notify", &(count,), WaitLimit::Never)
    }

    /// Wakes all waiters.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn notify_all(&self) -> Result<(), ObjectError> {
        self.0.proxy().run("notify_all", &NO_ARGS, WaitLimit::Never)
    }
}
