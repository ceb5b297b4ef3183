//! The rules for a pool whose worker processes are for one task each, or for some. The simulator panics when one gets at
//! more.

use super::super::slot::RETIRE_TIMEOUT;
use super::super::{KillReason, RetireReason};
use super::*;
use crate::removal::MAX_FAILED_SPAWNS;
use crate::slot::RESPAWN_DELAY;
use Behaviour::{Hangs, Kills};
use mpwasm_types::ids::WorkerNumber;
use mpwasm_types::outcome::Kind;
use mpwasm_types::timeouts::DISPATCHER_GRACE;

fn ready(size: u32) -> Pool {
    Pool::replaced(size, Some(1)).made_ready()
}

#[test]
fn a_process_is_replaced_as_soon_as_its_task_has_ended() {
    let mut pool = ready(1);
    pool.push_many(2);
    pool.turn();
    assert!(
        pool.simulator.step(W0) && pool.simulator.step(W0),
        "it claims and ends it"
    );
    assert!(pool.deliver(W0));
    pool.turn();
    assert_eq!(
        pool.log(),
        [
            Action::Offer(0, 0),
            Action::Retire(0, RetireReason::RanItsTasks),
            Action::Spawn(1)
        ]
    );
    pool.work_all();
    assert_eq!(pool.ended, [0, 1]);
    assert_eq!(
        pool.log(),
        [
            Action::Offer(1, 1),
            Action::Retire(1, RetireReason::RanItsTasks),
            Action::Spawn(0)
        ]
    );
    assert_eq!(
        (W0.worker_number(1), W1.worker_number(1)),
        (WorkerNumber(0), WorkerNumber(0)),
        "it is the same worker"
    );
}

#[test]
fn replacing_them_takes_no_delay_and_is_no_failed_start() {
    let mut pool = ready(2);
    let tasks = 10 * MAX_FAILED_SPAWNS as usize;
    pool.push_many(tasks);
    let now = pool.simulator.now;
    pool.work_all();
    assert_eq!((pool.ended.len(), pool.simulator.now), (tasks, now));
    assert_eq!(pool.scheduler.pool_failure(), None);
}

#[test]
fn nothing_waits_behind_a_task() {
    let mut pool = ready(2);
    pool.accustom(Duration::ZERO);
    pool.push(LONG);
    pool.push_many(10);
    pool.turn();
    assert_eq!(pool.offered(), [(0, 0), (1, 1)]);
    assert_eq!(pool.scheduler.queued().0, 9);
    pool.work_all();
    assert_eq!(pool.ended, Vec::from_iter(1..=10));
}

#[test]
fn a_worker_from_which_its_task_was_taken_back_in_time_is_as_good_as_new() {
    let mut pool = ready(1);
    pool.push(SHORT);
    pool.turn();
    pool.set_backpressure(true);
    pool.set_backpressure(false);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
    assert_eq!(
        pool.log(),
        [
            Action::Offer(0, 0),
            Action::Revoke(0, 0),
            Action::Offer(0, 0),
            Action::Retire(0, RetireReason::RanItsTasks),
            Action::Spawn(1)
        ]
    );
}

#[test]
fn a_worker_that_reports_a_second_ending_breaks_the_protocol() {
    let mut pool = ready(1);
    let task = pool.push(SHORT);
    pool.turn();
    assert!(
        pool.simulator.step(W0) && pool.simulator.step(W0),
        "it claims and ends it"
    );
    assert!(pool.deliver(W0));
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Retiring));
    let again = Frame::Ended(OfferId(0), Duration::ZERO);
    assert_eq!(pool.report(W0, again), Err(ProtocolFault::NotNext));
    pool.simulator
        .process(W0)
        .as_mut()
        .expect("a process")
        .sent
        .push_back(again);
    pool.log();
    assert!(pool.deliver(W0));
    assert!(matches!(
        &pool.log()[..],
        [Action::Kill(0, KillReason::Protocol(_))]
    ));
    assert!(pool.succeeded(task), "what it reported first stands");
}

/// Lets the process in this slot claim its task and report the end, and then do nothing more.
fn end_and_stay(pool: &mut Pool, slot: WorkerId) {
    assert!(pool.simulator.step(slot) && pool.simulator.step(slot));
    pool.stop(slot);
    assert!(pool.deliver(slot));
}

#[test]
fn a_retired_process_that_does_not_exit_delays_no_task_and_is_killed() {
    let mut pool = ready(1);
    pool.push_many(3);
    pool.turn();
    end_and_stay(&mut pool, W0);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2]);
    pool.log();
    pool.sleep(RETIRE_TIMEOUT);
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Terminated)]);
    pool.work_all();
    assert_eq!(pool.scheduler.pool_failure(), None);
}

#[test]
fn a_worker_has_at_most_two_processes() {
    let mut pool = ready(1);
    pool.push_many(3);
    pool.turn();
    end_and_stay(&mut pool, W0);
    pool.turn();
    assert!(pool.step(W1), "it becomes ready");
    pool.turn();
    end_and_stay(&mut pool, W1);
    pool.turn();
    assert_eq!(
        (pool.lifecycle(0), pool.lifecycle(1)),
        (Some(&Lifecycle::Retiring), Some(&Lifecycle::Retiring))
    );
    pool.sleep(RETIRE_TIMEOUT);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2]);
}

#[test]
fn a_process_that_dies_before_its_task_is_replaced_with_growing_backoff() {
    let mut pool = ready(1);
    let mut delay = RESPAWN_DELAY;
    for _ in 0..4 {
        pool.die(W0);
        pool.turn();
        assert_eq!(pool.log(), [], "the other slot is no way round the delay");
        assert_eq!(pool.scheduler.next_wakeup(), Some(pool.simulator.now + delay));
        pool.sleep(delay);
        assert_eq!(pool.log(), [Action::Spawn(0)]);
        pool.work_all();
        delay *= 2;
    }
}

#[test]
fn a_worker_that_dies_with_its_task_is_replaced_at_once() {
    let mut pool = ready(1);
    let task = pool.push(Kills);
    pool.push(SHORT);
    pool.work_all();
    assert_eq!(pool.failure(task).kind, Kind::Crash);
    assert_eq!(pool.ended, [1]);
}

#[test]
fn an_ending_that_crosses_the_kill_changes_nothing_about_it() {
    let mut pool = ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.log();
    pool.sleep(MS * 1000 + DISPATCHER_GRACE);
    pool.simulator.process(W0).as_mut().expect("a process").running = None;
    assert_eq!(pool.report(W0, Frame::Ended(OfferId(0), MS)), Ok(()));
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Overdue)]);
    pool.work_all();
    assert!(pool.succeeded(task));
}

#[test]
fn a_drained_pool_starts_no_more_workers_than_it_has_tasks() {
    let mut pool = ready(3);
    pool.push_many(5);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended.len(), 5);
    let spawns = pool
        .log()
        .iter()
        .filter(|did| matches!(did, Action::Spawn(_)))
        .count();
    assert_eq!(spawns, 2, "three were there");
}

// Processes for some tasks

fn spawns(pool: &mut Pool) -> usize {
    let log = pool.log();
    log.iter().filter(|did| matches!(did, Action::Spawn(_))).count()
}

#[test]
fn a_process_is_replaced_after_the_tasks_that_it_is_for() {
    let mut pool = Pool::replaced(1, Some(3)).made_ready();
    pool.accustom(Duration::ZERO);
    pool.push_many(10);
    pool.turn();
    assert_eq!(
        pool.offered(),
        [(0, 0), (0, 1), (0, 2)],
        "no more wait behind the first"
    );
    pool.work_all();
    assert_eq!(pool.ended, Vec::from_iter(0..10));
    assert_eq!(
        spawns(&mut pool),
        3,
        "one was there, and the fourth one has two tasks to go"
    );
}

#[test]
fn the_next_process_starts_while_the_one_before_goes() {
    let mut pool = Pool::replaced(1, Some(2)).made_ready();
    pool.push_many(3);
    pool.turn();
    (0..4).for_each(|_| assert!(pool.simulator.step(W0), "it claims and ends two tasks"));
    pool.stop(W0);
    assert!(pool.deliver(W0));
    pool.log();
    pool.work_all();
    assert_eq!(pool.log(), [Action::Spawn(1), Action::Offer(1, 2)]);
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Retiring), "it still goes");
    assert_eq!(pool.ended, [0, 1, 2]);
}

#[test]
fn a_task_that_was_taken_back_does_not_count() {
    let mut pool = Pool::replaced(1, Some(2)).made_ready();
    pool.push_many(2);
    for _ in 0..3 {
        pool.turn();
        pool.set_backpressure(true);
        pool.set_backpressure(false);
    }
    pool.work_all();
    assert_eq!(pool.ended, [0, 1]);
    assert_eq!(spawns(&mut pool), 1, "after two that started");
}
