//! Pushed tasks: ids, outcomes at the reporter, backpressure.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use mpwasm::internal::Rejected;
use mpwasm::{CallbackStatus, Isolation, Outcome, Reporter, TaskId};
use serde_json::value::to_raw_value;

use crate::common::{
    PATIENCE, assert_dense, builder, in_time, outcome, pool_and_guest, recorded, result, status, task,
};
use crate::support;

#[test]
fn each_pushed_task_has_exactly_one_outcome_at_the_reporter() {
    let (pool, guest, record) = recorded(builder());
    for number in 0..100 {
        let id = pool
            .push(guest.task([number]).key(format!("key {number}")))
            .unwrap();
        assert_eq!(id, TaskId(2 * number));
        assert_eq!(pool.push(task(&guest, "trap")).unwrap(), id + 1);
    }
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(assert_dense(outcomes.iter().map(|outcome| outcome.id)), 200);
    for pair in outcomes.chunks(2) {
        let number = pair[0].id.0 / 2;
        assert_eq!(result(&pair[0]), format!("[{number}]"));
        assert_eq!(pair[0].key, Some(format!("key {number}")));
        assert_eq!(
            (pair[1].status(), &pair[1].key, &*pair[1].model),
            ("trap", &None, "trap")
        );
    }
}

#[test]
fn tasks_that_are_pushed_together_have_ids_in_order() {
    let (pool, guest, record) = recorded(builder());
    pool.push(guest.task(["first"])).unwrap();
    let first = pool
        .push_all((0..5000).map(|number| guest.task([number])))
        .unwrap();
    assert_eq!(first, TaskId(1));
    assert_eq!(
        pool.push_all([]).unwrap(),
        TaskId(5001),
        "no task: the next one's id"
    );
    assert_eq!(pool.push(guest.task(["last"])).unwrap(), TaskId(5001));
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(assert_dense(outcomes.iter().map(|outcome| outcome.id)), 5002);
    for number in 0..5000 {
        assert_eq!(result(&outcomes[number + 1]), format!("[{number}]"));
    }
}

#[test]
fn with_a_process_for_every_task_no_two_share_one() {
    let (pool, guest, record) = recorded(builder().isolation(Isolation::Process));
    pool.push_all((0..20).map(|number| guest.task([number]))).unwrap();
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(
        outcomes.iter().map(Outcome::status).collect::<Vec<_>>(),
        ["ok"; 20]
    );
    let pids: BTreeSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.usage.pid.unwrap())
        .collect();
    assert_eq!(pids.len(), 20, "{outcomes:#?}");
}

#[test]
fn tasks_in_front_of_one_that_is_refused_are_accepted() {
    let (pool, guest, record) = recorded(builder());
    let tasks = [guest.task([0]), guest.task("no array"), guest.task([1])];
    assert!(matches!(pool.push_all(tasks), Err(mpwasm::Error::InvalidArgs(_))));
    assert_eq!(pool.push(guest.task([2])).unwrap(), TaskId(1));
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(outcomes.iter().map(result).collect::<Vec<_>>(), ["[0]", "[2]"]);
}

#[test]
fn what_is_rejected_takes_an_id_and_ends_as_invalid() {
    let (pool, guest, record) = recorded(builder());
    pool.push(guest.task([0])).unwrap();
    let rejected = Rejected {
        key: Some("k".into()),
        model: "m".into(),
        args: Some(to_raw_value(&[7]).unwrap()),
        message: "line 2 is bad".into(),
    };
    assert_eq!(pool.reject(rejected).unwrap(), TaskId(1));
    assert_eq!(pool.reject(Rejected::default()).unwrap(), TaskId(2));
    assert_eq!(pool.push(guest.task([3])).unwrap(), TaskId(3));
    in_time(|| pool.stop()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(assert_dense(outcomes.iter().map(|outcome| outcome.id)), 4);
    let (full, bare) = (&outcomes[1], &outcomes[2]);
    assert_eq!(
        (full.key.as_deref(), &*full.model, full.status()),
        (Some("k"), "m", "invalid")
    );
    assert_eq!((full.usage.pid, full.callback), (None, CallbackStatus::None));
    let error = full.result.as_ref().unwrap_err();
    assert_eq!((error.args.get(), &*error.message), ("[7]", "line 2 is bad"));
    assert_eq!(bare.result.as_ref().unwrap_err().args.get(), "null");
}

#[test]
fn many_threads_may_push_and_submit_at_once() {
    let (pool, guest, record) = recorded(builder());
    let ids: Vec<TaskId> = std::thread::scope(|scope| {
        let push = |thread: u64| {
            let (pool, guest) = (&pool, &guest);
            move || -> Vec<TaskId> {
                let args = |number| guest.task((thread, number));
                let pushed = (0..100).map(|number| pool.push(args(number)).unwrap());
                let submitted = (100..200).map(|number| {
                    let handle = pool.submit(args(number)).unwrap();
                    assert_eq!(result(&outcome(&handle)), format!("[{thread},{number}]"));
                    handle.id()
                });
                pushed.chain(submitted).collect()
            }
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(push(thread))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(assert_dense(ids), 1600);
    in_time(|| pool.stop()).unwrap();
    assert_eq!(
        assert_dense(record.outcomes().iter().map(|outcome| outcome.id)),
        1600
    );
}

#[test]
fn several_pools_do_not_know_of_each_other() {
    let pools: Vec<_> = (0..3).map(|_| recorded(builder().size(1))).collect();
    for (index, (pool, guest, _)) in pools.iter().enumerate() {
        assert_eq!(
            pool.push_all((0..=index).map(|_| guest.task([index]))).unwrap(),
            TaskId(0)
        );
    }
    let dispatchers: std::collections::HashSet<_> =
        pools.iter().map(|(pool, ..)| pool.dispatcher_pid()).collect();
    assert_eq!(dispatchers.len(), 3);
    for (index, (pool, _, record)) in pools.into_iter().enumerate() {
        in_time(|| pool.stop()).unwrap();
        let outcomes = record.outcomes();
        assert_eq!(outcomes.len(), index + 1);
        assert!(
            outcomes
                .iter()
                .all(|outcome| result(outcome) == format!("[{index}]"))
        );
    }
}

#[test]
fn a_task_has_a_timeout_and_a_key_of_its_own() {
    let (pool, guest) = pool_and_guest(builder());
    let spin = task(&guest, "spin")
        .timeout(Duration::from_millis(50))
        .key("mine");
    let ended = outcome(&pool.submit(spin).unwrap());
    assert_eq!((ended.status(), ended.key.as_deref()), ("timeout", Some("mine")));
    let run = Duration::from_micros(ended.usage.run_us.unwrap());
    assert!(run >= Duration::from_millis(50), "{run:?}");
    let sleep = task(&guest, "sleep").timeout(Duration::from_millis(50));
    assert_eq!(status(&pool.submit(sleep).unwrap()), "timeout");
}

#[test]
fn timeouts_of_zero_and_of_all_time_are_timeouts() {
    let (pool, guest) = pool_and_guest(builder());
    let submit = |timeout| pool.submit(guest.task([1]).timeout(timeout)).unwrap();
    assert_eq!(status(&submit(Duration::ZERO)), "timeout");
    assert_eq!(status(&submit(Duration::MAX)), "ok");
}

#[test]
fn args_of_another_shape_than_the_guest_expects_are_an_error_of_the_task() {
    let pool = builder().start().unwrap();
    let guest = pool.load(support::guest("fixture")).unwrap();
    let busy = guest.model("busy").unwrap();
    for (wrong, right) in [
        (pool.submit(busy.task(["text"])), 1),
        (pool.submit(busy.task([1, 2])), 2),
    ] {
        let ended = outcome(&wrong.unwrap());
        assert_eq!(ended.status(), "error", "{:?}", ended.result);
        assert_eq!(status(&pool.submit(busy.task([right])).unwrap()), "ok");
    }
}

/// A reporter that waits for a permit before its first outcome.
struct Blocked {
    permit: mpsc::Receiver<()>,
    outcomes: mpsc::Sender<TaskId>,
    is_open: bool,
}

impl Reporter for Blocked {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        if !self.is_open {
            let _ = self.permit.recv();
            self.is_open = true;
        }
        let _ = self.outcomes.send(outcome.id);
        Ok(())
    }
}

#[test]
fn a_reporter_that_blocks_holds_pushing_back_and_then_all_goes_on() {
    const TASKS: u64 = 4000;
    const ARGS: usize = 16 << 10;
    let (open, permit) = mpsc::channel();
    let (outcomes, ended) = mpsc::channel();
    let blocked = Blocked {
        permit,
        outcomes,
        is_open: false,
    };
    let (pool, guest) = pool_and_guest(builder().reporter(blocked));
    let dispatcher = pool.dispatcher_pid();
    let args = "x".repeat(ARGS);
    let (progress, pushed) = mpsc::channel();
    let pusher = std::thread::spawn(move || {
        for _ in 0..TASKS {
            progress.send(pool.push(guest.task([&args])).unwrap()).unwrap();
        }
        pool
    });
    // Pushing continues until every buffer between here and the reporter is full.
    let mut count = 0;
    while pushed.recv_timeout(Duration::from_secs(1)).is_ok() {
        count += 1;
    }
    assert!(count < TASKS, "nothing held pushing back");
    // In flight are 8 MiB of outcomes, 4 MiB of tasks, a pipe, and what workers and callbacks hold.
    assert!(count * ARGS as u64 <= 48 << 20, "{count} tasks were taken in");
    let resident = support::resident(dispatcher).unwrap();
    assert!(resident < 192 << 20, "the dispatcher has {resident} bytes");
    open.send(()).unwrap();
    let pool = in_time(|| pusher.join().unwrap());
    in_time(|| pool.stop()).unwrap();
    assert_eq!(assert_dense(ended.try_iter()), TASKS);
}

#[test]
fn a_push_that_waits_for_room_ends_with_the_pool() {
    let (pool, guest, record) = recorded(builder().size(1));
    let spin = pool.submit(task(&guest, "spin")).unwrap();
    record.wait_until_running(&[&spin]);
    let args = "x".repeat(64 << 10);
    let (progress, pushed) = mpsc::channel();
    let accepted = std::thread::scope(|scope| {
        let pool = &pool;
        let pusher = scope.spawn(move || {
            let mut accepted = 0;
            while pool.push(guest.task([&args])).is_ok() {
                accepted += 1;
                let _ = progress.send(());
            }
            accepted
        });
        while pushed.recv_timeout(Duration::from_secs(1)).is_ok() {}
        pool.terminate();
        pusher.join().unwrap()
    });
    in_time(move || pool.join()).unwrap();
    let outcomes = record.outcomes();
    assert_eq!(
        assert_dense(outcomes.iter().map(|outcome| outcome.id)),
        accepted + 1
    );
    assert!(outcomes.iter().all(|outcome| outcome.status() == "cancelled"));
    assert!(spin.wait_timeout(PATIENCE).is_some());
}
