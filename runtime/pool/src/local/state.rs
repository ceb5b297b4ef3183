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
use mpwasm_types::outcome::Outcome;
use mpwasm_types::settings::Settings;
use mpwasm_types::time::Time;
use nix::sys::eventfd::EventFd;

use crate::cache::Cache;
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants::trusted_paths::TrustedPaths;
use crate::guest::Model;
use crate::local::final_values::FinalValues;
use crate::local::ledger::{self, InvalidTask, Ledger};
use crate::local::stats::Counters;
use crate::local::status_requests::StatusRequests;
use crate::local::task_pipe::TaskPipe;
use crate::report::{self, Reporter};

/// What the pool's handle, its threads and its task handles share.
#[derive(Debug)]
pub(crate) struct PoolState {
    /// Which of this process's pools it is.
    pub(crate) number: u64,
    pub(crate) owner: Owner,
    pub(crate) settings: Settings,
    pub(crate) executable: Executable,
    pub(crate) trusted: TrustedPaths,
    pub(crate) cache: Option<Cache>,
    /// Around the pool's processes, where there is one.
    pub(crate) memory: Option<MemoryCgroup>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) status_requests: StatusRequests,
    pub(crate) final_values: FinalValues,
    pub(crate) task_pipe: Mutex<TaskPipe>,
    /// Messages to the dispatcher that are not held back.
    pub(crate) socket: Mutex<OwnedFd>,
    pub(crate) reporter: report::SharedReporter,
    pub(crate) done_callbacks: DoneCallbacks,
    /// One guest is loaded at a time: their order is their number.
    pub(crate) loading: Mutex<()>,
    pub(crate) lifecycle: Mutex<PoolLifecycle>,
    pub(crate) changed: Condvar,
    /// Readable once the pool takes no more tasks.
    pub(crate) closing: EventFd,
    /// Readable once everything shall end now, and until when the dispatcher may take for that.
    pub(crate) killing: EventFd,
    pub(crate) kill_at: AtomicU64,
    /// Nothing new is accepted, and why what has not started ends does not matter any more: it is cancelled.
    pub(crate) cancelling: AtomicBool,
    pub(crate) dispatcher: u32,
}

/// What the receiver knows of the dispatcher's lifecycle.
#[derive(Debug, Default)]
pub(crate) struct PoolLifecycle {
    /// Guests that the dispatcher says it has.
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

    /// Tells the dispatcher something. When it is gone, the receiver finds out and says so.
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
    pub(crate) fn cancel(&self, id: u64) {
        if self.owner.is_here()
            && let Some(order) = self.ledger.dispatcher_id_of(id)
        {
            self.tell(&ToDispatcher::Cancel { id: order });
        }
    }

    /// Cancels what the dispatcher knows by this id: a task or a chunk. The dispatcher keeps orders for those that it does
    /// not know yet, so it is only given some for those that it knows or will know.
    pub(crate) fn cancel_dispatched(&self, order: u64) {
        if self.owner.is_here() && self.ledger.is_open(order) {
            self.tell(&ToDispatcher::Cancel { id: order });
        }
    }

    /// The outcome of what is no task: it is told like any other.
    pub(crate) fn report_invalid(&self, rejection: InvalidTask) -> Outcome {
        let outcome = ledger::invalid(rejection);
        self.report_outcome(&outcome);
        self.report(Reporter::flush);
        self.counters.publish();
        outcome
    }

    /// The outcome of an input of a map that nobody accepted any more.
    pub(crate) fn too_late(&self, model: &Model) -> Outcome {
        ledger::too_late(self.ledger.next_id(), model.name())
    }

    /// No more tasks. False when it was so already.
    pub(crate) fn close(&self) -> bool {
        let closed = self.ledger.close();
        let _ = self.closing.write(1);
        closed
    }

    /// Calls the reporter, unless it has failed before. Its first failure ends the run.
    pub(crate) fn report(&self, call: impl FnOnce(&mut (dyn Reporter + 'static)) -> io::Result<()>) {
        if self.reporter.call(call) {
            self.kill();
        }
    }

    /// Ends everything now.
    pub(crate) fn kill(&self) {
        if !self.owner.is_here() {
            return;
        }
        self.cancelling.store(true, Ordering::SeqCst);
        self.close();
        let at = (clock::now() + KILL_TIMEOUT).0;
        // A second order does not give the dispatcher more time.
        let _ = self
            .kill_at
            .compare_exchange(Time::NEVER.0, at, Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.killing.write(1);
        self.tell(&ToDispatcher::Terminate);
    }

    /// Whether the pool has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        lifecycle.end.is_some()
    }

    /// Until when a dispatcher that was told to end everything may take.
    pub(crate) fn kill_at(&self) -> Time {
        Time(self.kill_at.load(Ordering::SeqCst))
    }
}

/// A dispatcher that was told to end everything, and is not through with it so much later, is killed.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(2);
