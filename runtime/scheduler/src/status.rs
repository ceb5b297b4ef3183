//! Reports the state of workers and tasks.

use super::in_flight::RunningTask;
use super::io::Io;
use super::scheduler::Scheduler;
use super::slot::{Lifecycle, ProcessState};
use mpwasm_types::ids::{DispatchId, WorkerId};
use mpwasm_types::status::WorkerState;
use mpwasm_types::time::Time;

/// The place of a task that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPlace {
    /// It waits for a worker.
    Queued {
        /// The next attempt, from 1.
        attempt: u32,
    },
    /// It waits for its next attempt.
    Paused {
        /// The next attempt, from 1.
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
    /// Returns the state of each worker process and since when it has it.
    pub fn workers(&mut self, now: Time, io: &mut impl Io) -> Vec<(WorkerId, WorkerState, Time)> {
        let workers = self.workers.iter_mut().filter_map(|worker| {
            let id = worker.id;
            let (state, since) = worker.process_mut()?.state(now, io);
            Some((id, state, since))
        });
        workers.collect()
    }

    /// Returns where a task is. `None` if it has ended or is unknown.
    pub fn place(&mut self, id: DispatchId, now: Time, io: &mut impl Io) -> Option<TaskPlace> {
        if let Some(task) = self.queue.get(id) {
            let attempt = task.attempt;
            return Some(TaskPlace::Queued { attempt });
        }
        if let Some((until, task)) = self.paused.get(id) {
            let attempt = task.attempt;
            return Some(TaskPlace::Paused { attempt, until });
        }
        self.workers.iter_mut().find_map(|worker| {
            let in_flight = &mut worker.process_mut()?.in_flight;
            let attempt = in_flight.attempt(id)?;
            let running = in_flight
                .running(now, io)
                .filter(|running| running.task == id.first());
            Some(match running {
                Some(RunningTask { since, .. }) => TaskPlace::Running {
                    attempt,
                    worker: worker.id,
                    since,
                },
                None => TaskPlace::Queued { attempt },
            })
        })
    }

    /// Returns the number of tasks that wait for their next attempt.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.paused.len()
    }
}

impl ProcessState {
    fn state(&mut self, now: Time, io: &mut impl Io) -> (WorkerState, Time) {
        let state = match self.lifecycle {
            Lifecycle::Starting => WorkerState::Starting,
            Lifecycle::Stalled => WorkerState::Stalled,
            Lifecycle::Retiring => WorkerState::Leaving,
            Lifecycle::Killed(_) => WorkerState::Killed,
            Lifecycle::Serving => {
                return match self.in_flight.running(now, io) {
                    Some(RunningTask { task, attempt, since }) => {
                        (WorkerState::Running { task, attempt }, since)
                    }
                    None => (WorkerState::Idle, self.idle_since()),
                };
            }
        };
        (state, self.since)
    }
}
