//! Parses the JSON of a call's input into the types of a model, and turns serde's errors into messages that say which
//! of the args did not fit.
//!
//! Input that fits costs only serde's own work. The rest of this file runs only for input that does not.

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::Error;

/// Parses the args of a task. `()` and other types of size zero are also parsed from the empty array.
pub(crate) fn args<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    if size_of::<T>() == 0 && json.trim_ascii() == b"[]" {
        if let Ok(none) = from_slice(b"null") {
            return Ok(none);
        }
    }
    from_slice(json).map_err(|error| Error::new(misfit(json, &error)))
}

/// Parses any other input. `what` names it in the message.
pub(crate) fn value<T: DeserializeOwned>(what: &str, json: &[u8]) -> Result<T, Error> {
    from_slice(json)
        .map_err(|error| Error::new(format_args!("{what} does not fit: {}", cut(&error.to_string()))))
}

fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // The host refuses JSON that is nested deeper than 128. serde_json's own limit is a little lower.
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Returns which of the args does not fit, and why.
fn misfit(json: &[u8], error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = cut(text.strip_suffix(&place).unwrap_or(&text));
    let Ok(all) = serde_json::from_slice::<Vec<IgnoredAny>>(json) else {
        return format!("the args are no JSON array: {}", cut(&text));
    };
    // In valid JSON, serde_json fails only at elements that were not asked for.
    let reason = if error.is_syntax() {
        "too many elements"
    } else {
        reason
    };
    match element_at(json, offset(json, error)) {
        Some((index, depth)) if depth > 1 || !error.is_syntax() => {
            format!("args[{index}] does not fit: {reason}")
        }
        _ if error.is_syntax() => format!("the args do not fit: {} of them are too many", all.len()),
        _ => format!("the args do not fit: {reason}"),
    }
}

/// Returns the offset in bytes up to which serde_json had read when it failed.
fn offset(json: &[u8], error: &serde_json::Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let start: usize = json
        .split_inclusive(|&byte| byte == b'\n')
        .take(lines_before)
        .map(<[u8]>::len)
        .sum();
    (start + error.column()).min(json.len())
}

/// Returns the index of the element of the outermost array in which `json[..end]` ends, and the depth there, from 1;
/// `None` when it ends outside of that array.
fn element_at(json: &[u8], end: usize) -> Option<(usize, usize)> {
    let (mut index, mut depth) = (0, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in &json[..end] {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => index += 1,
            _ => {}
        }
    }
    (depth > 0).then_some((index, depth))
}

/// Returns the first 400 bytes of a text at most, so that a message that quotes the args stays readable.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(400);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::Value;

    fn misfit_of<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        args::<T>(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn args_are_positional() {
        assert_eq!(args::<(u8, String)>(br#"[1,"a"]"#), Ok((1, "a".to_owned())));
        assert_eq!(args::<(u8,)>(b" [ 1 ]\r\n"), Ok((1,)));
        assert_eq!(args::<Vec<u8>>(b"[1,2,3]"), Ok(vec![1, 2, 3]));
        assert_eq!(args::<()>(b"[]"), Ok(()));
        assert_eq!(args::<Value>(b"[]"), Ok(Value::Array(vec![])));
        assert_eq!(args::<[u8; 0]>(b"[]"), Ok([]));
    }

    #[test]
    fn the_last_fields_of_a_struct_may_be_missing() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Args {
            a: u8,
            #[serde(default)]
            b: u8,
        }
        assert_eq!(args::<Args>(b"[1]"), Ok(Args { a: 1, b: 0 }));
        assert_eq!(args::<Args>(b"[1,2]"), Ok(Args { a: 1, b: 2 }));
    }

    #[test]
    fn the_message_names_the_element_that_does_not_fit() {
        assert_eq!(
            misfit_of::<(String, u8)>(r#"["a,\",[", "b"]"#),
            r#"args[1] does not fit: invalid type: string "b", expected u8"#
        );
        assert_eq!(
            misfit_of::<(u8, u8)>("[\n1,\n\n-2]"),
            "args[1] does not fit: invalid value: integer `-2`, expected u8"
        );
        assert_eq!(
            misfit_of::<(u8, (u8, u8))>("[1,[2,3,4]]"),
            "args[1] does not fit: too many elements"
        );
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct Named {
            a: u8,
        }
        assert_eq!(
            misfit_of::<(Named, u8)>("[{}, 1]"),
            "args[0] does not fit: missing field `a`"
        );
    }

    #[test]
    fn the_message_says_when_their_number_does_not_fit() {
        assert_eq!(
            misfit_of::<(u8, u8)>("[1]"),
            "the args do not fit: invalid length 1, expected a tuple of size 2"
        );
        assert_eq!(
            misfit_of::<(u8,)>("[1, 2, 3]"),
            "the args do not fit: 3 of them are too many"
        );
        assert_eq!(
            misfit_of::<()>("[1]"),
            "the args do not fit: invalid type: sequence, expected unit"
        );
        assert_eq!(
            misfit_of::<u8>("[1]"),
            "the args do not fit: invalid type: sequence, expected u8"
        );
        assert_eq!(
            misfit_of::<(u8, u8)>("[1,[2]]"),
            "args[1] does not fit: invalid type: sequence, expected u8"
        );
    }

    #[test]
    fn what_is_no_array_is_called_so() {
        assert!(misfit_of::<(u8,)>("{}").starts_with("the args are no JSON array: "));
        assert!(misfit_of::<(u8,)>("[1").starts_with("the args are no JSON array: "));
    }

    #[test]
    fn a_message_does_not_repeat_huge_args() {
        let json = format!("[\"{}\"]", "ä".repeat(1_000_000));
        assert!(misfit_of::<(u8,)>(&json).len() < 500);
    }

    #[test]
    fn accepts_the_deepest_json_that_the_host_accepts() {
        let deep = format!("{}{}", "[".repeat(130), "]".repeat(130));
        args::<Value>(deep.as_bytes()).unwrap();
        value::<Value>("the result", deep.as_bytes()).unwrap();
    }
}
