//! Lists beside a vector of numbers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::list::{MAX_ITEMS, MAX_SORTED_BYTES, MAX_SORTED_ITEMS};
use super::*;

fn filled(values: &str, memory: u64) -> Rig {
    let mut list = Rig::list(memory);
    list.call("extend", &format!("[{values}]"));
    list
}

fn all(list: &mut Rig) -> String {
    list.call("slice", "[null,null]")
}

#[test]
fn indices_are_those_of_python() {
    let mut list = filled("[0,1,2]", MEMORY);
    assert_eq!(list.call("get", "[0]"), "0");
    assert_eq!(list.call("get", "[-1]"), "2");
    assert_eq!(list.call("get", "[-3]"), "0");
    for index in ["3", "-4", "9223372036854775807", "-9223372036854775808"] {
        assert_eq!(list.fail("get", &format!("[{index}]")), ObjectErrorKind::Missing);
        assert_eq!(
            list.fail("set", &format!("[{index},9]")),
            ObjectErrorKind::Missing
        );
        assert_eq!(list.fail("pop", &format!("[{index}]")), ObjectErrorKind::Missing);
    }
    list.call("set", "[-1,7]");
    list.call("insert", "[-1,6]");
    list.call("insert", "[-9223372036854775808,5]");
    list.call("insert", "[9223372036854775807,8]");
    assert_eq!(all(&mut list), "[5,0,1,6,7,8]");
    assert_eq!(list.call("slice", "[1,-1]"), "[0,1,6,7]");
    assert_eq!(list.call("slice", "[-2,null]"), "[7,8]");
    assert_eq!(list.call("slice", "[4,2]"), "[]");
    assert_eq!(list.call("slice", "[-100,100]"), "[5,0,1,6,7,8]");
    assert_eq!(list.call("pop", "[]"), "8");
    assert_eq!(list.call("pop", "[0]"), "5");
    assert_eq!(list.call("len", "[]"), "4");
    assert_eq!(Rig::list(MEMORY).fail("pop", "[]"), ObjectErrorKind::Missing);
}

#[test]
fn a_search_finds_the_first_equal_value_between_its_bounds() {
    let mut list = filled(r#"[true,[1],"\u0061",1.0,"a"]"#, MEMORY);
    assert_eq!(list.call("index", "[1]"), "0");
    assert_eq!(list.call("index", "[1,1]"), "3");
    assert_eq!(list.call("index", r#"["a"]"#), "2");
    assert_eq!(list.call("index", "[[1.0],-4,2]"), "1");
    assert_eq!(list.fail("index", "[[1],2]"), ObjectErrorKind::Missing);
    list.call("remove", "[1]");
    list.call("remove", "[1]");
    assert_eq!(list.fail("remove", "[1]"), ObjectErrorKind::Missing);
    assert_eq!(all(&mut list), r#"[[1],"\u0061","a"]"#);
}

#[test]
fn a_search_that_takes_too_long_says_how_far_it_came() {
    let mut list = Rig::list(MEMORY);
    let (long, mib) = ("a".repeat(1 << 20), 20);
    for _ in 0..mib {
        list.call("append", &format!("[\"\\u0061{long}\"]"));
    }
    list.call("append", &format!("[\"{long}b\"]"));
    let error = list.try_call("index", &format!("[\"{long}b\"]")).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::TooLarge);
    assert_eq!(
        error.detail,
        "it is not before index 15, which is as far as one request searches"
    );
    assert_eq!(list.call("index", &format!("[\"{long}b\",15]")), "20");
}

#[test]
fn a_list_is_sorted_or_stays_as_it_is() {
    let mut list = filled("[10,9.5,-1,true]", MEMORY);
    list.call("sort", "[]");
    assert_eq!(all(&mut list), "[-1,true,9.5,10]");
    list.call("sort", "[true]");
    assert_eq!(all(&mut list), "[10,9.5,true,-1]");
    list.call("reverse", "[]");
    list.call("append", r#"["a"]"#);
    assert_eq!(list.fail("sort", "[]"), ObjectErrorKind::WrongType);
    assert_eq!(all(&mut list), r#"[-1,true,9.5,10,"a"]"#);
}

#[test]
fn what_would_take_too_long_to_sort_is_refused() {
    let mut list = filled(&many("1", MAX_SORTED_ITEMS / 2), MEMORY);
    list.call("extend", &format!("[{}]", many("0", MAX_SORTED_ITEMS / 2)));
    list.call("sort", "[]");
    assert_eq!(list.call("get", "[0]"), "0");
    list.call("append", "[0]");
    assert_eq!(list.fail("sort", "[]"), ObjectErrorKind::TooLarge);
    let mut list = filled(&format!("[{}]", text(MAX_SORTED_BYTES)), MEMORY);
    list.call("sort", "[]");
    list.call("append", "[\"\"]");
    assert_eq!(list.fail("sort", "[]"), ObjectErrorKind::TooLarge);
}

#[test]
fn the_number_of_items_and_the_size_of_a_slice_are_bounded() {
    let mut list = Rig::list(MEMORY);
    let args = format!("[{}]", many("0", 1 << 14));
    for _ in 0..MAX_ITEMS >> 14 {
        list.call("extend", &args);
    }
    assert_eq!(list.fail("append", "[0]"), ObjectErrorKind::TooLarge);
    assert_eq!(list.fail("insert", "[0,0]"), ObjectErrorKind::TooLarge);
    assert_eq!(list.call("len", "[]"), MAX_ITEMS.to_string());
    list.call("clear", "[]");
    assert_eq!(list.budget.used(), 0);
    list.call("append", &format!("[{}]", text(MAX_VALUE - 2)));
    list.call("append", "[0]");
    assert_eq!(list.call("slice", "[0,1]").len(), MAX_VALUE);
    assert_eq!(list.fail("slice", "[0,2]"), ObjectErrorKind::TooLarge);
}

#[test]
fn items_for_which_there_is_no_memory_are_not_added() {
    let mut list = filled("[0]", 1000);
    assert_eq!(
        list.fail("extend", &format!("[{}]", many("1", 100))),
        ObjectErrorKind::OutOfMemory
    );
    assert_eq!(
        list.fail("insert", &format!("[0,{}]", text(1000))),
        ObjectErrorKind::OutOfMemory
    );
    assert_eq!(
        list.fail("set", &format!("[0,{}]", text(1000))),
        ObjectErrorKind::OutOfMemory
    );
    assert_eq!(all(&mut list), "[0]");
}

/// What is done with a list.
#[derive(Clone, Debug)]
enum Change {
    Extend(Vec<u16>),
    Insert(i64, u16),
    Set(i64, u16),
    Pop(i64),
    Remove(u16),
    Reverse,
    Sort(bool),
    Slice(Option<i64>, Option<i64>),
    Clear,
}

fn change() -> impl Strategy<Value = Change> {
    let (index, value) = (|| -40..40_i64, || 0..300_u16);
    let bound = || proptest::option::of(index());
    prop_oneof![
        4 => vec(value(), 0..6).prop_map(Change::Extend),
        4 => (index(), value()).prop_map(|(index, value)| Change::Insert(index, value)),
        2 => (index(), value()).prop_map(|(index, value)| Change::Set(index, value)),
        4 => index().prop_map(Change::Pop),
        2 => value().prop_map(Change::Remove),
        1 => Just(Change::Reverse),
        1 => any::<bool>().prop_map(Change::Sort),
        2 => (bound(), bound()).prop_map(|(start, end)| Change::Slice(start, end)),
        1 => Just(Change::Clear),
    ]
}

/// Returns the place of an index of Python in a list of this length.
fn place(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// Returns the place of a bound of a slice.
fn bound(index: i64, len: usize) -> usize {
    let at = if index < 0 { index + len as i64 } else { index };
    at.clamp(0, len as i64) as usize
}

fn array<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Does the same with a vector, unless the list has no memory for it.
fn happen(list: &mut Rig, model: &mut Vec<u16>, change: Change) {
    let len = model.len();
    let mut call = |name: &str, args: String| {
        let reply = list.try_call(name, &args);
        if matches!(&reply, Err(error) if error.kind == ObjectErrorKind::OutOfMemory) {
            return None;
        }
        Some(reply.map_err(|error| error.kind))
    };
    let missing = ObjectErrorKind::Missing;
    match change {
        Change::Extend(values) => {
            if call("extend", array(&[&values])).is_some() {
                model.extend(values);
            }
        }
        Change::Insert(index, value) => {
            if call("insert", array(&(index, value))).is_some() {
                model.insert(bound(index, len), value);
            }
        }
        Change::Set(index, value) => {
            if let Some(reply) = call("set", array(&(index, value))) {
                let at = place(index, len);
                assert_eq!(reply, at.map(|_| "null".to_owned()).ok_or(missing));
                at.into_iter().for_each(|at| model[at] = value);
            }
        }
        Change::Pop(index) => {
            let popped = place(index, len).map(|at| model.remove(at).to_string());
            assert_eq!(call("pop", array(&[index])), Some(popped.ok_or(missing)));
        }
        Change::Remove(value) => {
            let at = model.iter().position(|found| *found == value);
            let found = at.map(|at| at.to_string()).ok_or(missing);
            assert_eq!(call("index", array(&[value])), Some(found));
            let reply = at.map(|at| _ = model.remove(at)).map(|()| "null".to_owned());
            assert_eq!(call("remove", array(&[value])), Some(reply.ok_or(missing)));
        }
        Change::Slice(start, end) => {
            let from = start.map_or(0, |start| bound(start, len));
            let to = end.map_or(len, |end| bound(end, len)).max(from);
            assert_eq!(
                call("slice", array(&(start, end))),
                Some(Ok(array(&model[from..to])))
            );
        }
        Change::Reverse | Change::Sort(_) | Change::Clear => rearrange(list, model, &change),
    }
}

/// Does the same with all items of a vector. It takes no memory.
fn rearrange(list: &mut Rig, model: &mut Vec<u16>, change: &Change) {
    match change {
        Change::Sort(descending) => {
            list.call("sort", &array(&[descending]));
            model.sort_unstable();
            if *descending {
                model.reverse();
            }
        }
        Change::Reverse => {
            list.call("reverse", "[]");
            model.reverse();
        }
        _ => {
            list.call("clear", "[]");
            model.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_a_vector(memory in 0..4000_u64, changes in vec(change(), 0..60)) {
        let (mut list, mut model) = (Rig::list(memory), Vec::new());
        for change in changes {
            happen(&mut list, &mut model, change);
            prop_assert_eq!(all(&mut list), array(&model));
            prop_assert!(list.budget.used() <= memory);
        }
    }
}
