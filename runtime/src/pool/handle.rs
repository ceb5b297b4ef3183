//! The handle of a submitted task: its outcome can be waited for, with or without a timeout, or awaited.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Shared;
use crate::outcome::Outcome;

/// A submitted task. Every handle gets its outcome, whatever dies.
///
/// It is also a [`Future`], for any executor. Dropping it does not cancel the task.
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn main() -> Result<(), mpwasm::Error> {
/// # mpwasm::init();
/// # let pool = mpwasm::Pool::builder().start()?;
/// let guest = pool.load("guest.wasm")?;
/// let handle = pool.submit(guest.task([1, 2, 3]))?;
/// if handle.wait_timeout(Duration::from_secs(1)).is_none() {
///     handle.cancel(); // it still has an outcome, most likely as `cancelled`
/// }
/// match handle.wait().result {
///     Ok(json) => println!("{json}"),
///     Err(error) => println!("{}: {}", error.kind, error.message),
/// }
/// # pool.stop()
/// # }
/// ```
#[derive(Debug)]
pub struct TaskHandle {
    pub(super) id: u64,
    waiter: Arc<Waiter>,
    pub(super) shared: Arc<Shared>,
}

/// Where the receiver leaves an outcome, and how it wakes who waits for it.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Waiter {
    /// The task has ended.
    pub fn fulfil(&self, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl TaskHandle {
    pub(super) fn new(id: u64, waiter: Arc<Waiter>, shared: Arc<Shared>) -> Self {
        Self { id, waiter, shared }
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the outcome: until the task has ended, and its callback has run.
    ///
    /// # Panics
    /// Never: the outcome is only taken by this call, which consumes the handle.
    #[must_use]
    pub fn wait(self) -> Outcome {
        let state = self.waiter.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| state.outcome.is_none();
        let mut state = self
            .waiter
            .arrived
            .wait_while(state, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state
            .outcome
            .take()
            .expect("it was waited for, and only this call takes it")
    }

    /// Waits for the outcome, but no longer than `timeout`: `None` when it has not come by then. The handle can be
    /// waited for again, also after it has.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Outcome> {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.waiter.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.outcome.is_none() {
            // A timeout beyond what the clock can express is none.
            let left = until.map_or(Duration::from_secs(1), |until| {
                until.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return None;
            }
            state = self
                .waiter
                .arrived
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.outcome.clone()
    }

    /// Ends the task as `cancelled`: at once when it has not started, through the timeout ladder when it runs. Does
    /// nothing when it has ended.
    pub fn cancel(&self) {
        self.shared.cancel(self.id);
    }
}

impl Future for TaskHandle {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.waiter.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
