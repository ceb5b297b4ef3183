//! Operations of dicts, lists and namespaces. None of them waits.

use serde_json::value::RawValue;

use super::args::{any, list, typed};
use super::elements::pairs;
use crate::bounds::{MAX_MANY, MAX_PAGE};
use crate::json::Json;

/// Which part of a dict a request reads.
///
/// The reply is `{"page":[...],"next":cursor}`. The cursor is a number, with which the next page is requested, or `null` at the
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the page before, or `None` for the first.
    pub after: Option<u64>,
    /// Most entries.
    pub max: u32,
}

/// An operation on a dict. Each key is a JSON scalar, which the dict checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DictOperation {
    /// `get`: replies the value of a key.
    Get(Json),
    /// `set`: a key and its value.
    Set(Json, Json),
    /// `remove`: a key and its value.
    Remove(Json),
    /// `pop`: removes a key and replies its value.
    Pop(Json),
    /// `set_default`: replies the value of a key, which becomes this one if there is none.
    SetDefault(Json, Json),
    /// `contains`: replies a boolean.
    Contains(Json),
    /// `len`: replies the number of keys.
    Len,
    /// `keys`, with `[]`, `[max]` or `[cursor, max]`.
    Keys(Page),
    /// `values`, with `[]`, `[max]` or `[cursor, max]`.
    Values(Page),
    /// `items`: pairs of key and value, with `[]`, `[max]` or `[cursor, max]`.
    Items(Page),
    /// `clear`
    Clear,
    /// `update`: an object, or an array of pairs of key and value.
    Update(Vec<(Json, Json)>),
    /// `add`: adds a number to the value of a key, 0 if there is none. Replies the sum.
    Add(Json, Json),
    /// `compare_and_swap`: a key, the value that it should have, and the new one. Replies whether it had it.
    CompareAndSwap(Json, Json, Json),
}

/// An operation on a list. A negative index counts from the end, as in Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOperation {
    /// `get`: replies the value at an index.
    Get(i64),
    /// `set`: the value at an index.
    Set(i64, Json),
    /// `append`: a value at the end.
    Append(Json),
    /// `extend`: an array of values at the end.
    Extend(Vec<Json>),
    /// `insert`: a value in front of an index.
    Insert(i64, Json),
    /// `pop`: removes the value at an index, by default the last, and replies it.
    Pop(i64),
    /// `remove`: the first value that equals this one.
    Remove(Json),
    /// `index`: replies where the first value is that equals this one, with `[value]`, `[value, start]` or `[value, start, end]`.
    Index {
        /// The value.
        value: Json,
        /// Where the search starts, `null` for the beginning.
        start: Option<i64>,
        /// Where the search ends, `null` for the end.
        end: Option<i64>,
    },
    /// `slice`: replies the values from an index to before another, each `null` for the list's own.
    Slice(Option<i64>, Option<i64>),
    /// `len`: replies the number of values.
    Len,
    /// `reverse`
    Reverse,
    /// `sort`, or with `[true]` from the largest to the smallest.
    Sort {
        /// Whether the largest comes first.
        reverse: bool,
    },
    /// `clear`
    Clear,
}

/// An operation on a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceOperation {
    /// `get`: replies the value of an attribute.
    Get(String),
    /// `set`: an attribute and its value.
    Set(String, Json),
    /// `remove`: an attribute.
    Remove(String),
    /// `attributes`: replies an object of all attributes.
    Attributes,
}

impl Page {
    fn parse(args: &[&RawValue]) -> Option<Self> {
        let (after, max) = match args {
            [] => (None, MAX_PAGE),
            [max] => (None, typed::<u32>(max)?),
            [after, max] => (typed(after)?, typed::<u32>(max)?),
            _ => return None,
        };
        (max > 0).then_some(Self {
            after,
            max: max.min(MAX_PAGE),
        })
    }
}

impl DictOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("get", [key]) => Some(Self::Get(any(key))),
            ("set", [key, value]) => Some(Self::Set(any(key), any(value))),
            ("remove", [key]) => Some(Self::Remove(any(key))),
            ("pop", [key]) => Some(Self::Pop(any(key))),
            ("set_default", [key, value]) => Some(Self::SetDefault(any(key), any(value))),
            ("contains", [key]) => Some(Self::Contains(any(key))),
            ("len", []) => Some(Self::Len),
            ("keys", args) => Page::parse(args).map(Self::Keys),
            ("values", args) => Page::parse(args).map(Self::Values),
            ("items", args) => Page::parse(args).map(Self::Items),
            ("clear", []) => Some(Self::Clear),
            ("update", [entries]) => pairs::<MAX_MANY>(entries.get()).map(Self::Update),
            ("add", [key, number]) => Some(Self::Add(any(key), any(number))),
            ("compare_and_swap", [key, old, new]) => Some(Self::CompareAndSwap(any(key), any(old), any(new))),
            _ => None,
        }
    }
}

impl ListOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("get", [index]) => typed(index).map(Self::Get),
            ("set", [index, value]) => Some(Self::Set(typed(index)?, any(value))),
            ("append", [value]) => Some(Self::Append(any(value))),
            ("extend", [values]) => list(values).map(Self::Extend),
            ("insert", [index, value]) => Some(Self::Insert(typed(index)?, any(value))),
            ("pop", []) => Some(Self::Pop(-1)),
            ("pop", [index]) => typed(index).map(Self::Pop),
            ("remove", [value]) => Some(Self::Remove(any(value))),
            ("index", [value, bounds @ ..]) => Self::parse_index(any(value), bounds),
            ("slice", [start, end]) => Some(Self::Slice(typed(start)?, typed(end)?)),
            ("len", []) => Some(Self::Len),
            ("reverse", []) => Some(Self::Reverse),
            ("sort", []) => Some(Self::Sort { reverse: false }),
            ("sort", [reverse]) => typed(reverse).map(|reverse| Self::Sort { reverse }),
            ("clear", []) => Some(Self::Clear),
            _ => None,
        }
    }

    fn parse_index(value: Json, bounds: &[&RawValue]) -> Option<Self> {
        let (start, end) = match bounds {
            [] => (None, None),
            [start] => (typed(start)?, None),
            [start, end] => (typed(start)?, typed(end)?),
            _ => return None,
        };
        Some(Self::Index { value, start, end })
    }
}

impl NamespaceOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("get", [attribute]) => typed(attribute).map(Self::Get),
            ("set", [attribute, value]) => Some(Self::Set(typed(attribute)?, any(value))),
            ("remove", [attribute]) => typed(attribute).map(Self::Remove),
            ("attributes", []) => Some(Self::Attributes),
            _ => None,
        }
    }
}
