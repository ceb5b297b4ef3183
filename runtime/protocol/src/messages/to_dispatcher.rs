//! Messages from the parent to the dispatcher.

use mpwasm_types::ids::DispatchId;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Settings, Terminals};
use mpwasm_types::task::TaskSpec;
use serde::{Deserialize, Serialize};

/// Starts the dispatcher: its first message, in a [memory file](crate::in_memory).
///
/// With it come the read end of the task pipe, the socket for requests of a status, each directory that the settings grant,
/// and the read end of commands' stdin where there is one.
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
    /// One more task, or chunk.
    Task {
        /// Its id. The ids of a chunk's items follow each other.
        id: DispatchId,
        /// What it runs. The last field, since a large input is sent without copying it.
        #[serde(borrow)]
        spec: TaskSpec<&'a [u8]>,
    },
    /// No more tasks: the dispatcher drains and exits.
    Exit,
}

/// Commands the dispatcher, through its socket, which it always reads.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToDispatcher {
    /// Loads a guest. With the message come its [`GuestInfo`](mpwasm_types::guest_info::GuestInfo) in a
    /// [memory file](crate::in_memory), its artifact for workers, and perhaps another for callbacks. Each is
    /// sealed or read-only.
    Load {
        /// Whether there is an artifact for callbacks, whose code has checks. Otherwise they use that of workers.
        has_checked: bool,
    },
    /// Ends a task as `cancelled`.
    Cancel {
        /// The task's id.
        id: DispatchId,
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
