//! What clients may do, and what is left of them.

use std::time::Duration;

use mpwasm_types::objects::ObjectErrorKind::{Invalid, NoSuchObject, OutOfMemory};
use mpwasm_types::objects::{
    CallNumber, CallSource, GrantedName, ObjectId, ObjectKind, RequestedObject, Token,
};

use super::world::{CALL, World, acquired, ok};
use crate::manager::PoolError;
use crate::message::{ClientFault, ClientMessage, ObjectReply};

fn granted(name: &str, token: Token) -> GrantedName {
    let name = name.to_owned();
    GrantedName { name, token }
}

#[test]
fn an_object_is_used_only_by_clients_that_have_opened_it() {
    let mut world = World::new();
    let token = world.create("l", "lock")[0];
    let (client, _) = world.member(&[]);
    for guess in 0..10 {
        assert_eq!(
            world.now(client, ObjectId(guess), "acquire", "[]"),
            Err(NoSuchObject)
        );
    }
    let guessed = RequestedObject::Token(Token::from_bytes([7; 16]));
    assert_eq!(world.open(client, guessed).unwrap_err().kind, NoSuchObject);
    let object = world.open_token(client, token);
    assert_eq!(world.now(client, object, "acquire", "[]"), acquired(false));
}

#[test]
fn a_name_is_open_to_the_pool_that_it_was_granted_to() {
    let mut world = World::new();
    let token = world.create("the jobs", "queue:5")[0];
    let (stranger, _) = world.member(&[]);
    let pool = world
        .objects
        .open_pool(world.owner, &[granted("jobs", token)])
        .unwrap();
    let member = world.objects.attach(pool).unwrap();
    let opened = world.open(member, RequestedObject::Name("jobs")).unwrap();
    let spec = "queue:5".parse().unwrap();
    assert!(
        matches!(&opened, ObjectReply::Opened { label, spec: of, .. } if label == "the jobs" && *of == spec)
    );
    for (client, name) in [(member, "the jobs"), (stranger, "jobs"), (world.owner, "jobs")] {
        let error = world.open(client, RequestedObject::Name(name)).unwrap_err();
        assert_eq!(error.kind, NoSuchObject);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_pool_is_opened_by_the_owner_with_tokens_of_this_manager() {
    let mut world = World::new();
    let names = [granted("jobs", Token::from_bytes([7; 16]))];
    let error = world.objects.open_pool(world.owner, &names).unwrap_err();
    assert!(matches!(error, PoolError::Object(error) if error.kind == NoSuchObject));
    let (member, _) = world.member(&[]);
    for client in [world.pool, member] {
        let error = world.objects.open_pool(client, &[]).unwrap_err();
        assert_eq!(error, PoolError::Fault(ClientFault::Forbidden));
    }
    let error = world.objects.attach(member).unwrap_err();
    assert_eq!(error, PoolError::Fault(ClientFault::Forbidden));
}

#[test]
fn messages_that_a_client_of_its_kind_cannot_send_are_faults() {
    let mut world = World::new();
    let (member, _) = world.member(&[]);
    let id = world.request_id();
    let create = |label| ClientMessage::Create {
        id,
        label,
        spec: "lock".parse().unwrap(),
    };
    assert_eq!(world.handle(member, create("l")), Err(ClientFault::Forbidden));
    assert_eq!(world.handle(world.pool, create("l")), Err(ClientFault::Forbidden));
    assert_eq!(
        world.handle(world.owner, create(&"l".repeat(200))),
        Err(ClientFault::OutOfBounds)
    );
    assert_eq!(
        world.handle(member, ClientMessage::Status { id }),
        Err(ClientFault::Forbidden)
    );
    assert_eq!(
        world.handle(world.pool, ClientMessage::Cancel { id }),
        Err(ClientFault::Forbidden)
    );
    let started = |call| ClientMessage::CallStarted {
        call: CallNumber(call),
        source: CallSource::Callback,
    };
    assert_eq!(world.handle(member, started(1)), Err(ClientFault::RepeatedCall));
    let results: Vec<_> = (2..100).map(|call| world.handle(member, started(call))).collect();
    assert_eq!(results.last(), Some(&Err(ClientFault::TooManyCalls)));
    let ended = ClientMessage::CallEnded {
        call: CallNumber(200),
        succeeded: true,
    };
    assert_eq!(world.handle(member, ended), Err(ClientFault::UnknownCall));
}

#[test]
fn a_call_asks_one_thing_at_a_time() {
    let mut world = World::new();
    let (event, first, _) = world.shared("e", "event");
    world.waits(first, event, "wait", "[]");
    let id = world.request_id();
    let call = |call| ClientMessage::Call {
        id,
        call,
        object: event,
        operation: "is_set",
        args: b"[]",
        timeout: None,
    };
    assert_eq!(world.handle(first, call(CALL)), Err(ClientFault::BusyCall));
    assert_eq!(
        world.handle(first, call(CallNumber(9))),
        Err(ClientFault::UnknownCall)
    );
}

#[test]
fn the_first_request_of_a_thread_of_the_program_starts_its_call() {
    let mut world = World::new();
    let token = world.create("l", "lock")[0];
    let owner = world.owner;
    let object = world.open_token(owner, token);
    let mut acquire = |call| {
        let id = world.request_id();
        let call = ClientMessage::Call {
            id,
            call: CallNumber(call),
            object,
            operation: "acquire",
            args: b"[]",
            timeout: Some(Duration::ZERO),
        };
        world.handle(owner, call).unwrap();
        world.outcome(id).unwrap()
    };
    assert_eq!(acquire(70), acquired(false));
    assert!(acquire(71).is_err(), "another thread holds it");
    let ended = ClientMessage::CallEnded {
        call: CallNumber(70),
        succeeded: true,
    };
    world.handle(owner, ended).unwrap();
    assert!(world.status(owner).holders.is_empty());
    let unknown = ClientMessage::CallEnded {
        call: CallNumber(72),
        succeeded: true,
    };
    assert_eq!(world.handle(owner, unknown), Ok(()), "a thread without requests");
}

#[test]
fn an_object_without_a_label_gets_one() {
    let mut world = World::new();
    let token = world.create("", "queue")[0];
    let (_, label, spec) = world.objects.find(token).unwrap();
    assert_eq!((label, spec), ("queue-0", "queue".parse().unwrap()));
    assert_eq!(world.objects.find(Token::from_bytes([7; 16])), None);
}

#[test]
fn an_error_names_the_object_and_the_operation() {
    let mut world = World::new();
    let (queue, first, _) = world.shared("jobs", "queue:1");
    let id = world.request(first, queue, "steal", "[]", None);
    let error = world.take_reply(id).unwrap().unwrap_err();
    assert_eq!(
        (error.kind, error.object_kind),
        (Invalid, Some(ObjectKind::Queue))
    );
    assert_eq!(
        error.to_string(),
        "queue `jobs`: steal: invalid operation: a queue has no such operation with 0 arguments of these types"
    );
}

#[test]
fn all_memory_of_a_client_is_given_back() {
    let mut world = World::new();
    let tokens = [
        "queue:1",
        "joinable-queue",
        "pipe",
        "barrier:2",
        "semaphore:1",
        "rlock",
    ]
    .map(|spec| world.create("an object", spec)[0]);
    let before = world.objects.memory();
    let pool = world
        .objects
        .open_pool(world.owner, &[granted("name", tokens[0])])
        .unwrap();
    let (client, objects) = world.member(&tokens);
    let other = world.objects.attach(pool).unwrap();
    for (object, operation, args) in [
        (0, "put", "[1]"),
        (0, "get", "[]"),
        (1, "put", "[1]"),
        (1, "get", "[]"),
        (1, "task_done", "[]"),
        (2, "send", "[1]"),
        (2, "close", "[]"),
        (4, "acquire", "[]"),
        (5, "acquire", "[]"),
    ] {
        assert!(world.now(client, objects[object], operation, args).is_ok());
    }
    world.waits(client, objects[3], "wait", "[]");
    world.objects.set_unsent(client, 500);
    assert!(world.objects.memory() > before + 500);
    for client in [client, pool, other] {
        world.disconnect(client);
    }
    // The item that was sent is in the other end of the pipe.
    let item = crate::json::Json::from(1).cost();
    assert_eq!(world.objects.memory(), before + item);
}

#[test]
fn an_object_over_the_memory_cap_is_not_created() {
    let mut world = World::with_memory(12_000);
    assert!(world.try_create("a", "array:f64:1000").is_ok());
    let error = world.try_create("b", "array:f64:1000").unwrap_err();
    assert_eq!(error.kind, OutOfMemory);
    assert!(error.to_string().starts_with("array `b`: create: "), "{error}");
}

#[test]
fn the_owner_reads_and_replaces_what_is_in_a_queue() {
    let mut world = World::new();
    let (queue, first, _) = world.shared("jobs", "queue:2");
    let token = world.create("v", "value:i64")[0];
    let owner = world.owner;
    let value = world.open_token(owner, token);
    assert_eq!(world.now(first, queue, "put", "[1]"), ok("null"));
    let id = world.request_id();
    let contents = ClientMessage::Contents { id, object: queue };
    world.handle(owner, contents).unwrap();
    assert_eq!(world.outcome(id), Some(ok("[1]")));
    for (object, text, expected) in [(value, "7", ok("null")), (value, "[", Err(Invalid))] {
        let id = world.request_id();
        let contents = text.as_bytes();
        world
            .handle(owner, ClientMessage::Restore { id, object, contents })
            .unwrap();
        assert_eq!(world.outcome(id), Some(expected));
    }
    let id = world.request_id();
    world
        .handle(owner, ClientMessage::Contents { id, object: value })
        .unwrap();
    assert_eq!(world.outcome(id), Some(ok("7")));
}

#[test]
fn the_status_says_who_waits_for_what_and_who_holds_it() {
    let mut world = World::new();
    let (lock, first, second) = world.shared("l", "lock");
    assert_eq!(world.now(first, lock, "acquire", "[]"), acquired(false));
    world.waits(second, lock, "acquire", "[]");
    world.pass(Duration::from_secs(3));
    for client in [world.owner, world.pool] {
        let status = world.status(client);
        assert_eq!(status.objects, 1);
        let [waiting] = &status.waiting[..] else {
            panic!("{status:?}");
        };
        assert_eq!(waiting.source.to_string(), "task 1");
        assert_eq!((&*waiting.object, &*waiting.operation), ("l", "acquire"));
        assert_eq!(waiting.waited, Duration::from_secs(3));
        assert_eq!(status.holders[0].source.to_string(), "task 0");
    }
    let other = world.objects.open_pool(world.owner, &[]).unwrap();
    let status = world.status(other);
    assert!(status.waiting.is_empty() && status.holders.is_empty());
}
