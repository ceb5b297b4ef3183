//! Assigns tasks: spawns and retires workers, offers tasks to them, and steals waiting tasks for idle ones.

use std::time::Duration;

use super::guest_set::GuestSet;
use super::io::{Io, KillReason, RetireReason, SpawnReason};
use super::scheduler::{PoolPhase, Scheduler};
use super::slot::LONG_TASK_THRESHOLD;
use super::slot::{Lifecycle, ProcessState, SlotState, WorkerSlot};
use super::task::CLAIM_TIMEOUT;
use super::task::ScheduledTask;
use mpwasm_types::ids::WorkerId;
use mpwasm_types::time::Time;

/// Longest time for which later tasks overtake one whose guest no worker has: enough to amortise the start of a process.
pub(super) const MAX_OVERTAKING_TIME: Duration = Duration::from_millis(20);

/// Time without a report after which tasks may be stolen from a worker. While it runs short tasks, stealing costs more than it
/// gains.
pub(super) const STEAL_DELAY: Duration = Duration::from_micros(200);

impl Scheduler {
    /// Spawns and retires workers as needed and offers tasks to them. Call it once per turn of the event loop, after everything
    /// else.
    pub fn assign(&mut self, now: Time, io: &mut impl Io) {
        self.retire_all(now, io);
        if !self.is_withholding() {
            self.offer(now, io);
            while self.steal(now, io) {
                self.offer(now, io);
            }
            self.replace_idle(now, io);
        }
        self.retire_surplus(now, io);
        self.spawn_missing(now, io);
    }

    /// Returns when [`tick`](Self::tick) and [`assign`](Self::assign) must be called if no event comes before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        let is_missing = self.missing() > 0;
        let starts = self.vacancies().filter(|_| is_missing).map(|(_, from)| from);
        let idle = self.guests_of_idle();
        let checks = self
            .live()
            .map(|process| match self.stealable_at(process, &idle) {
                Some(time) => process.due.min(time),
                None => process.due,
            });
        let pauses = self.paused.next();
        starts
            .chain(checks)
            .chain(pauses)
            .chain(self.surplus_due())
            .min()
            .filter(|&time| time != Time::NEVER)
    }

    /// Returns the number of tasks without a worker and the bytes of their args. The event loop reads tasks while both are small.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        (
            self.queue.len() + self.paused.len(),
            self.queue.bytes() + self.paused.bytes(),
        )
    }

    /// Returns the number of accepted tasks that have not ended.
    #[must_use]
    pub fn open_tasks(&self) -> usize {
        self.queue.len()
            + self.paused.len()
            + self
                .live()
                .map(|process| process.in_flight.outstanding())
                .sum::<usize>()
    }

    /// Returns whether no task will come, all have ended, and all workers were reaped or abandoned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_over() && self.live().next().is_none()
    }

    /// Returns why the pool could not spawn workers, if it failed. All its tasks end as `crash`.
    #[must_use]
    pub fn pool_failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Returns whether no worker will be needed again.
    fn is_over(&self) -> bool {
        self.phase > PoolPhase::Open && self.open_tasks() == 0
    }

    /// Returns whether offers are withheld now.
    pub(super) fn is_withholding(&self) -> bool {
        self.backpressure || self.unconfirmed
    }

    /// Retires all workers once none will be needed again.
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

    /// Spawns the missing workers in slots whose backoff has ended.
    fn spawn_missing(&mut self, now: Time, io: &mut impl Io) {
        let due = self.vacancies().filter(|&(_, from)| from <= now);
        let slots: Vec<usize> = due.take(self.missing()).map(|(slot, _)| slot).collect();
        for slot in slots {
            let guests = self.guests_for_start();
            let reason = match self.active_workers() < self.size as usize {
                true => SpawnReason::Missing,
                false => SpawnReason::Lent,
            };
            self.workers[slot].spawn(&guests, reason, now, io);
        }
    }

    /// Iterates over the slots in which processes may be spawned, and the time from which on. There is one for each worker without
    /// a process, or with a retiring one, up to the number that the pool may have now.
    fn vacancies(&self) -> impl Iterator<Item = (usize, Time)> {
        let count = self.worker_numbers();
        let vacant = (0..count).filter_map(move |worker| {
            let slots = || (worker..self.workers.len()).step_by(count);
            if slots().any(|slot| self.workers[slot].is_taken()) {
                return None;
            }
            let vacant = |slot: usize| match self.workers[slot].state {
                SlotState::Vacant { from } => Some((slot, from)),
                SlotState::Live(_) => None,
            };
            // A failed spawn delays the next one in either slot.
            let from = slots().filter_map(vacant).map(|(_, from)| from).max()?;
            slots().find_map(vacant).map(|(slot, _)| (slot, from))
        });
        vacant.take(self.room())
    }

    /// Returns the number of workers with slots.
    fn worker_numbers(&self) -> usize {
        (self.size + self.max_waiting) as usize
    }

    /// Returns how many more processes the pool may have now.
    fn room(&self) -> usize {
        let taken = self.workers.iter().filter(|worker| worker.is_taken()).count();
        self.most_workers().saturating_sub(taken)
    }

    fn active_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.is_active()).count()
    }

    /// Returns the number of missing workers.
    pub(super) fn missing(&self) -> usize {
        let (size, most, active) = (self.size as usize, self.most_workers(), self.active_workers());
        match self.phase {
            _ if self.guests == 0 || self.failure.is_some() => 0,
            // A waiting task lends its worker's place only to tasks that are there.
            PoolPhase::Open if most > size => {
                let tasks = self.open_tasks() - self.paused.len();
                tasks.clamp(size, most).saturating_sub(active)
            }
            PoolPhase::Open => size.saturating_sub(active),
            PoolPhase::Draining => {
                let room = most.saturating_sub(active);
                let wanted = self.open_tasks().min(most).saturating_sub(active);
                // The present workers may lack the guests of the remaining tasks.
                let lacking = if self.is_partial() {
                    self.uncovered().take(room).count()
                } else {
                    0
                };
                wanted.max(lacking)
            }
            PoolPhase::Interrupted | PoolPhase::Terminated => 0,
        }
    }

    /// Returns how many missing workers can be spawned now or after their backoff, without waiting for another process to exit.
    fn startable(&self) -> usize {
        self.missing().min(self.room())
    }

    /// Offers the first tasks in the queue, each to the least loaded worker that has its guest.
    fn offer(&mut self, now: Time, io: &mut impl Io) {
        let window = self.window.tasks();
        let partial = self.is_partial();
        while let Some(worker) = self
            .queue
            .front()
            .and_then(|task| self.best_worker(task, (window, partial), now, &[]))
        {
            let task = self.queue.pop().expect("a worker was found for it");
            self.offer_to(worker, task, now, io);
        }
        if partial && self.may_overtake(now, io) {
            self.offer_behind_first(window, now, io);
        }
    }

    fn offer_to(&mut self, worker: WorkerId, task: ScheduledTask, now: Time, io: &mut impl Io) {
        let offer = io.offer(worker, &task);
        let process = self.process(worker).expect("the chosen worker is a live process");
        if process.in_flight.is_empty() {
            process.check_by(now + CLAIM_TIMEOUT);
        }
        process.in_flight.push(offer, task, now);
    }

    /// Returns whether later tasks may overtake the first one. They may while a worker will take it soon. If no worker has its guest,
    /// they may for [`MAX_OVERTAKING_TIME`], so that workers run more than one task. After that, the next idle worker is replaced
    /// by one that has the guest.
    fn may_overtake(&mut self, now: Time, io: &mut impl Io) -> bool {
        let Some((id, guest)) = self.queue.front().map(|task| (task.id, task.spec.guest)) else {
            return false;
        };
        let will_take = |process: &ProcessState| {
            process.guests.contains(guest)
                && !process.is_waiting()
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

    /// Offers tasks behind the first one to workers that lack its guest. No worker gets a task before an older one that it could
    /// run.
    fn offer_behind_first(&mut self, window: usize, now: Time, io: &mut impl Io) {
        // By slot: whether the worker gets no more tasks in this turn.
        let mut closed: Vec<bool> = self
            .workers
            .iter()
            .map(|worker| {
                !worker
                    .process()
                    .is_some_and(|process| process.lifecycle == Lifecycle::Serving && !process.is_waiting())
            })
            .collect();
        let mut open = GuestSet::default();
        for (worker, _) in self.workers.iter().zip(&closed).filter(|&(_, &closed)| !closed) {
            worker
                .process()
                .into_iter()
                .for_each(|process| open.extend(&process.guests));
        }
        if !self.queue.iter().any(|task| open.contains(task.spec.guest)) {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain_mut(|task| {
            if !open.contains(task.spec.guest) {
                return Some(task);
            }
            if let Some(worker) = self.best_worker(&task, (window, true), now, &closed) {
                self.offer_to(worker, task, now, io);
                return None;
            }
            for (worker, closed) in self.workers.iter().zip(&mut closed) {
                *closed |= worker
                    .process()
                    .is_some_and(|process| process.guests.contains(task.spec.guest));
            }
            Some(task)
        });
        self.queue = queue;
    }

    /// Returns the worker that should get the task. If some workers lack guests (`partial`), a task is not offered behind one that
    /// runs for long, since another worker may get its guest. Workers in `closed` slots get nothing.
    fn best_worker(
        &self,
        task: &ScheduledTask,
        (window, partial): (usize, bool),
        now: Time,
        closed: &[bool],
    ) -> Option<WorkerId> {
        let mut best: Option<(&WorkerSlot, (usize, usize))> = None;
        let busy = self.busy_workers();
        for (slot, worker) in self.workers.iter().enumerate() {
            let Some(process) = worker.process().filter(|process| process.serves(task.spec.guest)) else {
                continue;
            };
            // Cheap checks first: this runs for every worker and task.
            let load = process.in_flight.load();
            if best.is_none_or(|(_, least)| load < least)
                && process.in_flight.admits(task, window)
                && process.has_room(self.tasks_per_process)
                && !(partial && (process.is_silent(now) || closed.get(slot) == Some(&true)))
                && self.may_compute(worker, busy)
            {
                best = Some((worker, load));
            }
        }
        best.map(|(worker, _)| worker.id)
    }

    /// Requeues tasks that wait behind another worker's task, for an idle worker: half of those that it can run. If it can run none,
    /// all are requeued once the other worker runs a long task, so that a worker with the guest may be spawned. Returns false if
    /// there is nothing to steal.
    fn steal(&mut self, now: Time, io: &mut impl Io) -> bool {
        let idle = self.guests_of_idle();
        let is_stealable =
            |process: &&ProcessState| self.stealable_at(process, &idle).is_some_and(|time| time <= now);
        let silent = self.workers.iter().filter(|worker| {
            let mut process = worker.process().into_iter();
            process.any(|process| is_stealable(&process))
        });
        let most_loaded =
            silent.max_by_key(|worker| worker.process().map(|process| process.in_flight.outstanding()));
        let Some(most_loaded) = most_loaded
            .map(|worker| worker.id)
            .and_then(|id| self.process(id))
        else {
            return false;
        };
        let tasks = match most_loaded.in_flight.has_waiting_of(&idle) {
            true => most_loaded.in_flight.revoke_half(&idle, now, io),
            false => most_loaded.in_flight.revoke_all(now, io),
        };
        self.requeue(tasks, io);
        true
    }

    /// Returns the guests of idle workers.
    fn guests_of_idle(&self) -> GuestSet {
        let mut guests = GuestSet::default();
        let can_take = !self.is_withholding() && self.has_room_to_compute();
        for process in self.live().filter(|process| process.is_idle() && can_take) {
            guests.extend(&process.guests);
        }
        guests
    }

    /// Returns the time from which on tasks may be stolen from a worker for idle ones with these guests, if any wait. A task that
    /// cannot be revoked counts as claimed, so it is not tried twice.
    fn stealable_at(&self, process: &ProcessState, idle: &GuestSet) -> Option<Time> {
        if idle.len() == 0 || process.lifecycle != Lifecycle::Serving || !process.in_flight.has_waiting() {
            return None;
        }
        let delay = match process.in_flight.has_waiting_of(idle) {
            true => STEAL_DELAY,
            false => LONG_TASK_THRESHOLD,
        };
        Some(process.in_flight.since() + delay)
    }

    /// Retires idle workers that can run no queued task, as many as are needed to make room for others.
    fn replace_idle(&mut self, now: Time, io: &mut impl Io) {
        if self.queue.is_empty() || !self.is_partial() {
            return;
        }
        let mut queued = GuestSet::default();
        self.queue.iter().for_each(|task| {
            queued.insert(task.spec.guest);
        });
        let is_replaceable =
            |process: &ProcessState| process.can_retire() && process.guests.is_disjoint(&queued);
        let mut replaceable: Vec<usize> = (0..self.workers.len())
            .filter(|&slot| self.workers[slot].process().is_some_and(is_replaceable))
            .collect();
        if replaceable.is_empty() {
            return;
        }
        replaceable.sort_by_key(|&slot| self.workers[slot].process().map(|process| process.guests.len()));
        let startable = self.startable();
        let waiting = self.uncovered().take(startable + replaceable.len()).count();
        for slot in replaceable.into_iter().take(waiting.saturating_sub(startable)) {
            self.workers[slot].retire(RetireReason::LacksGuest, now, io);
        }
    }

    fn live(&self) -> impl Iterator<Item = &ProcessState> {
        self.workers.iter().filter_map(WorkerSlot::process)
    }
}
