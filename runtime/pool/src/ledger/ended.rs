//! A task that leaves the ledger, and its outcome.

use serde_json::value::RawValue;

use crate::completion::cancellation::CancellationToken;
use crate::ledger::chunk::ChunkItem;
use crate::ledger::task::{PendingTask, Recipient, TaskContext};
use mpwasm_protocol::messages::Execution;
use mpwasm_system::clock;
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::outcome::{CallbackStatus, Failure, Outcome, TaskError, Usage};

/// A task that was removed from the ledger because it ends.
#[derive(Debug)]
pub enum RemovedTask {
    /// It was submitted by itself.
    Task(PendingTask),
    /// It is an item of a chunk.
    Item(ChunkItem),
}

impl RemovedTask {
    /// Returns the number of the current attempt, from 1. Items of chunks are not retried.
    fn attempt(&self) -> u32 {
        match self {
            Self::Task(pending) => pending.attempt(),
            Self::Item(_) => 1,
        }
    }

    /// Returns the outcome of this task, as the dispatcher reported it.
    pub fn outcome(
        &mut self,
        id: TaskId,
        ending: Result<Box<RawValue>, Failure>,
        ran: Option<Execution>,
        callback: CallbackStatus,
    ) -> Outcome {
        let context = self.context(ending.is_err());
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let measured = ran.and_then(|ran| ran.measured);
        let usage = Usage {
            worker: ran.map(|ran| ran.worker),
            pid: ran.map(|ran| ran.pid),
            started_us: ran.map(|ran| clock::unix_micros(ran.claimed)),
            queued_us: ran.map(|ran| micros(ran.claimed.since(context.accepted))),
            run_us: ran.map(|ran| micros(ran.run)),
            cpu_us: measured.map(|measured| micros(measured.cpu)),
            memory_peak: measured.map(|measured| measured.memory_peak),
            stdout_bytes: measured.map_or(0, |measured| measured.stdout_bytes),
            output_truncated: measured.is_some_and(|measured| measured.output_truncated),
        };
        let attempts = self.attempt();
        let mut outcome = Outcome {
            id,
            key: context.key.cloned(),
            model: context.guest.model_name(context.model).to_owned(),
            result: ending.map_err(|failure| TaskError::new(failure, context.args, id, attempts)),
            attempts,
            tried: Vec::new(),
            usage,
            callback,
        };
        if let Self::Task(pending) = self
            && let Some(extras) = &mut pending.extras
        {
            outcome.tried = std::mem::take(&mut extras.tried);
        }
        outcome
    }

    /// Returns the outcome of a task that the pool's end left without one: its callback did not run.
    pub fn lost(&mut self, id: TaskId, failure: Failure) -> Outcome {
        let TaskContext { guest, model, .. } = self.context(true);
        let model = &guest.info().models[model.index()];
        let callback = if model.error_callback.is_some() {
            CallbackStatus::Skipped
        } else {
            CallbackStatus::None
        };
        self.outcome(id, Err(failure), None, callback)
    }

    /// Returns the token and the id registered there. `None` while other items of the chunk are registered under that id.
    pub fn token(&self, id: TaskId) -> Option<(&CancellationToken, DispatchId)> {
        match self {
            Self::Task(pending) => Some((
                pending.extras.as_ref()?.token.as_ref()?,
                DispatchId::from_first(id),
            )),
            Self::Item(item) if item.is_last() => Some((item.token()?, item.chunk_id(id))),
            Self::Item(_) => None,
        }
    }

    /// Returns the recipient of the outcome.
    pub fn recipient(self) -> Recipient {
        match self {
            Self::Task(pending) => pending
                .extras
                .map_or_else(Recipient::default, |extras| extras.recipient),
            Self::Item(item) => item.recipient(),
        }
    }

    fn context(&self, is_error: bool) -> TaskContext<'_> {
        match self {
            Self::Task(pending) => TaskContext {
                guest: &pending.guest,
                model: pending.model,
                key: pending.extras.as_ref().and_then(|extras| extras.key.as_ref()),
                args: pending.args.get(),
                accepted: pending.accepted,
            },
            Self::Item(item) => item.context(is_error),
        }
    }
}
