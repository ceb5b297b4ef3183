//! Tests of the parsing of operations.

use mpwasm_types::objects::MAX_VALUE;

use super::*;
use crate::json::Json;

/// An operation, or the kind of its error.
fn parse(kind: ObjectKind, name: &str, args: &str) -> Result<Operation, ObjectErrorKind> {
    Operation::parse(kind, name, args.as_bytes()).map_err(|error| error.kind)
}

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

#[test]
fn every_kind_has_the_operations_that_the_documentation_lists() {
    for (kind, operations) in [
        (ObjectKind::Value, r#"acquire [] release []"#),
        (ObjectKind::Array, r#"acquire [] release []"#),
        (ObjectKind::Lock, r#"acquire [] release []"#),
        (ObjectKind::RLock, r#"acquire [] release []"#),
        (ObjectKind::Semaphore, r#"acquire [] release []"#),
        (ObjectKind::BoundedSemaphore, r#"acquire [] release []"#),
        (ObjectKind::Event, r#"set [] clear [] is_set [] wait []"#),
        (
            ObjectKind::Condition,
            r#"acquire [] release [] wait [] notify [] notify [2] notify_all []"#,
        ),
        (
            ObjectKind::Barrier,
            r#"wait [] abort [] reset [] parties [] waiting [] broken []"#,
        ),
        (
            ObjectKind::Queue,
            r#"put [1] put_many [[1,2]] get [] get_many [] get_many [5] qsize [] empty [] full [] close []"#,
        ),
        (
            ObjectKind::JoinableQueue,
            r#"put [1] get [] close [] task_done [] task_done [3] join []"#,
        ),
        (ObjectKind::Pipe, r#"send [{}] recv [] poll [] close []"#),
        (
            ObjectKind::Dict,
            r#"get ["k"] set ["k",1] remove [1] pop [null] set_default [1,2] contains [1.5] len [] keys [] values [5] items [7,5]
               items [null,5] clear [] update [{"a":1}] update [[["a",1],[2,3]]] add ["k",1] compare_and_swap ["k",1,2]"#,
        ),
        (
            ObjectKind::List,
            r#"get [-1] set [0,"x"] append [1] extend [[1,2]] insert [0,1] pop [] pop [0] remove [1] index [1] slice [1,null]
               len [] reverse [] sort [] sort [true] clear []"#,
        ),
        (
            ObjectKind::Namespace,
            r#"get ["x"] set ["x",1] remove ["x"] attributes []"#,
        ),
    ] {
        let mut words = operations.split_whitespace();
        while let (Some(name), Some(args)) = (words.next(), words.next()) {
            assert!(parse(kind, name, args).is_ok(), "{kind}: {name} {args}");
        }
    }
}

#[test]
fn values_are_kept_as_they_were_written_but_for_white_space() {
    assert_eq!(
        parse(ObjectKind::Queue, "put", "[ {\"a\" : 1.50} ]"),
        Ok(Operation::Queue(QueueOperation::Put(json("{\"a\":1.50}"))))
    );
    assert_eq!(
        parse(ObjectKind::Dict, "update", r#"[{"a\n":[1]}]"#),
        Ok(Operation::Dict(DictOperation::Update(vec![(
            json(r#""a\n""#),
            json("[1]")
        )])))
    );
    assert_eq!(
        parse(ObjectKind::Dict, "items", "[7,4000000000]"),
        Ok(Operation::Dict(DictOperation::Items(Page {
            after: Some(7),
            max: crate::MAX_PAGE
        })))
    );
}

#[test]
fn an_unknown_operation_and_other_arguments_are_invalid() {
    for (kind, name, args) in [
        (ObjectKind::Lock, "steal", "[]"),
        (ObjectKind::Lock, "acquire", "[1]"),
        (ObjectKind::Lock, "acquire", "{}"),
        (ObjectKind::Lock, "acquire", ""),
        (ObjectKind::Lock, "acquire", "[]]"),
        (ObjectKind::Queue, "join", "[]"),
        (ObjectKind::Queue, "get_many", "[0]"),
        (ObjectKind::Queue, "put_many", "[1]"),
        (ObjectKind::Condition, "notify", "[-1]"),
        (ObjectKind::Dict, "keys", "[1,2,3]"),
        (ObjectKind::Dict, "update", "[[[1,2,3]]]"),
        (ObjectKind::List, "get", "[1.5]"),
        (ObjectKind::Namespace, "get", "[1]"),
    ] {
        assert_eq!(
            parse(kind, name, args),
            Err(ObjectErrorKind::Invalid),
            "{kind}: {name} {args}"
        );
    }
    let error = Operation::parse(ObjectKind::Lock, "steal", b"[1]").unwrap_err();
    assert_eq!(
        error.detail,
        "a lock has no such operation with 1 argument of these types"
    );
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = format!("[{}{}]", "[".repeat(128), "]".repeat(128));
    assert_eq!(
        parse(ObjectKind::Queue, "put", &deep),
        Err(ObjectErrorKind::Invalid)
    );
    let large = format!("[\"{}\"]", "x".repeat(MAX_VALUE));
    assert_eq!(
        parse(ObjectKind::Queue, "put", &large),
        Err(ObjectErrorKind::TooLarge)
    );
}

#[test]
fn the_number_of_values_and_of_arguments_is_bounded() {
    let many = |value: &str, count| format!("[[{}]]", vec![value; count].join(","));
    for (kind, name, value) in [
        (ObjectKind::Queue, "put_many", "0"),
        (ObjectKind::List, "extend", "0"),
        (ObjectKind::Dict, "update", "[0,0]"),
    ] {
        assert!(parse(kind, name, &many(value, MAX_MANY)).is_ok(), "{name}");
        let more = parse(kind, name, &many(value, MAX_MANY + 1));
        assert_eq!(more, Err(ObjectErrorKind::TooLarge), "{name}");
    }
    let args = format!("[{}]", vec!["0"; 1 << 20].join(","));
    let error = Operation::parse(ObjectKind::Dict, "set", args.as_bytes()).unwrap_err();
    assert_eq!(error.detail, "no operation takes more than three arguments");
}
