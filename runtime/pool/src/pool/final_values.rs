//! The final values of a pool: what each model's `final_callback` returned.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::guest::Guest;
use crate::sync::{Mutex, MutexGuard};
use mpwasm_types::escape::Untrusted;
use mpwasm_types::final_budget::FinalBudget;
use mpwasm_types::ids::{GuestId, ModelId};
use mpwasm_types::outcome::{Failure, Kind};

/// The value that a model's `final_callback` returned for all results of a pool.
#[derive(Clone, Debug)]
pub struct FinalValue {
    /// The name by which the guest was loaded.
    pub guest: String,
    /// The model's name; empty for the unnamed one.
    pub model: String,
    /// The value, one line of JSON, or why there is none.
    pub result: Result<Box<RawValue>, FinalError>,
}

/// Why there is no final value: the final callback failed, or it would not have seen all results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FinalError {
    /// The cause.
    pub kind: Kind,
    /// One sentence. It may quote the guest: [escape](mpwasm_types::escape) it before it reaches a terminal.
    pub message: String,
}

impl fmt::Display for FinalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, Untrusted::from(&self.message))
    }
}

impl std::error::Error for FinalError {}

/// The guests that can have final values, and the values received.
#[derive(Debug)]
pub struct FinalValues(Mutex<FinalState>);

#[derive(Debug)]
struct FinalState {
    /// The guests, in the order of loading.
    guests: Vec<Guest>,
    /// Number of their models.
    models: u64,
    /// Bytes of output and log received for all final callbacks.
    output: u64,
    received: Vec<((GuestId, ModelId), FinalValue)>,
    /// Bounds the size of all values received together.
    budget: FinalBudget,
}

/// A value, for [`FinalBudget`].
struct Value(Box<RawValue>);

impl AsRef<str> for Value {
    fn as_ref(&self) -> &str {
        self.0.get()
    }
}

impl FinalValues {
    /// Creates an empty state for a pool with this limit of results.
    pub fn new(max_result: u64) -> Self {
        Self(Mutex::new(FinalState {
            guests: Vec::new(),
            models: 0,
            output: 0,
            received: Vec::new(),
            budget: FinalBudget::new(max_result),
        }))
    }

    fn state(&self) -> MutexGuard<'_, FinalState> {
        self.0.lock()
    }

    /// Adds a guest that was loaded.
    pub fn load(&self, guest: Guest) {
        let mut state = self.state();
        state.models += guest.info().models.len() as u64;
        state.guests.push(guest);
    }

    /// Stores a final value from the dispatcher. Returns false when there is no such model, or when its value was
    /// received before.
    pub fn receive(&self, guest: GuestId, model: ModelId, result: Result<Box<RawValue>, Failure>) -> bool {
        let mut state = self.state();
        let Some(of) = state.open(guest, model).cloned() else {
            return false;
        };
        let admitted = state.budget.admit(result.map(Value));
        let value = FinalValue {
            guest: of.name().to_owned(),
            model: of.model_name(model).to_owned(),
            result: admitted
                .map(|Value(json)| json)
                .map_err(|Failure { kind, message, .. }| FinalError { kind, message }),
        };
        state.received.push(((guest, model), value));
        true
    }

    /// Counts bytes of output and log that the dispatcher reports for the final callback of this model. `cap` is the
    /// bound for one callback. Returns `None` when there is no such model, or when its value was received before. Returns
    /// false when it is more than all final callbacks together may have.
    pub fn count_output(&self, guest: GuestId, model: ModelId, bytes: u64, cap: u64) -> Option<bool> {
        let mut state = self.state();
        state.open(guest, model)?;
        state.output = state.output.saturating_add(bytes);
        Some(state.output <= cap.saturating_mul(state.models))
    }

    /// Returns all values, in the order of the guests and their models.
    pub fn values(&self) -> Vec<FinalValue> {
        let mut received = self.state().received.clone();
        received.sort_by_key(|(of, _)| *of);
        received.into_iter().map(|(_, value)| value).collect()
    }
}

impl FinalState {
    /// Returns the guest of a model whose final value was not received yet.
    fn open(&self, guest: GuestId, model: ModelId) -> Option<&Guest> {
        let is_received = self.received.iter().any(|(of, _)| *of == (guest, model));
        let of = self.guests.get(guest.index())?;
        (!is_received && model.index() < of.info().models.len()).then_some(of)
    }
}
