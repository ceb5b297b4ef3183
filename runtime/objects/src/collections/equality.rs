//! Equality of JSON values, as Python compares what it reads from them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::number::JsonNumber;

/// Largest array or object that is compared by value, in bytes of its text: 256 KiB. Its tree takes about twenty times as much
/// memory for the time of the comparison.
pub const MAX_COMPARED: usize = 256 << 10;

/// Bytes that one character of a string takes at most in JSON text, beside one byte in the string: `\u0061`.
const MAX_ESCAPE: usize = 6;

/// A value that others are compared with.
///
/// Numbers are equal if their values are: 1, 1.0 and `true`. Strings are equal whatever is escaped in them, and objects in
/// whatever order their members are. Two values whose texts are the same are always equal. Only texts are compared where one of
/// two arrays or objects is larger than [`MAX_COMPARED`], and where a number is outside of the range of `f64`.
#[derive(Debug)]
pub struct Sought<'a> {
    text: &'a str,
    /// `None` if only the text is compared.
    value: Option<ParsedValue<'a>>,
}

impl<'a> Sought<'a> {
    /// Prepares the JSON text of one value for comparisons.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            value: parse(text),
        }
    }

    /// Whether the value is equal to that of `other`, which is the JSON text of one value.
    pub fn equals(&self, other: &str) -> bool {
        if self.text == other {
            return true;
        }
        let Some(value) = &self.value else {
            return false;
        };
        // Most comparisons end here: by the first byte, or by the length.
        match (value, other.as_bytes()) {
            (ParsedValue::Text(text), [b'"', .., b'"']) => equals_string(text, other),
            (ParsedValue::Number(number), [b'-' | b'0'..=b'9' | b't' | b'f', ..]) => {
                JsonNumber::of_value(other) == Some(*number)
            }
            (ParsedValue::Array(_), [b'[', ..]) | (ParsedValue::Object(_), [b'{', ..]) => {
                parse(other).as_ref() == Some(value)
            }
            _ => false,
        }
    }

    /// Returns how many bytes a comparison with `other` reads about. An array or object is parsed, which takes several times as
    /// long as comparing bytes.
    pub fn cost(&self, other: &str) -> usize {
        /// How many bytes can be compared while one is parsed.
        const PARSED: usize = 16;
        match (&self.value, other.as_bytes()) {
            (Some(ParsedValue::Array(_)), [b'[', ..]) | (Some(ParsedValue::Object(_)), [b'{', ..])
                if other.len() <= MAX_COMPARED =>
            {
                other.len() * PARSED
            }
            (Some(ParsedValue::Text(text)), [b'"', ..]) if may_equal(text, other) => other.len(),
            _ => 0,
        }
    }
}

/// Whether two JSON values are equal.
pub fn equal(one: &str, two: &str) -> bool {
    one == two || Sought::new(one).equals(two)
}

/// Whether a string with this JSON text can have this many bytes.
fn may_equal(text: &str, json: &str) -> bool {
    let raw = json.len().saturating_sub(2);
    text.len() <= raw && raw <= text.len().saturating_mul(MAX_ESCAPE)
}

/// Whether the string of this JSON text is `text`.
fn equals_string(text: &str, json: &str) -> bool {
    if !may_equal(text, json) {
        return false;
    }
    let raw = &json[1..json.len() - 1];
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return raw == text;
    }
    serde_json::from_str::<String>(json).is_ok_and(|string| string == text)
}

/// Parses JSON text. `None` if only its text is compared.
fn parse(text: &str) -> Option<ParsedValue<'_>> {
    match text.as_bytes() {
        [b'[' | b'{', ..] if text.len() > MAX_COMPARED => None,
        _ => serde_json::from_str(text).ok(),
    }
}

/// A string, or a number: what values are sorted by.
#[derive(Debug)]
pub enum Scalar<'a> {
    /// `true` and `false` are 1 and 0. An integer of more than 64 bits is rounded to a float.
    Number(JsonNumber),
    /// A string.
    Text(Cow<'a, str>),
}

/// Parses the JSON text of a scalar. `None` for other values, and where a number is outside of the range of `f64`.
pub fn parse_scalar(text: &str) -> Option<Scalar<'_>> {
    match text.as_bytes() {
        [b'"', ..] => serde_json::from_str(text)
            .ok()
            .map(|BorrowedText(text)| Scalar::Text(text)),
        _ => JsonNumber::of_value(text).map(Scalar::Number),
    }
}

/// A parsed JSON value.
#[derive(Debug, PartialEq)]
enum ParsedValue<'a> {
    Null,
    /// `true` and `false` are 1 and 0.
    Number(JsonNumber),
    Text(Cow<'a, str>),
    Array(Vec<ParsedValue<'a>>),
    /// Of members with the same name the last one counts.
    Object(BTreeMap<BorrowedText<'a>, ParsedValue<'a>>),
}

/// A string, borrowed if nothing in it is escaped.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for ParsedValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfParsedValue)
    }
}

struct OfParsedValue;

impl<'de> Visitor<'de> for OfParsedValue {
    type Value = ParsedValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(ParsedValue::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(ParsedValue::Number(JsonNumber::Signed(value.into())))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(ParsedValue::Number(JsonNumber::Signed(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(value).map_or(JsonNumber::Unsigned(value), JsonNumber::Signed);
        Ok(ParsedValue::Number(number))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(ParsedValue::Number(JsonNumber::Float(value)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(ParsedValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(ParsedValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element()? {
            array.push(element);
        }
        Ok(ParsedValue::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            object.insert(name, value);
        }
        Ok(ParsedValue::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_not_their_texts() {
        for (one, two) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("true", "1"),
            (r#""a/\u00e9""#, r#""\u0061\/é""#),
            (r#""\ud83d\ude00""#, r#""😀""#),
            ("[1,[2.0]]", "[1.0,[2]]"),
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"\u0061":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("1e999", "1e999"),
        ] {
            assert!(equal(one, two) && equal(two, one), "{one} {two}");
        }
    }

    #[test]
    fn different_values_are_not_equal() {
        let values = [
            "null",
            "false",
            "true",
            "2",
            "0.5",
            r#""""#,
            r#""1""#,
            r#""\\""#,
            "[]",
            "[1]",
            "[1,2]",
            "[2,1]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"b":1}"#,
            "1e999",
            "2e999",
            "9007199254740993",
            "9007199254740992.0",
            r#""null""#,
        ];
        for (at, one) in values.iter().enumerate() {
            for two in &values[at + 1..] {
                assert!(!equal(one, two) && !equal(two, one), "{one} {two}");
            }
        }
    }

    #[test]
    fn large_arrays_are_equal_if_their_texts_are() {
        let large = format!("[1{}]", ",1".repeat(MAX_COMPARED / 2));
        assert!(equal(&large, &large.clone()));
        assert!(!equal(&large, &large.replacen("[1,", "[1.0,", 1)));
        let small = format!("[1{}]", ",1".repeat(MAX_COMPARED / 4));
        assert!(equal(&small, &small.replacen("[1,", "[1.0,", 1)));
    }

    #[test]
    fn nesting_at_the_limit_is_compared_without_harm() {
        let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(127), "]".repeat(127));
        assert!(equal(&nested("1"), &nested("1")));
        assert!(!equal(&nested("1"), &nested("2")));
    }

    #[test]
    fn what_a_first_look_decides_costs_nothing() {
        let cost = |sought, other| Sought::new(sought).cost(other);
        assert_eq!(cost("1", r#""a long string""#), 0);
        assert_eq!(cost(r#""a""#, r#""a long string""#), 0);
        assert_eq!(cost(r#""ab""#, r#""cd""#), 4);
        assert_eq!(cost("[]", "[1]"), 48);
    }
}
