//! Refuses duplicate keys, as `--resume` identifies tasks by their keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use mpwasm_types::escape::MAX_DISPLAYED_NAME;

use crate::terminal::stdio;

/// Keys that a run remembers to find duplicates. Each takes 25 bytes of a table that is at most seven eighths full: 105 MB, and
/// half as much more while it grows. Later keys are not compared.
const MAX_KEYS: usize = 7 << 19;

/// Hashes of the keys of all tasks so far. Each takes 30 to 60 bytes, whatever the length of the key.
#[derive(Debug)]
pub struct SeenKeys {
    /// Positions of tasks by the hash of their key. The hash is keyed and has 128 bits: nobody can choose colliding keys, and a
    /// chance collision occurs once in 10^25 runs.
    seen: HashMap<[u64; 2], u64>,
    hashes: [RandomState; 2],
    most: usize,
    /// The position of the next task.
    position: u64,
}

impl Default for SeenKeys {
    fn default() -> Self {
        Self::remembering(MAX_KEYS)
    }
}

impl SeenKeys {
    fn remembering(most: usize) -> Self {
        Self {
            seen: HashMap::new(),
            hashes: [RandomState::new(), RandomState::new()],
            most,
            position: 0,
        }
    }

    /// Adds the key of the next task or invalid line. An empty key counts as none.
    ///
    /// # Errors
    /// When an earlier task has the same key. The message names both tasks.
    pub fn note(&mut self, key: Option<&str>) -> Result<(), DuplicateKey> {
        let position = self.position;
        self.position += 1;
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(());
        };
        let hash = [self.hashes[0].hash_one(key), self.hashes[1].hash_one(key)];
        let count = self.seen.len();
        match self.seen.entry(hash) {
            Entry::Occupied(first) => {
                let mut shown: String = key.chars().take(MAX_DISPLAYED_NAME).collect();
                if shown.len() < key.len() {
                    shown.push('\u{2026}');
                }
                Err(DuplicateKey {
                    key: shown,
                    position,
                    first: *first.get(),
                })
            }
            Entry::Vacant(_) if count >= self.most => Ok(()),
            Entry::Vacant(place) => {
                place.insert(position);
                if count + 1 == self.most {
                    stdio::print_message(&format!(
                        "warning: {} tasks have keys; whether later keys differ from them is not checked any more",
                        self.most
                    ));
                }
                Ok(())
            }
        }
    }
}

/// A task has the key of an earlier task.
#[derive(Debug, thiserror::Error)]
#[error("the key {key:?} of task {position} is that of task {first} already: keys have to differ")]
pub struct DuplicateKey {
    /// The key, or the beginning of a long one.
    key: String,
    position: u64,
    first: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_occurs_once_and_tasks_without_a_key_are_not_limited() {
        let mut keys = SeenKeys::default();
        for key in [None, Some("a"), Some(""), None, Some(""), Some("b")] {
            keys.note(key).unwrap();
        }
        let why = keys.note(Some("a")).unwrap_err().to_string();
        assert_eq!(
            why,
            "the key \"a\" of task 6 is that of task 1 already: keys have to differ"
        );
        keys.note(Some("c")).unwrap();
        assert!(keys.note(Some("a")).is_err(), "each time");
        let long = "\u{1b}".repeat(100);
        keys.note(Some(&long)).unwrap();
        let why = keys.note(Some(&long)).unwrap_err().to_string();
        assert!(
            why.contains("of task 10 is that of task 9") && why.len() < 700,
            "{why}"
        );
    }

    #[test]
    fn keys_take_bounded_memory() {
        let mut keys = SeenKeys::remembering(2);
        for key in ["a", "b", "c", "c"] {
            keys.note(Some(key)).unwrap();
        }
        assert!(
            keys.note(Some("b")).is_err(),
            "those that are remembered are compared"
        );
        assert_eq!(keys.seen.len(), 2);
    }
}
