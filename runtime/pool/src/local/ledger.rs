//! The ledger: every task that was accepted and has not ended.
//!
//! A task is accepted once it is in the ledger. A task that is still in the ledger when the pool ends gets its outcome then,
//! whichever process died. So each task has exactly one outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use crate::completion::cancellation::CancellationToken;
use crate::completion::slot::OutcomeSlot;
use crate::error::Error;
use crate::guest::Guest;
use crate::local::chunk;
use crate::local::chunk::Chunk;
use crate::local::id_map::IdMap;
use crate::maps::ResultQueue;
use mpwasm_protocol::messages::Execution;
use mpwasm_system::clock;
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, Kind, Outcome, TaskError, Usage};
use mpwasm_types::settings::{MAX_ATTEMPT_MESSAGE, MAX_ATTEMPT_MESSAGES, MAX_WORKER_DEATHS};
use mpwasm_types::time::Time;

/// A task that has not ended. There can be hundreds of thousands, so the fields that few tasks have are boxed.
#[derive(Debug)]
pub struct PendingTask {
    /// The guest.
    pub guest: Guest,
    /// Index of the model in the guest.
    pub model: u32,
    /// Most attempts after the first.
    pub retries: u32,
    /// A JSON array on one line, which the outcome contains if it is an error.
    pub args: Box<RawValue>,
    /// When it was accepted.
    pub accepted: Time,
    /// Fields that few tasks have.
    pub extras: Option<Box<Extras>>,
}

/// Fields that few tasks have.
#[derive(Debug, Default)]
pub struct Extras {
    /// The key, if the task has one.
    pub key: Option<String>,
    /// Recipient of the outcome, besides the reporter.
    pub recipient: Recipient,
    /// The token that cancels it.
    pub token: Option<CancellationToken>,
    /// Failed attempts so far.
    pub tried: Vec<Attempt>,
    /// Bytes of output and log that the dispatcher has sent for it.
    pub output_bytes: u64,
}

/// Recipient of an outcome, besides the reporter.
#[derive(Debug, Default)]
pub enum Recipient {
    /// Only the reporter.
    #[default]
    None,
    /// A task handle.
    Handle(Arc<OutcomeSlot>),
    /// The queue of a map, with the input's number.
    Results(Arc<ResultQueue>, u64),
}

/// A task that ends: one of its own, or an item of a chunk.
#[derive(Debug)]
pub enum EndedTask {
    Task(PendingTask),
    Item(chunk::ChunkItem),
}

/// The parts of an outcome that describe the task itself.
#[derive(Debug)]
pub struct TaskContext<'a> {
    pub guest: &'a Guest,
    pub model: u32,
    pub key: Option<&'a String>,
    /// The args, which only an error contains.
    pub args: &'a str,
    pub accepted: Time,
}

/// Keeps every task that was accepted and has not ended.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    pending: IdMap<PendingTask>,
    /// Chunks by the id of their first item.
    chunks: BTreeMap<u64, chunk::OpenChunk>,
    /// Size of the messages of all pending tasks' attempts, bytes.
    attempt_bytes: usize,
    next_id: u64,
    /// Number of ids that were skipped.
    skipped: u64,
    closed: bool,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a task: assigns an id and stores what `pending` returns for it.
    pub fn accept(&self, pending: impl FnOnce(u64) -> PendingTask) -> Result<u64, Error> {
        let mut entries = self.entries();
        let id = entries.take_id()?;
        entries.pending.insert(id, pending(id));
        Ok(id)
    }

    /// Assigns an id to input that is not a valid task.
    pub fn take_id(&self) -> Result<u64, Error> {
        self.entries().take_id()
    }

    /// Skips `count` ids. Returns the first of them.
    pub fn skip(&self, count: u64) -> Result<u64, Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(count)?;
        entries.skipped += count;
        Ok(first)
    }

    /// Returns the id of the next task.
    pub fn next_id(&self) -> u64 {
        self.entries().next_id
    }

    /// Returns the number of accepted tasks, including invalid ones.
    pub fn accepted(&self) -> u64 {
        let entries = self.entries();
        entries.next_id - entries.skipped
    }

    /// Accepts the items of a chunk. Their ids are consecutive, from the one that is returned.
    pub fn accept_chunk(&self, chunk: Chunk) -> Result<(u64, Arc<Chunk>), Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(u64::from(chunk.items))?;
        let chunk = Arc::new(chunk);
        entries
            .chunks
            .insert(first, chunk::OpenChunk::new(Arc::clone(&chunk)));
        Ok((first, chunk))
    }

    /// Returns the id by which the dispatcher knows a pending task: its own, or that of the first item of its chunk.
    pub fn dispatcher_id_of(&self, id: u64) -> Option<u64> {
        let entries = self.entries();
        if entries.pending.contains(id) {
            return Some(id);
        }
        let (&first, chunk) = entries.chunks.range(..=id).next_back()?;
        chunk.has(id - first).then_some(first)
    }

    /// Returns whether a task or chunk is pending that the dispatcher knows by this id.
    pub fn is_open(&self, order: u64) -> bool {
        let entries = self.entries();
        entries.pending.contains(order) || entries.chunks.contains_key(&order)
    }

    /// Returns the dispatcher's ids of all pending tasks and chunks whose outcomes go to `results`.
    pub fn dispatcher_ids_for(&self, results: &Arc<ResultQueue>) -> Vec<u64> {
        let entries = self.entries();
        let is_for = |pending: &PendingTask| {
            pending
                .extras
                .as_ref()
                .is_some_and(|extras| extras.is_for(results))
        };
        let tasks = entries.pending.iter().filter(|(_, pending)| is_for(pending));
        let chunks = entries.chunks.iter().filter(|(_, chunk)| chunk.is_for(results));
        tasks.map(|(id, _)| id).chain(chunks.map(|(id, _)| *id)).collect()
    }

    /// Stops accepting. Returns false when it was closed before.
    pub fn close(&self) -> bool {
        !std::mem::replace(&mut self.entries().closed, true)
    }

    /// Removes a task that has ended. Returns `None` when it was never accepted or has ended before.
    pub fn end(&self, id: u64) -> Option<EndedTask> {
        let mut entries = self.entries();
        if let Some(pending) = entries.pending.remove(id) {
            entries.attempt_bytes -= pending.attempt_bytes();
            return Some(EndedTask::Task(pending));
        }
        let (&first, chunk) = entries.chunks.range_mut(..=id).next_back()?;
        let item = chunk.end(id - first)?;
        if item.is_last() {
            entries.chunks.remove(&first);
        }
        Some(EndedTask::Item(item))
    }

    /// Counts bytes of output and log that the dispatcher reports for a task. `cap` is the bound for one attempt. Returns
    /// `None` when there is no such task, and false when it is more than the task may have.
    pub fn count_output(&self, id: u64, bytes: u64, cap: u64) -> Option<bool> {
        let mut entries = self.entries();
        let (output_bytes, runs) = if let Some(pending) = entries.pending.get_mut(id) {
            // A run in a worker that died is not counted as an attempt.
            let runs = 1 + u64::from(pending.retries) + u64::from(MAX_WORKER_DEATHS);
            (&mut pending.extras.get_or_insert_default().output_bytes, runs)
        } else {
            let (&first, chunk) = entries.chunks.range_mut(..=id).next_back()?;
            if !chunk.has(id - first) {
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
    pub fn record_attempt(&self, id: u64, mut attempt: Attempt) -> bool {
        let mut entries = self.entries();
        let room = MAX_ATTEMPT_MESSAGES - entries.attempt_bytes;
        let Some(pending) = entries.pending.get_mut(id) else {
            return false;
        };
        let fits = attempt.attempt == pending.attempt() && attempt.attempt <= pending.retries;
        if fits {
            let message = &mut attempt.message;
            message.truncate(message.floor_char_boundary(MAX_ATTEMPT_MESSAGE.min(room)));
            message.shrink_to_fit();
            let bytes = message.len();
            pending.extras.get_or_insert_default().tried.push(attempt);
            entries.attempt_bytes += bytes;
        }
        fits
    }

    /// Closes the ledger and returns all pending tasks, in order of ids.
    pub fn end_all(&self) -> Vec<(u64, EndedTask)> {
        let mut entries = self.entries();
        entries.closed = true;
        entries.attempt_bytes = 0;
        let tasks = std::mem::take(&mut entries.pending).into_all();
        let chunks = std::mem::take(&mut entries.chunks);
        let items = chunks.into_iter().flat_map(|(first, chunk)| {
            let items = chunk.end_all().into_iter();
            items.map(move |(index, item)| (first + index, EndedTask::Item(item)))
        });
        let tasks = tasks.map(|(id, task)| (id, EndedTask::Task(task)));
        let mut left: Vec<_> = tasks.chain(items).collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        left
    }
}

impl Entries {
    fn take_id(&mut self) -> Result<u64, Error> {
        self.take_ids(1)
    }

    fn take_ids(&mut self, count: u64) -> Result<u64, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let first = self.next_id;
        self.next_id += count;
        Ok(first)
    }
}

impl Extras {
    /// Boxes the fields; `None` when all are empty.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_some =
            self.key.is_some() || self.token.is_some() || !matches!(self.recipient, Recipient::None);
        is_some.then(|| Box::new(self))
    }

    /// Returns whether the outcome goes to `results`.
    fn is_for(&self, results: &Arc<ResultQueue>) -> bool {
        matches!(&self.recipient, Recipient::Results(to, _) if Arc::ptr_eq(to, results))
    }
}

impl PendingTask {
    /// Returns the number of the current attempt, from 1: one more than the failed attempts that the dispatcher has
    /// reported.
    pub fn attempt(&self) -> u32 {
        self.extras.as_ref().map_or(0, |extras| extras.tried.len() as u32) + 1
    }

    /// Returns the size of its attempts' messages, bytes.
    fn attempt_bytes(&self) -> usize {
        let tried = self.extras.as_ref().map(|extras| extras.tried.iter());
        tried
            .into_iter()
            .flatten()
            .map(|attempt| attempt.message.len())
            .sum()
    }
}

impl EndedTask {
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
        id: u64,
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
    pub fn lost(&mut self, id: u64, failure: Failure) -> Outcome {
        let TaskContext { guest, model, .. } = self.context(true);
        let model = &guest.info().models[model as usize];
        let callback = if model.error_callback.is_some() {
            CallbackStatus::Skipped
        } else {
            CallbackStatus::None
        };
        self.outcome(id, Err(failure), None, callback)
    }

    /// Returns the token and the id registered there. `None` while other items of the chunk are registered under that id.
    pub fn token(&self, id: u64) -> Option<(&CancellationToken, u64)> {
        match self {
            Self::Task(pending) => Some((pending.extras.as_ref()?.token.as_ref()?, id)),
            Self::Item(item) if item.is_last() => Some((item.token()?, item.first(id))),
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

/// Input that has an id but is not a valid task.
#[derive(Debug)]
pub struct InvalidTask {
    /// Its id.
    pub id: u64,
    /// Its key, if it has one.
    pub key: Option<String>,
    /// The model that it names.
    pub model: String,
    /// Its args, if it has some.
    pub args: Option<Box<RawValue>>,
    /// What is wrong with it.
    pub message: String,
}

/// Returns the outcome of an input that came after the ledger was closed, with the id that it would have had.
pub fn too_late(id: u64, model: &str) -> Outcome {
    cancelled(id, model, "the pool took no more tasks when this one came")
}

/// Returns a `cancelled` outcome for a task that did not run.
pub fn cancelled(id: u64, model: &str, why: &str) -> Outcome {
    let error = TaskError::new(Failure::new(Kind::Cancelled, why), "null", id, 1);
    Outcome {
        id,
        key: None,
        model: model.to_owned(),
        result: Err(error),
        attempts: 1,
        tried: Vec::new(),
        usage: Usage::default(),
        callback: CallbackStatus::None,
    }
}

/// Returns the outcome of an invalid task.
pub fn invalid(rejection: InvalidTask) -> Outcome {
    let InvalidTask {
        id,
        key,
        model,
        args,
        message,
    } = rejection;
    let args = args.as_ref().map_or("null", |args| args.get());
    let error = TaskError::new(Failure::new(Kind::Invalid, message), args, id, 1);
    let callback = CallbackStatus::None;
    Outcome {
        id,
        key,
        model,
        result: Err(error),
        attempts: 1,
        tried: Vec::new(),
        usage: Usage::default(),
        callback,
    }
}
