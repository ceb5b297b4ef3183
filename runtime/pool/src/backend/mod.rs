//! The backend of a pool, which runs its tasks.
//!
//! A pool accepts tasks, keeps them in its ledger, and gives each its outcome. A *backend* runs them. [`local`] is the one that runs
//! them on this machine, in the workers of a dispatcher. A backend has three parts, which are used from different threads:
//!
//! | part | what the pool does with it | from |
//! |---|---|---|
//! | [`TaskSender`] | submits tasks, in the order of their ids | any thread, one at a time: the pool holds a lock |
//! | [`Backend`] | loads guests; cancels, confirms, pauses and ends tasks; returns the status | any thread, several at a time |
//! | [`EventSource`] | receives what happens | the receiver, a thread of the pool that lives as long as the backend |
//!
//! # Outcomes
//!
//! A backend reports the end of each submitted task or item with one [`BackendEvent::Ended`]. The pool is what makes this exactly
//! once: it refuses a second end, and an end of what was never submitted, with an [`EventError`], and gives a task without an end its
//! outcome when the backend has ended. So a backend may fail at any time, and every handle still gets its outcome.
//!
//! # Cancellation
//!
//! [`ControlRequest::Cancel`] may arrive before its task, as control requests do not wait behind tasks. The backend then keeps it
//! until the task arrives. The pool sends it only for tasks that were accepted and have not ended. A cancelled task has an end like
//! any other: as `cancelled`, or as it ended just before.

pub(crate) mod connection;
pub(crate) mod local;

use std::fmt::Debug;
use std::fs::File;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::error::Error;
use mpwasm_protocol::messages::{
    ControlRequest, Execution, GuestOutput, Source, StatusReply, StatusRequest, WorkerEvent,
};
use mpwasm_protocol::request::RequestError;
use mpwasm_sandbox::child::Process;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure};
use mpwasm_types::retry::Retry;
use mpwasm_types::task::TaskSpec;

/// Longest time to wait for the dispatcher's reply to a request: 1 s. A reply has a socket of its own, so it waits neither behind
/// outcomes nor for their receiver.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends tasks to what runs them.
///
/// The pool calls it with its lock on submissions held, so that tasks are sent in the order of their ids. A failure is not reported
/// here: the [`EventSource`] ends, and the pool gives all tasks that have not ended their outcomes.
pub trait TaskSender: Debug + Send {
    /// Waits until there is room for a task with an input of `bytes` bytes. This is the backpressure of tasks: a task that has to
    /// wait is not accepted yet. Sends the batch first, if the task does not fit into it.
    fn wait_for_room(&mut self, bytes: usize);

    /// Adds a task, or a chunk, to the batch. The items of a chunk have the ids from `id` on. A task without a retry policy is never
    /// tried again, nor is a chunk. It must not block, as the ledger is locked.
    fn submit(&mut self, id: DispatchId, spec: TaskSpec<&[u8]>, retry: Option<Retry>);

    /// Sends the batch. May block.
    fn flush(&mut self);

    /// Sends the batch, and the message that no more tasks will come. What was submitted runs to its end, and then the
    /// [`EventSource`] ends.
    fn finish(&mut self);
}

/// Loads guests, controls tasks and returns their status. No call waits behind tasks.
pub trait Backend: Debug + Send + Sync {
    /// Sends a guest. [`BackendEvent::Loaded`] reports that its tasks can be run. Guests are loaded one at a time, in the order of
    /// their indices.
    ///
    /// # Errors
    /// [`Error::Closed`] when the backend has ended; [`Error::Io`].
    fn load(&self, guest: &NewGuest<'_>) -> Result<(), Error>;

    /// Sends a control request, and does not wait for its effect. Does nothing once the backend has ended.
    fn control(&self, request: ControlRequest);

    /// Requests a status, and waits for the reply for at most `REPLY_TIMEOUT`. The
    /// reply waits neither behind events nor for the [`EventSink`].
    ///
    /// # Errors
    /// [`RequestError::Closed`] when the backend has ended; another when there is no valid reply in time.
    fn status(&self, request: StatusRequest) -> Result<StatusReply, RequestError>;

    /// Puts a process of this machine that runs guest code for the pool, but no tasks, under the backend's limits.
    fn limit(&self, process: &Process) {
        let _ = process;
    }

    /// Returns the process id of the dispatcher, if it is a process of this machine.
    fn dispatcher_pid(&self) -> Option<u32> {
        None
    }
}

/// Receives what happens in a backend.
pub trait EventSource: Send {
    /// Passes events to the pool until the backend has ended. Calls [`EventSink::batch_ended`] before each wait for more.
    ///
    /// After an [`EventError`] it passes no more: a backend that reports what can't have happened is broken.
    fn receive(&mut self, sink: &mut impl EventSink);

    /// Waits until nothing of the backend is left, and ends what does not end by itself.
    ///
    /// # Errors
    /// When the backend has ended without being asked to, or broken.
    fn end(self) -> Result<(), BackendDied>;
}

/// Takes the events of a backend.
pub trait EventSink {
    /// Handles an event.
    ///
    /// # Errors
    /// When it can't have happened.
    fn event(&mut self, event: BackendEvent<'_>) -> Result<(), EventError>;

    /// Wakes those that wait for outcomes, flushes the reporters and confirms outcomes. Called when no more events have arrived.
    fn batch_ended(&mut self);
}

/// A guest to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct NewGuest<'a> {
    /// Its index, in the order of loading, by which tasks name it.
    pub index: GuestId,
    /// Its models and its sizes.
    pub info: &'a GuestInfo,
    /// SHA-256 of its bytes.
    pub hash: &'a [u8; 32],
    /// Its compiled form, in a sealed memory file or a file of the cache.
    pub artifact: &'a File,
    /// A compiled form with checks, for callbacks. Without it they use that of workers.
    pub checked_artifact: Option<&'a File>,
}

/// What happens in a backend.
#[derive(Debug)]
#[non_exhaustive]
pub enum BackendEvent<'a> {
    /// An attempt of a task has failed, and another will follow.
    AttemptFailed {
        /// The task's id.
        id: TaskId,
        /// How it failed.
        attempt: Attempt,
    },
    /// A task or item has ended, and its callback has run.
    Ended {
        /// Its id.
        id: TaskId,
        /// Its result, one line of JSON, or why it failed.
        result: Result<Box<RawValue>, Failure>,
        /// Where it ran, if it did.
        ran: Option<Execution>,
        /// How its callback ended.
        callback: CallbackStatus,
    },
    /// A guest has printed or logged.
    Output {
        /// The call that printed or logged.
        source: Source,
        /// The worker's number and the task's attempt; `None` for a callback.
        at: Option<(WorkerNumber, u32)>,
        /// A piece of its output.
        output: GuestOutput<'a>,
    },
    /// A callback will print no more. The output of a task ends with its outcome.
    OutputEnded {
        /// The call.
        source: Source,
    },
    /// All tasks have ended, and this is what the callbacks of a model have made of their results.
    Final {
        /// The guest's index.
        guest: GuestId,
        /// The model's index.
        model: ModelId,
        /// The value, or why there is none.
        result: Result<Box<RawValue>, Failure>,
    },
    /// The next guest is loaded.
    Loaded,
    /// A warning for the user.
    Warning(&'a str),
    /// A worker has changed its state.
    Worker(WorkerEvent),
    /// The pool has failed, for this reason. The ends of all submitted tasks follow.
    Failed(&'a str),
}

/// Why an event of a backend can't have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A failed attempt of a task that is not running, or in a number that can't be.
    #[error("it reported an attempt of task {0} that can't have been")]
    Attempt(TaskId),
    /// The end of a task that is not running.
    #[error("it reported the end of task {0}, which is not running")]
    End(TaskId),
    /// Output without a byte.
    #[error("it reported output of {} that is none", shown(*.0))]
    NoOutput(Source),
    /// Output of what is not running.
    #[error("it reported output of {}, which is not running", shown(*.0))]
    OutputOfNone(Source),
    /// Output above the limits.
    #[error("it reported more output of {} than that can have", shown(*.0))]
    TooMuchOutput(Source),
    /// A final value of no model, or a second one.
    #[error("it reported a fold of model {model} of guest {guest} that can't be")]
    Final {
        /// The guest's index.
        guest: GuestId,
        /// The model's index.
        model: ModelId,
    },
}

fn shown(source: Source) -> String {
    match source {
        Source::Task(id) | Source::Callback(id) => format!("task {id}"),
        Source::FinalCallback { guest, model } => {
            format!("a final callback of model {model} of guest {guest}")
        }
        Source::Tasks => "`tasks`".to_owned(),
    }
}

/// A backend has ended without being asked to, or is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher died: {why}")]
pub struct BackendDied {
    /// What is known about the cause.
    pub why: String,
}
