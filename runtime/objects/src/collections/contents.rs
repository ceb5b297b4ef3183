//! All that a dict, a list or a namespace holds, as one JSON value: what the program that owns the object reads and restores.

use mpwasm_types::objects::ObjectErrorKind;

use super::dict::DictState;
use super::key::DictKey;
use super::list::ListState;
use super::namespace::NamespaceState;
use crate::budget::Budget;
use crate::json::Json;
use crate::operation_error::OperationError;

impl DictState {
    /// Returns an object, or an array of pairs if a key is no string.
    pub fn contents(&self) -> Json {
        let is_text = |(key, _): (&DictKey, &Json)| matches!(key, DictKey::Text(_));
        let [open, before, between, behind, close] = match self.iter().all(is_text) {
            true => ["{", "", ":", "", "}"],
            false => ["[", "[", ",", "]", "]"],
        };
        let mut text = open.to_owned();
        for (key, value) in self.iter() {
            if text.len() > 1 {
                text.push(',');
            }
            for part in [before, &key.to_json(), between, value.as_str(), behind] {
                text.push_str(part);
            }
        }
        text.push_str(close);
        Json::from_valid(text)
    }

    /// Replaces all entries by these.
    ///
    /// # Errors
    /// Fails like [`set`](Self::set). Nothing is changed then.
    pub fn restore(&mut self, pairs: Vec<(Json, Json)>, budget: &mut Budget) -> Result<(), OperationError> {
        let mut restored = Self::default();
        for (key, value) in pairs {
            let key = DictKey::parse(key.as_str()).map_err(OperationError::from);
            if let Err(error) = key.and_then(|key| restored.set(key, value, budget)) {
                restored.clear(budget);
                return Err(error);
            }
        }
        self.clear(budget);
        *self = restored;
        Ok(())
    }
}

impl ListState {
    /// Returns an array of all items.
    pub fn contents(&self) -> Json {
        Json::array(self.iter())
    }

    /// Replaces all items by these.
    ///
    /// # Errors
    /// Fails like [`extend`](Self::extend). Nothing is changed then.
    pub fn restore(&mut self, values: Vec<Json>, budget: &mut Budget) -> Result<(), OperationError> {
        let mut restored = Self::default();
        restored.extend(values, budget)?;
        self.clear(budget);
        *self = restored;
        Ok(())
    }
}

impl NamespaceState {
    /// Returns an object of all attributes, however large.
    pub fn contents(&self) -> Json {
        self.attributes.contents()
    }

    /// Replaces all attributes by these.
    ///
    /// # Errors
    /// `Invalid` if a name is no string. Otherwise like [`set`](Self::set). Nothing is changed then.
    pub fn restore(&mut self, pairs: Vec<(Json, Json)>, budget: &mut Budget) -> Result<(), OperationError> {
        let mut restored = Self::default();
        for (name, value) in pairs {
            let name = serde_json::from_str::<String>(name.as_str()).map_err(|_| {
                OperationError::new(ObjectErrorKind::Invalid, "the name of an attribute is no string")
            });
            if let Err(error) = name.and_then(|name| restored.set(&name, value, budget)) {
                restored.attributes.clear(budget);
                return Err(error);
            }
        }
        self.attributes.clear(budget);
        *self = restored;
        Ok(())
    }
}
