//! What the scheduler asks of the world, and the words in which the world answers.
//!
//! [`Io`] is all that the scheduler can do: the event loop implements it with processes, sockets and the shared
//! page, the tests with a simulated simulator.

use std::fmt;

use nix::sys::signal::Signal;

use super::task::{Claim, Task};
use mpwasm_types::exit_status::signal_name;
use mpwasm_types::outcome::Failure;
use mpwasm_types::time::Time;

/// A worker's slot, from 0. Its process changes, the slot stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u32);

impl WorkerId {
    /// How many slots a pool of `size` workers has. When a process is for so many tasks only, a worker has two of them,
    /// so that the next process can be started while the one before goes.
    #[must_use]
    pub fn slots(size: u32, tasks_per_process: Option<u32>) -> u32 {
        match tasks_per_process {
            None => size,
            Some(_) => 2 * size,
        }
    }

    /// The worker, as users know it, in a pool of `size`: from 0. Its slots are so many apart.
    #[must_use]
    pub fn worker_number(self, size: u32) -> u32 {
        self.0 % size
    }
}

/// One offer of one task to one worker. [`Io`] makes the ids; two offers to one slot never have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OfferId(pub u64);

/// The actions of the scheduler. None of them may call back into it, block or fail.
pub trait Io {
    /// Starts a process in the slot, with these guests. Answered by `worker_ready` or `worker_exited`, in a later turn even when
    /// the process could not be made.
    fn spawn(&mut self, worker: WorkerId, guests: &[u32]);

    /// Marks a slot of the shared page as offered and queues the task's frame to the worker. At most
    /// [`MAX_UNREAD`](super::MAX_UNREAD) offers of one worker are in use at any time.
    fn offer(&mut self, worker: WorkerId, task: &Task) -> OfferId;

    /// Compare-and-swap from offered to revoked in the shared page. When it returns true, the task will never
    /// start there, and the worker reports the offer as skipped once it has read it.
    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool;

    /// When the worker claimed the offer, as it wrote into the shared page. A hint from a lower level of
    /// trust: the scheduler clamps it, and believes the first answer that it got.
    fn claimed_at(&mut self, worker: WorkerId, offer: OfferId) -> Option<Time>;

    /// The id of the last item of a claimed chunk that the worker says it has begun. A hint from a lower level of trust,
    /// and without meaning for a task that is no chunk.
    fn last_begun(&mut self, worker: WorkerId, offer: OfferId) -> u64;

    /// Tells the worker's watchdog to end the running task as cancelled.
    fn cancel(&mut self, worker: WorkerId, offer: OfferId);

    /// Tells a worker that has nothing to run to exit by itself.
    fn retire(&mut self, worker: WorkerId, reason: RetireReason);

    /// SIGKILL. Answered by `worker_exited`.
    fn kill(&mut self, worker: WorkerId, reason: &KillReason);

    /// The process cannot be reaped: warn with its pid, close what belongs to it, and never report it again.
    /// The slot is free for a new process.
    fn abandon(&mut self, worker: WorkerId);

    /// An attempt ended here, by the scheduler's decision, and the task will have another.
    fn attempt_failed(&mut self, task: &Task, run: Claim, failure: Failure);

    /// The task, or each item of a chunk, ends here, by the scheduler's decision. `run` is `None` when it never started.
    fn task_failed(&mut self, task: Task, run: Option<Claim>, failure: Failure);
}

/// Why a worker is told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireReason {
    /// No task will come any more, and all have ended.
    NotNeeded,
    /// A task needs a guest that it does not have, and it has nothing to run.
    LacksGuest,
    /// It has run as many tasks as a process is for.
    RanItsTasks,
}

impl fmt::Display for RetireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "it is not needed any more",
            Self::LacksGuest => "it lacks a guest",
            Self::RanItsTasks => "it has run the tasks that it is for",
        })
    }
}

/// Why the dispatcher kills a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// It was not ready in time.
    NotReady,
    /// It did not claim what it was offered, and showed no life after that.
    Stalled,
    /// Its task did not end at its deadline: rung 4 of the timeout ladder.
    Overdue,
    /// Its task was cancelled and did not end.
    Cancelled,
    /// It broke the protocol, and how.
    Protocol(String),
    /// It is not needed any more, and did not or shall not wait to exit by itself.
    Terminated,
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "it was not ready in time",
            Self::Stalled => "it did not take what it was offered, and showed no life",
            Self::Overdue => "its task did not end at its deadline",
            Self::Cancelled => "its task was cancelled and did not end",
            Self::Protocol(how) => return write!(f, "it broke the protocol: {how}"),
            Self::Terminated => "it is not needed any more",
        })
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It never was one, and why.
    NeverStarted(String),
    /// It could not begin to serve, and why.
    Unable(String),
    /// Its jail ended it (SIGSYS), for this system call if that is known.
    Forbidden(Option<String>),
}

impl WorkerExit {
    /// Whether it is what the kernel's out-of-memory killer does.
    #[must_use]
    pub fn is_sigkill(&self) -> bool {
        *self == Self::Signal(Signal::SIGKILL as i32)
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => write!(f, "was ended by {}", signal_name(*number)),
            Self::NeverStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unable(why) => write!(f, "could not begin to serve: {why}"),
            Self::Forbidden(Some(call)) => write!(
                f,
                "was ended by SIGSYS: it made the system call {call}, which its jail forbids"
            ),
            Self::Forbidden(None) => f.write_str("was ended by SIGSYS: its jail forbids what it did"),
        }
    }
}

/// How a worker broke the protocol: it must report on what it was sent, in the order in which it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// It reported to be ready when it was so already.
    #[error("it reported to be ready twice")]
    ReadyTwice,
    /// It reported on an offer that is not the next one it has to report on.
    #[error("it reported on a task that was not its next one")]
    NotNext,
    /// It reported the end of a task that had been taken from it.
    #[error("it reported the end of a task that had been taken from it")]
    Revoked,
    /// It reported the end of a task that it had not claimed.
    #[error("it reported the end of a task that it had not claimed")]
    NotClaimed,
    /// It skipped a task that had not been taken from it.
    #[error("it skipped a task that had not been taken from it")]
    NotRevoked,
}
