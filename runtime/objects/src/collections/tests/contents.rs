//! What a program reads from an object restores it.

use super::*;
use crate::json::Json;

fn json(text: &str) -> Json {
    Json::parse(text).expect(text)
}

fn pair(key: &str, value: &str) -> (Json, Json) {
    (json(key), json(value))
}

#[test]
fn a_dict_is_an_object_if_all_keys_are_strings() {
    let (mut dict, mut budget) = (DictState::default(), Budget::new(MEMORY));
    assert_eq!(dict.contents().as_str(), "{}");
    dict.restore(vec![pair(r#""b""#, "1"), pair(r#""a\n""#, "[2]")], &mut budget)
        .unwrap();
    assert_eq!(dict.contents().as_str(), r#"{"b":1,"a\n":[2]}"#);
    dict.restore(
        vec![pair("1", "1"), pair(r#""a""#, "2"), pair("true", "3")],
        &mut budget,
    )
    .unwrap();
    assert_eq!(dict.contents().as_str(), r#"[[1,3],["a",2]]"#);
    assert_eq!(dict.bytes(), budget.used());
    let wrong = vec![pair("2", "2"), pair("[]", "3")];
    assert_eq!(
        dict.restore(wrong, &mut budget).unwrap_err().kind,
        ObjectErrorKind::Invalid
    );
    assert_eq!(dict.contents().as_str(), r#"[[1,3],["a",2]]"#);
    assert_eq!(dict.bytes(), budget.used());
}

#[test]
fn a_list_is_an_array() {
    let (mut list, mut budget) = (ListState::default(), Budget::new(200));
    list.restore(vec![json("1"), json("[2]")], &mut budget).unwrap();
    assert_eq!(list.contents().as_str(), "[1,[2]]");
    let error = list.restore(vec![json("1"); 9], &mut budget).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::OutOfMemory);
    assert_eq!(list.contents().as_str(), "[1,[2]]");
    assert_eq!(list.bytes(), budget.used());
}

#[test]
fn a_namespace_is_an_object() {
    let (mut namespace, mut budget) = (NamespaceState::default(), Budget::new(MEMORY));
    namespace
        .restore(vec![pair(r#""x""#, "1"), pair(r#""y""#, "2")], &mut budget)
        .unwrap();
    assert_eq!(namespace.contents().as_str(), r#"{"x":1,"y":2}"#);
    let wrong = vec![pair(r#""z""#, "3"), pair("1", "4")];
    assert_eq!(
        namespace.restore(wrong, &mut budget).unwrap_err().kind,
        ObjectErrorKind::Invalid
    );
    assert_eq!(namespace.contents().as_str(), r#"{"x":1,"y":2}"#);
    assert_eq!(namespace.bytes(), budget.used());
}
