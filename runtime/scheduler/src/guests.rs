//! Selects the guests of each worker process.
//!
//! A worker loads code only at its start. In a pool with few guests, each process gets all of them. In a larger pool, a process
//! gets those of the first queued tasks and those that were used last, up to a bound. If a task needs a guest that no process
//! has or will have, an idle process is replaced by one that has it.

use super::guest_set::GuestSet;
use super::scheduler::Scheduler;
use super::slot::{Lifecycle, ProcessState, WorkerSlot};
use super::task::ScheduledTask;
use mpwasm_types::ids::GuestId;

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
    pub(super) fn uncovered(&self) -> impl Iterator<Item = &ScheduledTask> {
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
