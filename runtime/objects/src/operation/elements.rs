//! Reads arrays and objects of values, whose number is bounded before anything is allocated for them.

use std::borrow::Cow;
use std::fmt;

use mpwasm_types::bounded;
use serde::Deserializer as _;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Json;

/// Returns the values of a JSON array. `None` if the text is no array, or has more than `MAX` values.
pub(super) fn values<const MAX: usize>(array: &str) -> Option<Vec<&RawValue>> {
    bounded::list::<_, _, MAX>(&mut serde_json::Deserializer::from_str(array)).ok()
}

/// Returns the pairs of a JSON object, or of an array of pairs, in their order. `None` if the text is neither, or has more than
/// `MAX` pairs.
pub(super) fn pairs<const MAX: usize>(text: &str) -> Option<Vec<(Json, Json)>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if text.starts_with('{') {
        return deserializer.deserialize_map(OfObject::<MAX>).ok();
    }
    let pairs: Vec<(&RawValue, &RawValue)> = bounded::list::<_, _, MAX>(&mut deserializer).ok()?;
    Some(
        pairs
            .iter()
            .map(|(key, value)| (Json::from_part(key), Json::from_part(value)))
            .collect(),
    )
}

/// Returns the number of values of a JSON array, or of members of an object. 0 for other text.
pub(super) fn count(text: &str) -> usize {
    serde_json::Deserializer::from_str(text)
        .deserialize_any(OfCount)
        .unwrap_or(0)
}

/// Counts values or members.
struct OfCount;

impl<'de> Visitor<'de> for OfCount {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while values.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// Collects the members of an object, whose names become strings.
struct OfObject<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for OfObject<MAX> {
    type Value = Vec<(Json, Json)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {MAX} members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = members.next_entry::<Cow<'_, str>, &RawValue>()? {
            if pairs.len() == MAX {
                return Err(A::Error::custom("too many members"));
            }
            pairs.push((Json::string(&name), Json::from_part(value)));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_members_are_counted() {
        for (text, expected) in [
            ("[]", 0),
            ("[1,[2,3]]", 2),
            (r#"{"a":1,"a":[2,3]}"#, 2),
            ("7", 0),
            (r#""[1]""#, 0),
        ] {
            assert_eq!(count(text), expected, "{text}");
        }
    }

    #[test]
    fn arrays_and_objects_are_read_up_to_their_bound() {
        assert_eq!(values::<2>("[1,[2,3]]").map(|values| values.len()), Some(2));
        assert!(values::<1>("[1,2]").is_none());
        assert!(values::<1>("{}").is_none());
        let pair = |key: &str, value: &str| (Json::parse(key).unwrap(), Json::parse(value).unwrap());
        let expected = vec![pair(r#""b\n""#, "1"), pair(r#""a""#, "[2]")];
        assert_eq!(pairs::<2>(r#"{"b\n":1,"a":[2]}"#).as_ref(), Some(&expected));
        assert_eq!(pairs::<2>(r#"[["b\n",1],["a",[2]]]"#), Some(expected));
        for text in [
            r#"{"a":1,"b":2,"a":3}"#,
            "[[1,2],[3,4],[5,6]]",
            "[[1]]",
            "[1]",
            "7",
        ] {
            assert!(pairs::<2>(text).is_none(), "{text}");
        }
    }
}
