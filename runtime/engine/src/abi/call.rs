//! A call of a guest's export, and the report on it.

use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::outcome::Failure;
use mpwasm_types::task::TaskInput;

/// The export of a guest that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// A model's `runnable`.
    Runnable,
    /// A model's `callback`.
    Callback,
    /// A model's `error_callback`.
    ErrorCallback,
    /// A model's `final_callback`.
    FinalCallback,
    /// The guest's `tasks`. The call's model is ignored.
    Tasks,
}

/// A call of a guest's export.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Number of the guest, as returned by [`Executor::load`](crate::Executor::load).
    pub guest: GuestId,
    /// Index into [`GuestInfo::models`](mpwasm_types::guest_info::GuestInfo::models).
    pub model: ModelId,
    /// The export.
    pub export: Export,
    /// The args, the result, the error, or `null`. For the `runnable` of a command: its invocation. Never a chunk: each of its items
    /// is a call.
    pub input: TaskInput<&'a [u8]>,
    /// Id of the task that the call belongs to. All ones, which the guest sees as -1, if there is none.
    pub task_id: TaskId,
    /// Attempt of the task, counted from 1. Zero if there is no task.
    pub attempt: u32,
}

/// The report on a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// The result, one line of JSON (`null` for an export without a result), or the failure.
    pub result: Result<String, Failure>,
    /// Largest size of the instance's memory, in bytes.
    pub memory_peak: u64,
    /// Number of bytes that the call wrote to stdout, including bytes that were cut.
    pub stdout_bytes: u64,
    /// Whether stdout, stderr or the log was cut.
    pub output_truncated: bool,
}

impl CallReport {
    /// Returns the report on a call that failed before it started.
    pub fn not_started(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            memory_peak: 0,
            stdout_bytes: 0,
            output_truncated: false,
        }
    }
}
