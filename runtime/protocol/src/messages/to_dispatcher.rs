//! Messages from the parent to the dispatcher.

use std::time::Duration;

use mpwasm_types::ids::{DispatchId, GuestId, ModelId, RequestId};
use mpwasm_types::retry::Retry;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Settings, Terminals};
use serde::{Deserialize, Serialize};

use crate::nanos;

/// Starts the dispatcher: its first message, in a [memory file](crate::in_memory).
///
/// With it come the read end of the task pipe, each directory that the settings grant, and the read end of commands'
/// stdin where there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct DispatcherStart {
    /// The pool's settings.
    pub settings: Settings,
    /// Whether there is a stdin for commands.
    pub stdin: bool,
    /// Which streams of commands are terminals.
    pub terminals: Terminals,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
    /// Whether it reports the lives of its workers ([`FromDispatcher::Event`](super::FromDispatcher::Event)).
    pub events: bool,
}

/// Hands tasks to the dispatcher, through a pipe: the dispatcher stops reading it for backpressure.
#[derive(Debug, Serialize, Deserialize)]
pub enum Submission<'a> {
    /// One more task.
    Task {
        /// Its id.
        id: DispatchId,
        /// Its guest, in the order of loading.
        guest: GuestId,
        /// Its model, in the order of [`GuestInfo::models`](mpwasm_types::guest_info::GuestInfo::models).
        model: ModelId,
        /// Longest time it may run.
        #[serde(with = "nanos")]
        timeout: Duration,
        /// When a failed attempt is followed by another; `None` for the policy of the settings.
        retry: Option<Retry>,
        /// One line of JSON: an array. Or a command's [`Invocation`](mpwasm_types::invocation::Invocation), encoded.
        #[serde(with = "serde_bytes")]
        args: &'a [u8],
    },
    /// A chunk: items that travel together and share an instance. Each is a task with an id of its own.
    Chunk {
        /// The first item's id; the others follow.
        id: DispatchId,
        /// Their guest.
        guest: GuestId,
        /// Their model.
        model: ModelId,
        /// Longest time each may run.
        #[serde(with = "nanos")]
        timeout: Duration,
        /// Number of items.
        items: u32,
        /// The args of each item, see [`items`](mpwasm_types::items).
        #[serde(with = "serde_bytes")]
        args: &'a [u8],
    },
    /// No more tasks: the dispatcher drains and exits.
    Exit,
}

/// Commands the dispatcher, through its socket, which it always reads.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToDispatcher {
    /// Loads a guest. With the message come its [`GuestInfo`](mpwasm_types::guest_info::GuestInfo) in a
    /// [memory file](crate::in_memory), its sealed artifact for workers, and perhaps another for callbacks.
    Load {
        /// Whether there is an artifact for callbacks, whose code has checks. Otherwise they use that of workers.
        has_checked: bool,
    },
    /// Ends a task as `cancelled`.
    Cancel {
        /// The task's id.
        id: DispatchId,
    },
    /// Requests the status of a task or of the pool. The reply is [`FromDispatcher::Status`](super::FromDispatcher::Status).
    GetStatus {
        /// Number of the request, which the reply repeats.
        request: RequestId,
        /// The task; `None` for the pool.
        task: Option<DispatchId>,
    },
    /// Confirms the outcomes that were reported so far. Sent with `Settings::confirm_outcomes`.
    Confirm {
        /// Number of outcomes since the pool started.
        outcomes: u64,
    },
    /// Ends tasks that have not started as `cancelled`. Running tasks may end.
    Interrupt,
    /// Ends all tasks as `cancelled`, now.
    Terminate,
    /// Stops the workers, and the clocks of tasks.
    Pause,
    /// Continues the workers and the clocks after a [`ToDispatcher::Pause`].
    Resume,
}
