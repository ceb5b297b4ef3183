//! Where the tasks go that a guest's `tasks` export pushes.

use mpwasm_types::ids::TaskId;
use mpwasm_types::task_check::{InputError, UnknownModel};
use mpwasm_types::task_line::TaskLineError;

/// Takes the tasks that a guest's `tasks` export pushes.
pub trait Pusher: Send {
    /// Accepts one task, the JSON object of the guest ABI as the guest wrote it, and returns its id.
    ///
    /// May block for backpressure. An implementation then pauses the deadline meanwhile
    /// ([`WatchdogHandle::pause`](crate::watchdog::WatchdogHandle::pause)).
    ///
    /// # Errors
    /// If the JSON is not a task, or if no more tasks are accepted. The guest traps with the text of the error.
    fn push(&mut self, task: &[u8]) -> Result<TaskId, PushError>;
}

/// Why a pushed task is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The guest has pushed as many tasks as it may.
    #[error("more than {0} tasks are pushed (--max-tasks)")]
    TooMany(u64),
    /// The task has this number of bytes, and its args alone are too large.
    #[error("a task of {0} bytes (--max-args)")]
    TooLarge(usize),
    /// It is no task.
    #[error(transparent)]
    Line(#[from] TaskLineError),
    /// The guest has no such model.
    #[error(transparent)]
    Model(#[from] UnknownModel),
    /// The guest can't be called with its args or its stdin.
    #[error(transparent)]
    Input(#[from] InputError),
}
