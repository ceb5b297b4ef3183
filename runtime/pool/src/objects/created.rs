//! [`DynamicObject`]: an object of a type that is known only when the program runs.

use serde_json::value::RawValue;

use crate::builder::Builder;
use crate::objects::manager::Manager;
use crate::objects::proxy::Proxy;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectKind, ObjectSpec, redact};

/// An object that the command line has created.
#[derive(Clone, Debug)]
pub struct DynamicObject(Proxy);

impl DynamicObject {
    /// Creates an object labelled `name`. Returns it under this name, and the two ends of a pipe under `name.0` and `name.1`.
    ///
    /// # Errors
    /// Those of the manager.
    pub fn create(
        manager: &Manager,
        name: &str,
        spec: ObjectSpec,
    ) -> Result<Vec<(String, Self)>, ObjectError> {
        let proxies = manager.labelled(name).create_all(spec)?;
        let is_one = proxies.len() == 1;
        let named = |(end, proxy)| match is_one {
            true => (name.to_owned(), Self(proxy)),
            false => (format!("{name}.{end}"), Self(proxy)),
        };
        Ok((0..)
            .zip(proxies)
            .map(|(end, proxy): (usize, _)| named((end, proxy)))
            .collect())
    }

    /// Grants it to a pool under a name.
    #[must_use]
    pub fn add_to(&self, pool: Builder, name: &str) -> Builder {
        pool.granting(name.to_owned(), &self.0)
    }

    /// Returns its contents, as JSON without tokens. `None` for an object that has none, such as a lock.
    ///
    /// # Errors
    /// Those of the manager.
    pub fn contents(&self) -> Result<Option<Box<RawValue>>, ObjectError> {
        if !has_contents(self.0.spec().kind()) {
            return Ok(None);
        }
        let contents = self.0.client().contents(self.0.token());
        let contents = contents.map_err(|failed| self.0.named(failed, "contents"))?;
        let invalid = |detail: &str| self.0.error(ObjectErrorKind::Invalid, "contents", detail);
        let text = str::from_utf8(&contents).map_err(|error| invalid(&error.to_string()))?;
        let value = RawValue::from_string(redact(text).into_owned());
        value.map(Some).map_err(|error| invalid(&error.to_string()))
    }

    /// Replaces its contents.
    ///
    /// # Errors
    /// Those of the manager: `WrongType` when the object has no such contents.
    pub fn restore(&self, contents: &RawValue) -> Result<(), ObjectError> {
        let restored = self.0.client().restore(self.0.token(), contents.get().as_bytes());
        restored.map_err(|failed| self.0.named(failed, "restore"))
    }
}

/// Returns whether an object has contents that outlive its manager.
fn has_contents(kind: ObjectKind) -> bool {
    matches!(
        kind,
        ObjectKind::Value
            | ObjectKind::Array
            | ObjectKind::Queue
            | ObjectKind::JoinableQueue
            | ObjectKind::Dict
            | ObjectKind::List
            | ObjectKind::Namespace
    )
}
