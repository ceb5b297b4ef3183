//! Supports a guest's own unit tests on targets other than `wasm32`: calls a model as a worker does, and replaces what a
//! worker provides.
//!
//! This module does not exist on `wasm32`. On other targets
//!
//! - [`pid`](crate::pid) is the test's own process, [`task_id`](crate::task_id) 0, [`attempt`](crate::attempt) 1;
//! - [`remaining`](crate::remaining) is practically unlimited;
//! - [`log`](crate::log()) writes to stderr;
//! - [`push`](crate::push) counts ids from 0 and keeps the tasks for [`pushed`], in each thread;
//! - a panic unwinds as usual, and [`raw::fail`](crate::raw::fail) panics.

use serde_json::Value;

use crate::error::Error;
pub(crate) use crate::native_host::call;
use crate::{Model, call, native_host};

/// Runs a task of a model the way a worker does: args and result are JSON, and both must fit the model's types.
///
/// ```
/// use mpwasm_guest::{Error, Model, json, testing};
///
/// #[derive(Default)]
/// struct Add;
/// impl Model for Add {
///     type Args = (i64, i64);
///     type Output = i64;
///     fn runnable((a, b): Self::Args) -> Result<Self::Output, Error> {
///         Ok(a + b)
///     }
/// }
///
/// assert_eq!(testing::run::<Add>("[1, 2]"), Ok(json!(3)));
/// let error = testing::run::<Add>(r#"[1, "2"]"#).unwrap_err();
/// assert_eq!(error.to_string(), r#"args[1] does not fit: invalid type: string "2", expected i64"#);
/// ```
///
/// # Errors
///
/// The error that the task would end with.
///
/// # Panics
///
/// Panics if the model panics, or if its output is not JSON.
pub fn run<M: Model>(args: &str) -> Result<Value, Error> {
    match call(args, call::runnable::<M>) {
        (0, result) if result.is_empty() => Ok(Value::Null),
        (0, result) => Ok(serde_json::from_str(&result).expect("the result should be JSON")),
        (_, error) => Err(Error::from_json(error)),
    }
}

/// Takes the tasks that this thread has pushed since the last call, as the JSON objects that reach the host.
///
/// ```
/// use mpwasm_guest::{InfoTask, json, push, testing};
///
/// push(InfoTask::new("", None, (1, "a")))?;
/// assert_eq!(testing::pushed(), [json!({"args": [1, "a"]})]);
/// # Ok::<(), mpwasm_guest::Error>(())
/// ```
///
/// # Panics
///
/// Never: what is pushed is JSON.
#[must_use]
pub fn pushed() -> Vec<Value> {
    native_host::take_pushed()
        .iter()
        .map(|task| serde_json::from_slice(task).expect("a pushed task is JSON"))
        .collect()
}
