//! Waits for several submitted tasks: for all, for the first, or for each as it ends.

use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use crate::completion::handle::{TaskHandle, until};
use crate::completion::queue::ReadyQueue;
use mpwasm_types::outcome::Outcome;

/// Waits until all tasks have ended, at most for `timeout` if one is given. Returns whether they have.
///
/// ```no_run
/// # fn f(handles: Vec<mpwasm::TaskHandle>) {
/// use std::time::Duration;
///
/// if !mpwasm::wait_all(&handles, Duration::from_secs(1)) {
///     handles.iter().for_each(mpwasm::TaskHandle::cancel);
/// }
/// mpwasm::wait_all(&handles, None);
/// # }
/// ```
pub fn wait_all(handles: &[TaskHandle], timeout: impl Into<Option<Duration>>) -> bool {
    let until = timeout.into().and_then(until);
    handles.iter().all(|handle| handle.wait_until(until))
}

/// Waits until one of the tasks has ended, at most for `timeout` if one is given. Returns the index of one that has; `None` when
/// none has by then, or `handles` is empty.
pub fn wait_any(handles: &[TaskHandle], timeout: impl Into<Option<Duration>>) -> Option<usize> {
    let until = timeout.into().and_then(until);
    if handles.is_empty() {
        return None;
    }
    let ready = Arc::new(ReadyQueue::default());
    for (number, handle) in handles.iter().enumerate() {
        handle.add_listener(&ready, number);
    }
    let mut ended = Vec::new();
    ready.wait(&mut ended, until);
    handles.iter().for_each(|handle| handle.remove_listener(&ready));
    ended.first().copied()
}

/// Returns a blocking iterator over the outcomes, in the order in which the tasks end. [`AsCompleted::into_stream`] makes it a
/// [`Stream`].
///
/// Dropping it does not cancel the tasks, unless their handles [cancel on drop](TaskHandle::cancel_on_drop).
pub fn as_completed(handles: impl IntoIterator<Item = TaskHandle>) -> AsCompleted {
    let handles: Vec<_> = handles.into_iter().map(Some).collect();
    let ready = Arc::new(ReadyQueue::default());
    for (number, handle) in handles.iter().flatten().enumerate() {
        handle.add_listener(&ready, number);
    }
    AsCompleted {
        left: handles.len(),
        handles,
        ready,
        ended: Vec::new(),
    }
}

/// Iterator over outcomes as their tasks end, from [`as_completed`].
#[derive(Debug)]
pub struct AsCompleted {
    handles: Vec<Option<TaskHandle>>,
    ready: Arc<ReadyQueue>,
    /// Indices of ended tasks that were not returned, the next one last.
    ended: Vec<usize>,
    /// Number of outcomes that were not returned.
    left: usize,
}

impl AsCompleted {
    /// Returns the outcomes as a [`Stream`], for any executor.
    #[must_use]
    pub fn into_stream(self) -> AsCompletedStream {
        AsCompletedStream(self)
    }

    /// Returns the next outcome. `receive` appends the indices of ended tasks.
    fn next_ended(&mut self, receive: impl FnOnce(&ReadyQueue, &mut Vec<usize>) -> bool) -> Option<Outcome> {
        if self.ended.is_empty() && receive(&self.ready, &mut self.ended) {
            self.ended.reverse();
        }
        let handle = self.handles[self.ended.pop()?].take()?;
        self.left -= 1;
        Some(handle.wait())
    }

    /// Returns the next outcome in a fork, where tasks never end: that of a handle, which reports the fork.
    fn forked(&mut self) -> Option<Outcome> {
        let handle = self.handles.iter_mut().find(|handle| handle.is_some())?;
        let forked = handle.take_if(|handle| !handle.shared.owner.is_here())?;
        self.left -= 1;
        Some(forked.wait())
    }
}

impl Iterator for AsCompleted {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        if self.left == 0 {
            return None;
        }
        if let Some(outcome) = self.forked() {
            return Some(outcome);
        }
        self.next_ended(|ready, ended| ready.wait(ended, None))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for AsCompleted {}
impl FusedIterator for AsCompleted {}

/// The outcomes of several tasks as a [`Stream`], from [`AsCompleted::into_stream`].
///
/// It is cancel safe: a future that waits for the next outcome, such as one in `select!`, can be dropped without losing any.
#[derive(Debug)]
pub struct AsCompletedStream(AsCompleted);

impl Stream for AsCompletedStream {
    type Item = Outcome;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Outcome>> {
        if self.0.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(outcome) = self.0.forked() {
            return Poll::Ready(Some(outcome));
        }
        match self.0.next_ended(|ready, ended| ready.poll(ended, context)) {
            Some(outcome) => Poll::Ready(Some(outcome)),
            None => Poll::Pending,
        }
    }
}
