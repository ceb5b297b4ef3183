//! Lists of JSON values, with the indices of Python.

use std::ops::Range;

use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind};

use super::equality::Sought;
use super::sequence::Sequence;
use super::sort::sorted;
use crate::bounds::ENTRY_OVERHEAD;
use crate::budget::Budget;
use crate::json::Json;
use crate::operation_error::OperationError;

/// Most items of a list. It bounds the time in which a list is cleared or reversed.
pub const MAX_ITEMS: usize = 1 << 20;

/// Largest list that is sorted, in items. A larger one would keep other requests waiting for longer than some tens of milliseconds.
pub const MAX_SORTED_ITEMS: usize = 1 << 16;

/// Largest list that is sorted, in bytes of its values: 4 MiB.
pub const MAX_SORTED_BYTES: usize = 4 << 20;

/// Most bytes that one search compares: 16 MiB. Each item counts for [`SEARCHED_ITEM`] bytes and for what its comparison reads.
const MAX_SEARCHED: usize = 16 << 20;

/// Bytes that could be compared in the time in which an item is passed by.
const SEARCHED_ITEM: usize = 16;

/// A list of JSON values.
#[derive(Debug, Default)]
pub struct ListState {
    items: Sequence<Json>,
    /// Bytes of the values.
    text: usize,
}

impl ListState {
    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the bytes that the items were charged for.
    pub fn bytes(&self) -> u64 {
        self.text as u64 + self.len() as u64 * ENTRY_OVERHEAD
    }

    /// Returns an item. A negative index counts from the end.
    ///
    /// # Errors
    /// `Missing` if there is no such index.
    pub fn get(&self, index: i64) -> Result<&Json, OperationError> {
        let at = self.place(index);
        at.and_then(|at| self.items.get(at))
            .ok_or_else(|| self.missing(index))
    }

    /// Replaces an item.
    ///
    /// # Errors
    /// `Missing` if there is no such index. `OutOfMemory` if the budget is too small.
    pub fn set(&mut self, index: i64, value: Json, budget: &mut Budget) -> Result<(), OperationError> {
        let at = self.place(index).filter(|at| *at < self.len());
        let Some(item) = at.and_then(|at| self.items.get_mut(at)) else {
            return Err(self.missing(index));
        };
        budget.replace(item.cost(), value.cost())?;
        self.text = self.text - item.as_str().len() + value.as_str().len();
        *item = value;
        Ok(())
    }

    /// Adds values at the end, or none of them.
    ///
    /// # Errors
    /// `TooLarge` if there are too many items. `OutOfMemory` if the budget is too small.
    pub fn extend(&mut self, values: Vec<Json>, budget: &mut Budget) -> Result<(), OperationError> {
        self.grow(&values, budget)?;
        values.into_iter().for_each(|value| self.items.push(value));
        Ok(())
    }

    /// Adds a value before the item at an index. An index outside of the list means its beginning or its end.
    ///
    /// # Errors
    /// Fails like [`extend`](Self::extend).
    pub fn insert(&mut self, index: i64, value: Json, budget: &mut Budget) -> Result<(), OperationError> {
        let at = self.bound(index);
        self.grow(std::slice::from_ref(&value), budget)?;
        self.items.insert(at, value);
        Ok(())
    }

    /// Removes and returns an item.
    ///
    /// # Errors
    /// `Missing` if there is no such index.
    pub fn pop(&mut self, index: i64, budget: &mut Budget) -> Result<Json, OperationError> {
        let at = self.place(index);
        let item = at
            .and_then(|at| self.items.remove(at))
            .ok_or_else(|| self.missing(index))?;
        self.text -= item.as_str().len();
        budget.give_back(item.cost());
        Ok(item)
    }

    /// Removes the first item that is equal to a value.
    ///
    /// # Errors
    /// Fails like [`index`](Self::index).
    pub fn remove(&mut self, value: &Json, budget: &mut Budget) -> Result<(), OperationError> {
        let at = self.find(value, 0..self.len())?;
        let item = self.items.remove(at).ok_or_else(no_such_value)?;
        self.text -= item.as_str().len();
        budget.give_back(item.cost());
        Ok(())
    }

    /// Returns the index of the first item between `start` and `stop` that is equal to a value.
    ///
    /// # Errors
    /// `Missing` if there is none. `TooLarge` if it was not among the items that one request can compare.
    pub fn index(
        &self,
        value: &Json,
        start: Option<i64>,
        stop: Option<i64>,
    ) -> Result<usize, OperationError> {
        self.find(value, self.bounds(start, stop))
    }

    /// Returns the items between `start` and `stop` as an array.
    ///
    /// # Errors
    /// `TooLarge` if the array is larger than a value may be.
    pub fn slice(&self, start: Option<i64>, stop: Option<i64>) -> Result<Json, OperationError> {
        let range = self.bounds(start, stop);
        let mut array = String::from("[");
        for item in self.items.range(range) {
            if array.len() > 1 {
                array.push(',');
            }
            array.push_str(item.as_str());
            if array.len() >= MAX_VALUE {
                let detail = format!("the slice is larger than {MAX_VALUE} bytes: take smaller ones");
                return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
            }
        }
        array.push(']');
        Ok(Json::from_valid(array))
    }

    /// Reverses the order of the items.
    pub fn reverse(&mut self) {
        self.items.reverse();
    }

    /// Sorts the items: numbers by value, or strings by their code points. Equal items keep their order.
    ///
    /// # Errors
    /// `WrongType` if there is another item than numbers only, or strings only. `TooLarge` if the list is too large to be sorted
    /// at once. Nothing is changed then.
    pub fn sort(&mut self, descending: bool) -> Result<(), OperationError> {
        if self.len() > MAX_SORTED_ITEMS || self.text > MAX_SORTED_BYTES {
            let detail = format!(
                "only a list of at most {MAX_SORTED_ITEMS} items and {MAX_SORTED_BYTES} bytes can be sorted"
            );
            return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
        }
        let order = sorted(self.iter().map(Json::as_str), descending);
        let order =
            order.map_err(|error| OperationError::new(ObjectErrorKind::WrongType, error.to_string()))?;
        let mut items: Vec<_> = std::mem::take(&mut self.items).into_iter().map(Some).collect();
        self.items = order
            .into_iter()
            .filter_map(|index| items[index].take())
            .collect();
        Ok(())
    }

    /// Removes all items.
    pub fn clear(&mut self, budget: &mut Budget) {
        budget.give_back(self.bytes());
        *self = Self::default();
    }

    /// Returns all items in order.
    pub fn iter(&self) -> impl Iterator<Item = &Json> {
        self.items.range(0..self.len())
    }

    /// Charges for values that are about to be added.
    fn grow(&mut self, values: &[Json], budget: &mut Budget) -> Result<(), OperationError> {
        if self.len() + values.len() > MAX_ITEMS {
            let detail = format!("it can have {MAX_ITEMS} items");
            return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
        }
        let text: usize = values.iter().map(|value| value.as_str().len()).sum();
        budget.take(values.iter().map(Json::cost).sum())?;
        self.text += text;
        Ok(())
    }

    /// Finds the first item in `range` that is equal to a value.
    fn find(&self, value: &Json, range: Range<usize>) -> Result<usize, OperationError> {
        let sought = Sought::new(value.as_str());
        let mut searched = 0;
        for (item, at) in self.items.range(range.clone()).zip(range) {
            searched += SEARCHED_ITEM + sought.cost(item.as_str());
            if searched > MAX_SEARCHED {
                let detail = format!("it is not before index {at}, which is as far as one request searches");
                return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
            }
            if sought.equals(item.as_str()) {
                return Ok(at);
            }
        }
        Err(no_such_value())
    }

    /// Returns the place of an index, which may be past the end. `None` before the beginning.
    fn place(&self, index: i64) -> Option<usize> {
        match usize::try_from(index) {
            Ok(at) => Some(at),
            Err(_) => self
                .len()
                .checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
        }
    }

    /// Returns the place of a bound of a slice. It is between the beginning and the end.
    fn bound(&self, index: i64) -> usize {
        self.place(index).unwrap_or(0).min(self.len())
    }

    fn bounds(&self, start: Option<i64>, stop: Option<i64>) -> Range<usize> {
        let start = start.map_or(0, |start| self.bound(start));
        let stop = stop.map_or(self.len(), |stop| self.bound(stop));
        start..stop.max(start)
    }

    fn missing(&self, index: i64) -> OperationError {
        let detail = format!("index {index} of {} items", self.len());
        OperationError::new(ObjectErrorKind::Missing, detail)
    }
}

fn no_such_value() -> OperationError {
    OperationError::new(ObjectErrorKind::Missing, "no item is equal to the value")
}
