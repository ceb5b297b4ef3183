//! Tests of the text form of specs.

use super::*;

#[test]
fn a_spec_is_written_as_it_was_parsed() {
    for text in [
        "value:i64",
        "value:u8",
        "array:f64:10",
        "lock",
        "rlock",
        "semaphore:0",
        "semaphore:2",
        "bounded-semaphore:2",
        "event",
        "condition",
        "barrier:3",
        "queue",
        "queue:100",
        "joinable-queue",
        "joinable-queue:100",
        "pipe",
        "pipe:one-way",
        "dict",
        "list",
        "namespace",
    ] {
        let spec: ObjectSpec = text.parse().expect(text);
        assert_eq!(spec.to_string(), text);
        let word = text.split(':').next().unwrap();
        assert_eq!(spec.kind().as_str(), word);
        let bytes = postcard::to_allocvec(&spec).unwrap();
        assert_eq!(postcard::from_bytes::<ObjectSpec>(&bytes), Ok(spec));
    }
}

#[test]
fn an_error_says_what_was_expected() {
    for (text, message) in [
        (
            "stack",
            "`stack` is no kind of object; there are value, array, lock, rlock, semaphore, bounded-semaphore, event, \
             condition, barrier, queue, joinable-queue, pipe, dict, list, namespace",
        ),
        (
            "value:int",
            "`int` is no number type; there are i8, i16, i32, i64, u8, u16, u32, u64, f32 and f64",
        ),
        (
            "value",
            "`value` is no value; expected `value:TYPE`, such as `value:i64`",
        ),
        ("dict:1", "`dict:1` is no dict; expected the word alone"),
        (
            "queue:0",
            "`queue:0` is no queue; expected `queue` or `queue:MAX`, with a maximum of at least 1",
        ),
        (
            "pipe:duplex",
            "`pipe:duplex` is no pipe; expected `pipe` or `pipe:one-way`",
        ),
        (
            "array:i64:200000000",
            "`array:i64:200000000` takes more than 1073741824 bytes",
        ),
    ] {
        assert_eq!(text.parse::<ObjectSpec>().unwrap_err().to_string(), message);
    }
    for text in [
        "barrier:+3",
        "barrier:",
        "barrier:0",
        "array:i8",
        "semaphore:4294967296",
        "",
        ":",
    ] {
        assert!(text.parse::<ObjectSpec>().is_err(), "{text}");
    }
}

#[test]
fn only_values_and_arrays_have_number_memory() {
    let memory = |text: &str| text.parse::<ObjectSpec>().unwrap().number_memory();
    assert_eq!(memory("value:i16"), 2);
    assert_eq!(memory("array:f64:10"), 80);
    assert_eq!(memory("queue:100"), 0);
}

#[test]
fn codes_of_kinds_are_stable() {
    for (index, kind) in ObjectKind::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(kind.code()), index + 1);
        assert_eq!(ObjectKind::from_code(kind.code()), Some(kind));
    }
    assert_eq!(ObjectKind::from_code(16), None);
}
