//! Messages from the dispatcher to the parent.

use mpwasm_types::bounded;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::ids::{GuestId, ModelId, TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, CallbackStatus};
use serde::{Deserialize, Serialize};

use super::call::{CallResult, Execution, GuestOutput, Source};

/// Reports to the parent what becomes of tasks, guests and workers.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromDispatcher<'a> {
    /// An attempt of a task has failed, and another will follow.
    AttemptFailed {
        /// The task's id.
        id: TaskId,
        /// How it failed.
        attempt: Attempt,
    },
    /// A task has ended, and its callback has run.
    Outcome {
        /// The task's id.
        id: TaskId,
        /// Where it ran.
        ran: Option<Execution>,
        /// How its callback ended.
        callback: CallbackStatus,
        /// Its result or failure. The last field, since a large payload is sent without copying it.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// The final value of a model, sent after all tasks have ended.
    Final {
        /// The guest, in the order of loading.
        guest: GuestId,
        /// The model.
        model: ModelId,
        /// The value that its `final_callback` has returned, or why there is none.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// A guest has printed or logged.
    Output {
        /// The call that printed or logged.
        source: Source,
        /// The worker's number and the task's attempt; `None` for a callback.
        at: Option<(WorkerNumber, u32)>,
        /// A piece of its output.
        #[serde(borrow)]
        output: GuestOutput<'a>,
    },
    /// A callback that has printed, or a `final_callback`, will print no more. The output of a task ends with its
    /// outcome.
    OutputEnd {
        /// The call whose output has ended.
        source: Source,
    },
    /// A guest is loaded: the reply to [`ToDispatcher::Load`](super::ToDispatcher::Load).
    Loaded,
    /// A warning for the user.
    Warning(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// The state of a worker process has changed. Sent with [`DispatcherStart::events`](super::DispatcherStart::events).
    Event(WorkerEvent),
    /// The pool has failed. The outcomes of all accepted tasks follow.
    Failed(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// The last message: the dispatcher exits.
    Finished,
}

/// Reports a change of state of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEvent {
    /// The number of the worker, as shown to users.
    pub worker: WorkerNumber,
    /// Its process id.
    pub pid: u32,
    /// The task that it is about, and its attempt.
    pub task: Option<(TaskId, u32)>,
    /// What happened, and why.
    #[serde(deserialize_with = "bounded::text::<_, MAX_NOTE>")]
    pub what: String,
}
