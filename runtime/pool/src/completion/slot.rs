//! [`OutcomeSlot`]: passes the outcome of a submitted task from the receiver to the waiters.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::completion::done_callbacks::DoneCallback;
use crate::completion::queue::ReadyQueue;
use crate::sync::{Condvar, Mutex, MutexGuard};
use mpwasm_types::outcome::Outcome;

/// Holds the outcome of a submitted task until it is taken, and wakes those that wait for it.
#[derive(Debug, Default)]
pub struct OutcomeSlot {
    state: Mutex<OutcomeSlotState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct OutcomeSlotState {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    listeners: Vec<OutcomeListener>,
}

/// Receiver of a notification that the task has ended.
pub enum OutcomeListener {
    /// The queue of a wait for several tasks, and this task's number there.
    Queue(Arc<ReadyQueue>, usize),
    /// A function that is called on the receiver's thread: it must not block.
    Callback(DoneCallback),
}

impl std::fmt::Debug for OutcomeListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl OutcomeListener {
    /// Returns whether it needs a copy of the outcome.
    fn wants_outcome(&self) -> bool {
        matches!(self, Self::Callback(_))
    }

    /// Notifies the listener that the task has ended. `outcome` is `None` for a listener that does not need it.
    fn notify(self, outcome: Option<Outcome>) {
        match self {
            Self::Queue(ready, number) => {
                if ready.push(number) {
                    ready.wake();
                }
            }
            Self::Callback(call) => outcome.map_or((), call),
        }
    }
}

impl OutcomeSlot {
    /// Stores the outcome and wakes all waiters.
    pub fn fulfil(&self, outcome: Outcome) {
        let mut state = self.lock();
        let listeners = std::mem::take(&mut state.listeners);
        let copy = listeners
            .iter()
            .any(OutcomeListener::wants_outcome)
            .then(|| outcome.clone());
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
        for listener in listeners {
            listener.notify(copy.clone());
        }
    }

    /// Returns a copy of the outcome, if it has arrived.
    pub fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.clone()
    }

    /// Returns whether the outcome has arrived.
    pub fn is_ready(&self) -> bool {
        self.lock().outcome.is_some()
    }

    /// As [`OutcomeSlot::outcome`]. If the outcome has not arrived, `waker` is woken once it has.
    pub fn poll(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = self.lock();
        if state.outcome.is_none() {
            state.waker = Some(waker.clone());
        }
        state.outcome.clone()
    }

    /// Waits for the outcome, at most until `until` if that is given. Returns false when it has not arrived by then.
    pub fn wait(&self, until: Option<Instant>) -> bool {
        let is_open = |state: &mut OutcomeSlotState| state.outcome.is_none();
        let state = self.arrived.wait_while_until(self.lock(), until, is_open);
        state.outcome.is_some()
    }

    /// Takes the outcome out of the slot.
    pub fn take(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    /// Notifies `listener` when the task ends, at once if it has ended.
    pub fn add_listener(&self, listener: OutcomeListener) {
        let mut state = self.lock();
        if state.outcome.is_none() {
            return state.listeners.push(listener);
        }
        let copy = state.outcome.clone().filter(|_| listener.wants_outcome());
        drop(state);
        listener.notify(copy);
    }

    /// Removes a queue that was passed to [`OutcomeSlot::add_listener`].
    pub fn remove_listener(&self, ready: &Arc<ReadyQueue>) {
        let is_it = |listener: &OutcomeListener| matches!(listener, OutcomeListener::Queue(other, _) if Arc::ptr_eq(other, ready));
        self.lock().listeners.retain(|listener| !is_it(listener));
    }

    fn lock(&self) -> MutexGuard<'_, OutcomeSlotState> {
        self.state.lock()
    }
}
