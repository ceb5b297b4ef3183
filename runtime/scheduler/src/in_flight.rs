//! What one worker has in in_flight: the offers that it was sent and has not reported on, in order.
//!
//! An honest worker ends or skips its offers in the order in which they were sent, so every report is about the
//! first of them, and handling it takes the same time however many there are. What the worker wrote into the
//! shared page is asked for through [`Io`] and never believed beyond the offer that it is about.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::guests::GuestSet;
use super::io::{Io, OfferId, ProtocolFault, WorkerId};
use super::task::{Claim, Task};
use super::{CANCEL_TIMEOUT, MAX_BYTES_BEHIND, MAX_UNREAD};
use mpwasm_types::settings::{CLAIM_TIMEOUT, DISPATCHER_GRACE, MIN_PROGRESS};
use mpwasm_types::time::Time;

/// The offers of one worker process.
#[derive(Debug)]
pub(super) struct InFlight {
    worker: WorkerId,
    /// Sent and not reported on, in order, with those that were revoked.
    sent: VecDeque<Offer>,
    /// How many of `sent` were not revoked.
    outstanding: usize,
    /// Bytes of args of all that was sent: what is revoked still fills the socket until it is read.
    bytes: usize,
    /// The last report: since then the worker could have taken the first of `sent`.
    since: Time,
    /// When it last made room for what waits to be sent to it.
    note_read: Time,
}

#[derive(Debug)]
struct Offer {
    id: OfferId,
    offered: Time,
    bytes: usize,
    /// `None` when it was revoked and the worker has not said that it knows.
    held: Option<OfferedTask>,
}

/// A task in a worker's hand.
#[derive(Debug)]
pub(super) struct OfferedTask {
    pub task: Task,
    /// `None` until the worker was seen to have claimed it. The first sight counts: a worker that writes a
    /// later time into the page every time that it is looked at gains nothing.
    pub claim: Option<ClaimState>,
}

/// That a task has started.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimState {
    pub run: Claim,
    /// When it must have ended.
    pub deadline: Time,
    /// When the task was asked to end as cancelled.
    pub cancelled: Option<Time>,
    /// The id of the last item of a chunk that had begun, as the worker says, when it was last looked at.
    pub begun: u64,
}

/// What has ended in a hand.
#[derive(Debug)]
pub struct EndedTask {
    /// The task, or the item of a chunk.
    pub task: Task,
    /// Where it ran.
    pub run: Claim,
    /// The length of all that was behind its offer; `None` when there is more.
    pub whole: Option<Duration>,
}

/// The task that a worker runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningTask {
    pub task: u64,
    pub attempt: u32,
    pub since: Time,
}

/// What is to be done about the first task of a hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing until then.
    Later(Time),
    /// It was not taken in time.
    Unclaimed,
    /// It should have ended by its timeout.
    Overdue,
    /// It should have ended after it was cancelled.
    Uncancelled,
}

impl InFlight {
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            sent: VecDeque::new(),
            outstanding: 0,
            bytes: 0,
            since: Time(0),
            note_read: Time(0),
        }
    }

    /// Tasks that will end here if nothing happens.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the worker has reported on everything that it was sent.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// What the worker has to do before it could come to another task: the tasks, and the offers to read.
    pub fn load(&self) -> (usize, usize) {
        (self.outstanding, self.sent.len())
    }

    /// The id of the task, or item of a chunk, that the worker has to report on next, and its attempt; `None` when that
    /// was taken from it, or is none.
    pub fn first(&self) -> Option<(u64, u32)> {
        let task = &self.sent.front()?.held.as_ref()?.task;
        Some((task.first_id(), task.attempt))
    }

    /// When the first offer became the first, which is also when the worker last reported something.
    pub fn since(&self) -> Time {
        self.since
    }

    /// The worker took in some of what it was sent, and there is more.
    pub fn note_read(&mut self, now: Time) {
        self.note_read = now;
    }

    /// Until when the worker may be silent: for so long since its last sign of life. Taking in what it was sent is one,
    /// but not as often as it likes, or a worker that was taken over could hold a task for ever.
    pub fn silent_until(&self, claim_timeout: Duration) -> Time {
        let pieces = u32::try_from(self.bytes / MIN_PROGRESS).unwrap_or(u32::MAX);
        let at_most = self.since + claim_timeout.saturating_mul(pieces.saturating_add(1));
        (self.since.max(self.note_read) + claim_timeout).min(at_most)
    }

    /// Whether the task may be offered, with this window. A worker with an empty hand may have any task.
    ///
    /// A task in whose presence, or under which, a worker died has the hand for itself: should it be the one that kills, it takes
    /// no others along and brings none under suspicion.
    pub fn admits(&self, task: &Task, window: usize) -> bool {
        if self.sent.is_empty() {
            return true;
        }
        if self.outstanding >= window || self.sent.len() >= MAX_UNREAD || task.deaths() > 0 {
            return false;
        }
        let bytes = |offer: &Offer| offer.bytes;
        let is_suspect = |offer: &Offer| offer.held.as_ref().is_some_and(|held| held.task.deaths() > 0);
        let behind = self.bytes - self.sent.front().map_or(0, bytes);
        behind + task.args.len() <= MAX_BYTES_BEHIND && !self.sent.back().is_some_and(is_suspect)
    }

    /// Adds an offer that was made now.
    pub fn push(&mut self, id: OfferId, task: Task, now: Time) {
        if self.sent.is_empty() {
            self.since = now;
        }
        let bytes = task.args.len();
        self.outstanding += 1;
        self.bytes += bytes;
        self.sent.push_back(Offer {
            id,
            offered: now,
            bytes,
            held: Some(OfferedTask { task, claim: None }),
        });
    }

    /// The worker reported the end of the task that it ran, or of the next item of a chunk.
    pub fn end(
        &mut self,
        id: OfferId,
        length: Duration,
        now: Time,
        io: &mut impl Io,
    ) -> Result<EndedTask, ProtocolFault> {
        let worker = self.worker;
        let offer = self.next(id)?;
        offer.look(worker, now, io);
        let held = offer.held.as_mut().ok_or(ProtocolFault::Revoked)?;
        let claim = held.claim.as_mut().ok_or(ProtocolFault::NotClaimed)?;
        let (claimed, whole) = (claim.run, held.task.note_length(length));
        if let Some(item) = held.task.split_first() {
            // The next one has begun since.
            claim.deadline = now + item.timeout;
            self.since = now;
            return Ok(EndedTask {
                task: item,
                run: claimed,
                whole: None,
            });
        }
        let held = self.pop(now).expect("`held` was looked at above");
        Ok(EndedTask {
            task: held.task.into_last(),
            run: claimed,
            whole: Some(whole),
        })
    }

    /// The worker read an offer that had been revoked.
    pub fn skip(&mut self, id: OfferId, now: Time) -> Result<(), ProtocolFault> {
        if self.next(id)?.held.is_some() {
            return Err(ProtocolFault::NotRevoked);
        }
        self.pop(now);
        Ok(())
    }

    /// Looks whether the worker does with its first task what it should, or else reads what it was sent, as far as was
    /// heard.
    pub fn due(&mut self, heard: Time, now: Time, io: &mut impl Io) -> Due {
        if self.sent.is_empty() {
            return Due::Later(Time::NEVER);
        }
        // What was revoked before it may have been skipped, and the report be on its way.
        let first = self.sent.iter_mut().find(|offer| offer.held.is_some());
        let Some(claim) = first.and_then(|offer| offer.look(self.worker, now, io)) else {
            let first = self.sent.iter().find_map(|offer| offer.held.as_ref());
            let until = self.silent_until(first.map_or(CLAIM_TIMEOUT, |held| held.task.claim_timeout));
            return if heard < until {
                Due::Later(until)
            } else {
                Due::Unclaimed
            };
        };
        let overdue = claim.deadline + DISPATCHER_GRACE;
        let asked = claim.cancelled.unwrap_or(Time::NEVER);
        let uncancelled = asked + CANCEL_TIMEOUT;
        if heard >= overdue {
            Due::Overdue
        } else if heard >= uncancelled {
            Due::Uncancelled
        } else {
            Due::Later(overdue.min(uncancelled))
        }
    }

    /// The task that the worker runs, as far as it says so itself.
    pub fn running(&mut self, now: Time, io: &mut impl Io) -> Option<RunningTask> {
        let first = self.sent.iter_mut().find(|offer| offer.held.is_some())?;
        let claim = first.look(self.worker, now, io)?;
        let task = &first.held.as_ref()?.task;
        Some(RunningTask {
            task: task.first_id(),
            attempt: task.attempt,
            since: claim.run.claimed,
        })
    }

    /// The attempt in which a task is, if it is in this hand.
    pub fn attempt(&self, task: u64) -> Option<u32> {
        let held = self.sent[self.find(task)?].held.as_ref()?;
        Some(held.task.attempt)
    }

    /// Takes back everything that has not started.
    pub fn revoke_all(&mut self, now: Time, io: &mut impl Io) -> Vec<Task> {
        (0..self.sent.len())
            .filter_map(|index| self.revoke(index, now, io))
            .collect()
    }

    /// Takes back what has not started, but for args that may be on their way for a while: they would have to be sent
    /// anew, and again when that happens once more.
    pub fn revoke_small(&mut self, now: Time, io: &mut impl Io) -> Vec<Task> {
        (0..self.sent.len())
            .filter_map(|index| {
                let is_small = self.sent[index].bytes <= MAX_BYTES_BEHIND;
                is_small.then(|| self.revoke(index, now, io))?
            })
            .collect()
    }

    /// Takes half of the tasks back, from the tail, as far as they have not started and are of these guests.
    pub fn revoke_half(&mut self, guests: &GuestSet, now: Time, io: &mut impl Io) -> Vec<Task> {
        let half = self.outstanding / 2;
        let from_tail = (0..self.sent.len()).rev();
        from_tail
            .filter_map(|index| {
                let held = self.sent[index].held.as_ref()?;
                guests
                    .contains(held.task.guest)
                    .then(|| self.revoke(index, now, io))?
            })
            .take(half)
            .collect()
    }

    /// Whether a task of these guests waits here behind another one, as far as is known.
    pub fn has_waiting_of(&self, guests: &GuestSet) -> bool {
        let waits = |held: &&OfferedTask| held.claim.is_none() && guests.contains(held.task.guest);
        let mut held = self.sent.iter().rev().filter_map(|offer| offer.held.as_ref());
        self.has_waiting() && held.any(|held| waits(&held))
    }

    /// Whether tasks wait here behind another one, as far as is known.
    pub fn has_waiting(&self) -> bool {
        // Workers claim in order: if the last one was claimed, all were.
        let last = self.sent.iter().rev().find_map(|offer| offer.held.as_ref());
        self.outstanding > 1 && last.is_some_and(|held| held.claim.is_none())
    }

    /// The place of a task in this hand.
    pub fn find(&self, task: u64) -> Option<usize> {
        let is_it = |offer: &Offer| offer.held.as_ref().is_some_and(|held| held.task.id == task);
        self.sent.iter().position(is_it)
    }

    /// Takes the task at this place back; `None` when that cannot be, and then it counts as claimed.
    pub fn revoke(&mut self, index: usize, now: Time, io: &mut impl Io) -> Option<Task> {
        let worker = self.worker;
        let offer = &mut self.sent[index];
        if offer.held.as_ref()?.claim.is_some() {
            return None;
        }
        if io.revoke(worker, offer.id) {
            self.outstanding -= 1;
            return offer.held.take().map(|held| held.task);
        }
        if offer.look(worker, now, io).is_none() {
            offer.claim(worker, now);
        }
        None
    }

    /// Notes that the claimed task at this place was asked to end, however that will be: it is not tried again. Returns
    /// its offer, the first time.
    pub fn note_cancel(&mut self, index: usize, now: Time) -> Option<OfferId> {
        let offer = &mut self.sent[index];
        let held = offer.held.as_mut()?;
        let claim = held.claim.as_mut()?;
        if claim.cancelled.is_some() {
            return None;
        }
        claim.cancelled = Some(now);
        held.task.retry = None;
        Some(offer.id)
    }

    /// The tasks of a worker that died, in order, with what it had claimed.
    pub fn take_all(&mut self, now: Time, io: &mut impl Io) -> Vec<OfferedTask> {
        let mut sent = mem::replace(self, Self::new(self.worker)).sent;
        for offer in &mut sent {
            offer.look(self.worker, now, io);
            if let Some(claim) = offer.held.as_mut().and_then(|held| held.claim.as_mut()) {
                claim.begun = io.last_begun(self.worker, offer.id);
            }
        }
        sent.into_iter().filter_map(|offer| offer.held).collect()
    }

    /// The offer that the worker has to report on next, if that is `id`.
    fn next(&mut self, id: OfferId) -> Result<&mut Offer, ProtocolFault> {
        let first = self.sent.front_mut();
        first.filter(|offer| offer.id == id).ok_or(ProtocolFault::NotNext)
    }

    /// The worker reported on its first offer.
    fn pop(&mut self, now: Time) -> Option<OfferedTask> {
        let offer = self.sent.pop_front()?;
        self.since = now;
        self.bytes -= offer.bytes;
        self.outstanding -= usize::from(offer.held.is_some());
        offer.held
    }
}

impl Offer {
    /// The claim, if there is one; asks the shared page until there is.
    fn look(&mut self, worker: WorkerId, now: Time, io: &mut impl Io) -> Option<ClaimState> {
        let held = self.held.as_ref()?;
        if held.claim.is_none() {
            let claimed = io.claimed_at(worker, self.id)?;
            self.claim(worker, claimed.min(now));
        }
        self.held.as_ref()?.claim
    }

    fn claim(&mut self, worker: WorkerId, at: Time) {
        let Some(held) = &mut self.held else {
            return;
        };
        let claimed = at.max(self.offered);
        held.claim = Some(ClaimState {
            run: Claim { worker, claimed },
            deadline: claimed + held.task.timeout,
            cancelled: None,
            begun: held.task.first_id(),
        });
    }
}
