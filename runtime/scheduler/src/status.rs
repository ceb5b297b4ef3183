//! What the workers are doing and where a task is, for who asks. Nothing here changes anything.

use super::Scheduler;
use super::hand::Running;
use super::io::{Io, WorkerId};
use super::worker::{Process, Stage};
use mpwasm_types::status::WorkerState;
use mpwasm_types::time::Time;

/// Where a task is that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// No worker runs it.
    Queued {
        /// The attempt that will be made, from 1.
        attempt: u32,
    },
    /// It waits out the pause before its next attempt.
    Paused {
        /// The attempt that will be made, from 1.
        attempt: u32,
        /// When the pause ends.
        until: Time,
    },
    /// A worker runs it.
    Running {
        /// The attempt, from 1.
        attempt: u32,
        /// The worker's slot.
        worker: WorkerId,
        /// When the worker claimed it.
        since: Time,
    },
}

impl Scheduler {
    /// What each worker process is doing, and since when.
    pub fn workers(&mut self, now: Time, io: &mut impl Io) -> Vec<(WorkerId, WorkerState, Time)> {
        let workers = self.workers.iter_mut().filter_map(|worker| {
            let id = worker.id;
            let (state, since) = worker.process_mut()?.state(now, io);
            Some((id, state, since))
        });
        workers.collect()
    }

    /// Where a task is; `None` when it is not here.
    pub fn place(&mut self, id: u64, now: Time, io: &mut impl Io) -> Option<Place> {
        if let Some(task) = self.queue.get(id) {
            let attempt = task.attempt;
            return Some(Place::Queued { attempt });
        }
        if let Some((until, task)) = self.paused.get(id) {
            let attempt = task.attempt;
            return Some(Place::Paused { attempt, until });
        }
        self.workers.iter_mut().find_map(|worker| {
            let hand = &mut worker.process_mut()?.hand;
            let attempt = hand.attempt(id)?;
            let running = hand.running(now, io).filter(|running| running.task == id);
            Some(match running {
                Some(Running { since, .. }) => Place::Running {
                    attempt,
                    worker: worker.id,
                    since,
                },
                None => Place::Queued { attempt },
            })
        })
    }

    /// Tasks that wait to be tried again.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.paused.len()
    }
}

impl Process {
    fn state(&mut self, now: Time, io: &mut impl Io) -> (WorkerState, Time) {
        let state = match self.stage {
            Stage::Starting => WorkerState::Starting,
            Stage::Stalled => WorkerState::Stalled,
            Stage::Retiring => WorkerState::Leaving,
            Stage::Killed(_) => WorkerState::Killed,
            Stage::Serving => {
                return match self.hand.running(now, io) {
                    Some(Running { task, attempt, since }) => (WorkerState::Running { task, attempt }, since),
                    None => (WorkerState::Idle, self.since.max(self.hand.since())),
                };
            }
        };
        (state, self.since)
    }
}
