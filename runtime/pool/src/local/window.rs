//! A map for ids that count up, in which most do not stay long: those of the tasks that have not ended.
//!
//! A task ends not long after those that were accepted just before it, so most ids stand in one short row, where finding,
//! adding and removing touch the memory that the one before has touched. The few that stay when many others pass by are
//! strays: they go to a map, and the row goes on without them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Ids in the row: somewhat more than there are tasks on their way when a pool is busy with small ones.
const ROW: usize = 1 << 16;

/// See the module. Ids are added in rising order, with gaps.
#[derive(Debug)]
pub struct Window<T> {
    /// The id of the row's first place.
    first: u64,
    /// Its first place is mostly taken.
    row: VecDeque<Option<T>>,
    strays: HashMap<u64, T, BuildHasherDefault<IdHasher>>,
}

/// Hashes ids. They are our own and count up, so nobody can make them collide, and one multiplication spreads them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio. The table looks at the highest bits and at the lowest.
        let spread = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            first: 0,
            row: VecDeque::new(),
            strays: HashMap::default(),
        }
    }
}

impl<T> Window<T> {
    /// Adds `value` under an id above all that were added before.
    pub fn insert(&mut self, id: u64, value: T) {
        while !self.row.is_empty() && id - self.first >= ROW as u64 {
            self.leave_first();
        }
        if self.row.is_empty() {
            self.first = id;
        }
        let place = usize::try_from(id - self.first).expect("the row is short");
        self.row.resize_with(place, || None);
        self.row.push_back(Some(value));
    }

    /// What was added under this id, if it is still there.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        match self.place(id) {
            Some(place) => self.row.get_mut(place)?.as_mut(),
            None => self.strays.get_mut(&id),
        }
    }

    /// Whether something is there under this id.
    pub fn contains(&self, id: u64) -> bool {
        match self.place(id) {
            Some(place) => self.row.get(place).is_some_and(Option::is_some),
            None => self.strays.contains_key(&id),
        }
    }

    /// Takes out what is there under this id.
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let Some(place) = self.place(id) else {
            return self.strays.remove(&id);
        };
        let value = self.row.get_mut(place)?.take();
        self.skip_empty();
        value
    }

    /// All that is there, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let row = (self.first..).zip(&self.row);
        let row = row.filter_map(|(id, value)| Some((id, value.as_ref()?)));
        row.chain(self.strays.iter().map(|(&id, value)| (id, value)))
    }

    /// All that is there, in no order.
    pub fn into_all(self) -> impl Iterator<Item = (u64, T)> {
        let row = (self.first..).zip(self.row);
        row.filter_map(|(id, value)| Some((id, value?)))
            .chain(self.strays)
    }

    /// The id's place in the row; `None` for one before it.
    fn place(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    /// The row begins one place later; what is there becomes a stray.
    fn leave_first(&mut self) {
        if let Some(value) = self.row.pop_front() {
            if let Some(value) = value {
                self.strays.insert(self.first, value);
            }
            self.first += 1;
        }
    }

    fn skip_empty(&mut self) {
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.first += 1;
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
        /// Adds an id, so far behind the last one.
        Add(u64),
        /// Takes out what is there at this share of all, in order of ids.
        Remove(usize),
        /// Looks for an id, so far below the next one.
        Look(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let gap = prop_oneof![8 => Just(0), 1 => 0..200_u64, 1 => Just(ROW as u64 + 7)];
        let step = prop_oneof![
            3 => gap.prop_map(Step::Add),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => (0..2 * ROW as u64).prop_map(Step::Look),
        ];
        prop::collection::vec(step, 1..300)
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in steps()) {
            let (mut window, mut map, mut next) = (Window::default(), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Add(gap) => {
                        next += gap;
                        window.insert(next, next);
                        map.insert(next, next);
                        next += 1;
                    }
                    Step::Remove(which) if !map.is_empty() => {
                        let id = *map.keys().nth(which % map.len()).unwrap();
                        prop_assert_eq!(window.remove(id), map.remove(&id));
                    }
                    Step::Remove(_) => {}
                    Step::Look(below) => {
                        let id = next.saturating_sub(below);
                        prop_assert_eq!(window.contains(id), map.contains_key(&id));
                        prop_assert_eq!(window.get_mut(id), map.get_mut(&id));
                        if !map.contains_key(&id) {
                            prop_assert_eq!(window.remove(id), None);
                        }
                    }
                }
                prop_assert_eq!(window.iter().count(), map.len());
                prop_assert!(window.row.len() <= ROW);
            }
            let all: BTreeMap<_, _> = window.into_all().collect();
            prop_assert_eq!(all, map);
        }
    }

    #[test]
    fn the_row_stays_short_while_one_task_stays_and_a_million_pass() {
        let mut window = Window::default();
        window.insert(0, "slow");
        for id in 1..1_000_000 {
            window.insert(id, "fast");
            assert_eq!(window.remove(id), Some("fast"));
        }
        assert!(window.row.capacity() <= 2 * ROW, "{}", window.row.capacity());
        assert_eq!(window.remove(0), Some("slow"));
    }
}
