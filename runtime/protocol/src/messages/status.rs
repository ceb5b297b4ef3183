//! Requests of the parent to the dispatcher for a status, and the replies. They travel as
//! [`Request`](crate::request::Request) and [`Reply`](crate::request::Reply).

use mpwasm_types::ids::DispatchId;
use mpwasm_types::status::{Status, TaskStatus};
use serde::{Deserialize, Serialize};

use crate::request::RequestLimits;

/// Bounds of the connection for requests of a status: 64 KiB and 4 MiB. The status of the largest pool has 2 MiB.
pub const STATUS_LIMITS: RequestLimits = RequestLimits {
    request: 64 << 10,
    reply: 4 << 20,
};

/// Asks for a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusRequest {
    /// That of the pool.
    Pool,
    /// That of a task.
    Task(DispatchId),
}

/// Answers a [`StatusRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusReply {
    /// The status of the pool, without the number of queued tasks.
    Pool {
        /// The status.
        status: Status,
        /// Number of outcomes that the dispatcher has sent. The parent may not have handled all of them.
        outcomes: u64,
    },
    /// The status of a task; `None` when it has not arrived at the dispatcher.
    Task(Option<TaskStatus>),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mpwasm_types::ids::{RequestId, TaskId, WorkerNumber};
    use mpwasm_types::objects::{MAX_LABEL, MAX_OPERATION, ObjectKind};
    use mpwasm_types::settings::MAX_WORKERS;
    use mpwasm_types::status::{TaskWait, WorkerState, WorkerStatus};

    use super::*;
    use crate::frame::encode;
    use crate::request::Reply;

    #[test]
    fn the_status_of_the_largest_pool_fits_into_a_reply() {
        let worker = WorkerStatus {
            worker: WorkerNumber(u32::MAX),
            pid: u32::MAX,
            state: WorkerState::Running {
                task: TaskId(u64::MAX),
                attempt: u32::MAX,
            },
            since: Duration::MAX,
            wait: Some(TaskWait {
                kind: ObjectKind::Namespace,
                object: "x".repeat(MAX_LABEL),
                operation: "x".repeat(MAX_OPERATION),
                since: Duration::MAX,
            }),
        };
        let status = Status {
            queued: u64::MAX,
            paused: u64::MAX,
            callbacks: u64::MAX,
            workers: vec![worker; 2 * MAX_WORKERS as usize],
        };
        let reply = Reply {
            id: RequestId(u64::MAX),
            body: StatusReply::Pool {
                status,
                outcomes: u64::MAX,
            },
        };
        let bytes = encode(&reply).len();
        assert!(bytes <= STATUS_LIMITS.reply, "{bytes}");
    }
}
