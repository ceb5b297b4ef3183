//! [`Event`] and [`Barrier`].

use std::time::Duration;

use crate::objects::proxy::{NO_ARGS, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

typed_proxy! {
    /// A flag that tasks and threads can wait for, as `multiprocessing.Event`.
    Event
}

impl Event {
    /// Sets the flag, and wakes all that wait for it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn set(&self) -> Result<(), ObjectError> {
        self.proxy.run("set", &NO_ARGS, WaitLimit::Never)
    }

    /// Clears the flag.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.proxy.run("clear", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns whether the flag is set.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn is_set(&self) -> Result<bool, ObjectError> {
        self.proxy.call("is_set", &NO_ARGS, WaitLimit::Never)
    }

    /// Waits until the flag is set.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn wait(&self) -> Result<(), ObjectError> {
        self.proxy.run("wait", &NO_ARGS, WaitLimit::Forever)
    }

    /// Waits at most `timeout` until the flag is set. Returns whether it is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        match self.proxy.run("wait", &NO_ARGS, WaitLimit::For(timeout)) {
            Err(error) if error.kind == ObjectErrorKind::Timeout => Ok(false),
            result => result.map(|()| true),
        }
    }
}

typed_proxy! {
    /// A meeting point of a fixed number of parties, as `multiprocessing.Barrier`. A party that ends while it waits breaks it at
    /// once.
    Barrier
}

impl Barrier {
    /// Waits until all parties wait. Returns the index of this one among them, from 0.
    ///
    /// # Errors
    /// `Broken` when the barrier is or becomes broken; `Unavailable`.
    pub fn wait(&self) -> Result<u32, ObjectError> {
        self.proxy.call("wait", &NO_ARGS, WaitLimit::Forever)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`, after which the barrier is broken.
    ///
    /// # Errors
    /// `Broken` or `Timeout`; `Unavailable`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u32, ObjectError> {
        self.proxy.call("wait", &NO_ARGS, WaitLimit::For(timeout))
    }

    /// Breaks the barrier: all that wait and will wait fail as `Broken`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn abort(&self) -> Result<(), ObjectError> {
        self.proxy.run("abort", &NO_ARGS, WaitLimit::Never)
    }

    /// Makes the barrier usable again. Those that wait fail as `Broken`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn reset(&self) -> Result<(), ObjectError> {
        self.proxy.run("reset", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns the number of parties that pass it together.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn parties(&self) -> Result<u32, ObjectError> {
        self.proxy.call("parties", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns the number of parties that wait now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn waiting(&self) -> Result<u32, ObjectError> {
        self.proxy.call("waiting", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns whether it is broken.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn broken(&self) -> Result<bool, ObjectError> {
        self.proxy.call("broken", &NO_ARGS, WaitLimit::Never)
    }
}
