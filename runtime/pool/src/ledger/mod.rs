//! The ledger: every task that was accepted and has not ended.
//!
//! A task is accepted once it is in the ledger. A task that is still in the ledger when the pool ends gets its outcome then,
//! whichever process died. So each task has exactly one outcome.

pub(crate) mod chunk;
pub(crate) mod ended;
pub(crate) mod id_map;
pub(crate) mod task;
pub(crate) mod unrun;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::ledger::chunk::{Chunk, OpenChunk};
use crate::ledger::ended::RemovedTask;
use crate::ledger::id_map::IdMap;
use crate::ledger::task::PendingTask;
use crate::sync::{Mutex, MutexGuard};
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::outcome::Attempt;
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGE;
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGES;
use mpwasm_types::retry::MAX_WORKER_DEATHS;

/// Keeps every task that was accepted and has not ended.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    pending: IdMap<PendingTask>,
    /// Chunks by the id of their first item.
    chunks: BTreeMap<DispatchId, OpenChunk>,
    /// Size of the messages of all pending tasks' attempts, bytes.
    attempt_bytes: usize,
    next_id: TaskId,
    /// Number of ids that were skipped.
    skipped: u64,
    closed: bool,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }

    /// Accepts a task: assigns an id and stores what `pending` returns for it.
    ///
    /// # Errors
    /// [`Error::Closed`], as in the other methods that assign ids.
    pub fn accept(&self, pending: impl FnOnce(TaskId) -> PendingTask) -> Result<TaskId, Error> {
        let mut entries = self.entries();
        let id = entries.take_id()?;
        entries.pending.insert(id, pending(id));
        Ok(id)
    }

    /// Assigns an id to input that is not a valid task.
    pub fn take_id(&self) -> Result<TaskId, Error> {
        self.entries().take_id()
    }

    /// Skips `count` ids. Returns the first of them.
    pub fn skip(&self, count: u64) -> Result<TaskId, Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(count)?;
        entries.skipped += count;
        Ok(first)
    }

    /// Returns the id of the next task.
    pub fn next_id(&self) -> TaskId {
        self.entries().next_id
    }

    /// Returns the number of accepted tasks, including invalid ones.
    pub fn accepted(&self) -> u64 {
        let entries = self.entries();
        entries.next_id.0 - entries.skipped
    }

    /// Accepts the items of a chunk. Their ids are consecutive, from the one that is returned.
    pub fn accept_chunk(&self, chunk: Chunk) -> Result<(TaskId, Arc<Chunk>), Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(u64::from(chunk.spec.input.count()))?;
        let chunk = Arc::new(chunk);
        entries
            .chunks
            .insert(DispatchId::from_first(first), OpenChunk::new(Arc::clone(&chunk)));
        Ok((first, chunk))
    }

    /// Returns the id by which the dispatcher knows a pending task: its own, or that of the first item of its chunk.
    pub fn dispatch_id_of(&self, id: TaskId) -> Option<DispatchId> {
        let entries = self.entries();
        if entries.pending.contains(id) {
            return Some(DispatchId::from_first(id));
        }
        let (&first, chunk) = entries.chunks.range(..=DispatchId::from_first(id)).next_back()?;
        chunk.has(id - first.first()).then_some(first)
    }

    /// Returns whether a task or chunk is pending that the dispatcher knows by this id.
    pub fn is_open(&self, id: DispatchId) -> bool {
        let entries = self.entries();
        entries.pending.contains(id.first()) || entries.chunks.contains_key(&id)
    }

    /// Returns the dispatcher's ids of all pending tasks and chunks whose outcomes go to `results`.
    pub fn dispatch_ids_for(&self, results: &Arc<ResultQueue>) -> Vec<DispatchId> {
        let entries = self.entries();
        let is_for = |pending: &PendingTask| {
            pending
                .extras
                .as_ref()
                .is_some_and(|extras| extras.is_for(results))
        };
        let tasks = entries.pending.iter().filter(|(_, pending)| is_for(pending));
        let chunks = entries.chunks.iter().filter(|(_, chunk)| chunk.is_for(results));
        tasks
            .map(|(id, _)| DispatchId::from_first(id))
            .chain(chunks.map(|(id, _)| *id))
            .collect()
    }

    /// Stops accepting. Returns false when it was closed before.
    pub fn close(&self) -> bool {
        !std::mem::replace(&mut self.entries().closed, true)
    }

    /// Removes a task that has ended. Returns `None` when it was never accepted or has ended before.
    pub fn end(&self, id: TaskId) -> Option<RemovedTask> {
        let mut entries = self.entries();
        if let Some(pending) = entries.pending.remove(id) {
            entries.attempt_bytes -= pending.attempt_bytes();
            return Some(RemovedTask::Task(pending));
        }
        let (&first, chunk) = entries
            .chunks
            .range_mut(..=DispatchId::from_first(id))
            .next_back()?;
        let item = chunk.end(id - first.first())?;
        if item.is_last() {
            entries.chunks.remove(&first);
        }
        Some(RemovedTask::Item(item))
    }

    /// Counts bytes of output and log that the dispatcher reports for a task. `cap` is the bound for one attempt. Returns
    /// `None` when there is no such task, and false when it is more than the task may have.
    pub fn count_output(&self, id: TaskId, bytes: u64, cap: u64) -> Option<bool> {
        let mut entries = self.entries();
        let (output_bytes, runs) = if let Some(pending) = entries.pending.get_mut(id) {
            // A run in a worker that died is not counted as an attempt.
            let runs = 1 + u64::from(pending.retries) + u64::from(MAX_WORKER_DEATHS);
            (&mut pending.extras.get_or_insert_default().output_bytes, runs)
        } else {
            let (&first, chunk) = entries
                .chunks
                .range_mut(..=DispatchId::from_first(id))
                .next_back()?;
            if !chunk.has(id - first.first()) {
                return None;
            }
            let runs = (1 + u64::from(MAX_WORKER_DEATHS)).saturating_mul(chunk.items());
            (chunk.output_bytes(), runs)
        };
        *output_bytes = output_bytes.saturating_add(bytes);
        Some(*output_bytes <= cap.saturating_mul(runs))
    }

    /// Records a failed attempt that another will follow. Returns false when there is no such attempt. Messages are truncated to
    /// the bound for the attempts of all pending tasks together.
    pub fn record_attempt(&self, id: TaskId, attempt: &Attempt) -> bool {
        let mut entries = self.entries();
        let room = MAX_ATTEMPT_MESSAGES - entries.attempt_bytes;
        let Some(pending) = entries.pending.get_mut(id) else {
            return false;
        };
        let fits = attempt.attempt == pending.attempt() && attempt.attempt <= pending.retries;
        if fits {
            let message = &attempt.message;
            let bytes = message.floor_char_boundary(MAX_ATTEMPT_MESSAGE.min(room));
            let kept = Attempt {
                message: message[..bytes].to_owned(),
                ..*attempt
            };
            pending.extras.get_or_insert_default().tried.push(kept);
            entries.attempt_bytes += bytes;
        }
        fits
    }

    /// Closes the ledger and returns all pending tasks, in order of ids.
    pub fn end_all(&self) -> Vec<(TaskId, RemovedTask)> {
        let mut entries = self.entries();
        entries.closed = true;
        entries.attempt_bytes = 0;
        let tasks = std::mem::take(&mut entries.pending).into_all();
        let chunks = std::mem::take(&mut entries.chunks);
        let items = chunks.into_iter().flat_map(|(first, chunk)| {
            let items = chunk.end_all().into_iter();
            items.map(move |(index, item)| (first.first() + index, RemovedTask::Item(item)))
        });
        let tasks = tasks.map(|(id, task)| (id, RemovedTask::Task(task)));
        let mut left: Vec<_> = tasks.chain(items).collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        left
    }
}

impl Entries {
    fn take_id(&mut self) -> Result<TaskId, Error> {
        self.take_ids(1)
    }

    fn take_ids(&mut self, count: u64) -> Result<TaskId, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let first = self.next_id;
        self.next_id = first + count;
        Ok(first)
    }
}
