//! Parses tasks: the lines of `--tasks`, and what a guest's `tasks` export pushes.
//!
//! Both are untrusted input. [`task_check`](crate::task_check) checks a parsed task against its guest and the limits of a pool.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::duration::{self, DurationError};
use crate::task_check::no_args;

/// Longest key of a task: 4 KiB. The parent keeps the key of every task that has not ended.
pub const MAX_KEY: usize = 4 << 10;

/// A parsed task line.
#[derive(Debug)]
pub struct TaskLine {
    /// The args as written: any JSON value.
    pub args: Box<RawValue>,
    /// The key, if given.
    pub key: Option<String>,
    /// The name of the guest, if given. The caller resolves it.
    pub guest: Option<String>,
    /// The name of the model, if given.
    pub model: Option<String>,
    /// The timeout, if given.
    pub timeout: Option<Duration>,
    /// The stdin from `stdin` or `stdin_base64`, if given. Only command guests have one, which
    /// [`check_input`](crate::task_check::check_input) checks.
    pub stdin: Option<Vec<u8>>,
}

/// Why a line, or what a guest pushed, is no task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskLineError {
    /// It is not UTF-8. The first wrong byte, counted from 1.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// It is not JSON, or an object with other fields than those of a task.
    #[error("{}", json_error(.0))]
    NotJson(serde_json::Error),
    /// It does not begin as an array or an object does.
    #[error("neither a JSON array of args nor an object with `args`")]
    NotTask,
    /// A line begins with a byte-order mark. The reader of a file skips one at its start.
    #[error("it begins with a byte-order mark (U+FEFF), which only the first line of a file may have")]
    ByteOrderMark,
    /// An object in a line has no args.
    #[error("the field `args` is missing")]
    NoArgs,
    /// A pushed task names a guest.
    #[error("`guest` is only for task lines: what a guest pushes is for itself")]
    PushedForGuest,
    /// The key has more than [`MAX_KEY`] bytes: this number.
    #[error("the key has {0} bytes; at most {MAX_KEY} are allowed")]
    KeyTooLong(usize),
    /// The stdin is given in both of its forms.
    #[error("both `stdin` and `stdin_base64` are given")]
    TwoStdins,
    /// The stdin is not Base64.
    #[error("bad `stdin_base64`: {0}")]
    StdinNotBase64(base64::DecodeError),
    /// The timeout is no duration greater than zero.
    #[error("bad `timeout`: {0}")]
    Timeout(DurationError),
}

/// The object form of both kinds of input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    args: Option<Box<RawValue>>,
    key: Option<String>,
    guest: Option<String>,
    model: Option<String>,
    timeout: Option<Seconds>,
    stdin: Option<String>,
    stdin_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "timeout must be a number of seconds or a string such as \"250ms\""
)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl TaskLine {
    /// Creates a task line with only args.
    #[must_use]
    pub fn of(args: Box<RawValue>) -> Self {
        Self {
            args,
            key: None,
            guest: None,
            model: None,
            timeout: None,
            stdin: None,
        }
    }

    /// Parses one line. Returns `None` for a blank line.
    ///
    /// # Errors
    /// When the line is not a task.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, TaskLineError> {
        let text = utf8(line)?;
        // JSON's whitespace, which includes the carriage return before a newline.
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        match text.bytes().next() {
            None => Ok(None),
            Some(b'[') => {
                let args = serde_json::from_str(text).map_err(TaskLineError::NotJson)?;
                Ok(Some(Self::of(args)))
            }
            Some(b'{') => {
                let object = Object::parse(text)?;
                if object.args.is_none() {
                    return Err(TaskLineError::NoArgs);
                }
                object.into_line().map(Some)
            }
            // The reader of a file skips the mark at its start.
            Some(_) if text.starts_with('\u{feff}') => Err(TaskLineError::ByteOrderMark),
            Some(_) => Err(TaskLineError::NotTask),
        }
    }

    /// Parses what a guest's `tasks` pushed: an object. Missing args are an empty array.
    ///
    /// # Errors
    /// When it is not a task.
    pub fn parse_pushed(pushed: &[u8]) -> Result<Self, TaskLineError> {
        let object = Object::parse(utf8(pushed)?)?;
        if object.guest.is_some() {
            return Err(TaskLineError::PushedForGuest);
        }
        object.into_line()
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, TaskLineError> {
    str::from_utf8(bytes).map_err(|error| TaskLineError::NotUtf8(error.valid_up_to() + 1))
}

impl Object {
    fn parse(text: &str) -> Result<Self, TaskLineError> {
        serde_json::from_str(text).map_err(TaskLineError::NotJson)
    }

    fn into_line(self) -> Result<TaskLine, TaskLineError> {
        if let Some(key) = self.key.as_ref().filter(|key| key.len() > MAX_KEY) {
            return Err(TaskLineError::KeyTooLong(key.len()));
        }
        let timeout = match self.timeout {
            None => None,
            Some(Seconds::Number(number)) => Some(duration::from_seconds(number)),
            Some(Seconds::Text(text)) => Some(duration::parse(&text)),
        };
        let stdin = match (self.stdin, self.stdin_base64) {
            (Some(_), Some(_)) => return Err(TaskLineError::TwoStdins),
            (Some(text), None) => Some(text.into_bytes()),
            (None, Some(encoded)) => Some(STANDARD.decode(encoded).map_err(TaskLineError::StdinNotBase64)?),
            (None, None) => None,
        };
        Ok(TaskLine {
            args: self.args.unwrap_or_else(no_args),
            key: self.key,
            guest: self.guest,
            model: self.model,
            stdin,
            timeout: timeout.transpose().map_err(TaskLineError::Timeout)?,
        })
    }
}

/// Formats an error in one line of JSON: with its column, without a line number that would always be 1.
#[must_use]
pub fn json_error(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(what) if error.line() == 1 => format!("{what} at column {}", error.column()),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(line: &str) -> String {
        match TaskLine::parse(line.as_bytes()) {
            Ok(None) => "blank".into(),
            Ok(Some(task)) => format!(
                "args {} key {:?} model {:?} timeout {:?}",
                task.args.get(),
                task.key,
                task.model,
                task.timeout
            ),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn lines_that_are_tasks() {
        let table = [
            ("", "blank"),
            (" \t \r", "blank"),
            ("[]", "args [] key None model None timeout None"),
            (
                " [1, {\"a\":  2}]\r",
                "args [1, {\"a\":  2}] key None model None timeout None",
            ),
            (r#"{"args":[1]}"#, "args [1] key None model None timeout None"),
            (
                r#"{"key":"k","timeout":0.25,"model":"M","args":[ 1 ]}"#,
                r#"args [ 1 ] key Some("k") model Some("M") timeout Some(250ms)"#,
            ),
            (
                r#"{"args":[],"timeout":"1m30s","model":""}"#,
                r#"args [] key None model Some("") timeout Some(90s)"#,
            ),
            (
                r#"{"args":[],"timeout":2}"#,
                "args [] key None model None timeout Some(2s)",
            ),
            (
                r#"{"args":[],"timeout":null,"key":null}"#,
                "args [] key None model None timeout None",
            ),
        ];
        for (line, task) in table {
            assert_eq!(described(line), task, "{line}");
        }
    }

    #[test]
    fn lines_that_are_not_tasks_are_rejected_with_a_reason() {
        let table = [
            ("7", "neither a JSON array"),
            ("nonsense", "neither a JSON array"),
            ("\u{feff}[1]", "byte-order mark"),
            ("[1", "EOF while parsing"),
            ("[1] [2]", "trailing characters at column 5"),
            ("{}", "`args` is missing"),
            (r#"{"args":null}"#, "`args` is missing"),
            (r#"{"args":[],"arg":1}"#, "unknown field `arg`"),
            (r#"{"args":[],"args":[]}"#, "duplicate field `args`"),
            (r#"{"args":[],"key":5}"#, "expected a string"),
            (r#"{"args":[],"stdin":5}"#, "expected a string"),
            (r#"{"args":[],"stdin_base64":"!"}"#, "bad `stdin_base64`"),
            (r#"{"args":[],"stdin_base64":"YQ"}"#, "bad `stdin_base64`"),
            (
                r#"{"args":[],"stdin":"a","stdin_base64":"YQ=="}"#,
                "both `stdin` and `stdin_base64`",
            ),
            (
                r#"{"args":[],"timeout":0}"#,
                "bad `timeout`: it must be longer than zero",
            ),
            (r#"{"args":[],"timeout":-1}"#, "bad `timeout`"),
            (r#"{"args":[],"timeout":1e999}"#, "number out of range"),
            (r#"{"args":[],"timeout":"5"}"#, "bad `timeout`: it has no unit"),
            (
                r#"{"args":[],"timeout":"0s"}"#,
                "bad `timeout`: it must be longer than zero",
            ),
            (
                r#"{"args":[],"timeout":[1]}"#,
                "timeout must be a number of seconds or a string",
            ),
        ];
        for (line, why) in table {
            assert!(described(line).contains(why), "{line}: {}", described(line));
        }
        assert_eq!(
            TaskLine::parse(b"[\"\xff\"]").unwrap_err().to_string(),
            "not UTF-8 at byte 3"
        );
    }

    #[test]
    fn deep_nesting_neither_overflows_the_stack_nor_gets_a_task_past_the_other_fields() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(
            TaskLine::parse(deep.as_bytes()).unwrap().unwrap().args.get(),
            deep
        );
        let object = format!(r#"{{"args":[],"stdin":{deep}}}"#);
        assert!(TaskLine::parse(object.as_bytes()).is_err());
        let object = format!(r#"{{"args":[],"timeout":{deep}}}"#);
        assert!(TaskLine::parse(object.as_bytes()).is_err());
    }
}
