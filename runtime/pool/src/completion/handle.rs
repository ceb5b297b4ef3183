//! [`TaskHandle`]: waits for the outcome of a submitted task.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::completion::queue::ReadyQueue;
use crate::completion::slot::{OutcomeListener, OutcomeSlot};
use crate::ledger::unrun;
use crate::pool::state::PoolState;
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::Outcome;

/// Handle of a submitted task. It always gets an outcome, whichever process of the pool dies.
///
/// It is also a [`Future`], for any executor. **Dropping it does not cancel the task**, also when a timeout or `select!` drops it
/// as a future, unless [`cancel_on_drop`](Self::cancel_on_drop) was called. For several handles there are
/// [`wait_all`](crate::wait_all), [`wait_any`](crate::wait_any) and [`as_completed`](crate::as_completed).
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
/// match handle.wait().parse::<u64>() {
///     Ok(sum) => println!("{sum}"),
///     Err(error) => println!("{}: {}", error.kind, error.message),
/// }
/// # pool.stop()
/// # }
/// ```
#[derive(Debug)]
pub struct TaskHandle {
    pub(crate) id: TaskId,
    slot: Arc<OutcomeSlot>,
    pub(crate) shared: Arc<PoolState>,
    cancels_on_drop: bool,
}

impl TaskHandle {
    pub(crate) fn new(id: TaskId, slot: Arc<OutcomeSlot>, shared: Arc<PoolState>) -> Self {
        Self {
            id,
            slot,
            shared,
            cancels_on_drop: false,
        }
    }

    /// Returns the task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Waits for the outcome: until the task has ended, and its callback has run.
    ///
    /// # Panics
    /// Never: the outcome is only taken by this call, which consumes the handle.
    #[must_use]
    pub fn wait(self) -> Outcome {
        if let Some(outcome) = self.forked() {
            return outcome;
        }
        self.slot.wait(None);
        self.slot
            .take()
            .expect("it was waited for, and only this call takes it")
    }

    /// Waits for the outcome, at most for `timeout`. Returns `None` when the task has not ended by then. May be called again, also
    /// after the task has ended.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Outcome> {
        self.wait_until(until(timeout));
        self.try_get()
    }

    /// Returns the outcome if the task has ended, without blocking.
    #[must_use]
    pub fn try_get(&self) -> Option<Outcome> {
        self.forked().or_else(|| self.slot.outcome())
    }

    /// Returns whether the task has ended and its callback has run.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.shared.owner.is_here() || self.slot.is_ready()
    }

    /// Cancels the task. A task that has not started ends at once. A running one is stopped as at its deadline, which takes about
    /// 100 ms at most. No other task is affected. Does nothing when it has ended. Returns at once; the outcome says how the task
    /// ended.
    pub fn cancel(&self) {
        self.shared.cancel(self.id);
    }

    /// Makes the handle [cancel](Self::cancel) its task when it is dropped before the task has ended. Meant for async code, which
    /// drops futures that it no longer needs.
    ///
    /// ```no_run
    /// # async fn f(pool: &mpwasm::Pool, guest: &mpwasm::Guest) -> Result<(), mpwasm::Error> {
    /// let outcome = pool.submit(guest.task([1]))?.cancel_on_drop().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "dropping the handle cancels the task"]
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels_on_drop = true;
        self
    }

    /// Calls `call` with the outcome once the task has ended.
    ///
    /// All such calls of a pool run one after the other on a thread of their own: they may use the pool, and a slow one delays only
    /// the others. A panic ends only its own call. The end of the pool does not wait for them. If the system can't start the
    /// thread, they are not made, and an error is logged.
    pub fn on_done(&self, call: impl FnOnce(Outcome) + Send + 'static) {
        if let Some(outcome) = self.forked() {
            return call(outcome);
        }
        let shared = Arc::clone(&self.shared);
        let callback = move |outcome| shared.done_callbacks.call(Box::new(call), outcome);
        self.slot
            .add_listener(OutcomeListener::Callback(Box::new(callback)));
    }

    /// Waits for the outcome, at most until `until`. Returns whether it has arrived.
    pub(crate) fn wait_until(&self, until: Option<Instant>) -> bool {
        !self.shared.owner.is_here() || self.slot.wait(until)
    }

    /// Pushes `number` to the queue when the task has ended.
    pub(crate) fn add_listener(&self, ready: &Arc<ReadyQueue>, number: usize) {
        if self.shared.owner.is_here() {
            self.slot
                .add_listener(OutcomeListener::Queue(Arc::clone(ready), number));
        } else {
            let _nobody_waits_yet = ready.push(number);
        }
    }

    /// Removes a queue that was passed to [`TaskHandle::add_listener`].
    pub(crate) fn remove_listener(&self, ready: &Arc<ReadyQueue>) {
        if self.shared.owner.is_here() {
            self.slot.remove_listener(ready);
        }
    }

    /// Returns the outcome for a fork of the pool's process.
    fn forked(&self) -> Option<Outcome> {
        (!self.shared.owner.is_here()).then(|| unrun::forked(self.id, ""))
    }
}

/// Returns the deadline of a timeout that starts now; `None` when the clock can't express it.
pub(crate) fn until(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        if self.cancels_on_drop && !self.is_ready() {
            self.cancel();
        }
    }
}

impl Future for TaskHandle {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.forked() {
            return Poll::Ready(outcome);
        }
        match self.slot.poll(context.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}
