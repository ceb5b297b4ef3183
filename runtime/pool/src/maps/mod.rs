//! [`Pool::map`] and its relatives, and the iterators that they return.
//!
//! There is no thread: inputs are pulled and pushed by whoever asks for the next outcome, and so never faster than
//! outcomes are taken. How far prefetch is decided in [`Prefetch`]; what becomes of outcomes that come out of order, in
//! [`ReorderBuffer`]; how inputs become tasks or chunks, in [`batch`](crate::maps::batch).

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

use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::CompletionQueue;
use crate::error::Error;
use crate::fork;
use crate::guest::{Callable, Model};
use crate::local::state::PoolState;
use crate::maps::batch::{ArgShape, Batch, MapCall};
use crate::maps::prefetch::Prefetch;
use crate::maps::reorder::{ReorderBuffer, ResultOrder};
use crate::pool::Pool;
use mpwasm_types::outcome::Outcome;

/// Queue of outcomes for an iterator of results, each with the number of its input.
pub type ResultQueue = CompletionQueue<(u64, Outcome)>;

/// The outcomes of a model over many inputs: what [`Pool::map`](crate::Pool::map),
/// [`imap`](crate::Pool::imap), [`imap_unordered`](crate::Pool::imap_unordered) and
/// [`starmap`](crate::Pool::starmap) return. A blocking iterator; [`Results::into_stream`] makes it
/// a [`Stream`] for any executor.
///
/// It is lazy. Inputs are pulled while somebody takes outcomes, and only so many prefetch
/// ([`Results::buffer_size`]): an endless iterator is in order, and nothing happens before the first outcome is asked
/// for. As a stream it does not wait for outcomes, but a pool whose pipe is full makes it wait like any push.
///
/// Every input that is pulled has exactly one outcome here, whatever becomes of it. One that can't be written as JSON, or
/// is too large, ends as `invalid`. When the pool takes no more tasks, what was pulled and came too late is
/// `cancelled`, and is the last.
///
/// **Dropping it half-way cancels what it has in flight**, and returns at once.
pub struct Results<I: Iterator> {
    pool: Arc<PoolState>,
    call: MapCall,
    prefetch: Prefetch,
    /// `None` once there are no more.
    inputs: Option<I>,
    reorder: ReorderBuffer,
    queue: Arc<ResultQueue>,
    /// Buffer for outcomes that were just taken from the queue.
    taken: Vec<(u64, Outcome)>,
    /// Set once the outcome that says that this process is a fork has been returned.
    fork_reported: bool,
}

impl Pool {
    /// Calls a model with each of the inputs, which is its one argument. The outcomes come in the order of the inputs.
    ///
    /// Lazy, as iterators are: see [`Results`], also for chunks and timeouts. The callee is a [`Model`], or a [`Guest`](crate::Guest) for
    /// its unnamed one.
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

    /// As [`Pool::map`], which is as lazy: the name that Python's `multiprocessing` has for it.
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

    /// As [`Pool::map`], but the outcomes come in the order in which the tasks end: none waits for a slower one.
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

    /// As [`Pool::map`], but each input is all of the args: a tuple, array or vector.
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
        model.place().0.belongs_to(&self.shared)?;
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

    /// Sends so many inputs as one message, which costs far less than one by one; 1 if this is not called.
    ///
    /// **The items of a chunk share an instance**, one after the other in one worker: what one leaves in its memory,
    /// tables and globals is there for the next. Choose 1 where inputs do not trust each other.
    ///
    /// Each item is a task with an outcome, a timeout, a fuel budget and a callback of its own. One that fails, however
    /// it does, ends its instance: the items behind it run in a fresh one. Should the worker die, the items that had
    /// begun and not been told end as `crash` and are never run again, whatever [`Retry`](mpwasm_types::retry::Retry) says; the
    /// others run elsewhere. A chunk is cancelled as a whole. `memory_peak` of an item is that of its instance so far,
    /// and `queued_us` ends when its chunk is claimed. With [`Isolation::Process`](mpwasm_types::settings::Isolation::Process) a chunk
    /// has a process of its own.
    ///
    /// A chunk takes fewer inputs when their args together have 32 KiB, and at the end. The inputs of a command, a program
    /// with a beginning and an end, travel one by one whatever `size` is.
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

    /// Pulls at most so many inputs whose outcomes have not been taken, and at least a chunk.
    ///
    /// If this is not called, it is two chunks for each worker, and more as outcomes are taken: a quarter as many as were
    /// taken so far, up to 4096. So what `take(100)` needs costs not much more than 100 inputs.
    #[must_use]
    pub fn buffer_size(mut self, size: usize) -> Self {
        self.prefetch.fixed = Some(size);
        self
    }

    /// The timeout of each item; the pool's otherwise. See [`Task::timeout`](crate::Task::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout = timeout;
        self
    }

    /// Makes the items part of the token's group. Once it is cancelled, no more inputs are pulled: the iterator ends
    /// with the outcomes of those that were.
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

    /// Takes arrived outcomes, and pushes more inputs if there is room. Returns whether an outcome can be returned.
    fn advance(&mut self) -> bool {
        loop {
            if !self.reorder.is_ready() {
                self.queue.take(&mut self.taken);
                self.reorder.sort(&mut self.taken);
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
                // The pool is not locked while the user's iterator runs: it may use the pool.
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
        self.pool.task_pipe().flush();
    }

    /// Returns the only outcome in a fork, which reports the fork.
    fn forked(&mut self) -> Option<Outcome> {
        let is_first = !std::mem::replace(&mut self.fork_reported, true);
        is_first.then(|| fork::outcome(0, ""))
    }

    /// Whether all outcomes were returned.
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

/// The outcomes of a map as a [`Stream`]: what [`Results::into_stream`] returns.
///
/// **Dropping it half-way cancels what it has in flight**, as dropping [`Results`] does.
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
            for order in self.pool.ledger.dispatcher_ids_for(&self.queue) {
                self.pool.cancel_dispatched(order);
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
