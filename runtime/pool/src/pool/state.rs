//! The state that the handle of a pool, its threads and its task handles share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::eventfd::EventFd;

use crate::backend::Backend;
use crate::backend::connection::AnySender;
use crate::cache::Cache;
use crate::completion::cancellation::CancelTask;
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants::trusted_paths::TrustedPaths;
use crate::guest::Model;
use crate::ledger::Ledger;
use crate::ledger::unrun::{self, InvalidTask};
use crate::objects::granted::ParentObjects;
use crate::pool::counters::{Counters, Stats};
use crate::pool::final_values::FinalValues;
use crate::report::Reporters;
use crate::report::event::Event;
use crate::sync::{Condvar, Mutex, MutexGuard};
use mpwasm_protocol::messages::ControlRequest;
use mpwasm_sandbox::child::Executable;
use mpwasm_types::ids::{DispatchId, PoolId, TaskId};
use mpwasm_types::outcome::Outcome;
use mpwasm_types::settings::Settings;

/// State that the pool's handle, its threads and its task handles share.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) id: PoolId,
    pub(crate) owner: Owner,
    pub(crate) settings: Settings,
    /// The executable of the processes that compile guests and run their `tasks`, on this machine whatever the backend.
    pub(crate) executable: Executable,
    pub(crate) trusted: TrustedPaths,
    pub(crate) cache: Option<Cache>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) final_values: FinalValues,
    pub(crate) backend: Box<dyn Backend>,
    /// Submits tasks to the backend. The lock keeps them in the order of their ids.
    pub(crate) sender: Mutex<AnySender>,
    /// The connection to the manager of the pool's objects.
    pub(crate) objects: Option<ParentObjects>,
    pub(crate) reporters: Reporters,
    pub(crate) done_callbacks: DoneCallbacks,
    /// Serialises loading: a guest's index is its position in the order of loading.
    pub(crate) loading: Mutex<()>,
    pub(crate) lifecycle: Mutex<PoolLifecycle>,
    pub(crate) changed: Condvar,
    /// Readable once the pool accepts no more tasks.
    pub(crate) closing: EventFd,
    /// Set once the pool was interrupted or terminated: tasks that have not started end as `cancelled`.
    pub(crate) cancelling: AtomicBool,
}

/// Guests loaded and the end of the pool, as the receiver knows them.
#[derive(Debug, Default)]
pub(crate) struct PoolLifecycle {
    /// Number of guests that the backend has loaded.
    pub(crate) loaded: u32,
    pub(crate) end: Option<PoolEnd>,
}

/// How the pool ended.
#[derive(Debug)]
pub(crate) enum PoolEnd {
    /// All accepted tasks have an outcome, and nothing failed.
    Normal,
    /// The pool failed. Empty once [`Pool::join`](crate::Pool::join) has returned the error.
    Failed(Option<Error>),
}

impl PoolState {
    /// Cancels a task, or the chunk of which it is an item.
    pub(crate) fn cancel(&self, id: TaskId) {
        if self.owner.is_here()
            && let Some(id) = self.ledger.dispatch_id_of(id)
        {
            self.backend.control(ControlRequest::Cancel { id });
        }
    }

    /// Reports the outcome of input that is not a valid task, and returns it.
    pub(crate) fn report_invalid(&self, rejection: InvalidTask) -> Outcome {
        let outcome = unrun::invalid(rejection);
        self.counters.count_invalid();
        self.report_outcome(&outcome);
        self.flush_reports();
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

    /// Passes an event to the reporters. Their first failure terminates the pool.
    pub(crate) fn report(&self, event: &Event<'_>) {
        if self.reporters.event(event) {
            self.kill();
        }
    }

    /// Flushes the reporters. Their first failure terminates the pool.
    pub(crate) fn flush_reports(&self) {
        if self.reporters.flush() {
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
        self.backend.control(ControlRequest::Terminate);
    }

    /// Returns how many tasks were accepted and how they ended.
    pub(crate) fn stats(&self) -> Stats {
        // Ended tasks are read before accepted ones, so that no more have ended than were accepted.
        let mut stats = self.counters.read();
        stats.accepted = self.ledger.accepted();
        stats
    }

    /// Counts an outcome and passes it to the reporters.
    pub(crate) fn report_outcome(&self, outcome: &Outcome) {
        self.counters.count(outcome);
        self.report(&Event::Ended(outcome));
    }

    /// Waits until the pool has ended, at most until `until` if that is given.
    pub(crate) fn wait_for_end(&self, until: Option<Instant>) -> MutexGuard<'_, PoolLifecycle> {
        let is_running = |lifecycle: &mut PoolLifecycle| lifecycle.end.is_none();
        self.changed
            .wait_while_until(self.lifecycle.lock(), until, is_running)
    }

    /// Returns whether the pool has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.lifecycle.lock().end.is_some()
    }
}

impl CancelTask for PoolState {
    fn id(&self) -> PoolId {
        self.id
    }

    /// The backend remembers cancellations of ids that it has not received yet, so only ids that are pending are sent.
    fn cancel_dispatched(&self, id: DispatchId) {
        if self.owner.is_here() && self.ledger.is_open(id) {
            self.backend.control(ControlRequest::Cancel { id });
        }
    }
}
