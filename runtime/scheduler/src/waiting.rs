//! Lends the places of tasks that wait for shared objects to other tasks.
//!
//! A task that waits uses no processor, and may wait for something that a queued task will do. So its worker does not count: the
//! pool may have another one for each, up to a bound, and what was in flight behind the waiting task goes to other workers. When
//! the task resumes, more tasks than the pool's size may run for a moment. The surplus workers then get no more tasks, and are
//! retired once they have been idle for [`SURPLUS_TIMEOUT`].

use std::time::Duration;

use super::io::{Io, ProtocolFault, RetireReason};
use super::scheduler::Scheduler;
use super::slot::{ProcessState, WorkerSlot};
use mpwasm_types::ids::{OfferId, WorkerId};
use mpwasm_types::time::Time;

/// Time for which a surplus worker must be idle before it is retired: 1 s, so that a pool whose tasks wait now and then does not
/// spawn a process for each wait.
pub(super) const SURPLUS_TIMEOUT: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Handles the report that the running task of a worker waits for a shared object. What was in flight behind it is requeued.
    ///
    /// # Errors
    /// Fails if the worker does not run the task, or had reported its wait. A worker that lies gets the pool a further worker at
    /// most, as the number of these has a bound.
    pub fn waiting(
        &mut self,
        worker: WorkerId,
        offer: OfferId,
        now: Time,
        io: &mut impl Io,
    ) -> Result<(), ProtocolFault> {
        let process = self.process(worker).ok_or(ProtocolFault::NotNext)?;
        process.in_flight.set_waiting(offer, true, now, io)?;
        // It has no effect on a worker that was killed: its tasks are requeued when it is reaped.
        if process.is_waiting() {
            let behind = process.in_flight.revoke_all(now, io);
            self.requeue(behind, io);
        }
        Ok(())
    }

    /// Handles the report that the running task of a worker waits no more. The end of the task ends its wait, too.
    ///
    /// # Errors
    /// Fails if the worker does not run the task, or had not reported a wait.
    pub fn resumed(
        &mut self,
        worker: WorkerId,
        offer: OfferId,
        now: Time,
        io: &mut impl Io,
    ) -> Result<(), ProtocolFault> {
        let process = self.process(worker).ok_or(ProtocolFault::NotNext)?;
        process.in_flight.set_waiting(offer, false, now, io)
    }

    /// Returns the number of workers that the pool may have now: its size, and one for each that waits, up to the bound.
    pub(super) fn most_workers(&self) -> usize {
        let lent = match self.max_waiting {
            0 => 0,
            most => self.waiting_workers().min(most as usize),
        };
        self.size as usize + lent
    }

    /// Returns whether the worker may be offered another task. `busy` is [`busy_workers`](Self::busy_workers). While more workers have
    /// tasks than may compute, only the first ones get more.
    pub(super) fn may_compute(&self, worker: &WorkerSlot, busy: usize) -> bool {
        let size = self.size as usize;
        if busy < size {
            return true;
        }
        // Only while there is a surplus are the workers before this one counted.
        is_busy(worker) && (busy == size || self.busy_before(worker.id) < size)
    }

    /// Returns whether a worker that is idle may be offered a task.
    pub(super) fn has_room_to_compute(&self) -> bool {
        self.busy_workers() < self.size as usize
    }

    /// Returns the number of workers that have tasks that may compute. 0 in a pool that lends no places, whose workers all may.
    pub(super) fn busy_workers(&self) -> usize {
        match self.max_waiting {
            0 => 0,
            _ => self.workers.iter().filter(|worker| is_busy(worker)).count(),
        }
    }

    /// Returns the number of busy workers before this one.
    fn busy_before(&self, worker: WorkerId) -> usize {
        let earlier = self.workers.iter().filter(|other| other.id < worker);
        earlier.filter(|worker| is_busy(worker)).count()
    }

    /// Retires surplus workers that have been idle for long, the last ones first.
    pub(super) fn retire_surplus(&mut self, now: Time, io: &mut impl Io) {
        let surplus = self.surplus();
        if surplus == 0 {
            return;
        }
        let is_due =
            |process: &ProcessState| process.is_idle() && process.idle_since() + SURPLUS_TIMEOUT <= now;
        let due = self
            .workers
            .iter_mut()
            .rev()
            .filter(|worker| worker.process().is_some_and(is_due));
        due.take(surplus)
            .for_each(|worker| worker.retire(RetireReason::Surplus, now, io));
    }

    /// Returns when the next surplus worker will have been idle for long.
    pub(super) fn surplus_due(&self) -> Option<Time> {
        if self.surplus() == 0 {
            return None;
        }
        let processes = self.workers.iter().filter_map(WorkerSlot::process);
        let idle = processes.filter(|process| process.is_idle());
        idle.map(|process| process.idle_since() + SURPLUS_TIMEOUT).min()
    }

    /// Returns how many workers are more than the pool may have now.
    fn surplus(&self) -> usize {
        if self.max_waiting == 0 {
            return 0;
        }
        let active = self.workers.iter().filter(|worker| worker.is_active()).count();
        active.saturating_sub(self.most_workers())
    }

    fn waiting_workers(&self) -> usize {
        let processes = self.workers.iter().filter_map(WorkerSlot::process);
        processes.filter(|process| process.is_waiting()).count()
    }
}

/// Returns whether the worker has tasks that may compute.
fn is_busy(worker: &WorkerSlot) -> bool {
    let has_tasks = |process: &ProcessState| process.in_flight.outstanding() > 0 && !process.is_waiting();
    worker.is_taken() && worker.process().is_some_and(has_tasks)
}
