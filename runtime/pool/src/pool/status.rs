//! Requests the status of the pool or of a task from the dispatcher.

use std::time::Instant;

use crate::backend::REPLY_TIMEOUT;
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use crate::pool::state::PoolState;
use mpwasm_protocol::messages::{StatusReply, StatusRequest};
use mpwasm_protocol::request::RequestError;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::status::{Status, TaskStatus};

impl Pool {
    /// Returns what the pool and each of its workers are doing now; an empty status once the pool has ended.
    ///
    /// It costs one message each way. A pool whose status is not requested pays nothing.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], after a second; [`Error::Forked`].
    pub fn status(&self) -> Result<Status, Error> {
        let shared = &self.shared;
        shared.owner.check()?;
        match shared.ask(StatusRequest::Pool)? {
            Some(StatusReply::Pool { status, outcomes }) => {
                let known = status.running() + status.paused + status.callbacks;
                // Outcomes that are still on their way to this process count as outcomes.
                let sent = shared.ledger.accepted().saturating_sub(shared.counters.invalid());
                Ok(Status {
                    queued: sent.saturating_sub(outcomes).saturating_sub(known),
                    ..status
                })
            }
            Some(StatusReply::Task(_)) => Err(Error::NoAnswer),
            None => Ok(Status::default()),
        }
    }
}

impl TaskHandle {
    /// Returns whether the task is queued, running (in which attempt and worker), or done.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], after a second; [`Error::Forked`].
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
        match self.ask(StatusRequest::Task(id))? {
            Some(StatusReply::Task(Some(status))) => Ok(status),
            // It is still in the pipe.
            Some(StatusReply::Task(None)) => Ok(TaskStatus::Queued { attempt: 1 }),
            Some(StatusReply::Pool { .. }) => Err(Error::NoAnswer),
            None => Ok(TaskStatus::Done),
        }
    }

    /// Requests a status from the backend. Returns `None` when the pool has ended.
    fn ask(&self, request: StatusRequest) -> Result<Option<StatusReply>, Error> {
        if self.has_ended() {
            return Ok(None);
        }
        match self.backend.status(request) {
            Ok(reply) => Ok(Some(reply)),
            // The backend ends before the pool, which then gives each task its outcome.
            Err(RequestError::Closed)
                if self
                    .wait_for_end(Instant::now().checked_add(REPLY_TIMEOUT))
                    .end
                    .is_some() =>
            {
                Ok(None)
            }
            Err(error) => {
                tracing::debug!("no status of the pool: {error}");
                Err(Error::NoAnswer)
            }
        }
    }
}
