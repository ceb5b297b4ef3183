//! Which guests workers are started with, and that no task waits forever for its guest.

use super::super::RetireReason;
use super::*;
use crate::assign::MAX_OVERTAKING_TIME;
use crate::recency::RECENT_TASKS;
use crate::slot::LONG_TASK_THRESHOLD;

/// The guests of the worker's process, in the order in which they were chosen.
fn guests(pool: &Pool, worker: u32) -> Vec<u32> {
    let process = pool.simulator.processes[worker as usize].as_ref();
    process.expect("a process").guests.clone()
}

fn push_of(pool: &mut Pool, guest: u32, behaviour: Behaviour) -> u64 {
    pool.push_task(guest, behaviour, Duration::from_secs(1000), 10)
}

fn push_all_of(pool: &mut Pool, guests: impl IntoIterator<Item = u32>) {
    guests.into_iter().for_each(|guest| {
        push_of(pool, guest, SHORT);
    });
}

#[test]
fn workers_load_all_guests_while_these_are_few() {
    let mut pool = Pool::new(1).with_guests(4, 4);
    push_of(&mut pool, 2, SHORT);
    pool.turn();
    assert_eq!(guests(&pool, 0), [0, 1, 2, 3]);
}

#[test]
fn workers_load_the_guests_of_queued_tasks_and_then_those_used_last() {
    let mut pool = Pool::new(1).with_guests(100, 4);
    push_all_of(&mut pool, [7, 7, 50, 7, 3]);
    pool.work_all();
    assert_eq!(pool.ended.len(), 5);
    assert_eq!(guests(&pool, 0), [7, 50, 3]);
    push_all_of(&mut pool, [9, 8]);
    pool.work_all();
    assert_eq!(pool.ended.len(), 7);
    assert_eq!(
        guests(&pool, 0),
        [9, 8, 3, 7],
        "those of the tasks, and the last ones before"
    );
}

#[test]
fn guests_that_were_not_used_for_long_are_not_loaded() {
    let mut pool = Pool::new(1).with_guests(100, 4);
    push_all_of(&mut pool, [7, 50, 3]);
    push_all_of(&mut pool, (0..RECENT_TASKS).map(|_| 9));
    pool.work_all();
    pool.die(W0);
    pool.turn();
    assert_eq!(guests(&pool, 0), [9]);
}

#[test]
fn a_process_for_one_task_loads_its_guest_alone() {
    let mut pool = Pool::replaced(1, Some(1)).with_guests(100, 4);
    push_all_of(&mut pool, [7, 50, 3]);
    pool.turn();
    assert_eq!(guests(&pool, 0), [7]);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2]);
    assert!(pool.simulator.starts <= 4, "{} starts", pool.simulator.starts);
}

#[test]
fn workers_that_start_together_load_different_guests() {
    let mut pool = Pool::new(2).with_guests(100, 3);
    push_all_of(&mut pool, 0..10);
    pool.turn();
    assert_eq!(guests(&pool, 0), [0, 1, 2]);
    assert_eq!(
        guests(&pool, 1),
        [1, 3, 4],
        "the second task may wait behind the first one for long"
    );
}

#[test]
fn a_worker_without_the_guest_is_replaced_and_no_other() {
    let mut pool = Pool::ready(3);
    pool.load();
    pool.turn();
    assert_eq!(pool.log(), [], "no task needs it");
    let new = push_of(&mut pool, 1, SHORT);
    pool.work_all();
    assert!(pool.succeeded(new));
    assert_eq!(
        pool.log(),
        [
            Action::Retire(0, RetireReason::LacksGuest),
            Action::Spawn(0),
            Action::Offer(0, new)
        ]
    );
}

#[test]
fn as_many_workers_are_replaced_as_have_tasks_to_run() {
    let mut pool = Pool::ready(4);
    pool.load();
    (0..3).for_each(|_| {
        push_of(&mut pool, 1, LONG);
    });
    pool.work_all();
    let retired = |did: &Action| matches!(did, Action::Retire(..));
    assert_eq!(pool.log().into_iter().filter(retired).count(), 3);
}

#[test]
fn busy_workers_run_their_tasks_before_they_are_replaced() {
    let mut pool = Pool::ready(1);
    let old = pool.push(Runs(10 * MS));
    pool.work_all();
    pool.load();
    let new = push_of(&mut pool, 1, SHORT);
    pool.work_all();
    assert!(!pool.succeeded(new));
    pool.advance(10 * MS);
    pool.work_all();
    assert!(pool.succeeded(old) && pool.succeeded(new));
}

#[test]
fn a_task_without_a_worker_does_not_hold_up_others() {
    let mut pool = Pool::ready(2);
    pool.load();
    push_of(&mut pool, 1, SHORT);
    pool.turn();
    pool.log();
    push_all_of(&mut pool, [0, 0]);
    pool.turn();
    assert_eq!(
        pool.offered(),
        [(1, 1), (1, 2)],
        "while a worker is started for the first one"
    );
}

#[test]
fn a_stream_of_other_tasks_does_not_starve_a_task() {
    let mut pool = Pool::ready(2);
    pool.accustom(MS);
    push_all_of(&mut pool, [0; 10]);
    pool.turn();
    pool.load();
    let starved = push_of(&mut pool, 1, SHORT);
    let begin = pool.simulator.now;
    while pool.simulator.now.since(begin) < 2 * MAX_OVERTAKING_TIME {
        push_all_of(&mut pool, [0, 0]);
        pool.advance(MS / 10);
        pool.turn();
        (0..2).for_each(|worker| {
            pool.step(WorkerId(worker));
        });
        if pool.succeeded(starved) {
            return;
        }
    }
    panic!("it waits forever");
}

#[test]
fn what_waits_behind_a_long_task_gets_another_worker_with_its_guest() {
    let mut pool = Pool::new(2).with_guests(10, 1);
    push_all_of(&mut pool, [3, 5]);
    pool.work_all();
    let has = |pool: &Pool, guest| (0..2).find(|&worker| guests(pool, worker) == [guest]);
    assert!(has(&pool, 3).is_some() && has(&pool, 5).is_some());
    let long = push_of(&mut pool, 5, LONG);
    let short = push_of(&mut pool, 5, SHORT);
    pool.work_all();
    assert!(!pool.succeeded(short), "it waits behind the long one");
    pool.sleep(LONG_TASK_THRESHOLD);
    pool.work_all();
    assert!(pool.succeeded(short));
    assert!(!pool.succeeded(long));
}

#[test]
fn many_guests_in_rotation_take_few_starts() {
    let mut pool = Pool::new(2).with_guests(1000, 64);
    for _ in 0..4 {
        push_all_of(&mut pool, 0..1000);
    }
    pool.scheduler.drain();
    pool.finish();
    assert_eq!(pool.ended.len(), 4000);
    assert!(pool.simulator.starts <= 20, "{} starts", pool.simulator.starts);
}

#[test]
fn guests_that_fit_into_the_workers_are_not_exchanged() {
    let mut pool = Pool::new(4).with_guests(100, 30);
    for _ in 0..50 {
        push_all_of(&mut pool, 0..100);
        pool.work_all();
    }
    assert_eq!(pool.ended.len(), 5000);
    assert!(pool.simulator.starts <= 8, "{} starts", pool.simulator.starts);
}

#[test]
fn tasks_of_a_guest_that_no_worker_can_load_end() {
    let mut pool = Pool::new(2).with_guests(100, 4);
    push_all_of(&mut pool, [3]);
    pool.work_all();
    let bad = [7, 8, 7].map(|guest| push_of(&mut pool, guest, SHORT));
    let good = push_of(&mut pool, 3, SHORT);
    for _ in 0..1000 {
        // A process that is to load guest 7 dies of it.
        for worker in 0..2 {
            if pool.lifecycle(worker) == Some(&Lifecycle::Starting) && guests(&pool, worker).contains(&7) {
                pool.die(WorkerId(worker));
            } else {
                pool.step(WorkerId(worker));
            }
        }
        pool.turn();
        pool.advance(MS);
    }
    for id in [bad[0], bad[2]] {
        let message = "5 workers in a row that were to load its guest ended before they were ready";
        assert!(
            pool.failure(id).message.starts_with(message),
            "{}",
            pool.failure(id).message
        );
    }
    assert!(
        pool.succeeded(bad[1]) && pool.succeeded(good),
        "others have nothing to do with it"
    );
    assert_eq!(pool.scheduler.pool_failure(), None);
}
