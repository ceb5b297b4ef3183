//! Queues and pipes.

use std::time::Duration;

use mpwasm_types::objects::ObjectErrorKind::{
    Closed, Empty, Full, NotOwner, OutOfMemory, Timeout, WrongType,
};

use super::world::{World, ok};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_queue_of_three_refuses_the_fourth_item() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "queue:3");
    for item in ["[1]", "[2]", "[3]"] {
        assert_eq!(world.now(first, queue, "put", item), ok("null"));
    }
    let timed = world.request(first, queue, "put", "[4]", Some(SECOND));
    world.pass(SECOND);
    assert_eq!(world.outcome(timed), Some(Err(Timeout)));
    assert_eq!(world.now(first, queue, "put", "[4]"), Err(Full));
    assert_eq!(world.now(first, queue, "qsize", "[]"), ok("3"));
    assert_eq!(world.now(first, queue, "full", "[]"), ok("true"));
    assert_eq!(world.now(first, queue, "empty", "[]"), ok("false"));
    for item in ["1", "2", "3"] {
        assert_eq!(world.now(second, queue, "get", "[]"), ok(item));
    }
    assert_eq!(world.now(second, queue, "get", "[]"), Err(Empty));
    let timed = world.request(second, queue, "get", "[]", Some(SECOND));
    world.pass(SECOND);
    assert_eq!(world.outcome(timed), Some(Err(Timeout)));
    assert_eq!(world.now(second, queue, "empty", "[]"), ok("true"));
}

#[test]
fn requests_that_wait_are_served_in_their_order() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "queue:1");
    let gets = [first, second].map(|client| world.waits(client, queue, "get", "[]"));
    world.cancel(first, gets[0]);
    assert_eq!(world.outcome(gets[0]), Some(Err(Timeout)));
    assert_eq!(world.now(first, queue, "put", "[7]"), ok("null"));
    assert_eq!(world.outcome(gets[1]), Some(ok("7")));
    assert_eq!(world.now(first, queue, "put", "[8]"), ok("null"));
    let put = world.waits(first, queue, "put", "[9]");
    assert_eq!(world.now(second, queue, "get", "[]"), ok("8"));
    assert_eq!(world.outcome(put), Some(ok("null")));
    assert_eq!(world.now(second, queue, "get", "[]"), ok("9"));
}

#[test]
fn many_items_are_put_as_room_comes_and_taken_together() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "queue:2");
    let put = world.waits(first, queue, "put_many", "[[1,2,3,4,5]]");
    assert_eq!(world.now(second, queue, "get_many", "[10]"), ok("[1,2]"));
    assert_eq!(world.now(second, queue, "get", "[]"), ok("3"));
    assert_eq!(world.outcome(put), Some(ok("5")));
    assert_eq!(world.now(second, queue, "get_many", "[1]"), ok("[4]"));
    assert_eq!(
        world.now(first, queue, "put_many", "[[6,7,8]]"),
        ok("1"),
        "there was room for one"
    );
    assert_eq!(world.now(first, queue, "put_many", "[[7]]"), Err(Full));
    assert_eq!(world.now(second, queue, "get_many", "[]"), ok("[5,6]"));
    let waiting = world.waits(second, queue, "get_many", "[3]");
    assert_eq!(world.now(first, queue, "put_many", "[[7,8]]"), ok("2"));
    assert_eq!(
        world.outcome(waiting),
        Some(ok("[7,8]")),
        "it takes what is there"
    );
    assert_eq!(world.now(first, queue, "put_many", "[[]]"), ok("0"));
}

#[test]
fn a_closed_queue_can_be_emptied() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "queue");
    assert_eq!(world.now(first, queue, "put", "[1]"), ok("null"));
    assert_eq!(world.now(first, queue, "close", "[]"), ok("null"));
    assert_eq!(world.now(first, queue, "put", "[2]"), Err(Closed));
    assert_eq!(world.now(second, queue, "get", "[]"), ok("1"));
    assert_eq!(world.now(second, queue, "get", "[]"), Err(Closed));

    let (queue, first, second) = world.shared("jobs", "queue:1");
    let waiting = world.waits(second, queue, "get", "[]");
    assert_eq!(world.now(first, queue, "close", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(Err(Closed)));

    let (queue, first, second) = world.shared("jobs", "queue:1");
    let waiting = world.waits(first, queue, "put_many", "[[1,2]]");
    assert_eq!(world.now(second, queue, "close", "[]"), ok("null"));
    assert_eq!(world.outcome(waiting), Some(ok("1")), "one is in");
}

#[test]
fn leased_items_of_a_call_that_fails_come_back_in_front_in_their_order() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "joinable-queue");
    assert_eq!(world.now(second, queue, "put_many", "[[1,2,3,4]]"), ok("4"));
    assert_eq!(world.now(first, queue, "get_many", "[3]"), ok("[1,2,3]"));
    assert_eq!(world.now(first, queue, "task_done", "[]"), ok("null"));
    assert_eq!(world.now(first, queue, "task_done", "[3]"), Err(NotOwner));
    assert_eq!(world.now(second, queue, "task_done", "[]"), Err(NotOwner));
    world.end(first, false);
    assert_eq!(world.now(second, queue, "get_many", "[]"), ok("[2,3,4]"));
}

#[test]
fn join_waits_until_every_item_is_done() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "joinable-queue");
    assert_eq!(world.now(first, queue, "join", "[]"), ok("null"));
    assert_eq!(world.now(first, queue, "put_many", "[[1,2]]"), ok("2"));
    assert_eq!(world.now(first, queue, "join", "[]"), Err(Timeout));
    let joining = world.waits(first, queue, "join", "[]");
    assert_eq!(world.now(second, queue, "get_many", "[]"), ok("[1,2]"));
    assert_eq!(world.now(second, queue, "task_done", "[]"), ok("null"));
    assert_eq!(world.outcome(joining), None);
    // The call succeeds: what it has taken is done.
    world.end(second, true);
    assert_eq!(world.outcome(joining), Some(ok("null")));
}

#[test]
fn a_closed_joinable_queue_waits_for_items_that_may_come_back() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "joinable-queue");
    assert_eq!(world.now(first, queue, "put", "[1]"), ok("null"));
    assert_eq!(world.now(first, queue, "get", "[]"), ok("1"));
    assert_eq!(world.now(first, queue, "close", "[]"), ok("null"));
    assert_eq!(
        world.now(first, queue, "get", "[]"),
        Err(Closed),
        "only its own item is out"
    );
    let waiting = world.waits(second, queue, "get", "[]");
    world.end(first, false);
    assert_eq!(world.outcome(waiting), Some(ok("1")));
    assert_eq!(world.now(second, queue, "task_done", "[]"), ok("null"));
    assert_eq!(world.now(second, queue, "get", "[]"), Err(Closed));
}

#[test]
fn a_waiting_put_of_a_call_that_ends_is_taken_back() {
    let mut world = World::new();
    let (queue, first, second) = world.shared("jobs", "queue:1");
    assert_eq!(world.now(first, queue, "put", "[1]"), ok("null"));
    world.waits(first, queue, "put", "[2]");
    world.disconnect(first);
    assert_eq!(world.now(second, queue, "get", "[]"), ok("1"));
    assert_eq!(world.now(second, queue, "get", "[]"), Err(Empty));
}

#[test]
fn an_item_over_the_memory_cap_is_refused_and_nothing_is_dropped() {
    let mut world = World::with_memory(16 << 10);
    let (queue, first, second) = world.shared("jobs", "queue");
    let before = world.objects.memory();
    let item = format!("[\"{}\"]", "x".repeat(5000));
    assert_eq!(world.now(first, queue, "put", &item), ok("null"));
    assert_eq!(world.now(first, queue, "put", &item), ok("null"));
    assert_eq!(world.now(first, queue, "put", &item), Err(OutOfMemory));
    assert_eq!(world.now(second, queue, "qsize", "[]"), ok("2"));
    assert!(world.now(second, queue, "get", "[]").is_ok());
    assert_eq!(world.now(first, queue, "put", &item), ok("null"));
    assert!(world.now(second, queue, "get_many", "[]").is_ok());
    world.end(first, true);
    world.end(second, true);
    // The two calls are gone, too.
    assert_eq!(
        world.objects.memory(),
        before - 2 * crate::bounds::CLIENT_OVERHEAD
    );
}

/// Creates a pipe and a member at each end.
macro_rules! pipe {
    ($world:ident, $spec:literal, $one:ident, $one_end:ident, $other:ident, $other_end:ident) => {
        let tokens = $world.create("p", $spec);
        let ($one, objects) = $world.member(&tokens[..1]);
        let $one_end = objects[0];
        let ($other, objects) = $world.member(&tokens[1..]);
        let $other_end = objects[0];
    };
}

#[test]
fn both_ends_of_a_duplex_pipe_converse() {
    let mut world = World::new();
    pipe!(world, "pipe", one, one_end, other, other_end);
    assert_eq!(world.now(one, one_end, "recv", "[]"), Err(Empty));
    let receiving = world.waits(one, one_end, "recv", "[]");
    assert_eq!(world.now(other, other_end, "send", "[\"hello\"]"), ok("null"));
    assert_eq!(world.outcome(receiving), Some(ok("\"hello\"")));
    assert_eq!(world.now(other, other_end, "poll", "[]"), ok("false"));
    let polling = world.waits(other, other_end, "poll", "[]");
    assert_eq!(world.now(one, one_end, "send", "[1]"), ok("null"));
    assert_eq!(world.outcome(polling), Some(ok("true")));
    assert_eq!(world.now(other, other_end, "recv", "[]"), ok("1"));
    let polling = world.request(other, other_end, "poll", "[]", Some(SECOND));
    world.pass(SECOND);
    assert_eq!(world.outcome(polling), Some(ok("false")));
    assert!(
        world.now(one, other_end, "recv", "[]").is_err(),
        "each has one end"
    );
}

#[test]
fn the_second_end_of_a_one_way_pipe_sends() {
    let mut world = World::new();
    pipe!(world, "pipe:one-way", receiver, in_end, sender, out_end);
    assert_eq!(world.now(sender, out_end, "send", "[1]"), ok("null"));
    assert_eq!(world.now(sender, out_end, "recv", "[]"), Err(WrongType));
    assert_eq!(world.now(receiver, in_end, "send", "[1]"), Err(WrongType));
    assert_eq!(world.now(receiver, in_end, "recv", "[]"), ok("1"));
}

#[test]
fn a_closed_end_is_the_end_of_file_of_the_other_one() {
    let mut world = World::new();
    pipe!(world, "pipe", one, one_end, other, other_end);
    let receiving = world.waits(other, other_end, "recv", "[]");
    assert_eq!(world.now(one, one_end, "close", "[]"), ok("null"));
    assert_eq!(world.outcome(receiving), Some(Err(Closed)));
    assert_eq!(world.now(other, other_end, "recv", "[]"), Err(Closed));
    assert_eq!(world.now(other, other_end, "poll", "[]"), ok("true"));
    assert_eq!(world.now(other, other_end, "send", "[1]"), Err(Closed));
    assert_eq!(world.now(one, one_end, "recv", "[]"), Err(Closed));
}

#[test]
fn an_end_whose_last_holder_fails_is_closed_until_it_is_used_again() {
    let mut world = World::new();
    pipe!(world, "pipe", one, one_end, other, other_end);
    assert_eq!(world.now(one, one_end, "send", "[1]"), ok("null"));
    world.end(one, false);
    assert_eq!(
        world.now(other, other_end, "recv", "[]"),
        ok("1"),
        "what was sent is there"
    );
    assert_eq!(world.now(other, other_end, "recv", "[]"), Err(Closed));
    let source = mpwasm_types::objects::CallSource::Tasks;
    world.start(one, super::world::CALL, source);
    assert_eq!(world.now(one, one_end, "send", "[2]"), ok("null"));
    world.end(one, true);
    assert_eq!(world.now(other, other_end, "recv", "[]"), ok("2"));
    assert_eq!(
        world.now(other, other_end, "recv", "[]"),
        Err(Empty),
        "a call that succeeded leaves it open"
    );
}

#[test]
fn a_sender_waits_while_the_pipe_is_full() {
    let mut world = World::with_memory(8 << 20);
    pipe!(world, "pipe", one, one_end, other, other_end);
    let item = format!("[\"{}\"]", "x".repeat(700_000));
    assert_eq!(world.now(one, one_end, "send", &item), ok("null"));
    assert_eq!(world.now(one, one_end, "send", &item), Err(Full));
    let sending = world.waits(one, one_end, "send", &item);
    assert!(world.now(other, other_end, "recv", "[]").is_ok());
    assert_eq!(world.outcome(sending), Some(ok("null")));
    let sending = world.waits(one, one_end, "send", &item);
    world.cancel(one, sending);
    assert_eq!(world.outcome(sending), Some(Err(Timeout)));
    assert!(world.now(other, other_end, "recv", "[]").is_ok());
    assert_eq!(world.now(other, other_end, "recv", "[]"), Err(Empty));
}

#[test]
fn a_send_that_does_not_wait_fails_behind_a_larger_one_that_waits() {
    let mut world = World::with_memory(8 << 20);
    let tokens = world.create("talk", "pipe");
    let (first, ends) = world.member(&tokens);
    let (second, _) = world.member(&tokens);
    let large = format!("[\"{}\"]", "x".repeat(700 << 10));
    assert_eq!(world.now(first, ends[0], "send", &large), ok("null"));
    let waiting = world.waits(first, ends[0], "send", &large);
    assert_eq!(world.now(second, ends[0], "send", "[1]"), Err(Full));
    world.now(second, ends[1], "recv", "[]").unwrap();
    assert_eq!(world.outcome(waiting), Some(ok("null")));
    assert_eq!(world.now(second, ends[0], "send", "[1]"), ok("null"));
}
