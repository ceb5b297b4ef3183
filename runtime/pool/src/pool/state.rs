//! The state that the handle of a pool, its threads and its task handles share, and how they talk to the dispatcher.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use mpwasm_protocol::channel::{Channel, send_all};
use mpwasm_protocol::frame::put;
use mpwasm_protocol::messages::ToDispatcher;
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::clock;
use mpwasm_types::ids::{DispatchId, PoolId, TaskId};
use mpwasm_types::outcome::Outcome;
use mpwasm_types::settings::Settings;
use mpwasm_types::time::Time;
use nix::sys::eventfd::EventFd;

use crate::backend::local::task_pipe::TaskPipe;
use crate::cache::Cache;
use crate::completion::cancellation::CancelTask;
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants::trusted_paths::TrustedPaths;
use crate::guest::Model;
use crate::ledger::Ledger;
use crate::ledger::unrun::{self, InvalidTask};
use crate::pool::counters::{Counters, Stats};
use crate::pool::final_values::FinalValues;
use crate::pool::status_requests::StatusRequests;
use crate::report::{self, Reporter};

/// State that the pool's handle, its threads and its task handles share.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) id: PoolId,
    pub(crate) owner: Owner,
    pub(crate) settings: Settings,
    pub(crate) executable: Executable,
    pub(crate) trusted: TrustedPaths,
    pub(crate) cache: Option<Cache>,
    /// The memory cgroup around the pool's processes, if one could be created.
    pub(crate) memory: Option<MemoryCgroup>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) status_requests: StatusRequests,
    pub(crate) final_values: FinalValues,
    pub(crate) task_pipe: Mutex<TaskPipe>,
    /// Socket to the dispatcher, for messages that must not wait behind tasks.
    pub(crate) socket: Mutex<OwnedFd>,
    pub(crate) reporter: report::SharedReporter,
    pub(crate) done_callbacks: DoneCallbacks,
    /// Serialises loading: a guest's index is its position in the order of loading.
    pub(crate) loading: Mutex<()>,
    pub(crate) lifecycle: Mutex<PoolLifecycle>,
    pub(crate) changed: Condvar,
    /// Readable once the pool accepts no more tasks.
    pub(crate) closing: EventFd,
    /// Readable once the pool was terminated; `kill_at` is when the dispatcher is killed then.
    pub(crate) killing: EventFd,
    pub(crate) kill_at: AtomicU64,
    /// Set once the pool was interrupted or terminated: tasks that have not started end as `cancelled`.
    pub(crate) cancelling: AtomicBool,
    pub(crate) dispatcher: u32,
}

/// Guests loaded and the end of the pool, as the receiver knows them.
#[derive(Debug, Default)]
pub(crate) struct PoolLifecycle {
    /// Number of guests that the dispatcher has loaded.
    pub(crate) loaded: u32,
    pub(crate) end: Option<PoolEnd>,
}

/// How the pool ended.
#[derive(Debug)]
pub(crate) enum PoolEnd {
    Well,
    Failed(Option<Error>),
}
impl PoolState {
    pub(crate) fn task_pipe(&self) -> std::sync::MutexGuard<'_, TaskPipe> {
        self.task_pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message to the dispatcher. Errors are ignored: the receiver notices a dead dispatcher.
    pub(crate) fn tell(&self, message: &ToDispatcher) {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = send_all(socket.as_fd(), &bytes);
    }

    pub(crate) fn tell_with(
        &self,
        message: &ToDispatcher,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        Channel::send_over(socket.as_fd(), message, descriptors).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
            _ => Error::Io(error),
        })
    }

    /// Cancels a task, or the chunk of which it is an item.
    pub(crate) fn cancel(&self, id: TaskId) {
        if self.owner.is_here()
            && let Some(order) = self.ledger.dispatcher_id_of(id)
        {
            self.tell(&ToDispatcher::Cancel { id: order });
        }
    }

    /// Reports the outcome of input that is not a valid task, and returns it.
    pub(crate) fn report_invalid(&self, rejection: InvalidTask) -> Outcome {
        let outcome = unrun::invalid(rejection);
        self.report_outcome(&outcome);
        self.report(Reporter::flush);
        self.counters.publish();
        outcome
    }

    /// Returns the outcome of a map's input that came after the pool was closed.
    pub(crate) fn too_late(&self, model: &Model) -> Outcome {
        unrun::too_late(self.ledger.next_id(), model.name())
    }

    /// Stops accepting tasks. Returns false when it was closed before.
    pub(crate) fn close(&self) -> bool {
        let closed = self.ledger.close();
        let _ = self.closing.write(1);
        closed
    }

    /// Calls the reporter, unless it has failed before. The first failure terminates the pool.
    pub(crate) fn report(&self, call: impl FnOnce(&mut (dyn Reporter + 'static)) -> io::Result<()>) {
        if self.reporter.call(call) {
            self.kill();
        }
    }

    /// Terminates the pool.
    pub(crate) fn kill(&self) {
        if !self.owner.is_here() {
            return;
        }
        self.cancelling.store(true, Ordering::SeqCst);
        self.close();
        let at = (clock::now() + KILL_TIMEOUT).0;
        // A second call does not extend the dispatcher's deadline.
        let _ = self
            .kill_at
            .compare_exchange(Time::NEVER.0, at, Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.killing.write(1);
        self.tell(&ToDispatcher::Terminate);
    }

    /// Returns how many tasks were accepted and how they ended.
    pub(crate) fn stats(&self) -> Stats {
        // Ended tasks are read before accepted ones, so that no more have ended than were accepted.
        let mut stats = self.counters.read();
        stats.accepted = self.ledger.accepted();
        stats
    }

    /// Counts an outcome and passes it to the reporter.
    pub(crate) fn report_outcome(&self, outcome: &Outcome) {
        self.counters.count(outcome);
        self.report(|reporter| reporter.outcome(outcome));
    }

    /// Returns whether the pool has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        lifecycle.end.is_some()
    }

    /// Returns when a dispatcher that was told to terminate is killed.
    pub(crate) fn kill_at(&self) -> Time {
        Time(self.kill_at.load(Ordering::SeqCst))
    }
}

impl CancelTask for PoolState {
    fn id(&self) -> PoolId {
        self.id
    }

    /// The dispatcher remembers cancellations of ids that it has not received yet, so only ids that are pending are sent.
    fn cancel_dispatched(&self, id: DispatchId) {
        if self.owner.is_here() && self.ledger.is_open(id) {
            self.tell(&ToDispatcher::Cancel { id });
        }
    }
}

/// Longest time that a dispatcher may take to terminate before it is killed. Killing workers and reporting takes milliseconds.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(2);
