//! Accepts tasks: gives each an id in the ledger, and submits it to the backend.

use std::sync::Arc;

use crate::backend::TaskSender;
use crate::backend::connection::AnySender;
use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::guest::{Guest, Task};
use crate::ledger::chunk::Chunk;
use crate::ledger::task::{Extras, PendingTask, Recipient};
use crate::pool::state::PoolState;
use crate::sync::MutexGuard;
use mpwasm_system::clock;
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::task::TaskSpec;

/// Accepts tasks, and holds the pool's lock on submissions: the order of ids is the order in which tasks are sent. Tasks that are
/// accepted together are sent together, by [`Submissions::flush`].
#[derive(Debug)]
pub(crate) struct Submissions<'a> {
    pool: &'a Arc<PoolState>,
    sender: MutexGuard<'a, AnySender>,
}

impl PoolState {
    /// Locks the pool for other submissions.
    pub(crate) fn submissions(self: &Arc<Self>) -> Submissions<'_> {
        Submissions {
            pool: self,
            sender: self.sender.lock(),
        }
    }
}

impl Submissions<'_> {
    /// Accepts a task; [`Submissions::flush`] sends it. Blocks while the backend has no room for it.
    ///
    /// # Errors
    /// Why it is not accepted. The tasks before it are sent then.
    pub(crate) fn add(&mut self, task: Task, recipient: Recipient) -> Result<TaskId, Error> {
        let Self { pool, sender } = self;
        let Task {
            guest,
            model,
            key,
            timeout,
            retry,
            args,
            token,
            stdin,
        } = task;
        let args = guest
            .belongs_to(pool.id)
            .and_then(|()| args.map_err(Error::from))
            .inspect_err(|_| sender.flush())?;
        sender.wait_for_room(args.get().len() + stdin.len());
        let accepted = clock::now();
        let cancels = token.clone();
        let retry = retry.unwrap_or(pool.settings.retry);
        let entry = |id| {
            let spec = TaskSpec {
                guest: guest.index(),
                model,
                timeout,
                input: guest.input(&args, &stdin),
            };
            let policy = retry.is_any().then_some(retry);
            sender.submit(DispatchId::from_first(id), spec.map(AsRef::as_ref), policy);
            let extras = Extras {
                key,
                recipient,
                token,
                ..Extras::default()
            };
            PendingTask {
                guest,
                model,
                retries: retry.most(),
                args,
                accepted,
                extras: extras.boxed(),
            }
        };
        let id = pool.ledger.accept(entry).inspect_err(|_| sender.flush())?;
        if let Some(token) = cancels {
            token.add_task(pool, DispatchId::from_first(id));
        }
        Ok(id)
    }

    /// Accepts the items of a chunk; [`Submissions::flush`] sends it. Outcomes go to `results`, where the first item has the given
    /// number. Returns the first item's id; the others follow in order.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub(crate) fn add_chunk(
        &mut self,
        guest: &Guest,
        spec: TaskSpec<Vec<u8>>,
        token: Option<CancellationToken>,
        results: (Arc<ResultQueue>, u64),
    ) -> Result<TaskId, Error> {
        let Self { pool, sender } = self;
        guest.belongs_to(pool.id).inspect_err(|_| sender.flush())?;
        sender.wait_for_room(spec.input.bytes().len());
        let chunk = Chunk {
            guest: guest.clone(),
            spec,
            accepted: clock::now(),
            results,
            token,
        };
        let accepted = pool.ledger.accept_chunk(chunk);
        let (first, chunk) = accepted.inspect_err(|_| sender.flush())?;
        let id = DispatchId::from_first(first);
        if let Some(token) = &chunk.token {
            token.add_task(pool, id);
        }
        sender.submit(id, chunk.spec.map(AsRef::as_ref), None);
        Ok(first)
    }

    /// Sends what was accepted.
    pub(crate) fn flush(&mut self) {
        self.sender.flush();
    }

    /// Sends what was accepted, and that no more will come.
    pub(crate) fn finish(&mut self) {
        self.sender.finish();
    }
}
