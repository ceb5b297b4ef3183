//! [`Child`]: a running command, and [`Killer`], which kills or pauses it from elsewhere.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::child_state::ChildState;
use super::communicate::Communication;
use super::status::{ExitStatus, Output};
use super::stdio::{ChildStderr, ChildStdin, ChildStdout, ParentEnds};
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use mpwasm_types::outcome::{Outcome, Usage};

/// A running command, in a dispatcher and a worker of its own.
///
/// Dropping it kills the command and returns when all its processes are reaped. This differs from [`std::process::Child`]
/// and from Python's `Popen`: a child never outlives its handle.
///
/// ```no_run
/// use std::io::{BufRead, BufReader, Write};
/// use mpwasm::command::{Command, Stdio};
///
/// # fn f(bc: mpwasm::Guest) -> Result<(), Box<dyn std::error::Error>> {
/// let mut child = Command::new(&bc).stdin(Stdio::Piped).stdout(Stdio::Piped).spawn()?;
/// let mut stdin = child.stdin.take().ok_or("it is piped")?;
/// let mut answers = BufReader::new(child.stdout.take().ok_or("it is piped")?).lines();
/// writeln!(stdin, "6 * 7")?;
/// println!("{:?}", answers.next());
/// drop(stdin); // the end of its stdin
/// println!("{}", child.wait());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child {
    /// The child's stdin, if it is [piped](super::Stdio::Piped) and was not taken.
    pub stdin: Option<ChildStdin>,
    /// The child's stdout, if it is piped and was not taken.
    pub stdout: Option<ChildStdout>,
    /// The child's stderr, if it is piped and was not taken.
    pub stderr: Option<ChildStderr>,
    communication: Communication,
    running: Arc<RunningChild>,
}

/// The child's pool and its one task.
#[derive(Debug)]
struct RunningChild {
    pool: Pool,
    handle: TaskHandle,
    state: Arc<ChildState>,
    program: String,
    /// Its arguments, as JSON.
    args: String,
}

impl RunningChild {
    fn pause(&self) {
        self.state.pause();
        self.pool.pause();
    }

    fn resume(&self) {
        self.pool.resume();
        self.state.resume();
    }

    fn kill(&self) {
        if !self.pool.is_owned() {
            return;
        }
        self.state.kill();
        self.pool.terminate();
    }

    /// Returns the outcome of its task; `None` before all its processes are reaped.
    fn outcome(&self, until: Option<Instant>) -> Option<Outcome> {
        // In a fork the handle returns an outcome that reports the fork.
        if self.pool.is_owned() && !self.pool.has_ended_by(until) {
            return None;
        }
        self.handle.try_get()
    }

    fn status(&self, outcome: Outcome) -> ExitStatus {
        let cut = self.pool.is_owned().then(|| self.state.output_cut()).flatten();
        ExitStatus::new(outcome, cut, &self.args)
    }
}

impl Child {
    pub(super) fn new(
        pool: Pool,
        handle: TaskHandle,
        state: Arc<ChildState>,
        parent_ends: ParentEnds,
        program: &str,
        args: String,
        max_output: u64,
    ) -> Self {
        let ParentEnds {
            stdin,
            stdout,
            stderr,
        } = parent_ends;
        let program = program.to_owned();
        Self {
            stdin,
            stdout,
            stderr,
            communication: Communication::new(max_output),
            running: Arc::new(RunningChild {
                pool,
                handle,
                state,
                program,
                args,
            }),
        }
    }

    /// Returns the process id of its dispatcher, the parent of its worker. It is meaningless once the child has ended.
    #[must_use]
    pub fn dispatcher_pid(&self) -> u32 {
        self.running.pool.dispatcher_pid()
    }

    /// Waits until the child has ended and all its processes are reaped. Closes its stdin first, if it was not taken. May
    /// be called again.
    ///
    /// A child whose output is not read blocks and ends at its timeout; [`communicate`](Child::communicate) reads while it waits.
    ///
    /// # Panics
    /// Never: a pool gives each task its outcome before it ends.
    pub fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        let outcome = self.running.outcome(None);
        self.running
            .status(outcome.expect("the pool gives each task its outcome before it ends"))
    }

    /// Waits until the child has ended, at most for `timeout`, and leaves stdin open. Returns `None` when the child has
    /// not ended by then; it continues to run.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ExitStatus> {
        let outcome = self.running.outcome(Instant::now().checked_add(timeout))?;
        Some(self.running.status(outcome))
    }

    /// Returns how it ended, if it has, without blocking.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Returns its resource usage, once it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        Some(self.running.outcome(Some(Instant::now()))?.usage)
    }

    /// Kills the child. Output that does not fit into the pipe to its reader is dropped. Returns at once. Does nothing when the child
    /// has ended.
    pub fn kill(&self) {
        self.running.kill();
    }

    /// Returns a handle that kills or pauses it from elsewhere, for example from a thread that handles signals.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::downgrade(&self.running))
    }

    /// Writes `input` to its stdin and closes it, reads its stdout and stderr to their ends, and waits until the child
    /// has ended, at most for `timeout` if one is given. Writing and reading happen at the same time, so that neither
    /// side waits for the other forever.
    ///
    /// Streams that are [piped](super::Stdio::Piped) and were not taken take part. Of both outputs together it keeps at
    /// most [`max_output`](super::Command::max_output) bytes.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: the child continues, and no data is lost. Call it again without input to continue waiting, or
    /// [kill](Child::kill) the child. [`Error::Forked`] in a fork of the process that started the child.
    /// [`Error::BadSetting`] for input without a stdin. [`Error::Io`].
    pub fn communicate(
        &mut self,
        input: impl Into<Vec<u8>>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Output, Error> {
        if !self.running.pool.is_owned() {
            return Err(Error::Forked);
        }
        let until = timeout
            .into()
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.communication.add(input.into(), self.stdin.as_ref())?;
        let (stdin, stdout, stderr) = (&mut self.stdin, &mut self.stdout, &mut self.stderr);
        self.communication.run(stdin, stdout, stderr, until)?;
        let outcome = self.running.outcome(until).ok_or(Error::TimedOut)?;
        let usage = outcome.usage;
        let (stdout, stderr, truncated) = self.communication.take();
        Ok(Output {
            status: self.running.status(outcome),
            stdout,
            stderr,
            truncated,
            usage,
            program: self.running.program.clone(),
        })
    }

    /// [Communicates](Child::communicate) without input or timeout, and turns any end but exit code 0 into an error.
    ///
    /// # Errors
    /// [`Error::Command`], and those of [`communicate`](Child::communicate).
    pub fn check(&mut self) -> Result<Output, Error> {
        Ok(self.communicate("", None)?.check()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.running.kill();
        // The handle is being dropped, so the result can no longer be requested.
        let _ = self.running.pool.join();
    }
}

/// Kills or pauses a child from elsewhere. It does not keep the child alive.
#[derive(Clone, Debug)]
pub struct Killer(Weak<RunningChild>);

impl Killer {
    /// Kills the child, as [`Child::kill`] does. Does nothing when the child is gone.
    pub fn kill(&self) {
        if let Some(running) = self.0.upgrade() {
            running.kill();
        }
    }

    /// Pauses the child and its timeout until [`Killer::resume`]. Returns at once. Does nothing when the child is gone.
    pub fn pause(&self) {
        if let Some(running) = self.0.upgrade() {
            running.pause();
        }
    }

    /// Resumes a child that was [paused](Killer::pause).
    pub fn resume(&self) {
        if let Some(running) = self.0.upgrade() {
            running.resume();
        }
    }
}
