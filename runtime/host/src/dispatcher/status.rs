//! The answers to who asks what is going on, put together from those who know.

use super::callbacks::Callbacks;
use super::crew::Crew;
use mpwasm_protocol::messages::StatusReply;
use mpwasm_scheduler::{Scheduler, TaskPlace};
use mpwasm_types::status::{Status, TaskStatus, WorkerStatus};
use mpwasm_types::time::Time;

/// Where a task is that has not ended, or what the pool is doing when it is about none.
pub fn answer(task: Option<u64>, all: (&mut Scheduler, &mut Crew, &Callbacks), now: Time) -> StatusReply {
    let (scheduler, crew, callbacks) = all;
    match task {
        Some(id) if callbacks.has(id) => StatusReply::Task(Some(TaskStatus::Callback)),
        Some(id) => {
            let place = scheduler.place(id, now, crew);
            StatusReply::Task(place.and_then(|place| of_task(place, crew, now)))
        }
        None => StatusReply::Pool(of_pool(scheduler, crew, callbacks, now)),
    }
}

/// How many tasks are queued is for the parent to say: some are in the pipe.
fn of_pool(scheduler: &mut Scheduler, crew: &mut Crew, callbacks: &Callbacks, now: Time) -> Status {
    let workers = scheduler.workers(now, crew);
    let workers = workers.into_iter().filter_map(|(worker, state, since)| {
        Some(WorkerStatus {
            worker: crew.worker_number(worker),
            pid: crew.member(worker)?.process.pid(),
            state,
            since: now.since(since),
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

fn of_task(place: TaskPlace, crew: &mut Crew, now: Time) -> Option<TaskStatus> {
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
            worker: crew.worker_number(worker),
            pid: crew.member(worker)?.process.pid(),
            since: now.since(since),
        },
    })
}
