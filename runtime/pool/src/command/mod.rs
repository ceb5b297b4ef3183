//! One command as a child: argv, environment, stdin, stdout, stderr and an exit code, with a timeout that really ends the program.
//!
//! It is to tasks of a [`Pool`](crate::Pool) what Python's `subprocess` is to `multiprocessing`. A *command* is a guest
//! with `_start` and no `runnable`: a program for WASI preview 1, in any language. [`Command`] says with what it is
//! started, a [`Child`] is one that runs, an [`Output`] what is left of it, and [`Pipeline`] connects several.
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
//! Each child has a dispatcher and a worker of its own: nothing of another child was ever in these processes, its
//! streams are its own and have no cap, it can be talked to while it runs, and the end of the child is the end of both.
//! To start and to reap them takes about ten milliseconds, of the clock and of a processor, each time.
//!
//! A command is also a [task](crate::Guest::task) of the pool that has loaded it: for tens of microseconds, in a fresh
//! instance in a warm worker, with a stdin that is there from the beginning and an output that is its result. For many
//! short commands that is better, and the pool sees to it that no more run at once than the machine has room for.
//!
//! # Streams
//!
//! The child holds none of this process's own files: it has the end of a pipe as its stdin, and what it writes is handed
//! on by a thread of this process. A child whose stdout is not read waits, once some megabytes are on their way, and
//! nothing grows. It ends at its timeout all the same, and what it wrote has to be taken in time, too: once its deadline
//! has passed, output that nobody takes for a quarter of a second is dropped, and then it ended as `timeout`. When the
//! reader of its stdout goes away, it is ended with its next write ([`ExitStatus::Unwritten`]); a stderr that can't be
//! written is no reason for that.
//!
//! A stream that is a terminal, inherited or as a file, is one for the child, too: most programs then write each line when
//! it is whole, so that a dialogue works. What is written to a terminal is [escaped](mpwasm_types::escape) all the same.

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

use mpwasm_system::clock;
use std::sync::Arc;
use std::time::Duration;

pub use self::child::{Child, Killer};
use self::child_state::ChildState;
use self::delivery::Delivery;
pub use self::pipeline::Pipeline;
pub use self::status::{CheckError, ExitStatus, Output};
use self::stdio::ParentEnds;
pub use self::stdio::{ChildStderr, ChildStdin, ChildStdout, Input, Sink, Stdio};
use crate::builder::Builder;
use crate::error::Error;
use crate::guest::Guest;
use mpwasm_system::standard_descriptors;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::DirGrant;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Isolation, Settings, Terminals};

/// Builds and starts a child.
///
/// The settings with which the guest was loaded apply: limits, timeout, grants, jail, user and executable. Settings made here apply
/// to this child alone. A child is never retried, whatever the pool's policy.
///
/// An untrusted program gets nothing to read unless it is given something: its stdin is [`Stdio::Null`]. What it writes
/// goes where this process's own output goes ([`Stdio::Inherit`]; a terminal gets it inert), or for
/// [`Command::output`] into memory.
#[derive(Debug)]
pub struct Command {
    guest: Guest,
    args: Vec<String>,
    settings: Settings,
    stdin: Input,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Command {
    /// Creates a command without arguments. [`spawn`](Self::spawn) checks that the guest is a command.
    #[must_use]
    pub fn new(guest: &Guest) -> Self {
        Self {
            guest: guest.clone(),
            args: Vec::new(),
            settings: Settings {
                size: 1,
                isolation: Isolation::Instance,
                max_tasks_per_worker: None,
                retry: Retry::default(),
                ..guest.settings().clone()
            },
            stdin: Input::from(Stdio::Null),
            stdout: None,
            stderr: None,
        }
    }

    /// Adds an argument. `argv[0]` is the name that the guest was loaded by, without the folder.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, as [`Builder::env`] does. Beside these the child has those with which the guest was loaded.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.grants.env.insert(name.into(), value.into());
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let variables = variables.into_iter();
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        self.settings.grants.env.extend(variables);
        self
    }

    /// Removes all environment variables that were set so far, those of the guest included.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.settings.grants.env.clear();
        self
    }

    /// A directory that it may use, as [`Builder::dir`] says: besides those with which the guest was loaded. All of them
    /// are opened when it is started.
    #[must_use]
    pub fn dir(mut self, dir: DirGrant) -> Self {
        self.settings.grants.dirs.push(dir);
        self
    }

    /// A scratch directory of so many bytes, `/tmp`, as [`Builder::tmp`] says.
    #[must_use]
    pub fn tmp(mut self, bytes: u64) -> Self {
        self.settings.grants.tmp = Some(bytes);
        self
    }

    /// Ends it as `timeout` after so long, longer than zero; the clock starts when its worker does. The timeout with which
    /// the guest was loaded otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Cap of its linear memory, bytes.
    #[must_use]
    pub fn memory(mut self, memory: u64) -> Self {
        self.settings.memory = memory;
        self
    }

    /// Its stack, bytes, as [`Builder::stack`] says.
    #[must_use]
    pub fn stack(mut self, stack: u64) -> Self {
        self.settings.stack = stack;
        self
    }

    /// Elements that each of its tables may have, as [`Builder::max_table`] says.
    #[must_use]
    pub fn max_table(mut self, elements: u32) -> Self {
        self.settings.max_table = elements;
        self
    }

    /// Files that it can have open at once, as [`Builder::max_files`] says.
    #[must_use]
    pub fn max_files(mut self, files: u32) -> Self {
        self.settings.max_files = Some(files);
        self
    }

    /// Its budget, in units of about one instruction. Only for a guest that was loaded with [some](Builder::fuel):
    /// whether it is counted is in the compiled code.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.settings.fuel = Some(fuel);
        self
    }

    /// Most bytes of stdout and stderr together that [`Command::output`] and [`Child::communicate`] keep; more is dropped
    /// and [flagged](Output::truncated). Streams have no cap.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.settings.max_output = bytes;
        self
    }

    /// What it reads: [`Stdio`], bytes or text, a file, the end of a pipe, or what another child writes.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Input>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Where its stdout goes: [`Stdio`], a file, or the end of a pipe.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Sink>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Where its stderr goes: as [`stdout`](Command::stdout). Both may go to the same place, by two clones of one
    /// descriptor: then all is in the order in which it was written.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Sink>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Its stdout becomes the stdin of `next`, as `|` does in a shell.
    #[must_use]
    pub fn pipe(self, next: Self) -> Pipeline {
        Pipeline::new(self, next)
    }

    /// Starts the child.
    ///
    /// # Errors
    /// [`Error::NoCommand`]; [`Error::InvalidArgs`]; [`Error::BadSetting`]; [`Error::Grant`]; [`Error::Refused`] for a guest that starts
    /// with more memory than it may have; [`Error::Start`]; [`Error::Io`]; and what else [`Builder::start`] returns.
    pub fn spawn(self) -> Result<Child, Error> {
        self.check()?;
        standard_descriptors::fill();
        let Self {
            guest,
            args,
            settings,
            stdin,
            stdout,
            stderr,
        } = self;
        let (timeout, max_output) = (settings.timeout, settings.max_output);
        let stdin = stdin.open()?;
        let stdout = stdout.unwrap_or_else(|| Stdio::Inherit.into()).open_stdout()?;
        let stderr = stderr.unwrap_or_else(|| Stdio::Inherit.into()).open_stderr()?;
        let state = Arc::new(ChildState::new()?);
        let settings = Settings {
            capture: false,
            max_output: u64::MAX,
            ..settings
        };
        let terminals = Terminals {
            stdin: stdin.is_terminal,
            stdout: stdout.outlet.is_terminal(),
            stderr: stderr.outlet.is_terminal(),
        };
        let mut builder = Builder::for_child_of(&guest, settings)
            .terminals(terminals)
            .reporter(Delivery::new(stdout.outlet, stderr.outlet, &state));
        if let Some(pipe) = stdin.pipe {
            builder = builder.stdin(pipe);
        }
        let pool = builder.start()?;
        let task = pool.adopt(&guest)?.task(&args).timeout(timeout);
        state.set_deadline(clock::now() + timeout);
        let arguments = task.parts().args.unwrap_or("null").to_owned();
        let handle = pool.submit(task)?;
        // The pool is for this one task, and ends with it.
        pool.close();
        stdin.copy.start()?;
        let parent_ends = ParentEnds {
            stdin: stdin.parent_end,
            stdout: stdout.parent_end.map(ChildStdout),
            stderr: stderr.parent_end.map(ChildStderr),
        };
        let program = guest.program();
        Ok(Child::new(
            pool,
            handle,
            state,
            parent_ends,
            program,
            arguments,
            max_output,
        ))
    }

    /// Starts the child and waits for its end.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn). How the command ends is no error.
    pub fn status(self) -> Result<ExitStatus, Error> {
        Ok(self.spawn()?.wait())
    }

    /// Starts the child, waits for its end, and returns its output. Stdout and stderr are piped unless they were set.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn). How the command ends is no error; see [`Output::check`].
    pub fn output(mut self) -> Result<Output, Error> {
        self.stdout.get_or_insert(Stdio::Piped.into());
        self.stderr.get_or_insert(Stdio::Piped.into());
        self.spawn()?.communicate("", None)
    }

    /// Checks what would fail in the worker.
    fn check(&self) -> Result<(), Error> {
        let name = || self.guest.name().to_owned();
        let info = self.guest.info();
        if !info.is_command {
            return Err(Error::NoCommand { name: name() });
        }
        let reasons = info.initial.above(&EngineSettings::from(&self.settings));
        if !reasons.is_empty() {
            return Err(Error::Refused {
                name: name(),
                reasons,
            });
        }
        self.guest.task(&self.args).checked()?;
        if self.settings.fuel.is_some() && self.guest.settings().fuel.is_none() {
            let name = name();
            return Err(Error::BadSetting(format!(
                "{name} was compiled without a count of instructions: load it with some fuel"
            )));
        }
        Ok(())
    }
}
