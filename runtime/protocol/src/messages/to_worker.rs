//! Messages from the dispatcher to a worker.

use std::borrow::Cow;
use std::time::Duration;

use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Grants;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId, OfferId, TaskId};
use mpwasm_types::sandbox_options::SandboxOptions;
use serde::{Deserialize, Serialize};

use crate::nanos;

/// Starts a worker: its first message, in a [memory file](crate::in_memory).
///
/// With it come the read end of the control pipe, the shared page, each directory that is granted, the read end of
/// commands' stdin where there is one, and the sealed artifact of each guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerStart<'a> {
    /// Whether there is a stdin for commands.
    pub stdin: bool,
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

/// Offers tasks to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// A task.
    #[serde(borrow)]
    Task(CallRequest<'a>),
    /// A chunk. Each of its items is a call of its own, in the same instance until one fails. Each is answered by a
    /// [`FromWorker::Ended`](super::FromWorker::Ended).
    Chunk(CallRequest<'a>),
}

/// Describes the call, or the calls of a chunk, that a worker is to make.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest<'a> {
    /// The offer to claim before it starts.
    pub offer: OfferId,
    /// The task's id, or that of the chunk's first item.
    pub id: TaskId,
    /// Its guest.
    pub guest: GuestId,
    /// Its model.
    pub model: ModelId,
    /// Longest time it may run, from the claim; or each item, from the end of the one before.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// One line of JSON: an array. Or those of a chunk, see [`items`](mpwasm_types::items).
    #[serde(with = "serde_bytes")]
    pub args: &'a [u8],
}

/// Messages to a worker's watchdog, through a pipe. All have the same small size, so that a write to the pipe is whole or
/// not at all. The end of the pipe's file ends the worker.
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
