//! The rules for tasks that are tried again. The simulator panics when one is that should not be.

use super::super::in_flight::CANCEL_TIMEOUT;
use super::*;
use Behaviour::{Fails, Hangs, Kills};
use mpwasm_types::retry::Backoff;
use mpwasm_types::timeouts::DISPATCHER_GRACE;

/// So many further attempts, also after a trap.
fn on_trap(times: u32) -> Retry {
    Retry::times(times).also_on(Kind::Trap)
}

fn paused(times: u32) -> Retry {
    on_trap(times).backoff(Backoff::fixed(100 * MS))
}

fn attempts(pool: &Pool, task: u64) -> u32 {
    pool.simulator.truth[task as usize].claims
}

// What is tried again

#[test]
fn a_task_that_killed_its_worker_is_tried_again_when_it_may_be() {
    let mut pool = Pool::ready(1);
    let twice = pool.push_retried(Kills, 1, Retry::times(1), 1);
    let never = pool.push(Kills);
    pool.work_all();
    assert!(pool.succeeded(twice));
    assert_eq!((attempts(&pool, twice), attempts(&pool, never)), (2, 1));
    assert!(pool.log().contains(&Action::Try(twice, Kind::Crash)));
    assert_eq!(pool.failure(never).kind, Kind::Crash);
}

#[test]
fn what_a_guest_did_wrong_is_tried_again_only_when_that_was_asked_for() {
    let mut pool = Pool::ready(1);
    let asked = pool.push_retried(Fails, 2, on_trap(2), 2);
    let not_asked = pool.push_retried(Fails, 2, Retry::times(2), 0);
    pool.work_all();
    assert!(pool.succeeded(asked));
    assert_eq!((attempts(&pool, asked), attempts(&pool, not_asked)), (3, 1));
}

#[test]
fn a_timeout_is_tried_again_whoever_ended_the_task() {
    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Hangs, 1, Retry::times(1).also_on(Kind::Timeout), 1);
    pool.work_all();
    pool.sleep(MS * 1000 + DISPATCHER_GRACE);
    pool.work_all();
    assert!(pool.succeeded(task));
    assert!(pool.log().contains(&Action::Try(task, Kind::Timeout)));
}

#[test]
fn the_last_attempt_is_the_one_that_counts() {
    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Fails, 9, on_trap(3), 3);
    pool.work_all();
    assert_eq!((attempts(&pool, task), pool.failure(task).kind), (4, Kind::Trap));
}

// Crashes

#[test]
fn a_task_under_which_the_limit_of_workers_died_is_not_tried_again() {
    for limit in 1..6 {
        let mut pool = Pool::ready(1);
        let task = pool.push_retried(Kills, 99, Retry::times(50).crash_limit(limit), limit - 1);
        pool.scheduler.drain();
        pool.finish();
        assert_eq!(attempts(&pool, task), limit);
        assert_eq!(pool.failure(task).kind, Kind::Crash);
    }
}

#[test]
fn deaths_before_and_after_its_start_count_together() {
    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Kills, 1, Retry::times(9), 9);
    for _ in 0..2 {
        pool.turn();
        pool.die(W0);
        pool.sleep(MS * 1000);
        pool.step(W0);
    }
    pool.work_all();
    assert_eq!((attempts(&pool, task), pool.failure(task).kind), (1, Kind::Crash));

    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Kills, 2, Retry::times(9), 9);
    pool.turn();
    (0..2).for_each(|_| {
        while attempts(&pool, task) == pool.simulator.truth[task as usize].tried {
            pool.step(W0);
            pool.turn();
        }
        pool.step(W0);
        pool.turn();
    });
    while pool.simulator.unclaimed(W0).is_empty() {
        pool.step(W0);
        pool.turn();
    }
    pool.die(W0);
    let message = "3 workers died with it in flight; the last one was ended by SIGKILL: perhaps the system was out of \
                   memory";
    assert_eq!(pool.failure(task).message, message);
}

#[test]
fn a_task_that_killed_a_worker_is_offered_alone() {
    let mut pool = Pool::ready(1);
    pool.accustom(Duration::ZERO);
    let killer = pool.push_retried(Kills, 2, Retry::times(2), 2);
    pool.push_many(20);
    pool.scheduler.drain();
    pool.finish();
    assert!(pool.succeeded(killer));
    let deaths: Vec<u32> = pool.simulator.truth.iter().map(|truth| truth.deaths).collect();
    assert!(
        deaths.iter().all(|&deaths| deaths <= 1),
        "only the first death was shared: {deaths:?}"
    );
}

// Pauses

#[test]
fn a_task_waits_out_its_pause_and_delays_no_other_task() {
    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Fails, 1, paused(1), 1);
    pool.push_many(3);
    pool.work_all();
    assert_eq!(pool.ended, [1, 2, 3]);
    assert_eq!(pool.scheduler.next_wakeup(), Some(pool.simulator.now + 100 * MS));
    pool.sleep(99 * MS);
    pool.work_all();
    assert_eq!(attempts(&pool, task), 1);
    pool.sleep(MS);
    pool.work_all();
    assert_eq!(pool.ended, [1, 2, 3, 0]);
}

#[test]
fn tasks_that_wait_count_towards_those_that_are_read_from_the_pipe() {
    let mut pool = Pool::ready(1);
    (0..5).for_each(|_| {
        pool.push_retried(Fails, 1, paused(1), 1);
    });
    pool.work_all();
    assert_eq!(pool.scheduler.queued(), (5, 50));
}

#[test]
fn a_task_that_is_tried_again_comes_before_those_that_never_started() {
    let mut pool = Pool::ready(1);
    pool.accustom(50 * MS);
    pool.push_retried(Fails, 1, on_trap(1), 1);
    pool.push_many(5);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_pool_that_drains_waits_for_the_pauses() {
    let mut pool = Pool::ready(2);
    let task = pool.push_retried(Fails, 3, paused(3), 3);
    pool.scheduler.drain();
    let begin = pool.simulator.now;
    pool.finish();
    assert!(pool.succeeded(task));
    assert_eq!(pool.simulator.now.since(begin), 300 * MS);
}

// Cancelled tasks

#[test]
fn a_task_that_waits_is_cancelled_at_once() {
    let mut pool = Pool::ready(1);
    let task = pool.push_retried(Fails, 9, paused(9), 1);
    pool.work_all();
    assert!(pool.cancel(task));
    assert_eq!(pool.failure(task).kind, Kind::Cancelled);
    assert_eq!(pool.scheduler.open_tasks(), 0);
    assert!(!pool.cancel(task));
}

#[test]
fn an_interrupt_or_a_termination_ends_tasks_that_wait_at_once() {
    for end in [Pool::interrupt, Pool::terminate] {
        let mut pool = Pool::ready(1);
        let task = pool.push_retried(Fails, 9, paused(9), 1);
        pool.work_all();
        end(&mut pool);
        assert_eq!(pool.failure(task).kind, Kind::Cancelled);
        let begin = pool.simulator.now;
        pool.finish();
        assert_eq!(pool.simulator.now, begin);
    }
}

#[test]
fn what_fails_after_an_interrupt_is_not_tried_again() {
    let mut pool = Pool::ready(2);
    let tasks = [
        pool.push_retried(Fails, 9, on_trap(9), 0),
        pool.push_retried(Kills, 9, Retry::times(9), 0),
    ];
    pool.turn();
    assert!(pool.simulator.step(W0) && pool.simulator.step(W1), "they start");
    pool.interrupt();
    pool.finish();
    assert_eq!(
        tasks.map(|task| pool.failure(task).kind),
        [Kind::Trap, Kind::Crash]
    );
}

#[test]
fn a_running_task_that_was_cancelled_is_not_tried_again_however_it_ends() {
    let retry = || on_trap(9).also_on(Kind::Timeout);
    let mut pool = Pool::ready(3);
    let tasks = [Fails, Kills, Hangs].map(|behaviour| pool.push_retried(behaviour, 9, retry(), 0));
    pool.turn();
    pool.workers().for_each(|worker| {
        pool.simulator.step(worker);
    });
    tasks.iter().for_each(|&task| assert!(pool.cancel(task)));
    pool.work_all();
    pool.sleep(CANCEL_TIMEOUT);
    pool.work_all();
    assert_eq!(tasks.map(|task| attempts(&pool, task)), [1, 1, 1]);
    assert_eq!(pool.scheduler.open_tasks(), 0);
}
