//! Tasks that wait for shared objects lend their places to others.

use super::super::RetireReason;
use super::super::waiting::SURPLUS_TIMEOUT;
use super::*;
use Behaviour::Waits;

const W2: WorkerId = WorkerId(2);

/// A pool whose workers are ready, with up to `max_waiting` more while tasks wait.
fn pool(size: u32, max_waiting: u32) -> Pool {
    Pool::lending(size, max_waiting, None, false).made_ready()
}

#[test]
fn another_worker_runs_what_was_in_flight_behind_a_waiting_task() {
    let mut pool = pool(1, 1);
    pool.accustom(MS);
    let waits = pool.push(Waits(100 * MS));
    let behind = [SHORT, SHORT].map(|task| pool.push(task));
    pool.work_all();
    assert_eq!(pool.ended, behind, "they do not wait for it");
    let log = pool.log();
    assert!(log.contains(&Action::Revoke(0, behind[0])), "{log:?}");
    assert!(log.contains(&Action::Spawn(1)), "{log:?}");
    pool.sleep(100 * MS);
    pool.work_all();
    assert!(pool.succeeded(waits));
}

#[test]
fn no_worker_is_lent_while_no_task_is_there_for_it() {
    let mut pool = pool(2, 2);
    pool.push(Waits(100 * MS));
    pool.push(SHORT);
    pool.work_all();
    assert_eq!(pool.simulator.starts, 2);
    pool.push(LONG);
    pool.work_all();
    assert_eq!(pool.simulator.starts, 2, "the other worker is idle");
    pool.push(SHORT);
    pool.work_all();
    pool.sleep(MS);
    pool.work_all();
    assert_eq!(pool.simulator.starts, 3);
    assert_eq!(pool.ended, [1, 3], "the lent worker takes it from the other one");
}

#[test]
fn workers_are_lent_up_to_the_bound_and_the_next_task_stays_in_the_queue() {
    let mut pool = pool(1, 2);
    for _ in 0..4 {
        pool.push(Waits(100 * MS));
    }
    pool.work_all();
    assert_eq!(pool.simulator.starts, 3);
    assert_eq!(pool.scheduler.queued().0, 1);
    pool.sleep(100 * MS);
    pool.work_all();
    pool.finish_after_drain();
    assert_eq!(pool.ended.len(), 4);
}

#[test]
fn a_pool_that_lends_nothing_has_no_further_worker() {
    let mut pool = pool(1, 0);
    pool.push(Waits(100 * MS));
    pool.push(SHORT);
    pool.work_all();
    assert_eq!((pool.simulator.starts, pool.scheduler.workers.len()), (1, 1));
    pool.finish_after_drain();
    assert_eq!(pool.ended, [0, 1]);
}

#[test]
fn after_the_wait_no_more_tasks_than_the_size_are_started() {
    let mut pool = pool(1, 1);
    pool.push(Waits(10 * MS));
    pool.push(Runs(20 * MS));
    pool.work_all();
    pool.sleep(10 * MS);
    pool.work_all();
    assert_eq!(pool.ended, [0]);
    pool.push(SHORT);
    pool.log();
    pool.work_all();
    assert_eq!(pool.scheduler.queued().0 + pool.offered().len(), 1);
    assert!(
        pool.simulator
            .process(W0)
            .as_ref()
            .is_some_and(|process| process.running.is_none())
    );
    pool.sleep(10 * MS);
    pool.work_all();
    assert_eq!(pool.ended, [0, 1, 2]);
}

#[test]
fn a_lent_worker_ends_once_it_has_been_idle_for_a_while() {
    let mut pool = pool(1, 1);
    pool.push(Waits(10 * MS));
    pool.push(SHORT);
    pool.work_all();
    pool.sleep(10 * MS);
    pool.work_all();
    pool.log();
    pool.sleep(SURPLUS_TIMEOUT - 20 * MS);
    assert_eq!(pool.log(), []);
    pool.sleep(20 * MS);
    assert_eq!(pool.log(), [Action::Retire(1, RetireReason::Surplus)]);
    pool.work_all();
    pool.sleep(10 * SURPLUS_TIMEOUT);
    assert_eq!(pool.simulator.starts, 2, "the first worker stays");
    assert_eq!(pool.lifecycle(0), Some(&Lifecycle::Serving));
}

#[test]
fn a_pool_whose_tasks_wait_again_and_again_does_not_start_a_process_for_each() {
    let mut pool = pool(1, 1);
    for _ in 0..20 {
        pool.push(Waits(50 * MS));
        pool.push(Waits(50 * MS));
        pool.work_all();
        pool.sleep(SURPLUS_TIMEOUT / 2);
        pool.work_all();
    }
    assert_eq!((pool.simulator.starts, pool.ended.len()), (2, 40));
}

#[test]
fn a_worker_that_dies_while_its_task_waits_counts_no_more() {
    let mut pool = pool(1, 1);
    let waits = pool.push(Waits(100 * MS));
    pool.push(LONG);
    pool.work_all();
    assert_eq!(pool.simulator.starts, 2);
    pool.log();
    pool.die(W0);
    pool.push(SHORT);
    pool.work_all();
    assert_eq!(pool.failure(waits).kind, Kind::Crash);
    assert!(
        !pool.log().contains(&Action::Spawn(0)),
        "the lent worker is the pool's only one"
    );
}

#[test]
fn a_waiting_task_is_cancelled_and_times_out_as_others() {
    let mut pool = pool(2, 2);
    let cancelled = pool.push(Waits(500 * MS));
    let late = pool.push_task(0, Waits(500 * MS), 100 * MS, 10);
    pool.work_all();
    assert!(pool.cancel(cancelled));
    pool.work_all();
    assert_eq!(pool.ended, [cancelled]);
    pool.sleep(100 * MS);
    pool.work_all();
    assert_eq!(pool.ended, [cancelled, late]);
    pool.push_many(5);
    pool.work_all();
    assert_eq!(pool.ended.len(), 7, "their workers take tasks again");
}

#[test]
fn lent_workers_are_replaced_as_others_where_each_task_has_a_process() {
    let mut pool = Pool::lending(1, 1, Some(1), false).made_ready();
    pool.push(Waits(100 * MS));
    pool.push_many(4);
    pool.work_all();
    assert_eq!(pool.ended, [1, 2, 3, 4]);
    pool.finish_after_drain();
    assert_eq!(pool.ended.len(), 5);
}

#[test]
fn a_wait_that_an_honest_worker_cannot_report_is_a_fault() {
    let mut pool = pool(1, 1);
    pool.push(LONG);
    pool.push(SHORT);
    pool.turn();
    let waiting = |offer| Frame::Waiting(OfferId(offer));
    let resumed = |offer| Frame::Resumed(OfferId(offer));
    assert_eq!(pool.report(W0, waiting(0)), Err(ProtocolFault::NotClaimed));
    pool.work_all();
    assert_eq!(pool.report(W0, waiting(1)), Err(ProtocolFault::NotNext));
    assert_eq!(pool.report(W0, resumed(0)), Err(ProtocolFault::NoSuchWait));
    assert_eq!(pool.report(W0, waiting(0)), Ok(()));
    assert_eq!(pool.report(W0, waiting(0)), Err(ProtocolFault::NoSuchWait));
    assert_eq!(pool.report(W0, resumed(0)), Ok(()));
    assert_eq!(pool.report(W1, waiting(0)), Err(ProtocolFault::NotNext));
}

#[test]
fn a_stalled_worker_gets_the_pool_no_further_one() {
    let mut pool = pool(2, 2);
    pool.stop(W1);
    for _ in 0..8 {
        pool.push(Runs(10 * MS));
    }
    pool.work_all();
    pool.sleep(Duration::from_secs(1));
    assert!(pool.simulator.process(W2).is_none());
}

impl Pool {
    fn finish_after_drain(&mut self) {
        self.scheduler.drain();
        self.finish();
    }
}
