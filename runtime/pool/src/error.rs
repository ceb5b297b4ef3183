//! [`Error`]: why a call of this library failed.
//!
//! A message includes its cause, which is therefore not a [`source`](std::error::Error::source) as well. How a *task* ends is not an
//! error of the pool but an [`Outcome`](mpwasm_types::outcome::Outcome).

use std::io;
use std::path::PathBuf;

use crate::invalid_setting::InvalidSetting;
use mpwasm_types::escape::Untrusted;
use mpwasm_types::objects::ObjectError;
use mpwasm_types::task_check::{InputError, UnknownModel};

/// Why a call of this library failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`init`](crate::init) was not called. The pool's processes are copies of this executable, which take their role there.
    #[error("call mpwasm::init() first in main, or name an mpwasm executable in the builder")]
    InitMissing,
    /// This process had several threads, or ran a Tokio runtime, when it first called [`init`](crate::init). A jail is
    /// built around the only thread of a process, and children are copies of this executable that run everything before
    /// `init` again.
    #[error(
        "mpwasm::init() was called when {found} already: call it first in a main that is not async (see the \
         documentation of mpwasm::init)"
    )]
    InitLate {
        /// What the process ran: threads, or a Tokio runtime.
        found: String,
    },
    /// A setting is invalid.
    #[error(transparent)]
    BadSetting(#[from] InvalidSetting),
    /// A directory can't be granted.
    #[error("{} can't be granted: {}", Untrusted::from(path), Untrusted::from(why))]
    Grant {
        /// Its path on the host.
        path: PathBuf,
        /// Why it is refused.
        why: String,
    },
    /// The jail is [`Strict`](mpwasm_types::settings::Jail::Strict), and this machine lacks mandatory layers of it.
    #[error("the jail can't be strict here, for this machine lacks {0}; `mpwasm doctor` says more")]
    Jail(String),
    /// A process of the pool could not be started.
    #[error("the {role} can't be started: {}", Untrusted::from(why))]
    Start {
        /// Which kind of process.
        role: &'static str,
        /// What went wrong.
        why: String,
    },
    /// A guest's file can't be read.
    #[error("{}: {error}", Untrusted::from(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is not a WebAssembly module.
    #[error(
        "{}: not a WebAssembly module: {}",
        Untrusted::from(name),
        Untrusted::from(why)
    )]
    NotWasm {
        /// Its name.
        name: String,
        /// The parser's error.
        why: String,
    },
    /// The guest is not allowed to run.
    #[error("{}: {}", Untrusted::from(name), Untrusted::from(&reasons.join("; ")))]
    Refused {
        /// Its name.
        name: String,
        /// All reasons why it is refused.
        reasons: Vec<String>,
    },
    /// The guest could not be compiled: the compiler took too long, needed too much memory, or died.
    #[error("{}: it can't be compiled: {}", Untrusted::from(name), Untrusted::from(why))]
    Compile {
        /// Its name.
        name: String,
        /// What happened.
        why: String,
    },
    /// The pool has as many guests as the limit of open files permits.
    #[error(
        "{name}: the pool cannot take another guest: each takes a descriptor, and {needed} are needed in all where a process \
         may have {limit}; raise the hard limit of open files (RLIMIT_NOFILE, `ulimit -Hn`)"
    )]
    TooManyGuests {
        /// The guest's name.
        name: String,
        /// Descriptors that a process of the pool needs with it.
        needed: u64,
        /// The limit of descriptors per process.
        limit: u64,
    },
    /// The cache's directory can't be used.
    #[error("the cache {}: {source}", Untrusted::from(path))]
    Cache {
        /// The directory.
        path: PathBuf,
        /// The system's error, or why the directory is unsafe.
        source: io::Error,
    },
    /// A task's args are not a JSON array, too large, or nested too deeply.
    #[error("{}", Untrusted::from(&.0.to_string()))]
    InvalidArgs(InputError),
    /// The guest has no model of this name.
    #[error("{}", Untrusted::from(&.0.to_string()))]
    UnknownModel(UnknownModel),
    /// The guest was loaded by another pool, or without one. A pool runs only guests that it loaded itself.
    #[error("{} was not loaded by this pool", Untrusted::from(name))]
    ForeignGuest {
        /// The guest's name.
        name: String,
    },
    /// The guest can't be run as a program, because it is not a command.
    #[error("{} is no command: it exports no `_start`", Untrusted::from(name))]
    NoCommand {
        /// The guest's name.
        name: String,
    },
    /// A child has not ended in time. It continues to run.
    #[error("the command has not ended in time; it continues to run")]
    TimedOut,
    /// A command ended in another way than with exit code 0: the message of its
    /// [`CheckError`](crate::command::CheckError).
    #[error("{}", Untrusted::from(.0))]
    Command(String),
    /// The guest has no `tasks`.
    #[error("the guest exports no `tasks`")]
    NoTasks,
    /// A guest's `tasks` failed. The tasks that it had pushed before run nevertheless.
    #[error("the guest's `tasks` failed: {}", Untrusted::from(why))]
    Tasks {
        /// Number of tasks that it had pushed.
        pushed: u64,
        /// What happened.
        why: String,
    },
    /// The pool accepts no more tasks: it was closed, interrupted or terminated, or it failed.
    #[error("the pool takes no more tasks")]
    Closed,
    /// This process is a fork of the one that started the pool. Only that one can use the pool, and calls in a fork have no effect
    /// on it.
    #[error("this process is a fork of the one that started the pool, which alone can use it")]
    Forked,
    /// The dispatcher did not reply within a second, or its reply was invalid: it is stopped, or the machine is overloaded.
    #[error("the dispatcher did not answer in time: perhaps it is stopped, or the machine is overloaded")]
    NoAnswer,
    /// The pool's reporter failed or panicked, which ended the pool.
    #[error("the outcomes can't be written: {0}")]
    Report(io::Error),
    /// No worker can be kept alive.
    #[error("the pool failed: {}", Untrusted::from(.0))]
    PoolFailed(String),
    /// The dispatcher died. Tasks that had not ended are recorded as `crash`.
    #[error("the dispatcher died: {}", Untrusted::from(.0))]
    DispatcherDied(String),
    /// The manager of a pool's objects can't be used: it has ended.
    #[error("{}", Untrusted::from(&.0.to_string()))]
    Object(ObjectError),
    /// A system call failed unexpectedly.
    #[error(transparent)]
    Io(#[from] io::Error),
}
