//! Tasks that do not end at their deadline.

use super::super::KillReason;
use super::simulator::Page;
use super::*;
use Behaviour::{Hangs, Runs};
use mpwasm_types::outcome::Kind;
use mpwasm_types::retry::MAX_WORKER_DEATHS;
use mpwasm_types::timeouts::DISPATCHER_GRACE;

#[test]
fn a_worker_whose_task_is_overdue_is_killed() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.log();
    pool.sleep(MS * 1000 + DISPATCHER_GRACE - MS);
    assert_eq!(pool.log(), []);
    pool.sleep(MS);
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Overdue)]);
    pool.work_all();
    assert_eq!(pool.failure(task).kind, Kind::Timeout);
    let message = "it did not end within its timeout of 1s; the dispatcher killed its worker";
    assert_eq!(pool.failure(task).message, message);
}

#[test]
fn a_short_timeout_behind_a_long_one_is_enforced() {
    let mut pool = Pool::ready(1);
    pool.push_task(0, Runs(MS), 1000 * MS * 3600, 0);
    pool.push_task(0, Hangs, MS, 0);
    pool.work_all();
    pool.sleep(MS);
    pool.work_all();
    pool.log();
    pool.sleep(MS + DISPATCHER_GRACE);
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Overdue)]);
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

/// It may have died of what interrupted it.
#[test]
fn whatever_a_worker_died_of_after_the_deadline_it_is_a_timeout() {
    let segv = nix::sys::signal::Signal::SIGSEGV as i32;
    for exit in [
        WorkerExit::Signal(segv),
        WorkerExit::Forbidden(None),
        WorkerExit::Code(101),
    ] {
        let mut pool = Pool::ready(1);
        let task = pool.push(Hangs);
        pool.work_all();
        pool.advance(1001 * MS);
        pool.exit(W0, exit);
        assert_eq!(pool.failure(task).kind, Kind::Timeout);
    }
}

#[test]
fn workers_that_their_watchdogs_end_harm_no_task_behind() {
    let mut pool = Pool::ready(1);
    let stuck: Vec<_> = (0..MAX_WORKER_DEATHS + 2).map(|_| pool.push(Hangs)).collect();
    let behind = pool.push(Runs(MS));
    pool.accustom(MS);
    for task in stuck {
        pool.work_all();
        pool.advance(1000 * MS);
        pool.exit(W0, WorkerExit::Watchdog);
        assert_eq!(pool.failure(task).kind, Kind::Timeout);
    }
    pool.scheduler.drain();
    pool.finish();
    assert!(pool.succeeded(behind));
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
    assert_eq!(pool.log(), [Action::Kill(0, KillReason::Overdue)]);
}

#[test]
fn a_claim_before_the_offer_counts_as_at_the_offer() {
    let mut pool = Pool::ready(1);
    let task = pool.push(Hangs);
    pool.work_all();
    pool.simulator.slots[0].page = Page::Claimed(Time(0));
    pool.sleep(900 * MS);
    assert_eq!(pool.log(), [Action::Offer(0, task)]);
}
