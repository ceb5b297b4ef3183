//! Waiting for several tasks, and callbacks when a task has ended.

use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_core::Stream;
use mpwasm::{Outcome, TaskId, as_completed, wait_all, wait_any};

use crate::common::{PATIENCE, block_on, builder, in_time, outcome, pool_and_guest, recorded, status, task};

#[test]
fn a_handle_says_whether_it_is_ready_without_waiting() {
    let (pool, guest, record) = recorded(builder());
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&handle]);
    assert!(!handle.is_ready());
    assert!(handle.try_get().is_none());
    handle.cancel();
    assert_eq!(status(&handle), "cancelled");
    assert!(handle.is_ready());
    assert_eq!(handle.try_get().unwrap().status(), "cancelled");
    assert_eq!(handle.try_get().unwrap().id, handle.wait().id);
}

#[test]
fn an_outcome_is_parsed_as_what_is_asked_for() {
    let (pool, guest) = pool_and_guest(builder());
    let ended = outcome(&pool.submit(guest.task((1, "two"))).unwrap());
    assert_eq!(ended.parse::<(u8, String)>().unwrap(), (1, "two".to_owned()));
    let error = ended.parse::<(u8, u8)>().unwrap_err();
    assert_eq!((error.kind, error.id), (mpwasm::Kind::Error, ended.id));
    let failed = outcome(&pool.submit(task(&guest, "trap")).unwrap());
    assert_eq!(failed.parse::<u8>().unwrap_err().kind, mpwasm::Kind::Trap);
}

#[test]
fn wait_all_waits_for_all_or_until_its_timeout() {
    let (pool, guest, record) = recorded(builder());
    let mut handles = vec![pool.submit(task(&guest, "spin")).unwrap()];
    record.wait_until_running(&[&handles[0]]);
    handles.extend((0..20).map(|number| pool.submit(guest.task([number])).unwrap()));
    assert!(wait_all(&handles[1..], PATIENCE));
    assert!(!wait_all(&handles, Duration::from_millis(20)));
    assert!(!wait_all(&handles, Duration::ZERO));
    handles[0].cancel();
    assert!(in_time(move || wait_all(&handles, None)));
    assert!(wait_all(&[], None));
}

#[test]
fn wait_any_returns_with_the_first_that_ends() {
    let (pool, guest, record) = recorded(builder());
    let handles = [0, 1].map(|_| pool.submit(task(&guest, "spin")).unwrap());
    record.wait_until_running(&[&handles[0], &handles[1]]);
    assert_eq!(wait_any(&handles, Duration::from_millis(20)), None);
    assert_eq!(wait_any(&[], None), None);
    handles[1].cancel();
    let handles = in_time(move || {
        assert_eq!(wait_any(&handles, None), Some(1));
        handles
    });
    // A task that ended before the wait is found as well.
    assert_eq!(wait_any(&handles, Duration::ZERO), Some(1));
}

#[test]
fn as_completed_gives_the_outcomes_in_the_order_of_their_ends() {
    let (pool, guest, record) = recorded(builder());
    let slow = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&slow]);
    let quick = (0..20).map(|number| pool.submit(guest.task([number])).unwrap());
    let mut ended = as_completed(std::iter::once(slow).chain(quick));
    assert_eq!(ended.len(), 21);
    let ids: Vec<_> = ended.by_ref().take(20).map(|outcome| outcome.id).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=20).map(TaskId).collect::<Vec<_>>());
    pool.cancel(TaskId(0));
    assert_eq!(
        in_time(move || ended.map(|outcome| outcome.status()).collect::<Vec<_>>()),
        ["cancelled"]
    );
}

#[test]
fn as_completed_is_a_stream() {
    let (pool, guest) = pool_and_guest(builder());
    let handles: Vec<_> = (0..20)
        .map(|number| pool.submit(guest.task([number])).unwrap())
        .collect();
    let mut ended = as_completed(handles).into_stream();
    let mut next = || {
        block_on(std::future::poll_fn(|context| {
            Pin::new(&mut ended).poll_next(context)
        }))
    };
    let mut ids: Vec<_> = std::iter::from_fn(&mut next).map(|outcome| outcome.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..20).map(TaskId).collect::<Vec<_>>());
    assert!(next().is_none());
}

#[test]
fn on_done_is_called_once_with_the_outcome_early_or_late() {
    let (pool, guest, record) = recorded(builder());
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&handle]);
    let (sender, calls) = mpsc::channel();
    let call = |name: &'static str| {
        let sender = sender.clone();
        move |outcome: Outcome| sender.send((name, outcome.id, outcome.status())).unwrap()
    };
    handle.on_done(call("early"));
    handle.on_done(call("second"));
    assert!(calls.try_recv().is_err());
    handle.cancel();
    assert_eq!(
        calls.recv_timeout(PATIENCE).unwrap(),
        ("early", TaskId(0), "cancelled")
    );
    assert_eq!(
        calls.recv_timeout(PATIENCE).unwrap(),
        ("second", TaskId(0), "cancelled")
    );
    handle.on_done(call("late"));
    assert_eq!(
        calls.recv_timeout(PATIENCE).unwrap(),
        ("late", TaskId(0), "cancelled")
    );
    assert!(calls.try_recv().is_err());
}

#[test]
fn on_done_may_use_the_pool_and_panic_and_wedges_nothing() {
    let (pool, guest) = pool_and_guest(builder());
    let pool = Arc::new(pool);
    let (sender, calls) = mpsc::channel();
    let first = pool.submit(guest.task([1])).unwrap();
    first.on_done(|_| panic!("on purpose: this is shown, and nothing else happens"));
    let (in_call, next) = (Arc::clone(&pool), guest.task(["next"]));
    first.on_done(move |_| {
        // The callback submits a task and waits for it. That would deadlock if the receiver's thread made the call.
        sender
            .send(in_call.submit(next).unwrap().wait().status())
            .unwrap();
    });
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), "ok");
    assert_eq!(status(&pool.submit(guest.task([2])).unwrap()), "ok");
}
