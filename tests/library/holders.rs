//! However the holder of a shared object ends, the object goes on to the next one.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use mpwasm::objects::{Event, JoinableQueue, Lock};
use mpwasm::{
    Backoff, Builder, Interrupt, Kind, Outcome, Retry, TaskHandle, TaskStatus, WorkerState, WorkerStatus,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::seq::IndexedRandom;

use crate::common::{builder, in_time, outcome, status};
use crate::interrupts::UNCHECKED;
use crate::sharing::{Sharing, assert_no_calls};
use crate::support::session::{chance, many};
use crate::support::{self, until};

/// A task that holds a lock and a leased item.
struct Holder {
    sharing: Sharing,
    lock: Lock,
    jobs: JoinableQueue<String>,
    task: TaskHandle,
}

impl Holder {
    /// Starts a task which ends as `how` says, and waits until it holds both.
    fn start(builder: Builder, how: &str) -> Self {
        let sharing = Sharing::start(builder.size(2), "fixture");
        let lock = sharing.manager.labelled("lock").lock().unwrap();
        let jobs = sharing.manager.labelled("jobs").joinable_queue(0).unwrap();
        let held: Event = sharing.manager.event().unwrap();
        for job in ["first", "second"] {
            jobs.put(&job.to_owned()).unwrap();
        }
        let task = sharing.task("hold", (&lock, &jobs, &held, how));
        let task = sharing.pool.submit(task).unwrap();
        let waiting = held.clone();
        in_time(move || waiting.wait()).unwrap();
        Self {
            sharing,
            lock,
            jobs,
            task,
        }
    }

    /// Asserts that the next holder gets the lock at once, and is told that it was abandoned.
    fn assert_abandoned(&self) {
        let lock = self.lock.clone();
        assert!(in_time(move || lock.acquire().map(|guard| guard.abandoned())).unwrap());
        let again = self.lock.try_acquire().unwrap().expect("it is free");
        assert!(!again.abandoned(), "that is said once");
    }

    /// Asserts that the leased item is in front of the others again.
    fn assert_returned(&self) {
        let first = self.jobs.get_timeout(Duration::from_secs(60)).unwrap();
        let second = self.jobs.get_nowait().unwrap();
        assert_eq!([&*first, &*second], ["first", "second"]);
        self.jobs.task_done().unwrap();
        self.jobs.task_done().unwrap();
        self.jobs.join_timeout(Duration::ZERO).unwrap();
    }
}

#[test]
fn what_a_task_holds_is_given_back_however_it_fails() {
    for (how, end) in [("fail", "error"), ("trap", "trap"), ("exit", "exit")] {
        let holder = Holder::start(builder(), how);
        assert_eq!(status(&holder.task), end, "{how}");
        holder.assert_abandoned();
        holder.assert_returned();
        holder.sharing.stop();
    }
}

#[test]
fn a_task_that_succeeds_has_done_its_items_and_abandons_its_lock() {
    let holder = Holder::start(builder(), "return");
    assert_eq!(status(&holder.task), "ok");
    holder.assert_abandoned();
    assert_eq!(holder.jobs.get_nowait().unwrap(), "second");
    holder.jobs.task_done().unwrap();
    holder.jobs.join_timeout(Duration::ZERO).unwrap();
    holder.sharing.stop();
}

#[test]
fn what_a_task_holds_is_given_back_at_its_timeout_and_when_it_is_cancelled() {
    for &how in [&[Interrupt::Epoch], UNCHECKED].concat().iter() {
        for model in ["spin", "wait"] {
            let short = Duration::from_millis(300);
            let holder = Holder::start(builder().interrupt(how).timeout(short), model);
            assert_eq!(status(&holder.task), "timeout", "{how:?} {model}");
            holder.assert_abandoned();
            holder.assert_returned();
            holder.sharing.stop();

            let holder = Holder::start(builder().interrupt(how), model);
            holder.task.cancel();
            assert_eq!(status(&holder.task), "cancelled", "{how:?} {model}");
            holder.assert_abandoned();
            holder.assert_returned();
            holder.sharing.stop();
        }
    }
}

#[test]
fn what_a_killed_worker_holds_is_given_back_and_its_task_learns_of_it_when_it_is_tried_again() {
    for model in ["spin", "wait"] {
        let holder = Holder::start(builder().retry(Retry::times(1)), model);
        kill_runner(&holder.sharing, &holder.task);
        let again = outcome(&holder.task);
        assert!(again.parse::<bool>().unwrap(), "its own lock was abandoned");
        assert_eq!((again.attempts, again.tried[0].kind), (2, Kind::Crash));
        holder.assert_returned();
        holder.sharing.stop();
    }
}

/// Kills the worker that runs this task.
fn kill_runner(sharing: &Sharing, task: &TaskHandle) {
    let pid = until(|| match task.status() {
        Ok(TaskStatus::Running { pid, .. }) => Some(pid),
        _ => None,
    });
    assert!(support::descendants(sharing.pool.dispatcher_pid()).contains(&pid));
    support::send(pid, Signal::SIGKILL);
}

#[test]
fn what_the_tasks_of_a_pool_hold_is_given_back_when_its_dispatcher_is_killed() {
    let holder = Holder::start(builder(), "wait");
    support::send(holder.sharing.pool.dispatcher_pid(), Signal::SIGKILL);
    holder.assert_abandoned();
    holder.assert_returned();
    assert_ne!(status(&holder.task), "ok");
    assert_no_calls(&holder.sharing.manager);
}

#[test]
fn a_party_that_dies_breaks_the_barrier_at_once() {
    let sharing = Sharing::start(builder().size(3), "fixture");
    let barrier = sharing.manager.barrier(4).unwrap();
    let meet = || sharing.pool.submit(sharing.task("meet", [&barrier])).unwrap();
    let parties = [meet(), meet(), meet()];
    sharing.wait_until_waiting(3);
    kill_runner(&sharing, &parties[0]);
    let [dead, others @ ..] = parties;
    assert_eq!(status(&dead), "crash");
    for other in others {
        assert_eq!(outcome(&other).parse::<String>().unwrap(), "Broken");
    }
    assert!(barrier.broken().unwrap());
    barrier.reset().unwrap();
    let parties = [meet(), meet(), meet(), meet()];
    for party in &parties {
        assert_eq!(outcome(party).parse::<String>().unwrap(), "met");
    }
    sharing.stop();
}

/// Time between two kills of workers.
const BETWEEN_KILLS: Duration = Duration::from_millis(50);

#[test]
fn nothing_is_lost_or_doubled_while_workers_that_share_objects_are_killed() {
    let retry = Retry::times(100)
        .crash_limit(100)
        .backoff(Backoff::fixed(Duration::ZERO));
    let sharing = Sharing::start(builder().size(4).retry(retry), "fixture");
    let manager = &sharing.manager;
    let jobs = manager.joinable_queue::<u64>(0).unwrap();
    let (lock, passed) = (manager.lock().unwrap(), manager.array::<i64>(2).unwrap());
    let done = manager.dict::<u64, u64>().unwrap();
    for job in 0..many() {
        jobs.put(&job).unwrap();
    }
    jobs.close().unwrap();
    let pass = || sharing.task("pass", (&jobs, &lock, &passed, &done));
    let tasks: Vec<_> = (0..many())
        .map(|_| sharing.pool.submit(pass()).unwrap())
        .collect();
    let kills = kill_workers_until_done(&sharing, &tasks);
    let ended: Vec<_> = tasks.iter().map(outcome).collect();
    in_time({
        let jobs = jobs.clone();
        move || jobs.join()
    })
    .unwrap();

    let mut by_job = BTreeMap::<u64, u32>::new();
    for outcome in &ended {
        if let Some(job) = outcome.parse::<Option<u64>>().unwrap() {
            *by_job.entry(job).or_default() += 1;
        }
    }
    assert!(
        by_job.values().all(|&times| times == 1),
        "two tasks have done a job"
    );
    let counted = done.items().unwrap();
    assert_eq!(counted.len() as u64, many(), "each job is done");
    // A worker that is killed between the two numbers leaves a job that is counted in one and done again.
    let attempts: u32 = ended.iter().map(|outcome: &Outcome| outcome.attempts).sum();
    let counted: u64 = counted.iter().map(|(_, times)| times).sum();
    let entered = passed.load(0).unwrap() as u64;
    assert!(entered <= u64::from(attempts), "{entered} {attempts}");
    assert!(
        entered >= counted && entered <= counted + kills,
        "{entered} {counted} {kills}"
    );
    assert!(
        counted >= many() && counted <= many() + kills,
        "{counted} {kills}"
    );
    sharing.stop();
}

/// Kills a worker that runs a task again and again, until all tasks have ended. Returns how often.
fn kill_workers_until_done(sharing: &Sharing, tasks: &[TaskHandle]) -> u64 {
    let (stop, stopped) = mpsc::channel::<()>();
    let mut chance = chance();
    let mut kill_one = || {
        // Only workers that are ready. The pool fails if many die before that, which is another test.
        let workers = sharing.pool.status().unwrap().workers;
        let running = |worker: &&WorkerStatus| matches!(worker.state, WorkerState::Running { .. });
        let running: Vec<_> = workers.iter().filter(running).collect();
        let worker = running.choose(&mut chance)?;
        kill(Pid::from_raw(worker.pid as i32), Signal::SIGKILL).ok()
    };
    std::thread::scope(|scope| {
        let killer = scope.spawn(move || {
            let mut kills = 0;
            while stopped.recv_timeout(BETWEEN_KILLS) == Err(mpsc::RecvTimeoutError::Timeout) {
                kills += u64::from(kill_one().is_some());
            }
            kills
        });
        for task in tasks {
            outcome(task);
        }
        drop(stop);
        killer.join().unwrap()
    })
}
