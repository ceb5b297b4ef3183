//! Keys of a dict.

use std::cmp::Ordering;
use std::sync::Arc;

use super::number::JsonNumber;

/// Longest text that a key can have, in bytes: 64 KiB. Each comparison of two keys takes time for as many bytes, and an
/// operation compares about twenty.
pub const MAX_KEY: usize = 64 << 10;

/// A key: a JSON scalar.
///
/// Keys are equal as in Python: 1, 1.0 and `true` are one key, and "1" is another. A dict keeps the spelling with which a key was
/// first set.
#[derive(Clone, Debug)]
pub enum DictKey {
    /// `null`
    Null,
    /// `true` is equal to 1, and `false` to 0.
    Boolean(bool),
    /// A number.
    Number(JsonNumber),
    /// A string. The dict has it twice, so it is shared.
    Text(Arc<str>),
}

/// Why JSON text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DictKeyError {
    /// It is an array, an object, a string with half a surrogate pair, or no JSON at all.
    #[error("a key must be a string, a number, true, false or null")]
    NoScalar,
    /// It is a number that no `JsonNumber` can represent.
    #[error("a number as a key must be an integer of 64 bits or a finite float")]
    Unrepresentable,
    /// It is longer than [`MAX_KEY`].
    #[error("a key of {0} bytes; at most {MAX_KEY} are allowed")]
    TooLong(usize),
}

impl DictKey {
    /// Parses the JSON text of one value, without spaces around it.
    ///
    /// # Errors
    /// Fails if the value is no scalar, too long, or a number that cannot be represented.
    pub fn parse(json: &str) -> Result<Self, DictKeyError> {
        match json.as_bytes() {
            b"null" => Ok(Self::Null),
            b"true" => Ok(Self::Boolean(true)),
            b"false" => Ok(Self::Boolean(false)),
            [b'"', ..] => {
                let text: String = serde_json::from_str(json).map_err(|_| DictKeyError::NoScalar)?;
                Self::from_text(&text)
            }
            [b'-' | b'0'..=b'9', ..] => JsonNumber::parse(json)
                .map(Self::Number)
                .ok_or(DictKeyError::Unrepresentable),
            _ => Err(DictKeyError::NoScalar),
        }
    }

    /// Returns the key of a string.
    ///
    /// # Errors
    /// Fails if the string is too long.
    pub fn from_text(text: &str) -> Result<Self, DictKeyError> {
        match text.len() {
            0..=MAX_KEY => Ok(Self::Text(text.into())),
            len => Err(DictKeyError::TooLong(len)),
        }
    }

    /// Returns the number that the key is equal to.
    fn number(&self) -> Option<JsonNumber> {
        match self {
            Self::Boolean(value) => Some(JsonNumber::Signed((*value).into())),
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }

    /// Returns the bytes that the key has beside its entry.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Null | Self::Boolean(_) | Self::Number(_) => 0,
        }
    }

    /// Returns the key as JSON text.
    pub fn to_json(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => serde_json::Value::from(&**text).to_string(),
        }
    }
}

/// The order in which the dict's tree has the keys. Users never see it.
impl Ord for DictKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            (Self::Text(_), _) => Ordering::Greater,
            (_, Self::Text(_)) => Ordering::Less,
            // `null` has no number, and `None` is less than any number.
            _ => self.number().cmp(&other.number()),
        }
    }
}

impl PartialOrd for DictKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DictKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for DictKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> DictKey {
        DictKey::parse(json).expect(json)
    }

    #[test]
    fn keys_are_equal_as_in_python() {
        for (one, two) in [
            ("1", "1.0"),
            ("1", "true"),
            ("0.0", "false"),
            ("-0.0", "0"),
            (r#""a""#, r#""\u0061""#),
        ] {
            assert_eq!(key(one), key(two));
        }
        let different = [
            "null",
            "false",
            "true",
            "2",
            "0.5",
            r#""""#,
            r#""0""#,
            r#""1""#,
            r#""true""#,
            r#""null""#,
        ];
        for (at, one) in different.iter().enumerate() {
            for two in &different[at + 1..] {
                assert_ne!(key(one), key(two));
            }
        }
    }

    #[test]
    fn a_key_keeps_its_spelling() {
        for json in ["null", "true", "1", "1.0", "18446744073709551615", r#""a\"\n""#] {
            assert_eq!(key(json).to_json(), json);
        }
    }

    #[test]
    fn what_is_no_scalar_or_too_long_is_no_key() {
        for json in ["[]", "{}", "", "nul", r#""\ud800""#] {
            assert_eq!(DictKey::parse(json), Err(DictKeyError::NoScalar), "{json}");
        }
        for json in ["1e999", "18446744073709551616", "-"] {
            assert_eq!(DictKey::parse(json), Err(DictKeyError::Unrepresentable), "{json}");
        }
        let quoted = |len| format!("\"{}\"", "a".repeat(len));
        assert!(DictKey::parse(&quoted(MAX_KEY)).is_ok());
        assert_eq!(
            DictKey::parse(&quoted(MAX_KEY + 1)),
            Err(DictKeyError::TooLong(MAX_KEY + 1))
        );
    }
}
