//! The scheduler: which worker runs which task, and what happens when one does not do what it should.
//!
//! It is a state machine without processes, sockets, clocks or threads. The event loop reports to it what
//! happened and what time it is; it acts through the small trait [`Io`]. So a test can drive it through millions
//! of random faults, and the rules of DESIGN.md section 1 stand in one place:
//!
//! - **Every accepted task ends exactly once.** A [`Task`] is one value that moves: from the queue into the hand of
//!   a worker and back, until it leaves, either by [`Scheduler::ended`] (the worker reported its end) or by
//!   [`Io::task_failed`] (the scheduler decided it).
//! - **No attempt runs twice.** What a worker has claimed is never taken from it. It ends with the worker. Another
//!   attempt begins only when the one before has failed, and the task's [`Retry`](mpwasm_types::retry::Retry) wants it.
//! - **No process runs more tasks than it is for**, which is one with [`Isolation::Process`](mpwasm_types::settings::Isolation). It has
//!   never more in hand than it may still run, and when the last has ended it is retired, before anything else can be
//!   decided about it.
//! - **Nobody waits for a worker for ever.** Each process has a time at which somebody looks at it again.
//! - **No task waits for ever for its guest.** A worker has the guests that it was started with. The first task in the
//!   queue always has one that takes it soon, or is starting for it, or else the next worker to be idle makes way.
//!   No worker takes a task before an older one that it could run.
//! - **Live state decides, not counters.** How many workers are missing, idle or outdated is computed from the
//!   slots whenever it is asked for.
//!
//! A turn of the event loop: report all events that are at hand (with the frames of a worker before its exit),
//! then [`tick`](Scheduler::tick), then [`assign`](Scheduler::assign), then sleep until
//! [`next_wakeup`](Scheduler::next_wakeup) or the next event.
//!
//! What a worker says is checked: a report that an honest worker cannot make is a [`ProtocolFault`], changes nothing, and
//! should be answered by [`protocol_broken`](Scheduler::protocol_broken).

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod assign;
mod chunk;
mod death;
mod guests;
mod in_flight;
mod io;
mod retry;
mod slot;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use death::{Death, cancelled_before_start};
use guests::{GuestSet, Recency};
pub use in_flight::EndedTask;
use in_flight::{Due, OfferedTask};
pub use io::{Io, KillReason, OfferId, ProtocolFault, RetireReason, WorkerExit, WorkerId};
use retry::RetryQueue;
use slot::{Lifecycle, Milestone, Process, SlotState, WorkerSlot};
pub use status::TaskPlace;
use task::Queue;
pub use task::{Claim, Task};
use window::Window;
pub use window::counted_length;

use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::{MAX_FAILED_SPAWNS, MAX_LOADED_GUESTS, STALL_TIMEOUT, WATCHDOG_GRACE};
use mpwasm_types::time::Time;

/// Offers of one worker that it has not reported on, revoked ones included: the slots of its shared page.
pub const MAX_UNREAD: usize = 2 * window::MAX_WINDOW;
/// Bytes of args that wait in one worker's socket behind its first task.
const MAX_BYTES_BEHIND: usize = 256 << 10;
/// Tasks are taken from a worker for an idle one only if it has not reported anything for so long: it costs more
/// than it gains while the worker goes through short ones.
const STEAL_DELAY: Duration = Duration::from_micros(200);
/// A worker that was told to exit and has not is killed after so long.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// A worker whose running task was cancelled and has not ended is killed after so long: a little more than what
/// its watchdog takes.
const CANCEL_TIMEOUT: Duration = WATCHDOG_GRACE.saturating_add(Duration::from_millis(50));

/// The state of the pool's tasks and workers.
#[derive(Debug)]
pub struct Scheduler {
    /// The slots, one or two for each of [`size`](Self::size) workers.
    workers: Vec<WorkerSlot>,
    size: u32,
    /// After so many a process is replaced.
    tasks_per_process: Option<u32>,
    queue: Queue,
    /// Tasks between two attempts.
    paused: RetryQueue,
    window: Window,
    phase: Phase,
    /// No offers: the outcomes or the callbacks cannot keep up.
    backpressure: bool,
    /// No offers: a task has ended whose outcome the parent has not confirmed.
    unconfirmed: bool,
    /// Guests that were loaded so far.
    guests: u32,
    /// Most guests of one process, if its pool has more.
    guests_per_process: usize,
    /// Which of them were used last.
    recency: Recency,
    /// The first task in the queue, if no worker has or will have its guest, and since when that is so.
    unserved: Option<(u64, Time)>,
    /// Processes that ended before they were ready, since one was.
    failed_spawns: u32,
    /// A guest that was to be loaded by such processes and that no other has, and how many these were.
    failed_loads: Option<(u32, u32)>,
    failure: Option<String>,
}

/// How the pool comes to its end; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// No more tasks will come.
    Draining,
    /// Nothing is started any more.
    Interrupted,
    /// Nothing runs any more.
    Terminated,
}

impl Scheduler {
    /// A pool of `size` workers, none of which is started before there is a guest, with processes that are replaced
    /// after so many tasks. Where outcomes are confirmed, a worker has no more than one task in in_flight: what waits behind it
    /// would begin as soon as it ends.
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

    /// Sets the number of loaded guests. Workers that are started from now on can have them.
    pub fn guests_loaded(&mut self, count: u32) {
        self.guests = self.guests.max(count);
    }

    /// A task was accepted. It is queued, or ends at once when nothing is started any more.
    pub fn accept(&mut self, task: Task, io: &mut impl Io) {
        debug_assert!(
            task.guest < self.guests,
            "a task names a guest that was loaded before"
        );
        match self.refusal(&task) {
            Some(refusal) => io.task_failed(task, None, refusal),
            None => {
                self.recency.note(task.guest);
                self.queue.push(task);
            }
        }
    }

    /// A worker reported to be ready.
    ///
    /// # Errors
    /// When it had done so before.
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

    /// A worker reported the end of the task, or item of a chunk, that it ran, whose [`counted_length`] was this. It is the
    /// caller's now, who makes the outcome, or asks whether the task is to be [tried again](Self::tries_again).
    ///
    /// # Errors
    /// When the worker cannot have run it.
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
        // A chunk is offered as one, and counts as one.
        process.ended += u32::from(ended.whole.is_some());
        let count = process.ended;
        process.reported(now);
        let is_serving = process.lifecycle == Lifecycle::Serving;
        if let Some(whole) = ended.whole {
            self.window.observe(whole.min(now.since(ended.run.claimed)));
            // One that was killed in the meantime stays killed.
            if is_serving && self.tasks_per_process.is_some_and(|most| count >= most) {
                self.slot(worker).retire(RetireReason::RanItsTasks, now, io);
            }
        }
        Ok(ended)
    }

    /// The id and the attempt of the task that a worker runs, if it runs one: it handles what it was sent in order, and says so
    /// when it goes on to the next.
    #[must_use]
    pub fn running(&self, worker: WorkerId) -> Option<(u64, u32)> {
        self.workers[worker.0 as usize].process()?.in_flight.first()
    }

    /// A worker read an offer that had been revoked.
    ///
    /// # Errors
    /// When it had not been.
    pub fn skipped(&mut self, worker: WorkerId, offer: OfferId, now: Time) -> Result<(), ProtocolFault> {
        let process = self.process(worker).ok_or(ProtocolFault::NotNext)?;
        process.in_flight.skip(offer, now)?;
        process.reported(now);
        Ok(())
    }

    /// A worker took in some of what it was sent, and there is more: a sign of life. What goes into its socket at
    /// once is none.
    pub fn note_read(&mut self, worker: WorkerId, now: Time) {
        if let Some(process) = self.process(worker) {
            process.in_flight.note_read(now);
        }
    }

    /// A worker did what an honest one does not. It is killed, and `fault` says why in what becomes of its task.
    pub fn protocol_broken(&mut self, worker: WorkerId, fault: String, now: Time, io: &mut impl Io) {
        self.slot(worker).kill(KillReason::Protocol(fault), now, io);
    }

    /// A worker was reaped. Everything that it had sent was reported before. Its slot of the shared page is
    /// looked at for the last time.
    pub fn worker_exited(&mut self, worker: WorkerId, exit: WorkerExit, now: Time, io: &mut impl Io) {
        self.remove(worker, Some(exit), now, io);
    }

    /// Cancels a task wherever it is. Returns whether it was there; when it runs, it ends soon.
    pub fn cancel(&mut self, id: u64, now: Time, io: &mut impl Io) -> bool {
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

    /// No more tasks will come. When all have ended, the workers are retired.
    pub fn drain(&mut self) {
        self.phase = self.phase.max(Phase::Draining);
    }

    /// Cancels what has not started, now and whatever is accepted later. What runs may end.
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

    /// Cancels everything and kills all workers. What they run ends when they are reaped.
    pub fn terminate(&mut self, now: Time, io: &mut impl Io) {
        self.interrupt(now, io);
        self.phase = Phase::Terminated;
        for worker in &mut self.workers {
            worker.kill(KillReason::Terminated, now, io);
        }
    }

    /// Holds offers back, or lets them go again: the back-pressure of outcomes and callbacks. What had been offered
    /// and has not started returns to the queue, but for large args that are on their way.
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

    /// Holds offers back while the outcome of a task that has ended is not confirmed. What was offered before stays with its
    /// worker.
    pub fn await_confirmation(&mut self, unconfirmed: bool) {
        self.unconfirmed = unconfirmed;
    }

    /// Does what has become due. To be called after the events of the turn: they may be signs of life. What had come by
    /// `heard` was among them, so nobody is late before that: it may be this process that was not run since.
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

    /// Looks whether a worker does with what it was offered what it should.
    fn check(&mut self, worker: WorkerId, heard: Time, now: Time, io: &mut impl Io) {
        let workers = self.workers.len();
        let Some(process) = self.process(worker) else {
            return;
        };
        match process.in_flight.due(heard, now, io) {
            Due::Later(time) => process.due = time,
            Due::Overdue => self.slot(worker).kill(KillReason::Overdue, now, io),
            Due::Uncancelled => self.slot(worker).kill(KillReason::Cancelled, now, io),
            Due::Unclaimed => {
                let mut tasks = process.in_flight.revoke_all(now, io);
                // The others only stood behind it.
                if let Some(first) = tasks.first_mut() {
                    first.note_lost(workers);
                }
                let stalled = process.in_flight.outstanding() == 0;
                if stalled {
                    process.enter(Lifecycle::Stalled, now, now + STALL_TIMEOUT);
                }
                self.requeue(tasks, io);
                if !stalled {
                    // What remains was claimed at this very moment: now there is a deadline.
                    self.check(worker, heard, now, io);
                }
            }
        }
    }

    /// Ends or gives back what a worker had in hand that is no more, and frees its slot.
    fn remove(&mut self, worker: WorkerId, exit: Option<WorkerExit>, now: Time, io: &mut impl Io) {
        let Some(mut process) = self.slot(worker).vacate(now) else {
            return;
        };
        let killed = match &process.lifecycle {
            Lifecycle::Killed(reason) => Some(reason),
            _ => None,
        };
        let death = Death {
            killed,
            exit,
            at: now,
        };
        let mut unharmed = Vec::new();
        for OfferedTask { mut task, claim } in process.in_flight.take_all(now, io) {
            if let Some(claim) = claim {
                process.milestone = Milestone::RanTask;
                let (mut begun, rest) = task.split_begun(claim.begun);
                if let Some(last) = begun.pop() {
                    for task in begun {
                        io.task_failed(task, Some(claim.run), death.of_unreported());
                    }
                    let failure = death.of_claimed(&last, &claim);
                    let kind = failure.kind;
                    if self.tries_again(&last, kind) {
                        io.attempt_failed(&last, claim.run, failure);
                        self.try_again(last, kind, now);
                    } else {
                        io.task_failed(last, Some(claim.run), failure);
                    }
                }
                match rest {
                    Some(rest) if claim.cancelled.is_some() => {
                        let failure = cancelled_before_start(&rest);
                        io.task_failed(rest, None, failure)
                    }
                    rest => unharmed.extend(rest),
                }
                continue;
            }
            if task.note_death_before_claim() {
                let failure = death.of_unclaimed(&task);
                io.task_failed(task, None, failure);
            } else {
                unharmed.push(task);
            }
        }
        self.requeue(unharmed, io);
        self.slot(worker).pause_after(&process, now);
        if process.milestone == Milestone::Spawned && !process.exited_on_request() {
            let is_partial = process.guests.len() < self.guests as usize;
            if is_partial {
                self.note_failed_load(&process.guests, &death.describe(), io);
            }
            self.note_failed_spawn(is_partial, &death.describe(), now, io);
        }
    }

    /// A process ended before it was ready. When that was so too often, and no other one is ready, the pool has
    /// failed. Where the processes had not all guests, one guest may have been the reason: others get a chance after it.
    fn note_failed_spawn(&mut self, is_partial: bool, how: &str, now: Time, io: &mut impl Io) {
        self.failed_spawns += 1;
        let ready =
            |process: &mut Process| matches!(process.lifecycle, Lifecycle::Serving | Lifecycle::Stalled);
        let most = if is_partial {
            2 * MAX_FAILED_SPAWNS
        } else {
            MAX_FAILED_SPAWNS
        };
        if self.failed_spawns < most || self.failure.is_some() || self.processes().any(ready) {
            return;
        }
        let starts = self.failed_spawns;
        self.failure = Some(format!(
            "{starts} workers in a row ended before they were ready; the last one {how}"
        ));
        let tasks = self.queue.take_all().chain(self.paused.take_all()).collect();
        self.requeue(tasks, io);
        for worker in &mut self.workers {
            worker.kill(KillReason::Terminated, now, io);
        }
    }

    /// A process ended before it was ready, and was to load these guests. When that was so too often for the first task's
    /// guest, the guest's tasks end: other guests may have workers.
    fn note_failed_load(&mut self, guests: &GuestSet, how: &str, io: &mut impl Io) {
        let Some(guest) = self
            .queue
            .front()
            .map(|task| task.guest)
            .filter(|&guest| guests.contains(guest))
        else {
            return;
        };
        let has_it = |process: &mut Process| {
            matches!(process.lifecycle, Lifecycle::Serving | Lifecycle::Stalled)
                && process.guests.contains(guest)
        };
        if self.failure.is_some() || self.processes().any(has_it) {
            return;
        }
        let before = self.failed_loads.filter(|&(other, _)| other == guest);
        let count = before.map_or(0, |(_, count)| count) + 1;
        self.failed_loads = Some((guest, count));
        if count < MAX_FAILED_SPAWNS {
            return;
        }
        self.failed_loads = None;
        let message = format!(
            "{count} workers in a row that were to load its guest ended before they were ready; the last one {how}"
        );
        self.queue.retain_mut(|task| {
            if task.guest != guest {
                return Some(task);
            }
            io.task_failed(task, None, Failure::new(Kind::Crash, message.clone()));
            None
        });
    }

    /// Puts tasks that have not started back where they were, or ends them when nothing is started any more.
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

    /// How a task ends that is not to be started any more.
    fn refusal(&self, task: &Task) -> Option<Failure> {
        if self.phase >= Phase::Interrupted {
            return Some(cancelled_before_start(task));
        }
        let failure = self.failure.as_ref()?;
        Some(Failure::new(Kind::Crash, format!("the pool failed: {failure}")))
    }

    /// Panics when there is no such slot: ids come from [`Io::spawn`], not from workers.
    fn slot(&mut self, worker: WorkerId) -> &mut WorkerSlot {
        &mut self.workers[worker.0 as usize]
    }

    fn process(&mut self, worker: WorkerId) -> Option<&mut Process> {
        self.slot(worker).process_mut()
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.workers.iter_mut().filter_map(WorkerSlot::process_mut)
    }
}
