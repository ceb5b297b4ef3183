//! Outcomes of input that never became a task in the ledger.

use serde_json::value::RawValue;

use crate::error::Error;
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::{CallbackStatus, Failure, Kind, Outcome, TaskError, Usage};

/// Input that has an id but is not a valid task.
#[derive(Debug)]
pub struct InvalidTask {
    /// Its id.
    pub id: TaskId,
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
pub fn too_late(id: TaskId, model: &str) -> Outcome {
    cancelled(id, model, "the pool took no more tasks when this one came")
}

/// Returns a `cancelled` outcome for a task that did not run.
pub fn cancelled(id: TaskId, model: &str, why: &str) -> Outcome {
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

/// Returns the outcome that a fork of the pool's process gets.
pub fn forked(id: TaskId, model: &str) -> Outcome {
    cancelled(id, model, &Error::Forked.to_string())
}
