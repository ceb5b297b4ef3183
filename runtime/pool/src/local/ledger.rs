//! The ledger: every task that was accepted and has not ended.
//!
//! Being in here is what "accepted" means: whatever dies afterwards, what is still in here at the pool's end gets
//! its outcome then. So each task has exactly one.

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
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, Kind, Outcome, TaskError, Usage};
use mpwasm_types::settings::{MAX_ATTEMPT_MESSAGE, MAX_ATTEMPT_MESSAGES, MAX_WORKER_DEATHS};
use mpwasm_types::time::Time;

/// A task that has not ended. There can be some hundred thousand of them, so what few have is behind a pointer.
#[derive(Debug)]
pub struct PendingTask {
    /// Its guest.
    pub guest: Guest,
    /// Its model, in the order of the guest's.
    pub model: u32,
    /// Attempts after the first that it may have.
    pub retries: u32,
    /// One line of JSON: an array. An outcome that is an error shows them.
    pub args: Box<RawValue>,
    /// When it was accepted.
    pub accepted: Time,
    /// What else it has, if anything.
    pub extras: Option<Box<Extras>>,
}

/// What few tasks have.
#[derive(Debug, Default)]
pub struct Extras {
    /// The key that the pusher gave.
    pub key: Option<String>,
    /// Who gets its outcome, besides the reporter.
    pub recipient: Recipient,
    /// What cancels it.
    pub token: Option<CancellationToken>,
    /// Its attempts so far, which all failed.
    pub tried: Vec<Attempt>,
    /// Bytes that the dispatcher has output_bytes of its output and log.
    pub output_bytes: u64,
}

/// Who gets an outcome, besides the reporter.
#[derive(Debug, Default)]
pub enum Recipient {
    /// Nobody does.
    #[default]
    None,
    /// A task handle.
    Handle(Arc<OutcomeSlot>),
    /// An iterator of results, which knows it by this number.
    Results(Arc<ResultQueue>, u64),
}

/// What ends: a task of its own, or an item of a chunk.
#[derive(Debug)]
pub enum EndedTask {
    Task(PendingTask),
    Item(chunk::ChunkItem),
}

/// What an outcome says of the task itself.
#[derive(Debug)]
pub struct TaskContext<'a> {
    pub guest: &'a Guest,
    pub model: u32,
    pub key: Option<&'a String>,
    /// For an outcome that is an error.
    pub args: &'a str,
    pub accepted: Time,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    pending: IdMap<PendingTask>,
    /// By the ids of their first items.
    chunks: BTreeMap<u64, chunk::OpenChunk>,
    /// Bytes of the messages of attempts of all that are pending.
    attempt_bytes: usize,
    next_id: u64,
    /// Ids that were taken for nothing.
    skipped: u64,
    closed: bool,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a task: gives it an id, and remembers what `pending` makes of that.
    pub fn accept(&self, pending: impl FnOnce(u64) -> PendingTask) -> Result<u64, Error> {
        let mut entries = self.entries();
        let id = entries.take_id()?;
        entries.pending.insert(id, pending(id));
        Ok(id)
    }

    /// An id for what is no task.
    pub fn take_id(&self) -> Result<u64, Error> {
        self.entries().take_id()
    }

    /// Takes so many ids for nothing. The first of them.
    pub fn skip(&self, count: u64) -> Result<u64, Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(count)?;
        entries.skipped += count;
        Ok(first)
    }

    /// The id that the next task will have.
    pub fn next_id(&self) -> u64 {
        self.entries().next_id
    }

    /// How many tasks were accepted, with what was no task.
    pub fn accepted(&self) -> u64 {
        let entries = self.entries();
        entries.next_id - entries.skipped
    }

    /// Accepts the items of a chunk: their ids follow one another, from the one that is returned.
    pub fn accept_chunk(&self, chunk: Chunk) -> Result<(u64, Arc<Chunk>), Error> {
        let mut entries = self.entries();
        let first = entries.take_ids(u64::from(chunk.items))?;
        let chunk = Arc::new(chunk);
        entries
            .chunks
            .insert(first, chunk::OpenChunk::new(Arc::clone(&chunk)));
        Ok((first, chunk))
    }

    /// By which id the dispatcher knows a task that was accepted and has not ended: its own, or that of the first item
    /// of its chunk.
    pub fn dispatcher_id_of(&self, id: u64) -> Option<u64> {
        let entries = self.entries();
        if entries.pending.contains(id) {
            return Some(id);
        }
        let (&first, chunk) = entries.chunks.range(..=id).next_back()?;
        chunk.has(id - first).then_some(first)
    }

    /// Whether something has not ended that the dispatcher knows by this id.
    pub fn is_open(&self, order: u64) -> bool {
        let entries = self.entries();
        entries.pending.contains(order) || entries.chunks.contains_key(&order)
    }

    /// What has not ended of that whose outcomes go there: by which ids the dispatcher knows it.
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

    /// Accepts nothing more. False when it was so already.
    pub fn close(&self) -> bool {
        !std::mem::replace(&mut self.entries().closed, true)
    }

    /// The task ends. `None` when there is no such task: it was never accepted, or it has ended before.
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

    /// Counts bytes of output and log that the dispatcher tells of a task. `cap` is what one attempt may have. `None` when
    /// there is no such task. False when it can't have so much.
    pub fn count_output(&self, id: u64, bytes: u64, cap: u64) -> Option<bool> {
        let mut entries = self.entries();
        let (output_bytes, runs) = if let Some(pending) = entries.pending.get_mut(id) {
            // A worker that dies may have run it, and that is no attempt.
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

    /// An attempt of the task failed, and another will follow. False when that can't be. The messages of all attempts
    /// together have a bound: what is more of them is cut.
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

    /// The pool ends: nothing more is accepted, and this is what has not ended, in order.
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
    /// Behind a pointer; `None` when there is nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_some =
            self.key.is_some() || self.token.is_some() || !matches!(self.recipient, Recipient::None);
        is_some.then(|| Box::new(self))
    }

    /// Whether its outcome goes there.
    fn is_for(&self, results: &Arc<ResultQueue>) -> bool {
        matches!(&self.recipient, Recipient::Results(to, _) if Arc::ptr_eq(to, results))
    }
}

impl PendingTask {
    /// The attempt that it is in, as far as the dispatcher has output_bytes, from 1.
    pub fn attempt(&self) -> u32 {
        self.extras.as_ref().map_or(0, |extras| extras.tried.len() as u32) + 1
    }

    /// Bytes of the messages of its attempts.
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
    /// The attempt that it is in, from 1. Items of chunks are not tried again.
    fn attempt(&self) -> u32 {
        match self {
            Self::Task(pending) => pending.attempt(),
            Self::Item(_) => 1,
        }
    }

    /// The outcome of this task, as the dispatcher output_bytes it.
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

    /// The outcome of this task when the pool has ended without telling: its callback did not run.
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

    /// What cancels it, and by which id it is known there. None when others still are known by that.
    pub fn token(&self, id: u64) -> Option<(&CancellationToken, u64)> {
        match self {
            Self::Task(pending) => Some((pending.extras.as_ref()?.token.as_ref()?, id)),
            Self::Item(item) if item.is_last() => Some((item.token()?, item.first(id))),
            Self::Item(_) => None,
        }
    }

    /// Who gets its outcome.
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

/// Something that took an id and is no task.
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

/// The outcome of an input that came when nothing was accepted any more: it has the id that it would have had.
pub fn too_late(id: u64, model: &str) -> Outcome {
    cancelled(id, model, "the pool took no more tasks when this one came")
}

/// The outcome of a task of which only the reason why it did not run is known.
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

/// Its outcome.
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
