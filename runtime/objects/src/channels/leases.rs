//! Items that were taken out of a joinable queue and are not done.

use std::collections::{BTreeMap, VecDeque};

use mpwasm_types::objects::ObjectErrorKind;

use crate::budget::Budget;
use crate::json::Json;
use crate::keys::CallKey;
use crate::operation_error::OperationError;

/// The leased items of a queue, by the call that took them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_call: BTreeMap<CallKey, VecDeque<Json>>,
    count: u64,
}

impl Leases {
    /// Leases an item to a call. Its bytes stay counted.
    pub(super) fn add(&mut self, call: CallKey, item: Json) {
        self.by_call.entry(call).or_default().push_back(item);
        self.count += 1;
    }

    /// Ends the oldest leases of a call.
    pub(super) fn done(
        &mut self,
        call: CallKey,
        count: u32,
        budget: &mut Budget,
    ) -> Result<(), OperationError> {
        let held = self.by_call.get(&call).map_or(0, VecDeque::len);
        if held < count as usize {
            return Err(OperationError::new(
                ObjectErrorKind::NotOwner,
                format!("{count} items done, and {held} leased"),
            ));
        }
        if let Some(items) = self.by_call.get_mut(&call) {
            for item in items.drain(..count as usize) {
                budget.give_back(item.cost());
                self.count -= 1;
            }
            if items.is_empty() {
                self.by_call.remove(&call);
            }
        }
        Ok(())
    }

    /// Removes what was leased to a call that has ended, the oldest first.
    pub(super) fn remove(&mut self, call: CallKey) -> VecDeque<Json> {
        let items = self.by_call.remove(&call).unwrap_or_default();
        self.count -= items.len() as u64;
        items
    }

    /// Returns the number of leased items.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the calls that have leased items.
    pub(super) fn calls(&self) -> impl Iterator<Item = CallKey> {
        self.by_call.keys().copied()
    }

    /// Returns all leased items.
    pub(super) fn items(&self) -> impl Iterator<Item = &Json> {
        self.by_call.values().flatten()
    }
}
