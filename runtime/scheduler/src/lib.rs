//! Decides which worker runs which task, and handles workers that fail.
//!
//! The scheduler is a state machine without processes, sockets, clocks or threads. The event loop reports events and the time,
//! and the scheduler acts through the trait [`Io`]. So tests can drive it through millions of random faults. Its invariants:
//!
//! - **Every accepted task ends exactly once.** A [`Task`] is one value that moves between the queue and the offers of workers
//!   until it leaves by [`Scheduler::ended`] (the worker reported its end) or [`Io::task_failed`] (the scheduler ended it).
//! - **No attempt runs twice.** A claimed task is never offered to another worker. If its worker ends, the attempt has failed. Another
//!   attempt follows only if the task's [`Retry`](mpwasm_types::retry::Retry) policy allows it.
//! - **No process runs more tasks than it may**, which is one with [`Isolation::Process`](mpwasm_types::settings::Isolation). It never
//!   has more in flight than it may still run, and is retired as soon as the last one ends.
//! - **No worker is waited for forever.** Each process has a time at which it is checked again.
//! - **No task waits forever for its guest.** A worker has the guests that it was spawned with. For the first task in the queue, a
//!   worker will take it soon or is starting, or else the next idle worker is replaced. No worker gets a task before an older
//!   one that it could run.
//! - **State is computed, not counted.** The numbers of missing and idle workers are computed from the slots when needed.
//!
//! A turn of the event loop: report all pending events (the frames of a worker before its exit), then [`tick`](Scheduler::tick), then [`assign`](Scheduler::assign), then sleep until
//! [`next_wakeup`](Scheduler::next_wakeup) or the next event.
//!
//! Workers are not trusted. A report that an honest worker cannot make is a [`ProtocolFault`] and changes nothing. The caller then
//! calls [`protocol_broken`](Scheduler::protocol_broken).

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod assign;
mod chunk;
mod death;
mod guest_set;
mod guests;
mod in_flight;
mod io;
mod removal;
mod retry;
mod slot;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use death::cancelled_before_start;
use guests::Recency;
pub use in_flight::EndedTask;
use in_flight::ProgressCheck;
pub use io::{Io, KillReason, ProtocolFault, RetireReason, WorkerExit};
use retry::RetryQueue;
use slot::{Lifecycle, Milestone, ProcessState, SlotState, WorkerSlot};
pub use status::TaskPlace;
use task::Queue;
pub use task::{Claim, Task};
use window::Window;
pub use window::counted_length;

use mpwasm_types::ids::{DispatchId, GuestId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::{MAX_LOADED_GUESTS, STALL_TIMEOUT, WATCHDOG_GRACE};
use mpwasm_types::time::Time;

/// Largest number of offers of one worker in flight, including revoked ones: the entries of its shared page.
pub const MAX_UNREAD: usize = 2 * window::MAX_WINDOW;
/// Bytes of args that may wait in a worker's socket behind its first task.
const MAX_BYTES_BEHIND: usize = 256 << 10;
/// Time without a report after which tasks may be stolen from a worker. While it runs short tasks, stealing costs more than it
/// gains.
const STEAL_DELAY: Duration = Duration::from_micros(200);
/// Time in which a retired worker must exit before it is killed.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which a cancelled task must end before its worker is killed: slightly longer than its watchdog takes.
const CANCEL_TIMEOUT: Duration = WATCHDOG_GRACE.saturating_add(Duration::from_millis(50));

/// The state of the pool's tasks and workers.
#[derive(Debug)]
pub struct Scheduler {
    /// The slots, one or two for each of [`size`](Self::size) workers.
    workers: Vec<WorkerSlot>,
    size: u32,
    /// Number of tasks after which a process is replaced.
    tasks_per_process: Option<u32>,
    queue: Queue,
    /// Tasks that wait for their next attempt.
    paused: RetryQueue,
    window: Window,
    phase: Phase,
    /// Withholds offers because outcomes or callbacks cannot keep up.
    backpressure: bool,
    /// Withholds offers because the parent has not confirmed an outcome.
    unconfirmed: bool,
    /// Number of guests of the pool.
    guests: u32,
    /// Largest number of guests of one process.
    guests_per_process: usize,
    /// When each guest was last used.
    recency: Recency,
    /// The first task in the queue and since when no worker has or will have its guest.
    unserved: Option<(DispatchId, Time)>,
    /// Processes in a row that ended before they were ready.
    failed_spawns: u32,
    /// A guest that no ready process has, and how many processes in a row failed to load it.
    failed_loads: Option<(GuestId, u32)>,
    failure: Option<String>,
}

/// Phase of the pool. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// No more tasks will be accepted.
    Draining,
    /// No task starts any more.
    Interrupted,
    /// All workers are killed.
    Terminated,
}

impl Scheduler {
    /// Creates a pool of `size` workers. None is spawned before a guest is loaded. Processes are replaced after `tasks_per_process`
    /// tasks. If outcomes are confirmed (`confirms`), a worker has at most one task in flight, since the next one would begin as
    /// soon as it ends.
    #[must_use]
    pub fn new(size: u32, tasks_per_process: Option<u32>, confirms: bool) -> Self {
        let slots = 0..WorkerId::slots(size, tasks_per_process);
        Self {
            workers: slots.map(|slot| WorkerSlot::new(WorkerId(slot))).collect(),
            size,
            tasks_per_process,
            queue: Queue::default(),
            paused: RetryQueue::default(),
            window: Window::new(if confirms { Some(1) } else { tasks_per_process }),
            phase: Phase::Open,
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

    /// Sets the number of guests. Workers that are spawned from now on can load them.
    pub fn guests_loaded(&mut self, count: u32) {
        self.guests = self.guests.max(count);
    }

    /// Queues a task, or fails it at once if no task starts any more.
    pub fn accept(&mut self, task: Task, io: &mut impl Io) {
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

    /// Handles the report that a task, or item of a chunk, ended after `length` (see [`counted_length`]). Returns the task. The caller
    /// creates the outcome, or [tries it again](Self::tries_again).
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
        self.phase = self.phase.max(Phase::Draining);
    }

    /// Cancels all tasks that have not started, and all that are accepted later. Running tasks may end.
    pub fn interrupt(&mut self, now: Time, io: &mut impl Io) {
        self.phase = self.phase.max(Phase::Interrupted);
        let offered = self
            .processes()
            .flat_map(|process| process.in_flight.revoke_all(now, io));
        let offered: Vec<Task> = offered.collect();
        let waiting = self.queue.take_all().chain(self.paused.take_all());
        for task in offered.into_iter().chain(waiting) {
            let failure = cancelled_before_start(&task);
            io.task_failed(task, None, failure);
        }
    }

    /// Cancels all tasks and kills all workers. Running tasks end when their workers are reaped.
    pub fn terminate(&mut self, now: Time, io: &mut impl Io) {
        self.interrupt(now, io);
        self.phase = Phase::Terminated;
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

    /// Handles timeouts. Call it after the events of the turn, which may be signs of life. All events up to `heard` must have been
    /// reported: a worker is late only before `heard`, since this process itself may not have run since.
    pub fn tick(&mut self, heard: Time, now: Time, io: &mut impl Io) {
        let due = self.paused.due(now);
        self.requeue(due, io);
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            let id = worker.id;
            let Some(process) = worker.process_mut().filter(|process| process.due <= heard) else {
                continue;
            };
            match process.lifecycle {
                Lifecycle::Starting => worker.kill(KillReason::NotReady, now, io),
                Lifecycle::Serving => self.check(id, heard, now, io),
                Lifecycle::Stalled => match process.in_flight.silent_until(STALL_TIMEOUT) {
                    until if heard < until => process.due = until,
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
    fn check(&mut self, worker: WorkerId, heard: Time, now: Time, io: &mut impl Io) {
        let workers = self.workers.len();
        let Some(process) = self.process(worker) else {
            return;
        };
        match process.in_flight.check(heard, now, io) {
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
                    self.check(worker, heard, now, io);
                }
            }
        }
    }

    /// Puts tasks that have not started back into the queue, or fails them if no task starts any more.
    fn requeue(&mut self, tasks: Vec<Task>, io: &mut impl Io) {
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
    fn refusal(&self, task: &Task) -> Option<Failure> {
        if self.phase >= Phase::Interrupted {
            return Some(cancelled_before_start(task));
        }
        let failure = self.failure.as_ref()?;
        Some(Failure::new(Kind::Crash, format!("the pool failed: {failure}")))
    }

    /// Panics if there is no such slot. Ids come from [`Io::spawn`] and not from workers.
    fn slot(&mut self, worker: WorkerId) -> &mut WorkerSlot {
        &mut self.workers[worker.index()]
    }

    fn process(&mut self, worker: WorkerId) -> Option<&mut ProcessState> {
        self.slot(worker).process_mut()
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut ProcessState> {
        self.workers.iter_mut().filter_map(WorkerSlot::process_mut)
    }
}
