//! [`Error`]: how a guest reports that a call failed. `call` sends it to the host.

use std::error::Error as StdError;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Why a call failed: a message for people, data for programs, or both.
///
/// The `?` operator makes one from every [`std::error::Error`], from `String` and `&str`, from
/// `Box<dyn std::error::Error>` and from the error types of crates that convert to that. The message is that of the
/// error, followed by those of its sources.
///
/// ```
/// use mpwasm_guest::{Error, json};
///
/// fn parse(text: &str) -> Result<u8, Error> {
///     if text.is_empty() {
///         return Err(Error::new("nothing to parse"));
///     }
///     if text == "?" {
///         return Err(Error::with_data(&json!({"unknown": text})).message("no such number"));
///     }
///     let number: u8 = text.parse()?;
///     if number > 100 {
///         Err(format!("{number} is too large"))?;
///     }
///     Ok(number)
/// }
///
/// assert_eq!(parse("").unwrap_err().to_string(), "nothing to parse");
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// assert_eq!(parse("101").unwrap_err().to_string(), "101 is too large");
/// assert_eq!(parse("?").unwrap_err().to_string(), "no such number");
/// ```
///
/// Like other types that convert from every error, this one does not implement [`std::error::Error`] itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    /// The error as the host reads it: a JSON string is the message, an object of `message` and `data` is both, any
    /// other JSON is the data.
    json: String,
    /// The data alone, as JSON.
    data: Option<String>,
}

impl Error {
    /// Creates an error with a message: `error.message` in the task's record.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        let json = serde_json::to_string(&message.to_string()).expect("a string is always JSON");
        Self { json, data: None }
    }

    /// Creates an error with data: `error.data` in the task's record.
    ///
    /// Without a [`message`](Self::message) the record's message is only that the guest failed. Data that is a JSON
    /// string counts as a message. Data that serde cannot write as JSON becomes an error that says so.
    #[must_use]
    pub fn with_data(data: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_string(data) {
            Ok(json) => Self {
                data: Some(json.clone()),
                json,
            },
            Err(error) => Self::new(format_args!("the error's data is no JSON: {error}")),
        }
    }

    /// Sets the message: `error.message` in the task's record. The data stays.
    ///
    /// ```
    /// use mpwasm_guest::{Error, json};
    ///
    /// let error = Error::with_data(&json!({"port": 80})).message("the port is taken");
    /// assert_eq!(error.to_string(), "the port is taken");
    /// ```
    #[must_use]
    pub fn message(self, message: impl fmt::Display) -> Self {
        let Self { json, .. } = Self::new(message);
        let json = match &self.data {
            Some(data) => format!(r#"{{"message":{json},"data":{data}}}"#),
            None => json,
        };
        Self {
            json,
            data: self.data,
        }
    }

    /// Creates an error from its JSON, as [`as_json`](Self::as_json) returns it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_json(json: String) -> Self {
        let data = (!json.starts_with('"')).then(|| json.clone());
        Self { json, data }
    }

    /// Returns the error as JSON: a string for a message, an object of `message` and `data` for both, anything
    /// else for data.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.json
    }
}

impl<E: Into<Box<dyn StdError>>> From<E> for Error {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors already quote their source.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(message)
    }
}

/// The JSON form of an error with a message and data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageAndData {
    message: String,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

/// The message; without one, the data as JSON.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(message) = serde_json::from_str::<String>(&self.json) {
            return f.write_str(&message);
        }
        match serde_json::from_str::<MessageAndData>(&self.json) {
            Ok(both) => f.write_str(&both.message),
            Err(_) => f.write_str(&self.json),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({})", self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no port")
        }
    }
    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_message_travels_as_a_json_string_even_when_it_looks_like_json() {
        assert_eq!(Error::new("42").as_json(), "\"42\"");
        assert_eq!(
            Error::from("a \"quoted\"\nline").as_json(),
            r#""a \"quoted\"\nline""#
        );
        assert_eq!(Error::new("42").to_string(), "42");
    }

    #[test]
    fn data_travels_as_it_is() {
        assert_eq!(Error::with_data(&[1, 2]).as_json(), "[1,2]");
        assert_eq!(Error::with_data(&()).as_json(), "null");
    }

    #[test]
    fn a_message_travels_beside_the_data() {
        let error = Error::with_data(&[1, 2]).message("first").message("a \"b\"");
        assert_eq!(error.as_json(), r#"{"message":"a \"b\"","data":[1,2]}"#);
        assert_eq!(error.to_string(), "a \"b\"");
        assert_eq!(Error::new("first").message("second").as_json(), "\"second\"");
    }

    #[test]
    fn data_that_is_no_json_says_so() {
        let by_pair = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(
            Error::with_data(&by_pair)
                .to_string()
                .starts_with("the error's data is no JSON")
        );
    }

    #[test]
    fn sources_follow_the_message_once() {
        let error = Error::from(Outer("x".parse::<u16>().unwrap_err()));
        assert_eq!(error.to_string(), "no port: invalid digit found in string");
    }

    #[test]
    fn boxed_errors_and_strings_convert() {
        fn fails(how: u8) -> Result<(), Error> {
            match how {
                0 => Err(Box::<dyn StdError>::from("boxed"))?,
                1 => Err(String::from("owned"))?,
                2 => Err("borrowed")?,
                _ => Err(Error::new("own"))?,
            }
            Ok(())
        }
        let messages = [0, 1, 2, 3].map(|how| fails(how).unwrap_err().to_string());
        assert_eq!(messages, ["boxed", "owned", "borrowed", "own"]);
    }
}
