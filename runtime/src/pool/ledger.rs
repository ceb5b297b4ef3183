//! The ledger: every task that was accepted and has not ended.
//!
//! Being in here is what "accepted" means: whatever dies afterwards, what is still in here at the pool's end gets
//! its outcome then. So each task has exactly one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::guest::Guest;
use super::handle::Waiter;
use crate::error::Error;
use crate::outcome::{Attempt, CallbackStatus, Failure, Kind, Outcome, TaskError, Usage};
use crate::settings::{MAX_RETRIES, MAX_TRIED_MESSAGE};
use crate::time::Time;
use crate::wire::messages::Ran;

/// A task that has not ended.
#[derive(Debug)]
pub struct Pending {
    /// Its guest.
    pub guest: Guest,
    /// Its model, in the order of the guest's.
    pub model: u32,
    /// The key that the pusher gave.
    pub key: Option<String>,
    /// One line of JSON: an array. An outcome that is an error shows them.
    pub args: Box<RawValue>,
    /// When it was accepted.
    pub accepted: Time,
    /// Who waits for its outcome, besides the reporter.
    pub waiter: Option<Arc<Waiter>>,
    /// Its attempts so far, which all failed.
    pub tried: Vec<Attempt>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    pending: HashMap<u64, Pending, BuildHasherDefault<IdHasher>>,
    next_id: u64,
    closed: bool,
}

/// Hashes ids. They are our own and count up, so nobody can make them collide, and one multiplication spreads them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio. The table looks at the highest bits and at the lowest.
        let spread = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a task: gives it an id, and remembers what `pending` makes of that.
    pub fn accept(&self, pending: impl FnOnce(u64) -> Pending) -> Result<u64, Error> {
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
        if entries.closed {
            return Err(Error::Closed);
        }
        let first = entries.next_id;
        entries.next_id += count;
        Ok(first)
    }

    /// The id that the next task will have.
    pub fn next_id(&self) -> u64 {
        self.entries().next_id
    }

    /// Whether the task was accepted and has not ended.
    pub fn is_pending(&self, id: u64) -> bool {
        self.entries().pending.contains_key(&id)
    }

    /// Accepts nothing more. False when it was so already.
    pub fn close(&self) -> bool {
        !std::mem::replace(&mut self.entries().closed, true)
    }

    /// The task ends. `None` when there is no such task: it was never accepted, or it has ended before.
    pub fn end(&self, id: u64) -> Option<Pending> {
        self.entries().pending.remove(&id)
    }

    /// An attempt of the task failed, and another will follow. False when that can't be.
    pub fn tried(&self, id: u64, mut attempt: Attempt) -> bool {
        attempt
            .message
            .truncate(attempt.message.floor_char_boundary(MAX_TRIED_MESSAGE));
        let mut entries = self.entries();
        let Some(pending) = entries.pending.get_mut(&id) else {
            return false;
        };
        let fits = attempt.attempt == pending.attempt() && attempt.attempt <= MAX_RETRIES;
        if fits {
            pending.tried.push(attempt);
        }
        fits
    }

    /// The pool ends: nothing more is accepted, and this is what has not ended, in order.
    pub fn end_all(&self) -> Vec<(u64, Pending)> {
        let mut entries = self.entries();
        entries.closed = true;
        let mut left: Vec<_> = std::mem::take(&mut entries.pending).into_iter().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        left
    }
}

impl Entries {
    fn take_id(&mut self) -> Result<u64, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let id = self.next_id;
        self.next_id += 1;
        Ok(id)
    }
}

impl Pending {
    /// The attempt that it is in, as far as the dispatcher has told, from 1.
    pub fn attempt(&self) -> u32 {
        self.tried.len() as u32 + 1
    }

    /// The outcome of this task, as the dispatcher told it.
    pub fn outcome(
        &mut self,
        id: u64,
        ending: Result<Box<RawValue>, Failure>,
        ran: Option<Ran>,
        callback: CallbackStatus,
    ) -> Outcome {
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let measured = ran.and_then(|ran| ran.measured);
        let usage = Usage {
            worker: ran.map(|ran| ran.worker),
            pid: ran.map(|ran| ran.pid),
            queued_us: ran.map(|ran| micros(ran.claimed.since(self.accepted))),
            run_us: ran.map(|ran| micros(ran.run)),
            cpu_us: measured.map(|measured| micros(measured.cpu)),
            memory_peak: measured.map(|measured| measured.memory_peak),
            stdout_bytes: measured.map_or(0, |measured| measured.stdout_bytes),
            output_truncated: measured.is_some_and(|measured| measured.output_truncated),
        };
        let attempts = self.attempt();
        let result = ending.map_err(|failure| TaskError::new(failure, self.args.get(), id, attempts));
        let model = self.guest.model_name(self.model).to_owned();
        Outcome {
            id,
            key: self.key.clone(),
            model,
            result,
            attempts,
            tried: std::mem::take(&mut self.tried),
            usage,
            callback,
        }
    }

    /// The outcome of this task when the pool has ended without telling: its callback did not run.
    pub fn lost(&mut self, id: u64, failure: Failure) -> Outcome {
        let model = &self.guest.info().models[self.model as usize];
        let callback = if model.error_callback.is_some() {
            CallbackStatus::Skipped
        } else {
            CallbackStatus::None
        };
        self.outcome(id, Err(failure), None, callback)
    }
}

/// Something that took an id and is no task.
#[derive(Debug)]
pub struct Rejection {
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

/// Its outcome.
pub fn invalid(rejection: Rejection) -> Outcome {
    let Rejection {
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
