//! Namespaces and their bounds.

use super::namespace::{MAX_ATTRIBUTES, MAX_NAME};
use super::*;

#[test]
fn attributes_are_set_listed_and_removed() {
    let mut namespace = Rig::namespace(MEMORY);
    namespace.call("set", r#"["x",1]"#);
    namespace.call("set", r#"["a \"b\"",[2]]"#);
    namespace.call("set", r#"["x",3]"#);
    assert_eq!(namespace.call("attributes", "[]"), r#"{"x":3,"a \"b\"":[2]}"#);
    assert_eq!(namespace.call("get", r#"["x"]"#), "3");
    namespace.call("remove", r#"["x"]"#);
    assert_eq!(namespace.fail("get", r#"["x"]"#), ObjectErrorKind::Missing);
    assert_eq!(namespace.fail("remove", r#"["x"]"#), ObjectErrorKind::Missing);
}

#[test]
fn names_and_their_number_are_bounded() {
    let mut namespace = Rig::namespace(MEMORY);
    let name = "n".repeat(MAX_NAME - 4);
    assert_eq!(
        namespace.fail("set", &format!("[\"{name}12345\",1]")),
        ObjectErrorKind::TooLarge
    );
    for number in 0..MAX_ATTRIBUTES {
        namespace.call("set", &format!("[\"{name}{number:04}\",1]"));
    }
    assert_eq!(
        namespace.fail("set", "[\"one more\",1]"),
        ObjectErrorKind::TooLarge
    );
    namespace.call("set", &format!("[\"{name}0000\",2]"));
    assert!(namespace.call("attributes", "[]").starts_with("{\"nnnn"));
}

#[test]
fn attributes_that_are_larger_than_a_reply_are_got_one_by_one() {
    let mut namespace = Rig::namespace(MEMORY);
    namespace.call("set", &format!("[\"a\",{}]", text(MAX_VALUE - 70)));
    namespace.call("attributes", "[]");
    namespace.call("set", &format!("[\"b\",{}]", text(100)));
    assert_eq!(namespace.fail("attributes", "[]"), ObjectErrorKind::TooLarge);
    assert_eq!(namespace.call("get", "[\"a\"]").len(), MAX_VALUE - 70);
}
