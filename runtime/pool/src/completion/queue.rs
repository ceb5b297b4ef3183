//! [`CompletionQueue`]: the queue between the receiver and an iterator of results.
//!
//! The receiver pushes and never waits. The consumer takes all items at once, so a busy consumer costs the receiver no system
//! call per item.

use std::task::{Context, Waker};
use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard};
use mpwasm_types::outcome::Outcome;

/// Holds outcomes, or numbers of ended tasks, until their one consumer takes them.
#[derive(Debug)]
pub struct CompletionQueue<T> {
    state: Mutex<QueueState<T>>,
    arrived: Condvar,
}

/// Queue between the receiver and an iterator of results: outcomes, each with the number of its input.
pub type ResultQueue = CompletionQueue<(u64, Outcome)>;

/// Queue of the numbers of ended tasks, for a wait for several tasks.
pub type ReadyQueue = CompletionQueue<usize>;

#[derive(Debug)]
struct QueueState<T> {
    items: Vec<T>,
    /// Whether a thread waits for an item.
    thread_waits: bool,
    /// Waker of an async task that waits for an item.
    waker: Option<Waker>,
    /// Whether the consumer is gone. Further items are dropped then.
    is_closed: bool,
}

impl<T> Default for CompletionQueue<T> {
    fn default() -> Self {
        let state = QueueState {
            items: Vec::new(),
            thread_waits: false,
            waker: None,
            is_closed: false,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }
}

impl<T> CompletionQueue<T> {
    /// Appends an item. Returns true when the consumer waits: the caller then calls [`CompletionQueue::wake`], perhaps after more
    /// items.
    #[must_use = "the consumer may have to be woken"]
    pub fn push(&self, item: T) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        state.items.push(item);
        state.thread_waits || state.waker.is_some()
    }

    /// Wakes the waiting consumer.
    pub fn wake(&self) {
        let mut state = self.lock();
        state.thread_waits = false;
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves all items to the end of `into`. Returns false when `into` is empty afterwards.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
        let items = &mut self.lock().items;
        into.append(items);
        !into.is_empty()
    }

    /// As [`CompletionQueue::take`], but waits for an item, at most until `until` if that is given. Returns false when
    /// none has arrived by then.
    pub fn wait(&self, into: &mut Vec<T>, until: Option<Instant>) -> bool {
        let is_waiting = |state: &mut QueueState<T>| {
            state.thread_waits = state.items.is_empty();
            state.thread_waits
        };
        let mut state = self.arrived.wait_while_until(self.lock(), until, is_waiting);
        into.append(&mut state.items);
        !std::mem::take(&mut state.thread_waits)
    }

    /// As [`CompletionQueue::take`]. When there is no item, the context's waker is woken for the next one.
    pub fn poll(&self, into: &mut Vec<T>, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.items.is_empty() {
            state.waker = Some(context.waker().clone());
            return false;
        }
        into.append(&mut state.items);
        true
    }

    /// Closes the queue when its consumer is gone. Queued and further items are dropped.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let items = std::mem::take(&mut state.items);
        drop((state, items));
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock()
    }
}
