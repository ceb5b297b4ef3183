//! [`Dict`].

use std::borrow::Borrow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::objects::proxy::{NO_ARGS, found, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::ObjectError;

/// Most entries of a page of keys, values or items: 1000. A page is one reply.
const PAGE: usize = 1000;

typed_proxy! {
    /// A dictionary from JSON scalars to JSON values, as `multiprocessing.Manager().dict()`. Keys are equal as in Python: `1` and
    /// `1.0` are, `1` and `"1"` are not. Entries keep the order in which their keys were added.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = mpwasm::objects::Manager::start()?;
    /// let counts = manager.dict::<String, u64>()?;
    /// assert_eq!(counts.add("seen", 2)?, 2);
    /// assert_eq!(counts.get("seen")?, Some(2));
    /// assert_eq!(counts.get("unseen")?, None);
    /// # Ok(())
    /// # }
    /// ```
    Dict<K, V>
}

/// A part of the keys, values or items.
#[derive(Deserialize)]
struct DictPage<T> {
    page: Vec<T>,
    /// Where the next page starts; `None` at the end.
    next: Option<u64>,
}

impl<K, V: DeserializeOwned> Dict<K, V> {
    /// Returns the value of a key; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when the value is not a `V`.
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, ObjectError>
    where
        K: Borrow<Q>,
    {
        found(self.proxy.call("get", &(key,), WaitLimit::Never))
    }

    /// Removes a key and returns its value; `None` if there was none.
    ///
    /// # Errors
    /// As [`Dict::get`].
    pub fn pop<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>, ObjectError>
    where
        K: Borrow<Q>,
    {
        found(self.proxy.call("pop", &(key,), WaitLimit::Never))
    }
}

impl<K, V: Serialize> Dict<K, V> {
    /// Sets the value of a key.
    ///
    /// # Errors
    /// `TooLarge`, `OutOfMemory`, `Unavailable`; `Invalid` when the key is not a JSON scalar.
    pub fn set<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<(), ObjectError>
    where
        K: Borrow<Q>,
    {
        self.proxy.run("set", &(key, value), WaitLimit::Never)
    }

    /// Sets the value of a key to `new` if it is `old`, in one step. Returns whether it was.
    ///
    /// # Errors
    /// As [`Dict::set`]; `Missing` when there is no such key.
    pub fn compare_and_swap<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        old: &V,
        new: &V,
    ) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.proxy
            .call("compare_and_swap", &(key, old, new), WaitLimit::Never)
    }
}

impl<K, V: Serialize + DeserializeOwned> Dict<K, V> {
    /// Returns the value of a key, which is set to `default` before if it is missing, in one step.
    ///
    /// # Errors
    /// As [`Dict::set`].
    pub fn set_default<Q: Serialize + ?Sized>(&self, key: &Q, default: &V) -> Result<V, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.proxy.call("set_default", &(key, default), WaitLimit::Never)
    }

    /// Adds a number to the value of a key, or to 0 if it is missing, in one step. Returns the sum.
    ///
    /// # Errors
    /// `WrongType` when the value is no number; otherwise as [`Dict::set`].
    pub fn add<Q: Serialize + ?Sized>(&self, key: &Q, number: V) -> Result<V, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.proxy.call("add", &(key, number), WaitLimit::Never)
    }
}

impl<K: Serialize, V: Serialize> Dict<K, V> {
    /// Sets the values of several keys in one round trip.
    ///
    /// # Errors
    /// As [`Dict::set`]; then nothing was set.
    pub fn update<'a>(&self, entries: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<(), ObjectError>
    where
        K: 'a,
        V: 'a,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.proxy.run("update", &(entries,), WaitLimit::Never)
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> Dict<K, V> {
    /// Returns all keys, in the order in which they were added. They are read in pages, between which the dictionary may change.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when a key is not a `K`.
    pub fn keys(&self) -> Result<Vec<K>, ObjectError> {
        self.pages("keys")
    }

    /// Returns all values, in the order in which their keys were added. As [`Dict::keys`].
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when a value is not a `V`.
    pub fn values(&self) -> Result<Vec<V>, ObjectError> {
        self.pages("values")
    }

    /// Returns all entries, in the order in which their keys were added. As [`Dict::keys`].
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when a key is not a `K` or a value is not a `V`.
    pub fn items(&self) -> Result<Vec<(K, V)>, ObjectError> {
        self.pages("items")
    }
}

impl<K, V> Dict<K, V> {
    fn pages<T: DeserializeOwned>(&self, operation: &'static str) -> Result<Vec<T>, ObjectError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let DictPage { page, next } = self.proxy.call(operation, &(after, PAGE), WaitLimit::Never)?;
            all.extend(page);
            match next {
                None => return Ok(all),
                next => after = next,
            }
        }
    }

    /// Removes a key. Returns whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        let removed = found(self.proxy.run("remove", &(key,), WaitLimit::Never))?;
        Ok(removed.is_some())
    }

    /// Returns whether there is a key.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn contains<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool, ObjectError>
    where
        K: Borrow<Q>,
    {
        self.proxy.call("contains", &(key,), WaitLimit::Never)
    }

    /// Returns the number of entries.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn len(&self) -> Result<usize, ObjectError> {
        self.proxy.call("len", &NO_ARGS, WaitLimit::Never)
    }

    /// Returns whether there are no entries.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        Ok(self.len()? == 0)
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.proxy.run("clear", &NO_ARGS, WaitLimit::Never)
    }
}
