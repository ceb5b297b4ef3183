//! The rules for a pool in which something goes wrong: stalls, timeouts, deaths, cancelling and lies.

use super::super::{CANCEL_TIMEOUT, KillReason, RetireReason};
use super::simulator::{Page, SOCKET};
use super::*;
use Behaviour::{Hangs, Kills, Runs};
use mpwasm_types::outcome::Kind;
use mpwasm_types::settings::{
    CLAIM_TIMEOUT, DISPATCHER_GRACE, MAX_FAILED_SPAWNS, MAX_WORKER_DEATHS, MIN_PROGRESS, REAP_TIMEOUT,
    RESPAWN_DELAY, STALL_TIMEOUT, START_TIMEOUT,
};

// Workers that do not come up, or go

#[test]
fn a_worker_that_dies_is_replaced_at_once() {
    let mut pool = Pool::ready(1);
    pool.push(SHORT);
    pool.work_all();
    pool.log();
    pool.die(W0);
    pool.turn();
    assert_eq!(pool.log(), [Did::Spawn(0)]);
}

#[test]
fn a_worker_that_dies_without_having_done_anything_is_replaced_later_and_later() {
    let mut pool = Pool::ready(1);
    let mut delay = RESPAWN_DELAY;
    for _ in 0..4 {
        pool.die(W0);
        pool.turn();
        assert_eq!(pool.log(), []);
        assert_eq!(pool.scheduler.next_wakeup(), Some(pool.simulator.now + delay));
        pool.sleep(delay);
        assert_eq!(pool.log(), [Did::Spawn(0)]);
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
    assert_eq!(pool.log(), [Did::Spawn(0), Did::Kill(0, KillReason::NotReady)]);
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
fn a_worker_that_becomes_ready_ends_the_row_of_failed_starts() {
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
fn a_worker_that_cannot_be_reaped_is_given_up() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    let unharmed = pool.push(SHORT);
    pool.work_all();
    pool.simulator.process(W0).as_mut().expect("a process").wedged = true;
    pool.sleep(MS * 1000 + DISPATCHER_GRACE);
    pool.log();
    pool.sleep(REAP_TIMEOUT);
    assert_eq!(
        pool.log(),
        [Did::Fail(task, Kind::Timeout), Did::Abandon(0), Did::Spawn(0)]
    );
    pool.work_all();
    assert!(pool.succeeded(unharmed));
}

// Stalls

#[test]
fn a_worker_that_does_not_claim_loses_its_tasks_to_another() {
    let mut pool = Pool::ready(2);
    pool.stop(W0);
    pool.push(SHORT);
    pool.turn();
    pool.log();
    pool.sleep(CLAIM_TIMEOUT);
    assert_eq!(pool.log(), [Did::Revoke(0, 0), Did::Offer(1, 0)]);
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
    assert_eq!(pool.scheduler.queued().0, 1, "nobody else is there");
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
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Stalled)]);
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
        Did::Retire(0, RetireReason::NotNeeded),
        Did::Retire(1, RetireReason::NotNeeded)
    ]));
}

#[test]
fn patience_begins_with_the_end_of_the_task_before() {
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
    assert_eq!(pool.log(), [Did::Revoke(0, 1)]);
}

#[test]
fn a_worker_that_has_claimed_its_task_is_not_stalled() {
    let mut pool = Pool::ready(1);
    pool.push(Runs(900 * MS));
    pool.work_all();
    pool.sleep(800 * MS);
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Serving));
}

// Args that take long to reach their worker

#[test]
fn a_worker_that_takes_large_args_in_is_waited_for() {
    let mut pool = Pool::ready(2);
    pool.slow_down(W0, CLAIM_TIMEOUT - MS);
    pool.push_task(0, SHORT, MS, 16 << 20);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [0]);
    assert!(!pool.log().iter().any(|did| matches!(did, Did::Revoke(..))));
}

#[test]
fn a_worker_that_stops_while_it_takes_large_args_in_loses_them_as_soon_as_small_ones() {
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
    assert_eq!(pool.log(), [Did::Revoke(0, 0), Did::Offer(1, 0)]);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
}

#[test]
fn a_worker_that_takes_args_in_as_slowly_as_it_may_does_not_hold_them_for_ever() {
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
    assert_eq!(pool.log(), [Did::Revoke(0, 0)]);
    let held = pool.simulator.now.since(begin);
    assert!(held <= 11 * CLAIM_TIMEOUT + MS, "{held:?}");
    while pool.lifecycle(0) == Some(&Lifecycle::Stalled) {
        pool.scheduler.note_read(W0, pool.simulator.now);
        pool.sleep(MS);
    }
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Stalled)]);
    let held = pool.simulator.now.since(begin);
    assert!(held <= 11 * STALL_TIMEOUT + MS, "{held:?}");
}

#[test]
fn a_stalled_worker_that_takes_in_what_was_taken_from_it_is_not_killed() {
    let mut pool = Pool::ready(1);
    pool.slow_down(W0, CLAIM_TIMEOUT + 50 * MS);
    pool.push_task(0, SHORT, MS, 30 * SOCKET);
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended, [0]);
    assert!(!pool.log().iter().any(|did| matches!(did, Did::Kill(..))));
}

#[test]
fn stopped_workers_lose_a_task_one_after_the_other_in_no_more_than_the_usual_time() {
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
fn on_a_machine_that_starts_nothing_in_the_usual_time_tasks_start_all_the_same() {
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
fn large_args_on_their_way_are_not_sent_anew_when_offers_are_held_back() {
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
    assert!(!pool.log().contains(&Did::Revoke(0, 0)));
}

// Timeouts

#[test]
fn a_worker_whose_task_is_overdue_is_killed() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.log();
    pool.sleep(MS * 1000 + DISPATCHER_GRACE - MS);
    assert_eq!(pool.log(), []);
    pool.sleep(MS);
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Overdue)]);
    pool.work_all();
    assert_eq!(pool.failure(task).kind, Kind::Timeout);
    let message = "it did not end within its timeout of 1s; the dispatcher killed its worker";
    assert_eq!(pool.failure(task).message, message);
}

#[test]
fn a_short_timeout_behind_a_long_one_is_seen_in_time() {
    let mut pool = Pool::ready(1);
    pool.push_task(0, Runs(MS), 1000 * MS * 3600, 0);
    pool.push_task(0, Hangs, MS, 0);
    pool.work_all();
    pool.sleep(MS);
    pool.work_all();
    pool.log();
    pool.sleep(MS + DISPATCHER_GRACE);
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Overdue)]);
}

#[test]
fn a_worker_that_ended_itself_at_the_deadline_is_a_timeout() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.advance(1100 * MS);
    pool.exit(W0, WorkerExit::Code(70));
    assert_eq!(pool.failure(task).kind, Kind::Timeout);
    assert!(
        pool.failure(task)
            .message
            .ends_with("its worker ended its own process")
    );
}

#[test]
fn a_claim_that_moves_does_not_move_the_deadline() {
    let mut pool = Pool::ready(1);
    pool.push(Hangs);
    pool.work_all();
    pool.log();
    while pool.lifecycle(0) == Some(&Lifecycle::Serving) {
        let now = pool.simulator.now;
        assert!(now.since(Time(1_000_000_000)) < 2000 * MS, "it holds the pool up");
        pool.simulator.slots[0].page = Page::Claimed(now + MS * 5000);
        pool.sleep(MS);
    }
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Overdue)]);
}

#[test]
fn a_claim_before_the_offer_counts_as_at_the_offer() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.simulator.slots[0].page = Page::Claimed(Time(0));
    pool.sleep(900 * MS);
    assert_eq!(pool.log(), [Did::Offer(0, task)]);
}

// Deaths

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
fn what_a_worker_sent_before_it_died_counts() {
    let mut pool = Pool::ready(1);
    let task = pool.push(SHORT);
    pool.turn();
    assert!(pool.simulator.step(W0) && pool.simulator.step(W0));
    pool.die(W0);
    assert!(pool.succeeded(task));
}

#[test]
fn a_task_that_was_in_the_hands_of_workers_that_died_ends_as_crash() {
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
fn a_task_that_saw_a_death_has_its_next_worker_for_itself() {
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
fn tasks_do_not_suffer_from_their_neighbours() {
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

// Cancelling

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
    assert_eq!(pool.log(), [Did::Cancel(0, task)], "once is enough");
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
    assert_eq!(pool.log(), [Did::Kill(0, KillReason::Cancelled)]);
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
    assert!((0..2).all(|worker| log.contains(&Did::Kill(worker, KillReason::Terminated))));
    let late = pool.push(SHORT);
    pool.finish();
    assert!((running..=late).all(|id| pool.failure(id).kind == Kind::Cancelled));
    assert!(!pool.log().contains(&Did::Spawn(0)));
}

// What workers say is checked

#[test]
fn a_report_that_an_honest_worker_cannot_make_is_a_fault() {
    let mut pool = Pool::ready(1);
    assert_eq!(pool.report(W0, Frame::Ready), Err(ProtocolFault::ReadyTwice));
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::NotNext),
        "it has nothing"
    );
    pool.push_many(2);
    pool.turn();
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(1), MS)),
        Err(ProtocolFault::NotNext)
    );
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::NotClaimed)
    );
    assert_eq!(
        pool.report(W0, Frame::Skipped(OfferId(0))),
        Err(ProtocolFault::NotRevoked)
    );
    pool.cancel(0);
    assert_eq!(
        pool.report(W0, Frame::Ended(OfferId(0), MS)),
        Err(ProtocolFault::Revoked)
    );
    pool.work_all();
    assert_eq!(pool.ended, [1], "a fault changes nothing");
}

#[test]
fn a_worker_that_breaks_the_protocol_is_killed() {
    let mut pool = Pool::ready(1);
    let task = pool.push(LONG);
    pool.work_all();
    let now = pool.simulator.now;
    pool.scheduler.protocol_broken(
        W0,
        "it sent a frame that is too long".to_owned(),
        now,
        &mut pool.simulator,
    );
    pool.work_all();
    let message = "its worker broke the protocol and was killed: it sent a frame that is too long";
    assert_eq!(
        (pool.failure(task).kind, pool.failure(task).message.as_str()),
        (Kind::Crash, message)
    );
}
