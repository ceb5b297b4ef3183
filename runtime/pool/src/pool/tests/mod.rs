//! A pool over a backend in memory: submission, ends in any order, cancellation, and a backend that fails.

mod fake;
mod reporters;

use std::thread;

use self::fake::{FakePool, Sent, start};
use crate::backend::BackendEvent;
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use mpwasm_protocol::messages::{ControlRequest, GuestOutput, Source};
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, Failure, Kind, Stream};
use mpwasm_types::retry::Retry;

fn task(id: u64, args: &str) -> Sent {
    let args = args.to_owned();
    Sent::Task { id, args }
}

fn submit(fake: &FakePool, count: u64) -> Vec<TaskHandle> {
    let submit = |number| fake.pool.submit(fake.guest.task([number]));
    (0..count).map(|number| submit(number).unwrap()).collect()
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        attempt: number,
        kind: Kind::Crash,
        message: "it died".to_owned(),
        worker: WorkerNumber(0),
        pid: 1,
        run_us: 1,
    }
}

/// Asserts that the backend was found to be broken, for this reason.
fn assert_broken(fake: FakePool, why: &str) {
    match fake.pool.join() {
        Err(Error::DispatcherDied(found)) => assert_eq!(found, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submitted_task_reaches_the_backend_and_its_end_the_handle() {
    let fake = start(Pool::builder());
    let handle = fake.pool.submit(fake.guest.task(("a", 1))).unwrap();
    assert_eq!(fake.sent.recv().unwrap(), task(0, r#"["a",1]"#));
    assert!(handle.try_get().is_none());
    fake.control.ok(0, "42");
    assert_eq!(handle.wait().parse::<u64>().unwrap(), 42);
    assert_eq!((fake.pool.stats().accepted, fake.pool.stats().ok), (1, 1));
}

#[test]
fn tasks_end_in_any_order() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 5);
    for id in [3, 0, 4, 2, 1] {
        fake.control.ok(id, &id.to_string());
    }
    for (number, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().parse::<usize>().unwrap(), number);
    }
}

#[test]
fn items_of_chunks_end_in_any_order_and_are_returned_in_that_of_the_inputs() {
    let fake = start(Pool::builder().size(2));
    let FakePool {
        pool,
        guest,
        sent,
        control,
    } = fake;
    let answers = thread::spawn(move || {
        for sent in sent {
            if let Sent::Chunk { id, items } = sent {
                (id..id + u64::from(items))
                    .rev()
                    .for_each(|id| control.ok(id, &id.to_string()));
            }
        }
    });
    let results = pool.map(&guest, 0..20_u64).unwrap().chunk_size(3);
    let results: Vec<u64> = results.map(|outcome| outcome.parse().unwrap()).collect();
    assert_eq!(results, (0..20).collect::<Vec<_>>());
    drop(pool);
    drop(guest);
    answers.join().unwrap();
}

#[test]
fn a_cancellation_is_a_request_for_a_task_that_has_not_ended() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 2);
    handles[0].cancel();
    let sent: Vec<_> = (0..3).map(|_| fake.sent.recv().unwrap()).collect();
    assert_eq!(
        sent[2],
        Sent::Control(ControlRequest::Cancel { id: DispatchId(0) })
    );
    fake.control.ended(0, Err(Failure::new(Kind::Cancelled, "why")));
    let mut handles = handles.into_iter();
    let (first, second) = (handles.next().unwrap(), handles.next().unwrap());
    assert!(crate::wait_all(&[first], None));
    fake.pool.cancel(TaskId(0));
    // It was accepted before the backend could know: a request for a task that has ended would come first.
    second.cancel();
    assert_eq!(
        fake.sent.recv().unwrap(),
        Sent::Control(ControlRequest::Cancel { id: DispatchId(1) })
    );
}

#[test]
fn failed_attempts_are_kept_for_the_outcome() {
    let fake = start(Pool::builder().retry(Retry::times(2)));
    let handles = submit(&fake, 1);
    for number in [1, 2] {
        let attempt = attempt(number);
        fake.control.event(BackendEvent::AttemptFailed {
            id: TaskId(0),
            attempt,
        });
    }
    fake.control.ok(0, "1");
    let outcome = handles.into_iter().next().unwrap().wait();
    assert_eq!((outcome.attempts, outcome.tried.len()), (3, 2));
    assert_eq!(fake.pool.stats().retried, 2);
}

#[test]
fn outcomes_that_are_on_their_way_are_of_tasks_that_are_not_queued() {
    let fake = start(Pool::builder());
    let _handles = submit(&fake, 20);
    let status = fake.pool.status().unwrap();
    assert_eq!((status.callbacks, status.queued), (7, 20 - 7 - 5));
}

#[test]
fn a_task_can_not_end_twice() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 2);
    fake.control.ok(0, "1");
    fake.control.ok(0, "2");
    let outcomes: Vec<_> = handles.into_iter().map(TaskHandle::wait).collect();
    assert_eq!(outcomes[0].parse::<u64>().unwrap(), 1);
    assert_eq!(outcomes[1].result.as_ref().unwrap_err().kind, Kind::Crash);
    assert_broken(fake, "it reported the end of task 0, which is not running");
}

#[test]
fn what_can_not_have_happened_breaks_the_backend() {
    let printed = |source, bytes| BackendEvent::Output {
        source,
        at: None,
        output: GuestOutput::Printed {
            stream: Stream::Stdout,
            bytes,
        },
    };
    let events: [(BackendEvent<'static>, &str); 5] = [
        (
            BackendEvent::AttemptFailed {
                id: TaskId(0),
                attempt: attempt(1),
            },
            "it reported an attempt of task 0 that can't have been",
        ),
        (
            printed(Source::Task(TaskId(9)), b"x"),
            "it reported output of task 9, which is not running",
        ),
        (
            printed(Source::Task(TaskId(0)), b""),
            "it reported output of task 0 that is none",
        ),
        (
            printed(Source::Tasks, b"x"),
            "it reported output of `tasks`, which is not running",
        ),
        (
            BackendEvent::Final {
                guest: GuestId(0),
                model: ModelId(1),
                result: Err(Failure::new(Kind::Trap, "")),
            },
            "it reported a fold of model 1 of guest 0 that can't be",
        ),
    ];
    for (event, why) in events {
        let fake = start(Pool::builder());
        let handles = submit(&fake, 1);
        fake.control.event(event);
        assert_eq!(
            handles
                .into_iter()
                .next()
                .unwrap()
                .wait()
                .result
                .unwrap_err()
                .kind,
            Kind::Crash
        );
        assert_broken(fake, why);
    }
}

#[test]
fn all_handles_end_with_a_backend_that_dies() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 3);
    fake.control.ok(1, "1");
    fake.control.die("the link is down");
    let outcomes: Vec<_> = handles.into_iter().map(TaskHandle::wait).collect();
    assert!(outcomes[1].is_success());
    for id in [0, 2] {
        let error = outcomes[id].result.as_ref().unwrap_err();
        assert_eq!(error.kind, Kind::Crash);
        assert!(error.message.contains("the link is down"), "{}", error.message);
    }
    let late = fake.pool.submit(fake.guest.task([1]));
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    assert_broken(fake, "the link is down");
}

#[test]
fn a_pool_that_fails_ends_with_the_backends_reason() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 1);
    fake.control
        .event(BackendEvent::Failed("no worker can be kept alive"));
    fake.control
        .ended(0, Err(Failure::new(Kind::Crash, "it never ran")));
    fake.control.end();
    let outcome = handles.into_iter().next().unwrap().wait();
    assert_eq!(outcome.result.unwrap_err().message, "it never ran");
    let end = fake.pool.join();
    assert!(
        matches!(&end, Err(Error::PoolFailed(why)) if why == "no worker can be kept alive"),
        "{end:?}"
    );
}

#[test]
fn termination_ends_the_backend_and_cancels_what_has_no_end() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 2);
    fake.pool.terminate();
    for handle in handles {
        assert_eq!(handle.wait().result.unwrap_err().kind, Kind::Cancelled);
    }
    fake.pool.join().unwrap();
    let sent: Vec<_> = fake.sent.try_iter().collect();
    assert_eq!(sent.last(), Some(&Sent::Control(ControlRequest::Terminate)));
}

#[test]
fn a_closed_pool_sends_all_tasks_and_then_that_no_more_will_come() {
    let fake = start(Pool::builder());
    let handles = submit(&fake, 1);
    fake.pool.close();
    let late = fake.pool.push(fake.guest.task([1]));
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    let sent: Vec<_> = fake.sent.try_iter().collect();
    assert_eq!(sent, [task(0, "[0]"), Sent::Exit]);
    fake.control.ok(0, "1");
    fake.control.end();
    assert!(handles.into_iter().next().unwrap().wait().is_success());
    fake.pool.join().unwrap();
}
