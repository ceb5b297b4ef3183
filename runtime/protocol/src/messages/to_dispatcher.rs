//! Messages from the parent to the dispatcher.

use mpwasm_types::ids::DispatchId;
use mpwasm_types::retry::Retry;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Settings, Terminals};
use mpwasm_types::task::TaskSpec;
use serde::{Deserialize, Serialize};

/// Starts the dispatcher: its first message, in a [memory file](crate::in_memory).
///
/// With it come the read end of the task pipe, the socket for requests of a status, each directory that the settings grant,
/// the read end of commands' stdin where there is one, and the pool's connection to the manager where there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct DispatcherStart {
    /// The pool's settings.
    pub settings: Settings,
    /// Whether there is a stdin for commands.
    pub stdin: bool,
    /// Which streams of commands are terminals.
    pub terminals: Terminals,
    /// Whether there is a connection to a manager of shared objects.
    pub objects: bool,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
    /// Whether it reports changes of state of its workers ([`FromDispatcher::Event`](super::FromDispatcher::Event)).
    pub events: bool,
}

/// Sends tasks to the dispatcher, through a pipe that the dispatcher stops reading for backpressure.
#[derive(Debug, Serialize, Deserialize)]
pub enum Submission<'a> {
    /// One more task, or chunk.
    Task {
        /// Its id. The ids of a chunk's items follow each other.
        id: DispatchId,
        /// Its retry policy. `None` never tries again, as for a chunk.
        retry: Option<Retry>,
        /// What it runs. The last field, since a large input is sent without copying it.
        #[serde(borrow)]
        spec: TaskSpec<&'a [u8]>,
    },
    /// No more tasks: the dispatcher drains and exits.
    Exit,
}

/// Loads a guest or controls the tasks, through the socket of the dispatcher, which always reads it.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToDispatcher {
    /// Loads a guest. With the message come its [`GuestInfo`](mpwasm_types::guest_info::GuestInfo) in a
    /// [memory file](crate::in_memory), its artifact for workers, and perhaps another for callbacks. Each is
    /// sealed or read-only.
    Load {
        /// Whether there is an artifact for callbacks, whose code has checks. Otherwise they use that of workers.
        has_checked: bool,
    },
    /// Controls the tasks.
    Control(ControlRequest),
}

/// Controls the tasks of a pool, whatever runs them: the dispatcher, or a backend elsewhere. It has no reply, and does not
/// wait behind tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// Ends a task, or all items of a chunk that have not ended, as `cancelled`. It may arrive before the task.
    Cancel {
        /// The id that was submitted.
        id: DispatchId,
    },
    /// Confirms that the first `outcomes` outcomes were reported. Sent with `Settings::confirm_outcomes`: no task starts while
    /// an outcome is not confirmed.
    Confirm {
        /// Number of outcomes since the pool started.
        outcomes: u64,
    },
    /// Ends tasks that have not started as `cancelled`. Running tasks continue to their end.
    Interrupt,
    /// Ends all tasks as `cancelled`, now, and then what runs them.
    Terminate,
    /// Stops the workers and the clocks of tasks, until any of `Resume`, `Interrupt` and `Terminate`.
    Pause,
    /// Continues the workers and the clocks of tasks.
    Resume,
}
