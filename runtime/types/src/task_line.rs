//! Parses tasks: the lines of `--tasks`, and what a guest's `tasks` export pushes.
//!
//! Both are untrusted input. Every error is one sentence that says what is wrong and where. [`check_args`] checks the args
//! against the limits of a pool.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::duration;
use crate::guest_info::GuestInfo;
use crate::ids::ModelId;
use crate::invocation::Invocation;
use crate::json::MAX_JSON_DEPTH;
use crate::json::value_line;

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
    /// The stdin from `stdin` or `stdin_base64`, if given. Only command guests have one, which [`check_input`] checks.
    pub stdin: Option<Vec<u8>>,
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
    /// Returns a sentence that says why the line is not a task.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        let text =
            str::from_utf8(line).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
        // JSON's whitespace, which includes the carriage return before a newline.
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        match text.bytes().next() {
            None => Ok(None),
            Some(b'[') => {
                let args = serde_json::from_str(text).map_err(|error| json_error(&error))?;
                Ok(Some(Self::of(args)))
            }
            Some(b'{') => {
                let object = Object::parse(text)?;
                if object.args.is_none() {
                    return Err("the field `args` is missing".into());
                }
                object.into_line().map(Some)
            }
            // The reader of a file skips the mark at its start.
            Some(_) if text.starts_with('\u{feff}') => Err(
                "it begins with a byte-order mark (U+FEFF), which only the first line of a file may have"
                    .into(),
            ),
            Some(_) => Err("neither a JSON array of args nor an object with `args`".into()),
        }
    }

    /// Parses what a guest's `tasks` pushed: an object. Missing args are an empty array.
    ///
    /// # Errors
    /// Returns a sentence that says why it is not a task.
    pub fn parse_pushed(pushed: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(pushed)
            .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
        let object = Object::parse(text)?;
        if object.guest.is_some() {
            return Err("`guest` is only for task lines: what a guest pushes is for itself".into());
        }
        object.into_line()
    }
}

impl Object {
    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| json_error(&error))
    }

    fn into_line(self) -> Result<TaskLine, String> {
        if let Some(key) = self.key.as_ref().filter(|key| key.len() > MAX_KEY) {
            return Err(format!(
                "the key has {} bytes; at most {MAX_KEY} are allowed",
                key.len()
            ));
        }
        let timeout = match self.timeout {
            None => None,
            Some(Seconds::Number(number)) => Some(duration::from_seconds(number)),
            Some(Seconds::Text(text)) => Some(duration::parse(&text)),
        };
        let stdin = match (self.stdin, self.stdin_base64) {
            (Some(_), Some(_)) => return Err("both `stdin` and `stdin_base64` are given".into()),
            (Some(text), None) => Some(text.into_bytes()),
            (None, Some(encoded)) => Some(
                STANDARD
                    .decode(encoded)
                    .map_err(|error| format!("bad `stdin_base64`: {error}"))?,
            ),
            (None, None) => None,
        };
        Ok(TaskLine {
            args: self.args.unwrap_or_else(no_args),
            key: self.key,
            guest: self.guest,
            model: self.model,
            stdin,
            timeout: timeout
                .transpose()
                .map_err(|error| format!("bad `timeout`: {error}"))?,
        })
    }
}

fn no_args() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty array is JSON")
}

/// Checks that the args of a task are a JSON array of at most `max` bytes, nested at most [`MAX_JSON_DEPTH`] deep, and returns
/// them on one line.
///
/// # Errors
/// Returns a sentence that says what is wrong.
pub fn check_args(args: Cow<'_, RawValue>, max: u64) -> Result<Box<RawValue>, String> {
    let len = args.get().len();
    if len as u64 > max {
        return Err(format!(
            "the args have {len} bytes; at most {max} are allowed (--max-args)"
        ));
    }
    let line = value_line(args, MAX_JSON_DEPTH).map_err(|error| format!("the args are no JSON: {error}"))?;
    match line.get().starts_with('[') {
        true => Ok(line),
        false => Err("the args are no JSON array".to_owned()),
    }
}

/// Serializes the args of a program. [`check_args`] checks the result. Its syntax is not checked: the program's [`Serialize`]
/// is trusted to produce JSON.
///
/// # Errors
/// Fails if serialization does.
pub fn write_args(args: &impl Serialize) -> Result<Box<RawValue>, String> {
    let args = to_raw_value(args).map_err(|error| format!("the args can't be written as JSON: {error}"))?;
    Ok(match args.get() {
        // The empty tuple serializes as null: no args.
        "null" => no_args(),
        _ => args,
    })
}

/// Checks args and stdin of a task against its guest: like [`check_args`], and for a command that the args are strings and that
/// args and stdin together have at most `max` bytes.
///
/// # Errors
/// Returns a sentence that says what is wrong.
pub fn check_input(
    info: &GuestInfo,
    args: Cow<'_, RawValue>,
    stdin: Option<&[u8]>,
    max: u64,
) -> Result<Box<RawValue>, String> {
    let checked = check_args(args, max)?;
    if info.is_command {
        let stdin = stdin.unwrap_or_default();
        Invocation::new("", &checked, stdin).map_err(|error| error.to_string())?;
        let bytes = (checked.get().len() as u64).saturating_add(stdin.len() as u64);
        if bytes > max {
            return Err(format!(
                "the args and the stdin have {bytes} bytes; at most {max} are allowed (--max-args)"
            ));
        }
    } else if stdin.is_some() {
        return Err("`stdin` is only for command guests".to_owned());
    }
    Ok(checked)
}

/// Returns the index of the model with this name.
///
/// # Errors
/// Returns a sentence that lists the models of the guest.
pub fn find_model(info: &GuestInfo, name: &str) -> Result<ModelId, String> {
    let found = info.models.iter().position(|model| model.name == name);
    found
        .map(|index| ModelId(index as u32))
        .ok_or_else(|| no_such_model(info, name))
}

fn no_such_model(info: &GuestInfo, name: &str) -> String {
    let models = &info.models;
    let named: Vec<String> = models
        .iter()
        .filter(|m| !m.name.is_empty())
        .map(|m| format!("`{}`", m.name))
        .collect();
    let has = match (named.is_empty(), named.len() == models.len()) {
        (true, _) => "only the unnamed one".to_owned(),
        (false, true) => named.join(", "),
        (false, false) => format!("the unnamed one, {}", named.join(", ")),
    };
    match name {
        "" => format!("the guest has no unnamed model; it has {has}"),
        name => format!("the guest has no model `{name}`; it has {has}"),
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
            Err(why) => why,
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
        assert_eq!(TaskLine::parse(b"[\"\xff\"]").unwrap_err(), "not UTF-8 at byte 3");
    }

    #[test]
    fn input_is_checked_against_the_kind_of_guest() {
        let model = GuestInfo::default();
        let command = GuestInfo {
            is_command: true,
            ..GuestInfo::default()
        };
        let check = |info: &GuestInfo, args: &str, stdin: Option<&[u8]>| {
            let args = RawValue::from_string(args.to_owned()).unwrap();
            check_input(info, Cow::Owned(args), stdin, 12).map(|args| args.get().to_owned())
        };
        assert_eq!(check(&model, "[1, 2]", None).unwrap(), "[1,2]");
        assert!(
            check(&model, "[]", Some(b""))
                .unwrap_err()
                .contains("only for command guests")
        );
        assert_eq!(check(&command, "[\"a\"]", Some(b"1234567")).unwrap(), "[\"a\"]");
        assert!(
            check(&command, "[\"a\"]", Some(b"12345678"))
                .unwrap_err()
                .contains("13 bytes")
        );
        assert!(check(&command, "[1]", None).unwrap_err().contains("strings"));
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
