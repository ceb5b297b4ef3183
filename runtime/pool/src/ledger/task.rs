//! A task in the ledger: what the parent keeps of it until it ends.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::ResultQueue;
use crate::completion::slot::OutcomeSlot;
use crate::guest::Guest;
use mpwasm_types::ids::ModelId;
use mpwasm_types::outcome::Attempt;
use mpwasm_types::time::Time;

/// A task that has not ended. There can be hundreds of thousands, so the fields that few tasks have are boxed.
#[derive(Debug)]
pub struct PendingTask {
    /// The guest.
    pub guest: Guest,
    /// Index of the model in the guest.
    pub model: ModelId,
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

/// The parts of an outcome that describe the task itself.
#[derive(Debug)]
pub struct TaskContext<'a> {
    pub guest: &'a Guest,
    pub model: ModelId,
    pub key: Option<&'a String>,
    /// The args, which only an error contains.
    pub args: &'a str,
    pub accepted: Time,
}

impl Extras {
    /// Boxes the fields; `None` when all are empty.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_some =
            self.key.is_some() || self.token.is_some() || !matches!(self.recipient, Recipient::None);
        is_some.then(|| Box::new(self))
    }

    /// Returns whether the outcome goes to `results`.
    pub fn is_for(&self, results: &Arc<ResultQueue>) -> bool {
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
    pub fn attempt_bytes(&self) -> usize {
        let tried = self.extras.as_ref().map(|extras| extras.tried.iter());
        tried
            .into_iter()
            .flatten()
            .map(|attempt| attempt.message.len())
            .sum()
    }
}
