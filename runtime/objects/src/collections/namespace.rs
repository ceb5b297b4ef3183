//! Namespaces: JSON values by name.

use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind};

use super::dict::DictState;
use super::key::DictKey;
use crate::budget::Budget;
use crate::json::Json;
use crate::operation_error::OperationError;

/// Longest name of an attribute, in bytes.
pub const MAX_NAME: usize = 256;

/// Most attributes of a namespace. It bounds the time in which they are listed.
pub const MAX_ATTRIBUTES: usize = 4096;

/// Named JSON values, in the order in which they were added.
#[derive(Debug, Default)]
pub struct NamespaceState {
    pub(super) attributes: DictState,
}

impl NamespaceState {
    /// Returns the bytes that the attributes were charged for.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.attributes.bytes()
    }

    /// Returns an attribute.
    ///
    /// # Errors
    /// `Missing` if there is none of this name.
    pub fn get(&self, name: &str) -> Result<&Json, OperationError> {
        self.attributes.get(&key(name)?)
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// `TooLarge` if the name is too long or there are too many attributes. `OutOfMemory` if the budget is too small.
    pub fn set(&mut self, name: &str, value: Json, budget: &mut Budget) -> Result<(), OperationError> {
        let key = key(name)?;
        if self.attributes.len() == MAX_ATTRIBUTES && !self.attributes.contains(&key) {
            let detail = format!("it can have {MAX_ATTRIBUTES} attributes");
            return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
        }
        self.attributes.set(key, value, budget)
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// `Missing` if there is none of this name.
    pub fn remove(&mut self, name: &str, budget: &mut Budget) -> Result<(), OperationError> {
        self.attributes.remove(&key(name)?, budget).map(drop)
    }

    /// Returns an object of all attributes, in the order in which they were added.
    ///
    /// # Errors
    /// `TooLarge` if the object is larger than a value may be.
    pub fn attributes(&self) -> Result<Json, OperationError> {
        let mut object = String::from("{");
        for (name, value) in self.attributes.iter() {
            if object.len() > 1 {
                object.push(',');
            }
            object.push_str(&name.to_json());
            object.push(':');
            object.push_str(value.as_str());
            if object.len() >= MAX_VALUE {
                let detail =
                    format!("all attributes together have more than {MAX_VALUE} bytes: get them one by one");
                return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
            }
        }
        object.push('}');
        Ok(Json::from_valid(object))
    }
}

fn key(name: &str) -> Result<DictKey, OperationError> {
    if name.len() > MAX_NAME {
        let detail = format!("a name of {} bytes; at most {MAX_NAME} are allowed", name.len());
        return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
    }
    Ok(DictKey::from_text(name)?)
}
