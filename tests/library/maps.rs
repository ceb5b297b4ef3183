//! `map` and its relatives: order, laziness, chunks, and what happens when a map is dropped early.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use mpwasm::{Kind, Outcome, Source, TaskId};
use nix::sys::signal::Signal;

use crate::common::{
    LONG, ReceivedEvent, assert_dense, block_on, builder, in_time, pool_and_guest, recorded,
};
use crate::support;

/// Returns the only argument, which the guest's unnamed model returns in an array.
fn number(outcome: &Outcome) -> u64 {
    let [number] = outcome.parse().unwrap();
    number
}

/// Returns how often the instance was called, from the model `count`, or the kind of failure.
fn calls(outcome: &Outcome) -> String {
    match outcome.parse::<u64>() {
        Ok(calls) => calls.to_string(),
        Err(error) => error.kind.to_string(),
    }
}

#[test]
fn a_map_gives_the_outcomes_in_the_order_of_the_inputs() {
    let (pool, guest) = pool_and_guest(builder());
    for chunk_size in [1, 7, 100] {
        let results = pool.map(&guest, 0..1000_u64).unwrap().chunk_size(chunk_size);
        let numbers: Vec<_> = in_time(move || results.map(|outcome| number(&outcome)).collect());
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn imap_is_lazy_and_ordered_too() {
    let (pool, guest) = pool_and_guest(builder());
    let mut results = pool.imap(&guest, 0..).unwrap();
    assert_eq!(number(&results.next().unwrap()), 0);
    assert_eq!(number(&results.next().unwrap()), 1);
}

#[test]
fn imap_unordered_waits_for_nobody() {
    let (pool, guest, record) = recorded(builder());
    // The first task loops forever, and the others do not wait for it.
    let count = guest.model("count").unwrap();
    let inputs = std::iter::once(5).chain(std::iter::repeat_n(1, 50));
    let mut results = pool.imap_unordered(&count, inputs).unwrap();
    for _ in 0..50 {
        assert_eq!(calls(&results.next().unwrap()), "1");
    }
    let spinning = record.outcomes();
    assert_eq!(spinning.len(), 50);
    drop(results);
    assert_eq!(record.wait_for_outcome().status(), "cancelled");
}

#[test]
fn starmap_takes_each_input_as_all_of_the_args() {
    let (pool, guest) = pool_and_guest(builder());
    for chunk_size in [1, 2] {
        let results = pool.starmap(&guest, [(1, "a"), (2, "b"), (3, "c")]).unwrap();
        let pairs: Vec<(u64, String)> = results
            .chunk_size(chunk_size)
            .map(|outcome| outcome.parse().unwrap())
            .collect();
        assert_eq!(
            pairs,
            [(1, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())]
        );
    }
    let none = pool.starmap(&guest, [()]).unwrap().next().unwrap();
    assert_eq!(none.result.unwrap().get(), "[]");
}

#[test]
fn a_map_over_an_endless_iterator_pulls_not_much_more_than_is_taken() {
    let (pool, guest) = pool_and_guest(builder());
    let pulled = Cell::new(0);
    let inputs = std::iter::repeat_with(|| pulled.replace(pulled.get() + 1));
    let taken: Vec<_> = pool.map(&guest, inputs).unwrap().take(100).collect();
    assert_eq!(
        taken.iter().map(number).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>()
    );
    assert!(pulled.get() <= 130, "{} inputs were pulled", pulled.get());
}

#[test]
fn nothing_is_pulled_before_an_outcome_is_asked_for_and_no_more_than_the_buffer_after() {
    let (pool, guest) = pool_and_guest(builder());
    let pulled = Cell::new(0);
    let inputs = std::iter::repeat_with(|| pulled.replace(pulled.get() + 1));
    let mut results = pool.map(&guest, inputs).unwrap().buffer_size(10);
    assert_eq!(pulled.get(), 0);
    for taken in 1..=100 {
        assert!(results.next().is_some());
        assert!(pulled.get() <= taken + 10, "{} after {taken}", pulled.get());
    }
}

#[test]
fn one_slow_task_at_the_front_holds_up_no_other_and_no_more_than_the_buffer_waits_behind_it() {
    let (pool, guest, record) = recorded(builder());
    let count = guest.model("count").unwrap();
    let pulled = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&pulled);
    let inputs = (0..).map(move |index| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if index == 0 { 5 } else { 1 }
    });
    let mut results = pool.map(&count, inputs).unwrap().buffer_size(20);
    let first = std::thread::spawn(move || results.next());
    // All other tasks of the buffer end while the first one runs.
    let ended: Vec<_> = (0..19).map(|_| record.wait_for_outcome()).collect();
    assert!(
        ended
            .iter()
            .all(|outcome| outcome.status() == "ok" && outcome.id > TaskId(0))
    );
    assert_eq!(pulled.load(std::sync::atomic::Ordering::SeqCst), 20);
    pool.cancel(TaskId(0));
    assert_eq!(in_time(|| first.join().unwrap().unwrap()).status(), "cancelled");
}

#[test]
fn dropping_a_map_half_way_cancels_what_it_has_in_flight_and_only_that() {
    let (pool, guest, record) = recorded(builder());
    let count = guest.model("count").unwrap();
    for chunk_size in [1, 3] {
        // All tasks but the first loop forever.
        let pulled = Cell::new(0);
        let inputs = std::iter::repeat_with(|| {
            if pulled.replace(pulled.get() + 1) == 0 {
                1
            } else {
                5
            }
        });
        let mut results = pool.map(&count, inputs).unwrap().chunk_size(chunk_size);
        assert_eq!(calls(&results.next().unwrap()), "1");
        let other = pool.submit(guest.task(["other"])).unwrap();
        drop(results);
        let ended: Vec<_> = (0..=pulled.get()).map(|_| record.wait_for_outcome()).collect();
        let cancelled = ended.iter().filter(|outcome| outcome.status() == "cancelled");
        assert_eq!(cancelled.count(), pulled.get() - 1);
        assert_eq!(crate::common::status(&other), "ok");
    }
}

#[test]
fn an_input_that_is_no_task_has_its_outcome_in_its_place() {
    let (pool, guest, record) = recorded(builder().max_args(100));
    for chunk_size in [1, 10] {
        let inputs = (0..20).map(|index| "x".repeat(if index == 7 { 200 } else { index }));
        let results = pool.map(&guest, inputs).unwrap().chunk_size(chunk_size);
        let statuses: Vec<_> = results.map(|outcome| outcome.status()).collect();
        let expected = |index| if index == 7 { "invalid" } else { "ok" };
        assert_eq!(statuses, (0..20).map(expected).collect::<Vec<_>>());
    }
    in_time(|| pool.stop()).unwrap();
    assert_eq!(
        assert_dense(record.outcomes().iter().map(|outcome| outcome.id)),
        40
    );
}

#[test]
fn the_items_of_a_chunk_share_an_instance_and_those_of_a_plain_map_do_not() {
    let (pool, guest) = pool_and_guest(builder());
    let count = guest.model("count").unwrap();
    let run = |chunk_size| -> Vec<String> {
        let results = pool.map(&count, [1; 8]).unwrap().chunk_size(chunk_size);
        results.map(|outcome| calls(&outcome)).collect()
    };
    assert_eq!(run(1), ["1"; 8]);
    assert_eq!(run(4), ["1", "2", "3", "4", "1", "2", "3", "4"]);
    assert_eq!(run(3), ["1", "2", "3", "1", "2", "3", "1", "2"]);
}

#[test]
fn an_item_that_fails_ends_its_instance_and_no_other_item() {
    let (pool, guest, record) = recorded(builder());
    let count = guest.model("count").unwrap();
    let results = pool.map(&count, [1, 1, 4, 1, 6, 1, 1, 5, 1]).unwrap();
    // Enough for the items that end, on a busy machine too.
    let results = results.chunk_size(9).timeout(Duration::from_secs(2));
    let ended: Vec<_> = in_time(move || results.collect());
    assert_eq!(
        ended.iter().map(calls).collect::<Vec<_>>(),
        ["1", "2", "trap", "1", "error", "1", "2", "timeout", "1"]
    );
    // Each item has an outcome, args, resource usage and a callback of its own.
    for (id, outcome) in (0..).map(TaskId).zip(&ended) {
        assert_eq!((outcome.id, outcome.callback), (id, mpwasm::CallbackStatus::Ok));
        assert!(outcome.usage.cpu_us.is_some());
        let pid = outcome.usage.pid.expect("it ran");
        assert_ne!(pid, std::process::id());
    }
    assert_eq!(ended[2].result.as_ref().unwrap_err().args.get(), "[4]");
    in_time(|| pool.stop()).unwrap();
    let events = record.rest();
    let callbacks = |text: &str| {
        let is_it = |event: &&ReceivedEvent| matches!(event, ReceivedEvent::Log(Source::Callback(_), line) if line == text);
        events.iter().filter(is_it).count()
    };
    assert_eq!((callbacks("callback"), callbacks("error_callback")), (6, 3));
}

#[test]
fn what_an_item_of_a_chunk_prints_is_its_own() {
    let (pool, guest, record) = recorded(builder());
    let count = guest.model("count").unwrap();
    let results = pool.map(&count, [1, 7, 1, 7]).unwrap().chunk_size(4);
    assert_eq!(in_time(move || results.count()), 4);
    record.wait_for_log(Source::Task(TaskId(1)), "running");
    record.wait_for_log(Source::Task(TaskId(3)), "running");
}

#[test]
fn a_worker_that_dies_in_a_chunk_takes_the_item_that_ran_along_and_no_item_runs_twice() {
    let (pool, guest, record) = recorded(builder().size(1));
    let count = guest.model("count").unwrap();
    // The third item reports that it runs, and the fourth never ends.
    let results = pool.map(&count, [1, 1, 7, 5, 1, 1]).unwrap().chunk_size(6);
    let ended = std::thread::spawn(move || results.collect::<Vec<_>>());
    record.wait_for_log(Source::Task(TaskId(2)), "running");
    // Ends of earlier items are sent once an item takes long. Here the watchdog sends them.
    let before: Vec<_> = (0..3).map(|_| record.wait_for_outcome().id).collect();
    assert_eq!(before, [0, 1, 2].map(TaskId));
    let worker = support::descendants(pool.dispatcher_pid());
    assert_eq!(worker.len(), 1);
    support::send(worker[0], Signal::SIGKILL);
    let ended = in_time(|| ended.join().unwrap());
    assert_eq!(
        ended.iter().map(calls).collect::<Vec<_>>(),
        ["1", "2", "3", "crash", "1", "2"],
        "those behind it had not begun: they run in a new worker"
    );
    let pids: Vec<_> = ended.iter().map(|outcome| outcome.usage.pid.unwrap()).collect();
    assert_eq!(pids[..4], [worker[0]; 4]);
    assert!(pids[4..].iter().all(|pid| *pid != worker[0]));
}

#[test]
fn an_item_of_a_chunk_is_cancelled_with_the_others() {
    let (pool, guest, record) = recorded(builder().size(1));
    let count = guest.model("count").unwrap();
    let results = pool.map(&count, [1, 7, 5, 1, 1]).unwrap().chunk_size(5);
    let ended = std::thread::spawn(move || results.map(|outcome| outcome.status()).collect::<Vec<_>>());
    record.wait_for_log(Source::Task(TaskId(1)), "running");
    pool.cancel(TaskId(4));
    let ended = in_time(|| ended.join().unwrap());
    assert_eq!(ended[2..], ["cancelled"; 3]);
    assert_eq!(
        crate::common::status(&pool.submit(guest.task([1])).unwrap()),
        "ok"
    );
}

#[test]
fn a_map_is_a_stream() {
    use futures_core::Stream;
    use std::pin::Pin;

    let (pool, guest) = pool_and_guest(builder());
    for chunk_size in [1, 10] {
        let results = pool.map(&guest, 0..100_u64).unwrap().chunk_size(chunk_size);
        let mut results = results.into_stream();
        let mut next = move || {
            block_on(std::future::poll_fn(|context| {
                Pin::new(&mut results).poll_next(context)
            }))
        };
        for index in 0..100 {
            assert_eq!(number(&next().unwrap()), index);
        }
        assert!(next().is_none());
    }
}

#[test]
fn a_map_whose_pool_ends_has_an_outcome_for_all_that_it_pulled() {
    for chunk_size in [1, 4] {
        let (pool, guest) = pool_and_guest(builder());
        let pulled = Cell::new(0);
        let inputs = std::iter::repeat_with(|| pulled.replace(pulled.get() + 1));
        let mut results = pool.map(&guest, inputs).unwrap().chunk_size(chunk_size);
        let first: Vec<_> = results.by_ref().take(10).collect();
        pool.terminate();
        let rest: Vec<_> = results.collect();
        assert_eq!(first.len() + rest.len(), pulled.get());
        assert_eq!(rest.last().unwrap().status(), "cancelled");
        let error = rest.into_iter().next_back().unwrap().result.unwrap_err();
        assert_eq!(error.kind, Kind::Cancelled);
    }
}

#[test]
fn what_can_not_be_called_is_reported_before_anything_is_pulled() {
    let (pool, guest) = pool_and_guest(builder());
    let (other, _) = pool_and_guest(builder());
    let foreign = other.map(&guest, [1]).err();
    assert!(matches!(foreign, Some(mpwasm::Error::ForeignGuest { .. })));
    drop(pool);
}

#[test]
fn a_map_can_be_as_long_as_one_likes() {
    let (pool, guest) = pool_and_guest(builder().timeout(LONG));
    let results = pool.map(&guest, 0..100_000_u64).unwrap().chunk_size(100);
    let right = in_time(move || {
        (0..)
            .zip(results)
            .filter(|(index, outcome)| number(outcome) == *index)
            .count()
    });
    assert_eq!(right, 100_000);
}

/// A chunk counts as one task, and no item is lost while the worker process is replaced.
#[test]
fn a_process_that_is_replaced_after_some_tasks_runs_as_many_chunks() {
    let (pool, guest) = pool_and_guest(builder().max_tasks_per_worker(3));
    let results = pool.map(&guest, 0..280_u64).unwrap().chunk_size(7);
    let outcomes: Vec<Outcome> = in_time(move || results.collect());
    assert_eq!(
        outcomes.iter().map(number).collect::<Vec<_>>(),
        (0..280).collect::<Vec<_>>()
    );
    let mut items = BTreeMap::<u32, usize>::new();
    for outcome in &outcomes {
        *items.entry(outcome.usage.pid.unwrap()).or_default() += 1;
    }
    assert!(items.values().all(|&count| count <= 3 * 7), "{items:?}");
    assert!(
        items.values().filter(|&&count| count == 3 * 7).count() >= 10,
        "{items:?}"
    );
}
