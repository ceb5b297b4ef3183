//! Waiting for several submitted tasks: for all, for the first, or for one after the other as they end.

use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use crate::completion::handle::{TaskHandle, until};
use crate::completion::slot::ReadyQueue;
use mpwasm_types::outcome::Outcome;

/// Waits until all of these tasks have ended, but no longer than `timeout` if one is given. Whether they have.
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

/// Waits until one of these tasks has ended, but no longer than `timeout` if one is given. The place of one that has;
/// `None` when none has by then, or there is none.
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

/// The outcomes of these tasks, in the order in which they end: an iterator that waits; [`AsCompleted::into_stream`] makes it a
/// [`Stream`].
///
/// Dropping it does not cancel them, unless their handles [cancel on drop](TaskHandle::cancel_on_drop).
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

/// What [`as_completed`] returns.
#[derive(Debug)]
pub struct AsCompleted {
    handles: Vec<Option<TaskHandle>>,
    ready: Arc<ReadyQueue>,
    /// Those that have ended and were not handed out, the next one last.
    ended: Vec<usize>,
    /// How many were not handed out.
    left: usize,
}

impl AsCompleted {
    /// Returns the outcomes as a [`Stream`], for any executor.
    #[must_use]
    pub fn into_stream(self) -> AsCompletedStream {
        AsCompletedStream(self)
    }

    /// Takes over what has ended, which `receive` puts behind what is there.
    fn next_ended(&mut self, receive: impl FnOnce(&ReadyQueue, &mut Vec<usize>) -> bool) -> Option<Outcome> {
        if self.ended.is_empty() && receive(&self.ready, &mut self.ended) {
            self.ended.reverse();
        }
        let handle = self.handles[self.ended.pop()?].take()?;
        self.left -= 1;
        Some(handle.wait())
    }

    /// The next outcome in a fork, where none will come: that of a handle, which says so.
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

/// The outcomes of several tasks as a [`Stream`]: what [`AsCompleted::into_stream`] returns.
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
