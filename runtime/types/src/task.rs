//! [`TaskSpec`]: what a task runs, from the parent through the dispatcher to a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{GuestId, ModelId};
use crate::items;
use crate::nanos;

/// Describes what a task, or a chunk of tasks, runs.
///
/// `B` holds the bytes of the input: `&[u8]` in a message, and a shared or owned buffer where the task is kept. The input is the
/// last field, since a large one is sent without copying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "B: serde_bytes::Serialize",
    deserialize = "B: serde_bytes::Deserialize<'de>"
))]
pub struct TaskSpec<B> {
    /// Its guest.
    pub guest: GuestId,
    /// Its model.
    pub model: ModelId,
    /// Longest time that it may run, from the claim. For each item of a chunk after the first: from the end of the one before.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// What it gets.
    pub input: TaskInput<B>,
}

/// The input of a task. Only the parent, which checks it, and the worker's engine read its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "B: serde_bytes::Serialize",
    deserialize = "B: serde_bytes::Deserialize<'de>"
))]
pub enum TaskInput<B> {
    /// One line of JSON. For a task: an array, the args.
    Json(#[serde(with = "serde_bytes")] B),
    /// Arguments and stdin of a command, as an [`Invocation`](crate::invocation::Invocation) encodes them.
    Command(#[serde(with = "serde_bytes")] B),
    /// The args of several tasks, which share an instance. Each is a task with an id of its own.
    Chunk {
        /// Number of tasks, at least 1.
        items: u32,
        /// The args of each, see [`items`].
        #[serde(with = "serde_bytes")]
        args: B,
    },
}

impl<B> TaskSpec<B> {
    /// Returns the same task with the bytes that `hold` makes of its own.
    pub fn map<'a, C>(&'a self, hold: impl FnOnce(&'a B) -> C) -> TaskSpec<C> {
        TaskSpec {
            guest: self.guest,
            model: self.model,
            timeout: self.timeout,
            input: self.input.map(hold),
        }
    }
}

impl<B> TaskInput<B> {
    /// Returns the bytes.
    #[must_use]
    pub fn bytes(&self) -> &B {
        match self {
            Self::Json(bytes) | Self::Command(bytes) | Self::Chunk { args: bytes, .. } => bytes,
        }
    }

    /// Returns whether this is a chunk.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        matches!(self, Self::Chunk { .. })
    }

    /// Returns the number of tasks: 1 unless it is a chunk.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self {
            Self::Json(_) | Self::Command(_) => 1,
            Self::Chunk { items, .. } => *items,
        }
    }

    fn map<'a, C>(&'a self, hold: impl FnOnce(&'a B) -> C) -> TaskInput<C> {
        match self {
            Self::Json(bytes) => TaskInput::Json(hold(bytes)),
            Self::Command(bytes) => TaskInput::Command(hold(bytes)),
            Self::Chunk { items, args } => TaskInput::Chunk {
                items: *items,
                args: hold(args),
            },
        }
    }
}

impl<B: AsRef<[u8]>> TaskInput<B> {
    /// Returns whether the bytes of a chunk are the args of as many tasks as it has. The bytes of other inputs are not read.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let Self::Chunk { items: count, args } = self else {
            return true;
        };
        let (mut found, mut bytes) = (0, 0);
        for item in items::iter(args.as_ref()) {
            found += 1;
            bytes += items::HEADER + item.len();
        }
        found > 0 && found == u64::from(*count) && bytes == args.as_ref().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_as_many_items_as_it_says_and_nothing_else() {
        let mut args = Vec::new();
        items::put(&mut args, b"[1]");
        let is_well_formed = |items, args: &[u8]| TaskInput::Chunk { items, args }.is_well_formed();
        assert!(is_well_formed(1, &args));
        assert!(!is_well_formed(0, b""));
        assert!(!is_well_formed(0, &args));
        assert!(!is_well_formed(2, &args));
        assert!(!is_well_formed(1, &args[..6]));
        assert!(!is_well_formed(1, &[&args[..], b"x"].concat()));
    }

    #[test]
    fn a_task_keeps_what_it_is_with_other_bytes() {
        let spec = TaskSpec {
            guest: GuestId(1),
            model: ModelId(2),
            timeout: Duration::from_secs(3),
            input: TaskInput::Chunk {
                items: 5,
                args: vec![6],
            },
        };
        assert_eq!(spec.map(Vec::as_slice).map(|bytes| bytes.to_vec()), spec);
        assert_eq!((spec.input.count(), spec.input.bytes().len()), (5, 1));
    }
}
