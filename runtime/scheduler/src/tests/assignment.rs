//! The rules for a pool in which all goes well: who is started, who gets what, and how it ends.

use super::super::assign::STEAL_DELAY;
use super::super::in_flight::MAX_BYTES_BEHIND;
use super::super::slot::RETIRE_TIMEOUT;
use super::super::window::MAX_WINDOW;
use super::super::{KillReason, MAX_UNREAD, RetireReason};
use super::simulator::Page;
use super::*;
use crate::removal::MAX_FAILED_SPAWNS;
use crate::slot::START_TIMEOUT;
use crate::task::CLAIM_TIMEOUT;

// Workers

#[test]
fn workers_start_with_the_first_guest() {
    let mut pool = Pool::new(2);
    pool.turn();
    assert_eq!(pool.log(), []);
    pool.load();
    pool.turn();
    assert_eq!(pool.log(), [Action::Spawn(0), Action::Spawn(1)]);
    assert_eq!(
        pool.scheduler.next_wakeup(),
        Some(pool.simulator.now + START_TIMEOUT)
    );
}

#[test]
fn a_drained_pool_retires_its_workers() {
    let mut pool = Pool::ready(2);
    pool.push(SHORT);
    pool.scheduler.drain();
    pool.turn();
    assert!(!pool.scheduler.is_finished());
    pool.stop(W1);
    pool.work_all();
    assert_eq!(
        pool.log(),
        [
            Action::Offer(0, 0),
            Action::Retire(0, RetireReason::NotNeeded),
            Action::Retire(1, RetireReason::NotNeeded)
        ]
    );
    pool.sleep(RETIRE_TIMEOUT);
    assert_eq!(pool.log(), [Action::Kill(1, KillReason::Terminated)]);
    pool.work_all();
    assert!(pool.scheduler.is_finished());
}

#[test]
fn a_drained_pool_kills_workers_that_are_not_ready() {
    let mut pool = Pool::new(MAX_FAILED_SPAWNS);
    pool.load();
    pool.turn();
    pool.log();
    pool.scheduler.drain();
    pool.turn();
    let killed = (0..MAX_FAILED_SPAWNS).map(|worker| Action::Kill(worker, KillReason::Terminated));
    assert_eq!(pool.log(), Vec::from_iter(killed));
    pool.finish();
    assert_eq!(pool.scheduler.pool_failure(), None, "no worker failed");
}

// Offers

#[test]
fn a_task_goes_to_the_worker_that_has_the_fewest() {
    let mut pool = Pool::ready(3);
    pool.push_many(7);
    pool.turn();
    assert_eq!(
        pool.offered(),
        [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4), (2, 5)],
        "two each: nothing is known"
    );
    assert_eq!(pool.scheduler.queued(), (1, 10));
    assert_eq!(pool.scheduler.open_tasks(), 7);
}

#[test]
fn the_window_follows_the_run_times() {
    let mut pool = Pool::ready(1);
    pool.push_many(1000);
    pool.accustom(Duration::ZERO);
    pool.turn();
    assert_eq!(pool.offered().len(), MAX_WINDOW);
    let mut pool = Pool::ready(1);
    pool.push_many(1000);
    pool.accustom(50 * MS);
    pool.turn();
    assert_eq!(pool.offered().len(), 1);
}

#[test]
fn the_window_opens_when_short_tasks_end() {
    let mut pool = Pool::ready(1);
    pool.push_many(1000);
    pool.turn();
    assert_eq!(pool.offered().len(), 2);
    assert!(pool.step(W0) && pool.step(W0), "it claims and ends the first one");
    pool.turn();
    assert_eq!(pool.offered().len(), MAX_WINDOW - 1);
}

#[test]
fn few_bytes_wait_behind_the_first_task() {
    let mut pool = Pool::ready(1);
    pool.accustom(Duration::ZERO);
    for bytes in [16 << 20, MAX_BYTES_BEHIND, 1] {
        pool.push_task(0, SHORT, MS, bytes);
    }
    pool.turn();
    assert_eq!(pool.offered(), [(0, 0), (0, 1)]);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2]);
}

#[test]
fn tasks_of_one_worker_run_in_order() {
    let mut pool = Pool::ready(1);
    pool.push_many(500);
    pool.turn();
    pool.set_backpressure(true);
    pool.set_backpressure(false);
    pool.work_all();
    assert_eq!(pool.ended, Vec::from_iter(0..500));
}

#[test]
fn revoked_offers_fill_the_socket_until_they_are_read() {
    let mut pool = Pool::ready(1);
    pool.push(LONG);
    pool.work_all();
    pool.push(SHORT);
    for _ in 0..2 * MAX_UNREAD {
        pool.turn();
        pool.set_backpressure(true);
        pool.set_backpressure(false);
    }
    let inbox = &pool.simulator.processes[0].as_ref().expect("a process").inbox;
    assert_eq!(inbox.len(), MAX_UNREAD - 1, "the long one was read");
    pool.advance(MS * 1000);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1]);
}

#[test]
fn nothing_starts_under_backpressure() {
    let mut pool = Pool::ready(1);
    pool.push_many(4);
    pool.turn();
    assert!(pool.simulator.step(W0), "it claims the first one");
    pool.set_backpressure(true);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
    assert_eq!(pool.scheduler.queued().0, 3);
    pool.set_backpressure(false);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2, 3]);
}

// Stealing

#[test]
fn an_idle_worker_gets_what_waits_behind_a_long_task() {
    let mut pool = Pool::ready(2);
    pool.push(LONG);
    pool.push(SHORT);
    pool.push(SHORT);
    pool.work_all();
    pool.log();
    assert_eq!(pool.ended, [1], "task 2 waits behind task 0");
    assert_eq!(
        pool.scheduler.next_wakeup(),
        Some(pool.simulator.now + STEAL_DELAY)
    );
    pool.sleep(STEAL_DELAY);
    assert_eq!(pool.log(), [Action::Revoke(0, 2), Action::Offer(1, 2)]);
    pool.work_all();
    assert_eq!(pool.ended, [1, 2]);
}

#[test]
fn all_idle_workers_get_some() {
    let mut pool = Pool::new(4);
    pool.load();
    pool.turn();
    pool.step(W0);
    pool.accustom(Duration::ZERO);
    pool.push(LONG);
    pool.push_many(40);
    pool.turn();
    pool.step(W0);
    assert_eq!(pool.simulator.in_flight(W0), 41);
    pool.advance(STEAL_DELAY);
    (1..4).for_each(|worker| assert!(pool.step(WorkerId(worker)), "it becomes ready"));
    pool.turn();
    assert_eq!(
        [0, 1, 2, 3].map(|worker| pool.simulator.in_flight(WorkerId(worker))),
        [21, 7, 7, 6]
    );
}

#[test]
fn the_only_task_of_a_worker_is_not_taken_from_it() {
    let mut pool = Pool::ready(2);
    pool.push(SHORT);
    pool.turn();
    pool.log();
    pool.sleep(CLAIM_TIMEOUT - MS);
    assert_eq!(pool.log(), []);
}

#[test]
fn a_task_that_cannot_be_revoked_stays_with_its_worker() {
    let mut pool = Pool::ready(2);
    pool.push(LONG);
    pool.push_many(2);
    pool.work_all();
    pool.simulator.slots[2].page = Page::Nonsense;
    pool.log();
    pool.sleep(STEAL_DELAY);
    assert_eq!(pool.log(), []);
}
