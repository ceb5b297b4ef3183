//! Write guests for mpwasm, the process pool for code that you do not trust.
//!
//! A *guest* is a WebAssembly module. It exports one or several *models*; a model is a [`Model`] with four
//! functions, of which the last three are optional:
//!
//! - `runnable` receives the args of a task, runs in a worker process and returns a result or an error;
//! - `callback` receives that result, and runs in the dispatcher process;
//! - `error_callback` receives the [`TaskError`] of a task that failed, for whatever reason, and runs there too;
//! - `final_callback` returns what these two have accumulated, when all tasks have ended.
//!
//! ```
//! use mpwasm_guest::{Error, InfoTask, Model, TaskError, push};
//!
//! #[derive(Default)]
//! struct Halve {
//!     sum: u64,
//! }
//!
//! impl Model for Halve {
//!     type Args = (u64,);
//!     type Output = u64;
//!
//!     fn runnable((number,): Self::Args) -> Result<Self::Output, Error> {
//!         if number % 2 == 1 {
//!             return Err(format!("{number} is odd").into());
//!         }
//!         Ok(number / 2)
//!     }
//!
//!     fn callback(&mut self, half: Self::Output) -> Result<(), Error> {
//!         self.sum += half;
//!         println!("{half}, which makes {} so far", self.sum);
//!         Ok(())
//!     }
//!
//!     fn error_callback(&mut self, error: TaskError) -> Result<(), Error> {
//!         eprintln!("no half of {}: {}", error.args, error.message);
//!         Ok(())
//!     }
//! }
//!
//! fn tasks() -> Result<(), Error> {
//!     for number in 0..10_u64 {
//!         push(InfoTask::new("", None, (number,)))?;
//!     }
//!     Ok(())
//! }
//!
//! mpwasm_guest::export!(Halve, tasks => tasks);
//! ```
//!
//! The crate of a guest needs `crate-type = ["cdylib"]` under `[lib]`, is built for the target
//! `wasm32-wasip1`, and needs neither unsafe code nor build flags. `mpwasm new NAME` writes such a crate,
//! `mpwasm run DIR` builds and runs it.
//!
//! # What runs where
//!
//! Every call of `runnable` gets a fresh instance of the guest: no static, no allocation and no other trace of
//! one task reaches the next. (Only the items of a chunk share one, where a program asks for chunks.) The callbacks of a
//! model share one instance, so they may accumulate state in `self`. After a panic, a trap or a timeout that instance is
//! discarded, and the next callback gets a fresh one. `tasks` runs once, in a process of its own.
//!
//! # Errors and panics
//!
//! `runnable` fails with an [`Error`], which `?` makes from any [`std::error::Error`] and from strings. A panic
//! ends the call as `error` too, with the panic's message and place. So do args that do not fit
//! [`Model::Args`]: the message says which of them, and why.
//!
//! # On other targets
//!
//! The crate compiles for any target, so that a guest's own unit tests run natively with a plain `cargo test`: call
//! the model's functions directly, or through [`testing`], which documents what replaces the worker there. `export!`
//! exports nothing on other targets.
#![warn(missing_docs)]
// The links to `testing`, which is not there on this target.
#![cfg_attr(target_arch = "wasm32", allow(rustdoc::broken_intra_doc_links))]

mod call;
mod context;
mod error;
mod export;
mod fit;
mod host;
#[cfg(target_arch = "wasm32")]
mod initialize;
#[cfg(not(target_arch = "wasm32"))]
mod native_host;
pub mod raw;
mod task;
mod task_error;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::context::{Level, attempt, log, pid, remaining, task_id};
pub use crate::error::Error;
pub use crate::task::{InfoTask, push};
pub use crate::task_error::{Kind, TaskError};
pub use serde;
pub use serde_json::{self, Value, json};

/// Used by the expansion of [`export!`]. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::call::{State, callback, error_callback, final_callback, runnable, tasks};
    pub use crate::export::check_name;
}

/// A model: the function that a task runs, and the callbacks that follow its end.
///
/// [`export!`](crate::export!) makes its functions exports of the guest. The value of the type itself is the state of the
/// callbacks; `runnable` has none, because every task starts from nothing.
///
/// ```
/// use mpwasm_guest::{Error, Model};
///
/// #[derive(Default)]
/// struct Add;
///
/// impl Model for Add {
///     type Args = (i64, i64);
///     type Output = i64;
///
///     fn runnable((a, b): Self::Args) -> Result<Self::Output, Error> {
///         Ok(a.checked_add(b).ok_or("the sum is too large")?)
///     }
/// }
///
/// assert_eq!(Add::runnable((1, 2)), Ok(3));
/// mpwasm_guest::export!(Add: runnable);
/// ```
pub trait Model: Default + 'static {
    /// The args of a task, which are a JSON array.
    ///
    /// A tuple is the positional args: `(u64, String)` takes two, `(u64,)` one, `()` none. `Vec<T>` takes any
    /// number of one type. A struct that derives `Deserialize` takes its fields in the order of their
    /// declaration, and those with `#[serde(default)]` may be missing at the end.
    type Args: DeserializeOwned;

    /// The result of a task: any type that serde can write as JSON. `()` becomes `null`.
    type Output: Serialize;

    /// Runs a task, in a worker process and in a fresh instance of the guest.
    ///
    /// # Errors
    ///
    /// The task then ends as `error`, with the message or the data of the [`Error`].
    fn runnable(args: Self::Args) -> Result<Self::Output, Error>;

    /// Receives the result of each task of this model that succeeded, in the dispatcher process.
    ///
    /// Exporting it requires an `Output` that serde can also read. The bound is on this function and not on the type,
    /// because a model that exports no `callback` does not need it. An implementation may omit the bound.
    ///
    /// # Errors
    ///
    /// The callback then counts as failed in the task's record; the state in `self` is kept.
    fn callback(&mut self, result: Self::Output) -> Result<(), Error>
    where
        Self::Output: DeserializeOwned,
    {
        let _ = result;
        Ok(())
    }

    /// Receives the error of each task of this model that failed: what `runnable` returned, a panic, a timeout, a
    /// worker that died. Runs in the dispatcher process, in the same instance as [`callback`](Self::callback).
    ///
    /// # Errors
    ///
    /// The callback then counts as failed in the task's record; the state in `self` is kept.
    fn error_callback(&mut self, error: TaskError) -> Result<(), Error> {
        let _ = error;
        Ok(())
    }

    /// Returns what the callbacks have accumulated over all tasks, as any JSON: the end of a fold.
    ///
    /// Called once, when every task of the pool has ended, in the dispatcher process and in the instance of the
    /// callbacks. Not called when that instance was discarded after a panic or a timeout, or when the pool was ended
    /// early. It must be exported by name: list it in [`export!`](crate::export!), as in
    /// `Sum: runnable + callback + final_callback`.
    ///
    /// ```
    /// use mpwasm_guest::{Error, Model, Value};
    ///
    /// #[derive(Default)]
    /// struct Sum(u64);
    ///
    /// impl Model for Sum {
    ///     type Args = (u64,);
    ///     type Output = u64;
    ///
    ///     fn runnable((number,): Self::Args) -> Result<u64, Error> {
    ///         Ok(number)
    ///     }
    ///
    ///     fn callback(&mut self, number: u64) -> Result<(), Error> {
    ///         self.0 += number;
    ///         Ok(())
    ///     }
    ///
    ///     fn final_callback(&mut self) -> Result<Value, Error> {
    ///         Ok(self.0.into())
    ///     }
    /// }
    ///
    /// mpwasm_guest::export!(Sum: runnable + callback + final_callback);
    /// ```
    ///
    /// # Errors
    ///
    /// The pool then has no final value of this model. The message of the error takes its place.
    fn final_callback(&mut self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
}
