//! [`Namespace`].

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::objects::proxy::{NO_ARGS, found, typed_proxy};
use crate::objects::wait_limit::WaitLimit;
use mpwasm_types::objects::ObjectError;

typed_proxy! {
    /// Named JSON values of any types, as `multiprocessing.Manager().Namespace()`.
    Namespace
}

impl Namespace {
    /// Returns an attribute; `None` if there is none of this name.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` when it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ObjectError> {
        found(self.proxy.call("get", &(name,), WaitLimit::Never))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// `TooLarge`, `OutOfMemory`, `Unavailable`.
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), ObjectError> {
        self.proxy.run("set", &(name, value), WaitLimit::Never)
    }

    /// Removes an attribute. Returns whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn remove(&self, name: &str) -> Result<bool, ObjectError> {
        let removed = found(self.proxy.run("remove", &(name,), WaitLimit::Never))?;
        Ok(removed.is_some())
    }

    /// Returns the names of all attributes, sorted.
    ///
    /// # Errors
    /// `TooLarge` when the attributes are larger than a reply; `Unavailable`.
    pub fn attributes(&self) -> Result<Vec<String>, ObjectError> {
        let all: BTreeMap<String, IgnoredAny> = self.proxy.call("attributes", &NO_ARGS, WaitLimit::Never)?;
        Ok(all.into_keys().collect())
    }
}
