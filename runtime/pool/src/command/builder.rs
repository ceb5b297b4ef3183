//! [`Command`]: how a child is started.

use std::sync::Arc;
use std::time::Duration;

use super::child::Child;
use super::child_state::ChildState;
use super::delivery::Delivery;
use super::status::{ExitStatus, Output};
use super::stdio::{ChildStderr, ChildStdout, Input, ParentEnds, Sink, Stdio};
use crate::builder::Builder;
use crate::error::Error;
use crate::guest::Guest;
use crate::invalid_setting::InvalidSetting;
use crate::setters::{grant_setters, setters};
use mpwasm_system::clock;
use mpwasm_system::standard_descriptors;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::DirGrant;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Isolation, Settings, Terminals};

/// Builds and starts a child.
///
/// The settings with which the guest was loaded apply: limits, timeout, grants, jail, user and executable. Settings made
/// here apply to this child alone. A child is never retried, whatever the pool's retry policy.
///
/// By default an untrusted program has nothing to read: its stdin is [`Stdio::Null`]. Its output goes where this
/// process's own output goes ([`Stdio::Inherit`], escaped for a terminal). [`Command::output`] keeps it in memory
/// instead.
#[derive(Debug)]
pub struct Command {
    guest: Guest,
    args: Vec<String>,
    settings: Settings,
    stdin: Input,
    pub(super) stdout: Option<Sink>,
    pub(super) stderr: Option<Sink>,
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

    grant_setters! {
        /// Grants a directory, as [`Builder::dir`] does. The directories with which the guest was loaded are kept. All of
        /// them are opened when the child is started.
        dir,
        /// Gives it a scratch directory of `bytes` bytes, `/tmp`, as [`Builder::tmp`] does.
        tmp,
        /// Sets an environment variable, as [`Builder::env`] does. The variables with which the guest was loaded are kept.
        env,
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

    setters! {
        /// Sets the timeout, longer than zero, after which the child ends as `timeout`. It starts with the child's worker. By
        /// default it is the timeout with which the guest was loaded.
        timeout: Duration,
        /// Sets the cap of its linear memory, bytes.
        memory: u64,
        /// Sets the size of its stack, bytes, as [`Builder::stack`] does.
        stack: u64,
        /// Sets how many elements each of its tables may have, as [`Builder::max_table`] does.
        max_table: u32,
        /// Sets how many files it may have open at once, as [`Builder::max_files`] does.
        max_files: u32 => Some,
        /// Sets its fuel, in units of about one instruction. Only for a guest that was loaded with [fuel](Builder::fuel), as
        /// the compiled code differs.
        fuel: u64 => Some,
        /// Sets how many bytes of stdout and stderr together [`Command::output`] and [`Child::communicate`] keep. More is
        /// dropped and [flagged](Output::truncated). Streams have no cap.
        max_output: u64,
    }

    /// Sets its stdin: [`Stdio`], bytes or text, a file, the end of a pipe, or the stdout of another child.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Input>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Sets its stdout: [`Stdio`], a file, or the end of a pipe.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Sink>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Sets its stderr, as [`stdout`](Command::stdout) does. Both may go to the same place through two clones of one
    /// descriptor: the output is then in the order in which it was written.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Sink>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts the child.
    ///
    /// # Errors
    /// [`Error::NoCommand`]; [`Error::InvalidArgs`]; [`Error::BadSetting`]; [`Error::Grant`]; [`Error::Refused`] for a
    /// guest whose initial memory is above the limit; [`Error::Start`]; [`Error::Io`]; and the other errors of
    /// [`Builder::start`].
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
        // The pool runs only this task and ends with it.
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
    /// As [`spawn`](Command::spawn). A command that fails is not an error.
    pub fn status(self) -> Result<ExitStatus, Error> {
        Ok(self.spawn()?.wait())
    }

    /// Starts the child, waits for its end, and returns its output. Stdout and stderr are piped unless they were set.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn). A command that fails is not an error; see [`Output::check`].
    pub fn output(mut self) -> Result<Output, Error> {
        self.stdout.get_or_insert(Stdio::Piped.into());
        self.stderr.get_or_insert(Stdio::Piped.into());
        self.spawn()?.communicate("", None)
    }

    /// Checks in advance what would otherwise fail in the worker.
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
            return Err(InvalidSetting::NoFuelCount { name: name() }.into());
        }
        Ok(())
    }
}
