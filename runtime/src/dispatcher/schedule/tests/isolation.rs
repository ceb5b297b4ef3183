//! The rules for a pool whose worker processes are for one task each. The crew panics when one gets at a second.

use super::super::{KillReason, RETIRE_PATIENCE};
use super::*;
use crate::outcome::Kind;
use crate::settings::{DISPATCHER_GRACE, MAX_FAILED_STARTS};
use Behaviour::{Hangs, Kills};

fn ready(size: u32) -> Pool {
    Pool::isolated(size, Isolation::Process).made_ready()
}

fn count(log: &[Did], did: &Did) -> usize {
    log.iter().filter(|other| *other == did).count()
}

#[test]
fn a_worker_is_replaced_after_its_task() {
    let mut pool = ready(1);
    pool.push_many(2);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1]);
    let cycle = |task| [Did::Offer(0, task), Did::Retire(0), Did::Spawn(0)];
    assert_eq!(pool.log(), [cycle(0), cycle(1)].concat());
}

#[test]
fn replacing_them_takes_no_delay_and_is_no_failed_start() {
    let mut pool = ready(2);
    let tasks = 10 * MAX_FAILED_STARTS as usize;
    pool.push_many(tasks);
    let now = pool.crew.now;
    pool.work_all();
    assert_eq!((pool.ended.len(), pool.crew.now), (tasks, now));
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
    pool.hold(true);
    pool.hold(false);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
    assert_eq!(
        pool.log(),
        [
            Did::Offer(0, 0),
            Did::Revoke(0, 0),
            Did::Offer(0, 0),
            Did::Retire(0),
            Did::Spawn(0)
        ]
    );
}

#[test]
fn a_worker_that_reports_a_second_ending_breaks_the_protocol() {
    let mut pool = ready(1);
    let task = pool.push(SHORT);
    pool.turn();
    assert!(pool.crew.step(W0) && pool.crew.step(W0), "it claims and ends it");
    assert!(pool.deliver(W0));
    assert_eq!(pool.stage(0), Some(&Stage::Retiring));
    let again = Frame::Ended(OfferId(0), Duration::ZERO);
    assert_eq!(pool.report(W0, again), Err(Fault::NotNext));
    pool.crew
        .process(W0)
        .as_mut()
        .expect("a process")
        .outbox
        .push_back(again);
    pool.log();
    assert!(pool.deliver(W0));
    assert!(matches!(&pool.log()[..], [Did::Kill(0, KillReason::Protocol(_))]));
    assert!(pool.succeeded(task), "what it reported first stands");
}

#[test]
fn a_worker_that_does_not_go_is_killed_and_replaced() {
    let mut pool = ready(1);
    pool.push_many(2);
    pool.turn();
    assert!(pool.crew.step(W0) && pool.crew.step(W0));
    pool.stop(W0);
    assert!(pool.deliver(W0));
    pool.log();
    pool.sleep(RETIRE_PATIENCE);
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Terminated)]);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1]);
    assert_eq!(pool.scheduler.pool_failure(), None);
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
    pool.crew.process(W0).as_mut().expect("a process").running = None;
    assert_eq!(pool.report(W0, Frame::Ended(OfferId(0), MS)), Ok(()));
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Overdue)]);
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
    let log = pool.log();
    let spawns: usize = (0..3).map(|worker| count(&log, &Did::Spawn(worker))).sum();
    assert_eq!(spawns, 2, "three were there");
}
