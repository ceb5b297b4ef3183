//! Dicts: JSON values by key, in the order in which the keys were added.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as TreeEntry;

use mpwasm_types::bounded::cut;
use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind};

use super::equality::equal;
use super::key::DictKey;
use super::number::JsonNumber;
use super::page_text::PageText;
use crate::budget::Budget;
use crate::json::Json;
use crate::operation::Page;
use crate::operation_error::OperationError;

/// Most entries of a dict. It bounds the time in which a dict is cleared, to some tens of milliseconds.
pub const MAX_ENTRIES: usize = 1 << 19;

/// Largest key and value together, in bytes of JSON text. A page of one entry is a value, too: it has as much room around them.
const MAX_ITEM: usize = MAX_VALUE - 64;

/// Longest beginning of a key in an error message, in bytes.
const MAX_QUOTED: usize = 100;

/// Bytes that an entry takes beside the text of its key and its value: its places in two trees whose nodes are half full, and
/// what the allocator needs for two texts.
const ENTRY: u64 = 240;

/// A map from JSON scalars to JSON values.
///
/// Two trees instead of a hash table: each operation takes the same time, whatever keys a guest chooses and however the table
/// grew.
#[derive(Debug, Default)]
pub struct DictState {
    entries: BTreeMap<DictKey, DictEntry>,
    /// The keys by their number, that is in the order in which they were added.
    order: BTreeMap<u64, DictKey>,
    /// Number of the next key that is added.
    next: u64,
    /// What the entries were charged for.
    bytes: u64,
}

#[derive(Debug)]
struct DictEntry {
    number: u64,
    value: Json,
}

/// What a page of a dict lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The keys.
    Keys,
    /// The values.
    Values,
    /// Arrays of a key and its value.
    Items,
}

/// Returns the bytes that an entry is charged for.
fn cost(key: &DictKey, value: &Json) -> u64 {
    ENTRY + (key.bytes() + value.as_str().len()) as u64
}

impl DictState {
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes that the entries were charged for.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &DictKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// `Missing` if there is no such key.
    pub fn get(&self, key: &DictKey) -> Result<&Json, OperationError> {
        self.entries
            .get(key)
            .map(|entry| &entry.value)
            .ok_or_else(|| missing(key))
    }

    /// Sets the value of a key. A new key becomes the last one; an old one keeps its place and its spelling.
    ///
    /// # Errors
    /// `TooLarge` if key and value together are larger than a value may be, or there are too many entries. `OutOfMemory` if the
    /// budget is too small. Nothing is changed then.
    pub fn set(&mut self, key: DictKey, value: Json, budget: &mut Budget) -> Result<(), OperationError> {
        check_size(&key, &value)?;
        let old = self.entries.get(&key).map(|entry| cost(&key, &entry.value));
        if old.is_none() {
            check_count(self.len() + 1)?;
        }
        let (old, new) = (old.unwrap_or(0), cost(&key, &value));
        budget.replace(old, new)?;
        self.bytes = self.bytes - old + new;
        self.put(key, value);
        Ok(())
    }

    /// Removes a key and returns its value.
    ///
    /// # Errors
    /// `Missing` if there is no such key.
    pub fn remove(&mut self, key: &DictKey, budget: &mut Budget) -> Result<Json, OperationError> {
        let (kept, entry) = self.entries.remove_entry(key).ok_or_else(|| missing(key))?;
        self.order.remove(&entry.number);
        let freed = cost(&kept, &entry.value);
        self.bytes -= freed;
        budget.give_back(freed);
        Ok(entry.value)
    }

    /// Returns the value of a key, after setting it to `value` if there is no such key.
    ///
    /// # Errors
    /// Fails like [`set`](Self::set).
    pub fn set_default(
        &mut self,
        key: DictKey,
        value: Json,
        budget: &mut Budget,
    ) -> Result<Json, OperationError> {
        if let Ok(value) = self.get(&key) {
            return Ok(value.clone());
        }
        self.set(key, value.clone(), budget)?;
        Ok(value)
    }

    /// Removes all entries.
    pub fn clear(&mut self, budget: &mut Budget) {
        budget.give_back(self.bytes);
        *self = Self {
            // A cursor into what was removed is not one into what comes.
            next: self.next,
            ..Self::default()
        };
    }

    /// Sets the values of many keys, or none of them. Of several values for a key the last one counts.
    ///
    /// # Errors
    /// `Invalid` if a key is no scalar. Otherwise like [`set`](Self::set).
    pub fn update(&mut self, pairs: Vec<(Json, Json)>, budget: &mut Budget) -> Result<(), OperationError> {
        let mut changes = BTreeMap::new();
        for (place, (key, value)) in pairs.into_iter().enumerate() {
            let key = DictKey::parse(key.as_str())?;
            check_size(&key, &value)?;
            match changes.entry(key) {
                TreeEntry::Vacant(vacant) => _ = vacant.insert((place, value)),
                TreeEntry::Occupied(mut occupied) => occupied.get_mut().1 = value,
            }
        }
        let (mut old, mut new, mut count) = (0, 0, self.len());
        for (key, (_, value)) in &changes {
            new += cost(key, value);
            match self.entries.get(key) {
                Some(entry) => old += cost(key, &entry.value),
                None => count += 1,
            }
        }
        check_count(count)?;
        budget.replace(old, new)?;
        self.bytes = self.bytes - old + new;
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_unstable_by_key(|(_, (place, _))| *place);
        for (key, (_, value)) in changes {
            self.put(key, value);
        }
        Ok(())
    }

    /// Adds a number to the value of a key, which counts as 0 if there is no such key, and returns the sum.
    ///
    /// # Errors
    /// `WrongType` if the value is no number. `Invalid` if the sum cannot be represented. Otherwise like [`set`](Self::set).
    pub fn add(
        &mut self,
        key: DictKey,
        number: JsonNumber,
        budget: &mut Budget,
    ) -> Result<Json, OperationError> {
        let sum = match self.entries.get(&key) {
            None => number,
            Some(entry) => {
                let old = JsonNumber::parse(entry.value.as_str()).ok_or_else(no_number)?;
                old.checked_add(number).ok_or_else(overflow)?
            }
        };
        let sum = Json::from_valid(sum.to_string());
        self.set(key, sum.clone(), budget)?;
        Ok(sum)
    }

    /// Sets the value of a key if it is equal to `old`. Returns whether it was. A key that there is not is equal to nothing.
    ///
    /// # Errors
    /// Fails like [`set`](Self::set).
    pub fn compare_and_swap(
        &mut self,
        key: DictKey,
        old: &Json,
        new: Json,
        budget: &mut Budget,
    ) -> Result<bool, OperationError> {
        let equal = self
            .entries
            .get(&key)
            .is_some_and(|entry| equal(entry.value.as_str(), old.as_str()));
        if equal {
            self.set(key, new, budget)?;
        }
        Ok(equal)
    }

    /// Returns a page of the entries that were added after the cursor, in the order in which they were added. The cursor of a page stays
    /// valid whatever is removed or added.
    pub fn page(&self, listing: Listing, page: Page) -> Json {
        let mut text = PageText::new(page.max);
        let first = page.after.map_or(0, |after| after.saturating_add(1));
        for (number, key) in self.order.range(first..) {
            let Some(entry) = self.entries.get(key) else {
                continue;
            };
            let item = match listing {
                Listing::Keys => Cow::Owned(key.to_json()),
                Listing::Values => Cow::Borrowed(entry.value.as_str()),
                Listing::Items => Cow::Owned(format!("[{},{}]", key.to_json(), entry.value.as_str())),
            };
            if !text.push(*number, &item) {
                break;
            }
        }
        text.finish()
    }

    /// Returns all entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&DictKey, &Json)> {
        let entry = |key| self.entries.get(key).map(|entry| (key, &entry.value));
        self.order.values().filter_map(entry)
    }

    /// Sets a value without counting it.
    fn put(&mut self, key: DictKey, value: Json) {
        match self.entries.entry(key) {
            TreeEntry::Occupied(mut occupied) => occupied.get_mut().value = value,
            TreeEntry::Vacant(vacant) => {
                self.order.insert(self.next, vacant.key().clone());
                vacant.insert(DictEntry {
                    number: self.next,
                    value,
                });
                self.next += 1;
            }
        }
    }
}

fn missing(key: &DictKey) -> OperationError {
    let json = key.to_json();
    OperationError::new(ObjectErrorKind::Missing, cut(&json, MAX_QUOTED).to_owned())
}

fn no_number() -> OperationError {
    let detail = "the value is no integer of 64 bits and no finite float";
    OperationError::new(ObjectErrorKind::WrongType, detail)
}

fn overflow() -> OperationError {
    let detail = "the sum is no integer of 64 bits and no finite float";
    OperationError::new(ObjectErrorKind::Invalid, detail)
}

/// Checks that an entry fits into a page.
fn check_size(key: &DictKey, value: &Json) -> Result<(), OperationError> {
    // Only a large value can have too long a key.
    if value.as_str().len() <= MAX_VALUE / 2 || key.to_json().len() + value.as_str().len() <= MAX_ITEM {
        return Ok(());
    }
    let detail = format!("key and value together have more than {MAX_ITEM} bytes");
    Err(OperationError::new(ObjectErrorKind::TooLarge, detail))
}

fn check_count(count: usize) -> Result<(), OperationError> {
    if count > MAX_ENTRIES {
        let detail = format!("it can have {MAX_ENTRIES} entries");
        return Err(OperationError::new(ObjectErrorKind::TooLarge, detail));
    }
    Ok(())
}
