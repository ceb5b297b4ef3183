//! A command that runs, and who ends it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::course::Course;
use super::exchange::Exchange;
use super::status::{ExitStatus, Output};
use super::stdio::{ChildStderr, ChildStdin, ChildStdout, Opened};
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use mpwasm_types::outcome::{Outcome, Usage};

/// A command that runs, in a dispatcher and a worker of its own.
///
/// Dropping it kills it, and returns when no process of it is left. In that it differs from
/// [`std::process::Child`], and from Python's `Popen`: what was started here never goes on unseen.
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
    /// What it reads, if that is [piped](super::Stdio::Piped) and was not taken.
    pub stdin: Option<ChildStdin>,
    /// What it writes to its stdout, likewise.
    pub stdout: Option<ChildStdout>,
    /// What it writes to its stderr, likewise.
    pub stderr: Option<ChildStderr>,
    exchange: Exchange,
    life: Arc<Life>,
}

/// The child's processes.
#[derive(Debug)]
struct Life {
    pool: Pool,
    handle: TaskHandle,
    course: Arc<Course>,
    program: String,
    /// Its arguments, as JSON.
    args: String,
}

impl Life {
    fn pause(&self) {
        self.course.pause();
        self.pool.pause();
    }

    fn resume(&self) {
        self.pool.resume();
        self.course.resume();
    }

    fn kill(&self) {
        if !self.pool.is_owned() {
            return;
        }
        self.course.kill();
        self.pool.terminate();
    }

    /// How its task ended; `None` before the last process is gone.
    fn outcome(&self, until: Option<Instant>) -> Option<Outcome> {
        // To a fork the handle says that it is one.
        if self.pool.is_owned() && !self.pool.has_ended_by(until) {
            return None;
        }
        self.handle.try_get()
    }

    fn status(&self, outcome: Outcome) -> ExitStatus {
        let cut = self.pool.is_owned().then(|| self.course.how_cut()).flatten();
        ExitStatus::new(outcome, cut, &self.args)
    }
}

impl Child {
    pub(super) fn new(
        pool: Pool,
        handle: TaskHandle,
        course: Arc<Course>,
        ours: Opened,
        program: &str,
        args: String,
        max_output: u64,
    ) -> Self {
        let Opened {
            stdin,
            stdout,
            stderr,
        } = ours;
        let program = program.to_owned();
        Self {
            stdin,
            stdout,
            stderr,
            exchange: Exchange::new(max_output),
            life: Arc::new(Life {
                pool,
                handle,
                course,
                program,
                args,
            }),
        }
    }

    /// The process id of its dispatcher, whose child the worker is that runs it. Once it has ended it means nothing any
    /// more.
    #[must_use]
    pub fn dispatcher_pid(&self) -> u32 {
        self.life.pool.dispatcher_pid()
    }

    /// Waits for its end: then no process of it is left. Its stdin is closed first, if that was not taken. May be called
    /// again.
    ///
    /// A child that writes more than somebody reads waits, and ends at its timeout;
    /// [`communicate`](Child::communicate) reads while it waits.
    ///
    /// # Panics
    /// Never: what has ended has an outcome.
    pub fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        let outcome = self.life.outcome(None);
        self.life
            .status(outcome.expect("the pool gives each task its outcome before it ends"))
    }

    /// As [`wait`](Child::wait), but no longer than `timeout`, and with stdin as it is: `None` when it has not ended by
    /// then. It goes on.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<ExitStatus> {
        let outcome = self.life.outcome(Instant::now().checked_add(timeout))?;
        Some(self.life.status(outcome))
    }

    /// How it ended, if it has. Does not wait.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.wait_timeout(Duration::ZERO)
    }

    /// What it used, once it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        Some(self.life.outcome(Some(Instant::now()))?.usage)
    }

    /// Ends it now; what it had written and does not fit into a pipe to its reader is dropped. Returns at once. Does
    /// nothing when it has ended.
    pub fn kill(&self) {
        self.life.kill();
    }

    /// What kills it from elsewhere: another thread, or a signal's.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::downgrade(&self.life))
    }

    /// Writes `input` to its stdin and closes that, reads its stdout and stderr to their ends, all at the same time, so
    /// that neither side waits for the other for ever; and waits for its end, with a `timeout` if one is given.
    ///
    /// What is [piped](super::Stdio::Piped) and was not taken takes part. Of the two streams together as much is kept as
    /// [`max_output`](super::Command::max_output) says.
    ///
    /// # Errors
    /// [`Error::TimedOut`]: the child goes on, and nothing is lost. Call it again, without input, to go on waiting, or
    /// [kill](Child::kill) it. [`Error::Forked`] in a fork of the process that started it. [`Error::BadSetting`] for input
    /// without a stdin to write it to. [`Error::Io`].
    pub fn communicate(
        &mut self,
        input: impl Into<Vec<u8>>,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Output, Error> {
        if !self.life.pool.is_owned() {
            return Err(Error::Forked);
        }
        let until = timeout
            .into()
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.exchange.add(input.into(), self.stdin.as_ref())?;
        let (stdin, stdout, stderr) = (&mut self.stdin, &mut self.stdout, &mut self.stderr);
        self.exchange.run(stdin, stdout, stderr, until)?;
        let outcome = self.life.outcome(until).ok_or(Error::TimedOut)?;
        let usage = outcome.usage;
        let (stdout, stderr, truncated) = self.exchange.take();
        Ok(Output {
            status: self.life.status(outcome),
            stdout,
            stderr,
            truncated,
            usage,
            program: self.life.program.clone(),
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
        self.life.kill();
        // How it ends is nobody's concern any more.
        let _ = self.life.pool.join();
    }
}

/// Kills, or pauses, a child from wherever it is needed. It does not keep the child alive.
#[derive(Clone, Debug)]
pub struct Killer(Weak<Life>);

impl Killer {
    /// As [`Child::kill`]. Does nothing when the child is gone.
    pub fn kill(&self) {
        if let Some(life) = self.0.upgrade() {
            life.kill();
        }
    }

    /// Stops the child, and the clock of its timeout, until [`Killer::resume`]. Returns at once. Does nothing when it is
    /// gone.
    pub fn pause(&self) {
        if let Some(life) = self.0.upgrade() {
            life.pause();
        }
    }

    /// Lets a child go on that was [paused](Killer::pause).
    pub fn resume(&self) {
        if let Some(life) = self.0.upgrade() {
            life.resume();
        }
    }
}
