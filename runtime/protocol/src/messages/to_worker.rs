//! Messages from the dispatcher to a worker.

use std::borrow::Cow;

use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Grants;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, OfferId, TaskId};
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::task::TaskSpec;
use serde::{Deserialize, Serialize};

/// Starts a worker: its first message, in a [memory file](crate::in_memory).
///
/// With it come the read end of the control pipe, the shared page, each directory that is granted, the read end of
/// commands' stdin where there is one, the worker's connection to the manager where there is one, and the artifact of each
/// guest, sealed or read-only.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerStart<'a> {
    /// Whether there is a stdin for commands.
    pub stdin: bool,
    /// Whether there is a connection to a manager of shared objects.
    pub objects: bool,
    /// Settings of the engine.
    pub engine: EngineSettings,
    /// Largest args of a task, bytes.
    pub max_args: u64,
    /// The CPU to be on while many tasks come; `None` for any.
    pub cpu: Option<u32>,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
    /// What its tasks may use beside their args.
    pub grants: Grants,
    /// Number of files that a task can have open.
    pub max_files: u32,
    /// The guests that it loads, each with its number in the pool.
    pub guests: Vec<(GuestId, Cow<'a, GuestInfo>)>,
}

/// Offers a task, or a chunk, to a worker. The worker runs the items of a chunk in the same instance until one fails, and reports
/// the end of each with a [`FromWorker::Ended`](super::FromWorker::Ended).
#[derive(Debug, Serialize, Deserialize)]
pub struct ToWorker<'a> {
    /// The offer to claim before it starts.
    pub offer: OfferId,
    /// The task's id, or that of the chunk's first item.
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// What it runs. The last field, since a large input is sent without copying it.
    #[serde(borrow)]
    pub spec: TaskSpec<&'a [u8]>,
}

/// Messages to a worker's watchdog, through a pipe. All have the same small size, so that a write to the pipe is whole or
/// not at all. The worker exits at the end of file.
pub mod control {
    use mpwasm_types::ids::OfferId;

    /// Bytes of a message: an offer, whose task ends as `cancelled`.
    pub const SIZE: usize = 8;

    /// Encodes the message that cancels the task of this offer.
    #[must_use]
    pub fn cancel(offer: OfferId) -> [u8; SIZE] {
        offer.0.to_le_bytes()
    }

    /// Returns the offer whose task the message cancels.
    #[must_use]
    pub fn parse(bytes: [u8; SIZE]) -> OfferId {
        OfferId(u64::from_le_bytes(bytes))
    }
}
