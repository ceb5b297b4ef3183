//! The end of a run: handles its events, and determines its exit code and error messages.

pub mod halt;

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use mpwasm::Pool;

use crate::process::exit::{EndSignal, Exit, ExitError, error_line};
use crate::run::end::halt::{Halt, HaltCount};
use crate::run::input::feed::FeedEnd;
use crate::run::objects::RunObjects;
use crate::run::output::failure::{OutputFailure, OutputKind};
use crate::run::status;
use crate::terminal::stdio;
use mpwasm_system::limit_names::explain;

/// Time for a pool to end after a thread of the command line has panicked: 5 s. Its processes are killed at once.
const PANIC_GRACE: Duration = Duration::from_secs(5);

/// An event that the main thread handles.
#[derive(Debug)]
pub enum RunEvent {
    /// The feeder has ended.
    FeedEnded(Result<FeedEnd, ExitError>),
    /// The user ends the run.
    Signal(EndSignal),
    /// The user asks for the status.
    StatusRequested,
    /// This process is about to be stopped.
    Stopping,
    /// The run continues after a stop of this length.
    Continued(Duration),
    /// An output can't be written.
    OutputFailed,
    /// The condition of `--halt` is met. The pool was ended before any further task could begin.
    Halted(Halt),
    /// The pool has ended, and all its outcomes were reported.
    PoolEnded(Result<(), mpwasm::Error>),
    /// A thread of the command line panicked.
    Panicked,
}

/// The total timeout of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunDeadline {
    total: Duration,
    /// `None` if it is beyond the range of `Instant`.
    at: Option<Instant>,
}

impl RunDeadline {
    /// Returns the deadline `total` after `started`.
    pub fn new(started: Instant, total: Duration) -> Self {
        let at = started.checked_add(total);
        Self { total, at }
    }

    /// Postpones the deadline, for time during which the run was stopped.
    fn extend(&mut self, by: Duration) {
        self.at = self.at.and_then(|at| at.checked_add(by));
    }
}

/// The operations of the main thread on the pool. None of them blocks.
pub trait PoolControl {
    /// Closes the pool: accepted tasks still run.
    fn finish(&self);
    /// Lets running tasks end, and cancels the others.
    fn interrupt(&self);
    /// Kills running tasks, and cancels the others.
    fn kill(&self);
    /// Prints the status.
    fn print_status(&self);
}

/// The pool of a run, and the objects that its tasks share.
pub struct RunningPool {
    pool: Arc<Pool>,
    objects: Option<Arc<RunObjects>>,
}

impl RunningPool {
    /// Returns the pool with the objects, if there are some.
    pub fn new(pool: &Arc<Pool>, objects: Option<RunObjects>) -> Self {
        Self {
            pool: Arc::clone(pool),
            objects: objects.map(Arc::new),
        }
    }

    /// Writes the contents of the objects if a file is given for them, and checks that they were there to the end.
    ///
    /// # Errors
    /// When the manager has ended, or the contents can't be written.
    pub fn finish_objects(&self) -> anyhow::Result<()> {
        self.objects.as_ref().map_or(Ok(()), |objects| objects.finish())
    }
}

impl PoolControl for RunningPool {
    fn finish(&self) {
        // `close` blocks while the pipe of tasks is full, which can last until a reader of stdout reads.
        let pool = Arc::clone(&self.pool);
        thread::spawn(move || pool.close());
    }

    fn interrupt(&self) {
        self.pool.interrupt();
    }

    fn kill(&self) {
        self.pool.terminate();
    }

    fn print_status(&self) {
        // The dispatcher's answer can take a while.
        let (pool, objects) = (Arc::clone(&self.pool), self.objects.clone());
        thread::spawn(move || {
            status::print(&pool);
            objects.iter().for_each(|objects| objects.print_status());
        });
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnd {
    /// The result of the pool.
    pub pool: Result<(), mpwasm::Error>,
    /// Whether all tasks were pushed.
    pub all_pushed: bool,
    /// The error of the feeder.
    pub feed_failure: Option<ExitError>,
    /// The first signal.
    pub signal: Option<EndSignal>,
    /// The total timeout, if it passed.
    pub timed_out: Option<Duration>,
    /// The condition of `--halt` that ended it.
    pub halted: Option<Halt>,
    /// Whether the shared objects were there to the end, and written.
    pub objects: anyhow::Result<()>,
}

impl Default for RunEnd {
    fn default() -> Self {
        Self {
            pool: Ok(()),
            all_pushed: false,
            feed_failure: None,
            signal: None,
            timed_out: None,
            halted: None,
            objects: Ok(()),
        }
    }
}

/// Handles events until the pool has ended.
pub fn wait(
    pool: &impl PoolControl,
    inbox: &Receiver<RunEvent>,
    mut deadline: Option<RunDeadline>,
) -> RunEnd {
    let mut end = RunEnd::default();
    let mut signals = 0;
    let mut is_stopped = false;
    loop {
        // Queued events come before the deadline, so that a stop of this process is handled before it expires.
        let event = match deadline.and_then(|deadline| deadline.at).filter(|_| !is_stopped) {
            Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(RunEvent::FeedEnded(result)) => end.feed_ended(result, pool),
            Ok(RunEvent::Signal(signal)) => {
                let first = *end.signal.get_or_insert(signal);
                signals += 1;
                on_signal(pool, signals, signal, first);
            }
            Ok(RunEvent::StatusRequested) => pool.print_status(),
            Ok(RunEvent::Stopping) => is_stopped = true,
            Ok(RunEvent::Continued(stopped)) => {
                is_stopped = false;
                if let Some(deadline) = &mut deadline {
                    deadline.extend(stopped);
                }
            }
            Ok(RunEvent::OutputFailed) => pool.kill(),
            Ok(RunEvent::Halted(halt)) => end.halted = Some(halt),
            Ok(RunEvent::PoolEnded(result)) => {
                end.pool = result;
                return end;
            }
            Ok(RunEvent::Panicked) | Err(RecvTimeoutError::Disconnected) => {
                pool.kill();
                end.feed_failure = Some(ExitError::internal(anyhow!("a thread of mpwasm panicked")));
                end.pool = wait_for_pool(inbox).unwrap_or(Ok(()));
                return end;
            }
            Err(RecvTimeoutError::Timeout) => {
                pool.kill();
                end.timed_out = deadline.take().map(|deadline| deadline.total);
            }
        }
    }
}

/// Waits for the end of a pool that was killed, at which its reporters write what they have buffered. Returns its result; `None` after
/// [`PANIC_GRACE`], or if the thread that panicked was the one that waits for the pool.
fn wait_for_pool(inbox: &Receiver<RunEvent>) -> Option<Result<(), mpwasm::Error>> {
    let latest = Instant::now() + PANIC_GRACE;
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        if let RunEvent::PoolEnded(result) = inbox.recv_timeout(left).ok()? {
            return Some(result);
        }
    }
}

fn on_signal(pool: &impl PoolControl, count: u32, signal: EndSignal, first: EndSignal) {
    match count {
        1 => {
            pool.interrupt();
            stdio::try_print_message(&format!(
                "{signal}: running tasks may end, the others are cancelled; a second signal kills all"
            ));
        }
        2 => {
            pool.kill();
            stdio::try_print_message(&format!(
                "{signal}: all is killed; a third signal does not wait for records"
            ));
        }
        // A reader of stdout or of the records does not read. Nothing more can be written.
        _ => process::exit(Exit::Interrupted(first).code()),
    }
}

impl RunEnd {
    /// Closes the pool after the last task, or kills it if no task was pushed.
    fn feed_ended(&mut self, result: Result<FeedEnd, ExitError>, pool: &impl PoolControl) {
        match result {
            Ok(feed) => {
                self.all_pushed = feed == FeedEnd::All;
                pool.finish();
            }
            Err(failure) => {
                match failure.exit {
                    Exit::Usage | Exit::Unread => pool.kill(), // no task was pushed
                    _ => pool.finish(),                        // tasks that were pushed still run
                }
                self.feed_failure = Some(failure);
            }
        }
    }

    /// Returns whether the run ended before all tasks were read.
    pub fn is_cut_short(&self) -> bool {
        !self.all_pushed && self.feed_failure.is_none()
    }

    /// Returns the exit code. A failure of mpwasm has the highest priority, then a signal.
    ///
    /// `any_failure` is true if a task or callback failed, `lost_values` if a final value was lost.
    pub fn exit(&self, output_failure: Option<&OutputFailure>, any_failure: bool, lost_values: bool) -> Exit {
        let of_tasks = |failed| if failed { Exit::TasksFailed } else { Exit::Success };
        let feeder = self.feed_failure.as_ref().map(|failure| failure.exit);
        if output_failure.is_some_and(|output_failure| !output_failure.is_closed_pipe())
            || feeder == Some(Exit::Failed)
            || self.objects.is_err()
        {
            return Exit::Failed;
        }
        if self.pool.is_err() && output_failure.is_none() {
            return Exit::Failed;
        }
        if let Some(signal) = self.signal {
            return Exit::Interrupted(signal);
        }
        // A reader that closes its pipe after everything was written is no failure.
        if let Some(output_failure) = output_failure
            && (output_failure.lost || !self.all_pushed || lost_values)
        {
            return Exit::Unread;
        }
        // A run that ends after a number of successes has succeeded, whatever failed before. Its final values are lost because of
        // the early end.
        if let Some(halt) = self.halted
            && self.timed_out.is_none()
        {
            return of_tasks(halt.counted == HaltCount::Fail);
        }
        feeder.unwrap_or(of_tasks(any_failure || lost_values || self.timed_out.is_some()))
    }

    /// Returns a line for each error other than those of tasks.
    pub fn problems(&self, output_failure: Option<&OutputFailure>) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(output_failure) = output_failure.filter(|output_failure| !output_failure.is_closed_pipe())
        {
            let what = match output_failure.output {
                OutputKind::Prints => "write what guests print",
                OutputKind::Records | OutputKind::ResultsDir => "write records",
                OutputKind::OrderBuffer => {
                    "keep what waits for its turn in a temporary file (leave out --keep-order, or set TMPDIR to another folder)"
                }
            };
            problems.push(format!(
                "cannot {what}, the run was ended: {}",
                explain(&output_failure.error)
            ));
        }
        if let Err(error) = &self.pool
            && !(output_failure.is_some() && matches!(error, mpwasm::Error::Report { .. }))
        {
            problems.push(error.to_string());
        }
        let feeder = self
            .feed_failure
            .as_ref()
            .filter(|failure| failure.exit != Exit::Unread);
        problems.extend(feeder.map(|failure| error_line(&failure.error)));
        problems.extend(self.objects.as_ref().err().map(error_line));
        if let Some(halt) = self.halted {
            problems.push(format!("the run was ended early: --halt {halt}"));
        }
        if let Some(total) = self.timed_out {
            let total = humantime::format_duration(total);
            problems.push(format!(
                "the run took longer than --total-timeout {total} and was ended"
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests;
