//! What the operations of dicts, lists and namespaces do and reply.

use mpwasm_types::objects::ObjectErrorKind;

use super::dict::{DictState, Listing};
use super::key::{DictKey, DictKeyError};
use super::list::ListState;
use super::namespace::NamespaceState;
use super::number::JsonNumber;
use crate::budget::Budget;
use crate::json::Json;
use crate::operation::{DictOperation, ListOperation, NamespaceOperation};
use crate::operation_error::OperationError;

impl From<DictKeyError> for OperationError {
    fn from(error: DictKeyError) -> Self {
        let kind = match error {
            DictKeyError::NoScalar | DictKeyError::Unrepresentable => ObjectErrorKind::Invalid,
            DictKeyError::TooLong(_) => ObjectErrorKind::TooLarge,
        };
        Self::new(kind, error.to_string())
    }
}

impl DictState {
    /// Does an operation and returns the reply. No operation takes longer than some tens of milliseconds.
    ///
    /// # Errors
    /// Fails as the method of the operation does. Nothing is changed then.
    pub fn apply(&mut self, operation: DictOperation, budget: &mut Budget) -> Result<Json, OperationError> {
        match operation {
            DictOperation::Get(name) => self.get(&key(&name)?).cloned(),
            DictOperation::Set(name, value) => done(self.set(key(&name)?, value, budget)),
            DictOperation::Remove(name) => done(self.remove(&key(&name)?, budget)),
            DictOperation::Pop(name) => self.remove(&key(&name)?, budget),
            DictOperation::SetDefault(name, value) => self.set_default(key(&name)?, value, budget),
            DictOperation::Contains(name) => Ok(self.contains(&key(&name)?).into()),
            DictOperation::Len => Ok(count(self.len())),
            DictOperation::Keys(page) => Ok(self.page(Listing::Keys, page)),
            DictOperation::Values(page) => Ok(self.page(Listing::Values, page)),
            DictOperation::Items(page) => Ok(self.page(Listing::Items, page)),
            DictOperation::Clear => {
                self.clear(budget);
                Ok(Json::null())
            }
            DictOperation::Update(pairs) => done(self.update(pairs, budget)),
            DictOperation::Add(name, number) => self.add(key(&name)?, summand(&number)?, budget),
            DictOperation::CompareAndSwap(name, old, new) => self
                .compare_and_swap(key(&name)?, &old, new, budget)
                .map(Json::from),
        }
    }
}

impl ListState {
    /// Does an operation and returns the reply. No operation takes longer than some tens of milliseconds.
    ///
    /// # Errors
    /// Fails as the method of the operation does. Nothing is changed then.
    pub fn apply(&mut self, operation: ListOperation, budget: &mut Budget) -> Result<Json, OperationError> {
        match operation {
            ListOperation::Get(index) => self.get(index).cloned(),
            ListOperation::Set(index, value) => done(self.set(index, value, budget)),
            ListOperation::Append(value) => done(self.extend(vec![value], budget)),
            ListOperation::Extend(values) => done(self.extend(values, budget)),
            ListOperation::Insert(index, value) => done(self.insert(index, value, budget)),
            ListOperation::Pop(index) => self.pop(index, budget),
            ListOperation::Remove(value) => done(self.remove(&value, budget)),
            ListOperation::Index { value, start, end } => self.index(&value, start, end).map(count),
            ListOperation::Slice(start, end) => self.slice(start, end),
            ListOperation::Len => Ok(count(self.len())),
            ListOperation::Reverse => {
                self.reverse();
                Ok(Json::null())
            }
            ListOperation::Sort { reverse } => done(self.sort(reverse)),
            ListOperation::Clear => {
                self.clear(budget);
                Ok(Json::null())
            }
        }
    }
}

impl NamespaceState {
    /// Does an operation and returns the reply.
    ///
    /// # Errors
    /// Fails as the method of the operation does. Nothing is changed then.
    pub fn apply(
        &mut self,
        operation: NamespaceOperation,
        budget: &mut Budget,
    ) -> Result<Json, OperationError> {
        match operation {
            NamespaceOperation::Get(name) => self.get(&name).cloned(),
            NamespaceOperation::Set(name, value) => done(self.set(&name, value, budget)),
            NamespaceOperation::Remove(name) => done(self.remove(&name, budget)),
            NamespaceOperation::Attributes => self.attributes(),
        }
    }
}

/// Returns the reply of an operation that has nothing to tell.
fn done<T>(result: Result<T, OperationError>) -> Result<Json, OperationError> {
    result.map(|_| Json::null())
}

fn count(count: usize) -> Json {
    Json::from(count as u64)
}

fn key(json: &Json) -> Result<DictKey, OperationError> {
    Ok(DictKey::parse(json.as_str())?)
}

fn summand(json: &Json) -> Result<JsonNumber, OperationError> {
    JsonNumber::parse(json.as_str()).ok_or_else(|| {
        let detail = "only an integer of 64 bits or a finite float can be added";
        OperationError::new(ObjectErrorKind::Invalid, detail)
    })
}
