//! Cancelling groups of tasks: at once and at a deadline.

use std::time::{Duration, Instant};

use mpwasm::CancellationToken;

use crate::common::{builder, in_time, outcome, pool_and_guest, recorded, status, task};
use crate::support::retry_when_late;

/// Longest time that a spinning task may take to end once it was cancelled.
const PROMPT: Duration = Duration::from_millis(100);

#[test]
fn cancelling_a_spinning_task_ends_it_within_100_ms_and_only_it() {
    // The time holds on an idle machine. On any other the task is still cancelled, and no other is.
    retry_when_late(|| {
        let (pool, guest, record) = recorded(builder());
        let handles = [0, 1].map(|_| pool.submit(task(&guest, "spin")).unwrap());
        record.wait_until_running(&[&handles[0], &handles[1]]);
        let begin = Instant::now();
        handles[0].cancel();
        let ended = outcome(&handles[0]);
        let took = begin.elapsed();
        assert_eq!(ended.status(), "cancelled");
        assert!(!handles[1].is_ready(), "the other one spins on");
        let next = outcome(&pool.submit(guest.task([1])).unwrap());
        assert_eq!(next.status(), "ok");
        assert!(!handles[1].is_ready());
        (took <= PROMPT)
            .then_some(())
            .ok_or_else(|| format!("it took {took:?}"))
    });
}

#[test]
fn a_token_cancels_its_group_wherever_its_tasks_are_and_no_other_task() {
    let (pool, guest, record) = recorded(builder());
    let (other_pool, other_guest) = pool_and_guest(builder());
    let token = CancellationToken::new();
    let running = [0, 1].map(|_| pool.submit(task(&guest, "spin").token(&token)).unwrap());
    record.wait_until_running(&[&running[0], &running[1]]);
    let submit = |number| pool.submit(guest.task([number])).unwrap();
    let queued: Vec<_> = (0..10)
        .map(|number| pool.submit(guest.task([number]).token(&token)).unwrap())
        .collect();
    let others: Vec<_> = (0..10).map(submit).collect();
    let elsewhere = other_pool
        .submit(task(&other_guest, "spin").token(&token))
        .unwrap();
    assert!(!token.is_cancelled());
    token.cancel();
    assert!(token.is_cancelled());
    for handle in running.iter().chain(&queued).chain([&elsewhere]) {
        assert_eq!(status(handle), "cancelled");
    }
    assert!(
        queued.iter().all(|handle| outcome(handle).usage.pid.is_none()),
        "they never ran"
    );
    assert!(others.iter().all(|handle| status(handle) == "ok"));
}

#[test]
fn a_task_with_a_cancelled_token_never_runs() {
    let (pool, guest) = pool_and_guest(builder());
    let token = CancellationToken::new();
    token.clone().cancel();
    for number in 0..100 {
        let handle = pool.submit(guest.task([number]).token(&token)).unwrap();
        let ended = outcome(&handle);
        assert_eq!((ended.status(), ended.usage.pid), ("cancelled", None));
    }
}

#[test]
fn a_group_has_a_deadline_as_well_as_its_tasks() {
    let (pool, guest) = pool_and_guest(builder());
    let token = CancellationToken::new();
    // One task reaches its own timeout first. The group's deadline ends the others.
    let own = pool
        .submit(
            task(&guest, "spin")
                .token(&token)
                .timeout(Duration::from_millis(50)),
        )
        .unwrap();
    assert_eq!(status(&own), "timeout");
    let group: Vec<_> = (0..5)
        .map(|_| pool.submit(task(&guest, "spin").token(&token)).unwrap())
        .collect();
    token.cancel_after(Duration::from_millis(100));
    assert!(group.iter().all(|handle| status(handle) == "cancelled"));
    assert!(token.is_cancelled());
}

#[test]
fn the_last_deadline_of_a_group_counts() {
    let (pool, guest) = pool_and_guest(builder());
    let (early, late) = (CancellationToken::new(), CancellationToken::new());
    // It is replaced in time, even if this thread is descheduled between the two lines.
    let first = Instant::now() + Duration::from_secs(1);
    late.cancel_at(first);
    late.cancel_after(Duration::from_secs(3600));
    early.cancel_at(first + Duration::from_millis(50));
    let ended = pool.submit(task(&guest, "spin").token(&early)).unwrap();
    assert_eq!(status(&ended), "cancelled");
    // By now the other token's first deadline has passed. It was replaced, so nothing happens.
    assert!(!late.is_cancelled());
    late.cancel();
    assert!(late.is_cancelled());
}

#[test]
fn a_token_cancels_what_is_left_of_a_chunk() {
    let (pool, guest, record) = recorded(builder());
    let token = CancellationToken::new();
    let count = guest.model("count").unwrap();
    let mut results = pool
        .map(&count, [1, 7, 5, 5])
        .unwrap()
        .chunk_size(4)
        .token(&token);
    assert_eq!(results.next().unwrap().status(), "ok");
    record.wait_for_log(mpwasm::Source::Task(mpwasm::TaskId(1)), "running");
    token.cancel();
    let rest = in_time(move || results.map(|outcome| outcome.status()).collect::<Vec<_>>());
    assert_eq!(rest[1..], ["cancelled"; 2]);
}

#[test]
fn a_map_with_a_token_ends_with_what_it_had_in_flight() {
    let (pool, guest) = pool_and_guest(builder());
    for chunk_size in [1, 5] {
        let token = CancellationToken::new();
        let mut results = pool
            .map(&guest, 0..)
            .unwrap()
            .chunk_size(chunk_size)
            .token(&token);
        assert_eq!(
            results
                .by_ref()
                .take(20)
                .filter(|outcome| outcome.result.is_ok())
                .count(),
            20
        );
        token.cancel();
        let rest: Vec<_> = in_time(move || results.map(|outcome| outcome.status()).collect());
        assert!(rest.len() < 100 && rest.iter().all(|status| ["ok", "cancelled"].contains(status)));
    }
}
