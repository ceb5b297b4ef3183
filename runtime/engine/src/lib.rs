//! Everything that touches WebAssembly: compiling a guest, loading the compiled artifact, and running its exports.
//!
//! The compiler process calls [`compile`]. Workers, the dispatcher (for callbacks) and the `tasks` process create an
//! [`Executor`], which [loads](Executor::load) compiled guests and [runs](Executor::run) calls. The thread that runs calls
//! shares a [`Deadline`] with a [watchdog], which interrupts the guest or ends the process when the deadline has passed.
//! An [`OutputSink`] takes what guests print, a [`Pusher`] takes the tasks that they push, an [`ObjectClient`] reaches the objects
//! that they share.
//!
//! This crate does not talk to other processes, does not start threads, and does not decide what happens to a task whose
//! process dies.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod abi;
mod command;
mod compile;
mod config;
mod deadline;
mod error;
mod executor;
mod failure;
mod instance;
mod limits;
mod linker;
mod load;
mod module_types;
mod object_client;
mod open_objects;
mod output;
mod pusher;
mod resident_memory;
mod signal;
mod state;
#[cfg(test)]
mod testing;
mod wasi;
pub mod watchdog;

pub use abi::call::{Call, CallReport, Export};
pub use compile::{Compiled, compile};
pub use config::{EngineRole, hash_compatibility};
pub use deadline::{CallId, Deadline, InterruptCause};
pub use error::{GrantError, LoadError};
pub use executor::Executor;
pub use linker::imports;
pub use object_client::{ObjectCallError, ObjectCaller, ObjectClient, ObjectTarget, OpenedObject};
pub use output::OutputSink;
pub use pusher::{PushError, Pusher};
