//! Parts of several messages about a call of a guest: its source, output, resource usage and result.

use std::time::Duration;

use super::limits::OUTPUT_PIECE;
use mpwasm_types::bounded;
use mpwasm_types::ids::{GuestId, ModelId, TaskId, WorkerNumber};
use mpwasm_types::nanos;
use mpwasm_types::outcome::{Failure, LogLevel, Stream};
use mpwasm_types::output::{LOG_LINE_COST, MAX_LOG_TEXT};
use mpwasm_types::time::Time;
use serde::{Deserialize, Serialize};

/// Names the call that a print or a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The task with this id, in a worker.
    Task(TaskId),
    /// The callback for the task with this id, in the dispatcher.
    Callback(TaskId),
    /// The `final_callback` of a model, in the dispatcher.
    FinalCallback {
        /// The guest, in the order of loading.
        guest: GuestId,
        /// The model, in the order of [`GuestInfo::models`](mpwasm_types::guest_info::GuestInfo::models).
        model: ModelId,
    },
    /// A guest's `tasks`.
    Tasks,
}

/// A piece of what a guest has printed, or a line that it has logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestOutput<'a> {
    /// The guest has printed.
    Printed {
        /// The stream.
        stream: Stream,
        /// The bytes, at least one, with or without newlines.
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "bounded::borrowed_bytes::<_, OUTPUT_PIECE>"
        )]
        bytes: &'a [u8],
    },
    /// The guest has logged a line.
    Logged {
        /// The level that the guest gave it.
        level: LogLevel,
        /// The line.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LOG_TEXT>")]
        text: &'a str,
    },
}

impl GuestOutput<'_> {
    /// Returns the number of bytes that count towards a limit of `max_output` bytes, or `None` for a print without a byte,
    /// which is invalid.
    #[must_use]
    pub fn counted(&self, max_output: u64) -> Option<u64> {
        match self {
            Self::Printed { bytes: [], .. } => None,
            // Without a limit, prints are streamed with backpressure, and only log lines are counted.
            Self::Printed { .. } if max_output == u64::MAX => Some(0),
            Self::Printed { bytes, .. } => Some(bytes.len() as u64),
            Self::Logged { text, .. } => Some((text.len() + LOG_LINE_COST) as u64),
        }
    }
}

/// Where and how long a task ran. A task that never ran has no execution.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The worker's number.
    pub worker: WorkerNumber,
    /// The worker's process id.
    pub pid: u32,
    /// When it was claimed.
    pub claimed: Time,
    /// Wall time from the claim to the end.
    #[serde(with = "nanos")]
    pub run: Duration,
    /// What the worker measured; `None` when it died.
    pub measured: Option<ResourceUsage>,
}

/// The resources that a call used, as its worker measured them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// CPU time of the task's thread.
    #[serde(with = "nanos")]
    pub cpu: Duration,
    /// Largest size of the linear memory, bytes.
    pub memory_peak: u64,
    /// Bytes written to stdout, including those past the cap.
    pub stdout_bytes: u64,
    /// Whether output was cut at the cap.
    pub output_truncated: bool,
}

/// The result of a call, or its failure.
#[derive(Debug, Serialize, Deserialize)]
pub enum CallResult<'a> {
    /// The result: one line of JSON.
    Ok(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Why there is none.
    Failed(Failure),
}
