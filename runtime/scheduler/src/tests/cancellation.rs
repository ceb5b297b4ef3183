//! Cancelled tasks, and pools that are interrupted or terminated.

use super::super::KillReason;
use super::super::in_flight::CANCEL_TIMEOUT;
use super::*;
use Behaviour::Hangs;
use mpwasm_types::outcome::Kind;

#[test]
fn a_task_that_has_not_started_is_cancelled_at_once() {
    let mut pool = Pool::ready(1);
    pool.push(LONG);
    let offered = pool.push(SHORT);
    let queued = pool.push(SHORT);
    pool.work_all();
    assert!(pool.cancel(queued));
    assert!(pool.cancel(offered));
    assert_eq!(pool.failure(queued).kind, Kind::Cancelled);
    assert_eq!(pool.failure(offered).kind, Kind::Cancelled);
    assert!(!pool.cancel(offered), "it is not there any more");
}

#[test]
fn a_running_task_is_asked_to_end() {
    let mut pool = Pool::ready(1);
    let task = pool.push(LONG);
    pool.work_all();
    pool.log();
    assert!(pool.cancel(task));
    assert!(pool.cancel(task));
    assert_eq!(pool.log(), [Action::Cancel(0, task)], "once is enough");
    pool.work_all();
    assert_eq!(pool.ended, [task]);
}

#[test]
fn a_worker_whose_cancelled_task_does_not_end_is_killed() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.sleep(500 * MS);
    pool.cancel(task);
    pool.log();
    pool.sleep(CANCEL_TIMEOUT);
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Cancelled)]);
    pool.work_all();
    assert_eq!(pool.failure(task).kind, Kind::Cancelled);
}

#[test]
fn an_interrupt_lets_running_tasks_end() {
    let mut pool = Pool::ready(1);
    pool.push_many(4);
    pool.turn();
    assert!(pool.simulator.step(W0));
    pool.interrupt();
    let late = pool.push(SHORT);
    assert!((1..=late).all(|id| pool.failure(id).kind == Kind::Cancelled));
    pool.finish();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_termination_kills_everything() {
    let mut pool = Pool::ready(2);
    let running = pool.push(LONG);
    pool.push_many(4);
    pool.turn();
    pool.simulator.step(W0);
    pool.terminate();
    let log = pool.log();
    assert!((0..2).all(|worker| log.contains(&Action::Kill(worker, KillReason::Terminated))));
    let late = pool.push(SHORT);
    pool.finish();
    assert!((running..=late).all(|id| pool.failure(id).kind == Kind::Cancelled));
    assert!(!pool.log().contains(&Action::Spawn(0)));
}
