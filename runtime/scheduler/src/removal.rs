//! Removes workers that have ended: ends or requeues their tasks, and decides when failed spawns are the end of the pool or of a
//! guest's tasks.

use super::death::{Death, cancelled_before_start};
use super::guest_set::GuestSet;
use super::in_flight::{ClaimState, OfferedTask};
use super::io::{Io, KillReason, WorkerExit};
use super::scheduler::Scheduler;
use super::slot::{Lifecycle, Milestone, ProcessState};
use super::task::ScheduledTask;
use mpwasm_types::ids::WorkerId;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::time::Time;

/// Workers in a row that end before any becomes ready, after which the pool fails.
pub(super) const MAX_FAILED_SPAWNS: u32 = 5;

impl Scheduler {
    /// Removes a worker that has exited: fails or requeues its tasks and frees its slot.
    pub(super) fn remove(&mut self, worker: WorkerId, exit: Option<WorkerExit>, now: Time, io: &mut impl Io) {
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
        let mut unstarted = Vec::new();
        let offers = process.in_flight.take_all(now, io);
        let is_for_running_task = death.is_for_running_task(&offers);
        for OfferedTask { mut task, claim } in offers {
            if let Some(claim) = claim {
                process.milestone = Milestone::RanTask;
                unstarted.extend(self.end_claimed(task, &claim, &death, now, io));
            } else if !is_for_running_task && task.note_death_before_claim() {
                let failure = death.of_unclaimed(&task);
                io.task_failed(task, None, failure);
            } else {
                unstarted.push(task);
            }
        }
        self.requeue(unstarted, io);
        self.slot(worker).set_backoff(&process, now);
        if process.milestone == Milestone::Spawned && !process.exited_on_request() {
            let is_partial = process.guests.len() < self.guests as usize;
            if is_partial {
                self.note_failed_load(&process.guests, &death.describe(), io);
            }
            self.note_failed_spawn(is_partial, &death.describe(), now, io);
        }
    }

    /// Ends a claimed task of a worker that has ended, or tries it again. Returns the items of a chunk that have not begun.
    fn end_claimed(
        &mut self,
        task: ScheduledTask,
        claim: &ClaimState,
        death: &Death<'_>,
        now: Time,
        io: &mut impl Io,
    ) -> Option<ScheduledTask> {
        let (mut begun, rest) = task.split_begun(claim.begun);
        if let Some(last) = begun.pop() {
            for task in begun {
                io.task_failed(task, Some(claim.run), death.of_unreported());
            }
            let failure = death.of_claimed(&last, claim);
            let kind = failure.kind;
            if self.tries_again(&last, kind) {
                io.attempt_failed(&last, claim.run, failure);
                self.try_again(last, kind, now);
            } else {
                io.task_failed(last, Some(claim.run), failure);
            }
        }
        let rest = rest?;
        if claim.cancelled.is_none() {
            return Some(rest);
        }
        let failure = cancelled_before_start(&rest);
        io.task_failed(rest, None, failure);
        None
    }

    /// Counts a process that ended before it was ready. After too many in a row, while none is ready, the pool fails. If processes do
    /// not load all guests (`is_partial`), the limit is higher, since one guest may be the reason.
    fn note_failed_spawn(&mut self, is_partial: bool, how: &str, now: Time, io: &mut impl Io) {
        self.failed_spawns += 1;
        let ready =
            |process: &mut ProcessState| matches!(process.lifecycle, Lifecycle::Serving | Lifecycle::Stalled);
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

    /// Counts a process that ended before it was ready while it loaded these guests. After too many in a row for the first task's
    /// guest, that guest's tasks fail. Other guests may have workers.
    fn note_failed_load(&mut self, guests: &GuestSet, how: &str, io: &mut impl Io) {
        let Some(guest) = self
            .queue
            .front()
            .map(|task| task.spec.guest)
            .filter(|&guest| guests.contains(guest))
        else {
            return;
        };
        let has_it = |process: &mut ProcessState| {
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
            if task.spec.guest != guest {
                return Some(task);
            }
            io.task_failed(task, None, Failure::new(Kind::Crash, message.clone()));
            None
        });
    }
}
