//! One slot of the pool and the process in it.

use std::mem;
use std::time::Duration;

use super::RETIRE_TIMEOUT;
use super::guests::GuestSet;
use super::in_flight::InFlight;
use super::io::{Io, KillReason, ProtocolFault, RetireReason, WorkerId};
use mpwasm_types::settings::{
    CLAIM_TIMEOUT, LONG_TASK_THRESHOLD, MAX_RESPAWN_DELAY, REAP_TIMEOUT, RESPAWN_DELAY, START_TIMEOUT,
};
use mpwasm_types::time::Time;

/// A slot. It has at most one process, and remembers how its processes fared.
#[derive(Debug)]
pub(super) struct WorkerSlot {
    pub id: WorkerId,
    pub state: SlotState,
    /// What the next process has to wait if this one comes to nothing.
    delay: Duration,
}

#[derive(Debug)]
pub(super) enum SlotState {
    /// No process; a new one may be started from then on.
    Vacant { from: Time },
    /// A process that has not been reaped.
    Live(Process),
}

/// A worker process.
#[derive(Debug)]
pub(super) struct Process {
    pub lifecycle: Lifecycle,
    /// When that began.
    pub since: Time,
    /// When somebody must look at it again: the end of the lifecycle, or for [`Lifecycle::Serving`] the next check.
    pub due: Time,
    /// What came of it so far.
    pub milestone: Milestone,
    /// The guests that it loads at its start: it can run these and no others.
    pub guests: GuestSet,
    /// What it was sent. It is kept to the end: reports may arrive from a process that was killed.
    pub in_flight: InFlight,
    /// Tasks and whole chunks that ended in it.
    pub ended: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// Started, and not ready until `due` at the latest.
    Starting,
    /// It takes offers.
    Serving,
    /// It did not take what it was offered. All of it was revoked, and it gets no more until it shows life.
    Stalled,
    /// It was told to exit.
    Retiring,
    /// SIGKILL was sent.
    Killed(KillReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    Spawned,
    Ready,
    /// A task ended in it, or with it.
    RanTask,
}

impl WorkerSlot {
    pub fn new(id: WorkerId) -> Self {
        Self {
            id,
            state: SlotState::Vacant { from: Time(0) },
            delay: RESPAWN_DELAY,
        }
    }

    pub fn process(&self) -> Option<&Process> {
        match &self.state {
            SlotState::Live(process) => Some(process),
            SlotState::Vacant { .. } => None,
        }
    }

    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.state {
            SlotState::Live(process) => Some(process),
            SlotState::Vacant { .. } => None,
        }
    }

    /// Whether it is there to serve: now, or once it is ready.
    pub fn is_active(&self) -> bool {
        self.process()
            .is_some_and(|process| matches!(process.lifecycle, Lifecycle::Starting | Lifecycle::Serving))
    }

    /// Whether there is a process in whose place no other may come yet. One that was told to exit has nothing in hand,
    /// and never will.
    pub fn is_taken(&self) -> bool {
        self.process()
            .is_some_and(|process| process.lifecycle != Lifecycle::Retiring)
    }

    /// Starts a process in a vacant slot.
    pub fn spawn(&mut self, guests: &[u32], now: Time, io: &mut impl Io) {
        debug_assert!(self.process().is_none(), "one process per slot");
        io.spawn(self.id, guests);
        self.state = SlotState::Live(Process {
            lifecycle: Lifecycle::Starting,
            since: now,
            due: now + START_TIMEOUT,
            milestone: Milestone::Spawned,
            guests: guests.iter().copied().collect(),
            in_flight: InFlight::new(self.id),
            ended: 0,
        });
    }

    /// Lets a process that has nothing to run exit.
    pub fn retire(&mut self, reason: RetireReason, now: Time, io: &mut impl Io) {
        if let SlotState::Live(process) = &mut self.state {
            io.retire(self.id, reason);
            process.enter(Lifecycle::Retiring, now, now + RETIRE_TIMEOUT);
        }
    }

    /// Kills the process, if there is one and it was not killed before: the first reason stands.
    pub fn kill(&mut self, reason: KillReason, now: Time, io: &mut impl Io) {
        if let SlotState::Live(process) = &mut self.state
            && !matches!(process.lifecycle, Lifecycle::Killed(_))
        {
            io.kill(self.id, &reason);
            process.enter(Lifecycle::Killed(reason), now, now + REAP_TIMEOUT);
        }
    }

    /// The process is gone, if there was one.
    pub fn vacate(&mut self, now: Time) -> Option<Process> {
        match mem::replace(&mut self.state, SlotState::Vacant { from: now }) {
            SlotState::Live(process) => Some(process),
            vacant @ SlotState::Vacant { .. } => {
                self.state = vacant;
                None
            }
        }
    }

    /// A slot whose processes come to nothing is filled again after a growing delay. One in which tasks end, if
    /// only by crashing, is filled at once: the tasks bound how often that happens.
    pub fn pause_after(&mut self, process: &Process, now: Time) {
        if process.milestone == Milestone::RanTask {
            self.delay = RESPAWN_DELAY;
        } else if !process.exited_on_request() {
            self.state = SlotState::Vacant {
                from: now + self.delay,
            };
            self.delay = (2 * self.delay).min(MAX_RESPAWN_DELAY);
        }
    }
}

impl Process {
    /// It begins a lifecycle, and is looked at again when that is `due`.
    pub fn enter(&mut self, lifecycle: Lifecycle, now: Time, due: Time) {
        self.lifecycle = lifecycle;
        self.since = now;
        self.due = due;
    }

    /// It reported to be ready.
    pub fn ready(&mut self, now: Time) -> Result<(), ProtocolFault> {
        match self.lifecycle {
            Lifecycle::Starting => {
                self.enter(Lifecycle::Serving, now, Time::NEVER);
                self.milestone = Milestone::Ready;
                Ok(())
            }
            // The report and the signal crossed.
            Lifecycle::Killed(_) => Ok(()),
            Lifecycle::Serving | Lifecycle::Stalled | Lifecycle::Retiring => Err(ProtocolFault::ReadyTwice),
        }
    }

    /// Whether it may be offered tasks of this guest.
    pub fn serves(&self, guest: u32) -> bool {
        self.lifecycle == Lifecycle::Serving && self.guests.contains(guest)
    }

    /// Whether it serves, and has nothing in hand.
    pub fn is_idle(&self) -> bool {
        self.lifecycle == Lifecycle::Serving && self.in_flight.is_empty()
    }

    /// Whether it has nothing to run, so that it may be told to exit.
    pub fn can_retire(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Serving | Lifecycle::Stalled) && self.in_flight.outstanding() == 0
    }

    /// Whether it has reported nothing for [`LONG_TASK_THRESHOLD`], so that what waits in its hand may wait for long.
    pub fn is_silent(&self, now: Time) -> bool {
        !self.in_flight.is_empty() && self.in_flight.since() + LONG_TASK_THRESHOLD <= now
    }

    /// Whether it may be offered one more task, when it is for so many.
    pub fn has_room(&self, tasks_per_process: Option<u32>) -> bool {
        tasks_per_process
            .is_none_or(|most| self.ended as usize + self.in_flight.outstanding() < most as usize)
    }

    /// Whether it was told to go because it was not needed, so that its exit says nothing against it.
    pub fn exited_on_request(&self) -> bool {
        matches!(
            self.lifecycle,
            Lifecycle::Retiring | Lifecycle::Killed(KillReason::Terminated)
        )
    }

    /// It reported on an offer. What is now its first offer has to be taken in time, and it may be one with a
    /// shorter timeout than the one before.
    pub fn reported(&mut self, now: Time) {
        if self.lifecycle == Lifecycle::Stalled {
            self.enter(Lifecycle::Serving, now, Time::NEVER);
        }
        if !self.in_flight.is_empty() {
            self.check_by(now + CLAIM_TIMEOUT);
        }
    }

    /// Makes sure that its first offer is checked no later than then.
    pub fn check_by(&mut self, time: Time) {
        if self.lifecycle == Lifecycle::Serving {
            self.due = self.due.min(time);
        }
    }
}
