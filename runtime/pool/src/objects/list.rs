//! [`List`].

use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::objects::proxy::{NO_ARGS, found, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

/// Most values that one reply of [`List::to_vec`] has: 1000.
const PAGE: usize = 1000;

typed_proxy! {
    /// A list of JSON values, as `multiprocessing.Manager().list()`. Negative indices count from the end.
    List<T>
}

impl<T: DeserializeOwned> List<T> {
    /// Returns the value at an index; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when the value is not a `T`.
    pub fn get(&self, index: i64) -> Result<Option<T>, ObjectError> {
        found(self.proxy.call("get", &(index,), WaitLimit::Never))
    }

    /// Removes the last value and returns it; `None` if there is none.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn pop(&self) -> Result<Option<T>, ObjectError> {
        self.pop_at(-1)
    }

    /// Removes the value at an index and returns it; `None` if there is none.
    ///
    /// # Errors
    /// As [`List::get`].
    pub fn pop_at(&self, index: i64) -> Result<Option<T>, ObjectError> {
        found(self.proxy.call("pop", &(index,), WaitLimit::Never))
    }

    /// Returns the values in a range of indices, which is cut to the list.
    ///
    /// # Errors
    /// `TooLarge` when they are larger than a reply; `Unavailable`; `Invalid` when a value is not a `T`.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, ObjectError> {
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => Some(before.saturating_add(1)),
            Bound::Unbounded => None,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => Some(last.saturating_add(1)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        self.proxy.call("slice", &(start, end), WaitLimit::Never)
    }

    /// Returns all values. They are read in pages, between which the list may change.
    ///
    /// # Errors
    /// As [`List::slice`].
    pub fn to_vec(&self) -> Result<Vec<T>, ObjectError> {
        let (mut values, mut most) = (Vec::new(), PAGE);
        loop {
            let start = values.len();
            match self.slice(start..start + most) {
                // The values are large: fewer of them fit into a reply.
                Err(error) if error.kind == ObjectErrorKind::TooLarge && most > 1 => most /= 2,
                Err(error) => return Err(error),
                Ok(page) if page.is_empty() => return Ok(values),
                Ok(page) => values.extend(page),
            }
        }
    }
}

impl<T: Serialize> List<T> {
    /// Replaces the value at an index.
    ///
    /// # Errors
    /// `Missing` when there is none; `TooLarge`, `OutOfMemory`, `Unavailable`.
    pub fn set(&self, index: i64, value: &T) -> Result<(), ObjectError> {
        self.proxy.run("set", &(index, value), WaitLimit::Never)
    }

    /// Appends a value.
    ///
    /// # Errors
    /// `TooLarge`, `OutOfMemory`, `Unavailable`.
    pub fn append(&self, value: &T) -> Result<(), ObjectError> {
        self.proxy.run("append", &(value,), WaitLimit::Never)
    }

    /// Appends several values in one round trip.
    ///
    /// # Errors
    /// As [`List::append`]; then none was appended.
    pub fn extend(&self, values: &[T]) -> Result<(), ObjectError> {
        self.proxy.run("extend", &(values,), WaitLimit::Never)
    }

    /// Inserts a value before an index.
    ///
    /// # Errors
    /// As [`List::append`].
    pub fn insert(&self, index: i64, value: &T) -> Result<(), ObjectError> {
        self.proxy.run("insert", &(index, value), WaitLimit::Never)
    }

    /// Removes the first value that equals `value`. Returns whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn remove(&self, value: &T) -> Result<bool, ObjectError> {
        let removed = found(self.proxy.run("remove", &(value,), WaitLimit::Never))?;
        Ok(removed.is_some())
    }

    /// Returns the index of the first value that equals `value`; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn index(&self, value: &T) -> Result<Option<usize>, ObjectError> {
        found(self.proxy.call("index", &(value,), WaitLimit::Never))
    }
}

impl<T> List<T> {
    /// Returns the number of values.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn len(&self) -> Result<usize, ObjectError> {
        self.proxy.call("len", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns whether there are no values.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        Ok(self.len()? == 0)
    }

    /// Reverses the order of the values.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn reverse(&self) -> Result<(), ObjectError> {
        self.proxy.run("reverse", &NO_ARGS, WaitLimit::Never)
    }

    /// Sorts the values, which must be all numbers or all strings.
    ///
    /// # Errors
    /// `WrongType` when they are neither; `Unavailable`.
    pub fn sort(&self) -> Result<(), ObjectError> {
        self.proxy.run("sort", &NO_ARGS, WaitLimit::Never)
    }

    /// Removes all values.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.proxy.run("clear", &NO_ARGS, WaitLimit::Never)
    }
}
