//! Lists of values, and namespaces.

use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::dict::unless_missing;
use super::error::ObjectError;
use super::reference::{Wait, proxy};

proxy! {
    /// A list of values, as the `list` of Python's `Manager`.
    ///
    /// Each method is one request, and atomic. A negative index counts from the end: -1 is the last value.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::List;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(found: List<String>) -> Result<(), Error> {
    /// found.append(&"a.txt".to_owned())?;
    /// let last = found.get(-1)?;
    /// # Ok(())
    /// # }
    /// ```
    List<T>, List, "list"
}

impl<T> List<T> {
    fn ask<R: DeserializeOwned>(
        &self,
        operation: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R, ObjectError> {
        self.reference.call(Self::KIND, operation, args, Wait::Never)
    }

    /// Returns the number of values.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn len(&self) -> Result<usize, ObjectError> {
        self.ask("len", &())
    }

    /// Returns whether there are no values.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        Ok(self.len()? == 0)
    }

    /// Reverses the order.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn reverse(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "reverse", &())
    }

    /// Sorts the values: numbers among themselves, or strings among themselves.
    ///
    /// # Errors
    /// [`WrongType`](super::ObjectErrorKind::WrongType), if they can't be compared. The order stays then.
    pub fn sort(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "sort", &())
    }

    /// Removes all values.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "clear", &())
    }
}

impl<T: Serialize> List<T> {
    /// Sets the value at an index.
    ///
    /// # Errors
    /// [`Missing`](super::ObjectErrorKind::Missing), if there is no such index.
    pub fn set(&self, index: i64, value: &T) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "set", &(index, value))
    }

    /// Adds a value at the end.
    ///
    /// # Errors
    /// If the list can't be used, or has no memory left.
    pub fn append(&self, value: &T) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "append", &(value,))
    }

    /// Adds values at the end, in one request.
    ///
    /// # Errors
    /// If the list can't be used, or has no memory left.
    pub fn extend(&self, values: &[T]) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "extend", &(values,))
    }

    /// Inserts a value before an index. As in Python, an index past the end is the end.
    ///
    /// # Errors
    /// If the list can't be used, or has no memory left.
    pub fn insert(&self, index: i64, value: &T) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "insert", &(index, value))
    }

    /// Removes the first value that is equal to this one. Returns whether there was one.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn remove(&self, value: &T) -> Result<bool, ObjectError> {
        Ok(unless_missing(self.ask::<IgnoredAny>("remove", &(value,)))?.is_some())
    }

    /// Returns the index of the first value that is equal to this one.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn index(&self, value: &T) -> Result<Option<usize>, ObjectError> {
        unless_missing(self.ask("index", &(value,)))
    }
}

impl<T: DeserializeOwned> List<T> {
    /// Returns the value at an index, or `None` if there is no such index.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn get(&self, index: i64) -> Result<Option<T>, ObjectError> {
        unless_missing(self.ask("get", &(index,)))
    }

    /// Removes the last value and returns it, or `None` if there are no values.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn pop(&self) -> Result<Option<T>, ObjectError> {
        self.pop_at(-1)
    }

    /// Removes the value at an index and returns it, or `None` if there is no such index.
    ///
    /// # Errors
    /// If the list can't be used.
    pub fn pop_at(&self, index: i64) -> Result<Option<T>, ObjectError> {
        unless_missing(self.ask("pop", &(index,)))
    }

    /// Returns the values in a range, as far as they exist.
    ///
    /// # Errors
    /// [`TooLarge`](super::ObjectErrorKind::TooLarge), if they have more than 16 MiB together.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, ObjectError> {
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => Some(before.saturating_add(1)),
            Bound::Unbounded => None,
        };
        let stop = match range.end_bound() {
            Bound::Included(&last) => Some(last.saturating_add(1)),
            Bound::Excluded(&stop) => Some(stop),
            Bound::Unbounded => None,
        };
        self.ask("slice", &(start, stop))
    }

    /// Returns all values.
    ///
    /// # Errors
    /// [`TooLarge`](super::ObjectErrorKind::TooLarge), if they have more than 16 MiB together.
    pub fn to_vec(&self) -> Result<Vec<T>, ObjectError> {
        self.slice(..)
    }
}

proxy! {
    /// Values with names, each of any type, as the `Namespace` of Python's `Manager`.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Namespace;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(settings: Namespace) -> Result<(), Error> {
    /// settings.set("depth", &3)?;
    /// let depth: Option<u32> = settings.get("depth")?;
    /// # Ok(())
    /// # }
    /// ```
    Namespace, Namespace, "namespace"
}

impl Namespace {
    /// Returns an attribute, or `None` if there is none of this name.
    ///
    /// # Errors
    /// [`WrongType`](super::ObjectErrorKind::WrongType), if it has another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ObjectError> {
        unless_missing(self.reference.call(Self::KIND, "get", &(name,), Wait::Never))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// If the namespace can't be used, or has no memory left.
    pub fn set(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "set", &(name, value))
    }

    /// Removes an attribute. Returns whether there was one.
    ///
    /// # Errors
    /// If the namespace can't be used.
    pub fn remove(&self, name: &str) -> Result<bool, ObjectError> {
        let removed = self
            .reference
            .call::<IgnoredAny>(Self::KIND, "remove", &(name,), Wait::Never);
        Ok(unless_missing(removed)?.is_some())
    }

    /// Returns all attributes, in the order in which they were added.
    ///
    /// # Errors
    /// [`TooLarge`](super::ObjectErrorKind::TooLarge), if they have more than 16 MiB together.
    pub fn attributes(&self) -> Result<serde_json::Map<String, serde_json::Value>, ObjectError> {
        self.reference.call(Self::KIND, "attributes", &(), Wait::Never)
    }
}
