//! Parses the fields of a record that a report needs.

use std::borrow::Cow;
use std::fmt;

use mpwasm_types::ids::{TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, CallbackStatus, Kind};
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A record. Fields that a report does not need, such as the result and the args, are skipped.
///
/// It lists the measures of [`Usage`](mpwasm_types::outcome::Usage) as fields of its own. Embedding them with `serde(flatten)` would
/// keep all skipped fields in memory, results of many megabytes included, and refuse numbers in them that JSON allows and
/// Rust's types do not.
#[derive(Debug, Clone, Deserialize)]
pub struct TaskRecord<'a> {
    /// The task's id.
    pub id: TaskId,
    /// The task's key, if it has one.
    #[serde(borrow, default)]
    pub key: Option<Cow<'a, str>>,
    /// The model's name; empty for the unnamed one.
    #[serde(borrow, default)]
    pub model: Cow<'a, str>,
    /// How the task ended.
    pub status: RecordStatus,
    /// The error, if the task failed.
    #[serde(borrow, default)]
    pub error: Option<RecordError<'a>>,
    /// Number of attempts.
    pub attempts: u32,
    /// The attempts before the last one.
    #[serde(default)]
    pub tried: Vec<Attempt>,
    /// The worker's number, from 0.
    pub worker: Option<WorkerNumber>,
    /// The worker's process id.
    pub pid: Option<u32>,
    /// When the last attempt began: microseconds since the Unix epoch. Records of older versions lack it.
    pub started_us: Option<u64>,
    /// Microseconds from acceptance to the start of the last attempt.
    pub queued_us: Option<u64>,
    /// Microseconds of wall time of the last attempt.
    pub run_us: Option<u64>,
    /// Microseconds of CPU time of the last attempt.
    pub cpu_us: Option<u64>,
    /// Largest size of the linear memory, bytes.
    pub memory_peak: Option<u64>,
    /// Bytes that the task wrote to its stdout.
    pub stdout_bytes: u64,
    /// Whether its output was cut.
    pub output_truncated: bool,
    /// How its callback ended.
    #[serde(deserialize_with = "callback_status")]
    pub callback: CallbackStatus,
}

/// The parts of an error that a report needs.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordError<'a> {
    /// One sentence for people. It may quote the guest.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
    /// The innermost frame of the guest.
    #[serde(rename = "backtrace", default, deserialize_with = "first_text")]
    pub frame: Option<String>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStatus {
    /// It succeeded.
    Ok,
    /// It failed with this kind.
    Failed(Kind),
}

impl RecordStatus {
    /// All statuses, in the order of the reference.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Ok].into_iter().chain(Kind::ALL.map(Self::Failed))
    }

    /// Returns the word that records use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.as_str(),
        }
    }

    /// Returns its position in [`all`](Self::all).
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Failed(kind) => kind as usize + 1,
        }
    }
}

impl TaskRecord<'_> {
    /// Returns whether the task and its callback succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status == RecordStatus::Ok && !matches!(self.callback, CallbackStatus::Failed(_))
    }

    /// Returns when the last attempt ended: microseconds since the Unix epoch.
    #[must_use]
    pub fn ended_us(&self) -> Option<u64> {
        Some(self.started_us?.saturating_add(self.run_us?))
    }
}

impl<'de> Deserialize<'de> for RecordStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words("a status", |word| {
            Self::all().find(|status| status.as_str() == word)
        }))
    }
}

fn callback_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CallbackStatus, D::Error> {
    deserializer.deserialize_str(Words("the status of a callback", |word| match word {
        "ok" => Some(CallbackStatus::Ok),
        "none" => Some(CallbackStatus::None),
        "skipped" => Some(CallbackStatus::Skipped),
        _ => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
            kind.map(CallbackStatus::Failed)
        }
    }))
}

/// Deserializes one of several words.
struct Words<T>(&'static str, fn(&str) -> Option<T>);

impl<T> Visitor<'_> for Words<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        self.1(word).ok_or_else(|| E::invalid_value(de::Unexpected::Str("another word"), &self))
    }
}

/// Deserializes the first text of a list, and skips the others.
fn first_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
            let first = texts.next_element()?;
            while texts.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }
    deserializer.deserialize_seq(First)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_word_and_its_position() {
        for (index, status) in RecordStatus::all().enumerate() {
            assert_eq!(status.index(), index);
            let word = format!("\"{}\"", status.as_str());
            assert_eq!(serde_json::from_str::<RecordStatus>(&word).unwrap(), status);
        }
    }

    #[test]
    fn the_example_of_the_reference_is_parsed() {
        let reference = include_str!("../../../docs/reference/records.md");
        let line = reference
            .lines()
            .find(|line| line.starts_with("{\"id\""))
            .unwrap();
        let record: TaskRecord<'_> = serde_json::from_str(line).unwrap();
        assert_eq!((record.id, record.key.as_deref()), (TaskId(3), Some("a")));
        assert_eq!(record.status, RecordStatus::Failed(Kind::Timeout));
        assert_eq!(record.error.as_ref().unwrap().message, "...");
        assert_eq!(record.ended_us(), Some(1_764_489_000_123_456 + 1_000_213));
        assert!(!record.is_success());
    }
}
