//! A sequence of many items that is changed at any place.

use std::ops::Range;

/// Most items of a chunk. A change moves at most so many, and a lookup passes at most one in a quarter as many chunks as there
/// would be if all were full: at a million items each takes a few microseconds.
const MAX_CHUNK: usize = 1024;

/// Most items of two neighbours that become one chunk. It is less than a half, so that a chunk that was just divided is not
/// joined again by the next removal.
const MAX_JOINED: usize = MAX_CHUNK / 2;

/// A sequence of items in chunks.
///
/// No chunk is empty, and two neighbours together have more than [`MAX_JOINED`] items, so the number of chunks is bounded by that
/// of the items.
#[derive(Debug)]
pub struct Sequence<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Sequence<T> {
    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the item at `index`, which is less than the length.
    pub fn get(&self, index: usize) -> Option<&T> {
        let (chunk, at) = self.locate(index)?;
        self.chunks[chunk].get(at)
    }

    /// Returns the item at `index`, which is less than the length.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let (chunk, at) = self.locate(index)?;
        self.chunks[chunk].get_mut(at)
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < MAX_CHUNK => chunk.push(item),
            _ => self.chunks.push(vec![item]),
        }
    }

    /// Adds an item before the one at `index`. An index past the end adds it at the end.
    pub fn insert(&mut self, index: usize, item: T) {
        let Some((mut number, mut at)) = self.locate(index) else {
            return self.push(item);
        };
        self.len += 1;
        if self.chunks[number].len() == MAX_CHUNK {
            let second = self.chunks[number].split_off(MAX_CHUNK / 2);
            self.chunks.insert(number + 1, second);
            if at > MAX_CHUNK / 2 {
                number += 1;
                at -= MAX_CHUNK / 2;
            }
        }
        self.chunks[number].insert(at, item);
    }

    /// Removes and returns the item at `index`.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let (number, at) = self.locate(index)?;
        let chunk = &mut self.chunks[number];
        let item = chunk.remove(at);
        self.len -= 1;
        if chunk.capacity() > chunk.len().saturating_mul(4) {
            chunk.shrink_to(chunk.len() * 2);
        }
        let previous = number.checked_sub(1);
        if self.chunks[number].is_empty() {
            self.chunks.remove(number);
            // Its neighbours met each other.
            previous.map(|previous| self.join(previous));
        } else if !self.join(number)
            && let Some(previous) = previous
        {
            self.join(previous);
        }
        Some(item)
    }

    /// Returns the items in `range`, from the first one on.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = &T> {
        let (chunk, at) = self.locate(range.start).unwrap_or((self.chunks.len(), 0));
        let chunks = self.chunks.get(chunk..).unwrap_or_default();
        chunks.iter().flatten().skip(at).take(range.len())
    }

    /// Reverses the order of the items.
    pub fn reverse(&mut self) {
        self.chunks.reverse();
        self.chunks.iter_mut().for_each(|chunk| chunk.reverse());
    }

    /// Joins the chunk with its next neighbour if both are small. Whether they were joined.
    fn join(&mut self, number: usize) -> bool {
        let small = match self.chunks.get(number..number + 2) {
            Some([one, two]) => one.len() + two.len() <= MAX_JOINED,
            _ => false,
        };
        if small {
            let second = self.chunks.remove(number + 1);
            self.chunks[number].extend(second);
        }
        small
    }

    /// Finds the chunk of an index, and the place in the chunk. `None` past the end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        // From the nearer end.
        if index < self.len / 2 {
            let mut at = index;
            for (number, chunk) in self.chunks.iter().enumerate() {
                match at.checked_sub(chunk.len()) {
                    None => return Some((number, at)),
                    Some(rest) => at = rest,
                }
            }
        } else {
            let mut behind = self.len - index;
            for (number, chunk) in self.chunks.iter().enumerate().rev() {
                match chunk.len().checked_sub(behind) {
                    Some(at) => return Some((number, at)),
                    None => behind -= chunk.len(),
                }
            }
        }
        None
    }
}

impl<T> IntoIterator for Sequence<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flatten()
    }
}

impl<T> FromIterator<T> for Sequence<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut sequence = Self::default();
        items.into_iter().for_each(|item| sequence.push(item));
        sequence
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    impl<T> Sequence<T> {
        fn check(&self) {
            assert_eq!(self.chunks.iter().map(Vec::len).sum::<usize>(), self.len);
            assert!(
                self.chunks
                    .iter()
                    .all(|chunk| !chunk.is_empty() && chunk.len() <= MAX_CHUNK)
            );
        }

        /// What keeps lookups fast after removals.
        fn check_joined(&self) {
            for pair in self.chunks.windows(2) {
                assert!(
                    pair[0].len() + pair[1].len() > MAX_JOINED,
                    "two small chunks stand side by side"
                );
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(prop::sample::Index, usize),
        Remove(prop::sample::Index, usize),
        Push(usize),
        Reverse,
    }

    fn change() -> impl Strategy<Value = Change> {
        let many = || 1..1500_usize;
        prop_oneof![
            4 => (any::<prop::sample::Index>(), many()).prop_map(|(at, count)| Change::Insert(at, count)),
            6 => (any::<prop::sample::Index>(), many()).prop_map(|(at, count)| Change::Remove(at, count)),
            2 => many().prop_map(Change::Push),
            1 => Just(Change::Reverse),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_sequence_changes_as_a_vector_does(changes in vec(change(), 0..20)) {
            let (mut sequence, mut vector) = (Sequence::default(), Vec::new());
            let mut next = 0;
            for change in changes {
                match change {
                    Change::Insert(at, count) => for _ in 0..count {
                        let at = at.index(vector.len() + 1);
                        sequence.insert(at, next);
                        vector.insert(at, next);
                        next += 1;
                    },
                    Change::Remove(at, count) => for _ in 0..count.min(vector.len()) {
                        let at = at.index(vector.len());
                        prop_assert_eq!(sequence.remove(at), Some(vector.remove(at)));
                        sequence.check_joined();
                    },
                    Change::Push(count) => for _ in 0..count {
                        sequence.push(next);
                        vector.push(next);
                        next += 1;
                    },
                    Change::Reverse => {
                        sequence.reverse();
                        vector.reverse();
                    }
                }
                sequence.check();
                sequence.check_joined();
                prop_assert!(sequence.range(0..vector.len()).eq(&vector));
                for at in [0, vector.len() / 3, vector.len() / 2, vector.len().saturating_sub(1), vector.len()] {
                    prop_assert_eq!(sequence.get(at), vector.get(at));
                    prop_assert!(sequence.range(at..vector.len()).eq(&vector[at..]));
                }
            }
            prop_assert_eq!(sequence.into_iter().collect::<Vec<_>>(), vector);
        }
    }
}
