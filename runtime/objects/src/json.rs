//! JSON values as the objects keep them.

use std::fmt::Write as _;

use mpwasm_types::json::{MAX_JSON_DEPTH, one_line};
use serde_json::value::RawValue;

use crate::bounds::ENTRY_OVERHEAD;

/// A JSON value as text: one line without white space between its tokens, nested at most 128 deep.
///
/// It is kept as text, since an object passes most values on unread. Numbers stay as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// Checks that `text` is JSON, and keeps it without white space. Returns `None` if it is none, or nested too deeply.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = one_line(text.as_bytes(), MAX_JSON_DEPTH).ok()?;
        Some(Self(line.into()))
    }

    /// Keeps a part of a text that [`one_line`] has checked.
    pub(crate) fn from_part(value: &RawValue) -> Self {
        Self(value.get().into())
    }

    /// Keeps a text that is JSON without white space by how it was made.
    pub(crate) fn from_valid(text: String) -> Self {
        Self(text.into())
    }

    /// Returns `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Returns a string, with what JSON escapes.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }

    /// Returns an array of these values.
    #[must_use]
    pub fn array<'a>(values: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut text = "[".to_owned();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(value.as_str());
        }
        text.push(']');
        Self(text.into())
    }

    /// Returns an object with these members, in their order.
    #[must_use]
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a Self)>) -> Self {
        let mut text = "{".to_owned();
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            write!(text, "{}:{}", serde_json::Value::from(name), value.as_str())
                .expect("a string accepts all text");
        }
        text.push('}');
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the bytes that are counted while the value is held: its text, and [`ENTRY_OVERHEAD`].
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.0.len() as u64 + ENTRY_OVERHEAD
    }

    /// Returns the text without its spare capacity, for a reply.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        String::from(self.0).into_bytes()
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self(value.to_string().into())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self(value.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_checked_and_kept_on_one_line() {
        assert_eq!(Json::parse("[1,\n 2.50]").unwrap().as_str(), "[1,2.50]");
        assert_eq!(Json::parse("[1,"), None);
        assert_eq!(Json::parse("1 2"), None);
        assert_eq!(Json::parse(&"[".repeat(200)), None);
    }

    #[test]
    fn values_are_put_together() {
        let (one, text) = (Json::from(1), Json::string("a\"b"));
        assert_eq!(Json::array([&one, &text]).as_str(), r#"[1,"a\"b"]"#);
        assert_eq!(
            Json::object([("k\n", &one), ("m", &text)]).as_str(),
            r#"{"k\n":1,"m":"a\"b"}"#
        );
        assert_eq!(Json::array([]).as_str(), "[]");
        assert_eq!(Json::from(true).as_str(), "true");
        assert_eq!(Json::null().into_bytes(), b"null");
    }

    #[test]
    fn a_value_costs_its_text_and_an_overhead() {
        assert_eq!(Json::null().cost(), 4 + ENTRY_OVERHEAD);
    }
}
