//! What a guest can't do with shared objects: reach those that it was not given, use one as another type, or fill the manager.

use mpwasm::objects::{Manager, Queue};
use serde_json::{Value, json};

use crate::common::{builder, outcome, result};
use crate::sharing::Sharing;
use crate::support;

/// Returns the outcome of a task that takes an item of the queue with this handle: its result, or the message of its error.
fn try_get(sharing: &Sharing, handle: &Value) -> String {
    let task = sharing.pool.submit(sharing.task("try_get", [handle])).unwrap();
    let outcome = outcome(&task);
    match &outcome.result {
        Ok(_) => result(&outcome).to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_object_is_reached_by_its_own_token_or_a_name_of_the_pool_only() {
    let sharing = Sharing::start(builder().size(1), "fixture");
    let queue: Queue<u64> = sharing.manager.labelled("jobs").queue(0).unwrap();
    queue.put(&1).unwrap();
    let handle = serde_json::to_value(&queue).unwrap();
    let mut token = handle["token"].as_str().unwrap().to_owned();
    let last = token.pop().unwrap().to_digit(16).unwrap();
    token.push(char::from_digit((last + 1) % 16, 16).unwrap());
    let other = Manager::builder().executable(support::binary()).start().unwrap();
    let theirs: Queue<u64> = other.labelled("jobs").queue(0).unwrap();
    theirs.put(&2).unwrap();
    for (what, forged) in [
        ("a guess", json!({"object": "jobs", "token": "0".repeat(32)})),
        (
            "a token with another digit",
            json!({"object": "jobs", "token": token}),
        ),
        (
            "a token of another manager",
            serde_json::to_value(&theirs).unwrap(),
        ),
        ("a label, which is no name of the pool", json!({"object": "jobs"})),
    ] {
        assert_eq!(try_get(&sharing, &forged), r#""NoSuchObject""#, "{what}");
    }
    assert_eq!(try_get(&sharing, &handle), r#""got""#);
    assert_eq!((queue.qsize().unwrap(), theirs.qsize().unwrap()), (0, 1));
    sharing.stop();
}

#[test]
fn an_object_is_no_object_of_another_type() {
    let sharing = Sharing::start(builder().size(1), "fixture");
    let dict = sharing.manager.dict::<String, u64>().unwrap();
    let (lock, value) = (
        sharing.manager.lock().unwrap(),
        sharing.manager.value(7_i64).unwrap(),
    );
    for handle in [
        serde_json::to_value(&dict).unwrap(),
        serde_json::to_value(&lock).unwrap(),
        serde_json::to_value(&value).unwrap(),
    ] {
        assert_eq!(
            try_get(&sharing, &handle),
            r#""WrongType""#,
            "{}",
            handle["object"]
        );
    }
    assert_eq!((dict.len().unwrap(), value.load()), (0, 7));
    sharing.stop();
}

#[test]
fn a_value_that_is_too_large_is_refused_and_none_of_it_is_kept() {
    let manager = Manager::builder().memory(1 << 20).executable(support::binary());
    let sharing = Sharing::with(manager, builder().size(1), "fixture");
    let queue: Queue<String> = sharing.manager.labelled("texts").queue(0).unwrap();
    let (ready, go) = (
        sharing.manager.event().unwrap(),
        sharing.manager.value(1_i64).unwrap(),
    );
    let before = sharing.manager.status().unwrap().memory;
    for (size, why) in [
        ((16 << 20) + 1, "value too large"),
        (1 << 20, "the manager's memory is full"),
    ] {
        let task = sharing.task("put_big", (&queue, &ready, &go, size));
        let ended = outcome(&sharing.pool.submit(task).unwrap());
        let message = ended.result.as_ref().unwrap_err().to_string();
        assert!(message.contains("queue `texts`: put: "), "{message}");
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(queue.qsize().unwrap(), 0);
    let after = sharing.manager.status().unwrap().memory;
    assert!(after < before + (64 << 10), "{before} {after}");
    sharing.stop();
}
