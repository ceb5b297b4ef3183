//! Selects the guests of each worker process.
//!
//! A worker loads code only at its start. In a pool with few guests, each process gets all of them. In a larger pool, a process
//! gets those of the first queued tasks and those that were used last, up to a bound. If a task needs a guest that no process
//! has or will have, an idle process is replaced by one that has it.

use super::Scheduler;
use super::guest_set::GuestSet;
use super::slot::{Lifecycle, ProcessState, WorkerSlot};
use super::task::Task;
use mpwasm_types::ids::GuestId;
use mpwasm_types::settings::RECENT_TASKS;

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
