//! Workers that do not claim their offers in time, and large args.

use super::super::{KillReason, RetireReason};
use super::simulator::SOCKET;
use super::*;
use crate::in_flight::MIN_PROGRESS;
use crate::scheduler::STALL_TIMEOUT;
use crate::task::CLAIM_TIMEOUT;
use Behaviour::Runs;

#[test]
fn a_worker_that_does_not_claim_loses_its_tasks_to_another() {
    let mut pool = Pool::ready(2);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.log();
    pool.sleep(CLAIM_TIMEOUT);
    assert_eq!(pool.log(), [Action::Revoke(0, 0), Action::Offer(1, 0)]);
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Stalled));
    pool.work_all();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_stalled_worker_serves_again_after_a_sign_of_life() {
    let mut pool = Pool::ready(1);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.sleep(CLAIM_TIMEOUT);
    assert_eq!(pool.scheduler.queued().0, 1, "there is no other worker");
    pool.resume(W0);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_stalled_worker_without_a_sign_of_life_is_killed() {
    let mut pool = Pool::ready(1);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.sleep(CLAIM_TIMEOUT);
    pool.log();
    pool.sleep(STALL_TIMEOUT);
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Stalled)]);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_stalled_worker_does_not_delay_the_end_of_the_pool() {
    let mut pool = Pool::ready(2);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.sleep(CLAIM_TIMEOUT);
    pool.scheduler.drain();
    pool.work_all();
    assert!(pool.log().ends_with(&[
        Action::Retire(0, RetireReason::NotNeeded),
        Action::Retire(1, RetireReason::NotNeeded)
    ]));
}

#[test]
fn the_claim_timeout_begins_with_the_end_of_the_previous_task() {
    let mut pool = Pool::ready(1);
    pool.push(Runs(500 * MS));
    pool.push(SHORT);
    pool.work_all();
    pool.advance(500 * MS);
    assert!(pool.simulator.step(W0), "it ends the first");
    pool.deliver(W0);
    pool.stop(W0);
    pool.turn();
    pool.log();
    pool.sleep(CLAIM_TIMEOUT - MS);
    assert_eq!(pool.log(), []);
    pool.sleep(MS);
    assert_eq!(pool.log(), [Action::Revoke(0, 1)]);
}

#[test]
fn a_worker_that_has_claimed_its_task_is_not_stalled() {
    let mut pool = Pool::ready(1);
    pool.push(Runs(900 * MS));
    pool.work_all();
    pool.sleep(800 * MS);
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Serving));
}

#[test]
fn a_worker_that_reads_large_args_is_waited_for() {
    let mut pool = Pool::ready(2);
    pool.slow_down(W0, CLAIM_TIMEOUT - MS);
    pool.push_task(0, SHORT, MS, 16 << 20);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [0]);
    assert!(!pool.log().iter().any(|did| matches!(did, Action::Revoke(..))));
}

#[test]
fn a_worker_that_stops_reading_large_args_loses_them_as_soon_as_small_ones() {
    let mut pool = Pool::ready(2);
    pool.slow_down(W0, 50 * MS);
    pool.push_task(0, SHORT, MS, 16 << 20);
    for _ in 0..10 {
        pool.work_all();
        pool.sleep(50 * MS);
    }
    pool.stop(W0);
    pool.log();
    pool.sleep(CLAIM_TIMEOUT - 50 * MS);
    assert_eq!(pool.log(), [Action::Revoke(0, 0), Action::Offer(1, 0)]);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_worker_that_reads_as_slowly_as_allowed_does_not_keep_args_forever() {
    let mut pool = Pool::ready(1);
    let bytes = 10 * MIN_PROGRESS;
    pool.push_task(0, SHORT, MS, bytes);
    pool.turn();
    pool.stop(W0);
    pool.log();
    let begin = pool.simulator.now;
    while pool.lifecycle(0) == Some(&Lifecycle::Serving) {
        pool.scheduler.note_read(W0, pool.simulator.now);
        pool.sleep(MS);
    }
    assert_eq!(pool.log(), [Action::Revoke(0, 0)]);
    let held = pool.simulator.now.since(begin);
    assert!(held <= 11 * CLAIM_TIMEOUT + MS, "{held:?}");
    while pool.lifecycle(0) == Some(&Lifecycle::Stalled) {
        pool.scheduler.note_read(W0, pool.simulator.now);
        pool.sleep(MS);
    }
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Stalled)]);
    let held = pool.simulator.now.since(begin);
    assert!(held <= 11 * STALL_TIMEOUT + MS, "{held:?}");
}

#[test]
fn a_stalled_worker_that_reads_its_revoked_offers_is_not_killed() {
    let mut pool = Pool::ready(1);
    pool.slow_down(W0, CLAIM_TIMEOUT + 50 * MS);
    pool.push_task(0, SHORT, MS, 30 * SOCKET);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [0]);
    assert!(!pool.log().iter().any(|did| matches!(did, Action::Kill(..))));
}

#[test]
fn each_stopped_worker_loses_a_task_after_one_claim_timeout() {
    let mut pool = Pool::ready(8);
    (0..7).for_each(|worker| pool.stop(WorkerId(worker)));
    pool.push(SHORT);
    pool.scheduler.drain();
    pool.turn();
    pool.sleep(7 * CLAIM_TIMEOUT);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn tasks_start_on_a_machine_that_is_slower_than_the_claim_timeout() {
    for (bytes, pace) in [(0, 150 * MS), (0, 5000 * MS), (2 << 20, 1000 * MS)] {
        let mut pool = Pool::new(3);
        pool.simulator.pace = pace;
        pool.load();
        for _ in 0..5 {
            pool.push_task(0, SHORT, MS, bytes);
        }
        pool.scheduler.drain();
        pool.finish_within(Duration::from_secs(600));
        assert_eq!(pool.ended.len(), 5, "{bytes} bytes, {pace:?}");
    }
}

/// A reader that reads now and then lets offers go as often.
#[test]
fn large_args_on_their_way_are_not_revoked_by_backpressure() {
    let mut pool = Pool::ready(1);
    pool.slow_down(W0, 10 * MS);
    pool.push_task(0, SHORT, MS, 16 << 20);
    pool.push(SHORT);
    while pool.ended.is_empty() {
        pool.set_backpressure(true);
        pool.work_all();
        pool.set_backpressure(false);
        pool.work_all();
        pool.advance(10 * MS);
    }
    assert!(!pool.log().contains(&Action::Revoke(0, 0)));
}
