//! Everything that touches WebAssembly: compiling a guest, loading what was compiled, and running its exports.
//!
//! The compiler process calls [`compile`]; workers, callbacks and the `tasks` process make an [`Executor`], which
//! [loads](Executor::load) compiled guests and [runs](Executor::run) calls. A [`Deadline`] is shared with the
//! watchdog, who bumps the epoch of [`Executor::engine`]. What a guest prints goes to [`Prints`], what it pushes
//! to a [`Pusher`].
//!
//! Nothing here talks to other processes, starts a thread, or decides what becomes of a task whose process dies.

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
mod info;
mod invocation;
mod json;
mod limits;
mod load;
mod module;
mod output;
mod state;
mod stdin;
#[cfg(test)]
mod testing;
mod wasi;

pub use call::{Call, Export, Report};
pub use compile::{Compiled, compile};
pub use deadline::{CallId, Deadline};
pub use engine::{EngineSettings, Role, hash_compatibility};
pub use executor::Executor;
pub use host::Pusher;
pub use info::{GuestInfo, InitialSizes, MemoryInfo, ModelInfo};
pub use invocation::Invocation;
pub use json::{kept_line, one_line, value_line};
pub use load::LoadError;
pub use output::Prints;
#[cfg(test)]
pub use testing::imports;
