//! Requests the status of the pool or of a task from the dispatcher.

use crate::backend::Request;
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use crate::pool::state::PoolState;
use crate::pool::status_requests::StatusError;
use mpwasm_protocol::messages::StatusReply;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::status::{Status, TaskStatus};

impl Pool {
    /// Returns what the pool and each of its workers are doing now; an empty status once the pool has ended.
    ///
    /// It costs one message each way, and nothing otherwise.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], after a second.
    pub fn status(&self) -> Result<Status, Error> {
        let shared = &self.shared;
        shared.owner.check()?;
        match shared.ask(None) {
            Ok(StatusReply::Pool(status)) => {
                let known = status.running() + status.paused + status.callbacks;
                Ok(Status {
                    queued: shared.stats().open().saturating_sub(known),
                    ..status
                })
            }
            Err(StatusError::Ended) => Ok(Status::default()),
            Ok(StatusReply::Task(_)) | Err(StatusError::Late) => Err(Error::NoAnswer),
        }
    }
}

impl TaskHandle {
    /// Returns whether the task is queued, running (in which attempt and worker), or done.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], after a second.
    pub fn status(&self) -> Result<TaskStatus, Error> {
        self.shared.task_status(DispatchId::from_first(self.id))
    }
}

impl PoolState {
    fn task_status(&self, id: DispatchId) -> Result<TaskStatus, Error> {
        self.owner.check()?;
        if !self.ledger.is_open(id) {
            return Ok(TaskStatus::Done);
        }
        match self.ask(Some(id)) {
            Ok(StatusReply::Task(Some(status))) => Ok(status),
            // It is still in the pipe, as its outcome would have arrived before the reply.
            Ok(StatusReply::Task(None)) if self.ledger.is_open(id) => Ok(TaskStatus::Queued { attempt: 1 }),
            Ok(StatusReply::Task(None)) | Err(StatusError::Ended) => Ok(TaskStatus::Done),
            Ok(StatusReply::Pool(_)) | Err(StatusError::Late) => Err(Error::NoAnswer),
        }
    }

    fn ask(&self, task: Option<DispatchId>) -> Result<StatusReply, StatusError> {
        self.status_requests
            .ask(|request| self.backend.request(Request::Status { request, task }))
    }
}
