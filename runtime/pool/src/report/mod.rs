//! [`Reporter`]: receives the outcomes, output and log lines of a pool.

pub mod prints;
pub(crate) mod terminal;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use tracing::Level;

pub use mpwasm_protocol::messages::Source;
use mpwasm_types::escape::escape;
use mpwasm_types::ids::WorkerNumber;
use mpwasm_types::outcome::{LogLevel, Outcome, Stream};

/// A piece of a guest's output.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// The source of the output.
    pub source: Source,
    /// The stream that it was written to.
    pub stream: Stream,
    /// The bytes, with or without newlines.
    pub bytes: &'a [u8],
    /// Whether the source writes no more: an unfinished line of either stream ends here.
    pub end: bool,
}

/// A line that a guest logged.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// The source of the line.
    pub source: Source,
    /// The severity.
    pub level: LogLevel,
    /// The line, as the guest gave it.
    pub text: &'a str,
    /// Number of the worker that ran the task, from 0.
    pub worker: Option<WorkerNumber>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
}

/// `tracing` target of guests' log lines.
pub const LOG_TARGET: &str = "mpwasm::guest";

impl LogLine<'_> {
    /// Emits the line as a `tracing` event: under the target [`LOG_TARGET`], with the fields `task` (or `callback`, the task that a
    /// callback was for, or `final_callback`), `attempt`, `worker` and the escaped `text`.
    pub fn trace(&self) {
        macro_rules! at {
            ($level:ident) => {{
                let text = &*escape(self.text);
                let (task, callback) = match self.source {
                    Source::Task(id) => (Some(id.0), None),
                    Source::Callback(id) => (None, Some(id.0)),
                    Source::FinalCallback { .. } | Source::Tasks => (None, None),
                };
                let final_callback = matches!(self.source, Source::FinalCallback { .. }).then_some(true);
                let (worker, attempt) = (self.worker.map(u32::from), self.attempt);
                tracing::event!(target: LOG_TARGET, Level::$level, task, callback, final_callback, attempt, worker, text);
            }};
        }
        match self.level {
            LogLevel::Error => at!(ERROR),
            LogLevel::Warn => at!(WARN),
            LogLevel::Info => at!(INFO),
            LogLevel::Debug => at!(DEBUG),
            LogLevel::Trace => at!(TRACE),
        }
    }
}

/// Receives the outcomes, output, log lines and warnings of a pool.
///
/// The pool's threads call it, one call at a time. While it blocks, outcomes wait, and soon no task is assigned: that is the
/// backpressure of outcomes. An error that it returns ends the run
/// ([`Error::Report`](crate::error::Error::Report)), and it is not called again; a panic counts as an error. It must not
/// call the pool or wait for one of its tasks: both may wait for it.
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
    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
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

    /// Flushes buffers. Called when no further message is waiting.
    ///
    /// # Errors
    /// End the run.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serialises calls of a reporter by several threads, until its first failure.
pub(crate) struct SharedReporter(Mutex<ReporterState>);

struct ReporterState {
    reporter: Box<dyn Reporter>,
    failure: ReporterFailure,
}

enum ReporterFailure {
    None,
    New(io::Error),
    Taken,
}

impl std::fmt::Debug for SharedReporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedReporter").finish_non_exhaustive()
    }
}

impl SharedReporter {
    pub fn new(reporter: Box<dyn Reporter>) -> Self {
        Self(Mutex::new(ReporterState {
            reporter,
            failure: ReporterFailure::None,
        }))
    }

    /// Makes a call, if none has failed yet. Returns true when this one failed.
    pub fn call(&self, call: impl FnOnce(&mut (dyn Reporter + 'static)) -> io::Result<()>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(state.failure, ReporterFailure::None) {
            return false;
        }
        // A panic must not end the pool's threads, or calls that wait for the pool would never return. The reporter is not called
        // again, so its broken invariants are not observed.
        let result = catch_unwind(AssertUnwindSafe(|| call(state.reporter.as_mut())));
        match result.unwrap_or_else(|_| Err(io::Error::other("the reporter panicked"))) {
            Ok(()) => false,
            Err(error) => {
                state.failure = ReporterFailure::New(error);
                true
            }
        }
    }

    /// Takes the failure.
    pub fn take_failure(&self) -> Option<io::Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut state.failure, ReporterFailure::Taken) {
            ReporterFailure::New(error) => Some(error),
            ReporterFailure::None => {
                state.failure = ReporterFailure::None;
                None
            }
            ReporterFailure::Taken => None,
        }
    }
}
