//! Where a call that uses objects comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;

/// What a call of a client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CallSource {
    /// An attempt of a task.
    Task {
        /// The task, in its pool.
        task: TaskId,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A callback, in the dispatcher.
    Callback,
    /// The function that makes tasks.
    Tasks,
    /// A thread of the program that started the manager.
    Program,
}

impl fmt::Display for CallSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { task, attempt: 1 } => write!(f, "task {task}"),
            Self::Task { task, attempt } => write!(f, "task {task} (attempt {attempt})"),
            Self::Callback => f.write_str("a callback"),
            Self::Tasks => f.write_str("`tasks`"),
            Self::Program => f.write_str("the program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_the_task_and_an_attempt_that_is_not_the_first() {
        let source = |attempt| CallSource::Task {
            task: TaskId(7),
            attempt,
        };
        assert_eq!(source(1).to_string(), "task 7");
        assert_eq!(source(2).to_string(), "task 7 (attempt 2)");
        assert_eq!(CallSource::Program.to_string(), "the program");
    }
}
