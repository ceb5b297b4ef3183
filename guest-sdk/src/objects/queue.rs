//! Queues of values.

use std::ops::Deref;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ObjectError, ObjectErrorKind};
use super::reference::{Wait, proxy, still};

proxy! {
    /// A queue of values, first in, first out, as Python's `multiprocessing.Queue`.
    ///
    /// A queue may have a maximum size: [`put`](Self::put) waits while it is full. An item that was taken is gone, also if the task
    /// that took it then fails. A [`JoinableQueue`] gives it to another task.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Queue;
    /// use mpwasm_guest::{Error, Model};
    ///
    /// /// Doubles the numbers of one queue into another, until the first one is closed.
    /// #[derive(Default)]
    /// struct Double;
    ///
    /// impl Model for Double {
    ///     type Args = (Queue<i64>, Queue<i64>);
    ///     type Output = u64;
    ///
    ///     fn runnable((numbers, doubles): Self::Args) -> Result<u64, Error> {
    ///         let mut count = 0;
    ///         for number in numbers.iter() {
    ///             doubles.put(&(2 * number?))?;
    ///             count += 1;
    ///         }
    ///         Ok(count)
    ///     }
    /// }
    /// ```
    Queue<T>, Queue, "queue"
}

impl<T: Serialize> Queue<T> {
    /// Puts an item at the end. Waits while the queue is full, until the deadline of the call.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the queue is closed.
    pub fn put(&self, item: &T) -> Result<(), ObjectError> {
        self.put_within(item, Wait::Forever)
    }

    /// Puts an item at the end. Waits at most `timeout` while the queue is full.
    ///
    /// # Errors
    /// [`Full`](ObjectErrorKind::Full), if it is still full; [`Closed`](ObjectErrorKind::Closed), if it is closed.
    pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), ObjectError> {
        self.put_within(item, Wait::For(timeout))
    }

    /// Puts an item at the end, if the queue is not full.
    ///
    /// # Errors
    /// [`Full`](ObjectErrorKind::Full), if it is full; [`Closed`](ObjectErrorKind::Closed), if it is closed.
    pub fn put_nowait(&self, item: &T) -> Result<(), ObjectError> {
        self.put_within(item, Wait::Never)
    }

    fn put_within(&self, item: &T, wait: Wait) -> Result<(), ObjectError> {
        let put = self.reference.call(Self::KIND, "put", &(item,), wait);
        still(put, ObjectErrorKind::Full, "full")
    }

    /// Puts items at the end, in one request. Waits until there was room for all of them, until the deadline of the call. Other tasks
    /// get the first ones meanwhile.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the queue is closed.
    pub fn put_many(&self, items: &[T]) -> Result<(), ObjectError> {
        self.put_many_within(items, Wait::Forever).map(drop)
    }

    /// Puts items at the end, in one request. Waits at most `timeout` for room. Returns how many it has put.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_many_timeout(&self, items: &[T], timeout: Duration) -> Result<usize, ObjectError> {
        self.put_many_within(items, Wait::For(timeout))
    }

    fn put_many_within(&self, items: &[T], wait: Wait) -> Result<usize, ObjectError> {
        let put = self.reference.call(Self::KIND, "put_many", &(items,), wait);
        still(put, ObjectErrorKind::Full, "full")
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the first item. Waits while the queue is empty, until the deadline of the call.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the queue is closed and empty.
    pub fn get(&self) -> Result<T, ObjectError> {
        self.get_within(Wait::Forever)
    }

    /// Takes the first item. Waits at most `timeout` while the queue is empty.
    ///
    /// # Errors
    /// [`Empty`](ObjectErrorKind::Empty), if it is still empty; [`Closed`](ObjectErrorKind::Closed), if it is closed and empty.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
        self.get_within(Wait::For(timeout))
    }

    /// Takes the first item, if there is one.
    ///
    /// # Errors
    /// [`Empty`](ObjectErrorKind::Empty), if there is none; [`Closed`](ObjectErrorKind::Closed), if the queue is closed, too.
    pub fn get_nowait(&self) -> Result<T, ObjectError> {
        self.get_within(Wait::Never)
    }

    fn get_within(&self, wait: Wait) -> Result<T, ObjectError> {
        still(
            self.reference.call(Self::KIND, "get", &(), wait),
            ObjectErrorKind::Empty,
            "empty",
        )
    }

    /// Takes up to `max` items in one request. Waits for the first one, until the deadline of the call.
    ///
    /// # Errors
    /// [`Closed`](ObjectErrorKind::Closed), if the queue is closed and empty.
    pub fn get_many(&self, max: usize) -> Result<Vec<T>, ObjectError> {
        self.get_many_within(max, Wait::Forever)
    }

    /// Takes up to `max` items in one request. Waits at most `timeout` for the first one.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_many_timeout(&self, max: usize, timeout: Duration) -> Result<Vec<T>, ObjectError> {
        self.get_many_within(max, Wait::For(timeout))
    }

    fn get_many_within(&self, max: usize, wait: Wait) -> Result<Vec<T>, ObjectError> {
        still(
            self.reference.call(Self::KIND, "get_many", &(max,), wait),
            ObjectErrorKind::Empty,
            "empty",
        )
    }

    /// Returns an iterator that takes items until the queue is closed and empty. It waits for each, until the deadline of the call, and
    /// ends after an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, ObjectError>> {
        until_closed(|| self.get())
    }
}

/// Returns an iterator over what `next` returns. It ends when there is nothing more to come, and after an error.
pub(super) fn until_closed<T>(
    next: impl Fn() -> Result<T, ObjectError>,
) -> impl Iterator<Item = Result<T, ObjectError>> {
    let mut has_ended = false;
    std::iter::from_fn(move || {
        let item = (!has_ended).then(&next)?;
        has_ended = item.is_err();
        match item {
            Err(error) if error.kind == ObjectErrorKind::Closed => None,
            item => Some(item),
        }
    })
}

impl<T> Queue<T> {
    /// Returns the number of items. Other tasks may change it at any time.
    ///
    /// # Errors
    /// If the queue can't be used.
    pub fn qsize(&self) -> Result<usize, ObjectError> {
        self.ask("qsize")
    }

    /// Returns whether there are no items. Other tasks may change that at any time.
    ///
    /// # Errors
    /// If the queue can't be used.
    pub fn empty(&self) -> Result<bool, ObjectError> {
        self.ask("empty")
    }

    /// Returns whether there is no room for an item. Other tasks may change that at any time.
    ///
    /// # Errors
    /// If the queue can't be used.
    pub fn full(&self) -> Result<bool, ObjectError> {
        self.ask("full")
    }

    /// Closes the queue: nothing can be put any more, and what is in it can still be taken.
    ///
    /// # Errors
    /// If the queue can't be used.
    pub fn close(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "close", &())
    }

    fn ask<R: DeserializeOwned>(&self, operation: &str) -> Result<R, ObjectError> {
        self.reference.call(Self::KIND, operation, &(), Wait::Never)
    }
}

/// A queue whose items are leased: an item goes back to the front if the task that took it fails before
/// [`task_done`](Self::task_done). As Python's `multiprocessing.JoinableQueue`.
///
/// It has all methods of a [`Queue`].
///
/// ```no_run
/// use mpwasm_guest::objects::JoinableQueue;
/// # use mpwasm_guest::Error;
///
/// # fn work(_: String) {}
/// # fn runnable(jobs: JoinableQueue<String>) -> Result<(), Error> {
/// for job in jobs.iter() {
///     work(job?);
///     jobs.task_done()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, serde::Deserialize)]
#[serde(transparent, bound = "")]
pub struct JoinableQueue<T>(Queue<T>);

impl<T> JoinableQueue<T> {
    const KIND: super::reference::Kind = super::reference::Kind::JoinableQueue;

    /// Refers to the joinable queue that was granted to the pool under this name.
    ///
    /// It is opened at its first use: only that fails if there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Queue::named(name))
    }

    /// Says that an item which this call has taken is done.
    ///
    /// # Errors
    /// [`NotOwner`](ObjectErrorKind::NotOwner), if this call has no item that is not done.
    pub fn task_done(&self) -> Result<(), ObjectError> {
        self.0.reference.tell(Self::KIND, "task_done", &())
    }

    /// Waits until all items are done, until the deadline of the call.
    ///
    /// # Errors
    /// If the queue can't be used.
    pub fn join(&self) -> Result<(), ObjectError> {
        self.join_within(Wait::Forever)
    }

    /// Waits until all items are done, but at most `timeout`.
    ///
    /// # Errors
    /// [`Timeout`](ObjectErrorKind::Timeout), if they are not.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), ObjectError> {
        self.join_within(Wait::For(timeout))
    }

    fn join_within(&self, wait: Wait) -> Result<(), ObjectError> {
        self.0.reference.call(Self::KIND, "join", &(), wait)
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

/// Refers to the same object.
impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Shows the name, and not what gives access to the object.
impl<T> std::fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JoinableQueue").field(&self.name()).finish()
    }
}
