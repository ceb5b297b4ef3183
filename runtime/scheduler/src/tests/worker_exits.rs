//! Workers that fail to start or end, and their tasks.

use super::super::KillReason;
use super::*;
use crate::removal::MAX_FAILED_SPAWNS;
use crate::slot::{RESPAWN_DELAY, START_TIMEOUT};
use Behaviour::{Hangs, Kills};
use mpwasm_types::outcome::Kind;
use mpwasm_types::retry::MAX_WORKER_DEATHS;
use mpwasm_types::timeouts::{DISPATCHER_GRACE, REAP_TIMEOUT};

#[test]
fn a_worker_that_dies_is_replaced_at_once() {
    let mut pool = Pool::ready(1);
    pool.push(SHORT);
    pool.work_all();
    pool.log();
    pool.die(W0);
    pool.turn();
    assert_eq!(pool.log(), [Action::Spawn(0)]);
}

#[test]
fn a_worker_that_dies_without_a_task_is_replaced_with_growing_backoff() {
    let mut pool = Pool::ready(1);
    let mut delay = RESPAWN_DELAY;
    for _ in 0..4 {
        pool.die(W0);
        pool.turn();
        assert_eq!(pool.log(), []);
        assert_eq!(pool.scheduler.next_wakeup(), Some(pool.simulator.now + delay));
        pool.sleep(delay);
        assert_eq!(pool.log(), [Action::Spawn(0)]);
        pool.work_all();
        delay *= 2;
    }
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    let mut pool = Pool::new(1);
    pool.load();
    pool.turn();
    pool.sleep(START_TIMEOUT);
    assert_eq!(
        pool.log(),
        [Action::Spawn(0), Action::Kill(0, KillReason::NotReady)]
    );
}

#[test]
fn the_pool_fails_when_no_worker_becomes_ready() {
    let mut pool = Pool::new(2);
    pool.load();
    pool.push(SHORT);
    for start in 0..MAX_FAILED_SPAWNS {
        assert_eq!(pool.scheduler.pool_failure(), None, "after {start} starts");
        pool.sleep(MS * 1000);
        pool.exit(WorkerId(start % 2), WorkerExit::Code(71));
    }
    let failure = "5 workers in a row ended before they were ready; the last one exited with code 71";
    assert_eq!(pool.scheduler.pool_failure(), Some(failure));
    assert_eq!(pool.failure(0).kind, Kind::Crash);
    let later = pool.push(SHORT);
    assert!(pool.failure(later).message.contains(failure));
    pool.scheduler.drain();
    pool.finish();
}

#[test]
fn a_ready_worker_resets_the_count_of_failed_spawns() {
    let mut pool = Pool::new(1);
    pool.load();
    for start in 1..3 * MAX_FAILED_SPAWNS {
        pool.sleep(MS * 1000);
        if start % MAX_FAILED_SPAWNS == 0 {
            pool.work_all();
        }
        pool.die(W0);
    }
    assert_eq!(pool.scheduler.pool_failure(), None);
}

#[test]
fn the_pool_does_not_fail_while_one_worker_serves() {
    let mut pool = Pool::ready(2);
    for _ in 0..2 * MAX_FAILED_SPAWNS {
        pool.die(W1);
        pool.sleep(MS * 1000);
    }
    assert_eq!(pool.scheduler.pool_failure(), None);
    pool.push_many(10);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended.len(), 10);
}

#[test]
fn a_worker_that_cannot_be_reaped_is_abandoned() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    let unharmed = pool.push(SHORT);
    pool.work_all();
    pool.simulator.process(W0).as_mut().expect("a process").unkillable = true;
    pool.sleep(MS * 1000 + DISPATCHER_GRACE);
    pool.log();
    pool.sleep(REAP_TIMEOUT);
    assert_eq!(
        pool.log(),
        [
            Action::Fail(task, Kind::Timeout),
            Action::Abandon(0),
            Action::Spawn(0)
        ]
    );
    pool.work_all();
    assert!(pool.succeeded(unharmed));
}

#[test]
fn a_claimed_task_ends_with_its_worker_and_the_others_go_on() {
    let mut pool = Pool::ready(1);
    pool.accustom(Duration::ZERO);
    let task = pool.push(Kills);
    pool.push_many(5);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [1, 2, 3, 4, 5]);
    let failure = pool.failure(task);
    assert_eq!(
        (failure.kind, failure.signal, failure.code),
        (Kind::Crash, Some(11), None)
    );
    assert_eq!(failure.message, "its worker was ended by SIGSEGV");
}

#[test]
fn reports_before_a_worker_died_count() {
    let mut pool = Pool::ready(1);
    let task = pool.push(SHORT);
    pool.turn();
    assert!(pool.simulator.step(W0) && pool.simulator.step(W0));
    pool.die(W0);
    assert!(pool.succeeded(task));
}

#[test]
fn a_task_in_flight_in_workers_that_died_ends_as_crash() {
    let mut pool = Pool::ready(1);
    let task = pool.push(SHORT);
    for _ in 0..MAX_WORKER_DEATHS {
        assert!(pool.simulator.truth[task as usize].ended.is_none());
        pool.sleep(MS * 1000);
        while pool.simulator.unclaimed(W0).is_empty() {
            pool.step(W0);
            pool.turn();
        }
        pool.die(W0);
    }
    let message = "3 workers died before they could start it; the last one was ended by SIGKILL: perhaps the \
                   system was out of memory";
    assert_eq!(
        (pool.failure(task).kind, pool.failure(task).message.as_str()),
        (Kind::Crash, message)
    );
}

#[test]
fn a_task_in_flight_at_a_death_is_offered_alone() {
    let mut pool = Pool::ready(2);
    pool.accustom(Duration::ZERO);
    pool.push(LONG);
    pool.push(SHORT);
    pool.turn();
    pool.step(W0);
    pool.die(W1);
    pool.push_many(3);
    pool.log();
    pool.turn();
    assert_eq!(pool.offered(), [], "it is not put behind another task");
    pool.sleep(RESPAWN_DELAY);
    pool.step(W1);
    pool.turn();
    let offered = pool.offered();
    assert_eq!(offered[0], (1, 1));
    assert!(
        offered[1..].iter().all(|&(worker, _)| worker == 0),
        "nor is another one put behind it"
    );
}

#[test]
fn a_task_that_kills_workers_does_not_fail_others() {
    let mut pool = Pool::ready(1);
    pool.accustom(Duration::ZERO);
    for id in 0..100 {
        pool.push(if id % 10 < 5 { Kills } else { SHORT });
    }
    pool.scheduler.drain();
    pool.finish();
    let spared = (0..100).filter(|id| id % 10 >= 5);
    assert!(
        spared.clone().all(|id| pool.succeeded(id)),
        "each killer takes only itself along"
    );
    assert_eq!(pool.ended.len(), spared.count());
}
