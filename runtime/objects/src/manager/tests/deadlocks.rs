//! Waits that would never end.

use std::time::Duration;

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::ObjectErrorKind::{Deadlock, Timeout};

use super::world::{World, acquired, ok};

/// The detail of an error.
fn detail(world: &mut World, id: RequestId) -> String {
    world.take_reply(id).unwrap().unwrap_err().detail
}

#[test]
fn the_wait_that_closes_a_cycle_of_locks_ends_with_the_cycle_in_its_message() {
    let mut world = World::new();
    let tokens = [world.create("a", "lock")[0], world.create("b", "value:i64")[0]];
    let (first, objects) = world.member(&tokens);
    let (second, _) = world.member(&tokens);
    let (a, b) = (objects[0], objects[1]);
    assert_eq!(world.now(first, a, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(second, b, "acquire", "[]"), acquired(false));
    let waiting = world.waits(first, b, "acquire", "[]");
    let closing = world.request(second, a, "acquire", "[]", None);
    assert_eq!(
        detail(&mut world, closing),
        "task 1 waits for `a`, which task 0 holds; task 0 waits for `b`, which task 1 holds"
    );
    assert_eq!(world.now(second, b, "release", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(acquired(false)));
}

#[test]
fn a_lock_that_its_holder_waits_for_is_a_cycle_of_one() {
    let mut world = World::new();
    let (lock, first, _) = world.shared("l", "lock");
    assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
    let closing = world.request(first, lock, "acquire", "[]", None);
    assert_eq!(
        detail(&mut world, closing),
        "task 0 waits for `l`, which task 0 holds"
    );
    assert_eq!(world.now(first, lock, "release", "[]"), ok("null"));
}

#[test]
fn a_cycle_with_a_timeout_in_it_resolves_itself() {
    let mut world = World::new();
    let tokens = [world.create("a", "lock")[0], world.create("b", "lock")[0]];
    let (first, objects) = world.member(&tokens);
    let (second, _) = world.member(&tokens);
    let (a, b) = (objects[0], objects[1]);
    assert_eq!(world.now(first, a, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(second, b, "acquire", "[]"), acquired(false));
    let timed = world.request(first, b, "acquire", "[]", Some(Duration::from_secs(1)));
    let waiting = world.waits(second, a, "acquire", "[]");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.outcome(timed), Some(Err(Timeout)));
    assert_eq!(world.now(first, a, "release", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(acquired(false)));
}

#[test]
fn a_condition_that_returns_into_a_cycle_ends_as_deadlock() {
    let mut world = World::new();
    let tokens = [world.create("c", "condition")[0], world.create("l", "lock")[0]];
    let (first, objects) = world.member(&tokens);
    let (second, _) = world.member(&tokens);
    let (condition, lock) = (objects[0], objects[1]);
    assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
    assert_eq!(world.now(first, condition, "acquire", "[]"), acquired(false));
    let timed = world.request(first, condition, "wait", "[]", Some(Duration::from_secs(1)));
    assert_eq!(world.now(second, condition, "acquire", "[]"), acquired(false));
    let waiting = world.waits(second, lock, "acquire", "[]");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.outcome(timed), Some(Err(Deadlock)));
    assert_eq!(world.outcome(waiting), None);
    world.end(first, false);
    assert_eq!(world.outcome(waiting), Some(acquired(true)));
}
