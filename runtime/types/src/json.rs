//! Checks JSON that came from a guest and puts it on one line.
//!
//! Records are JSON lines, so a result must be valid UTF-8, valid JSON, not nested too deeply for the parsers of
//! those who read it, and free of raw newlines. Nothing here recurses: nesting of a million is refused, not
//! followed. What the JSON means is nobody's business here.

use std::borrow::Cow;

use memchr::memchr2;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

/// Why bytes are not JSON that mpwasm hands on.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// The text is not JSON; the message of the parser names line and column.
    #[error("not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// Arrays and objects are nested too deeply.
    #[error("JSON nested deeper than {max} at byte {at}")]
    TooDeep {
        /// The depth that is allowed.
        max: usize,
        /// Where the first bracket stands that goes deeper.
        at: usize,
    },
}

/// The JSON value in `bytes` without whitespace between its tokens, hence on one line; borrowed when there was
/// none to remove.
///
/// Numbers stay as they are written, however large: `1e999` is valid JSON. An array or object at the top is
/// nested 1 deep.
///
/// # Errors
///
/// When `bytes` are not UTF-8, not exactly one JSON value, or nested deeper than `max_depth`.
pub fn one_line(bytes: &[u8], max_depth: usize) -> Result<Cow<'_, str>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8(error.valid_up_to()))?;
    Ok(match check(text, max_depth)? {
        None => Cow::Borrowed(text),
        Some(at) => Cow::Owned(without_spaces(text, at)),
    })
}

/// As [`one_line`], for who gives the bytes away: they are moved where they may be.
///
/// # Errors
///
/// As [`one_line`].
pub fn into_line(bytes: Vec<u8>, max_depth: usize) -> Result<String, JsonError> {
    let text =
        String::from_utf8(bytes).map_err(|error| JsonError::NotUtf8(error.utf8_error().valid_up_to()))?;
    Ok(match check(&text, max_depth)? {
        None => text,
        Some(at) => without_spaces(&text, at),
    })
}

/// As [`one_line`], for who keeps the value: the text is parsed once.
///
/// # Errors
///
/// When `text` is not exactly one JSON value, or nested deeper than `max_depth`.
pub fn kept_line(text: &str, max_depth: usize) -> Result<Box<RawValue>, JsonError> {
    // To make a value of it is to check it, too.
    let value = match scan(text.as_bytes(), max_depth)? {
        None => RawValue::from_string(text.to_owned()),
        Some(at) => {
            // Before the spaces go: without them two numbers are one.
            serde_json::from_str::<IgnoredAny>(text)?;
            RawValue::from_string(without_spaces(text, at))
        }
    };
    Ok(value?)
}

/// As [`one_line`], for what is JSON by its type, and is moved where it may be.
///
/// # Errors
///
/// When it is nested deeper than `max_depth`, or is no JSON after all and stands on several lines.
pub fn value_line(value: Cow<'_, RawValue>, max_depth: usize) -> Result<Box<RawValue>, JsonError> {
    Ok(match scan(value.get().as_bytes(), max_depth)? {
        None => value.into_owned(),
        Some(at) => RawValue::from_string(without_spaces(value.get(), at))?,
    })
}

/// Checks that `text` is JSON, not nested too deeply, and finds the first whitespace between tokens.
fn check(text: &str, max_depth: usize) -> Result<Option<usize>, JsonError> {
    // Before the parser, which would keep a byte for each level.
    let first_space = scan(text.as_bytes(), max_depth)?;
    // `IgnoredAny` is skipped in a loop with a stack of its own on the heap, so depth costs no stack here.
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(first_space)
}

/// Checks the nesting of `bytes` and finds the first whitespace between tokens. For bytes that are not JSON the
/// answer means nothing, but it is given in linear time all the same.
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

/// The index of the quote that ends the string which begins at `start`, or of the last byte.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    // Strings are most of what is large, and this search goes through many bytes at a time.
    while let Some(skipped) = bytes.get(i..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        i += skipped;
        if bytes[i] == b'"' {
            return i;
        }
        i += 2;
    }
    bytes.len()
}

/// Valid JSON `text` without its whitespace; the first of it is at `at`.
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
