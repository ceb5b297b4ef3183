//! The state of the scheduler, and the events that change it.

use std::time::Duration;

use super::death::cancelled_before_start;
use super::in_flight::{CANCEL_TIMEOUT, EndedTask, ProgressCheck};
use super::io::{Io, KillReason, ProtocolFault, RetireReason, WorkerExit};
use super::recency::Recency;
use super::retry_queue::RetryQueue;
use super::slot::{Lifecycle, Milestone, ProcessState, SlotState, WorkerSlot};
use super::task::{Queue, ScheduledTask};
use super::window::Window;
use mpwasm_types::ids::{DispatchId, GuestId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::MAX_LOADED_GUESTS;
use mpwasm_types::time::Time;

/// Time without a sign of life after which a worker that missed its claim timeout is killed.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the pool's tasks and workers.
#[derive(Debug)]
pub struct Scheduler {
    /// The slots, one or two for each of [`size`](Self::size) and [`max_waiting`](Self::max_waiting) workers.
    pub(super) workers: Vec<WorkerSlot>,
    /// Number of workers whose tasks do not wait.
    pub(super) size: u32,
    /// Most further workers while tasks wait for shared objects.
    pub(super) max_waiting: u32,
    /// Number of tasks after which a process is replaced.
    pub(super) tasks_per_process: Option<u32>,
    pub(super) queue: Queue,
    /// Tasks that wait for their next attempt.
    pub(super) paused: RetryQueue,
    pub(super) window: Window,
    pub(super) phase: PoolPhase,
    /// Withholds offers because outcomes or callbacks cannot keep up.
    pub(super) backpressure: bool,
    /// Withholds offers because the parent has not confirmed an outcome.
    pub(super) unconfirmed: bool,
    /// Number of guests of the pool.
    pub(super) guests: u32,
    /// Largest number of guests of one process.
    pub(super) guests_per_process: usize,
    /// When each guest was last used.
    pub(super) recency: Recency,
    /// The first task in the queue and since when no worker has or will have its guest.
    pub(super) unserved: Option<(DispatchId, Time)>,
    /// Processes in a row that ended before they were ready.
    pub(super) failed_spawns: u32,
    /// A guest that no ready process has, and how many processes in a row failed to load it.
    pub(super) failed_loads: Option<(GuestId, u32)>,
    pub(super) failure: Option<String>,
}

/// Phase of the pool. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PoolPhase {
    Open,
    /// No more tasks will be accepted.
    Draining,
    /// No task starts any more.
    Interrupted,
    /// All workers are killed.
    Terminated,
}

impl Scheduler {
    /// Creates the state of a pool of `size` workers. None is spawned before a guest is loaded. Processes are replaced after
    /// `tasks_per_process` tasks. If outcomes are confirmed (`confirms`), a worker has at most one task in flight, since the next
    /// one would begin as soon as it ends.
    #[must_use]
    pub fn new(size: u32, tasks_per_process: Option<u32>, confirms: bool) -> Self {
        Self {
            workers: slots(WorkerId::slots(size, tasks_per_process)),
            size,
            max_waiting: 0,
            tasks_per_process,
            queue: Queue::default(),
            paused: RetryQueue::default(),
            window: Window::new(if confirms { Some(1) } else { tasks_per_process }),
            phase: PoolPhase::Open,
            backpressure: false,
            unconfirmed: false,
            guests: 0,
            guests_per_process: MAX_LOADED_GUESTS,
            recency: Recency::default(),
            unserved: None,
            failed_spawns: 0,
            failed_loads: None,
            failure: None,
        }
    }

    /// Lets the pool have up to `most` further workers while tasks wait for shared objects.
    #[must_use]
    pub fn lending(mut self, most: u32) -> Self {
        self.max_waiting = most;
        self.workers = slots(WorkerId::slots(self.size + most, self.tasks_per_process));
        self
    }

    /// Sets the number of guests. Workers that are spawned from now on can load them.
    pub fn guests_loaded(&mut self, count: u32) {
        self.guests = self.guests.max(count);
    }

    /// Queues a task, or fails it at once if no task starts any more.
    pub fn accept(&mut self, task: ScheduledTask, io: &mut impl Io) {
        debug_assert!(
            task.spec.guest.0 < self.guests,
            "a task names a guest that was loaded before"
        );
        match self.refusal(&task) {
            Some(refusal) => io.task_failed(task, None, refusal),
            None => {
                self.recency.note(task.spec.guest);
                self.queue.push(task);
            }
        }
    }

    /// Handles the report of a worker that it is ready.
    ///
    /// # Errors
    /// Fails if it was ready before.
    pub fn worker_ready(&mut self, worker: WorkerId, now: Time) -> Result<(), ProtocolFault> {
        if let Some(process) = self.process(worker) {
            process.ready(now)?;
            if process.lifecycle == Lifecycle::Serving {
                let loaded = process.guests.clone();
                self.failed_spawns = 0;
                self.failed_loads.take_if(|(guest, _)| loaded.contains(*guest));
            }
        }
        Ok(())
    }

    /// Handles the report that a task, or item of a chunk, ended after `length` (see
    /// [`counted_length`](super::counted_length)). Returns the task. The caller creates the outcome, or [tries it
    /// again](Self::tries_again).
    ///
    /// # Errors
    /// Fails if the worker cannot have run it.
    pub fn ended(
        &mut self,
        worker: WorkerId,
        offer: OfferId,
        length: Duration,
        now: Time,
        io: &mut impl Io,
    ) -> Result<EndedTask, ProtocolFault> {
        let process = self.process(worker).ok_or(ProtocolFault::NotNext)?;
        let ended = process.in_flight.end(offer, length, now, io)?;
        process.milestone = Milestone::RanTask;
        // A chunk counts as one task.
        process.ended += u32::from(ended.offer_length.is_some());
        let count = process.ended;
        process.reported(now);
        let is_serving = process.lifecycle == Lifecycle::Serving;
        if let Some(length) = ended.offer_length {
            self.window.observe(length.min(now.since(ended.run.claimed)));
            // A worker that was killed in the meantime stays killed.
            if is_serving && self.tasks_per_process.is_some_and(|most| count >= most) {
                self.slot(worker).retire(RetireReason::RanItsTasks, now, io);
            }
        }
        Ok(ended)
    }

    /// Returns id and attempt of the task that a worker runs, if any: that of its first offer.
    #[must_use]
    pub fn running(&self, worker: WorkerId) -> Option<(TaskId, u32)> {
        self.workers[worker.index()].process()?.in_flight.first()
    }

    /// Handles the report that a worker skipped a revoked offer.
    ///
    /// # Errors
    /// Fails if the offer was not revoked.
    pub fn skipped(&mut self, worker: WorkerId, offer: OfferId, now: Time) -> Result<(), ProtocolFault> {
        let process = self.process(worker).ok_or(ProtocolFault::NotNext)?;
        process.in_flight.skip(offer, now)?;
        process.reported(now);
        Ok(())
    }

    /// Records that a worker read from its full socket, which is a sign of life.
    pub fn note_read(&mut self, worker: WorkerId, now: Time) {
        if let Some(process) = self.process(worker) {
            process.in_flight.note_read(now);
        }
    }

    /// Kills a worker that broke the protocol. `fault` is part of its task's failure.
    pub fn protocol_broken(&mut self, worker: WorkerId, fault: String, now: Time, io: &mut impl Io) {
        self.slot(worker).kill(KillReason::Protocol(fault), now, io);
    }

    /// Handles the exit of a worker that was reaped. All its frames must have been reported before. Its shared page is read for the
    /// last time.
    pub fn worker_exited(&mut self, worker: WorkerId, exit: WorkerExit, now: Time, io: &mut impl Io) {
        self.remove(worker, Some(exit), now, io);
    }

    /// Cancels a task. Returns whether it had not ended. A running task ends soon.
    pub fn cancel(&mut self, id: DispatchId, now: Time, io: &mut impl Io) -> bool {
        if let Some(task) = self.queue.remove(id).or_else(|| self.paused.remove(id)) {
            let failure = cancelled_before_start(&task);
            io.task_failed(task, None, failure);
            return true;
        }
        for worker in &mut self.workers {
            if let SlotState::Live(process) = &mut worker.state
                && let Some(index) = process.in_flight.find(id)
            {
                if let Some(task) = process.in_flight.revoke(index, now, io) {
                    let failure = cancelled_before_start(&task);
                    io.task_failed(task, None, failure);
                } else if let Some(offer) = process.in_flight.note_cancel(index, now) {
                    io.cancel(worker.id, offer);
                    process.check_by(now + CANCEL_TIMEOUT);
                }
                return true;
            }
        }
        false
    }

    /// Ends the acceptance of tasks. When all have ended, the workers are retired.
    pub fn drain(&mut self) {
        self.phase = self.phase.max(PoolPhase::Draining);
    }

    /// Cancels all tasks that have not started, and all that are accepted later. Running tasks may end.
    pub fn interrupt(&mut self, now: Time, io: &mut impl Io) {
        self.phase = self.phase.max(PoolPhase::Interrupted);
        let offered = self
            .processes()
            .flat_map(|process| process.in_flight.revoke_all(now, io));
        let offered: Vec<ScheduledTask> = offered.collect();
        let waiting = self.queue.take_all().chain(self.paused.take_all());
        for task in offered.into_iter().chain(waiting) {
            let failure = cancelled_before_start(&task);
            io.task_failed(task, None, failure);
        }
    }

    /// Cancels all tasks and kills all workers. Running tasks end when their workers are reaped.
    pub fn terminate(&mut self, now: Time, io: &mut impl Io) {
        self.interrupt(now, io);
        self.phase = PoolPhase::Terminated;
        for worker in &mut self.workers {
            worker.kill(KillReason::Terminated, now, io);
        }
    }

    /// Sets whether offers are withheld because outcomes or callbacks cannot keep up. Offers that have not started return to the
    /// queue, except for large args that are on their way.
    pub fn set_backpressure(&mut self, on: bool, now: Time, io: &mut impl Io) {
        if on && !self.backpressure {
            let serving = self
                .processes()
                .filter(|process| process.lifecycle == Lifecycle::Serving);
            let offered = serving
                .flat_map(|process| process.in_flight.revoke_small(now, io))
                .collect();
            self.requeue(offered, io);
        }
        self.backpressure = on;
    }

    /// Sets whether offers are withheld because an outcome is not confirmed. Offers in flight stay with their workers.
    pub fn await_confirmation(&mut self, unconfirmed: bool) {
        self.unconfirmed = unconfirmed;
    }

    /// Handles timeouts. Call it after the events of the turn, which may be signs of life. All events until `handled_until` must
    /// have been reported. A timeout that ends later does not count yet, as this process itself may not have run since.
    pub fn tick(&mut self, handled_until: Time, now: Time, io: &mut impl Io) {
        let due = self.paused.due(now);
        self.requeue(due, io);
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            let id = worker.id;
            let Some(process) = worker
                .process_mut()
                .filter(|process| process.due <= handled_until)
            else {
                continue;
            };
            match process.lifecycle {
                Lifecycle::Starting => worker.kill(KillReason::NotReady, now, io),
                Lifecycle::Serving => self.check(id, handled_until, now, io),
                Lifecycle::Stalled => match process.in_flight.silent_until(STALL_TIMEOUT) {
                    until if handled_until < until => process.due = until,
                    _ => worker.kill(KillReason::Stalled, now, io),
                },
                Lifecycle::Retiring => worker.kill(KillReason::Terminated, now, io),
                Lifecycle::Killed(_) => {
                    self.remove(id, None, now, io);
                    io.abandon(id);
                }
            }
        }
    }

    /// Checks whether a worker claims and ends its tasks in time.
    fn check(&mut self, worker: WorkerId, handled_until: Time, now: Time, io: &mut impl Io) {
        let workers = WorkerId::slots(self.size, self.tasks_per_process) as usize;
        let Some(process) = self.process(worker) else {
            return;
        };
        match process.in_flight.check(handled_until, now, io) {
            ProgressCheck::NotDue(time) => process.due = time,
            ProgressCheck::DeadlineMissed => self.slot(worker).kill(KillReason::Overdue, now, io),
            ProgressCheck::CancelTimedOut => self.slot(worker).kill(KillReason::Cancelled, now, io),
            ProgressCheck::Unclaimed => {
                let mut tasks = process.in_flight.revoke_all(now, io);
                // The other tasks only waited behind it.
                if let Some(first) = tasks.first_mut() {
                    first.note_lost(workers);
                }
                let stalled = process.in_flight.outstanding() == 0;
                if stalled {
                    process.enter(Lifecycle::Stalled, now, now + STALL_TIMEOUT);
                }
                self.requeue(tasks, io);
                if !stalled {
                    // The remaining task was claimed in this moment, so it has a deadline now.
                    self.check(worker, handled_until, now, io);
                }
            }
        }
    }

    /// Puts tasks that have not started back into the queue, or fails them if no task starts any more.
    pub(super) fn requeue(&mut self, tasks: Vec<ScheduledTask>, io: &mut impl Io) {
        let mut kept = Vec::with_capacity(tasks.len());
        for task in tasks {
            match self.refusal(&task) {
                Some(refusal) => io.task_failed(task, None, refusal),
                None => kept.push(task),
            }
        }
        self.queue.requeue(kept);
    }

    /// Returns the failure of a task if no task starts any more.
    pub(super) fn refusal(&self, task: &ScheduledTask) -> Option<Failure> {
        if self.phase >= PoolPhase::Interrupted {
            return Some(cancelled_before_start(task));
        }
        let failure = self.failure.as_ref()?;
        Some(Failure::new(Kind::Crash, format!("the pool failed: {failure}")))
    }

    /// Returns the slot of a worker. Panics if there is none: ids come from [`Io::spawn`] and not from workers.
    pub(super) fn slot(&mut self, worker: WorkerId) -> &mut WorkerSlot {
        &mut self.workers[worker.index()]
    }

    pub(super) fn process(&mut self, worker: WorkerId) -> Option<&mut ProcessState> {
        self.slot(worker).process_mut()
    }

    pub(super) fn processes(&mut self) -> impl Iterator<Item = &mut ProcessState> {
        self.workers.iter_mut().filter_map(WorkerSlot::process_mut)
    }
}

fn slots(count: u32) -> Vec<WorkerSlot> {
    (0..count).map(|slot| WorkerSlot::new(WorkerId(slot))).collect()
}
