//! Ends of pipes.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ObjectError, ObjectErrorKind};
use super::queue::until_closed;
use super::reference::{Wait, proxy, still};

proxy! {
    /// An end of a pipe, as a connection of Python's `multiprocessing.Pipe`. It sends values of type `T` to the other end, and
    /// receives values of type `R` from there.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Connection;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(parent: Connection<u64, String>) -> Result<(), Error> {
    /// // Answers each text with its length, until the other end is closed.
    /// for text in parent.iter() {
    ///     parent.send(&(text?.len() as u64))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Connection<T, R = T>, Pipe, "end of a pipe"
}

impl<T: Serialize, R> Connection<T, R> {
    /// Sends a value. Waits while the pipe is full, until the deadline of the call.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the other end is closed; [`WrongType`](ObjectErrorKind::WrongType), if this is the end
    /// of a one-way pipe that receives.
    pub fn send(&self, value: &T) -> Result<(), ObjectError> {
        self.reference.call(Self::KIND, "send", &(value,), Wait::Forever)
    }
}

impl<T, R: DeserializeOwned> Connection<T, R> {
    /// Receives a value. Waits for it, until the deadline of the call.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the other end is closed and everything was received: what Python calls `EOFError`.
    pub fn recv(&self) -> Result<R, ObjectError> {
        self.reference.call(Self::KIND, "recv", &(), Wait::Forever)
    }

    /// Receives a value. Waits for it at most `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); [`Empty`](ObjectErrorKind::Empty), if none has come.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, ObjectError> {
        let received = self.reference.call(Self::KIND, "recv", &(), Wait::For(timeout));
        still(received, ObjectErrorKind::Empty, "empty")
    }

    /// Returns an iterator that receives values until the other end is closed. It waits for each, until the deadline of the call, and
    /// ends after an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<R, ObjectError>> {
        until_closed(|| self.recv())
    }
}

impl<T, R> Connection<T, R> {
    /// Returns whether there is something to receive: a value, or the end.
    ///
    /// # Errors
    /// If the pipe can't be used.
    pub fn poll(&self) -> Result<bool, ObjectError> {
        self.poll_within(Wait::Never)
    }

    /// Waits at most `timeout` until there is something to receive: a value, or the end. Returns whether there is.
    ///
    /// # Errors
    /// If the pipe can't be used.
    pub fn poll_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        self.poll_within(Wait::For(timeout))
    }

    fn poll_within(&self, wait: Wait) -> Result<bool, ObjectError> {
        self.reference.call(Self::KIND, "poll", &(), wait)
    }

    /// Closes this end. The other one can still receive what was sent.
    ///
    /// # Errors
    /// If the pipe can't be used.
    pub fn close(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "close", &())
    }
}
