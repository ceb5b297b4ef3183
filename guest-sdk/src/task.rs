//! Pushes tasks from a guest's `tasks` hook: [`InfoTask`] and [`push`].

use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::host;

/// A task to be pushed: model, timeout, args and key.
///
/// ```
/// use std::time::Duration;
/// use mpwasm_guest::InfoTask;
///
/// // The unnamed model, at most one second, two args.
/// let task = InfoTask::new("", Duration::from_secs(1), ("a", 1));
/// // The model "resize", the run's own timeout, one arg, and a key to find the record by.
/// let task = InfoTask::new("resize", None, ("photo.png",)).key("photo");
/// ```
#[derive(Clone, Debug)]
pub struct InfoTask {
    model: String,
    timeout: Option<Duration>,
    key: Option<String>,
    /// A JSON array, or the error that [`push`] returns.
    args: Result<String, Error>,
}

impl InfoTask {
    /// Creates a task for a model of this guest; the unnamed model is `""`.
    ///
    /// `timeout` is a [`Duration`], or `None` for the timeout of the run. `args` is anything that serde writes as a
    /// JSON array: a tuple, an array, a slice, a `Vec`; `()` stands for no args. For anything else [`push`] returns an error.
    #[must_use]
    pub fn new(model: &str, timeout: impl Into<Option<Duration>>, args: impl Serialize) -> Self {
        Self {
            model: model.to_owned(),
            timeout: timeout.into(),
            key: None,
            args: args_to_json(&args),
        }
    }

    /// Sets the key, a name of the guest's choice, which the task's record contains.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Returns the JSON object that the import `push` takes.
    fn to_json(&self) -> Result<Vec<u8>, Error> {
        let args = self.args.as_ref().map_err(Clone::clone)?;
        let mut json = Vec::with_capacity(args.len() + 64);
        json.extend_from_slice(b"{\"args\":");
        json.extend_from_slice(args.as_bytes());
        if !self.model.is_empty() {
            json.extend_from_slice(b",\"model\":");
            serde_json::to_writer(&mut json, &self.model)?;
        }
        if let Some(timeout) = self.timeout {
            json.extend_from_slice(b",\"timeout\":");
            serde_json::to_writer(&mut json, &timeout.as_secs_f64())?;
        }
        if let Some(key) = &self.key {
            json.extend_from_slice(b",\"key\":");
            serde_json::to_writer(&mut json, key)?;
        }
        json.push(b'}');
        Ok(json)
    }
}

fn args_to_json(args: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_string(args)
        .map_err(|error| Error::new(format_args!("the args of a task are no JSON: {error}")))?;
    match json.as_bytes().first() {
        Some(b'[') => Ok(json),
        // `()`, which stands for no args.
        _ if json == "null" => Ok("[]".to_owned()),
        _ => Err(Error::new(format_args!(
            "the args of a task are a JSON array: use a tuple, such as (value,), for what gave {}",
            crate::fit::cut(&json)
        ))),
    }
}

/// Pushes a task and returns its id. Tasks run while `tasks` continues to push.
///
/// Blocks while too many tasks wait. That time does not count towards the timeout of `tasks`, which each push restarts.
/// Only `tasks` may push: elsewhere the call traps. So does a task for a model that the guest does not have. On other
/// targets than `wasm32` the task is kept for [`testing::pushed`](crate::testing::pushed).
///
/// # Errors
///
/// When the args are not a JSON array.
pub fn push(task: InfoTask) -> Result<u64, Error> {
    Ok(host::push(&task.to_json()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(task: InfoTask) -> String {
        String::from_utf8(task.to_json().unwrap()).unwrap()
    }

    #[test]
    fn only_what_is_given_is_written() {
        assert_eq!(json(InfoTask::new("", None, (1, "a"))), r#"{"args":[1,"a"]}"#);
        assert_eq!(
            json(InfoTask::new("m\"", Duration::from_millis(1500), [1]).key("k")),
            r#"{"args":[1],"model":"m\"","timeout":1.5,"key":"k"}"#
        );
    }

    #[test]
    fn no_args_are_an_empty_array() {
        assert_eq!(json(InfoTask::new("", None, ())), r#"{"args":[]}"#);
    }

    #[test]
    fn args_that_are_no_array_fail_when_pushed() {
        let error = push(InfoTask::new("", None, 5)).unwrap_err();
        assert!(error.to_string().ends_with("for what gave 5"), "{error}");
        let by_pair = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = push(InfoTask::new("", None, (by_pair,))).unwrap_err();
        assert!(error.to_string().contains("no JSON"), "{error}");
    }
}
