//! Retried tasks: their outcomes, their callbacks, and what ends the wait for a retry.

use std::time::{Duration, Instant};

use mpwasm::{
    Backoff, CallbackStatus, Guest, Kind, Outcome, Pool, Retry, Source, TaskHandle, TaskId, WorkerNumber,
};
use nix::sys::signal::Signal;

use crate::common::{LONG, Record, builder, in_time, outcome, recorder, task};
use crate::support;

/// Starts a pool of one worker with the guest whose attempts end differently. Returns the events of its reporter as well.
fn pool(retry: Retry) -> (Pool, Guest, Record) {
    let (recorder, record) = recorder();
    let pool = builder().size(1).retry(retry).reporter(recorder).start().unwrap();
    let guest = support::ATTEMPTS;
    let guest = pool.load_bytes("attempts.wat", guest.as_bytes()).unwrap();
    (pool, guest, record)
}

fn kinds(outcome: &Outcome) -> Vec<(u32, Kind)> {
    let tried = outcome.tried.iter();
    tried.map(|attempt| (attempt.attempt, attempt.kind)).collect()
}

/// Kills the worker that runs this task, once it does.
fn kill_worker(pool: &Pool, record: &Record, handle: &TaskHandle) -> u32 {
    record.wait_until_running(&[handle]);
    let workers = support::descendants(pool.dispatcher_pid());
    let &[worker] = &workers[..] else {
        panic!("{workers:?}")
    };
    support::send(worker, Signal::SIGKILL);
    worker
}

#[test]
fn a_task_whose_worker_is_killed_is_tried_again_in_another() {
    let (pool, guest, record) = pool(Retry::times(1));
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    let killed = kill_worker(&pool, &record, &handle);
    let ended = outcome(&handle);
    assert_eq!(
        ended.result.as_ref().unwrap().get(),
        "2",
        "the guest knew its attempt"
    );
    assert_eq!((ended.attempts, kinds(&ended)), (2, vec![(1, Kind::Crash)]));
    let first = &ended.tried[0];
    assert!(first.message.contains("SIGKILL"), "{first:?}");
    assert_eq!((first.worker, first.pid), (WorkerNumber(0), killed));
    assert_ne!(ended.usage.pid, Some(killed));
    assert_eq!(ended.callback, CallbackStatus::Ok);
    record.wait_for_log(Source::Callback(TaskId(0)), "callback");
    in_time(|| pool.stop()).unwrap();
    assert!(record.outcomes().len() == 1, "one outcome for all attempts");
}

#[test]
fn a_task_that_killed_its_worker_as_often_as_it_may_is_not_tried_again() {
    let (pool, guest, record) = pool(Retry::times(9).crash_limit(2));
    let handle = pool.submit(task(&guest, "spin_always")).unwrap();
    let killed = [(); 2].map(|()| kill_worker(&pool, &record, &handle));
    let ended = outcome(&handle);
    let error = ended.result.as_ref().unwrap_err();
    assert_eq!((error.kind, error.attempt, ended.attempts), (Kind::Crash, 2, 2));
    assert_eq!(kinds(&ended), [(1, Kind::Crash)]);
    assert_eq!([Some(ended.tried[0].pid), ended.usage.pid], killed.map(Some));
    record.wait_for_log(Source::Callback(TaskId(0)), "error_callback");
    // The pool continues to work.
    let next = pool.submit(task(&guest, "spin").retry(Retry::times(1))).unwrap();
    kill_worker(&pool, &record, &next);
    assert_eq!(outcome(&next).status(), "ok");
}

#[test]
fn what_the_guest_did_is_tried_again_only_when_that_was_asked_for() {
    let (pool, guest, record) = pool(Retry::times(2));
    let not_asked = pool.submit(guest.task(())).unwrap();
    let asked = Retry::times(2).also_on(Kind::Trap);
    let asked = pool.submit(guest.task(()).retry(asked)).unwrap();
    let too_seldom = Retry::times(1).also_on(Kind::Trap);
    let too_seldom = pool.submit(guest.task(()).retry(too_seldom)).unwrap();

    let ended = outcome(&not_asked);
    assert_eq!(
        (ended.status(), ended.attempts, kinds(&ended)),
        ("trap", 1, vec![])
    );
    let ended = outcome(&asked);
    assert_eq!((ended.status(), ended.attempts), ("ok", 3));
    assert_eq!(kinds(&ended), [(1, Kind::Trap), (2, Kind::Trap)]);
    let ended = outcome(&too_seldom);
    assert_eq!((ended.status(), ended.attempts), ("trap", 2));
    assert_eq!(ended.result.unwrap_err().attempt, 2);
    in_time(|| pool.stop()).unwrap();
    for (id, line) in [(0, "error_callback"), (1, "callback"), (2, "error_callback")] {
        record.wait_for_log(Source::Callback(TaskId(id)), line);
    }
    let more = record
        .rest()
        .into_iter()
        .filter(|event| matches!(event, crate::common::ReceivedEvent::Log(..)));
    assert_eq!(more.count(), 0, "callbacks hear of the last attempt only");
}

#[test]
fn a_timeout_can_be_tried_again() {
    let (pool, guest, _) = pool(Retry::times(1).also_on(Kind::Timeout));
    // The second attempt has the same timeout as the first.
    let timeout = Duration::from_secs(2);
    let handle = pool.submit(task(&guest, "spin").timeout(timeout)).unwrap();
    let ended = outcome(&handle);
    assert_eq!(kinds(&ended), [(1, Kind::Timeout)]);
    assert_eq!(ended.status(), "ok");
    assert!(ended.tried[0].run_us >= 2_000_000, "{:?}", ended.tried);
}

#[test]
fn attempts_keep_their_distance() {
    let pause = Backoff::exponential(Duration::from_millis(100), Duration::from_millis(150));
    let (pool, guest, _) = pool(Retry::times(2).also_on(Kind::Trap).backoff(pause));
    let begin = Instant::now();
    let handle = pool.submit(guest.task(())).unwrap();
    assert_eq!(outcome(&handle).attempts, 3);
    assert!(
        begin.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begin.elapsed()
    );
}

/// Returns a task that has trapped and waits forever to be retried.
fn waiting() -> (Pool, TaskHandle, Record) {
    let (pool, guest, record) = pool(Retry::times(1).also_on(Kind::Trap).backoff(Backoff::fixed(LONG)));
    let handle = pool.submit(guest.task(())).unwrap();
    let next = pool.submit(guest.task(()).retry(Retry::times(0))).unwrap();
    // There is only one worker: when it has ended the second task, it has ended the first.
    assert_eq!(outcome(&next).status(), "trap");
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    (pool, handle, record)
}

#[track_caller]
fn assert_cancelled(handle: &TaskHandle) {
    let ended = outcome(handle);
    assert_eq!((ended.status(), ended.attempts), ("cancelled", 2));
    let message = ended.result.as_ref().unwrap_err().message.as_str();
    assert_eq!(message, "cancelled before attempt 2 started");
    assert_eq!(kinds(&ended), [(1, Kind::Trap)]);
    assert_eq!(ended.usage.pid, None, "the second attempt has not begun");
}

#[test]
fn a_task_that_waits_to_be_tried_again_can_be_cancelled() {
    let (pool, handle, _) = waiting();
    handle.cancel();
    assert_cancelled(&handle);
    in_time(|| pool.stop()).unwrap();
}

#[test]
fn an_interrupt_does_not_wait_for_a_pause() {
    let (pool, handle, _) = waiting();
    pool.interrupt();
    assert_cancelled(&handle);
    in_time(move || pool.join()).unwrap();
}

#[test]
fn a_termination_does_not_wait_for_a_pause() {
    let (pool, handle, _) = waiting();
    in_time(move || {
        pool.terminate();
        pool.join()
    })
    .unwrap();
    assert_cancelled(&handle);
}

#[test]
fn a_dispatcher_that_dies_takes_the_attempts_so_far_to_no_grave() {
    let (pool, handle, _) = waiting();
    support::send(pool.dispatcher_pid(), Signal::SIGKILL);
    let ended = outcome(&handle);
    assert_eq!((ended.status(), kinds(&ended)), ("crash", vec![(1, Kind::Trap)]));
    in_time(move || pool.join()).unwrap_err();
}
