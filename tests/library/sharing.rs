//! Shared objects in a whole pool: tasks that wait lend their places, numbers lose no additions, and deadlocks end.

use std::time::Duration;

use mpwasm::objects::{Manager, ManagerBuilder, Queue};
use mpwasm::{Builder, Guest, Pool, Task, WorkerState};

use crate::common::{LONG, builder, in_time, outcome, result};
use crate::support::{self, until};

/// A pool whose tasks can use the objects of a manager.
pub struct Sharing {
    pub manager: Manager,
    pub pool: Pool,
    guest: Guest,
}

impl Sharing {
    /// Starts a manager and a pool, and loads a guest.
    pub fn start(builder: Builder, guest: &'static str) -> Self {
        Self::with(Manager::builder().executable(support::binary()), builder, guest)
    }

    /// As [`start`](Self::start), with a manager of its own settings.
    pub fn with(manager: ManagerBuilder, builder: Builder, guest: &'static str) -> Self {
        let manager = manager.start().unwrap();
        let pool = builder.manager(&manager).start().unwrap();
        let guest = pool.load(support::guest(guest)).unwrap();
        Self { manager, pool, guest }
    }

    /// Returns a task of one of the guest's models.
    pub fn task(&self, model: &str, args: impl serde::Serialize) -> Task {
        self.guest.model(model).unwrap().task(args)
    }

    /// Waits until this many calls wait for objects.
    pub fn wait_until_waiting(&self, count: usize) {
        until(|| (self.manager.status().unwrap().waiting.len() == count).then_some(()));
    }

    /// Stops the pool. Its calls then neither wait for objects nor hold any.
    pub fn stop(self) {
        let Self { manager, pool, .. } = self;
        in_time(move || pool.stop()).unwrap();
        assert_no_calls(&manager);
    }
}

/// Waits until no call waits for objects or holds any, which takes less than a second on an idle machine.
#[track_caller]
pub fn assert_no_calls(manager: &Manager) {
    until(|| {
        let status = manager.status().unwrap();
        (status.waiting.is_empty() && status.holders.is_empty()).then_some(())
    });
}

#[test]
fn consumers_that_are_queued_before_their_producer_do_not_starve_it() {
    let sharing = Sharing::start(builder().size(2), "fixture");
    let queue: Queue<u64> = sharing.manager.labelled("items").queue(0).unwrap();
    let get = || sharing.pool.submit(sharing.task("get", [&queue])).unwrap();
    let consumers: Vec<_> = (0..10).map(|_| get()).collect();
    let items: Vec<u64> = (0..10).collect();
    let put = sharing.task("put", (&queue, &items));
    let producer = sharing.pool.submit(put).unwrap();
    assert_eq!(outcome(&producer).status(), "ok");
    let mut got: Vec<u64> = consumers
        .iter()
        .map(|consumer| outcome(consumer).parse().unwrap())
        .collect();
    got.sort_unstable();
    assert_eq!(got, items);
    // The pool has its size again.
    until(|| (support::descendants(sharing.pool.dispatcher_pid()).len() == 2).then_some(()));
    sharing.stop();
}

#[test]
fn a_pool_of_one_runs_the_task_that_another_waits_for_and_says_who_waits() {
    let sharing = Sharing::start(builder().size(1), "fixture");
    let queue: Queue<u64> = sharing.manager.labelled("items").queue(0).unwrap();
    let consumer = sharing.pool.submit(sharing.task("get", [&queue])).unwrap();
    let wait = until(|| {
        let status = sharing.pool.status().ok()?;
        status.workers.into_iter().find_map(|worker| worker.wait)
    });
    assert_eq!((&*wait.object, &*wait.operation), ("items", "get"));
    let waiting = sharing.manager.status().unwrap().waiting;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!(
        (&*waiting[0].object, waiting[0].source.to_string()),
        ("items", format!("task {}", consumer.id()))
    );
    let put = sharing.task("put", (&queue, [7]));
    let producer = sharing.pool.submit(put).unwrap();
    assert_eq!(outcome(&producer).status(), "ok");
    assert_eq!(result(&outcome(&consumer)), "7");
    let workers = until(|| {
        let workers = sharing.pool.status().ok()?.workers;
        (workers.len() == 1 && workers[0].state == WorkerState::Idle).then_some(workers)
    });
    assert_eq!(workers[0].wait, None);
    sharing.stop();
}

#[test]
fn no_more_workers_wait_than_the_pool_lends() {
    let sharing = Sharing::start(builder().size(1).max_waiting(2), "fixture");
    let queue: Queue<u64> = sharing.manager.queue(0).unwrap();
    let get = || sharing.pool.submit(sharing.task("get", [&queue])).unwrap();
    let consumers: Vec<_> = (0..5).map(|_| get()).collect();
    sharing.wait_until_waiting(3);
    assert_eq!(support::descendants(sharing.pool.dispatcher_pid()).len(), 3);
    for number in 0..5 {
        queue.put(&number).unwrap();
    }
    for consumer in &consumers {
        assert_eq!(outcome(consumer).status(), "ok");
    }
    sharing.stop();
}

#[test]
fn five_tasks_add_a_thousand_times_each_and_none_is_lost() {
    for (model, times) in [("increment", 1000), ("increment_with_lock", 1000)] {
        let sharing = Sharing::start(builder().size(5), "sharing");
        let total = sharing.manager.value(0_i64).unwrap();
        let add = || sharing.pool.submit(sharing.task(model, (&total, times))).unwrap();
        let tasks: Vec<_> = (0..5).map(|_| add()).collect();
        for task in &tasks {
            assert_eq!(outcome(task).status(), "ok", "{model}");
        }
        assert_eq!(total.load(), 5000, "{model}");
        sharing.stop();
    }
}

#[test]
fn of_two_tasks_that_take_two_locks_in_opposite_order_one_gets_an_error_that_names_the_cycle() {
    let sharing = Sharing::start(builder().size(2), "fixture");
    let left = sharing.manager.labelled("left").lock().unwrap();
    let right = sharing.manager.labelled("right").lock().unwrap();
    let both = sharing.manager.barrier(2).unwrap();
    let cross = |first, second| {
        let task = sharing.task("cross", (first, second, &both));
        sharing.pool.submit(task).unwrap()
    };
    let tasks = [cross(&left, &right), cross(&right, &left)];
    let mut ends = tasks.map(|task| outcome(&task).parse::<String>().unwrap());
    ends.sort_unstable();
    let [both, message] = ends;
    assert_eq!(both, "both");
    assert!(message.contains("deadlock"), "{message}");
    for word in ["`left`", "`right`", "task 0", "task 1"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    sharing.stop();
}

#[test]
fn a_wait_ends_at_the_deadline_of_its_task_and_when_it_is_cancelled_and_the_worker_goes_on() {
    let sharing = Sharing::start(builder().size(1).max_waiting(0), "fixture");
    let queue: Queue<u64> = sharing.manager.queue(0).unwrap();
    let get = |timeout| {
        let task = sharing.task("get", [&queue]).timeout(timeout);
        sharing.pool.submit(task).unwrap()
    };
    let late = outcome(&get(Duration::from_millis(100)));
    assert_eq!(late.status(), "timeout");
    let cancelled = get(LONG);
    sharing.wait_until_waiting(1);
    cancelled.cancel();
    let cancelled = outcome(&cancelled);
    assert_eq!(cancelled.status(), "cancelled");
    queue.put(&3).unwrap();
    let served = outcome(&get(LONG));
    assert_eq!(result(&served), "3", "the waits before take no item");
    assert_eq!([late.usage.pid, cancelled.usage.pid], [served.usage.pid; 2]);
    sharing.stop();
}

#[test]
fn tokens_are_in_no_record_and_in_no_error() {
    let sharing = Sharing::start(builder().size(1), "fixture");
    let queue: Queue<u64> = sharing.manager.labelled("items").queue(0).unwrap();
    let handle = serde_json::to_value(&queue).unwrap();
    let token = handle["token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    let tasks = [
        sharing.task("echo", [&queue]),
        sharing.task("fail_data", [&queue]),
        sharing.task("put", (&queue, "no list")),
        sharing.task("trap", [&queue]),
    ];
    for task in tasks {
        let outcome = outcome(&sharing.pool.submit(task).unwrap());
        let record = serde_json::to_string(&outcome).unwrap();
        assert!(!record.contains(token), "{record}");
        if let Err(error) = &outcome.result {
            assert!(!error.to_string().contains(token), "{error}");
        }
    }
    assert!(!format!("{queue:?}").contains(token));
    sharing.stop();
}
