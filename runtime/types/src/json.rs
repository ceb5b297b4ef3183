//! Checks JSON from a guest and puts it on one line.
//!
//! Records are JSON lines, so a result must be valid UTF-8, valid JSON, not nested too deeply for other parsers, and free of raw
//! newlines. Nothing here recurses, so deep nesting is rejected without using the stack.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memchr2;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

/// Deepest nesting of JSON that is accepted from guests and task lines.
pub const MAX_JSON_DEPTH: usize = 128;

/// The error for bytes that are not acceptable JSON.
#[derive(Clone, Debug, Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// The text is not JSON. The parser's message names line and column.
    #[error("not JSON: {0}")]
    NotJson(Arc<serde_json::Error>),
    /// Arrays and objects are nested too deeply.
    #[error("JSON nested deeper than {max} at byte {at}")]
    TooDeep {
        /// Largest allowed depth.
        max: usize,
        /// Index of the first bracket that goes deeper.
        at: usize,
    },
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::NotJson(Arc::new(error))
    }
}

/// Returns the JSON value in `bytes` without whitespace between its tokens, hence on one line. Borrowed if there is no such
/// whitespace.
///
/// Numbers are kept as written: `1e999` is valid JSON. An array or object at the top has depth 1.
///
/// # Errors
/// Fails if `bytes` are not UTF-8, not exactly one JSON value, or nested deeper than `max_depth`.
pub fn one_line(bytes: &[u8], max_depth: usize) -> Result<Cow<'_, str>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8(error.valid_up_to()))?;
    Ok(match check(text, max_depth)? {
        None => Cow::Borrowed(text),
        Some(at) => Cow::Owned(without_spaces(text, at)),
    })
}

/// Like [`one_line`], for owned bytes, which are not copied unless whitespace is removed.
///
/// # Errors
/// Fails like [`one_line`].
pub fn into_line(bytes: Vec<u8>, max_depth: usize) -> Result<String, JsonError> {
    let text =
        String::from_utf8(bytes).map_err(|error| JsonError::NotUtf8(error.utf8_error().valid_up_to()))?;
    Ok(match check(&text, max_depth)? {
        None => text,
        Some(at) => without_spaces(&text, at),
    })
}

/// Like [`one_line`], but returns an owned value. The text is parsed once.
///
/// # Errors
/// Fails if `text` is not exactly one JSON value, or nested deeper than `max_depth`.
pub fn kept_line(text: &str, max_depth: usize) -> Result<Box<RawValue>, JsonError> {
    // Creating the value also checks the text.
    let value = match scan(text.as_bytes(), max_depth)? {
        None => RawValue::from_string(text.to_owned()),
        Some(at) => {
            // Check before the spaces are removed: without them, two numbers become one.
            serde_json::from_str::<IgnoredAny>(text)?;
            RawValue::from_string(without_spaces(text, at))
        }
    };
    Ok(value?)
}

/// Like [`one_line`], for a JSON value, which is not copied unless it is borrowed or whitespace is removed.
///
/// # Errors
/// Fails if the value is nested deeper than `max_depth`.
pub fn value_line(value: Cow<'_, RawValue>, max_depth: usize) -> Result<Box<RawValue>, JsonError> {
    Ok(match scan(value.get().as_bytes(), max_depth)? {
        None => value.into_owned(),
        Some(at) => RawValue::from_string(without_spaces(value.get(), at))?,
    })
}

/// Checks that `text` is JSON, not nested too deeply, and finds the first whitespace between tokens.
fn check(text: &str, max_depth: usize) -> Result<Option<usize>, JsonError> {
    // First, since the parser keeps a byte for each level.
    let first_space = scan(text.as_bytes(), max_depth)?;
    // The parser skips `IgnoredAny` with a stack on the heap, so depth uses no stack here.
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(first_space)
}

/// Checks the nesting of `bytes` and finds the first whitespace between tokens, in linear time. The result is meaningless for
/// bytes that are not JSON.
fn scan(bytes: &[u8], max_depth: usize) -> Result<Option<usize>, JsonError> {
    let (mut depth, mut first_space, mut i) = (0_usize, None, 0);
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'"' => i = string_end(bytes, i),
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return Err(JsonError::TooDeep {
                        max: max_depth,
                        at: i,
                    });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b' ' | b'\n' | b'\r' | b'\t' if first_space.is_none() => first_space = Some(i),
            _ => {}
        }
        i += 1;
    }
    Ok(first_space)
}

/// Returns the index of the quote that ends the string which begins at `start`, or `bytes.len()`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    // Large values mostly consist of strings, and this search handles many bytes at a time.
    while let Some(skipped) = bytes.get(i..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        i += skipped;
        if bytes[i] == b'"' {
            return i;
        }
        i += 2;
    }
    bytes.len()
}

/// Removes the whitespace from valid JSON `text`. The first of it is at `at`.
fn without_spaces(text: &str, at: usize) -> String {
    let bytes = text.as_bytes();
    let mut line = String::with_capacity(text.len());
    let (mut from, mut i) = (0, at);
    while let Some(byte) = bytes.get(i) {
        match byte {
            b'"' => i = string_end(bytes, i),
            b' ' | b'\n' | b'\r' | b'\t' => {
                // Whitespace is ASCII, so both ends are boundaries of characters.
                line.push_str(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    line.push_str(&text[from..]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let line = one_line(text.as_bytes(), 128).expect(text).into_owned();
        assert_eq!(into_line(text.into(), 128).expect(text), line);
        let kept = kept_line(text, 128).expect(text);
        assert_eq!(kept.get(), line);
        let parsed: Box<RawValue> = serde_json::from_str(text).expect(text);
        for value in [Cow::Borrowed(&*parsed), Cow::Owned(parsed.clone())] {
            assert_eq!(value_line(value, 128).expect(text).get(), line);
        }
        line
    }

    fn refusal(bytes: &[u8]) -> String {
        let refused = one_line(bytes, 128).expect_err("this must be refused");
        let moved = into_line(bytes.to_vec(), 128).expect_err("this must be refused, too");
        assert_eq!(moved.to_string(), refused.to_string());
        if let Ok(text) = str::from_utf8(bytes) {
            let kept = kept_line(text, 128).expect_err("this must be refused, too");
            assert_eq!(kept.to_string(), refused.to_string());
            if let Ok(parsed) = serde_json::from_str(text) {
                let value = value_line(Cow::Owned(parsed), 128).expect_err("this must be refused, too");
                assert_eq!(value.to_string(), refused.to_string());
            }
        }
        refused.to_string()
    }

    #[test]
    fn compact_json_is_borrowed() {
        for text in [
            "null",
            "1e999",
            r#"{"a":[1,2.50,"x y\n\" z"],"b":{}}"#,
            r#""\\""#,
            r#""ä\ud800""#,
            "-0",
        ] {
            assert!(
                matches!(one_line(text.as_bytes(), 128), Ok(Cow::Borrowed(t)) if t == text),
                "{text}"
            );
        }
    }

    #[test]
    fn whitespace_between_tokens_goes_and_within_strings_stays() {
        assert_eq!(
            line(" {\r\n\t\"a b\" : [ 1 ,\n2 ] , \"c\\\" d\" : \"ä  ö\" }\n"),
            "{\"a b\":[1,2],\"c\\\" d\":\"ä  ö\"}"
        );
        assert_eq!(line("\n7\n"), "7");
    }

    #[test]
    fn bytes_that_are_no_json_are_refused_with_the_place() {
        assert_eq!(refusal(b"\"a\xff\""), "not UTF-8 at byte 2");
        assert!(
            refusal(b"{\"a\":\n tru}").contains("line 2 column"),
            "{}",
            refusal(b"{\"a\":\n tru}")
        );
        for bytes in [
            &b""[..],
            b" ",
            b"1 2",
            b"[1,]",
            b"{a:1}",
            b"NaN",
            b"\"a\nb\"",
            b"\"open",
            b"\"open\\",
            b"]",
            b"'a'",
            b"\xef\xbb\xbf1",
        ] {
            assert!(
                refusal(bytes).starts_with("not JSON: "),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn nesting_is_allowed_up_to_the_limit_and_no_further() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(line(&nested(128)), nested(128));
        assert_eq!(
            refusal(nested(129).as_bytes()),
            "JSON nested deeper than 128 at byte 128"
        );
        // Brackets in strings and in a row are not nesting.
        assert!(one_line(format!("[\"{}\",[],[]]", "[".repeat(500)).as_bytes(), 2).is_ok());
    }

    #[test]
    fn a_million_levels_are_refused_without_recursion() {
        let deep = vec![b'['; 1_000_000];
        assert!(refusal(&deep).starts_with("JSON nested deeper"));
        // And the parser itself would survive them, were the limit higher.
        assert!(one_line(&deep, usize::MAX).is_err());
        let mut closed = deep;
        closed.extend(vec![b']'; 1_000_000]);
        assert!(one_line(&closed, 1_000_000).is_ok());
    }
}
