//! A map for ids that count up and of which most are removed soon: the ids of tasks that have not ended.
//!
//! A task usually ends soon after those that were accepted just before it, so most ids are in one dense range. Finding,
//! adding and removing an id there touches memory that is in the CPU cache. The few ids that fall behind are stragglers:
//! they move to a hash map.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use mpwasm_types::ids::TaskId;

/// Most ids in the dense range: somewhat more than the tasks in flight of a pool that is busy with small tasks.
const MAX_DENSE: usize = 1 << 16;

/// Maps ids to values. Ids are added in rising order, with gaps.
#[derive(Debug)]
pub struct IdMap<T> {
    /// Id of the first place in `dense`.
    first: TaskId,
    /// Values by id, from `first`. The first place is occupied, except within a call.
    dense: VecDeque<Option<T>>,
    stragglers: HashMap<TaskId, T, BuildHasherDefault<IdHasher>>,
}

/// Hashes ids by one multiplication. Ids are assigned by the ledger, so untrusted code cannot choose colliding ones.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio. The hash table uses the highest and the lowest bits.
        let spread = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        Self {
            first: TaskId(0),
            dense: VecDeque::new(),
            stragglers: HashMap::default(),
        }
    }
}

impl<T> IdMap<T> {
    /// Adds `value` under an id above all that were added before.
    pub fn insert(&mut self, id: TaskId, value: T) {
        while !self.dense.is_empty() && id - self.first >= MAX_DENSE as u64 {
            self.evict_first();
        }
        if self.dense.is_empty() {
            self.first = id;
        }
        let place = usize::try_from(id - self.first).expect("the dense part is short");
        self.dense.resize_with(place, || None);
        self.dense.push_back(Some(value));
    }

    /// Returns the value with this id.
    pub fn get_mut(&mut self, id: TaskId) -> Option<&mut T> {
        match self.place(id) {
            Some(place) => self.dense.get_mut(place)?.as_mut(),
            None => self.stragglers.get_mut(&id),
        }
    }

    /// Returns whether there is a value with this id.
    pub fn contains(&self, id: TaskId) -> bool {
        match self.place(id) {
            Some(place) => self.dense.get(place).is_some_and(Option::is_some),
            None => self.stragglers.contains_key(&id),
        }
    }

    /// Removes and returns the value with this id.
    pub fn remove(&mut self, id: TaskId) -> Option<T> {
        let Some(place) = self.place(id) else {
            return self.stragglers.remove(&id);
        };
        let value = self.dense.get_mut(place)?.take();
        self.skip_empty();
        value
    }

    /// Iterates over all values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        let dense = (self.first.0..).map(TaskId).zip(&self.dense);
        let dense = dense.filter_map(|(id, value)| Some((id, value.as_ref()?)));
        dense.chain(self.stragglers.iter().map(|(&id, value)| (id, value)))
    }

    /// Returns all values, in no order.
    pub fn into_all(self) -> impl Iterator<Item = (TaskId, T)> {
        let dense = (self.first.0..).map(TaskId).zip(self.dense);
        dense
            .filter_map(|(id, value)| Some((id, value?)))
            .chain(self.stragglers)
    }

    /// Returns the id's place in the dense range; `None` for an id before it.
    fn place(&self, id: TaskId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first.0)?).ok()
    }

    /// Moves the start of the dense range by one place. A value in that place becomes a straggler.
    fn evict_first(&mut self) {
        if let Some(value) = self.dense.pop_front() {
            if let Some(value) = value {
                self.stragglers.insert(self.first, value);
            }
            self.first = self.first + 1;
        }
    }

    fn skip_empty(&mut self) {
        while let Some(None) = self.dense.front() {
            self.dense.pop_front();
            self.first = self.first + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// Adds an id at this distance above the last one.
        Add(u64),
        /// Removes the value at this fraction of all, in order of ids.
        Remove(usize),
        /// Looks up an id at this distance below the next one.
        Look(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let gap = prop_oneof![8 => Just(0), 1 => 0..200_u64, 1 => Just(MAX_DENSE as u64 + 7)];
        let step = prop_oneof![
            3 => gap.prop_map(Step::Add),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => (0..2 * MAX_DENSE as u64).prop_map(Step::Look),
        ];
        prop::collection::vec(step, 1..300)
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(steps in steps()) {
            let (mut ids, mut map, mut next) = (IdMap::default(), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Add(gap) => {
                        next += gap;
                        ids.insert(TaskId(next), next);
                        map.insert(TaskId(next), next);
                        next += 1;
                    }
                    Step::Remove(which) if !map.is_empty() => {
                        let id = *map.keys().nth(which % map.len()).unwrap();
                        prop_assert_eq!(ids.remove(id), map.remove(&id));
                    }
                    Step::Remove(_) => {}
                    Step::Look(below) => {
                        let id = TaskId(next.saturating_sub(below));
                        prop_assert_eq!(ids.contains(id), map.contains_key(&id));
                        prop_assert_eq!(ids.get_mut(id), map.get_mut(&id));
                        if !map.contains_key(&id) {
                            prop_assert_eq!(ids.remove(id), None);
                        }
                    }
                }
                prop_assert_eq!(ids.iter().count(), map.len());
                prop_assert!(ids.dense.len() <= MAX_DENSE);
            }
            let all: BTreeMap<_, _> = ids.into_all().collect();
            prop_assert_eq!(all, map);
        }
    }

    #[test]
    fn the_dense_part_stays_short_while_one_task_stays_and_a_million_pass() {
        let mut ids = IdMap::default();
        ids.insert(TaskId(0), "slow");
        for id in (1..1_000_000).map(TaskId) {
            ids.insert(id, "fast");
            assert_eq!(ids.remove(id), Some("fast"));
        }
        assert!(ids.dense.capacity() <= 2 * MAX_DENSE, "{}", ids.dense.capacity());
        assert_eq!(ids.remove(TaskId(0)), Some("slow"));
    }
}
