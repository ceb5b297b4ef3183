//! [`Event`]: something that happens in a pool.

use serde::{Deserialize, Serialize, Serializer};
use tracing::Level;

use mpwasm_protocol::messages::GuestOutput;
pub use mpwasm_protocol::messages::{Source, WorkerEvent};
use mpwasm_types::escape::escape;
use mpwasm_types::ids::{TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, LogLevel, Outcome, Stream};

/// Something that happens in a pool, for its [`Reporter`](crate::Reporter)s.
///
/// It contains text of guests: [escape](mpwasm_types::escape) it before it reaches a terminal or a text log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An attempt of a task has failed, and another will follow.
    AttemptFailed {
        /// The task's id.
        task: TaskId,
        /// How the attempt failed.
        attempt: &'a Attempt,
    },
    /// A task has ended, and so has its callback. Happens exactly once for each accepted task.
    Ended(&'a Outcome),
    /// A guest has printed, or its call has ended.
    Printed(PrintedOutput<'a>),
    /// A guest has logged a line, or its callback has failed.
    Logged(LogLine<'a>),
    /// mpwasm warns: for example, callbacks were disabled, or a worker is not restarted any more.
    Warning(&'a str),
    /// A worker process has changed its state. Happens only while `tracing` takes events of the level `DEBUG`, or a reporter
    /// [wants](crate::Reporter::wants_workers) them.
    Worker(&'a WorkerEvent),
}

impl<'a> Event<'a> {
    /// Returns the event of output from `source`. `at` is the worker's number and the task's attempt, if a worker ran it.
    pub(crate) fn of_output(
        source: Source,
        at: Option<(WorkerNumber, u32)>,
        output: GuestOutput<'a>,
    ) -> Self {
        match output {
            GuestOutput::Printed { stream, bytes } => Self::Printed(PrintedOutput {
                source,
                stream,
                bytes,
                end: false,
            }),
            GuestOutput::Logged { level, text } => {
                let (worker, attempt) = at.unzip();
                Self::Logged(LogLine {
                    source,
                    level,
                    text,
                    worker,
                    attempt,
                })
            }
        }
    }
}

/// A piece of a guest's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintedOutput<'a> {
    /// The source of the output.
    pub source: Source,
    /// The stream that it was written to.
    pub stream: Stream,
    /// The bytes, with or without newlines.
    #[serde(serialize_with = "serialize_bytes")]
    pub bytes: &'a [u8],
    /// Whether the call has ended: an unfinished line of either stream ends here. The next attempt of a task prints as the same
    /// source.
    pub end: bool,
}

/// Serializes bytes as one value, not as a list of numbers.
fn serialize_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// A line that a guest logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
