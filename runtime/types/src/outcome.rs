//! Describes how a task ended.
//!
//! Every process of the pool uses these types. The JSON form of [`Outcome`] is the record that users read.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::bounded;
use crate::escape::Untrusted;
use crate::escape::escape;
use crate::ids::{TaskId, WorkerNumber};
use crate::objects::redact;

/// Longest message that is kept of an attempt that was not the last.
pub const MAX_ATTEMPT_MESSAGE: usize = 1000;

/// Bytes of the messages of earlier attempts, of all tasks that have not ended: about 16 000 of the longest.
pub const MAX_ATTEMPT_MESSAGES: usize = 16 << 20;

/// Longest message of a failure: twice what is kept of a guest's own message.
pub const MAX_FAILURE_MESSAGE: usize = 128 << 10;

/// Frames that are kept of a guest's backtrace.
pub const MAX_BACKTRACE: usize = 32;

/// Longest frame of a backtrace: twice what the longest name takes, which has 256 characters.
pub const MAX_BACKTRACE_FRAME: usize = 2 << 10;

/// The cause of a failed task. It is the cause and not the symptom: a guest that traps because its memory is full ended as
/// [`Kind::Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The guest reported an error, or its result is not JSON.
    Error,
    /// The deadline passed.
    Timeout,
    /// The guest trapped. The message names the trap.
    Trap,
    /// The guest called `proc_exit` inside a model's export.
    Exit,
    /// The guest needed more memory than allowed.
    Memory,
    /// The instruction budget was used up.
    Fuel,
    /// The result was larger than allowed.
    Limit,
    /// The worker process died under the task.
    Crash,
    /// The task was cancelled, alone or with the whole run.
    Cancelled,
    /// The input is not a task: a malformed line, wrong args, an unknown model.
    Invalid,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Error,
        Self::Timeout,
        Self::Trap,
        Self::Exit,
        Self::Memory,
        Self::Fuel,
        Self::Limit,
        Self::Crash,
        Self::Cancelled,
        Self::Invalid,
    ];

    /// Returns the word that records use.
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
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call into a guest, or the process around it, failed.
///
/// It is sent between the processes. [`TaskError`] is what users see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The cause.
    pub kind: Kind,
    /// One sentence for people. It may quote the guest: escape it before it is displayed.
    #[serde(deserialize_with = "bounded::text::<_, MAX_FAILURE_MESSAGE>")]
    pub message: String,
    /// Data from the guest: one line of JSON, checked on receipt.
    pub data: Option<String>,
    /// The exit code, for [`Kind::Exit`] and for a [`Kind::Crash`] of a worker that exited.
    pub code: Option<i32>,
    /// The signal that ended the worker, for [`Kind::Crash`].
    pub signal: Option<i32>,
    /// The guest's frames, innermost first, at most 32, for [`Kind::Trap`] and its relatives.
    #[serde(deserialize_with = "bounded::texts::<_, MAX_BACKTRACE, MAX_BACKTRACE_FRAME>")]
    pub backtrace: Vec<String>,
}

impl Failure {
    /// Creates a failure with only a kind and a message.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            data: None,
            code: None,
            signal: None,
            backtrace: Vec::new(),
        }
    }
}

/// The error of a task: `error` in its record, and the input of the guest's `error_callback`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskError {
    /// The cause.
    pub kind: Kind,
    /// One sentence for people. It may quote the guest: escape it before it is displayed.
    pub message: String,
    /// Data from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The exit code, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended the worker, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The guest's frames, innermost first, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// The task's args: a JSON array, or `null` if they are unknown (an invalid line, a result of an unexpected type).
    pub args: Box<RawValue>,
    /// The task's id.
    pub id: TaskId,
    /// The attempt that failed, from 1.
    pub attempt: u32,
}

impl TaskError {
    /// Combines a failure with its task. `args` is JSON, or becomes `null`.
    #[must_use]
    pub fn new(failure: Failure, args: &str, id: TaskId, attempt: u32) -> Self {
        let Failure {
            kind,
            message,
            data,
            code,
            signal,
            backtrace,
        } = failure;
        let json = |text: String| RawValue::from_string(text).ok();
        Self {
            kind,
            message,
            data: data.and_then(json),
            code,
            signal,
            backtrace: backtrace.into_iter().map(demangle).collect(),
            args: json(args.to_owned()).unwrap_or_else(|| RawValue::NULL.to_owned()),
            id,
            attempt,
        }
    }
}

impl TaskError {
    /// Returns the error as records show it: without the tokens of shared objects, which its args may have.
    fn redacted(&self) -> Cow<'_, Self> {
        let data = self.data.as_deref().map(without_tokens);
        let (args, message) = (without_tokens(&self.args), redact(&self.message));
        if let (Cow::Borrowed(_), Cow::Borrowed(_), None | Some(Cow::Borrowed(_))) = (&args, &message, &data)
        {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            message: message.into_owned(),
            data: data.map(Cow::into_owned),
            args: args.into_owned(),
            ..self.clone()
        })
    }
}

/// Demangles the name in a frame, if it is a mangled one, and cuts it at [`MAX_DEMANGLED_NAME`] characters. It is escaped again,
/// since mangled names have escapes of their own.
fn demangle(frame: String) -> String {
    let Some((name, place)) = frame.split_once(" @ ") else {
        return frame;
    };
    match rustc_demangle::try_demangle(name) {
        Ok(name) => format!(
            "{} @ {place}",
            escape(&format!("{name:#}"))
                .chars()
                .take(MAX_DEMANGLED_NAME)
                .collect::<String>()
        ),
        Err(_) => frame,
    }
}

/// Longest demangled name, in characters. It can be far longer than the mangled one.
const MAX_DEMANGLED_NAME: usize = 256;

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = redact(&self.message);
        let message = Untrusted::from(&*message);
        write!(f, "task {} ended as {}: {message}", self.id, self.kind)
    }
}

impl std::error::Error for TaskError {}

/// How a task's callback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallbackStatus {
    /// It succeeded.
    Ok,
    /// The model has no callback for this outcome.
    None,
    /// The model's callbacks were off: after three timeouts in a row, or because the run was terminated.
    Skipped,
    /// It failed with this kind.
    Failed(Kind),
}

impl CallbackStatus {
    /// Returns the word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::None => "none",
            Self::Skipped => "skipped",
            Self::Failed(kind) => kind.as_str(),
        }
    }
}

/// Resources that a task used. The times are `None` for a task that never ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The worker's number, from 0.
    pub worker: Option<WorkerNumber>,
    /// The worker's process id.
    pub pid: Option<u32>,
    /// When the worker claimed the task: microseconds since the Unix epoch.
    pub started_us: Option<u64>,
    /// Microseconds from acceptance to the claim.
    pub queued_us: Option<u64>,
    /// Microseconds of wall time from the claim to the end.
    pub run_us: Option<u64>,
    /// Microseconds of CPU time of the worker's task thread. For a task shorter than 20 microseconds it is the wall time.
    /// Unknown if the worker died.
    pub cpu_us: Option<u64>,
    /// Largest size of the instance's linear memory, bytes. Unknown if the worker died.
    pub memory_peak: Option<u64>,
    /// Bytes that the task wrote to its stdout, including those that were cut.
    pub stdout_bytes: u64,
    /// Whether stdout, stderr or the log was cut at the output cap.
    pub output_truncated: bool,
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub kind: Kind,
    /// One sentence for people, cut if it is long. It may quote the guest: escape it before it is displayed.
    #[serde(deserialize_with = "bounded::text::<_, MAX_ATTEMPT_MESSAGE>")]
    pub message: String,
    /// The worker's number, from 0.
    pub worker: WorkerNumber,
    /// The worker's process id.
    pub pid: u32,
    /// Microseconds of wall time from the claim to the end.
    pub run_us: u64,
}

impl Attempt {
    /// Returns the attempt as records show it, without the tokens of shared objects.
    fn redacted(&self) -> Cow<'_, Self> {
        match redact(&self.message) {
            Cow::Borrowed(_) => Cow::Borrowed(self),
            Cow::Owned(message) => Cow::Owned(Self {
                message,
                ..self.clone()
            }),
        }
    }
}

/// How a task ended. Its JSON form is the task's record.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The task's id, from 0 in the order of acceptance.
    pub id: TaskId,
    /// The task's key, if it has one.
    pub key: Option<String>,
    /// The model's name; empty for the unnamed one.
    pub model: String,
    /// The result, one line of JSON, or the error.
    pub result: Result<Box<RawValue>, TaskError>,
    /// Number of attempts. The outcome is that of the last one.
    pub attempts: u32,
    /// The attempts before the last one, in order.
    pub tried: Vec<Attempt>,
    /// Resources of the last attempt.
    pub usage: Usage,
    /// How the callback ended.
    pub callback: CallbackStatus,
}

impl Outcome {
    /// Returns whether the task and its callback succeeded, which decides between exit codes 0 and 1.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.result.is_ok()
            && matches!(
                self.callback,
                CallbackStatus::Ok | CallbackStatus::None | CallbackStatus::Skipped
            )
    }

    /// Deserializes the result.
    ///
    /// # Errors
    /// Returns the task's own error, or one of kind [`Kind::Error`] if the result is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let json = self.result.as_ref().map_err(TaskError::clone)?;
        serde_json::from_str(json.get()).map_err(|error| {
            let failure = Failure::new(
                Kind::Error,
                format!("the result is not what it should be: {error}"),
            );
            TaskError::new(failure, "null", self.id, self.attempts)
        })
    }

    /// Returns `ok`, or the kind of the error.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match &self.result {
            Ok(_) => "ok",
            Err(error) => error.kind.as_str(),
        }
    }
}

/// Returns JSON without the tokens of handles.
fn without_tokens(json: &RawValue) -> Cow<'_, RawValue> {
    match redact(json.get()) {
        Cow::Borrowed(_) => Cow::Borrowed(json),
        // Without a member, an object of JSON is still one.
        Cow::Owned(redacted) => {
            RawValue::from_string(redacted).map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
        }
    }
}

/// Writes the record, without the tokens of shared objects. The order of its fields is part of the public contract.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("key", &self.key)?;
        map.serialize_entry("model", &self.model)?;
        map.serialize_entry("status", self.status())?;
        match &self.result {
            Ok(result) => map.serialize_entry("result", &without_tokens(result))?,
            Err(error) => map.serialize_entry("error", &error.redacted())?,
        }
        map.serialize_entry("attempts", &self.attempts)?;
        if !self.tried.is_empty() {
            let tried: Vec<_> = self.tried.iter().map(Attempt::redacted).collect();
            map.serialize_entry("tried", &tried)?;
        }
        map.serialize_entry("worker", &self.usage.worker)?;
        map.serialize_entry("pid", &self.usage.pid)?;
        map.serialize_entry("started_us", &self.usage.started_us)?;
        map.serialize_entry("queued_us", &self.usage.queued_us)?;
        map.serialize_entry("run_us", &self.usage.run_us)?;
        map.serialize_entry("cpu_us", &self.usage.cpu_us)?;
        map.serialize_entry("memory_peak", &self.usage.memory_peak)?;
        map.serialize_entry("stdout_bytes", &self.usage.stdout_bytes)?;
        map.serialize_entry("output_truncated", &self.usage.output_truncated)?;
        map.serialize_entry("callback", self.callback.as_str())?;
        map.end()
    }
}

/// An output stream of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// The level of a guest's log line, 1 to 5 in the guest ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// Level 1.
    Error,
    /// Level 2.
    Warn,
    /// Level 3.
    Info,
    /// Level 4.
    Debug,
    /// Level 5.
    Trace,
}

impl LogLevel {
    /// Returns the level for a number from a guest. Numbers outside of 1 to 5 count as the nearest level.
    #[must_use]
    pub const fn from_guest(level: i32) -> Self {
        match level {
            i32::MIN..=1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            5.. => Self::Trace,
        }
    }
}

#[cfg(test)]
mod tests;
