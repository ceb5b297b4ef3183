//! Replies to status requests, from the state of the scheduler, the workers and the callbacks.

use super::callbacks::Callbacks;
use super::worker_set::WorkerSet;
use mpwasm_scheduler::{Scheduler, TaskPlace};
use mpwasm_types::ids::DispatchId;
use mpwasm_types::status::{Status, TaskStatus, TaskWait, WorkerState, WorkerStatus};
use mpwasm_types::time::Time;

/// The state from which a status is read.
type Sources<'a> = (&'a mut Scheduler, &'a mut WorkerSet, &'a Callbacks);

/// Returns the status of the pool. The parent fills in the number of queued tasks, as some are still in the pipe.
pub fn of_pool((scheduler, worker_set, callbacks): Sources<'_>, now: Time) -> Status {
    let workers = scheduler.workers(now, worker_set);
    let workers = workers.into_iter().filter_map(|(worker, state, since)| {
        let number = worker_set.worker_number(worker);
        let process = worker_set.process(worker)?;
        let is_running = matches!(state, WorkerState::Running { .. });
        let wait = process.wait.as_ref().filter(|_| is_running);
        Some(WorkerStatus {
            worker: number,
            pid: process.child.pid(),
            state,
            since: now.since(since),
            wait: wait.map(|wait| TaskWait {
                kind: wait.kind,
                object: wait.object.clone(),
                operation: wait.operation.clone(),
                since: now.since(wait.since),
            }),
        })
    });
    let mut workers: Vec<_> = workers.collect();
    workers.sort_by_key(|status| status.worker);
    Status {
        queued: 0,
        paused: scheduler.paused() as u64,
        callbacks: callbacks.len() as u64,
        workers,
    }
}

/// Returns the status of a task that has not ended.
pub fn of_task(
    id: DispatchId,
    (scheduler, worker_set, callbacks): Sources<'_>,
    now: Time,
) -> Option<TaskStatus> {
    if callbacks.has(id.first()) {
        return Some(TaskStatus::Callback);
    }
    let place = scheduler.place(id, now, worker_set)?;
    at(place, worker_set, now)
}

/// Returns the status of a task in this place, or `None` if its worker has no process.
fn at(place: TaskPlace, worker_set: &mut WorkerSet, now: Time) -> Option<TaskStatus> {
    Some(match place {
        TaskPlace::Queued { attempt } => TaskStatus::Queued { attempt },
        TaskPlace::Paused { attempt, until } => TaskStatus::Paused {
            attempt,
            left: until.since(now),
        },
        TaskPlace::Running {
            attempt,
            worker,
            since,
        } => TaskStatus::Running {
            attempt,
            worker: worker_set.worker_number(worker),
            pid: worker_set.process(worker)?.child.pid(),
            since: now.since(since),
        },
    })
}
