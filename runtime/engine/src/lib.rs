//! Everything that touches WebAssembly: compiling a guest, loading what was compiled, and running its exports.
//!
//! The compiler process calls [`compile`]; workers, callbacks and the `tasks` process make an [`Executor`], which
//! [loads](Executor::load) compiled guests and [runs](Executor::run) calls. A [`Deadline`] is shared with the
//! watchdog, who bumps the epoch of [`Executor::engine`]. What a guest prints goes to [`OutputSink`], what it pushes
//! to a [`Pusher`].
//!
//! Nothing here talks to other processes, starts a thread, or decides what becomes of a task whose process dies.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod call;
mod clock;
mod command;
mod compile;
mod deadline;
mod descriptors;
mod ending;
mod engine;
mod executor;
mod exports;
mod host;
mod limits;
mod load;
mod module;
mod output;
mod state;
mod stdin;
#[cfg(test)]
mod testing;
mod wasi;
pub mod watchdog;

pub use call::{Call, CallReport, Export};
pub use compile::{Compiled, compile};
pub use deadline::{CallId, Deadline};
pub use engine::{EngineRole, hash_compatibility};
pub use executor::Executor;
pub use host::Pusher;
pub use load::{LoadError, imports};
pub use output::OutputSink;
