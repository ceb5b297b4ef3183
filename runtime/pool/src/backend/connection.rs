//! The parts of a backend that was started.

use crate::backend::local::task_pipe::TaskPipeWriter;
use crate::backend::{Backend, TaskSender};
use mpwasm_types::ids::DispatchId;
use mpwasm_types::retry::Retry;
use mpwasm_types::task::TaskSpec;

/// The parts of a backend that was started.
#[derive(Debug)]
pub struct Connection<S> {
    /// Loads guests, controls tasks and returns their status.
    pub backend: Box<dyn Backend>,
    /// Sends tasks.
    pub sender: AnySender,
    /// Receives events.
    pub source: S,
}

/// The sender of tasks. The local one has a variant of its own, so that a task costs no virtual call.
#[derive(Debug)]
pub enum AnySender {
    /// Tasks run on this machine.
    Local(TaskPipeWriter),
    /// They run elsewhere.
    Other(Box<dyn TaskSender>),
}

impl TaskSender for AnySender {
    #[inline]
    fn wait_for_room(&mut self, bytes: usize) {
        match self {
            Self::Local(pipe) => pipe.wait_for_room(bytes),
            Self::Other(other) => other.wait_for_room(bytes),
        }
    }

    #[inline]
    fn submit(&mut self, id: DispatchId, spec: TaskSpec<&[u8]>, retry: Option<Retry>) {
        match self {
            Self::Local(pipe) => pipe.submit(id, spec, retry),
            Self::Other(other) => other.submit(id, spec, retry),
        }
    }

    #[inline]
    fn flush(&mut self) {
        match self {
            Self::Local(pipe) => pipe.flush(),
            Self::Other(other) => other.flush(),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Local(pipe) => pipe.finish(),
            Self::Other(other) => other.finish(),
        }
    }
}
