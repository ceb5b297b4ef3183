//! Keeps the first entries of a sequence by their order.

use std::collections::BTreeMap;

/// Keeps the entries with the smallest keys, at most a number of them. The result does not depend on the order in which entries
/// with distinct keys are added.
#[derive(Debug)]
pub struct TopList<K, V> {
    length: usize,
    entries: BTreeMap<K, V>,
}

impl<K: Ord, V> TopList<K, V> {
    /// Returns a list of at most `length` entries.
    pub fn new(length: usize) -> Self {
        Self {
            length,
            entries: BTreeMap::new(),
        }
    }

    /// Returns whether an entry would be kept that `is_before` the last entry.
    pub fn has_room_for(&self, is_before: impl FnOnce(&K) -> bool) -> bool {
        self.entries.len() < self.length
            || self
                .entries
                .last_key_value()
                .is_some_and(|(last, _)| is_before(last))
    }

    /// Adds an entry, if it is among the first. An entry with a key that is already there is left out.
    pub fn add(&mut self, key: K, value: impl FnOnce() -> V) {
        if !self.has_room_for(|last| key < *last) {
            return;
        }
        self.entries.entry(key).or_insert_with(value);
        if self.entries.len() > self.length {
            self.entries.pop_last();
        }
    }

    /// Returns the entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Returns the values in the order of their keys.
    pub fn into_values(self) -> Vec<V> {
        self.entries.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_kept_in_their_order() {
        let mut list = TopList::new(3);
        for n in [5, 1, 4, 2, 3] {
            list.add(n, || n * 10);
        }
        assert_eq!(list.into_values(), [10, 20, 30]);
        let mut none = TopList::new(0);
        none.add(1, || 1);
        assert_eq!(none.into_values(), [0; 0]);
    }
}
