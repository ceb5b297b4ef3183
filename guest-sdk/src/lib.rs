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
//! # Shared objects
//!
//! Tasks can share [queues, numbers, dicts, locks and more](objects).
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
mod model;
#[cfg(not(target_arch = "wasm32"))]
mod native_host;
pub mod objects;
pub mod raw;
mod task;
mod task_error;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use crate::context::{Level, attempt, log, pid, remaining, task_id};
pub use crate::error::Error;
pub use crate::model::Model;
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
