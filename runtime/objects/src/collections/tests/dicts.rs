//! Dicts beside a list of pairs.

use proptest::collection::vec;
use proptest::prelude::*;

use super::dict::MAX_ENTRIES;
use super::key::DictKey;
use super::*;
use crate::bounds::MAX_MANY;

/// Returns all entries as one text.
fn items(dict: &mut Rig) -> String {
    let page = dict.call("items", "[]");
    let items = page
        .strip_prefix("{\"page\":[")
        .and_then(|page| page.strip_suffix("],\"next\":null}"));
    items
        .unwrap_or_else(|| panic!("more than a page: {page}"))
        .to_owned()
}

#[test]
fn a_key_keeps_its_place_and_spelling_until_it_is_removed() {
    let mut dict = Rig::dict(MEMORY);
    for args in ["[1,1]", r#"["a",2]"#, "[1.0,3]", "[true,4]"] {
        assert_eq!(dict.call("set", args), "null");
    }
    assert_eq!(items(&mut dict), r#"[1,4],["a",2]"#);
    assert_eq!(dict.call("pop", "[1e0]"), "4");
    dict.call("set", "[1.0,5]");
    assert_eq!(items(&mut dict), r#"["a",2],[1.0,5]"#);
    assert_eq!(dict.call("contains", "[true]"), "true");
    assert_eq!(dict.call("contains", r#"["1"]"#), "false");
    assert_eq!(dict.call("len", "[]"), "2");
    assert_eq!(dict.call("remove", "[1]"), "null");
    assert_eq!(items(&mut dict), r#"["a",2]"#);
}

#[test]
fn a_key_that_is_missing_is_named() {
    let mut dict = Rig::dict(MEMORY);
    let error = dict.try_call("get", r#"["seen"]"#).unwrap_err();
    assert_eq!(
        (error.kind, &*error.detail),
        (ObjectErrorKind::Missing, r#""seen""#)
    );
    assert_eq!(dict.fail("remove", "[0]"), ObjectErrorKind::Missing);
    assert_eq!(dict.fail("pop", "[null]"), ObjectErrorKind::Missing);
}

#[test]
fn only_scalars_are_keys() {
    let mut dict = Rig::dict(MEMORY);
    for (name, args) in [
        ("get", "[[]]"),
        ("set", "[{},1]"),
        ("contains", r#"["\ud800"]"#),
        ("remove", "[1e999]"),
        ("add", "[18446744073709551616,1]"),
        ("update", "[[[1,2],[[],2]]]"),
    ] {
        assert_eq!(dict.fail(name, args), ObjectErrorKind::Invalid, "{name} {args}");
    }
    assert_eq!(
        dict.fail("set", &format!("[{},1]", text(70_000))),
        ObjectErrorKind::TooLarge
    );
    assert_eq!(items(&mut dict), "");
}

#[test]
fn a_sum_starts_at_0_and_is_never_wrong() {
    let mut dict = Rig::dict(MEMORY);
    dict.call(
        "update",
        r#"[{"max":18446744073709551615,"word":"1","yes":true}]"#,
    );
    assert_eq!(dict.call("add", r#"["new",2]"#), "2");
    assert_eq!(dict.call("add", r#"["new",-3]"#), "-1");
    assert_eq!(dict.call("add", r#"["new",0.5]"#), "-0.5");
    assert_eq!(dict.fail("add", r#"["max",1]"#), ObjectErrorKind::Invalid);
    assert_eq!(dict.fail("add", r#"["new","1"]"#), ObjectErrorKind::Invalid);
    assert_eq!(dict.fail("add", r#"["word",1]"#), ObjectErrorKind::WrongType);
    assert_eq!(dict.fail("add", r#"["yes",1]"#), ObjectErrorKind::WrongType);
    assert_eq!(
        items(&mut dict),
        r#"["max",18446744073709551615],["word","1"],["yes",true],["new",-0.5]"#
    );
}

#[test]
fn a_swap_compares_values_and_not_texts() {
    let mut dict = Rig::dict(MEMORY);
    dict.call("set", r#"[0,{"a":1,"b":[2]}]"#);
    assert_eq!(dict.call("compare_and_swap", r#"[0,{"a":1,"b":[3]},1]"#), "false");
    assert_eq!(
        dict.call("compare_and_swap", r#"[0,{"b":[2.0],"a":1},null]"#),
        "true"
    );
    assert_eq!(dict.call("compare_and_swap", "[0,null,7]"), "true");
    assert_eq!(
        dict.call("compare_and_swap", "[1,null,8]"),
        "false",
        "a missing key is equal to nothing"
    );
    assert_eq!(items(&mut dict), "[0,7]");
}

#[test]
fn a_default_is_set_once() {
    let mut dict = Rig::dict(MEMORY);
    assert_eq!(dict.call("set_default", "[0,[]]"), "[]");
    assert_eq!(dict.call("set_default", "[0,1]"), "[]");
}

#[test]
fn an_update_keeps_its_order_and_the_last_of_several_values() {
    let mut dict = Rig::dict(MEMORY);
    dict.call("update", r#"[{"z":1,"b":2,"a":3,"z":4}]"#);
    dict.call("update", r#"[[["c",5],[1,6],["a",7],[1.0,8]]]"#);
    assert_eq!(items(&mut dict), r#"["z",4],["b",2],["a",7],["c",5],[1,8]"#);
}

#[test]
fn an_update_that_does_not_fit_changes_nothing() {
    let mut dict = Rig::dict(4096);
    dict.call("set", "[0,1]");
    let pairs: Vec<_> = (0..100).map(|number| format!("[{number},2]")).collect();
    assert_eq!(
        dict.fail("update", &format!("[[{}]]", pairs.join(","))),
        ObjectErrorKind::OutOfMemory
    );
    assert_eq!(
        dict.fail("update", &format!("[{}]", many("[0,2]", MAX_MANY + 1))),
        ObjectErrorKind::TooLarge
    );
    assert_eq!(items(&mut dict), "[0,1]");
    dict.call("update", &format!("[{}]", many("[0,2]", MAX_MANY)));
    assert_eq!(items(&mut dict), "[0,2]");
}

#[test]
fn the_number_of_entries_is_bounded() {
    let mut dict = Rig::dict(MEMORY);
    for first in (0..MAX_ENTRIES).step_by(MAX_MANY) {
        let pairs: Vec<_> = (first..first + MAX_MANY)
            .map(|number| format!("[{number},0]"))
            .collect();
        dict.call("update", &format!("[[{}]]", pairs.join(",")));
    }
    assert_eq!(dict.fail("set", "[-1,0]"), ObjectErrorKind::TooLarge);
    assert_eq!(dict.fail("update", "[[[-1,0]]]"), ObjectErrorKind::TooLarge);
    dict.call("set", "[0,1]");
    dict.call("clear", "[]");
    assert_eq!(dict.budget.used(), 0);
    assert_eq!(dict.call("len", "[]"), "0");
}

#[test]
fn an_entry_fits_into_a_page() {
    let mut dict = Rig::dict(MEMORY);
    let value = text(MAX_VALUE - 100);
    assert_eq!(
        dict.fail("set", &format!("[{},{value}]", text(50))),
        ObjectErrorKind::TooLarge
    );
    assert_eq!(
        dict.fail("update", &format!("[{{{}:{value}}}]", text(50))),
        ObjectErrorKind::TooLarge
    );
    dict.call("set", &format!("[{},{value}]", text(36)));
    dict.call("set", "[0,0]");
    assert!(dict.call("items", "[10]").ends_with("]],\"next\":0}"));
    assert_eq!(dict.call("items", "[0,10]"), r#"{"page":[[0,0]],"next":null}"#);
}

#[test]
fn a_cursor_stays_valid_whatever_is_removed_or_added() {
    let mut dict = Rig::dict(MEMORY);
    dict.call("update", "[[[0,9],[1,8],[2,7],[3,6]]]");
    assert_eq!(dict.call("keys", "[2]"), r#"{"page":[0,1],"next":1}"#);
    dict.call("remove", "[1]");
    dict.call("remove", "[2]");
    dict.call("set", "[4,5]");
    assert_eq!(
        dict.call("items", "[1,2]"),
        r#"{"page":[[3,6],[4,5]],"next":null}"#
    );
    dict.call("clear", "[]");
    dict.call("set", "[5,4]");
    assert_eq!(dict.call("values", "[4,1]"), r#"{"page":[4],"next":null}"#);
    assert_eq!(
        dict.call("values", "[18446744073709551615,1]"),
        r#"{"page":[],"next":null}"#
    );
}

/// What is done with a dict. A key is an index into [`KEYS`].
#[derive(Clone, Debug)]
enum Change {
    Set(usize, String),
    Pop(usize),
    SetDefault(usize, String),
    Add(usize, i8),
    Update(Vec<(usize, String)>),
    Swap(usize, String, String),
    Clear,
}

/// Spellings of keys. Those with the same number are equal.
const KEYS: &[(&str, usize)] = &[
    ("0", 0),
    ("false", 0),
    ("-0.0", 0),
    ("1", 1),
    ("true", 1),
    ("1.0", 1),
    ("null", 2),
    (r#""0""#, 3),
    (r#""\u0030""#, 3),
    ("0.5", 4),
    ("5e-1", 4),
    (r#""long enough to matter""#, 5),
    ("-9223372036854775808", 6),
    ("18446744073709551615", 7),
];

fn change() -> impl Strategy<Value = Change> {
    let key = || 0..KEYS.len();
    let number = || (0..5u8).prop_map(|number| number.to_string());
    let value = || prop_oneof![3 => number(), 1 => (2..400usize).prop_map(text)];
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Change::Set(key, value)),
        4 => key().prop_map(Change::Pop),
        2 => (key(), value()).prop_map(|(key, value)| Change::SetDefault(key, value)),
        3 => (key(), any::<i8>()).prop_map(|(key, number)| Change::Add(key, number)),
        2 => vec((key(), value()), 0..6).prop_map(Change::Update),
        2 => (key(), number(), value()).prop_map(|(key, old, new)| Change::Swap(key, old, new)),
        1 => Just(Change::Clear),
    ]
}

/// The entries in order: which of the different keys, its spelling, and the value.
#[derive(Debug, Default)]
struct Model(Vec<(usize, String, String)>);

impl Model {
    fn value(&self, key: usize) -> Option<&str> {
        let entry = self.0.iter().find(|(found, ..)| *found == KEYS[key].1);
        entry.map(|(.., value)| value.as_str())
    }

    fn set(&mut self, key: usize, value: &str) {
        let (spelling, number) = KEYS[key];
        match self.0.iter_mut().find(|(found, ..)| *found == number) {
            Some(entry) => value.clone_into(&mut entry.2),
            None => {
                let spelling = DictKey::parse(spelling).unwrap().to_json();
                self.0.push((number, spelling, value.to_owned()));
            }
        }
    }

    fn items(&self) -> String {
        let items: Vec<_> = self
            .0
            .iter()
            .map(|(_, key, value)| format!("[{key},{value}]"))
            .collect();
        items.join(",")
    }

    /// Does the same as the dict, unless that has no memory for it.
    fn happen(&mut self, dict: &mut Rig, change: Change) {
        let spelled = |key: usize| KEYS[key].0;
        let mut call = |name: &str, args: String| {
            let reply = dict.try_call(name, &args);
            if matches!(&reply, Err(error) if error.kind == ObjectErrorKind::OutOfMemory) {
                return None;
            }
            Some(reply.map_err(|error| error.kind))
        };
        match change {
            Change::Set(key, value) => {
                if call("set", format!("[{},{value}]", spelled(key))).is_some() {
                    self.set(key, &value);
                }
            }
            Change::Pop(key) => {
                let reply = call("pop", format!("[{}]", spelled(key)));
                let expected = self.value(key).ok_or(ObjectErrorKind::Missing).map(str::to_owned);
                assert_eq!(reply, Some(expected));
                self.0.retain(|(found, ..)| *found != KEYS[key].1);
            }
            Change::SetDefault(key, value) => {
                if let Some(reply) = call("set_default", format!("[{},{value}]", spelled(key))) {
                    let expected = self.value(key).unwrap_or(&value).to_owned();
                    assert_eq!(reply.as_deref(), Ok(&*expected));
                    self.set(key, &expected);
                }
            }
            Change::Add(key, number) => {
                let old = self.value(key).unwrap_or("0").parse::<i64>();
                let Some(reply) = call("add", format!("[{},{number}]", spelled(key))) else {
                    return;
                };
                let sum = old.map(|old| (old + i64::from(number)).to_string());
                assert_eq!(reply, sum.clone().map_err(|_| ObjectErrorKind::WrongType));
                sum.into_iter().for_each(|sum| self.set(key, &sum));
            }
            Change::Update(pairs) => {
                let texts: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("[{},{value}]", spelled(*key)))
                    .collect();
                if call("update", format!("[[{}]]", texts.join(","))).is_some() {
                    pairs.iter().for_each(|(key, value)| self.set(*key, value));
                }
            }
            Change::Swap(key, old, new) => {
                let equal = self.value(key) == Some(&*old);
                if let Some(reply) = call("compare_and_swap", format!("[{},{old},{new}]", spelled(key))) {
                    assert_eq!(reply, Ok(equal.to_string()));
                    if equal {
                        self.set(key, &new);
                    }
                }
            }
            Change::Clear => {
                call("clear", "[]".to_owned());
                self.0.clear();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_dict_is_a_list_of_pairs(memory in 0..4000_u64, changes in vec(change(), 0..60), max in 1..5_usize) {
        let (mut dict, mut model) = (Rig::dict(memory), Model::default());
        for change in changes {
            model.happen(&mut dict, change);
            prop_assert_eq!(items(&mut dict), model.items());
            prop_assert!(dict.budget.used() <= memory);
        }
        // The pages have each entry once.
        let (mut listed, mut cursor) = (Vec::new(), serde_json::Value::Null);
        loop {
            let page = dict.call("values", &format!("[{cursor},{max}]"));
            let page: serde_json::Value = serde_json::from_str(&page).unwrap();
            let values = page["page"].as_array().unwrap();
            prop_assert!(values.len() <= max);
            listed.extend(values.iter().map(serde_json::Value::to_string));
            cursor = page["next"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let values: Vec<_> = model.0.into_iter().map(|(.., value)| value).collect();
        prop_assert_eq!(listed, values);
    }
}
