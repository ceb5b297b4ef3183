//! Selects the guests of each worker process.
//!
//! A worker loads code only at its start. In a pool with few guests, each process gets all of them. In a larger pool, a process
//! gets those of the first queued tasks and those that were used last, up to a bound. If a task needs a guest that no process
//! has or will have, an idle process is replaced by one that has it.

use super::Scheduler;
use super::slot::{Lifecycle, ProcessState, WorkerSlot};
use super::task::Task;
use mpwasm_types::ids::GuestId;
use mpwasm_types::settings::RECENT_TASKS;

/// A set of guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GuestSet {
    /// One bit per guest.
    words: Vec<u64>,
    len: usize,
}

impl GuestSet {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, guest: GuestId) -> bool {
        let word = self.words.get(guest.index() / 64);
        word.is_some_and(|word| word >> (guest.0 % 64) & 1 == 1)
    }

    /// Adds a guest. Returns whether it was new.
    pub fn insert(&mut self, guest: GuestId) -> bool {
        let index = guest.index() / 64;
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        let bit = 1 << (guest.0 % 64);
        let is_new = self.words[index] & bit == 0;
        self.words[index] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Returns whether no guest is in both sets.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .all(|(one, two)| one & two == 0)
    }

    /// Adds all guests of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }
}

impl FromIterator<GuestId> for GuestSet {
    fn from_iter<I: IntoIterator<Item = GuestId>>(guests: I) -> Self {
        let mut set = Self::default();
        for guest in guests {
            set.insert(guest);
        }
        set
    }
}

/// Remembers when each guest was last used, counted in accepted tasks.
#[derive(Debug, Default)]
pub(super) struct Recency {
    /// By guest: the number of accepted tasks up to its last one. 0 if it was not used.
    last: Vec<u64>,
    accepted: u64,
}

impl Recency {
    /// Records that a task of this guest was accepted.
    pub fn note(&mut self, guest: GuestId) {
        self.accepted += 1;
        let index = guest.index();
        if self.last.len() <= index {
            self.last.resize(index + 1, 0);
        }
        self.last[index] = self.accepted;
    }

    /// Returns the guests of the last [`RECENT_TASKS`] tasks, the most recent first.
    fn latest(&self) -> impl Iterator<Item = GuestId> + use<> {
        let since = self.accepted.saturating_sub(RECENT_TASKS);
        let used = (0..)
            .map(GuestId)
            .zip(&self.last)
            .filter(|&(_, &last)| last > since);
        let mut guests: Vec<(GuestId, u64)> = used.map(|(guest, &last)| (guest, last)).collect();
        guests.sort_unstable_by_key(|&(_, last)| std::cmp::Reverse(last));
        guests.into_iter().map(|(guest, _)| guest)
    }
}

/// Collects distinct guests in order, up to a bound.
struct GuestSelection {
    guests: Vec<GuestId>,
    set: GuestSet,
    most: usize,
}

impl GuestSelection {
    fn add(&mut self, guests: impl Iterator<Item = GuestId>) {
        for guest in guests {
            if self.guests.len() >= self.most {
                return;
            }
            if self.set.insert(guest) {
                self.guests.push(guest);
            }
        }
    }
}

impl Scheduler {
    /// Returns the guests of the process that is spawned next.
    pub(super) fn guests_for_start(&self) -> Vec<GuestId> {
        if self.guests as usize <= self.guests_per_process {
            return (0..self.guests).map(GuestId).collect();
        }
        // A process for few tasks loads further guests in vain. While nothing waits, that costs nothing.
        let most = match self.tasks_per_process {
            // One of the other guests may be the reason why processes fail to load.
            _ if self.failed_loads.is_some() && !self.queue.is_empty() => 1,
            Some(tasks) if !self.queue.is_empty() => self.guests_per_process.min(tasks as usize),
            _ => self.guests_per_process,
        };
        let mut choice = GuestSelection {
            guests: Vec::new(),
            set: GuestSet::default(),
            most,
        };
        let mut present = GuestSet::default();
        for process in self.active() {
            present.extend(&process.guests);
        }
        let queued = || self.queue.iter().map(|task| task.spec.guest);
        choice.add(self.uncovered().take(1).map(|task| task.spec.guest));
        // Workers that start together load different guests.
        choice.add(queued().filter(|&guest| !present.contains(guest)));
        choice.add(queued());
        choice.add(self.recency.latest());
        choice.guests
    }

    /// Returns whether any process lacks any guest.
    pub(super) fn is_partial(&self) -> bool {
        self.active()
            .any(|process| process.guests.len() < self.guests as usize)
    }

    /// Iterates over queued tasks without a starting process. Each starting process counts for one task.
    pub(super) fn uncovered(&self) -> impl Iterator<Item = &Task> {
        let is_starting = |process: &&ProcessState| process.lifecycle == Lifecycle::Starting;
        let mut starting: Vec<&ProcessState> = self.active().filter(is_starting).collect();
        self.queue.iter().filter(move |task| {
            let found = starting
                .iter()
                .position(|process| process.guests.contains(task.spec.guest));
            found.map(|index| starting.swap_remove(index)).is_none()
        })
    }

    /// Iterates over the processes that serve or are starting.
    fn active(&self) -> impl Iterator<Item = &ProcessState> {
        let workers = self.workers.iter().filter(|worker| worker.is_active());
        workers.filter_map(WorkerSlot::process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let mut set: GuestSet = [0, 63, 64, 999, 63].into_iter().map(GuestId).collect();
        assert_eq!(set.len(), 4);
        assert!([0, 63, 64, 999].iter().all(|&guest| set.contains(GuestId(guest))));
        assert!(
            [1, 62, 65, 998, 1000, u32::MAX]
                .iter()
                .all(|&guest| !set.contains(GuestId(guest)))
        );
        set.extend(&[1, 64, 2000].into_iter().map(GuestId).collect());
        assert_eq!(set.len(), 6);
        assert!(set.contains(GuestId(2000)));
    }

    #[test]
    fn the_guests_of_the_last_tasks_are_recent_and_the_last_one_comes_first() {
        let mut recency = Recency::default();
        assert_eq!(recency.latest().next(), None);
        [7, 3, 7, 1]
            .into_iter()
            .for_each(|guest| recency.note(GuestId(guest)));
        assert_eq!(recency.latest().collect::<Vec<_>>(), [1, 7, 3].map(GuestId));
        (1..RECENT_TASKS).for_each(|_| recency.note(GuestId(0)));
        assert_eq!(recency.latest().collect::<Vec<_>>(), [0, 1].map(GuestId));
    }
}
