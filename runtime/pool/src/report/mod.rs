//! [`Reporter`]: receives what happens in a pool.

pub(crate) mod event;
pub mod prints;
pub(crate) mod terminal;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::report::event::{Event, LogLine, PrintedOutput, WorkerEvent};
use crate::sync::Mutex;
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::{Attempt, Outcome};

/// Receives what happens in a pool: outcomes, output, log lines, failed attempts, warnings.
///
/// A reporter implements the methods for what it needs, or [`event`](Self::event) for all at once. A pool has any number of them
/// ([`Builder::reporter`](crate::Builder::reporter)), and each receives everything, in the order in which they were added.
///
/// The pool's threads call it, one call at a time. While it blocks, outcomes wait, and soon no task is assigned: that is the
/// backpressure of outcomes. An error that it returns ends the run
/// ([`Error::Report`](crate::error::Error::Report)), and it is not called again; a panic counts as an error. Other reporters of the
/// pool still receive everything. It must not push tasks, or wait for the pool or one of its tasks: each may wait for it. It may call
/// [`Pool::interrupt`](crate::Pool::interrupt) and [`Pool::terminate`](crate::Pool::terminate), which return at once.
///
/// Its arguments contain text of guests: [escape](mpwasm_types::escape) it before it reaches a terminal or a text log.
///
/// ```no_run
/// use std::io;
/// use mpwasm::{Outcome, Pool, Reporter};
///
/// /// Prints a JSON line per outcome.
/// struct Records;
///
/// impl Reporter for Records {
///     fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
///         println!("{}", serde_json::to_string(outcome)?);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<(), mpwasm::Error> {
/// let pool = Pool::builder().reporter(Records).start()?;
/// # pool.stop()
/// # }
/// ```
pub trait Reporter: Send {
    /// Receives something that happens. The default calls the method that is meant for it.
    ///
    /// # Errors
    /// End the run.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match *event {
            Event::AttemptFailed { task, attempt } => self.attempt_failed(task, attempt),
            Event::Ended(outcome) => self.outcome(outcome),
            Event::Printed(ref output) => self.output(output),
            Event::Logged(ref line) => self.log(line),
            Event::Warning(text) => self.warning(text),
            Event::Worker(event) => self.worker(event),
        }
    }

    /// Receives the outcome of a task whose callback has ended too. Called exactly once for each accepted task.
    ///
    /// # Errors
    /// End the run.
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let _ = outcome;
        Ok(())
    }

    /// Receives a piece of a guest's output.
    ///
    /// # Errors
    /// End the run.
    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        let _ = output;
        Ok(())
    }

    /// Receives a line that a guest logged, or why a callback failed. The default emits it to `tracing`.
    ///
    /// # Errors
    /// End the run.
    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        line.trace();
        Ok(())
    }

    /// Receives a warning of mpwasm: for example, callbacks were disabled, or a worker is not restarted any more.
    ///
    /// # Errors
    /// End the run.
    fn warning(&mut self, text: &str) -> io::Result<()> {
        tracing::warn!("{text}");
        Ok(())
    }

    /// Receives an attempt of a task that has failed and is followed by another. Also an event of `tracing`, at level `INFO`.
    ///
    /// # Errors
    /// End the run.
    fn attempt_failed(&mut self, task: TaskId, attempt: &Attempt) -> io::Result<()> {
        let _ = (task, attempt);
        Ok(())
    }

    /// Receives a change of the state of a worker process. Also an event of `tracing`, at level `DEBUG`.
    ///
    /// # Errors
    /// End the run.
    fn worker(&mut self, event: &WorkerEvent) -> io::Result<()> {
        let _ = event;
        Ok(())
    }

    /// Returns whether it wants [`Event::Worker`]. The dispatcher sends them only on demand. Called once, when the pool starts.
    fn wants_workers(&self) -> bool {
        false
    }

    /// Flushes buffers. Called when no further message is waiting.
    ///
    /// # Errors
    /// End the run.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes buffers and unfinished lines. Called once, unless this reporter has failed before, when every task has its outcome, before
    /// [`Pool::join`](crate::Pool::join) returns. After it only output of a guest's `tasks` that is being ended can arrive. The
    /// default flushes.
    ///
    /// # Errors
    /// Are returned by [`Pool::join`](crate::Pool::join) as [`Error::Report`](crate::Error::Report).
    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// The reporters of a pool: serialises calls by several threads.
pub(crate) struct Reporters(Mutex<ReportersState>);

struct ReportersState {
    listeners: Vec<RegisteredReporter>,
    failure: ReporterFailure,
}

struct RegisteredReporter {
    reporter: Box<dyn Reporter>,
    has_failed: bool,
}

/// The first failure of a reporter.
enum ReporterFailure {
    None,
    New(io::Error),
    Taken,
}

impl std::fmt::Debug for Reporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporters").finish_non_exhaustive()
    }
}

impl Reporters {
    pub fn new(reporters: Vec<Box<dyn Reporter>>) -> Self {
        let listeners = reporters.into_iter().map(|reporter| RegisteredReporter {
            reporter,
            has_failed: false,
        });
        Self(Mutex::new(ReportersState {
            listeners: listeners.collect(),
            failure: ReporterFailure::None,
        }))
    }

    /// Passes an event to each reporter. Returns true when one has failed.
    pub fn event(&self, event: &Event<'_>) -> bool {
        self.each(|reporter| reporter.event(event))
    }

    /// Flushes each reporter. Returns true when one has failed.
    pub fn flush(&self) -> bool {
        self.each(Reporter::flush)
    }

    /// Ends each reporter, after the last event. [`take_failure`](Self::take_failure) returns a failure.
    pub fn finish(&self) {
        self.each(Reporter::finish);
    }

    /// Makes a call of each reporter that has not failed yet. Returns true when one fails.
    fn each(&self, call: impl Fn(&mut (dyn Reporter + 'static)) -> io::Result<()>) -> bool {
        let ReportersState { listeners, failure } = &mut *self.0.lock();
        let mut has_failed = false;
        for listener in listeners {
            if listener.has_failed {
                continue;
            }
            // A panic must not end the pool's threads, or calls that wait for the pool would never return. The reporter is not
            // called again, so its broken invariants are not observed.
            let result = catch_unwind(AssertUnwindSafe(|| call(listener.reporter.as_mut())));
            if let Err(error) = result.unwrap_or_else(|_| Err(io::Error::other("the reporter panicked"))) {
                (listener.has_failed, has_failed) = (true, true);
                if matches!(failure, ReporterFailure::None) {
                    *failure = ReporterFailure::New(error);
                }
            }
        }
        has_failed
    }

    /// Takes the first failure.
    pub fn take_failure(&self) -> Option<io::Error> {
        let failure = &mut self.0.lock().failure;
        match std::mem::replace(failure, ReporterFailure::Taken) {
            ReporterFailure::New(error) => Some(error),
            ReporterFailure::None => {
                *failure = ReporterFailure::None;
                None
            }
            ReporterFailure::Taken => None,
        }
    }
}
