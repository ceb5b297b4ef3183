//! Messages between the parent and the process that runs a guest's `tasks`.

use std::time::Duration;

use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::TaskId;
use mpwasm_types::nanos;
use mpwasm_types::outcome::Failure;
use mpwasm_types::sandbox_options::SandboxOptions;
use serde::{Deserialize, Serialize};

use super::call::GuestOutput;

/// Starts the process: the only message that it gets, in a [memory file](crate::in_memory). The artifact, sealed or read-only,
/// comes with it, and then the connection to the manager, where there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToTasks {
    /// Settings of the engine.
    pub engine: EngineSettings,
    /// The description of the guest.
    pub info: GuestInfo,
    /// Longest time until the first push, and between two pushes.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// The id of its first task, unless the parent accepts another task before.
    pub first: TaskId,
    /// Largest number of tasks.
    pub max_tasks: u64,
    /// Largest task, bytes.
    pub max_args: u64,
    /// Whether there is a connection to a manager of shared objects.
    pub objects: bool,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
}

/// Reports to the parent what a guest's `tasks` does.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromTasks<'a> {
    /// It has pushed a task: JSON, unchecked.
    Push(#[serde(with = "serde_bytes")] &'a [u8]),
    /// It has printed or logged.
    #[serde(borrow)]
    Output(GuestOutput<'a>),
    /// It has ended; `None` when it returned without a failure.
    Ended(Option<Failure>),
}
