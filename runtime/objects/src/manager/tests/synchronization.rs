//! Locks, semaphores, events, conditions and barriers.

use std::time::Duration;

use mpwasm_types::objects::ObjectErrorKind::{Broken, NotOwner, Timeout};

use super::world::{World, acquired, ok};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lock_is_passed_on_in_the_order_of_the_requests() {
    let mut world = World::new();
    let (lock, first, second) = world.shared("l", "lock");
    assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(second, lock, "acquire", "[]"), Err(Timeout));
    assert_eq!(world.now(second, lock, "release", "[]"), Err(NotOwner));
    let waiting = world.waits(second, lock, "acquire", "[]");
    assert_eq!(world.now(first, lock, "release", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(acquired(false)));
    assert_eq!(world.now(first, lock, "acquire", "[]"), Err(Timeout));
    assert_eq!(world.now(first, lock, "release", "[]"), Err(NotOwner));
}

#[test]
fn the_next_holder_learns_once_that_a_lock_was_abandoned() {
    let mut world = World::new();
    let (lock, first, second) = world.shared("l", "lock");
    assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
    let waiting = world.waits(second, lock, "acquire", "[]");
    world.disconnect(first);
    assert_eq!(world.outcome(waiting), Some(acquired(true)));
    assert_eq!(world.now(second, lock, "release", "[]"), ok("null"));
    assert_eq!(world.now(second, lock, "acquire", "[]"), acquired(false));
}

#[test]
fn a_recursive_lock_is_released_as_often_as_it_was_acquired() {
    for spec in ["rlock", "value:i64", "array:u8:4", "condition"] {
        let mut world = World::new();
        let (lock, first, second) = world.shared("l", spec);
        assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
        assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
        assert_eq!(world.now(first, lock, "release", "[]"), ok("null"));
        assert_eq!(world.now(second, lock, "acquire", "[]"), Err(Timeout), "{spec}");
        assert_eq!(world.now(first, lock, "release", "[]"), ok("null"));
        assert_eq!(world.now(second, lock, "acquire", "[]"), acquired(false));
    }
}

#[test]
fn a_wait_ends_at_its_timeout_and_when_it_is_cancelled() {
    for spec in ["lock", "rlock", "semaphore:1", "bounded-semaphore:1", "condition"] {
        let mut world = World::new();
        let (object, first, second) = world.shared("o", spec);
        assert_eq!(world.now(first, object, "acquire", "[]"), acquired(false));
        let timed = world.request(second, object, "acquire", "[]", Some(SECOND));
        world.pass(SECOND / 2);
        assert_eq!(world.outcome(timed), None);
        assert_eq!(world.objects.next_deadline(), Some(world.now + SECOND / 2));
        world.pass(SECOND / 2);
        assert_eq!(world.outcome(timed), Some(Err(Timeout)), "{spec}");
        let cancelled = world.waits(second, object, "acquire", "[]");
        world.cancel(second, cancelled);
        assert_eq!(world.outcome(cancelled), Some(Err(Timeout)));
        world.cancel(second, cancelled);
        assert_eq!(world.now(first, object, "release", "[]"), ok("null"));
        assert_eq!(
            world.now(first, object, "acquire", "[]"),
            acquired(false),
            "nobody else got it"
        );
        assert_eq!(world.objects.next_deadline(), None);
    }
}

#[test]
fn permits_of_a_call_that_ended_are_given_back() {
    let mut world = World::new();
    let (semaphore, first, second) = world.shared("s", "bounded-semaphore:2");
    assert_eq!(world.now(first, semaphore, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(first, semaphore, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(second, semaphore, "release", "[]"), Err(NotOwner));
    let waiting = world.waits(second, semaphore, "acquire", "[]");
    world.end(first, false);
    assert_eq!(world.outcome(waiting), Some(acquired(true)));
    assert_eq!(world.now(second, semaphore, "acquire", "[]"), acquired(true));
    assert_eq!(world.now(second, semaphore, "acquire", "[]"), Err(Timeout));
}

#[test]
fn a_semaphore_can_be_released_by_those_that_did_not_acquire_it() {
    let mut world = World::new();
    let (semaphore, first, second) = world.shared("s", "semaphore:0");
    let waiting = world.waits(first, semaphore, "acquire", "[]");
    assert_eq!(world.now(second, semaphore, "release", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(acquired(false)));
}

#[test]
fn an_event_ends_all_waits_until_it_is_cleared() {
    let mut world = World::new();
    let (event, first, second) = world.shared("e", "event");
    assert_eq!(world.now(first, event, "is_set", "[]"), ok("false"));
    assert_eq!(world.now(first, event, "wait", "[]"), Err(Timeout));
    let waiting = world.waits(first, event, "wait", "[]");
    assert_eq!(world.now(second, event, "set", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(ok("null")));
    assert_eq!(world.now(second, event, "wait", "[]"), ok("null"));
    assert_eq!(world.now(second, event, "clear", "[]"), ok("null"));
    let timed = world.request(second, event, "wait", "[]", Some(SECOND));
    world.pass(SECOND);
    assert_eq!(world.outcome(timed), Some(Err(Timeout)));
}

#[test]
fn a_condition_gives_the_lock_back_before_a_wait_returns() {
    let mut world = World::new();
    let (condition, first, second) = world.shared("c", "condition");
    assert_eq!(world.now(first, condition, "wait", "[]"), Err(NotOwner));
    assert_eq!(world.now(first, condition, "notify", "[]"), Err(NotOwner));
    assert_eq!(world.now(first, condition, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(first, condition, "acquire", "[]"), acquired(false));
    let waiting = world.waits(first, condition, "wait", "[]");
    assert_eq!(world.now(second, condition, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(second, condition, "notify", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), None, "the lock is held");
    assert_eq!(world.now(second, condition, "release", "[]"), ok("null"));
    let notified = Some(ok(r#"{"notified":true,"abandoned":false}"#));
    assert_eq!(world.outcome(waiting), notified);
    // It holds the lock as often as before.
    assert_eq!(world.now(first, condition, "release", "[]"), ok("null"));
    assert_eq!(world.now(second, condition, "acquire", "[]"), Err(Timeout));
    assert_eq!(world.now(first, condition, "release", "[]"), ok("null"));
    assert_eq!(world.now(second, condition, "acquire", "[]"), acquired(false));
}

#[test]
fn a_condition_that_nobody_notifies_returns_with_the_lock() {
    let mut world = World::new();
    let (condition, first, second) = world.shared("c", "condition");
    assert_eq!(world.now(first, condition, "acquire", "[]"), acquired(false));
    let not_notified = ok(r#"{"notified":false,"abandoned":false}"#);
    assert_eq!(world.now(first, condition, "wait", "[]"), not_notified);
    let timed = world.request(first, condition, "wait", "[]", Some(SECOND));
    assert_eq!(world.now(second, condition, "acquire", "[]"), acquired(false));
    world.pass(SECOND);
    assert_eq!(world.outcome(timed), None, "the lock is held");
    assert_eq!(world.objects.next_deadline(), None);
    assert_eq!(world.now(second, condition, "release", "[]"), ok("null"));
    assert_eq!(world.outcome(timed), Some(not_notified));
    assert_eq!(world.now(first, condition, "release", "[]"), ok("null"));
    // A cancelled wait does not hold it.
    assert_eq!(world.now(first, condition, "acquire", "[]"), acquired(false));
    let cancelled = world.waits(first, condition, "wait", "[]");
    world.cancel(first, cancelled);
    assert_eq!(world.outcome(cancelled), Some(Err(Timeout)));
    assert_eq!(world.now(second, condition, "acquire", "[]"), acquired(false));
}

#[test]
fn notify_ends_as_many_waits_as_it_says() {
    let mut world = World::new();
    let token = world.create("c", "condition")[0];
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (client, objects) = world.member(&[token]);
            assert_eq!(world.now(client, objects[0], "acquire", "[]"), acquired(false));
            (client, world.waits(client, objects[0], "wait", "[]"))
        })
        .collect();
    let (notifier, objects) = world.member(&[token]);
    let condition = objects[0];
    assert_eq!(world.now(notifier, condition, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(notifier, condition, "notify", "[2]"), ok("null"));
    assert_eq!(world.now(notifier, condition, "release", "[]"), ok("null"));
    assert!(world.outcome(waiting[0].1).is_some());
    assert!(world.outcome(waiting[1].1).is_none());
    world.end(waiting[0].0, false);
    let abandoned = Some(ok(r#"{"notified":true,"abandoned":true}"#));
    assert_eq!(world.outcome(waiting[1].1), abandoned);
    world.end(waiting[1].0, true);
    assert!(world.outcome(waiting[2].1).is_none());
    assert_eq!(world.now(notifier, condition, "acquire", "[]"), acquired(true));
    assert_eq!(world.now(notifier, condition, "notify_all", "[]"), ok("null"));
    world.end(notifier, true);
    assert!(world.outcome(waiting[2].1).is_some());
}

#[test]
fn a_barrier_lets_all_parties_go_when_the_last_one_comes() {
    let mut world = World::new();
    let (barrier, first, second) = world.shared("b", "barrier:2");
    for _ in 0..2 {
        let waiting = world.waits(first, barrier, "wait", "[]");
        assert_eq!(world.now(second, barrier, "waiting", "[]"), ok("1"));
        assert_eq!(world.now(second, barrier, "wait", "[]"), ok("1"));
        assert_eq!(world.outcome(waiting), Some(ok("0")));
    }
    assert_eq!(world.now(first, barrier, "parties", "[]"), ok("2"));
}

#[test]
fn a_party_that_dies_times_out_or_aborts_breaks_the_barrier() {
    let mut world = World::new();
    let token = world.create("b", "barrier:3")[0];
    let clients: Vec<_> = (0..4).map(|_| world.member(&[token])).collect();
    let barrier = clients[0].1[0];
    let [first, second, third, last] = [0, 1, 2, 3].map(|index: usize| clients[index].0);
    let waiting = world.waits(first, barrier, "wait", "[]");
    let dies = world.waits(second, barrier, "wait", "[]");
    world.disconnect(second);
    assert_eq!(world.outcome(dies), None);
    assert_eq!(world.outcome(waiting), Some(Err(Broken)));
    assert_eq!(world.now(first, barrier, "wait", "[]"), Err(Broken));
    assert_eq!(world.now(first, barrier, "broken", "[]"), ok("true"));
    assert_eq!(world.now(first, barrier, "reset", "[]"), ok("null"));
    assert_eq!(world.now(first, barrier, "broken", "[]"), ok("false"));

    let waiting = world.waits(first, barrier, "wait", "[]");
    let timed = world.request(third, barrier, "wait", "[]", Some(SECOND));
    world.pass(SECOND);
    assert_eq!(world.outcome(timed), Some(Err(Timeout)));
    assert_eq!(world.outcome(waiting), Some(Err(Broken)));
    assert_eq!(world.now(first, barrier, "reset", "[]"), ok("null"));

    let waiting = world.waits(first, barrier, "wait", "[]");
    assert_eq!(world.now(last, barrier, "abort", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(Err(Broken)));
}
