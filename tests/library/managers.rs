//! What happens to a pool when the manager of its objects is killed or stopped.

use std::time::Duration;

use mpwasm::objects::{Manager, ObjectErrorKind, Queue};
use nix::sys::signal::Signal;

use crate::common::{LONG, builder, in_time, outcome, status};
use crate::sharing::Sharing;
use crate::support::{self, until};

#[test]
fn when_the_manager_is_killed_every_wait_ends_at_once_and_the_pool_goes_on() {
    let sharing = Sharing::start(builder().size(2), "fixture");
    let queue: Queue<u64> = sharing.manager.queue(0).unwrap();
    let try_get = || sharing.pool.submit(sharing.task("try_get", [&queue])).unwrap();
    let tasks = [try_get(), try_get()];
    let here = {
        let queue = queue.clone();
        std::thread::spawn(move || queue.get())
    };
    sharing.wait_until_waiting(3);
    support::send(sharing.manager.pid(), Signal::SIGKILL);
    let error = in_time(move || here.join().unwrap()).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Unavailable);
    for task in tasks.into_iter().chain([try_get()]) {
        assert_eq!(outcome(&task).parse::<String>().unwrap(), "Unavailable");
    }
    assert_eq!(
        status(&sharing.pool.submit(sharing.task("noop", ())).unwrap()),
        "ok"
    );
    assert_eq!(queue.qsize().unwrap_err().kind, ObjectErrorKind::Unavailable);
    until(|| sharing.manager.end());
    in_time(move || {
        sharing.pool.stop().unwrap();
        drop(sharing.manager);
    });
}

#[test]
fn when_the_manager_is_stopped_waits_end_at_the_deadline_and_the_worker_goes_on() {
    let sharing = Sharing::start(builder().size(1).max_waiting(0), "fixture");
    let queue: Queue<String> = sharing.manager.queue(0).unwrap();
    let (ready, go) = (
        sharing.manager.event().unwrap(),
        sharing.manager.value(0_i64).unwrap(),
    );
    // More than a socket holds.
    let put = sharing.task("put_big", (&queue, &ready, &go, 1 << 20));
    let put = sharing.pool.submit(put.timeout(Duration::from_secs(3))).unwrap();
    in_time(move || ready.wait()).unwrap();
    support::send(sharing.manager.pid(), Signal::SIGSTOP);
    go.store(1);
    let put = outcome(&put);
    assert_eq!(put.status(), "timeout");
    let get = |timeout| {
        let task = sharing.task("get", [&queue]).timeout(timeout);
        sharing.pool.submit(task).unwrap()
    };
    let late = outcome(&get(Duration::from_millis(100)));
    assert_eq!(late.status(), "timeout");
    let next = outcome(&sharing.pool.submit(sharing.task("noop", ())).unwrap());
    assert_eq!([put.usage.pid, late.usage.pid], [next.usage.pid; 2]);

    // Once it goes on, so does the connection.
    support::send(sharing.manager.pid(), Signal::SIGCONT);
    let served = sharing
        .task("try_get", [&queue])
        .timeout(Duration::from_millis(200));
    let served = outcome(&sharing.pool.submit(served).unwrap());
    assert!(matches!(served.status(), "ok" | "timeout"), "{served:?}");
    let small = sharing
        .pool
        .submit(sharing.task("meet", [sharing.manager.barrier(1).unwrap()]));
    assert_eq!(outcome(&small.unwrap()).parse::<String>().unwrap(), "met");

    support::send(sharing.manager.pid(), Signal::SIGSTOP);
    let stuck = get(LONG);
    stuck.cancel();
    assert_eq!(status(&stuck), "cancelled");
    in_time(move || {
        sharing.pool.stop().unwrap();
        drop(sharing.manager);
    });
}

#[test]
fn a_manager_that_is_stopped_is_given_up_by_the_program_which_does_not_hang() {
    let manager = Manager::builder().executable(support::binary()).start().unwrap();
    let queue: Queue<u64> = manager.queue(0).unwrap();
    support::send(manager.pid(), Signal::SIGSTOP);
    let error = in_time(move || queue.get_timeout(Duration::from_millis(50)).unwrap_err());
    assert_eq!(error.kind, ObjectErrorKind::Unavailable);
    assert!(
        error.to_string().contains("it has not replied for 10 s"),
        "{error}"
    );
    assert!(manager.end().unwrap().contains("it has not replied"));
    in_time(move || drop(manager)); // kills it
}
