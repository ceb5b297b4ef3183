//! Handles of submitted tasks: waiting, awaiting, cancelling.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use mpwasm::{CallbackStatus, Kind, Pool, Source, TaskHandle, TaskId};

use crate::common::{block_on, builder, in_time, outcome, pool_and_guest, recorded, status, task};
use crate::support::retry_when_late;

#[test]
fn pools_and_handles_can_go_to_any_thread() {
    fn is_send_and_sync<T: Send + Sync + Unpin + 'static>() {}
    is_send_and_sync::<Pool>();
    is_send_and_sync::<TaskHandle>();
    is_send_and_sync::<mpwasm::Guest>();
    is_send_and_sync::<mpwasm::Model>();
    is_send_and_sync::<mpwasm::Task>();
    is_send_and_sync::<mpwasm::Error>();
}

#[test]
fn a_handle_gives_the_outcome_to_who_waits() {
    let (pool, guest) = pool_and_guest(builder());
    let handle = pool.submit(guest.task((1, "two")).key("k")).unwrap();
    assert_eq!(handle.id(), TaskId(0));
    let ended = in_time(|| handle.wait());
    assert_eq!(ended.result.unwrap().get(), "[1,\"two\"]");
    assert_eq!(
        (ended.id, ended.key.as_deref(), ended.attempts),
        (TaskId(0), Some("k"), 1)
    );
    assert_eq!(ended.callback, CallbackStatus::None);
    assert!(
        ended
            .usage
            .pid
            .is_some_and(|pid| pid != std::process::id() && pid != pool.dispatcher_pid())
    );
}

#[test]
fn waiting_with_a_timeout_can_be_repeated() {
    let (pool, guest, record) = recorded(builder());
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&handle]);
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    assert!(handle.wait_timeout(Duration::from_millis(20)).is_none());
    handle.cancel();
    assert_eq!(status(&handle), "cancelled");
    // Also after it has arrived, and without blocking.
    assert_eq!(handle.wait_timeout(Duration::ZERO).unwrap().status(), "cancelled");
    assert_eq!(handle.wait_timeout(Duration::MAX).unwrap().status(), "cancelled");
    assert_eq!(in_time(|| handle.wait()).status(), "cancelled");
}

#[test]
fn a_handle_can_be_awaited() {
    let (pool, guest) = pool_and_guest(builder());
    let submit = |number: u32| pool.submit(guest.task([number])).unwrap();
    let (first, second) = (submit(1), submit(2));
    let results = in_time(|| {
        block_on(async {
            // They are awaited in the reverse order of submission.
            let second = second.await.result.unwrap();
            let first = first.await.result.unwrap();
            [first, second]
        })
    });
    assert_eq!(results.map(|json| json.get().to_owned()), ["[1]", "[2]"]);
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let (pool, guest, record) = recorded(builder());
    let mut handle = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&handle]);
    let mut polled = |waker: &Waker| Pin::new(&mut handle).poll(&mut Context::from_waker(waker));
    assert!(polled(Waker::noop()).is_pending());
    pool.cancel(TaskId(0));
    // From now on another thread polls, with another waker.
    assert_eq!(in_time(|| block_on(handle)).status(), "cancelled");
}

#[test]
fn a_task_that_is_queued_can_be_cancelled() {
    let (pool, guest, record) = recorded(builder().size(1));
    let running = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&running]);
    let queued: Vec<_> = (0..100)
        .map(|number| pool.submit(guest.task([number])).unwrap())
        .collect();
    for handle in queued.iter().filter(|handle| handle.id().0 % 2 == 0) {
        handle.cancel();
    }
    // It never ran, and ends although the only worker is busy.
    for handle in queued.iter().filter(|handle| handle.id().0 % 2 == 0) {
        let ended = outcome(handle);
        assert_eq!(
            (ended.status(), ended.usage.pid, ended.usage.run_us),
            ("cancelled", None, None)
        );
    }
    assert!(running.wait_timeout(Duration::ZERO).is_none());
    running.cancel();
    assert_eq!(status(&running), "cancelled");
    for handle in queued.iter().filter(|handle| handle.id().0 % 2 == 1) {
        assert_eq!(status(handle), "ok");
    }
}

#[test]
fn a_task_can_be_cancelled_at_once() {
    // The cancellation may overtake the task on its way to the dispatcher.
    let (pool, guest) = pool_and_guest(builder());
    for _ in 0..200 {
        let handle = pool.submit(task(&guest, "spin")).unwrap();
        handle.cancel();
        assert_eq!(status(&handle), "cancelled");
    }
}

#[test]
fn a_task_that_runs_can_be_cancelled() {
    for model in ["spin", "sleep"] {
        retry_when_late(|| {
            let (pool, guest, record) = recorded(builder().size(1));
            let handle = pool.submit(task(&guest, model)).unwrap();
            record.wait_until_running(&[&handle]);
            handle.cancel();
            let ended = outcome(&handle);
            assert_eq!(ended.result.unwrap_err().kind, Kind::Cancelled, "{model}");
            let next = outcome(&pool.submit(guest.task([1])).unwrap());
            assert_eq!(next.status(), "ok", "{model}");
            // The worker survives, unless it was too late to end the task by itself.
            let lives = next.usage.pid == ended.usage.pid;
            lives
                .then_some(())
                .ok_or_else(|| format!("{model}: it was replaced"))
        });
    }
}

#[test]
fn cancelling_what_has_ended_or_never_was_does_nothing() {
    let (pool, guest) = pool_and_guest(builder());
    let handle = pool.submit(guest.task([1])).unwrap();
    assert_eq!(status(&handle), "ok");
    handle.cancel();
    pool.cancel(handle.id());
    pool.cancel(TaskId(u64::MAX));
    pool.cancel(TaskId(1));
    assert_eq!(status(&pool.submit(guest.task([2])).unwrap()), "ok");
    assert_eq!(status(&handle), "ok");
    in_time(|| pool.stop()).unwrap();
    handle.cancel();
}

#[test]
fn dropping_a_handle_that_cancels_on_drop_ends_its_task_and_no_other() {
    let (pool, guest, record) = recorded(builder().size(2));
    let stays = pool.submit(task(&guest, "spin")).unwrap();
    let goes = pool.submit(task(&guest, "spin")).unwrap().cancel_on_drop();
    record.wait_until_running(&[&stays, &goes]);
    let id = goes.id();
    // A future that is dropped, as by a timeout of an executor.
    let mut goes = goes;
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut goes).poll(&mut context).is_pending());
    drop(goes);
    // Both workers were spinning. Now one is free again.
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
    assert!(!stays.is_ready());
    stays.cancel();
    // Cancelling a task that has ended has no effect.
    let ended = pool.submit(guest.task([2])).unwrap().cancel_on_drop();
    let ended_id = ended.id();
    assert_eq!(status(&ended), "ok");
    drop(ended);
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    let status_of = |id| {
        let outcome = outcomes.iter().find(|outcome| outcome.id == id);
        outcome.expect("each task has an outcome").status()
    };
    assert_eq!((status_of(id), status_of(ended_id)), ("cancelled", "ok"));
}

#[test]
fn dropping_a_handle_does_not_cancel_the_task() {
    let (pool, guest, record) = recorded(builder());
    drop(pool.submit(task(&guest, "logged")).unwrap());
    in_time(|| pool.stop()).unwrap();
    assert_eq!(record.outcomes()[0].status(), "ok");
}

#[test]
fn an_outcome_waits_for_the_callback() {
    let (pool, guest, record) = recorded(builder());
    let (well, badly) = (
        pool.submit(task(&guest, "logged")).unwrap(),
        pool.submit(task(&guest, "lost")).unwrap(),
    );
    for (handle, status, callback) in [(well, "ok", "callback"), (badly, "trap", "error_callback")] {
        let ended = outcome(&handle);
        assert_eq!((ended.status(), ended.callback), (status, CallbackStatus::Ok));
        record.wait_for_log(Source::Callback(ended.id), callback);
    }
}
