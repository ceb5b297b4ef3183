//! Reads the input and writes the output of a call as bytes, without the types of a [`Model`](crate::Model): for results
//! that are JSON already or too large to be held twice, and for tests with results that are not JSON.
//!
//! ```
//! use mpwasm_guest::{Error, Model, raw};
//!
//! #[derive(Default)]
//! struct Cached;
//!
//! impl Model for Cached {
//!     type Args = (String,);
//!     type Output = ();
//!
//!     fn runnable(_: Self::Args) -> Result<(), Error> {
//!         raw::output(br#"{"ready": "made"}"#);
//!         Ok(())
//!     }
//! }
//! ```

use std::cell::Cell;
use std::io::{self, Write as _};

use crate::host;

thread_local! {
    /// Whether this call has used [`output`].
    static WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// Returns this call's whole input: a task's args, a result, an error object.
///
/// May be called more than once. On other targets than `wasm32` the input is empty, except in
/// [`testing::run`](crate::testing::run).
#[must_use]
pub fn input() -> Vec<u8> {
    host::input()
}

/// Appends to this call's output. The whole output must be one piece of JSON, which the host checks.
///
/// When `runnable` has called this and returns `Ok`, the returned value is dropped. When it returns an [`Error`] or
/// panics, the output is dropped.
///
/// [`Error`]: crate::Error
pub fn output(bytes: &[u8]) {
    WRITTEN.set(true);
    host::output(bytes);
}

/// Ends this call at once as `error` with this message, as a panic does.
///
/// The call's output is dropped; what it printed is not. In a callback the instance is discarded, with the state in `self`.
///
/// # Panics
///
/// On other targets than `wasm32`, with the message.
pub fn fail(message: &str) -> ! {
    flush();
    host::fail(message)
}

/// Returns whether [`output`] was used since the last call of this function.
pub(crate) fn take_written() -> bool {
    WRITTEN.take()
}

/// Writes the unfinished line that std buffers for stdout. The instance may be dropped after this call, and a guest has no
/// `main` at whose end std would write it.
pub(crate) fn flush() {
    // The guest may have closed stdout, which does not fail the call.
    let _ = io::stdout().flush();
}
