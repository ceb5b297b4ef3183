//! [`Queue`] and [`JoinableQueue`].

use std::iter;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::objects::proxy::{NO_ARGS, timed_out_as, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

typed_proxy! {
    /// A first-in, first-out queue of JSON values, as `multiprocessing.Queue`. An item that was taken is gone with its taker: see
    /// [`JoinableQueue`] for one that comes back.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use mpwasm::objects::{Manager, ObjectErrorKind};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let jobs = manager.queue(3)?;
    /// for number in 1..=3 {
    ///     jobs.put(&number)?;
    /// }
    /// let full = jobs.put_timeout(&4, Duration::from_millis(100)).unwrap_err();
    /// assert_eq!(full.kind, ObjectErrorKind::Full);
    /// assert_eq!(jobs.get()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    Queue<T>
}

typed_proxy! {
    /// A [`Queue`] whose items are leased, as `multiprocessing.JoinableQueue`: a taker reports each item with
    /// [`task_done`](Self::task_done), and [`join`](Self::join) waits until all were reported. An item whose taker failed before
    /// goes back to the front.
    JoinableQueue<T>
}

/// Defines the operations that both queues have.
macro_rules! queue_operations {
    ($name:ident) => {
        impl<T: Serialize> $name<T> {
            /// Appends an item, and waits while the queue is full.
            ///
            /// # Errors
            /// `Closed`, `TooLarge`, `OutOfMemory`, `Unavailable`.
            pub fn put(&self, item: &T) -> Result<(), ObjectError> {
                self.proxy.run("put", &(item,), WaitLimit::Forever)
            }

            /// Appends an item, and waits at most `timeout` while the queue is full.
            ///
            /// # Errors
            /// `Full` when it still was; otherwise as [`put`](Self::put).
            pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<(), ObjectError> {
                timed_out_as(
                    ObjectErrorKind::Full,
                    self.proxy.run("put", &(item,), WaitLimit::For(timeout)),
                )
            }

            /// Appends an item if the queue is not full, as Python's `put_nowait`.
            ///
            /// # Errors
            /// `Full`; otherwise as [`put`](Self::put).
            pub fn put_nowait(&self, item: &T) -> Result<(), ObjectError> {
                self.proxy.run("put", &(item,), WaitLimit::Never)
            }

            /// Appends several items in one round trip, and waits until there was room for all of them. Other takers get the
            /// first ones meanwhile.
            ///
            /// # Errors
            /// As [`put`](Self::put).
            pub fn put_many(&self, items: &[T]) -> Result<(), ObjectError> {
                self.proxy.run("put_many", &(items,), WaitLimit::Forever)
            }

            /// Appends several items in one round trip, and waits at most `timeout` for room. Returns how many it has appended.
            ///
            /// # Errors
            /// As [`put_timeout`](Self::put_timeout).
            pub fn put_many_timeout(&self, items: &[T], timeout: Duration) -> Result<usize, ObjectError> {
                timed_out_as(
                    ObjectErrorKind::Full,
                    self.proxy
                        .call("put_many", &(items,), WaitLimit::For(timeout)),
                )
            }
        }

        impl<T: DeserializeOwned> $name<T> {
            /// Takes the first item, and waits while the queue is empty.
            ///
            /// # Errors
            /// `Closed` when the queue is closed and empty, `Unavailable`; `Invalid` when the item is not a `T`.
            pub fn get(&self) -> Result<T, ObjectError> {
                self.proxy.call("get", &NO_ARGS, WaitLimit::Forever)
            }

            /// Takes the first item, and waits at most `timeout` while the queue is empty.
            ///
            /// # Errors
            /// `Empty` when it still was; otherwise as [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
                timed_out_as(
                    ObjectErrorKind::Empty,
                    self.proxy.call("get", &NO_ARGS, WaitLimit::For(timeout)),
                )
            }

            /// Takes the first item if there is one, as Python's `get_nowait`.
            ///
            /// # Errors
            /// `Empty`; otherwise as [`get`](Self::get).
            pub fn get_nowait(&self) -> Result<T, ObjectError> {
                self.proxy.call("get", &NO_ARGS, WaitLimit::Never)
            }

            /// Takes items until the queue is closed and empty. The iterator ends then, and after an error.
            pub fn iter(&self) -> impl Iterator<Item = Result<T, ObjectError>> {
                let mut has_ended = false;
                iter::from_fn(move || {
                    let item = (!has_ended).then(|| self.get())?;
                    has_ended = item.is_err();
                    match item {
                        Err(error) if error.kind == ObjectErrorKind::Closed => None,
                        item => Some(item),
                    }
                })
            }

            /// Takes up to `max` items in one round trip, and waits until there is at least one.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_many(&self, max: usize) -> Result<Vec<T>, ObjectError> {
                self.proxy.call("get_many", &(max,), WaitLimit::Forever)
            }

            /// Takes up to `max` items in one round trip, and waits at most `timeout` until there is at least one.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            pub fn get_many_timeout(&self, max: usize, timeout: Duration) -> Result<Vec<T>, ObjectError> {
                timed_out_as(
                    ObjectErrorKind::Empty,
                    self.proxy
                        .call("get_many", &(max,), WaitLimit::For(timeout)),
                )
            }
        }

        impl<T> $name<T> {
            /// Returns the number of items, which may change at any time.
            ///
            /// # Errors
            /// `Unavailable`.
            pub fn qsize(&self) -> Result<usize, ObjectError> {
                self.proxy.call("qsize", &NO_ARGS, WaitLimit::Never)
            }

            /// Returns whether there is no item, which may change at any time.
            ///
            /// # Errors
            /// `Unavailable`.
            pub fn empty(&self) -> Result<bool, ObjectError> {
                self.proxy.call("empty", &NO_ARGS, WaitLimit::Never)
            }

            /// Returns whether there is no room for another item, which may change at any time.
            ///
            /// # Errors
            /// `Unavailable`.
            pub fn full(&self) -> Result<bool, ObjectError> {
                self.proxy.call("full", &NO_ARGS, WaitLimit::Never)
            }

            /// Closes the queue: no more items can be put, and `get` fails once the last item was taken.
            ///
            /// # Errors
            /// `Unavailable`.
            pub fn close(&self) -> Result<(), ObjectError> {
                self.proxy.run("close", &NO_ARGS, WaitLimit::Never)
            }
        }
    };
}

queue_operations!(Queue);
queue_operations!(JoinableQueue);

impl<T> JoinableQueue<T> {
    /// Reports that an item that this thread has taken is done.
    ///
    /// # Errors
    /// `Invalid` when this thread has no unreported item; `Unavailable`.
    pub fn task_done(&self) -> Result<(), ObjectError> {
        self.proxy.run("task_done", &NO_ARGS, WaitLimit::Never)
    }

    /// Waits until all items that were put are reported as done.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn join(&self) -> Result<(), ObjectError> {
        self.proxy.run("join", &NO_ARGS, WaitLimit::Forever)
    }

    /// Waits at most `timeout` until all items that were put are reported as done.
    ///
    /// # Errors
    /// `Timeout` when some still were not; `Unavailable`.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), ObjectError> {
        self.proxy.run("join", &NO_ARGS, WaitLimit::For(timeout))
    }
}
