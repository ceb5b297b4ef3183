//! The status of a pool: the state of workers and tasks, the counts, and progress.

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mpwasm::{
    Backoff, Error, Kind, Outcome, Reporter, Retry, Stats, Status, TaskId, TaskStatus, WorkerNumber,
    WorkerState,
};
use nix::sys::signal::Signal;

use crate::common::{LONG, builder, in_time, outcome, pool_and_guest, recorded, task};
use crate::support::{self, until};

#[test]
fn a_task_is_queued_then_runs_then_is_done() {
    let (pool, guest, record) = recorded(builder().size(1));
    let [first, second] = [(); 2].map(|()| pool.submit(task(&guest, "spin")).unwrap());
    record.wait_until_running(&[&first]);
    let TaskStatus::Running {
        attempt: 1,
        worker: WorkerNumber(0),
        pid,
        since,
    } = first.status().unwrap()
    else {
        panic!("{:?}", first.status())
    };
    assert_eq!(support::role(pid).as_deref(), Some("worker"));
    assert!(since < LONG);
    assert_eq!(second.status().unwrap(), TaskStatus::Queued { attempt: 1 });
    first.cancel();
    record.wait_until_running(&[&second]);
    outcome(&first);
    assert_eq!(first.status().unwrap(), TaskStatus::Done);
    second.cancel();
    in_time(move || pool.stop()).unwrap();
    assert_eq!(
        second.status().unwrap(),
        TaskStatus::Done,
        "also after the pool's end"
    );
}

#[test]
fn tasks_that_are_skipped_are_waited_for_by_nobody() {
    let (pool, guest) = pool_and_guest(builder());
    pool.skip(3).unwrap();
    assert_eq!((pool.stats().accepted, pool.stats().open()), (0, 0));
    assert_eq!(pool.status().unwrap().queued, 0);
    let handle = pool.submit(task(&guest, "trap")).unwrap();
    assert_eq!((handle.id(), outcome(&handle).status()), (TaskId(3), "trap"));
    assert_eq!((pool.stats().accepted, pool.stats().open()), (1, 0));
    in_time(move || pool.stop()).unwrap();
}

#[test]
fn a_task_whose_callback_runs_says_so() {
    let (pool, guest, record) = recorded(builder());
    let handle = pool.submit(task(&guest, "stuck")).unwrap();
    record.wait_for_log(mpwasm::Source::Callback(TaskId(0)), "stuck");
    assert_eq!(handle.status().unwrap(), TaskStatus::Callback);
    assert_eq!(pool.status().unwrap().callbacks, 1);
    in_time(move || {
        pool.terminate();
        pool.join()
    })
    .unwrap();
}

#[test]
fn a_task_that_waits_to_be_tried_again_says_for_how_long() {
    let (pool, guest) = pool_and_guest(builder());
    let retry = Retry::times(1).also_on(Kind::Trap).backoff(Backoff::fixed(LONG));
    let handle = pool.submit(task(&guest, "trap").retry(retry)).unwrap();
    let left = until(|| match handle.status() {
        Ok(TaskStatus::Paused { attempt: 2, left }) => Some(left),
        _ => None,
    });
    assert!(left <= LONG && left > LONG / 2, "{left:?}");
    assert_eq!(pool.status().unwrap().paused, 1);
    // A reply to `status` does not wait behind the events that `stats` counts.
    until(|| (pool.stats().retried == 1).then_some(()));
    in_time(move || {
        pool.terminate();
        pool.join()
    })
    .unwrap();
}

#[test]
fn the_pool_tells_what_each_worker_is_doing() {
    let (pool, guest, record) = recorded(builder().size(2));
    let idle = until(|| {
        let status = pool.status().ok()?;
        let all_idle = status
            .workers
            .iter()
            .all(|worker| worker.state == WorkerState::Idle);
        (all_idle && status.workers.len() == 2).then_some(status)
    });
    assert_eq!((idle.running(), idle.queued), (0, 0));
    assert_eq!(
        idle.workers
            .iter()
            .map(|worker| worker.worker)
            .collect::<Vec<_>>(),
        [0, 1].map(WorkerNumber)
    );
    let tasks: Vec<_> = (0..6)
        .map(|_| pool.submit(task(&guest, "spin")).unwrap())
        .collect();
    // It may be any two of them.
    until(|| (pool.status().ok()?.running() == 2).then_some(()));
    let busy = pool.status().unwrap();
    assert_eq!(
        (busy.running(), busy.queued, busy.paused, busy.callbacks),
        (2, 4, 0, 0)
    );
    for worker in &busy.workers {
        let WorkerState::Running { task, attempt: 1 } = worker.state else {
            panic!("{busy:?}")
        };
        record.wait_until_running(&[&tasks[task.0 as usize]]);
        assert!(idle.workers.iter().any(|before| before.pid == worker.pid));
    }
    pool.terminate();
    in_time(move || {
        pool.join().unwrap();
        assert_eq!(pool.status().unwrap(), Status::default());
        assert_eq!(pool.stats().failed(Kind::Cancelled), 6);
    });
}

/// A reporter that blocks at its first outcome until the other end of its channel is gone.
struct Blocked(mpsc::Receiver<()>);

impl Reporter for Blocked {
    fn outcome(&mut self, _: &Outcome) -> io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[test]
fn a_status_does_not_wait_behind_outcomes_that_nobody_takes() {
    let (open, closed) = mpsc::channel();
    let (pool, guest) = pool_and_guest(builder().reporter(Blocked(closed)));
    let args = "x".repeat(16 << 10);
    let first = pool.submit(guest.task([&args])).unwrap();
    std::thread::scope(|scope| {
        let pool = &pool;
        // More than there is room for: outcomes of 8 MiB, tasks of 4 MiB, and the pipe.
        let pusher = scope.spawn(move || {
            for _ in 0..4000 {
                pool.push(guest.task([&args])).unwrap();
            }
        });
        until(|| {
            let status = pool.status().unwrap();
            let known = status.queued + status.running() + status.callbacks;
            // Outcomes are on their way for which the reporter has no time. Their tasks are not queued any more.
            let on_their_way = pool.stats().open().saturating_sub(known);
            (on_their_way > 100 && status.running() == 0 && status.queued > 0).then_some(())
        });
        assert_eq!(first.status().unwrap(), TaskStatus::Done);
        drop(open);
        pusher.join().unwrap();
    });
    in_time(move || pool.stop()).unwrap();
}

#[test]
fn the_counts_are_those_of_the_outcomes() {
    let (pool, guest) = pool_and_guest(builder());
    assert_eq!(pool.stats(), Stats::default());
    for model in ["", "", "trap"] {
        outcome(&pool.submit(task(&guest, model)).unwrap());
    }
    pool.reject(mpwasm::internal::Rejected::default()).unwrap();
    let stats = pool.stats();
    assert_eq!(
        (stats.accepted, stats.ok, stats.ended(), stats.open()),
        (4, 2, 4, 0)
    );
    assert_eq!(
        [Kind::Trap, Kind::Invalid, Kind::Crash].map(|kind| stats.failed(kind)),
        [1, 1, 0]
    );
    in_time(move || pool.stop()).unwrap();
}

#[test]
fn progress_comes_at_once_then_with_each_change_and_ends_with_the_pool() {
    let (pool, guest) = pool_and_guest(builder());
    let mut progress = pool.progress();
    assert_eq!(progress.next(), Some(Stats::default()));
    let (sender, ended) = mpsc::channel();
    let follower = std::thread::spawn(move || {
        progress.for_each(|stats| sender.send(stats.ended()).unwrap());
    });
    for count in 1..4 {
        outcome(&pool.submit(guest.task(())).unwrap());
        until(|| (ended.try_iter().last()? == count).then_some(()));
    }
    in_time(move || pool.stop()).unwrap();
    in_time(move || follower.join()).unwrap();
    assert!(ended.try_iter().all(|count| count == 3), "nothing more happened");
}

#[test]
fn a_dispatcher_that_does_not_answer_is_not_waited_for_for_ever() {
    let (pool, guest, record) = recorded(builder());
    let handle = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&handle]);
    support::send(pool.dispatcher_pid(), Signal::SIGSTOP);
    let begin = Instant::now();
    assert!(matches!(pool.status(), Err(Error::NoAnswer)));
    assert!(matches!(handle.status(), Err(Error::NoAnswer)));
    assert!(begin.elapsed() >= Duration::from_secs(2));
    support::send(pool.dispatcher_pid(), Signal::SIGCONT);
    until(|| pool.status().ok());
    in_time(move || {
        pool.terminate();
        pool.join()
    })
    .unwrap();
}
