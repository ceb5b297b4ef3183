//! [`TaskError`]: the error object that `error_callback` receives.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// Why a task failed: the `error` of its record.
///
/// Fields that this version of the crate does not know are ignored. A test creates one with [`new`](Self::new) and sets
/// the fields that it needs:
///
/// ```
/// use mpwasm_guest::{Kind, TaskError, json};
///
/// let mut error = TaskError::new(Kind::Exit, "the guest exited with code 3", json!([1, "a"]));
/// error.code = Some(3);
/// assert_eq!(error.args_as::<(u8, String)>().unwrap(), (1, "a".to_string()));
/// assert_eq!(error.to_string(), "task 0 ended as exit: the guest exited with code 3");
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct TaskError {
    /// The cause.
    pub kind: Kind,
    /// One sentence for people.
    #[serde(default)]
    pub message: String,
    /// Data that the guest gave besides a message, from an [`Error::with_data`].
    #[serde(default)]
    pub data: Option<Value>,
    /// The exit code of the guest ([`Kind::Exit`]), or of a worker that died ([`Kind::Crash`]).
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that ended the worker ([`Kind::Crash`]).
    #[serde(default)]
    pub signal: Option<i32>,
    /// The guest's frames, innermost first, where it trapped.
    #[serde(default)]
    pub backtrace: Vec<String>,
    /// The task's args: a JSON array, or null if the line was not a task.
    #[serde(default)]
    pub args: Value,
    /// The task's id.
    #[serde(default)]
    pub id: u64,
    /// The number of the attempt that failed, from 1.
    #[serde(default)]
    pub attempt: u32,
}

impl TaskError {
    /// Creates an error of the first attempt of task 0, for tests of an `error_callback`.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>, args: Value) -> Self {
        Self {
            kind,
            message: message.into(),
            data: None,
            code: None,
            signal: None,
            backtrace: Vec::new(),
            args,
            id: 0,
            attempt: 1,
        }
    }

    /// Returns the task's args as a model's [`Args`](crate::Model::Args).
    ///
    /// # Errors
    ///
    /// When they do not fit, which may be why the task failed.
    pub fn args_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match T::deserialize(&self.args) {
            Ok(args) => Ok(args),
            Err(error) => match &self.args {
                Value::Array(none) if none.is_empty() => Ok(T::deserialize(Value::Null).map_err(|_| error)?),
                _ => Err(error.into()),
            },
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} ended as {}: {}", self.id, self.kind, self.message)
    }
}

impl std::error::Error for TaskError {}

/// The cause for which a task failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// The guest reported it: `runnable` returned an error or panicked, or the args did not fit.
    Error,
    /// The deadline passed.
    Timeout,
    /// The guest trapped.
    Trap,
    /// The guest called `std::process::exit`.
    Exit,
    /// The guest needed more memory than its cap, and failed without it.
    Memory,
    /// The instruction budget was used up.
    Fuel,
    /// The result was larger than allowed.
    Limit,
    /// The worker process died while it ran the task.
    Crash,
    /// The task was cancelled, alone or with the whole run.
    Cancelled,
    /// The line or the pushed value is not a task.
    Invalid,
    /// A kind that this version of the crate does not know.
    #[serde(other)]
    Other,
}

impl Kind {
    /// Returns the word for it in a record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Trap => "trap",
            Self::Exit => "exit",
            Self::Memory => "memory",
            Self::Fuel => "fuel",
            Self::Limit => "limit",
            Self::Crash => "crash",
            Self::Cancelled => "cancelled",
            Self::Invalid => "invalid",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_str, json};

    #[test]
    fn reads_the_error_of_a_record_and_ignores_what_it_does_not_know() {
        let error: TaskError = from_str(
            r#"{"kind":"crash","message":"m","signal":9,"args":[1],"id":3,"attempt":2,"new":{"a":[]}}"#,
        )
        .unwrap();
        let mut expected = TaskError::new(Kind::Crash, "m", json!([1]));
        (expected.signal, expected.id, expected.attempt) = (Some(9), 3, 2);
        assert_eq!(error, expected);
    }

    #[test]
    fn every_kind_is_read_by_its_word_and_a_new_one_does_no_harm() {
        for word in "error timeout trap exit memory fuel limit crash cancelled invalid".split(' ') {
            let kind: Kind = from_str(&format!("{word:?}")).unwrap();
            assert_eq!(kind.as_str(), word);
        }
        assert_eq!(from_str::<Kind>("\"earthquake\"").unwrap(), Kind::Other);
    }

    #[test]
    fn args_convert_like_those_of_a_model() {
        let error = |args| TaskError::new(Kind::Timeout, "", args);
        assert_eq!(
            error(json!([1, "a"])).args_as::<(u8, String)>(),
            Ok((1, "a".to_owned()))
        );
        assert_eq!(error(json!([])).args_as::<()>(), Ok(()));
        assert!(error(json!([1])).args_as::<(String,)>().is_err());
        assert!(error(Value::Null).args_as::<(String,)>().is_err());
    }
}
