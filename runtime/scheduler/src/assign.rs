//! Who gets what: workers are started and retired, tasks are offered, and taken from those that have too many.

use super::guests::GuestSet;
use super::io::{Io, KillReason, RetireReason, WorkerId};
use super::slot::{Lifecycle, Process, SlotState, WorkerSlot};
use super::task::Task;
use super::{Phase, STEAL_DELAY, Scheduler};
use mpwasm_types::settings::{CLAIM_TIMEOUT, LONG_TASK_THRESHOLD, MAX_OVERTAKING_TIME};
use mpwasm_types::time::Time;

impl Scheduler {
    /// Brings the workers to what is wanted now and gives them what they can take. To be called once per turn of
    /// the event loop, after everything else.
    pub fn assign(&mut self, now: Time, io: &mut impl Io) {
        self.retire_all(now, io);
        if !self.is_withholding() {
            self.offer(now, io);
            while self.steal(now, io) {
                self.offer(now, io);
            }
            self.replace_idle(now, io);
        }
        self.spawn_missing(now, io);
    }

    /// When [`tick`](Self::tick) and [`assign`](Self::assign) have something to do, if no event comes before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        let is_missing = self.missing() > 0;
        let starts = self.vacancies().filter(|_| is_missing).map(|(_, from)| from);
        let idle = self.guests_of_idle();
        let looks = self
            .live()
            .map(|process| match self.stealable_at(process, &idle) {
                Some(time) => process.due.min(time),
                None => process.due,
            });
        let pauses = self.paused.next();
        starts
            .chain(looks)
            .chain(pauses)
            .min()
            .filter(|&time| time != Time::NEVER)
    }

    /// Tasks that no worker has, and the bytes of their args: the event loop reads on while these are few.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        (
            self.queue.len() + self.paused.len(),
            self.queue.bytes() + self.paused.bytes(),
        )
    }

    /// Tasks that were accepted and have not ended.
    #[must_use]
    pub fn open_tasks(&self) -> usize {
        self.queue.len()
            + self.paused.len()
            + self
                .live()
                .map(|process| process.in_flight.outstanding())
                .sum::<usize>()
    }

    /// Whether no task will come, every one has ended, and every worker was reaped or given up.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_over() && self.live().next().is_none()
    }

    /// Why the pool failed, once it has: it could not start workers. Every task ends as `crash` then.
    #[must_use]
    pub fn pool_failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether no worker will be needed again.
    fn is_over(&self) -> bool {
        self.phase > Phase::Open && self.open_tasks() == 0
    }

    /// Whether nothing may be offered now.
    pub(super) fn is_withholding(&self) -> bool {
        self.backpressure || self.unconfirmed
    }

    /// Lets all workers go once none will be needed again.
    fn retire_all(&mut self, now: Time, io: &mut impl Io) {
        if !self.is_over() {
            return;
        }
        for worker in &mut self.workers {
            match worker.process() {
                Some(process) if process.lifecycle == Lifecycle::Starting => {
                    worker.kill(KillReason::Terminated, now, io);
                }
                Some(process) if process.can_retire() => {
                    worker.retire(RetireReason::NotNeeded, now, io);
                }
                _ => {}
            }
        }
    }

    /// Starts the workers that are missing, in slots that may be filled by now.
    fn spawn_missing(&mut self, now: Time, io: &mut impl Io) {
        let due = self.vacancies().filter(|&(_, from)| from <= now);
        let slots: Vec<usize> = due.take(self.missing()).map(|(slot, _)| slot).collect();
        for slot in slots {
            let guests = self.guests_for_start();
            self.workers[slot].spawn(&guests, now, io);
        }
    }

    /// The slots in which processes may be started, and from when on: one for each worker that has no process, or
    /// only one that goes.
    fn vacancies(&self) -> impl Iterator<Item = (usize, Time)> {
        let size = self.size as usize;
        (0..size).filter_map(move |worker| {
            let slots = || (worker..self.workers.len()).step_by(size);
            if slots().any(|slot| self.workers[slot].is_taken()) {
                return None;
            }
            let vacant = |slot: usize| match self.workers[slot].state {
                SlotState::Vacant { from } => Some((slot, from)),
                SlotState::Live(_) => None,
            };
            // A start that failed delays the next one, in whichever slot that will be.
            let from = slots().filter_map(vacant).map(|(_, from)| from).max()?;
            slots().find_map(vacant).map(|(slot, _)| (slot, from))
        })
    }

    /// How many workers should be there and are not.
    fn missing(&self) -> usize {
        let size = self.size as usize;
        let active = self.workers.iter().filter(|worker| worker.is_active()).count();
        match self.phase {
            _ if self.guests == 0 || self.failure.is_some() => 0,
            Phase::Open => size.saturating_sub(active),
            Phase::Draining => {
                let room = size.saturating_sub(active);
                let wanted = self.open_tasks().min(size).saturating_sub(active);
                // Those that are there may lack the guests of what is left.
                let lacking = if self.is_partial() {
                    self.uncovered().take(room).count()
                } else {
                    0
                };
                wanted.max(lacking)
            }
            Phase::Interrupted | Phase::Terminated => 0,
        }
    }

    /// How many of the missing workers can be started as soon as those in their places have exited, if any are there.
    fn startable(&self) -> usize {
        let size = self.size as usize;
        let is_free = |worker_number: &usize| {
            let mut slots = (*worker_number..self.workers.len()).step_by(size);
            !slots.any(|slot| self.workers[slot].is_taken())
        };
        self.missing().min((0..size).filter(is_free).count())
    }

    /// Offers the queue's first tasks, each to the worker that has the fewest of those that have its guest.
    fn offer(&mut self, now: Time, io: &mut impl Io) {
        let window = self.window.tasks();
        let partial = self.is_partial();
        while let Some(worker) = self
            .queue
            .front()
            .and_then(|task| self.best_worker(task, (window, partial), now, &[]))
        {
            let task = self.queue.pop().expect("a best_worker was found for it");
            self.give(worker, task, now, io);
        }
        if partial && self.may_overtake(now, io) {
            self.offer_behind_first(window, now, io);
        }
    }

    fn give(&mut self, worker: WorkerId, task: Task, now: Time, io: &mut impl Io) {
        let offer = io.offer(worker, &task);
        let process = self.process(worker).expect("a best_worker is a live process");
        if process.in_flight.is_empty() {
            process.check_by(now + CLAIM_TIMEOUT);
        }
        process.in_flight.push(offer, task, now);
    }

    /// Whether later tasks may overtake the first one. They may while some worker will take it soon, and for a while if
    /// none has its guest: a worker that was started for its guests runs more than one task. After that, the next worker
    /// to be idle makes way for one that has the guest.
    fn may_overtake(&mut self, now: Time, io: &mut impl Io) -> bool {
        let Some((id, guest)) = self.queue.front().map(|task| (task.id, task.guest)) else {
            return false;
        };
        let will_take = |process: &Process| {
            process.guests.contains(guest)
                && match process.lifecycle {
                    Lifecycle::Starting => true,
                    Lifecycle::Serving => !process.is_silent(now),
                    _ => false,
                }
        };
        if self.live().any(will_take) || self.startable() > 0 {
            self.unserved = None;
            return true;
        }
        let since = match self.unserved {
            Some((unserved, since)) if unserved == id => since,
            _ => now,
        };
        self.unserved = Some((id, since));
        if now < since + MAX_OVERTAKING_TIME {
            return true;
        }
        let idle = self.workers.iter_mut().filter(|worker| {
            let mut process = worker.process().into_iter();
            process.any(|process| process.can_retire() && !process.guests.contains(guest))
        });
        match idle.min_by_key(|worker| worker.process().map(|process| process.guests.len())) {
            Some(worker) => worker.retire(RetireReason::LacksGuest, now, io),
            None => return false,
        }
        true
    }

    /// Offers tasks behind the first one to workers that lack its guest. No worker takes a task before an older one
    /// that it could run.
    fn offer_behind_first(&mut self, window: usize, now: Time, io: &mut impl Io) {
        // By slot: whether the worker takes nothing more.
        let mut closed: Vec<bool> = self
            .workers
            .iter()
            .map(|worker| {
                !worker
                    .process()
                    .is_some_and(|process| process.lifecycle == Lifecycle::Serving)
            })
            .collect();
        let mut open = GuestSet::default();
        for (worker, _) in self.workers.iter().zip(&closed).filter(|&(_, &closed)| !closed) {
            worker
                .process()
                .into_iter()
                .for_each(|process| open.extend(&process.guests));
        }
        if !self.queue.iter().any(|task| open.contains(task.guest)) {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain_mut(|task| {
            if !open.contains(task.guest) {
                return Some(task);
            }
            if let Some(worker) = self.best_worker(&task, (window, true), now, &closed) {
                self.give(worker, task, now, io);
                return None;
            }
            for (worker, closed) in self.workers.iter().zip(&mut closed) {
                *closed |= worker
                    .process()
                    .is_some_and(|process| process.guests.contains(task.guest));
            }
            Some(task)
        });
        self.queue = queue;
    }

    /// The worker that should have the task. Where some lack guests (`partial`), a task does not go behind one that runs for
    /// long: another worker may get its guest. Those in slots that are `closed` take nothing.
    fn best_worker(
        &self,
        task: &Task,
        (window, partial): (usize, bool),
        now: Time,
        closed: &[bool],
    ) -> Option<WorkerId> {
        let mut best: Option<(&WorkerSlot, (usize, usize))> = None;
        for (slot, worker) in self.workers.iter().enumerate() {
            let Some(process) = worker.process().filter(|process| process.serves(task.guest)) else {
                continue;
            };
            // What is cheap comes first: this runs for every worker and task.
            let load = process.in_flight.load();
            if best.is_none_or(|(_, least)| load < least)
                && process.in_flight.admits(task, window)
                && process.has_room(self.tasks_per_process)
                && !(partial && (process.is_silent(now) || closed.get(slot) == Some(&true)))
            {
                best = Some((worker, load));
            }
        }
        best.map(|(worker, _)| worker.id)
    }

    /// Takes back into the queue what waits behind the task of another worker, for a worker that has nothing: half of what
    /// that can run. If it can run none of it, all goes back once the other is silent, and a worker that has the guest
    /// may be started. Returns false when no worker has a task to give, or none can take one.
    fn steal(&mut self, now: Time, io: &mut impl Io) -> bool {
        let idle = self.guests_of_idle();
        let is_stealable =
            |process: &&Process| self.stealable_at(process, &idle).is_some_and(|time| time <= now);
        let silent = self.workers.iter().filter(|worker| {
            let mut process = worker.process().into_iter();
            process.any(|process| is_stealable(&process))
        });
        let richest =
            silent.max_by_key(|worker| worker.process().map(|process| process.in_flight.outstanding()));
        let Some(richest) = richest.map(|worker| worker.id).and_then(|id| self.process(id)) else {
            return false;
        };
        let tasks = match richest.in_flight.has_waiting_of(&idle) {
            true => richest.in_flight.revoke_half(&idle, now, io),
            false => richest.in_flight.revoke_all(now, io),
        };
        self.requeue(tasks, io);
        true
    }

    /// The guests of the workers that have nothing to do, and for which nothing waits.
    fn guests_of_idle(&self) -> GuestSet {
        let mut guests = GuestSet::default();
        for process in self
            .live()
            .filter(|process| process.is_idle() && !self.is_withholding())
        {
            guests.extend(&process.guests);
        }
        guests
    }

    /// From when on tasks may be taken from a worker, for idle ones that have these guests, if any wait there. A task that
    /// fails to come back counts as claimed, so it is not tried again.
    fn stealable_at(&self, process: &Process, idle: &GuestSet) -> Option<Time> {
        if idle.len() == 0 || process.lifecycle != Lifecycle::Serving || !process.in_flight.has_waiting() {
            return None;
        }
        let delay = match process.in_flight.has_waiting_of(idle) {
            true => STEAL_DELAY,
            false => LONG_TASK_THRESHOLD,
        };
        Some(process.in_flight.since() + delay)
    }

    /// Lets idle workers go that can run nothing of what waits, as many as are needed for others to take their places.
    fn replace_idle(&mut self, now: Time, io: &mut impl Io) {
        if self.queue.is_empty() || !self.is_partial() {
            return;
        }
        let mut queued = GuestSet::default();
        self.queue.iter().for_each(|task| {
            queued.insert(task.guest);
        });
        let is_useless = |process: &Process| process.can_retire() && process.guests.is_disjoint(&queued);
        let mut useless: Vec<usize> = (0..self.workers.len())
            .filter(|&slot| self.workers[slot].process().is_some_and(is_useless))
            .collect();
        if useless.is_empty() {
            return;
        }
        useless.sort_by_key(|&slot| self.workers[slot].process().map(|process| process.guests.len()));
        let startable = self.startable();
        let waiting = self.uncovered().take(startable + useless.len()).count();
        for slot in useless.into_iter().take(waiting.saturating_sub(startable)) {
            self.workers[slot].retire(RetireReason::LacksGuest, now, io);
        }
    }

    fn live(&self) -> impl Iterator<Item = &Process> {
        self.workers.iter().filter_map(WorkerSlot::process)
    }
}
