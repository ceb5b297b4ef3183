//! The offers of one worker that are in flight: sent and not reported on, in order.
//!
//! An honest worker ends or skips its offers in the order in which they were sent. So every report is about the first one, and
//! handling it takes constant time. [`Io`] reads what the worker wrote into the shared page. It is trusted only for the offer
//! that it is about.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::guest_set::GuestSet;
use super::io::{Io, ProtocolFault};
use super::task::CLAIM_TIMEOUT;
use super::task::{Claim, ScheduledTask};
use super::window::MAX_UNREAD;
use mpwasm_types::ids::{DispatchId, OfferId, TaskId, WorkerId};
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::{DISPATCHER_GRACE, WATCHDOG_GRACE};

/// Bytes that a worker must read for each extension of its claim timeout: 64 KiB.
pub(super) const MIN_PROGRESS: usize = 64 << 10;

/// Bytes of args that may wait in a worker's socket behind its first task.
pub(super) const MAX_BYTES_BEHIND: usize = 256 << 10;
/// Time in which a cancelled task must end before its worker is killed: slightly longer than its watchdog takes.
pub(super) const CANCEL_TIMEOUT: Duration = WATCHDOG_GRACE.saturating_add(Duration::from_millis(50));

/// The offers of one worker process.
#[derive(Debug)]
pub(super) struct InFlight {
    worker: WorkerId,
    /// Offers in order, including revoked ones.
    sent: VecDeque<Offer>,
    /// Number of offers in `sent` that were not revoked.
    outstanding: usize,
    /// Bytes of args of all offers. Revoked ones fill the socket until they are read.
    bytes: usize,
    /// Time of the last report. Since then, the worker could have claimed the first offer.
    since: Time,
    /// When the worker last read from its full socket.
    last_read: Time,
    /// Whether the first task waits for a shared object, as the worker reports.
    is_waiting: bool,
}

#[derive(Debug)]
struct Offer {
    id: OfferId,
    offered_at: Time,
    bytes: usize,
    /// `None` after it was revoked, until the worker reports that it skipped it.
    task: Option<OfferedTask>,
}

/// A task that was offered to a worker.
#[derive(Debug)]
pub(super) struct OfferedTask {
    pub task: ScheduledTask,
    /// `None` until the claim was seen. It is read only once, so a worker cannot move its deadline by writing later times.
    pub claim: Option<ClaimState>,
}

/// State of a claimed task.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimState {
    pub run: Claim,
    /// When it must have ended.
    pub deadline: Time,
    /// When its cancellation was requested.
    pub cancelled: Option<Time>,
    /// Id of the last item of a chunk that has begun, as the worker reports.
    pub begun: TaskId,
}

/// A task that ended in a worker.
#[derive(Debug)]
pub struct EndedTask {
    /// The task, or the item of a chunk.
    pub task: ScheduledTask,
    /// Where and since when it ran.
    pub run: Claim,
    /// Run time of the whole offer. `None` if the chunk has more items.
    pub offer_length: Option<Duration>,
}

/// The running task of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningTask {
    pub task: TaskId,
    pub attempt: u32,
    pub since: Time,
}

/// Whether the first task of a worker makes progress.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProgressCheck {
    /// It need not be checked before then.
    NotDue(Time),
    /// It was not claimed in time.
    Unclaimed,
    /// It did not end at its deadline.
    DeadlineMissed,
    /// It did not end after it was cancelled.
    CancelTimedOut,
}

impl InFlight {
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            sent: VecDeque::new(),
            outstanding: 0,
            bytes: 0,
            since: Time(0),
            last_read: Time(0),
            is_waiting: false,
        }
    }

    /// Returns the number of offers that were not revoked.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Returns whether the worker has reported on all its offers.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns what the worker must do before another task: the number of tasks, then that of offers to read.
    pub fn load(&self) -> (usize, usize) {
        (self.outstanding, self.sent.len())
    }

    /// Returns id and attempt of the task, or item of a chunk, that the worker must report on next. `None` if its offer was revoked
    /// or there is none.
    pub fn first(&self) -> Option<(TaskId, u32)> {
        let task = &self.sent.front()?.task.as_ref()?.task;
        Some((task.task_id(), task.attempt))
    }

    /// Returns whether the first task waits for a shared object.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Handles the report that the first task begins to wait for a shared object, or waits no more.
    pub fn set_waiting(
        &mut self,
        id: OfferId,
        waits: bool,
        now: Time,
        io: &mut impl Io,
    ) -> Result<(), ProtocolFault> {
        let (worker, waited) = (self.worker, self.is_waiting);
        let offer = self.next(id)?;
        if offer.task.is_none() {
            return Err(ProtocolFault::Revoked);
        }
        if offer.read_claim(worker, now, io).is_none() {
            return Err(ProtocolFault::NotClaimed);
        }
        if waits == waited {
            return Err(ProtocolFault::NoSuchWait);
        }
        self.is_waiting = waits;
        Ok(())
    }

    /// Returns when the first offer became the first: the time of the last report.
    pub fn since(&self) -> Time {
        self.since
    }

    /// Records that the worker read from its full socket.
    pub fn note_read(&mut self, now: Time) {
        self.last_read = now;
    }

    /// Returns the time until which the worker may give no sign of life. Reading from its socket extends it, once per
    /// [`MIN_PROGRESS`] bytes, so that a compromised worker cannot hold a task forever.
    pub fn silent_until(&self, claim_timeout: Duration) -> Time {
        let pieces = u32::try_from(self.bytes / MIN_PROGRESS).unwrap_or(u32::MAX);
        let at_most = self.since + claim_timeout.saturating_mul(pieces.saturating_add(1));
        (self.since.max(self.last_read) + claim_timeout).min(at_most)
    }

    /// Returns whether the task may be offered with this window. A worker without offers admits any task.
    ///
    /// A task that was in flight when a worker died is offered alone. If it kills workers, it affects no other tasks.
    pub fn admits(&self, task: &ScheduledTask, window: usize) -> bool {
        if self.sent.is_empty() {
            return true;
        }
        if self.outstanding >= window || self.sent.len() >= MAX_UNREAD || task.deaths() > 0 {
            return false;
        }
        let bytes = |offer: &Offer| offer.bytes;
        let is_suspect = |offer: &Offer| {
            offer
                .task
                .as_ref()
                .is_some_and(|offered| offered.task.deaths() > 0)
        };
        let behind = self.bytes - self.sent.front().map_or(0, bytes);
        behind + task.size() <= MAX_BYTES_BEHIND && !self.sent.back().is_some_and(is_suspect)
    }

    /// Adds an offer.
    pub fn push(&mut self, id: OfferId, task: ScheduledTask, now: Time) {
        if self.sent.is_empty() {
            self.since = now;
        }
        let bytes = task.size();
        self.outstanding += 1;
        self.bytes += bytes;
        self.sent.push_back(Offer {
            id,
            offered_at: now,
            bytes,
            task: Some(OfferedTask { task, claim: None }),
        });
    }

    /// Handles the report that the first task, or the next item of its chunk, ended.
    pub fn end(
        &mut self,
        id: OfferId,
        length: Duration,
        now: Time,
        io: &mut impl Io,
    ) -> Result<EndedTask, ProtocolFault> {
        let worker = self.worker;
        let offer = self.next(id)?;
        offer.read_claim(worker, now, io);
        let offered = offer.task.as_mut().ok_or(ProtocolFault::Revoked)?;
        let claim = offered.claim.as_mut().ok_or(ProtocolFault::NotClaimed)?;
        let (claimed, total) = (claim.run, offered.task.note_length(length));
        if let Some(item) = offered.task.split_first() {
            // The next item has begun.
            claim.deadline = now + item.spec.timeout;
            self.since = now;
            self.is_waiting = false;
            return Ok(EndedTask {
                task: item,
                run: claimed,
                offer_length: None,
            });
        }
        let offered = self.pop(now).expect("the first offer was checked above");
        Ok(EndedTask {
            task: offered.task.into_last(),
            run: claimed,
            offer_length: Some(total),
        })
    }

    /// Handles the report that a revoked offer was skipped.
    pub fn skip(&mut self, id: OfferId, now: Time) -> Result<(), ProtocolFault> {
        if self.next(id)?.task.is_some() {
            return Err(ProtocolFault::NotRevoked);
        }
        self.pop(now);
        Ok(())
    }

    /// Checks whether the worker ends or claims its first task in time, given that its events up to `handled_until` were handled.
    pub fn check(&mut self, handled_until: Time, now: Time, io: &mut impl Io) -> ProgressCheck {
        if self.sent.is_empty() {
            return ProgressCheck::NotDue(Time::NEVER);
        }
        // The report that a revoked offer before it was skipped may be on its way.
        let first = self.sent.iter_mut().find(|offer| offer.task.is_some());
        let Some(claim) = first.and_then(|offer| offer.read_claim(self.worker, now, io)) else {
            let first = self.sent.iter().find_map(|offer| offer.task.as_ref());
            let until = self.silent_until(first.map_or(CLAIM_TIMEOUT, |offered| offered.task.claim_timeout));
            return if handled_until < until {
                ProgressCheck::NotDue(until)
            } else {
                ProgressCheck::Unclaimed
            };
        };
        let overdue = claim.deadline + DISPATCHER_GRACE;
        let asked = claim.cancelled.unwrap_or(Time::NEVER);
        let uncancelled = asked + CANCEL_TIMEOUT;
        if handled_until >= overdue {
            ProgressCheck::DeadlineMissed
        } else if handled_until >= uncancelled {
            ProgressCheck::CancelTimedOut
        } else {
            ProgressCheck::NotDue(overdue.min(uncancelled))
        }
    }

    /// Returns the task that the worker runs, as it reports.
    pub fn running(&mut self, now: Time, io: &mut impl Io) -> Option<RunningTask> {
        let first = self.sent.iter_mut().find(|offer| offer.task.is_some())?;
        let claim = first.read_claim(self.worker, now, io)?;
        let task = &first.task.as_ref()?.task;
        Some(RunningTask {
            task: task.task_id(),
            attempt: task.attempt,
            since: claim.run.claimed,
        })
    }

    /// Returns the attempt of a task, if it is in flight here.
    pub fn attempt(&self, task: DispatchId) -> Option<u32> {
        let offered = self.sent[self.find(task)?].task.as_ref()?;
        Some(offered.task.attempt)
    }

    /// Revokes all offers that have not started.
    pub fn revoke_all(&mut self, now: Time, io: &mut impl Io) -> Vec<ScheduledTask> {
        (0..self.sent.len())
            .filter_map(|index| self.revoke(index, now, io))
            .collect()
    }

    /// Revokes all offers that have not started, except for large args, which would have to be sent again each time.
    pub fn revoke_small(&mut self, now: Time, io: &mut impl Io) -> Vec<ScheduledTask> {
        (0..self.sent.len())
            .filter_map(|index| {
                let is_small = self.sent[index].bytes <= MAX_BYTES_BEHIND;
                is_small.then(|| self.revoke(index, now, io))?
            })
            .collect()
    }

    /// Revokes up to half of the offers from the tail, if they have not started and are of these guests.
    pub fn revoke_half(&mut self, guests: &GuestSet, now: Time, io: &mut impl Io) -> Vec<ScheduledTask> {
        let half = self.outstanding / 2;
        let from_tail = (0..self.sent.len()).rev();
        from_tail
            .filter_map(|index| {
                let offered = self.sent[index].task.as_ref()?;
                guests
                    .contains(offered.task.spec.guest)
                    .then(|| self.revoke(index, now, io))?
            })
            .take(half)
            .collect()
    }

    /// Returns whether a task of these guests waits behind another one, as far as is known.
    pub fn has_waiting_of(&self, guests: &GuestSet) -> bool {
        let waits =
            |offered: &&OfferedTask| offered.claim.is_none() && guests.contains(offered.task.spec.guest);
        let mut offered = self.sent.iter().rev().filter_map(|offer| offer.task.as_ref());
        self.has_waiting() && offered.any(|offered| waits(&offered))
    }

    /// Returns whether tasks wait behind another one, as far as is known.
    pub fn has_waiting(&self) -> bool {
        // Workers claim in order: if the last one was claimed, all were.
        let last = self.sent.iter().rev().find_map(|offer| offer.task.as_ref());
        self.outstanding > 1 && last.is_some_and(|offered| offered.claim.is_none())
    }

    /// Returns the index of a task's offer.
    pub fn find(&self, task: DispatchId) -> Option<usize> {
        let is_it = |offer: &Offer| offer.task.as_ref().is_some_and(|offered| offered.task.id == task);
        self.sent.iter().position(is_it)
    }

    /// Revokes the offer at this index. `None` if the worker has claimed it, which is recorded.
    pub fn revoke(&mut self, index: usize, now: Time, io: &mut impl Io) -> Option<ScheduledTask> {
        let worker = self.worker;
        let offer = &mut self.sent[index];
        if offer.task.as_ref()?.claim.is_some() {
            return None;
        }
        if io.revoke(worker, offer.id) {
            self.outstanding -= 1;
            return offer.task.take().map(|offered| offered.task);
        }
        if offer.read_claim(worker, now, io).is_none() {
            offer.claim(worker, now);
        }
        None
    }

    /// Records that the claimed task at this index is cancelled, so that it is not tried again. Returns its offer the first time.
    pub fn note_cancel(&mut self, index: usize, now: Time) -> Option<OfferId> {
        let offer = &mut self.sent[index];
        let offered = offer.task.as_mut()?;
        let claim = offered.claim.as_mut()?;
        if claim.cancelled.is_some() {
            return None;
        }
        claim.cancelled = Some(now);
        offered.task.retry = None;
        Some(offer.id)
    }

    /// Removes the tasks of a worker that ended, in order, with their claims.
    pub fn take_all(&mut self, now: Time, io: &mut impl Io) -> Vec<OfferedTask> {
        let mut sent = mem::replace(self, Self::new(self.worker)).sent;
        for offer in &mut sent {
            offer.read_claim(self.worker, now, io);
            if let Some(claim) = offer.task.as_mut().and_then(|offered| offered.claim.as_mut()) {
                claim.begun = io.last_begun(self.worker, offer.id);
            }
        }
        sent.into_iter().filter_map(|offer| offer.task).collect()
    }

    /// Returns the first offer if its id is `id`.
    fn next(&mut self, id: OfferId) -> Result<&mut Offer, ProtocolFault> {
        let first = self.sent.front_mut();
        first.filter(|offer| offer.id == id).ok_or(ProtocolFault::NotNext)
    }

    /// Removes the first offer after a report.
    fn pop(&mut self, now: Time) -> Option<OfferedTask> {
        let offer = self.sent.pop_front()?;
        self.since = now;
        self.is_waiting = false;
        self.bytes -= offer.bytes;
        self.outstanding -= usize::from(offer.task.is_some());
        offer.task
    }
}

impl Offer {
    /// Returns the claim, if any. Reads the shared page until there is one.
    fn read_claim(&mut self, worker: WorkerId, now: Time, io: &mut impl Io) -> Option<ClaimState> {
        let offered = self.task.as_ref()?;
        if offered.claim.is_none() {
            let claimed = io.claimed_at(worker, self.id)?;
            self.claim(worker, claimed.min(now));
        }
        self.task.as_ref()?.claim
    }

    fn claim(&mut self, worker: WorkerId, at: Time) {
        let Some(offered) = &mut self.task else {
            return;
        };
        let claimed = at.max(self.offered_at);
        offered.claim = Some(ClaimState {
            run: Claim { worker, claimed },
            deadline: claimed + offered.task.spec.timeout,
            cancelled: None,
            begun: offered.task.task_id(),
        });
    }
}
