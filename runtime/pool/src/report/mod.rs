//! Who hears of outcomes and prints: the [`Reporter`].

pub mod prints;
pub(crate) mod terminal;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use tracing::Level;

pub use mpwasm_protocol::messages::Source;
use mpwasm_types::escape::escape;
use mpwasm_types::outcome::{LogLevel, Outcome, Stream};

/// A piece of what a guest printed, as it printed it.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Who printed it.
    pub source: Source,
    /// Where to.
    pub stream: Stream,
    /// What: any bytes, with or without newlines.
    pub bytes: &'a [u8],
    /// The source prints no more: an unfinished line of either stream ends here.
    pub end: bool,
}

/// A line that a guest logged.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Who logged it.
    pub source: Source,
    /// How bad it is.
    pub level: LogLevel,
    /// The line, as the guest gave it.
    pub text: &'a str,
    /// The worker that the task ran in, from 0.
    pub worker: Option<u32>,
    /// Which try of the task it was, from 1.
    pub attempt: Option<u32>,
}

/// The target under which `tracing` knows guests' log lines.
pub const LOG_TARGET: &str = "mpwasm::guest";

impl LogLine<'_> {
    /// Hands it to `tracing`: under the target [`LOG_TARGET`], with the fields `task` (or `callback`, the task that a
    /// callback was for, or `final_callback`), `attempt`, `worker` and `text`, made inert.
    pub fn trace(&self) {
        macro_rules! at {
            ($level:ident) => {{
                let text = &*escape(self.text);
                let (task, callback) = match self.source {
                    Source::Task(id) => (Some(id), None),
                    Source::Callback(id) => (None, Some(id)),
                    Source::FinalCallback { .. } | Source::Tasks => (None, None),
                };
                let final_callback = matches!(self.source, Source::FinalCallback { .. }).then_some(true);
                let (worker, attempt) = (self.worker, self.attempt);
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

/// Hears of everything that a run brings forth.
///
/// It is called from the pool's threads, one call at a time. While it blocks, so do the outcomes, and soon
/// assignment: that is the back-pressure of outcomes. An error that it returns ends the run
/// ([`Error::Report`](crate::error::Error::Report)), and it is not called again; a panic counts as an error. It must not
/// call the pool or wait for one of its tasks: both may wait for it.
///
/// What it is given comes from guests: make it inert before it reaches a terminal or a text log
/// ([escaped](mpwasm_types::escape)).
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
    /// A task has ended, and so has its callback. Called exactly once for each accepted task.
    ///
    /// # Errors
    /// End the run.
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let _ = outcome;
        Ok(())
    }

    /// A guest printed.
    ///
    /// # Errors
    /// End the run.
    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        let _ = output;
        Ok(())
    }

    /// A guest logged a line; mpwasm itself says so why a callback failed. It goes to `tracing`, if not overridden.
    ///
    /// # Errors
    /// End the run.
    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        line.trace();
        Ok(())
    }

    /// mpwasm itself has something to say about this run, once: callbacks were switched off, a worker was given up.
    ///
    /// # Errors
    /// End the run.
    fn warning(&mut self, text: &str) -> io::Result<()> {
        tracing::warn!("{text}");
        Ok(())
    }

    /// Nothing more is at hand right now: what is buffered should go out.
    ///
    /// # Errors
    /// End the run.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reporter that several threads call, until its first failure.
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

    /// Makes a call, if none has failed yet. True when this one did.
    pub fn call(&self, call: impl FnOnce(&mut (dyn Reporter + 'static)) -> io::Result<()>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(state.failure, ReporterFailure::None) {
            return false;
        }
        // A panic must not take the pool's threads along: who waits for the pool would wait for ever. The reporter is
        // not called again, so nobody sees what it left half-done.
        let result = catch_unwind(AssertUnwindSafe(|| call(state.reporter.as_mut())));
        match result.unwrap_or_else(|_| Err(io::Error::other("the reporter panicked"))) {
            Ok(()) => false,
            Err(error) => {
                state.failure = ReporterFailure::New(error);
                true
            }
        }
    }

    /// The failure, once.
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
