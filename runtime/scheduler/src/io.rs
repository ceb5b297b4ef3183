//! The interface between the scheduler and its environment.
//!
//! [`Io`] has all actions of the scheduler. The event loop implements it with processes, sockets and the shared page, the tests
//! with a simulator.

use std::fmt;

use nix::sys::signal::Signal;

use super::task::{Claim, ScheduledTask};
use mpwasm_types::exit_status::signal_name;
use mpwasm_types::ids::{GuestId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::Failure;
use mpwasm_types::time::Time;

/// The actions of the scheduler. They must not call back into it, block or fail.
pub trait Io {
    /// Spawns a process with these guests in the slot. `worker_ready` or `worker_exited` follows in a later turn, even if the spawn
    /// fails.
    fn spawn(&mut self, worker: WorkerId, guests: &[GuestId], reason: SpawnReason);

    /// Marks an entry of the shared page as offered and queues the task's frame to the worker. At most
    /// [`MAX_UNREAD`](super::MAX_UNREAD) offers of one worker are in flight at any time.
    fn offer(&mut self, worker: WorkerId, task: &ScheduledTask) -> OfferId;

    /// Swaps offered for revoked in the shared page. If it returns true, the task will never start there, and the worker reports
    /// the offer as skipped once it has read it.
    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool;

    /// Returns when the worker claimed the offer, as it wrote into the shared page. The worker is not trusted: the scheduler
    /// clamps the time and keeps the first one that it gets.
    fn claimed_at(&mut self, worker: WorkerId, offer: OfferId) -> Option<Time>;

    /// Returns the id of the last item of a claimed chunk that has begun, as the worker wrote. The worker is not trusted.
    /// Meaningless for a task that is not a chunk.
    fn last_begun(&mut self, worker: WorkerId, offer: OfferId) -> TaskId;

    /// Requests that the worker's watchdog ends the running task as cancelled.
    fn cancel(&mut self, worker: WorkerId, offer: OfferId);

    /// Requests that a worker without tasks exits.
    fn retire(&mut self, worker: WorkerId, reason: RetireReason);

    /// Sends SIGKILL. `worker_exited` follows.
    fn kill(&mut self, worker: WorkerId, reason: &KillReason);

    /// Abandons a process that cannot be reaped: warns with its pid, closes its descriptors and never reports it again. The slot
    /// is free for a new process.
    fn abandon(&mut self, worker: WorkerId);

    /// Reports that an attempt failed and the task will be tried again.
    fn attempt_failed(&mut self, task: &ScheduledTask, run: Claim, failure: Failure);

    /// Reports the failure of a task, or of each item of a chunk. `run` is `None` if it never started.
    fn task_failed(&mut self, task: ScheduledTask, run: Option<Claim>, failure: Failure);
}

/// Why a worker is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnReason {
    /// The pool has fewer workers than its size.
    Missing,
    /// Tasks of other workers wait for shared objects, and another task can run meanwhile.
    Lent,
}

impl fmt::Display for SpawnReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the pool has a worker too few",
            Self::Lent => "the task of another worker waits for a shared object",
        })
    }
}

/// Why a worker is asked to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireReason {
    /// No task will come any more, and all have ended.
    NotNeeded,
    /// A task needs a guest that it does not have, and it has nothing to run.
    LacksGuest,
    /// It has run as many tasks as a process is for.
    RanItsTasks,
    /// It was lent while tasks of other workers waited. They have resumed, and it has been idle since.
    Surplus,
}

impl fmt::Display for RetireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "it is not needed any more",
            Self::LacksGuest => "it lacks a guest",
            Self::RanItsTasks => "it has run the tasks that it is for",
            Self::Surplus => "fewer tasks wait for shared objects, and it has been idle",
        })
    }
}

/// Why the dispatcher kills a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// It was not ready in time.
    NotReady,
    /// It did not claim its offers and gave no sign of life afterwards.
    Stalled,
    /// Its task did not end at its deadline.
    Overdue,
    /// Its task was cancelled and did not end.
    Cancelled,
    /// It broke the protocol in this way.
    Protocol(String),
    /// It is not needed any more, and does not or should not exit by itself.
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
    /// Its watchdog ended it: its task did not end at its deadline, or after it was cancelled.
    Watchdog,
    /// This signal ended it.
    Signal(i32),
    /// It could not be spawned, for this reason.
    NeverStarted(String),
    /// It could not become ready, for this reason.
    Unable(String),
    /// The sandbox ended it with SIGSYS, for this system call if known.
    Forbidden(Option<String>),
}

impl WorkerExit {
    /// Returns whether SIGKILL ended it, as the kernel's out-of-memory killer does.
    #[must_use]
    pub fn is_sigkill(&self) -> bool {
        *self == Self::Signal(Signal::SIGKILL as i32)
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Watchdog => f.write_str("was ended by its watchdog"),
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

/// How a worker broke the protocol. It must report on its offers in the order in which they were sent.
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
    /// It reported that a task waits, or waits no more, and had reported that before.
    #[error("it reported a wait that had begun, or the end of one that had not")]
    NoSuchWait,
}
