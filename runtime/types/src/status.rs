//! The words in which it is told what a pool is doing, while it does it. Data only: the dispatcher knows, and
//! `mpwasm::Pool` asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::settings::MAX_WORKERS;

/// What a pool is doing at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Tasks that were accepted and have not started, but for those that count as paused.
    pub queued: u64,
    /// Tasks that wait to be tried again.
    pub paused: u64,
    /// Tasks that have ended but for their callbacks.
    pub callbacks: u64,
    /// The worker processes, by their worker. While one takes the place of another there are both.
    #[serde(deserialize_with = "bounded::list::<_, _, { 2 * MAX_WORKERS as usize }>")]
    pub workers: Vec<WorkerStatus>,
}

impl Status {
    /// How many tasks run.
    #[must_use]
    pub fn running(&self) -> u64 {
        let runs = |worker: &&WorkerStatus| matches!(worker.state, WorkerState::Running { .. });
        self.workers.iter().filter(runs).count() as u64
    }
}

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker's slot, from 0.
    pub worker: u32,
    /// The process id.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// For how long.
    pub since: Duration,
}

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// It was started and is not ready yet.
    Starting,
    /// It has nothing to do.
    Idle,
    /// It runs a task.
    Running {
        /// The task's id.
        task: u64,
        /// Which attempt it is, from 1.
        attempt: u32,
    },
    /// It did not take the task that it was offered. Others have it now.
    Stalled,
    /// It was told to exit: it is not needed, or has run as many tasks as it may.
    Leaving,
    /// It was killed and has not been reaped.
    Killed,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// It was accepted, and this attempt (from 1) has not started.
    Queued {
        /// Which attempt it will be.
        attempt: u32,
    },
    /// It runs.
    Running {
        /// Which attempt it is.
        attempt: u32,
        /// The worker's slot, from 0.
        worker: u32,
        /// The worker's process id.
        pid: u32,
        /// For how long.
        since: Duration,
    },
    /// It waits to be tried again.
    Paused {
        /// Which attempt it will be.
        attempt: u32,
        /// For how long it will still wait.
        left: Duration,
    },
    /// It has ended but for its callback.
    Callback,
    /// It has its outcome.
    Done,
}
