//! How a pool ends: whatever the cause, every task has its outcome and no process is left.

use std::sync::Arc;
use std::time::Duration;

use mpwasm::{CallbackStatus, Error, Guest, Pool, Source, TaskHandle};
use nix::sys::signal::Signal;

use crate::common::{
    LONG, PATIENCE, Processes, ReceivedEvent, Record, builder, in_time, outcome, pool_and_guest, recorded,
    status, task,
};
use crate::support;

/// A pool whose two workers spin while ten tasks wait.
struct Busy {
    pool: Pool,
    guest: Guest,
    record: Record,
    running: Vec<TaskHandle>,
    waiting: Vec<TaskHandle>,
    processes: Processes,
}

impl Busy {
    fn new(timeout: Duration) -> Self {
        let (pool, guest, record) = recorded(builder());
        let running: Vec<_> = (0..2)
            .map(|_| pool.submit(task(&guest, "spin").timeout(timeout)).unwrap())
            .collect();
        record.wait_until_running(&running.iter().collect::<Vec<_>>());
        let waiting = (0..10)
            .map(|number| pool.submit(guest.task([number])).unwrap())
            .collect();
        let processes = Processes::of(&pool, 2);
        Self {
            pool,
            guest,
            record,
            running,
            waiting,
            processes,
        }
    }

    fn assert_all(handles: &[TaskHandle], expected: &str) {
        for handle in handles {
            assert_eq!(status(handle), expected, "task {}", handle.id());
        }
    }

    /// Asserts that every call that adds a task fails because the pool is closed.
    fn assert_closed(pool: &Pool, guest: &Guest) {
        assert!(matches!(pool.push(guest.task([1])), Err(Error::Closed)));
        assert!(matches!(pool.push_all([guest.task([1])]), Err(Error::Closed)));
        assert!(matches!(pool.submit(guest.task([1])), Err(Error::Closed)));
        assert!(matches!(
            pool.reject(mpwasm::internal::Rejected::default()),
            Err(Error::Closed)
        ));
    }
}

#[test]
fn stop_runs_all_that_was_accepted_callbacks_included() {
    let (pool, guest, record) = recorded(builder());
    let logged = guest.model("logged").unwrap();
    pool.push_all((0..500).map(|number| logged.task([number])))
        .unwrap();
    let handle = pool.submit(logged.task(["last"])).unwrap();
    let processes = Processes::of(&pool, 2);
    in_time(|| pool.stop()).unwrap();
    processes.assert_gone();
    // No wait is needed: everything was there when stop returned.
    assert_eq!(
        handle.wait_timeout(Duration::ZERO).unwrap().callback,
        CallbackStatus::Ok
    );
    let rest = record.rest();
    let is_callback = |event: &&ReceivedEvent| matches!(event, ReceivedEvent::Log(Source::Callback(_), line) if line == "callback");
    assert_eq!(rest.iter().filter(is_callback).count(), 501);
    assert_eq!(rest.len(), 2 * 501, "a callback and an outcome each");
}

#[test]
fn stop_waits_for_tasks_until_their_timeouts() {
    let busy = Busy::new(Duration::from_millis(500));
    let Busy {
        pool,
        running,
        waiting,
        processes,
        ..
    } = busy;
    in_time(|| pool.stop()).unwrap();
    processes.assert_gone();
    Busy::assert_all(&running, "timeout");
    Busy::assert_all(&waiting, "ok");
}

#[test]
fn a_pool_without_guests_and_one_without_tasks_stop_at_once() {
    let pool = builder().start().unwrap();
    let processes = Processes::of(&pool, 0);
    in_time(|| pool.stop()).unwrap();
    processes.assert_gone();
    let (pool, _) = pool_and_guest(builder());
    let dispatcher = support::pidfd(pool.dispatcher_pid());
    in_time(|| pool.stop()).unwrap();
    support::assert_all_end(&[dispatcher], Duration::ZERO);
}

#[test]
fn after_close_nothing_is_accepted_and_what_was_runs_on() {
    let Busy {
        pool,
        guest,
        running,
        waiting,
        processes,
        ..
    } = Busy::new(LONG);
    pool.close();
    pool.close();
    Busy::assert_closed(&pool, &guest);
    for handle in &running {
        handle.cancel();
    }
    let pool = in_time(|| {
        pool.join().unwrap();
        pool.join().unwrap();
        pool
    });
    processes.assert_gone();
    Busy::assert_all(&running, "cancelled");
    Busy::assert_all(&waiting, "ok");
    assert!(matches!(
        pool.load_bytes("guest.wat", crate::common::GUEST.as_bytes()),
        Err(Error::Closed)
    ));
    Busy::assert_closed(&pool, &guest);
}

#[test]
fn interrupt_lets_run_what_runs_and_cancels_the_rest() {
    let Busy {
        pool,
        guest,
        running,
        waiting,
        processes,
        ..
    } = Busy::new(LONG);
    pool.interrupt();
    Busy::assert_closed(&pool, &guest);
    for handle in &waiting {
        let ended = outcome(handle);
        assert_eq!((ended.status(), ended.usage.pid), ("cancelled", None));
    }
    for handle in &running {
        assert!(handle.wait_timeout(Duration::ZERO).is_none(), "it runs on");
        handle.cancel();
    }
    Busy::assert_all(&running, "cancelled");
    assert!(running.iter().all(|handle| outcome(handle).usage.pid.is_some()));
    in_time(move || pool.join()).unwrap();
    processes.assert_gone();
}

#[test]
fn terminate_ends_everything_now() {
    let Busy {
        pool,
        running,
        waiting,
        processes,
        ..
    } = Busy::new(LONG);
    pool.terminate();
    in_time(move || pool.join()).unwrap();
    processes.assert_killed();
    Busy::assert_all(&running, "cancelled");
    Busy::assert_all(&waiting, "cancelled");
}

#[test]
fn terminate_overtakes_close_and_interrupt() {
    let Busy {
        pool,
        guest,
        running,
        waiting,
        processes,
        ..
    } = Busy::new(LONG);
    pool.close();
    pool.interrupt();
    pool.terminate();
    Busy::assert_closed(&pool, &guest);
    in_time(move || pool.join()).unwrap();
    processes.assert_killed();
    Busy::assert_all(&running, "cancelled");
    Busy::assert_all(&waiting, "cancelled");
}

#[test]
fn dropping_the_pool_ends_everything_and_leaves_no_process() {
    let Busy {
        pool,
        record,
        running,
        waiting,
        processes,
        ..
    } = Busy::new(LONG);
    in_time(|| drop(pool));
    processes.assert_killed();
    // No wait is needed: the outcomes were there when the pool was gone.
    for handle in running.iter().chain(&waiting) {
        assert_eq!(handle.wait_timeout(Duration::ZERO).unwrap().status(), "cancelled");
        handle.cancel();
    }
    assert_eq!(record.outcomes().len(), 12);
}

#[test]
fn dropping_the_pool_does_not_wait_for_callbacks() {
    // A dispatcher that was killed for being late has not reported the end of the task.
    support::retry_when_late(|| {
        let (pool, guest, record) = recorded(builder());
        let stuck = pool.submit(task(&guest, "stuck")).unwrap();
        record.wait_for_log(Source::Callback(stuck.id()), "stuck");
        let processes = Processes::of(&pool, 2);
        in_time(|| drop(pool));
        processes.assert_killed();
        let ended = stuck.wait_timeout(Duration::ZERO).unwrap();
        let told = (ended.status(), ended.callback) == ("ok", CallbackStatus::Skipped);
        told.then_some(()).ok_or_else(|| format!("{ended:?}"))
    });
}

#[test]
fn dropping_a_pool_that_nothing_was_done_with_leaves_no_process() {
    let pool = builder().start().unwrap();
    let processes = Processes::of(&pool, 0);
    in_time(|| drop(pool));
    processes.assert_killed();
}

#[test]
fn a_pool_can_be_dropped_by_the_last_of_many_threads() {
    let Busy {
        pool,
        running,
        processes,
        ..
    } = Busy::new(LONG);
    let pool = Arc::new(pool);
    let clones: Vec<_> = (0..4).map(|_| Arc::clone(&pool)).collect();
    drop(pool);
    in_time(|| {
        std::thread::scope(|scope| {
            clones
                .into_iter()
                .for_each(|pool| drop(scope.spawn(|| drop(pool))))
        })
    });
    processes.assert_killed();
    Busy::assert_all(&running, "cancelled");
}

#[test]
fn handles_complete_when_the_dispatcher_dies() {
    let Busy {
        pool,
        guest,
        record,
        running,
        waiting,
        processes,
    } = Busy::new(LONG);
    support::send(pool.dispatcher_pid(), Signal::SIGKILL);
    Busy::assert_all(&running, "crash");
    Busy::assert_all(&waiting, "crash");
    let pool = in_time(|| {
        let error = pool.join().unwrap_err();
        assert!(
            matches!(&error, Error::DispatcherDied(why) if why.contains("SIGKILL")),
            "{error:?}"
        );
        pool.join().expect("an error is told once");
        pool
    });
    // The workers notice it by themselves, a moment later.
    support::until(|| processes.are_gone().then_some(()));
    Busy::assert_closed(&pool, &guest);
    assert!(matches!(
        pool.load_bytes("guest.wat", crate::common::GUEST.as_bytes()),
        Err(Error::Closed)
    ));
    assert_eq!(record.outcomes().len(), 12);
    in_time(|| drop(pool));
}

#[test]
fn the_dispatcher_outlives_the_thread_that_started_the_pool() {
    let started = std::thread::spawn(|| pool_and_guest(builder()));
    let (pool, guest) = started.join().unwrap();
    // The thread that started the pool is gone. Neither the dispatcher nor the workers may end with it.
    let dispatcher = support::pidfd(pool.dispatcher_pid());
    assert_eq!(status(&pool.submit(guest.task([1])).unwrap()), "ok");
    let other = std::thread::scope(|scope| {
        let load = || {
            pool.load_bytes("guest.wat", crate::common::GUEST.as_bytes())
                .unwrap()
        };
        scope.spawn(load).join().unwrap()
    });
    assert_eq!(status(&pool.submit(other.task([1])).unwrap()), "ok");
    assert!(
        !support::wait_readable(&dispatcher, Duration::ZERO),
        "the dispatcher has ended"
    );
    in_time(|| pool.stop()).unwrap();
}

#[test]
fn who_waits_for_the_pool_waits_in_as_many_threads_as_they_like() {
    let (pool, guest) = pool_and_guest(builder());
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    let pool = Arc::new(pool);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let pool = Arc::clone(&pool);
            std::thread::spawn(move || pool.join())
        })
        .collect();
    pool.terminate();
    in_time(|| {
        waiting
            .into_iter()
            .for_each(|thread| thread.join().unwrap().unwrap())
    });
    assert_eq!(handle.wait_timeout(PATIENCE).unwrap().status(), "cancelled");
}

#[test]
fn shutdown_waits_or_not_and_cancels_what_is_pending_or_not() {
    for cancel_pending in [true, false] {
        let Busy {
            pool,
            guest,
            running,
            waiting,
            processes,
            ..
        } = Busy::new(LONG);
        pool.shutdown(false, cancel_pending).unwrap();
        Busy::assert_closed(&pool, &guest);
        assert!(running.iter().all(|handle| !handle.is_ready()), "they run on");
        for handle in &running {
            handle.cancel();
        }
        in_time(move || pool.shutdown(true, cancel_pending)).unwrap();
        processes.assert_gone();
        Busy::assert_all(&running, "cancelled");
        Busy::assert_all(&waiting, if cancel_pending { "cancelled" } else { "ok" });
    }
}

#[test]
fn the_end_of_a_paused_pool_ends_its_pause() {
    type End = fn(Pool) -> Result<(), Error>;
    let ends: [(&str, End); 5] = [
        ("stop", Pool::stop),
        ("values", |pool| pool.stop_with_values().map(drop)),
        ("shutdown", |pool| pool.shutdown(true, true)),
        ("interrupt", |pool| {
            pool.interrupt();
            pool.join()
        }),
        ("drop", |pool| {
            drop(pool);
            Ok(())
        }),
    ];
    for (name, end) in ends {
        let (pool, guest) = pool_and_guest(builder());
        pool.pause();
        let handle = pool.submit(guest.task([1])).unwrap();
        in_time(move || end(pool)).unwrap();
        let expected = if matches!(name, "stop" | "values") {
            "ok"
        } else {
            "cancelled"
        };
        assert_eq!(
            handle.wait_timeout(PATIENCE).unwrap().status(),
            expected,
            "{name}"
        );
    }
}
