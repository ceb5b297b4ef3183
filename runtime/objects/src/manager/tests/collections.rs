//! Dicts, lists and namespaces of several clients, and their contents.

use mpwasm_types::objects::ObjectErrorKind::{Invalid, Missing, OutOfMemory, TooLarge};

use super::world::{World, ok};
use crate::message::ClientMessage;

#[test]
fn clients_share_a_dict_a_list_and_a_namespace() {
    let mut world = World::new();
    let (dict, first, second) = world.shared("counts", "dict");
    for client in [first, second, first] {
        world.now(client, dict, "add", r#"["words",2]"#).unwrap();
    }
    assert_eq!(world.now(second, dict, "get", r#"["words"]"#), ok("6"));
    assert_eq!(world.now(second, dict, "get", r#"["lines"]"#), Err(Missing));
    let (list, first, second) = world.shared("results", "list");
    world.now(first, list, "append", "[1]").unwrap();
    assert_eq!(world.now(second, list, "pop", "[]"), ok("1"));
    let (namespace, first, second) = world.shared("state", "namespace");
    world.now(first, namespace, "set", r#"["x",[1]]"#).unwrap();
    assert_eq!(
        world.now(second, namespace, "attributes", "[]"),
        ok(r#"{"x":[1]}"#)
    );
}

#[test]
fn what_collections_hold_is_counted_for_all_objects() {
    let mut world = World::with_memory(16 << 10);
    let (dict, first, _) = world.shared("seen", "dict");
    let (list, second, _) = world.shared("results", "list");
    let before = world.objects.memory();
    let large = format!("[0,\"{}\"]", "x".repeat(8 << 10));
    world.now(first, dict, "set", &large).unwrap();
    assert_eq!(world.now(second, list, "insert", &large), Err(OutOfMemory));
    assert_eq!(world.now(second, list, "len", "[]"), ok("0"));
    world.now(first, dict, "clear", "[]").unwrap();
    world.now(second, list, "insert", &large).unwrap();
    world.now(second, list, "pop", "[]").unwrap();
    assert_eq!(world.objects.memory(), before);
}

#[test]
fn the_owner_reads_and_restores_contents() {
    let mut world = World::new();
    for (spec, contents, wrong) in [
        ("dict", r#"{"b":1,"a":[2]}"#, "[1]"),
        ("dict", r#"[[1,2],["a",3]]"#, "7"),
        ("list", r#"[1,"a",[]]"#, "{}"),
        ("namespace", r#"{"x":1}"#, "[[1,2]]"),
    ] {
        let token = world.create("saved", spec)[0];
        let object = world.open_token(world.owner, token);
        let restored = restore(&mut world, object, contents);
        assert_eq!(world.outcome(restored), Some(ok("null")), "{spec}");
        let restored = restore(&mut world, object, wrong);
        assert_eq!(world.outcome(restored), Some(Err(Invalid)), "{spec}");
        let id = world.request_id();
        world
            .handle(world.owner, ClientMessage::Contents { id, object })
            .unwrap();
        assert_eq!(world.outcome(id), Some(ok(contents)));
    }
}

#[test]
fn contents_that_are_larger_than_the_memory_cap_are_an_error_and_not_a_frame_that_is_too_large() {
    let mut world = World::with_memory(16 << 10);
    let token = world.create("saved", "array:u8:3")[0];
    let object = world.open_token(world.owner, token);
    let long = format!("[{}]", ["0"; 10 << 10].join(","));
    let restored = restore(&mut world, object, &long);
    assert_eq!(world.outcome(restored), Some(ok("null")));
    let id = world.request_id();
    let contents = ClientMessage::Contents { id, object };
    world.handle(world.owner, contents).unwrap();
    assert_eq!(world.outcome(id), Some(Err(TooLarge)));
}

/// Requests that an object gets these contents.
fn restore(
    world: &mut World,
    object: mpwasm_types::objects::ObjectId,
    contents: &str,
) -> mpwasm_types::ids::RequestId {
    let id = world.request_id();
    let contents = contents.as_bytes();
    world
        .handle(world.owner, ClientMessage::Restore { id, object, contents })
        .unwrap();
    id
}
