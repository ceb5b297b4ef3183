//! A slot of the pool and the worker process in it.

use std::mem;
use std::time::Duration;

use super::guest_set::GuestSet;
use super::in_flight::InFlight;
use super::io::{Io, KillReason, ProtocolFault, RetireReason, SpawnReason};
use super::task::CLAIM_TIMEOUT;
use mpwasm_types::ids::{GuestId, WorkerId};
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::REAP_TIMEOUT;

/// Time without a report after which a worker is assumed to run a long task. A task that only this worker could run is then
/// worth another process, which starts in some milliseconds.
pub(super) const LONG_TASK_THRESHOLD: Duration = Duration::from_millis(20);
/// Time from the start of a worker until it must be ready. After that it is killed.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);
/// First backoff after a failed spawn. It doubles up to [`MAX_RESPAWN_DELAY`].
pub(super) const RESPAWN_DELAY: Duration = Duration::from_millis(10);
/// Longest backoff between two spawns in one slot.
const MAX_RESPAWN_DELAY: Duration = Duration::from_secs(1);

/// Time in which a retired worker must exit before it is killed.
pub(super) const RETIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// A slot with at most one process.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    pub id: WorkerId,
    pub state: SlotState,
    /// Backoff before the next spawn if this process fails.
    backoff: Duration,
}

#[derive(Debug)]
pub(super) enum SlotState {
    /// No process. The next one may be spawned at this time.
    Vacant { from: Time },
    /// A process that has not been reaped.
    Live(ProcessState),
}

/// A worker process.
#[derive(Debug)]
pub(super) struct ProcessState {
    pub lifecycle: Lifecycle,
    /// When its state began.
    pub since: Time,
    /// When `tick` checks it again.
    pub due: Time,
    /// How far it has come, which decides about the backoff of the next spawn.
    pub milestone: Milestone,
    /// The guests that it loads at its start. It can run no others.
    pub guests: GuestSet,
    /// Its offers. They are kept until it is reaped, since reports may arrive from a killed process.
    pub in_flight: InFlight,
    /// Tasks and whole chunks that it has completed.
    pub ended: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// Spawned and not ready yet. Must be ready at `due`.
    Starting,
    /// Takes offers.
    Serving,
    /// Did not claim its offers in time. They were revoked, and it gets no more until its next report.
    Stalled,
    /// Asked to exit.
    Retiring,
    /// SIGKILL was sent.
    Killed(KillReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    Spawned,
    Ready,
    /// A task ended in it, if only with the process.
    RanTask,
}

impl WorkerSlot {
    pub fn new(id: WorkerId) -> Self {
        Self {
            id,
            state: SlotState::Vacant { from: Time(0) },
            backoff: RESPAWN_DELAY,
        }
    }

    pub fn process(&self) -> Option<&ProcessState> {
        match &self.state {
            SlotState::Live(process) => Some(process),
            SlotState::Vacant { .. } => None,
        }
    }

    pub fn process_mut(&mut self) -> Option<&mut ProcessState> {
        match &mut self.state {
            SlotState::Live(process) => Some(process),
            SlotState::Vacant { .. } => None,
        }
    }

    /// Returns whether its process serves or is starting.
    pub fn is_active(&self) -> bool {
        self.process()
            .is_some_and(|process| matches!(process.lifecycle, Lifecycle::Starting | Lifecycle::Serving))
    }

    /// Returns whether it has a process that no other may replace yet. A retiring process has nothing in flight and gets no more
    /// offers, so it does not count.
    pub fn is_taken(&self) -> bool {
        self.process()
            .is_some_and(|process| process.lifecycle != Lifecycle::Retiring)
    }

    /// Spawns a process in a vacant slot.
    pub fn spawn(&mut self, guests: &[GuestId], reason: SpawnReason, now: Time, io: &mut impl Io) {
        debug_assert!(self.process().is_none(), "one process per slot");
        io.spawn(self.id, guests, reason);
        self.state = SlotState::Live(ProcessState {
            lifecycle: Lifecycle::Starting,
            since: now,
            due: now + START_TIMEOUT,
            milestone: Milestone::Spawned,
            guests: guests.iter().copied().collect(),
            in_flight: InFlight::new(self.id),
            ended: 0,
        });
    }

    /// Asks a process without tasks to exit.
    pub fn retire(&mut self, reason: RetireReason, now: Time, io: &mut impl Io) {
        if let SlotState::Live(process) = &mut self.state {
            io.retire(self.id, reason);
            process.enter(Lifecycle::Retiring, now, now + RETIRE_TIMEOUT);
        }
    }

    /// Kills the process, unless it was killed before. The first reason is kept.
    pub fn kill(&mut self, reason: KillReason, now: Time, io: &mut impl Io) {
        if let SlotState::Live(process) = &mut self.state
            && !matches!(process.lifecycle, Lifecycle::Killed(_))
        {
            io.kill(self.id, &reason);
            process.enter(Lifecycle::Killed(reason), now, now + REAP_TIMEOUT);
        }
    }

    /// Removes the process, if any.
    pub fn vacate(&mut self, now: Time) -> Option<ProcessState> {
        match mem::replace(&mut self.state, SlotState::Vacant { from: now }) {
            SlotState::Live(process) => Some(process),
            vacant @ SlotState::Vacant { .. } => {
                self.state = vacant;
                None
            }
        }
    }

    /// Sets the backoff before the next spawn. It grows while processes end without a task. After a process in which a task ended,
    /// even by a crash, there is none: the number of tasks bounds how often that happens.
    pub fn set_backoff(&mut self, process: &ProcessState, now: Time) {
        if process.milestone == Milestone::RanTask {
            self.backoff = RESPAWN_DELAY;
        } else if !process.exited_on_request() {
            self.state = SlotState::Vacant {
                from: now + self.backoff,
            };
            self.backoff = (2 * self.backoff).min(MAX_RESPAWN_DELAY);
        }
    }
}

impl ProcessState {
    /// Enters a state that is checked again at `due`.
    pub fn enter(&mut self, lifecycle: Lifecycle, now: Time, due: Time) {
        self.lifecycle = lifecycle;
        self.since = now;
        self.due = due;
    }

    /// Handles the report that it is ready.
    pub fn ready(&mut self, now: Time) -> Result<(), ProtocolFault> {
        match self.lifecycle {
            Lifecycle::Starting => {
                self.enter(Lifecycle::Serving, now, Time::NEVER);
                self.milestone = Milestone::Ready;
                Ok(())
            }
            // The report was sent before the signal arrived.
            Lifecycle::Killed(_) => Ok(()),
            Lifecycle::Serving | Lifecycle::Stalled | Lifecycle::Retiring => Err(ProtocolFault::ReadyTwice),
        }
    }

    /// Returns whether it may be offered tasks of this guest.
    pub fn serves(&self, guest: GuestId) -> bool {
        self.lifecycle == Lifecycle::Serving && self.guests.contains(guest) && !self.in_flight.is_waiting()
    }

    /// Returns whether it serves and its task waits for a shared object.
    pub fn is_waiting(&self) -> bool {
        self.lifecycle == Lifecycle::Serving && self.in_flight.is_waiting()
    }

    /// Returns whether it serves and has nothing in flight.
    pub fn is_idle(&self) -> bool {
        self.lifecycle == Lifecycle::Serving && self.in_flight.is_empty()
    }

    /// Returns since when it has been idle: it was ready then, or reported the end of its last task.
    pub fn idle_since(&self) -> Time {
        self.since.max(self.in_flight.since())
    }

    /// Returns whether it has no tasks, so that it may be asked to exit.
    pub fn can_retire(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Serving | Lifecycle::Stalled) && self.in_flight.outstanding() == 0
    }

    /// Returns whether it has reported nothing for [`LONG_TASK_THRESHOLD`], so that its waiting tasks may wait for long.
    pub fn is_silent(&self, now: Time) -> bool {
        !self.in_flight.is_empty() && self.in_flight.since() + LONG_TASK_THRESHOLD <= now
    }

    /// Returns whether it may be offered another task before it has had `tasks_per_process`.
    pub fn has_room(&self, tasks_per_process: Option<u32>) -> bool {
        tasks_per_process
            .is_none_or(|most| self.ended as usize + self.in_flight.outstanding() < most as usize)
    }

    /// Returns whether it was asked to exit or terminated, so that its exit is no failure.
    pub fn exited_on_request(&self) -> bool {
        matches!(
            self.lifecycle,
            Lifecycle::Retiring | Lifecycle::Killed(KillReason::Terminated)
        )
    }

    /// Handles a report on an offer. The next offer must now be claimed in time, and may have a shorter timeout than the last.
    pub fn reported(&mut self, now: Time) {
        if self.lifecycle == Lifecycle::Stalled {
            self.enter(Lifecycle::Serving, now, Time::NEVER);
        }
        if !self.in_flight.is_empty() {
            self.check_by(now + CLAIM_TIMEOUT);
        }
    }

    /// Ensures that its first offer is checked no later than at `time`.
    pub fn check_by(&mut self, time: Time) {
        if self.lifecycle == Lifecycle::Serving {
            self.due = self.due.min(time);
        }
    }
}
