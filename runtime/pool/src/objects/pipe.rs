//! [`Connection`]: an end of a pipe.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::objects::proxy::{NO_ARGS, timed_out_as, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

typed_proxy! {
    /// An end of a pipe, as `multiprocessing.connection.Connection`. [`Manager::pipe`](crate::objects::Manager::pipe) makes two that
    /// are connected.
    ///
    /// Receiving fails as `Closed` once the other end is closed, or the last holder of it is gone, and everything was received.
    Connection<T>
}

impl<T: Serialize> Connection<T> {
    /// Sends a value to the other end.
    ///
    /// # Errors
    /// `Closed` when one of the ends is closed; `WrongType` for the receiving end of a one-way pipe; `TooLarge`, `OutOfMemory`,
    /// `Unavailable`.
    pub fn send(&self, value: &T) -> Result<(), ObjectError> {
        self.proxy.run("send", &(value,), WaitLimit::Forever)
    }
}

impl<T: DeserializeOwned> Connection<T> {
    /// Waits for a value from the other end.
    ///
    /// # Errors
    /// `Closed` at the end of the stream; `WrongType` for the sending end of a one-way pipe; `Unavailable`; `Invalid` when the value
    /// is not a `T`.
    pub fn recv(&self) -> Result<T, ObjectError> {
        self.proxy.call("recv", &NO_ARGS, WaitLimit::Forever)
    }

    /// Waits at most `timeout` for a value from the other end.
    ///
    /// # Errors
    /// `Empty` when there still was none; otherwise as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
        timed_out_as(
            ObjectErrorKind::Empty,
            self.proxy.call("recv", &NO_ARGS, WaitLimit::For(timeout)),
        )
    }
}

impl<T> Connection<T> {
    /// Returns whether there is a value to receive, or the end of the stream.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn poll(&self) -> Result<bool, ObjectError> {
        self.proxy.call("poll", &NO_ARGS, WaitLimit::Never)
    }

    /// Waits at most `timeout` until there is a value to receive, or the end of the stream. Returns whether there is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn poll_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        self.proxy.call("poll", &NO_ARGS, WaitLimit::For(timeout))
    }

    /// Closes this end: the other one receives what was sent, and then the end of the stream.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn close(&self) -> Result<(), ObjectError> {
        self.proxy.run("close", &NO_ARGS, WaitLimit::Never)
    }
}
