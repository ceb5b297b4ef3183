//! Runs one command as a child: argv, environment, stdin, stdout, stderr and an exit code, with a timeout that ends the program.
//!
//! It relates to tasks of a [`Pool`](crate::Pool) as Python's `subprocess` does to `multiprocessing`. A *command* is a
//! guest with `_start` and no `runnable`: a program for WASI preview 1, in any language. [`Command`] describes how it is
//! started, [`Child`] is a running command, [`Output`] is its result, and [`Pipeline`] connects several.
//!
//! ```no_run
//! use std::time::Duration;
//! use mpwasm::command::Command;
//!
//! fn main() -> Result<(), mpwasm::Error> {
//!     mpwasm::init();
//!     let sort = mpwasm::Pool::builder().load("sort.wasm")?; // compiled once; no pool is started
//!     let output = Command::new(&sort)
//!         .arg("-r")
//!         .stdin("1\n2\n")
//!         .timeout(Duration::from_secs(2))
//!         .output()?
//!         .check()?; // anything but success is an error that shows the end of stderr
//!     assert_eq!(output.stdout, b"2\n1\n");
//!     Ok(())
//! }
//! ```
//!
//! # A child, or a task of a pool?
//!
//! Each child has a dispatcher and a worker of its own, which no other child has used. Its streams are its own and have
//! no cap, the program can exchange data with it while it runs, and both processes end with the child. Starting and
//! reaping them takes about ten milliseconds, of wall time and of CPU time.
//!
//! A command is also a [task](crate::Guest::task) of the pool that has loaded it. That costs tens of microseconds, in a
//! fresh instance in a warm worker. Its stdin must be known from the beginning, and its output is its result. For many
//! short commands this is better, and the pool runs no more of them at once than it has workers.
//!
//! # Streams
//!
//! The child has none of this process's own files. Its stdin is the end of a pipe, and a thread of this process delivers
//! what it writes. A child whose stdout is not read blocks once some megabytes are on their way, so memory does not grow.
//! It still ends at its timeout. Once its deadline has passed, output that is not read for 250 ms is
//! dropped, and the child ends as `timeout`. When the reader of its stdout goes away, the child's next write ends it
//! ([`ExitStatus::Unwritten`]). A stderr that can't be written does not end it.
//!
//! If a stream is a terminal, inherited or given as a file, the child sees a terminal, too. Most programs then write each
//! line when it is complete, so that a dialogue works. What is written to a terminal is still
//! [escaped](mpwasm_types::escape).

mod builder;
mod child;
mod child_state;
mod communicate;
mod delivery;
mod log_thread;
mod pipeline;
mod status;
mod stdin_copy;
mod stdio;
mod terminal_escape;

pub use self::builder::Command;
pub use self::child::{Child, Killer};
pub use self::pipeline::Pipeline;
pub use self::status::{CheckError, ExitStatus, Output};
pub use self::stdio::{ChildStderr, ChildStdin, ChildStdout, Input, Sink, Stdio};
