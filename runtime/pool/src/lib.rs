//! A process pool for code that you do not trust.
//!
//! A *guest* is a WebAssembly module that exports `runnable`, `callback` and `error_callback`. Tasks are pushed from
//! this process (the parent) through a pipe to a dispatcher process, which keeps a pool of worker processes busy. A
//! worker runs `runnable` in a fresh sandboxed instance, while a watchdog enforces the task's timeout: first by
//! interrupting the guest, and when that is not enough, by killing the process. The guest's callbacks then run in
//! the dispatcher. Whatever a guest does, each task gets exactly one outcome, and no process is left behind.
//!
//! Start with [`Pool`]. A program that embeds the pool calls [`init`] first in `main`:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! fn main() -> Result<(), mpwasm::Error> {
//!     mpwasm::init(); // a copy of this program becomes the dispatcher or a worker here
//!
//!     let pool = mpwasm::Pool::builder().size(5).start()?; // starts the dispatcher
//!     let guest = pool.load("guest.wasm")?; // compiled once, checked now
//!     for number in 0..10 {
//!         // The args are a tuple, array or vector of what serde can serialize. The callbacks run.
//!         pool.push(guest.task((number, "text")).timeout(Duration::from_secs(1)))?;
//!     }
//!     let handle = pool.submit(guest.task((10, "text")))?; // a handle to wait for
//!     match handle.wait().result {
//!         Ok(json) => println!("{json}"),
//!         Err(error) => println!("{}: {}", error.kind, error.message),
//!     }
//!     pool.stop() // no more tasks: waits for all of them, and leaves no process behind
//! }
//! ```
//!
//! A guest that is a program of its own, with argv and streams, can be a task like any other, or a child: see [`command`].
//!
//! How a task ends is an [`Outcome`], not an [`Error`]. A guest can cause errors only of the calls that load it or run
//! its `tasks`.

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod command;
pub mod objects;

mod backend;
mod builder;
mod cache;
mod child_process;
mod compile;
mod completion;
mod error;
mod fork;
mod grants;
mod guest;
mod init;
mod invalid_setting;
mod ledger;
mod maps;
mod pool;
mod report;
mod setters;
mod sync;

pub use mpwasm_sandbox::jail::{LayerState, SandboxLayer};
pub use mpwasm_types::escape;
pub use mpwasm_types::grants::{Access, DirGrant, Grants, InvalidGrant};
pub use mpwasm_types::guest_info::{GuestInfo, InitialSizes, MemoryInfo, ModelInfo};
pub use mpwasm_types::ids::{GuestId, ModelId, TaskId, WorkerNumber};
pub use mpwasm_types::objects::ObjectKind;
pub use mpwasm_types::outcome::{Attempt, CallbackStatus, Kind, LogLevel, Outcome, Stream, TaskError, Usage};
pub use mpwasm_types::retry::{Backoff, BackoffError, Retry};
pub use mpwasm_types::settings::{Interrupt, Isolation, Jail, Settings, User};
pub use mpwasm_types::status::{Status, TaskStatus, TaskWait, WorkerState, WorkerStatus};
pub use mpwasm_types::task_check::{InputError, UnknownModel};

pub use builder::Builder;
pub use cache::{Cache, CacheStats};
pub use compile::{COMPILATION_TARGET, inspect};
pub use completion::cancellation::CancellationToken;
pub use completion::handle::TaskHandle;
pub use completion::wait::{AsCompleted, AsCompletedStream, as_completed, wait_all, wait_any};
pub use error::Error;
pub use grants::trusted_paths::Overlap;
pub use guest::{Callable, Guest, Model, Task};
pub use invalid_setting::InvalidSetting;
pub use maps::{Results, ResultsStream};
pub use pool::Pool;
pub use pool::counters::Stats;
pub use pool::final_values::{FinalError, FinalValue};
pub use pool::progress::Progress;
pub use report::Reporter;
pub use report::event::{Event, LOG_TARGET, LogLine, PrintedOutput, Source, WorkerEvent};
pub use report::terminal::Terminal;

/// Items that only the command line uses. They are not part of the stable API.
#[doc(hidden)]
pub mod internal {
    pub use crate::guest::TaskParts;
    pub use crate::objects::created::DynamicObject;
    pub use crate::pool::Rejected;
    pub use crate::report::prints;
}

/// Items for a crate that runs the tasks of a pool elsewhere than on this machine. They are not part of the stable API.
#[doc(hidden)]
pub mod backend_api {
    pub use crate::backend::connection::{AnySender, Connection};
    pub use crate::backend::{
        Backend, BackendDied, BackendEvent, EventError, EventSink, EventSource, NewGuest, TaskSender,
    };
}

/// The version of the engine, wasmtime, that guests run in.
pub const ENGINE_VERSION: &str = wasmtime_environ::VERSION;

/// Compiles the examples of `docs/coming-from-python.md`.
#[cfg(doctest)]
#[doc = include_str!("../coming-from-python.md")]
mod coming_from_python {}

/// Compiles the example of `docs/follow-a-pool.md`.
#[cfg(doctest)]
#[doc = include_str!("../follow-a-pool.md")]
mod follow_a_pool {}

/// Compiles the examples of `docs/sharing.md`.
#[cfg(doctest)]
#[doc = include_str!("../sharing.md")]
mod sharing {}

/// Turns a copy of this program into the pool process that it was started as. Call it first in `main`.
///
/// The pool's processes are copies of the executable that uses it. In such a copy this call becomes the dispatcher, a
/// worker or another of the pool's processes, and never returns. In the program itself it returns at once.
///
/// Nothing should come before it in `main`, as copies would run that, too. Without it, [`Builder::start`] returns
/// [`Error::InitMissing`]. If the program had started a thread before, it returns [`Error::InitLate`], as a jail is built
/// around the only thread of a process. Neither applies when [`Builder::executable`] names an mpwasm executable.
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// fn main() {
///     mpwasm::init();
///     // the program
/// }
/// ```
///
/// # With Tokio
///
/// `#[tokio::main]` starts its runtime before the first line of `main`, so `init` comes too late there, whatever the
/// runtime's flavor. Two ways work. Either build the runtime after `init`:
///
/// ```no_run
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     mpwasm::init();
///     tokio::runtime::Runtime::new()?.block_on(async {
///         // the program
///         Ok(())
///     })
/// }
/// ```
///
/// or let `mpwasm::tokio_main` do both, with this crate's feature `tokio`.
///
/// Calls of this crate that wait, such as [`Builder::start`] and [`Pool::push`] against a full pipe, block the thread: in async
/// code they belong in `spawn_blocking`. [`TaskHandle`]s are futures, and [`Results::into_stream`] is a stream.
pub fn init() {
    init::set_initialised();
    mpwasm_host::enter_role();
}

/// Calls [`init`], starts a multi-threaded Tokio runtime and runs `future` on it: `#[tokio::main]` for a program that embeds
/// the pool.
///
/// ```no_run
/// fn main() -> Result<(), mpwasm::Error> {
///     mpwasm::tokio_main(async {
///         let pool = mpwasm::Pool::builder().size(2).start()?;
///         let guest = pool.load("guest.wasm")?;
///         println!("{:?}", pool.submit(guest.task([1, 2]))?.await);
///         pool.stop()
///     })
/// }
/// ```
///
/// # Panics
/// When the system has no threads or descriptors for the runtime, as with `#[tokio::main]`.
#[cfg(feature = "tokio")]
pub fn tokio_main<F: Future>(future: F) -> F::Output {
    init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system gives a Tokio runtime its threads and descriptors")
        .block_on(future)
}
