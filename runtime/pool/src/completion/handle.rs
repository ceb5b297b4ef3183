//! The handle of a submitted task: its outcome can be waited for, with or without a timeout, or awaited.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::completion::slot::{Listener, OutcomeSlot, ReadyQueue};
use crate::fork;
use crate::local::state::PoolState;
use mpwasm_types::outcome::Outcome;

/// A submitted task. Every handle gets its outcome, whatever dies.
///
/// It is also a [`Future`], for any executor. **Dropping it, also as a future that a timeout or `select!` gives up, does not
/// cancel the task**: that is what [`cancel_on_drop`](Self::cancel_on_drop) is for. For several handles there are
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
    pub(crate) id: u64,
    slot: Arc<OutcomeSlot>,
    pub(crate) shared: Arc<PoolState>,
    cancels_on_drop: bool,
}

impl TaskHandle {
    pub(crate) fn new(id: u64, slot: Arc<OutcomeSlot>, shared: Arc<PoolState>) -> Self {
        Self {
            id,
            slot,
            shared,
            cancels_on_drop: false,
        }
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
        if let Some(outcome) = self.forked() {
            return outcome;
        }
        self.slot.wait(None);
        self.slot
            .take()
            .expect("it was waited for, and only this call takes it")
    }

    /// Waits for the outcome, but no longer than `timeout`: `None` when it has not come by then. The handle can be
    /// waited for again, also after it has.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Outcome> {
        self.wait_until(until(timeout));
        self.try_get()
    }

    /// The outcome, if it has come. Does not wait.
    #[must_use]
    pub fn try_get(&self) -> Option<Outcome> {
        self.forked().or_else(|| self.slot.outcome())
    }

    /// Whether the outcome has come: the task has ended, and its callback has run.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.shared.owner.is_here() || self.slot.is_ready()
    }

    /// Ends the task as `cancelled`: at once when it has not started, and then it never will; through the timeout
    /// ladder when it runs, within 100 ms. No other task is harmed. Does nothing when it has ended. Returns at once: the
    /// outcome comes as ever, and says how the task has ended after all.
    pub fn cancel(&self) {
        self.shared.cancel(self.id);
    }

    /// Makes the handle [`cancel`](Self::cancel) its task when it is dropped before the task has ended: for async code, in which
    /// a future that is not needed any more is dropped.
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

    /// Calls `call` with the outcome once it has come, or soon, if it has come already.
    ///
    /// It is called on a thread that the pool has for this and nothing else, one call after the other: so it may use the
    /// pool, and while it takes its time, other such calls wait and nothing else does. A panic in it ends this call only. The
    /// end of the pool does not wait for it.
    pub fn on_done(&self, call: impl FnOnce(Outcome) + Send + 'static) {
        if let Some(outcome) = self.forked() {
            return call(outcome);
        }
        let shared = Arc::clone(&self.shared);
        let callback = move |outcome| shared.done_callbacks.call(Box::new(call), outcome);
        self.slot.add_listener(Listener::Callback(Box::new(callback)));
    }

    /// Waits until the outcome has come; false when it has not by then.
    pub(crate) fn wait_until(&self, until: Option<Instant>) -> bool {
        !self.shared.owner.is_here() || self.slot.wait(until)
    }

    /// Leaves `number` in the mailbox when the task has ended.
    pub(crate) fn add_listener(&self, ready: &Arc<ReadyQueue>, number: usize) {
        if self.shared.owner.is_here() {
            self.slot.add_listener(Listener::Queue(Arc::clone(ready), number));
        } else {
            let _nobody_waits_yet = ready.push(number);
        }
    }

    /// Ends what [`TaskHandle::add_listener`] began.
    pub(crate) fn remove_listener(&self, ready: &Arc<ReadyQueue>) {
        if self.shared.owner.is_here() {
            self.slot.remove_listener(ready);
        }
    }

    /// The outcome that a fork of the pool's process gets.
    fn forked(&self) -> Option<Outcome> {
        (!self.shared.owner.is_here()).then(|| fork::outcome(self.id, ""))
    }
}

/// So long from now. A timeout beyond what the clock can express is none.
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
