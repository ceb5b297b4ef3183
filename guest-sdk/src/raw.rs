//! The guest ABI's input and output as bytes, below [`Model`](crate::Model): for results that are JSON already,
//! or too large to be held twice, and for tests that need results which are no JSON at all.
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
    /// Whether this call has put something out by itself.
    static WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// This call's whole input: a task's args, a result, an error object.
///
/// It is there as often as it is asked for. Natively it is empty, but in
/// [`testing::run`](crate::testing::run).
#[must_use]
pub fn input() -> Vec<u8> {
    host::input()
}

/// Appends to this call's output, which together should be one piece of JSON: the host checks it.
///
/// When `runnable` has called this and returns `Ok`, what it returns is dropped; when it returns an [`Error`]
/// or panics, the output is dropped.
///
/// [`Error`]: crate::Error
pub fn output(bytes: &[u8]) {
    WRITTEN.set(true);
    host::output(bytes);
}

/// Ends this call here and now as `error` with this message; a panic ends here as well.
///
/// The call's output is dropped, its prints are not, and in a callback the state is lost.
///
/// # Panics
///
/// Natively, with the message.
pub fn fail(message: &str) -> ! {
    flush();
    host::fail(message)
}

/// Whether [`output`] was used since this was last asked.
pub(crate) fn take_written() -> bool {
    WRITTEN.take()
}

/// Lets out what std still holds back of an unfinished line: the instance may be gone after this call, and no
/// `main` returns that would do it.
pub(crate) fn flush() {
    // A stream that cannot be written is the guest's own affair, as it is in any program.
    let _ = io::stdout().flush();
}
