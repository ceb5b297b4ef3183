//! [`Pool::map`], its variants, and the iterators that they return.
//!
//! A map has no thread of its own. The thread that asks for the next outcome pulls inputs and pushes them, so inputs are
//! never pulled faster than outcomes are taken. [`Prefetch`] decides how many inputs are pulled ahead, [`ReorderBuffer`]
//! holds outcomes that arrive out of order, and [`batch`](crate::maps::batch) turns inputs into tasks or chunks.

pub(crate) mod batch;
pub(crate) mod prefetch;
pub(crate) mod reorder;

use std::fmt;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;

use crate::completion::cancellation::{CancelTask, CancellationToken};
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::guest::{Callable, Model};
use crate::ledger::unrun;
use crate::maps::batch::{ArgShape, Batch, MapCall};
use crate::maps::prefetch::Prefetch;
use crate::maps::reorder::{ReorderBuffer, ResultOrder};
use crate::pool::Pool;
use crate::pool::state::PoolState;
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::Outcome;

/// Iterator over the outcomes of a model for many inputs, from [`Pool::map`](crate::Pool::map),
/// [`imap`](crate::Pool::imap), [`imap_unordered`](crate::Pool::imap_unordered) and [`starmap`](crate::Pool::starmap). It
/// blocks; [`Results::into_stream`] makes it a [`Stream`] for any executor.
///
/// It is lazy. Nothing happens before the first outcome is requested. From then on inputs are pulled as outcomes are
/// taken, and only a bounded number ahead ([`Results::buffer_size`]), so the inputs may be endless. As a stream it does
/// not block on outcomes, but it blocks like any push while the pool's pipe is full.
///
/// Every input that was pulled has exactly one outcome. An input that can't be serialized as JSON, or is too large, ends
/// as `invalid`. When the pool accepts no more tasks, inputs that were pulled too late end as `cancelled`, and the
/// iterator ends.
///
/// **Dropping it early cancels its tasks in flight**, and returns at once.
pub struct Results<I: Iterator> {
    pool: Arc<PoolState>,
    call: MapCall,
    prefetch: Prefetch,
    /// The inputs, `None` once no more are pulled.
    inputs: Option<I>,
    reorder: ReorderBuffer,
    queue: Arc<ResultQueue>,
    /// Reused buffer for outcomes that were just taken from the queue.
    taken: Vec<(u64, Outcome)>,
    /// Set once a fork has returned its only outcome, which reports the fork.
    fork_reported: bool,
}

impl Pool {
    /// Calls a model with each of the inputs as its only argument. Returns the outcomes in the order of the inputs.
    ///
    /// It is lazy, like iterators: see [`Results`], also for chunks and timeouts. `callee` is a [`Model`], or a
    /// [`Guest`](crate::Guest) for its unnamed model.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::ForeignGuest`].
    ///
    /// ```no_run
    /// # fn f(pool: &mpwasm::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let square = pool.load("square.wasm")?;
    /// for outcome in pool.map(&square, 1..)?.chunk_size(100).take(1000) {
    ///     println!("{}", outcome.parse::<u64>()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<I>(&self, callee: &impl Callable, inputs: I) -> Result<Results<I::IntoIter>, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.results(callee, ArgShape::One, ResultOrder::Inputs, inputs)
    }

    /// Does the same as [`Pool::map`], under the name that Python's `multiprocessing` uses for a lazy map.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn imap<I>(&self, callee: &impl Callable, inputs: I) -> Result<Results<I::IntoIter>, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.map(callee, inputs)
    }

    /// As [`Pool::map`], but returns the outcomes in the order in which the tasks end, so that none waits for a slower
    /// one.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn imap_unordered<I>(&self, callee: &impl Callable, inputs: I) -> Result<Results<I::IntoIter>, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.results(callee, ArgShape::One, ResultOrder::Ends, inputs)
    }

    /// As [`Pool::map`], but each input contains all arguments: a tuple, array or vector.
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn starmap<I>(&self, callee: &impl Callable, inputs: I) -> Result<Results<I::IntoIter>, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.results(callee, ArgShape::Star, ResultOrder::Inputs, inputs)
    }

    fn results<I>(
        &self,
        callee: &impl Callable,
        shape: ArgShape,
        order: ResultOrder,
        inputs: I,
    ) -> Result<Results<I::IntoIter>, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.shared.owner.check()?;
        let model = callee.model()?;
        model.guest_and_index().0.belongs_to(self.shared.id)?;
        Ok(Results::new(
            &self.shared,
            model,
            shape,
            order,
            inputs.into_iter(),
        ))
    }
}

impl<I> Results<I>
where
    I: Iterator,
    I::Item: Serialize,
{
    pub(crate) fn new(
        pool: &Arc<PoolState>,
        model: Model,
        shape: ArgShape,
        order: ResultOrder,
        inputs: I,
    ) -> Self {
        Self {
            pool: Arc::clone(pool),
            call: MapCall::new(model, shape),
            prefetch: Prefetch::new(pool.settings.size),
            inputs: Some(inputs),
            reorder: ReorderBuffer::new(order),
            queue: Arc::default(),
            taken: Vec::new(),
            fork_reported: false,
        }
    }

    /// Sets how many inputs are sent as one message, which costs far less than one by one; 1 by default.
    ///
    /// **The items of a chunk share an instance**. They run one after the other in one worker, and each sees what earlier
    /// ones left in memory, tables and globals. Choose 1 if inputs do not trust each other.
    ///
    /// Each item is a task with an outcome, a timeout, a fuel limit and a callback of its own. An item that fails ends
    /// its instance, and the items after it run in a fresh one. When the worker dies, items that had started without a
    /// reported end are `crash` and are not run again, whatever [`Retry`](mpwasm_types::retry::Retry) says; the others
    /// run in another worker. A chunk is cancelled as a whole. `memory_peak` of an item is that of its instance so far,
    /// and `queued_us` ends when its chunk is claimed. With
    /// [`Isolation::Process`](mpwasm_types::settings::Isolation::Process) a chunk has a process of its own.
    ///
    /// A chunk has fewer inputs when their args together reach 32 KiB, and at the end. The inputs of a command are sent
    /// one by one whatever `size` is, as a command runs once per instance.
    ///
    /// # Panics
    /// When `size` is 0.
    #[must_use]
    pub fn chunk_size(mut self, size: usize) -> Self {
        assert!(size > 0, "a chunk has at least one item");
        let size = if self.call.is_of_command() { 1 } else { size };
        self.call.chunk_size = size;
        self.prefetch.chunk_size = size;
        self
    }

    /// Sets how many inputs may be pulled whose outcomes have not been taken. At least a chunk is pulled.
    ///
    /// By default it is two chunks for each worker, and grows with the number of outcomes taken: a quarter of them, up to
    /// 4096. So `take(100)` pulls not many more than 100 inputs.
    #[must_use]
    pub fn buffer_size(mut self, size: usize) -> Self {
        self.prefetch.fixed = Some(size);
        self
    }

    /// Sets the timeout of each item. By default it is the pool's. See [`Task::timeout`](crate::Task::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout = timeout;
        self
    }

    /// Adds the items to the token's group. Once the token is cancelled, no more inputs are pulled, and the iterator ends
    /// after the outcomes of those that were.
    #[must_use]
    pub fn token(mut self, token: &CancellationToken) -> Self {
        self.call.token = Some(token.clone());
        self
    }

    /// Returns the outcomes as a [`Stream`], for any executor.
    #[must_use]
    pub fn into_stream(self) -> ResultsStream<I> {
        ResultsStream(self)
    }

    /// Takes arrived outcomes, and pushes more inputs if there is room. Returns whether the next outcome is ready.
    fn advance(&mut self) -> bool {
        loop {
            if !self.reorder.is_ready() {
                self.queue.take(&mut self.taken);
                self.reorder.add(&mut self.taken);
            }
            let is_ready = self.reorder.is_ready();
            if self.call.is_cancelled() {
                self.inputs = None;
            }
            if self.inputs.is_none() || !self.prefetch.wants_more(&self.reorder) {
                return is_ready;
            }
            self.push_batches();
            if is_ready {
                return true;
            }
        }
    }

    /// Pulls inputs and pushes them in batches.
    fn push_batches(&mut self) {
        let (batches, size) = self.prefetch.batches(&self.reorder);
        for _ in 0..batches {
            let mut batch = Batch::new(&self.call, size);
            while batch.has_room() {
                // The pool is not locked while the user's iterator runs, as that may use the pool.
                match self.inputs.as_mut().and_then(Iterator::next) {
                    Some(input) => batch.add(&input),
                    None => {
                        self.inputs = None;
                        break;
                    }
                }
            }
            if batch.push(&self.pool, &self.queue, &mut self.reorder).is_err() {
                self.inputs = None;
            }
            if self.inputs.is_none() {
                break;
            }
        }
        self.pool.submissions().flush();
    }

    /// Returns the only outcome in a fork, which reports the fork.
    fn forked(&mut self) -> Option<Outcome> {
        let is_first = !std::mem::replace(&mut self.fork_reported, true);
        is_first.then(|| unrun::forked(TaskId(0), ""))
    }

    /// Returns whether all outcomes were returned.
    fn is_over(&self) -> bool {
        self.inputs.is_none() && self.reorder.outstanding() == 0
    }
}

impl<I> Iterator for Results<I>
where
    I: Iterator,
    I::Item: Serialize,
{
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        if !self.pool.owner.is_here() {
            return self.forked();
        }
        while !self.advance() {
            if self.is_over() {
                return None;
            }
            self.queue.wait(&mut self.taken, None);
        }
        self.reorder.next()
    }
}

impl<I> FusedIterator for Results<I>
where
    I: Iterator,
    I::Item: Serialize,
{
}

/// The outcomes of a map as a [`Stream`], from [`Results::into_stream`].
///
/// It is cancel safe: a future that waits for the next outcome, such as one in `select!`, can be dropped without losing any.
///
/// **Dropping it early cancels its tasks in flight**, as dropping [`Results`] does.
pub struct ResultsStream<I: Iterator>(Results<I>);

impl<I> Stream for ResultsStream<I>
where
    I: Iterator + Unpin,
    I::Item: Serialize,
{
    type Item = Outcome;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let this = &mut self.get_mut().0;
        if !this.pool.owner.is_here() {
            return Poll::Ready(this.forked());
        }
        while !this.advance() {
            if this.is_over() {
                return Poll::Ready(None);
            }
            if !this.queue.poll(&mut this.taken, context) {
                return Poll::Pending;
            }
        }
        Poll::Ready(this.reorder.next())
    }
}

impl<I: Iterator> fmt::Debug for ResultsStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResultsStream").field(&self.0).finish()
    }
}

impl<I: Iterator> Drop for Results<I> {
    fn drop(&mut self) {
        if !self.pool.owner.is_here() {
            return;
        }
        self.queue.close();
        if self.reorder.in_flight() > 0 {
            for id in self.pool.ledger.dispatch_ids_for(&self.queue) {
                self.pool.cancel_dispatched(id);
            }
        }
    }
}

impl<I: Iterator> fmt::Debug for Results<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("reorder", &self.reorder)
            .finish_non_exhaustive()
    }
}
