//! The reported state of workers and tasks.

use super::super::TaskPlace;
use super::*;
use crate::task::CLAIM_TIMEOUT;
use Behaviour::{Fails, Hangs};
use mpwasm_types::ids::TaskId;
use mpwasm_types::retry::Backoff;
use mpwasm_types::status::WorkerState;

impl Pool {
    fn states(&mut self) -> Vec<(WorkerState, Duration)> {
        let now = self.simulator.now;
        let workers = self.scheduler.workers(now, &mut self.simulator);
        let states = workers
            .into_iter()
            .map(|(_, state, since)| (state, now.since(since)));
        states.collect()
    }

    fn place(&mut self, task: u64) -> Option<TaskPlace> {
        let now = self.simulator.now;
        self.scheduler.place(DispatchId(task), now, &mut self.simulator)
    }
}

#[test]
fn a_worker_starts_idles_runs_and_leaves() {
    let mut pool = Pool::new(1);
    assert_eq!(pool.states(), []);
    pool.load();
    pool.turn();
    pool.advance(MS);
    assert_eq!(pool.states(), [(WorkerState::Starting, MS)]);
    pool.step(W0);
    pool.advance(2 * MS);
    assert_eq!(pool.states(), [(WorkerState::Idle, 2 * MS)]);
    let task = pool.push(Runs(50 * MS));
    pool.work_all();
    pool.advance(3 * MS);
    let running = WorkerState::Running {
        task: TaskId(task),
        attempt: 1,
    };
    assert_eq!(pool.states(), [(running, 3 * MS)]);
    pool.advance(47 * MS);
    pool.work_all();
    pool.advance(4 * MS);
    assert_eq!(pool.states(), [(WorkerState::Idle, 4 * MS)]);
    pool.scheduler.drain();
    pool.turn();
    pool.advance(5 * MS);
    assert_eq!(pool.states(), [(WorkerState::Leaving, 5 * MS)]);
}

#[test]
fn a_worker_that_does_not_do_what_it_should_is_stalled_or_killed() {
    let mut pool = Pool::ready(1);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.sleep(CLAIM_TIMEOUT);
    assert_eq!(pool.states(), [(WorkerState::Stalled, Duration::ZERO)]);
    pool.terminate();
    assert_eq!(pool.states(), [(WorkerState::Killed, Duration::ZERO)]);
}

#[test]
fn a_task_is_queued_until_its_worker_claims_it() {
    let mut pool = Pool::ready(1);
    let [first, behind, last] = [Hangs, SHORT, SHORT].map(|behaviour| pool.push(behaviour));
    let queued = Some(TaskPlace::Queued { attempt: 1 });
    assert_eq!(pool.place(first), queued);
    pool.turn();
    assert_eq!(pool.place(first), queued, "it was offered");
    pool.work_all();
    let running = TaskPlace::Running {
        attempt: 1,
        worker: W0,
        since: pool.simulator.now,
    };
    assert_eq!(pool.place(first), Some(running));
    assert_eq!([pool.place(behind), pool.place(last)], [queued; 2]);
    assert_eq!(pool.place(99), None);
}

#[test]
fn a_task_that_waits_to_be_tried_again_says_so() {
    let mut pool = Pool::ready(1);
    let policy = Retry::times(1)
        .also_on(Kind::Trap)
        .backoff(Backoff::fixed(100 * MS));
    let task = pool.push_retried(Fails, 1, policy, 1);
    pool.work_all();
    let until = pool.simulator.now + 100 * MS;
    assert_eq!(pool.place(task), Some(TaskPlace::Paused { attempt: 2, until }));
    assert_eq!(pool.scheduler.paused(), 1);
    pool.set_backpressure(true);
    pool.sleep(100 * MS);
    assert_eq!(pool.place(task), Some(TaskPlace::Queued { attempt: 2 }));
    pool.set_backpressure(false);
    pool.work_all();
    assert_eq!(pool.place(task), None);
}
