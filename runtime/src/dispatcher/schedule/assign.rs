//! Who gets what: workers are started and retired, tasks are offered, and taken from those that have too many.

use super::io::{Io, KillReason, RetireReason, WorkerId};
use super::task::Task;
use super::worker::{Process, Slot, Stage, Worker};
use super::{Phase, STEAL_DELAY, Scheduler};
use crate::settings::CLAIM_PATIENCE;
use crate::time::Time;

impl Scheduler {
    /// Brings the workers to what is wanted now and gives them what they can take. To be called once per turn of
    /// the event loop, after everything else.
    pub fn assign(&mut self, now: Time, io: &mut impl Io) {
        self.dismiss(now, io);
        self.refill(now, io);
        if self.held || self.unconfirmed {
            return;
        }
        self.offer(now, io);
        while self.steal(now, io) {
            self.offer(now, io);
        }
    }

    /// When [`tick`](Self::tick) and [`assign`](Self::assign) have something to do, if no event comes before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        let is_missing = self.missing() > 0;
        let can_steal = self.can_steal();
        let starts = self.vacancies().filter(|_| is_missing).map(|(_, from)| from);
        let looks = self.live().map(|process| match stealable_at(process) {
            Some(time) if can_steal => process.due.min(time),
            _ => process.due,
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
                .map(|process| process.hand.outstanding())
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

    /// Lets workers go that are of no use any more.
    fn dismiss(&mut self, now: Time, io: &mut impl Io) {
        let over = self.is_over();
        for worker in &mut self.workers {
            let Some(process) = worker.process() else {
                continue;
            };
            let reason = if over {
                Some(RetireReason::NotNeeded)
            } else {
                (process.guests < self.required).then_some(RetireReason::LacksGuest)
            };
            match process.stage {
                Stage::Starting if over => worker.kill(KillReason::Terminated, now, io),
                Stage::Serving | Stage::Stalled if process.hand.outstanding() == 0 => {
                    if let Some(reason) = reason {
                        worker.retire(reason, now, io);
                    }
                }
                _ => {}
            }
        }
    }

    /// Starts the workers that are missing, in slots that may be filled by now.
    fn refill(&mut self, now: Time, io: &mut impl Io) {
        let due = self.vacancies().filter(|&(_, from)| from <= now);
        let slots: Vec<usize> = due.take(self.missing()).map(|(slot, _)| slot).collect();
        for slot in slots {
            self.workers[slot].spawn(self.guests, now, io);
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
            let vacant = |slot: usize| match self.workers[slot].slot {
                Slot::Vacant { from } => Some((slot, from)),
                Slot::Live(_) => None,
            };
            // A start that failed delays the next one, in whichever slot that will be.
            let from = slots().filter_map(vacant).map(|(_, from)| from).max()?;
            slots().find_map(vacant).map(|(slot, _)| (slot, from))
        })
    }

    /// How many workers should be there and are not.
    fn missing(&self) -> usize {
        let wanted = match self.phase {
            _ if self.guests == 0 || self.failure.is_some() => 0,
            Phase::Open => self.size as usize,
            Phase::Draining => self.open_tasks().min(self.size as usize),
            Phase::Interrupted | Phase::Terminated => 0,
        };
        wanted.saturating_sub(self.workers.iter().filter(|worker| worker.is_active()).count())
    }

    /// Offers the queue's first tasks, each to the worker that has the fewest.
    fn offer(&mut self, now: Time, io: &mut impl Io) {
        let window = self.window.tasks();
        while let Some(worker) = self.queue.front().and_then(|task| self.taker(task, window)) {
            let task = self.queue.pop().expect("a taker was found for it");
            let process = self.process(worker).expect("a taker is a live process");
            let offer = io.offer(worker, &task);
            if process.hand.is_empty() {
                process.check_by(now + CLAIM_PATIENCE);
            }
            process.hand.push(offer, task, now);
        }
    }

    /// The worker that should have the task.
    fn taker(&self, task: &Task, window: usize) -> Option<WorkerId> {
        let mut best: Option<(&Worker, (usize, usize))> = None;
        for worker in &self.workers {
            let Some(process) = worker.process().filter(|process| process.serves(self.required)) else {
                continue;
            };
            // What is cheap comes first: this runs for every worker and task.
            let load = process.hand.load();
            if best.is_none_or(|(_, least)| load < least)
                && process.hand.admits(task, window)
                && process.has_room(self.tasks_per_process)
            {
                best = Some((worker, load));
            }
        }
        best.map(|(worker, _)| worker.id)
    }

    /// Takes half of what waits behind the task of another worker back into the queue, for a worker that has
    /// nothing. Returns false when there is nobody to take from or to give to.
    fn steal(&mut self, now: Time, io: &mut impl Io) -> bool {
        if !self.can_steal() {
            return false;
        }
        let silent = self
            .processes()
            .filter(|process| stealable_at(process).is_some_and(|time| time <= now));
        let Some(richest) = silent.max_by_key(|process| process.hand.outstanding()) else {
            return false;
        };
        let tasks = richest.hand.revoke_half(now, io);
        self.give_back(tasks, io);
        true
    }

    /// Whether a worker has nothing to do, and nothing waits for it.
    fn can_steal(&self) -> bool {
        let idle = |process: &Process| process.serves(self.required) && process.hand.is_empty();
        !self.unconfirmed && self.queue.is_empty() && self.live().any(idle)
    }

    fn live(&self) -> impl Iterator<Item = &Process> {
        self.workers.iter().filter_map(Worker::process)
    }
}

/// From when on tasks may be taken from a worker, if any wait there: never while offers are held back. A task
/// that fails to come back counts as claimed, so that nobody tries again.
fn stealable_at(process: &Process) -> Option<Time> {
    (process.stage == Stage::Serving && process.hand.has_waiting())
        .then(|| process.hand.since() + STEAL_DELAY)
}
