//! Reports what a running pool is doing. The dispatcher fills in these types, and `mpwasm::Pool` requests them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::ids::{TaskId, WorkerNumber};
use crate::objects::{MAX_LABEL, MAX_OPERATION, ObjectKind};
use crate::settings::MAX_WORKERS;

/// A snapshot of what a pool is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Tasks that were accepted and have not started, without the paused ones.
    pub queued: u64,
    /// Tasks that wait for their next attempt.
    pub paused: u64,
    /// Tasks that have ended and wait for their callbacks.
    pub callbacks: u64,
    /// The worker processes, ordered by worker. While a process is replaced, both are listed.
    #[serde(deserialize_with = "bounded::list::<_, _, { 2 * MAX_WORKERS as usize }>")]
    pub workers: Vec<WorkerStatus>,
}

impl Status {
    /// Returns the number of running tasks.
    #[must_use]
    pub fn running(&self) -> u64 {
        let runs = |worker: &&WorkerStatus| matches!(worker.state, WorkerState::Running { .. });
        self.workers.iter().filter(runs).count() as u64
    }
}

/// A snapshot of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker's number, from 0.
    pub worker: WorkerNumber,
    /// The process id.
    pub pid: u32,
    /// Its state.
    pub state: WorkerState,
    /// For how long it has been in this state.
    pub since: Duration,
    /// What its task waits for, if it waits for a shared object.
    pub wait: Option<TaskWait>,
}

/// A wait of a task for a shared object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWait {
    /// What the object is.
    pub kind: ObjectKind,
    /// The object's label.
    #[serde(deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub object: String,
    /// The operation that waits.
    #[serde(deserialize_with = "bounded::text::<_, MAX_OPERATION>")]
    pub operation: String,
    /// For how long it has waited.
    pub since: Duration,
}

/// The state of a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// It was spawned and is not ready yet.
    Starting,
    /// It is ready and has no task.
    Idle,
    /// It runs a task.
    Running {
        /// The task's id.
        task: TaskId,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// It did not claim its offers in time. Other workers have them now.
    Stalled,
    /// It was asked to exit: it is not needed, or has run its number of tasks.
    Leaving,
    /// It was killed and has not been reaped.
    Killed,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// It waits for a worker.
    Queued {
        /// The next attempt, from 1.
        attempt: u32,
    },
    /// It runs.
    Running {
        /// The attempt, from 1.
        attempt: u32,
        /// The worker's number, from 0.
        worker: WorkerNumber,
        /// The worker's process id.
        pid: u32,
        /// For how long it has been in this state.
        since: Duration,
    },
    /// It waits for its next attempt.
    Paused {
        /// The next attempt, from 1.
        attempt: u32,
        /// The rest of its backoff.
        left: Duration,
    },
    /// It has ended and waits for its callback.
    Callback,
    /// It has ended. Its outcome may still be on its way to the reporter and the task's handle.
    Done,
}
