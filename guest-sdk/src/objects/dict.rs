//! Maps from keys to values.

use std::borrow::Borrow;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::error::{ObjectError, ObjectErrorKind};
use super::reference::{Wait, proxy};

/// Most entries that are read in one request.
const PAGE: u32 = 1000;

/// A page of keys, values or items, and the cursor of the next page.
#[derive(Deserialize)]
struct Page<T> {
    page: Vec<T>,
    next: Option<u64>,
}

proxy! {
    /// A map from keys to values, in the order in which the keys were added, as the `dict` of Python's `Manager`.
    ///
    /// A key is a JSON scalar: a string, a number, a bool or null. As in Python, `1` and `1.0` are the same key, and `"1"` is another.
    ///
    /// Each method is one request, and atomic. Of [`get`](Self::get) and then [`set`](Self::set), another task may change the value in
    /// between: use [`add`](Self::add) or [`compare_and_swap`](Self::compare_and_swap), or hold a [`Lock`](super::Lock).
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Dict;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(counts: Dict<String, u64>, text: &str) -> Result<(), Error> {
    /// for word in text.split_whitespace() {
    ///     counts.add(word, 1)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Dict<K, V>, Dict, "dict"
}

impl<K, V> Dict<K, V> {
    fn ask<R: DeserializeOwned>(
        &self,
        operation: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<R, ObjectError> {
        self.reference.call(Self::KIND, operation, args, Wait::Never)
    }

    /// Returns whether there is such a key.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn contains<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.ask("contains", &(key,))
    }

    /// Removes a key. Returns whether there was one.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        Ok(unless_missing(self.ask::<IgnoredAny>("remove", &(key,)))?.is_some())
    }

    /// Returns the number of keys.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn len(&self) -> Result<usize, ObjectError> {
        self.ask("len", &())
    }

    /// Returns whether there are no keys.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        Ok(self.len()? == 0)
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.reference.tell(Self::KIND, "clear", &())
    }

    /// Returns what all pages of a listing have.
    fn pages<T: DeserializeOwned>(&self, operation: &str) -> Result<Vec<T>, ObjectError> {
        let mut all = Vec::new();
        let mut after: Option<u64> = None;
        loop {
            let Page { page, next } = self.ask(operation, &(after, PAGE))?;
            all.extend::<Vec<T>>(page);
            after = next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }
}

impl<K: DeserializeOwned, V> Dict<K, V> {
    /// Returns the keys, in the order in which they were added.
    ///
    /// A large dict is read in pages: a key that is added or removed meanwhile may be missing.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn keys(&self) -> Result<Vec<K>, ObjectError> {
        self.pages("keys")
    }
}

impl<K, V: DeserializeOwned> Dict<K, V> {
    /// Returns the value of a key, or `None` if there is no such key.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, ObjectError>
    where
        K: Borrow<Q>,
    {
        unless_missing(self.ask("get", &(key,)))
    }

    /// Removes a key and returns its value, or `None` if there is no such key.
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn pop<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, ObjectError>
    where
        K: Borrow<Q>,
    {
        unless_missing(self.ask("pop", &(key,)))
    }

    /// Returns the values, in the order in which their keys were added. It reads pages, as [`keys`](Self::keys).
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn values(&self) -> Result<Vec<V>, ObjectError> {
        self.pages("values")
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> Dict<K, V> {
    /// Returns the keys and their values, in the order in which the keys were added. It reads pages, as [`keys`](Self::keys).
    ///
    /// # Errors
    /// If the dict can't be used.
    pub fn items(&self) -> Result<Vec<(K, V)>, ObjectError> {
        self.pages("items")
    }
}

impl<K, V: Serialize> Dict<K, V> {
    /// Sets the value of a key.
    ///
    /// # Errors
    /// If the dict can't be used, or has no memory left.
    pub fn set<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<(), ObjectError>
    where
        K: Borrow<Q>,
    {
        self.reference.tell(Self::KIND, "set", &(key, value))
    }

    /// Sets the values of many keys, in one request.
    ///
    /// # Errors
    /// If the dict can't be used, or has no memory left. Nothing is set then.
    pub fn update<'a>(&self, items: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<(), ObjectError>
    where
        K: Serialize + 'a,
        V: 'a,
    {
        let items: Vec<_> = items.into_iter().collect();
        self.reference.tell(Self::KIND, "update", &(items,))
    }

    /// Sets the value of a key if it is equal to `old`. Returns whether it was.
    ///
    /// # Errors
    /// If the dict can't be used, or has no memory left.
    pub fn compare_and_swap<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        old: &V,
        new: &V,
    ) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.ask("compare_and_swap", &(key, old, new))
    }
}

impl<K, V: Serialize + DeserializeOwned> Dict<K, V> {
    /// Returns the value of a key, after setting it to `value` if there is no such key.
    ///
    /// # Errors
    /// If the dict can't be used, or has no memory left.
    pub fn set_default<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<V, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.ask("set_default", &(key, value))
    }

    /// Adds a number to the value of a key, and returns the sum. The value of a key that is not there counts as 0.
    ///
    /// # Errors
    /// [`WrongType`](ObjectErrorKind::WrongType), if the value is no number.
    pub fn add<Q: Serialize + ?Sized>(&self, key: &Q, number: V) -> Result<V, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.ask("add", &(key, number))
    }
}

/// Returns what an operation found: `None` if nothing is there.
pub(super) fn unless_missing<T>(result: Result<T, ObjectError>) -> Result<Option<T>, ObjectError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == ObjectErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
