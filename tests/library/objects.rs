//! Objects that a program shares with its threads, its tasks and several pools.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mpwasm::Error;
use mpwasm::objects::{CallSource, Manager, ObjectErrorKind};
use nix::sys::signal::Signal;

use crate::common::{PATIENCE, builder, in_time, outcome, result};
use crate::support::{self, binary, guest, until};

/// Long enough that a waiter waits, and short enough for a test.
const SHORT: Duration = Duration::from_millis(20);

fn manager() -> Manager {
    Manager::builder().executable(binary()).start().unwrap()
}

/// Waits until this many threads of the program or tasks wait for objects.
fn wait_for_waits(manager: &Manager, count: usize) {
    until(|| (manager.status().unwrap().waiting.len() == count).then_some(()));
}

#[test]
fn a_pipe_connects_two_ends_that_both_send_and_receive() {
    let manager = manager();
    let (ours, theirs) = manager.pipe::<String>(true).unwrap();
    ours.send(&"who?".to_owned()).unwrap();
    assert!(theirs.poll().unwrap() && !ours.poll().unwrap());
    assert_eq!(theirs.recv().unwrap(), "who?");
    theirs.send(&"me".to_owned()).unwrap();
    assert_eq!(ours.recv_timeout(PATIENCE).unwrap(), "me");
    assert_eq!(ours.recv_timeout(SHORT).unwrap_err().kind, ObjectErrorKind::Empty);
    assert!(!ours.poll_timeout(SHORT).unwrap());
    theirs.close().unwrap();
    assert_eq!(ours.recv().unwrap_err().kind, ObjectErrorKind::Closed);
}

#[test]
fn the_first_end_of_a_one_way_pipe_only_receives() {
    let manager = manager();
    let (receiver, sender) = manager.pipe::<u64>(false).unwrap();
    sender.send(&7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    assert_eq!(receiver.send(&7).unwrap_err().kind, ObjectErrorKind::WrongType);
    assert_eq!(sender.recv().unwrap_err().kind, ObjectErrorKind::WrongType);
}

#[test]
fn the_fourth_item_of_a_queue_of_three_waits_and_then_does_not_fit() {
    let manager = manager();
    let queue = manager.labelled("few").queue::<u64>(3).unwrap();
    assert!(queue.empty().unwrap());
    for number in 1..=3 {
        queue.put(&number).unwrap();
    }
    let full = queue.put_timeout(&4, SHORT).unwrap_err();
    assert_eq!(
        (full.kind, &*full.to_string()),
        (ObjectErrorKind::Full, "queue `few`: put: full")
    );
    assert_eq!(queue.put_nowait(&4).unwrap_err().kind, ObjectErrorKind::Full);
    assert_eq!(queue.qsize().unwrap(), 3);
    assert!(queue.full().unwrap() && !queue.empty().unwrap());
    assert_eq!(queue.get_many(9).unwrap(), [1, 2, 3]);
    assert_eq!(queue.get_nowait().unwrap_err().kind, ObjectErrorKind::Empty);
    assert_eq!(queue.get_timeout(SHORT).unwrap_err().kind, ObjectErrorKind::Empty);
}

#[test]
fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
    let manager = manager();
    let queue = manager.queue::<u64>(0).unwrap();
    queue.put_many(&[1, 2]).unwrap();
    queue.close().unwrap();
    assert_eq!(queue.put(&3).unwrap_err().kind, ObjectErrorKind::Closed);
    let items: Result<Vec<_>, _> = queue.iter().collect();
    assert_eq!(items.unwrap(), [1, 2]);
}

#[test]
fn threads_wait_for_an_item_at_the_same_time_and_each_item_goes_to_one() {
    let manager = manager();
    let queue = manager.queue::<u64>(0).unwrap();
    let getters: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap())
        })
        .collect();
    wait_for_waits(&manager, 4);
    queue.put_many(&[1, 2, 3, 4]).unwrap();
    let mut got: Vec<_> = getters.into_iter().map(|getter| getter.join().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3, 4]);
}

#[test]
fn join_waits_until_each_item_of_a_joinable_queue_is_done() {
    let manager = manager();
    let queue = manager.joinable_queue::<u64>(0).unwrap();
    queue.join().unwrap();
    queue.put_many(&[1, 2]).unwrap();
    assert_eq!(
        queue.join_timeout(SHORT).unwrap_err().kind,
        ObjectErrorKind::Timeout
    );
    for number in 1..=2 {
        assert_eq!(queue.get().unwrap(), number);
        queue.task_done().unwrap();
    }
    in_time(move || queue.join()).unwrap();
}

#[test]
fn no_increment_of_a_value_is_lost_and_none_takes_a_round_trip() {
    let manager = manager();
    let total = manager.value::<i64>(0).unwrap();
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                (0..1000).for_each(|_| {
                    total.add(1);
                })
            });
        }
    });
    assert_eq!(total.load(), 5000);
    drop(manager);
    assert_eq!(total.sub(1), 5000, "the memory outlives the manager");
}

#[test]
fn values_and_arrays_have_the_operations_of_atomics() {
    let manager = manager();
    let value = manager.value::<u8>(250).unwrap();
    assert_eq!((value.add(10), value.load()), (250, 4), "it wraps around");
    assert_eq!((value.swap(12), value.min(9), value.max(40)), (4, 12, 9));
    assert_eq!(
        (value.and(8), value.or(3), value.xor(1), value.load()),
        (40, 8, 11, 10)
    );
    assert!(!value.compare_and_swap(1, 2) && value.compare_and_swap(10, 2));
    let array = manager.array::<f64>(3).unwrap();
    array.store_slice(1, &[1.5, -2.0]).unwrap();
    array.add(0, 0.25).unwrap();
    assert_eq!(array.to_vec(), [0.25, 1.5, -2.0]);
    assert_eq!(array.load(3).unwrap_err().kind, ObjectErrorKind::Missing);
    assert!(array.store_slice(2, &[0.0, 0.0]).is_err());
    assert_eq!(array.load(2).unwrap(), -2.0, "nothing was written");
    let guard = value.lock().unwrap();
    value.store(7); // the lock is only for those that ask for it
    guard.release().unwrap();
}

#[test]
fn a_lock_has_one_holder_and_a_thread_that_ends_gives_it_back() {
    let manager = manager();
    let lock = manager.lock().unwrap();
    let guard = lock.acquire().unwrap();
    assert!(!guard.abandoned());
    let other = lock.clone();
    let (tried, timed_out) = thread::spawn(move || {
        (
            other.try_acquire().unwrap().is_none(),
            other.acquire_timeout(SHORT).unwrap().is_none(),
        )
    })
    .join()
    .unwrap();
    assert!(tried && timed_out);
    drop(guard);
    let other = lock.clone();
    thread::spawn(move || std::mem::forget(other.acquire().unwrap()))
        .join()
        .unwrap();
    let guard = lock
        .acquire_timeout(PATIENCE)
        .unwrap()
        .expect("its holder has ended");
    assert!(guard.abandoned());
}

#[test]
fn an_rlock_can_be_acquired_again_by_its_holder() {
    let manager = manager();
    let lock = manager.rlock().unwrap();
    let first = lock.acquire().unwrap();
    let second = lock.acquire().unwrap();
    drop(first);
    let other = lock.clone();
    assert!(
        thread::spawn(move || other.try_acquire().unwrap().is_none())
            .join()
            .unwrap()
    );
    drop(second);
    assert!(lock.try_acquire().unwrap().is_some());
}

#[test]
fn a_semaphore_has_permits_and_a_bounded_one_no_more_than_at_first() {
    let manager = manager();
    let semaphore = manager.semaphore(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(permit);
    semaphore.release().unwrap();
    let both = (semaphore.try_acquire().unwrap(), semaphore.try_acquire().unwrap());
    assert!(both.0.is_some() && both.1.is_some());
    let bounded = manager.bounded_semaphore(1).unwrap();
    assert_eq!(bounded.release().unwrap_err().kind, ObjectErrorKind::NotOwner);
}

#[test]
fn an_event_wakes_all_that_wait_for_it() {
    let manager = manager();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap() && !event.wait_timeout(SHORT).unwrap());
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let event = event.clone();
            thread::spawn(move || event.wait().unwrap())
        })
        .collect();
    wait_for_waits(&manager, 2);
    event.set().unwrap();
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());
}

#[test]
fn a_condition_wakes_a_waiter_that_then_holds_its_lock() {
    let manager = manager();
    let (condition, ready) = (manager.condition().unwrap(), manager.value::<u8>(0).unwrap());
    let (waiting, flag) = (condition.clone(), ready.clone());
    let waiter = thread::spawn(move || {
        let guard = waiting.acquire().unwrap();
        guard.wait_for(|| Ok(flag.load() == 1)).unwrap();
        assert!(!guard.wait_timeout(SHORT).unwrap());
    });
    wait_for_waits(&manager, 1);
    let guard = condition.acquire().unwrap();
    ready.store(1);
    guard.notify(1).unwrap();
    drop(guard);
    waiter.join().unwrap();
    condition.acquire().unwrap().notify_all().unwrap();
}

#[test]
fn a_barrier_lets_its_parties_pass_together_and_breaks_when_one_gives_up() {
    let manager = manager();
    let barrier = manager.barrier(2).unwrap();
    let other = barrier.clone();
    let party = thread::spawn(move || other.wait().unwrap());
    let mut indices = [barrier.wait().unwrap(), party.join().unwrap()];
    indices.sort_unstable();
    assert_eq!(indices, [0, 1]);
    let other = barrier.clone();
    let party = thread::spawn(move || other.wait().unwrap_err().kind);
    wait_for_waits(&manager, 1);
    assert_eq!((barrier.parties().unwrap(), barrier.waiting().unwrap()), (2, 1));
    barrier.abort().unwrap();
    assert_eq!(party.join().unwrap(), ObjectErrorKind::Broken);
    assert!(barrier.broken().unwrap());
    barrier.reset().unwrap();
    assert!(!barrier.broken().unwrap());
}

#[test]
fn a_dict_has_the_methods_of_pythons_and_adds_in_one_step() {
    let manager = manager();
    let dict = manager.dict::<String, u64>().unwrap();
    dict.set("a", &1).unwrap();
    dict.update([(&"b".to_owned(), &2), (&"c".to_owned(), &3)])
        .unwrap();
    assert_eq!((dict.get("b").unwrap(), dict.get("z").unwrap()), (Some(2), None));
    assert_eq!(dict.set_default("a", &9).unwrap(), 1);
    assert_eq!((dict.add("a", 4).unwrap(), dict.add("new", 1).unwrap()), (5, 1));
    assert!(dict.compare_and_swap("a", &5, &6).unwrap() && !dict.compare_and_swap("a", &5, &7).unwrap());
    assert_eq!(dict.pop("b").unwrap(), Some(2));
    assert!(dict.remove("new").unwrap() && !dict.remove("new").unwrap());
    assert!(dict.contains("c").unwrap() && !dict.contains("b").unwrap());
    assert_eq!(dict.keys().unwrap(), ["a", "c"]);
    assert_eq!(dict.values().unwrap(), [6, 3]);
    assert_eq!(dict.items().unwrap(), [("a".to_owned(), 6), ("c".to_owned(), 3)]);
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap());
    let many: Vec<(u64, u64)> = (0..5000).map(|number| (number, number)).collect();
    let numbers = manager.dict::<u64, u64>().unwrap();
    numbers
        .update(many.iter().map(|(key, value)| (key, value)))
        .unwrap();
    assert_eq!(numbers.items().unwrap(), many, "it is read in pages");
}

#[test]
fn a_list_has_the_methods_of_pythons() {
    let manager = manager();
    let list = manager.list::<u64>().unwrap();
    list.extend(&[3, 1]).unwrap();
    list.append(&2).unwrap();
    list.insert(0, &9).unwrap();
    assert_eq!(list.to_vec().unwrap(), [9, 3, 1, 2]);
    assert_eq!(list.get(-1).unwrap(), Some(2));
    assert_eq!(list.get(4).unwrap(), None);
    list.set(0, &8).unwrap();
    assert_eq!(
        (list.index(&1).unwrap(), list.index(&7).unwrap()),
        (Some(2), None)
    );
    assert!(list.remove(&8).unwrap() && !list.remove(&8).unwrap());
    list.sort().unwrap();
    list.reverse().unwrap();
    assert_eq!(list.slice(1..).unwrap(), [2, 1]);
    assert_eq!((list.pop().unwrap(), list.pop_at(0).unwrap()), (Some(1), Some(3)));
    assert_eq!(list.len().unwrap(), 1);
    list.clear().unwrap();
    assert_eq!(list.pop().unwrap(), None);
    let many: Vec<u64> = (0..5000).collect();
    list.extend(&many).unwrap();
    assert_eq!(list.to_vec().unwrap(), many, "it is read in pages");
}

#[test]
fn a_namespace_has_attributes_of_any_types() {
    let manager = manager();
    let namespace = manager.namespace().unwrap();
    namespace.set("name", "pool").unwrap();
    namespace.set("size", &2).unwrap();
    assert_eq!(namespace.get::<String>("name").unwrap().as_deref(), Some("pool"));
    assert_eq!(namespace.attributes().unwrap(), ["name", "size"]);
    assert!(namespace.remove("name").unwrap() && !namespace.remove("name").unwrap());
    assert_eq!(namespace.get::<u64>("name").unwrap(), None);
}

#[test]
fn a_proxy_in_the_args_of_a_task_is_the_object_itself_for_several_pools() {
    let manager = manager();
    let total = manager.labelled("total").value::<i64>(0).unwrap();
    for _ in 0..2 {
        let pool = builder().manager(&manager).start().unwrap();
        let sharing = pool.load(guest("sharing")).unwrap();
        let increment = sharing.model("increment").unwrap();
        let handles: Vec<_> = (0..5)
            .map(|_| pool.submit(increment.task((&total, 1000))).unwrap())
            .collect();
        for handle in &handles {
            let outcome = outcome(handle);
            outcome.result.as_ref().unwrap();
            let record = serde_json::to_string(&outcome).unwrap();
            assert!(!record.contains("token"), "{record}");
        }
        pool.stop().unwrap();
    }
    assert_eq!(total.load(), 10_000);
}

#[test]
fn a_task_opens_an_object_by_the_name_that_its_pool_was_granted() {
    let manager = manager();
    let numbers = manager.queue::<u64>(0).unwrap();
    numbers.put_many(&[1, 2, 3]).unwrap();
    numbers.close().unwrap();
    let pool = builder().object("numbers", &numbers).start().unwrap();
    let sharing = pool.load(guest("sharing")).unwrap();
    let consume = sharing.model("consume_by_name").unwrap();
    let handle = pool.submit(consume.task(())).unwrap();
    assert_eq!(result(&outcome(&handle)), "6", "the sum of what it has taken");
    pool.stop().unwrap();
}

#[test]
fn in_a_pool_without_a_manager_and_after_its_end_objects_are_unavailable() {
    let manager = manager();
    let total = manager.value::<i64>(0).unwrap();
    for with_manager in [false, true] {
        let pool = match with_manager {
            true => builder().manager(&manager),
            false => builder(),
        };
        let pool = pool.start().unwrap();
        let sharing = pool.load(guest("sharing")).unwrap();
        let task = sharing.model("increment").unwrap().task((&total, 1));
        if with_manager {
            support::send(manager.pid(), Signal::SIGKILL);
            until(|| manager.end());
        }
        let outcome = outcome(&pool.submit(task).unwrap());
        let error = outcome.result.as_ref().unwrap_err();
        assert!(error.message.contains("no manager"), "{error}");
        pool.stop().unwrap();
    }
    let refused = builder().manager(&manager).start();
    assert!(matches!(refused, Err(Error::Object(error)) if error.kind == ObjectErrorKind::Unavailable));
}

#[test]
fn threads_that_wait_are_told_at_once_that_the_manager_has_died() {
    let manager = manager();
    let (queue, lock) = (manager.queue::<u64>(0).unwrap(), manager.lock().unwrap());
    let _guard = lock.acquire().unwrap();
    let (ended, ends) = mpsc::channel();
    let (waits, getter) = (ended.clone(), queue.clone());
    thread::spawn(move || waits.send(getter.get().unwrap_err().kind));
    thread::spawn(move || ended.send(lock.acquire().unwrap_err().kind));
    wait_for_waits(&manager, 2);
    support::send(manager.pid(), Signal::SIGKILL);
    for _ in 0..2 {
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), ObjectErrorKind::Unavailable);
    }
    assert_eq!(queue.qsize().unwrap_err().kind, ObjectErrorKind::Unavailable);
}

#[test]
fn dropping_the_manager_leaves_no_process() {
    let manager = manager();
    let pid = manager.pid();
    assert_eq!(support::role(pid).as_deref(), Some("manager"));
    let queue = manager.queue::<u64>(0).unwrap();
    drop(manager);
    assert_eq!(support::role(pid), None);
    assert_eq!(queue.put(&1).unwrap_err().kind, ObjectErrorKind::Unavailable);
}

#[test]
fn the_status_says_which_task_waits_and_which_thread_holds() {
    let manager = manager();
    let lock = manager.labelled("door").lock().unwrap();
    let _guard = lock.acquire().unwrap();
    let other = lock.clone();
    let waiter = thread::spawn(move || other.acquire().map(drop));
    wait_for_waits(&manager, 1);
    let status = manager.status().unwrap();
    assert_eq!(
        (&*status.waiting[0].object, &*status.waiting[0].operation),
        ("door", "acquire")
    );
    assert_eq!(
        (&*status.holders[0].object, status.holders[0].source),
        ("door", CallSource::Program)
    );
    drop(_guard);
    waiter.join().unwrap().unwrap();
}

#[test]
fn two_threads_that_take_two_locks_in_opposite_order_do_not_wait_forever() {
    let manager = manager();
    let (first, second) = (manager.lock().unwrap(), manager.lock().unwrap());
    let _held = first.acquire().unwrap();
    let (one, other) = (first.clone(), second.clone());
    let thread = thread::spawn(move || {
        let _held = other.acquire().unwrap();
        one.acquire().map(drop)
    });
    wait_for_waits(&manager, 1);
    let closes = second.acquire().map(drop).unwrap_err();
    assert_eq!(closes.kind, ObjectErrorKind::Deadlock);
    drop(_held);
    thread.join().unwrap().unwrap();
}

#[test]
fn objects_that_no_pool_can_have_are_refused() {
    let (one, other) = (manager(), manager());
    let (here, there) = (one.queue::<u64>(0).unwrap(), other.queue::<u64>(0).unwrap());
    for builder in [
        builder().object("a", &here).object("b", &there),
        builder().object("a", &here).object("a", &here),
        builder().object("", &here),
        builder().object("{}", &here),
    ] {
        let refused = builder.start();
        assert!(matches!(refused, Err(Error::BadSetting(_))), "{refused:?}");
    }
    assert_eq!(one.array::<u8>(0).unwrap_err().kind, ObjectErrorKind::Invalid);
    assert_eq!(one.barrier(0).unwrap_err().kind, ObjectErrorKind::Invalid);
}

#[test]
fn objects_that_take_more_memory_than_the_manager_may_have_are_refused() {
    let manager = Manager::builder()
        .executable(binary())
        .memory(1 << 20)
        .start()
        .unwrap();
    let refused = manager.array::<u64>(1 << 20).unwrap_err();
    assert_eq!(refused.kind, ObjectErrorKind::OutOfMemory);
    let list = manager.list::<String>().unwrap();
    let text = "x".repeat(600 << 10);
    list.append(&text).unwrap();
    assert_eq!(list.append(&text).unwrap_err().kind, ObjectErrorKind::OutOfMemory);
    assert_eq!(list.len().unwrap(), 1, "nothing is lost");
}
