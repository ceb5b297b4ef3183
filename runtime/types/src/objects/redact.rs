//! Removes tokens from JSON before it is written to a record or displayed.

use std::borrow::Cow;

use memchr::memmem;

use super::token::Token;

/// Replaces each handle in a JSON text by `{"object":"<label>"}`.
///
/// A handle is a JSON object with the members `object` and `token`, in any order, whose token has 32 hexadecimal digits. All
/// other bytes stay as they are. A text that is not JSON is returned with what looks like a handle replaced. A text without
/// `"token"` costs one search.
///
/// This protects from disclosure by accident. A guest that wants to disclose its token can always write it in another form.
#[must_use]
pub fn redact(json: &str) -> Cow<'_, str> {
    if memmem::find(json.as_bytes(), br#""token""#).is_none() {
        return Cow::Borrowed(json);
    }
    let mut redacted = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = memchr::memchr2(b'{', b'"', &json.as_bytes()[at..]) {
        at += found;
        let rest = &json[at..];
        if rest.starts_with('"') {
            let Some((_, behind)) = string(rest) else { break };
            at = json.len() - behind.len();
        } else if let Some((label, behind)) = handle(rest) {
            redacted.push_str(&json[kept..at]);
            redacted.push_str(r#"{"object":"#);
            redacted.push_str(label);
            redacted.push('}');
            at = json.len() - behind.len();
            kept = at;
        } else {
            at += 1;
        }
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    redacted.push_str(&json[kept..]);
    Cow::Owned(redacted)
}

/// Parses a handle at the beginning of `text`. Returns its label with the quotes, and the text behind the handle.
fn handle(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = member(text.strip_prefix('{')?)?;
    let (second, rest) = member(rest.strip_prefix(',')?)?;
    let rest = rest.strip_prefix('}')?;
    let (label, token) = match (first.0, second.0) {
        (r#""object""#, r#""token""#) => (first.1, second.1),
        (r#""token""#, r#""object""#) => (second.1, first.1),
        _ => return None,
    };
    let is_token = token.len() == 2 * Token::SIZE + 2
        && token[1..token.len() - 1]
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit());
    is_token.then_some((label, rest))
}

/// Parses a member whose key is `object` or `token` and whose value is a string, with the spaces around it. Returns the key and
/// the value with their quotes, and the text behind.
fn member(text: &str) -> Option<((&str, &str), &str)> {
    let (key, rest) = string(trim(text))?;
    if !matches!(key, r#""object""# | r#""token""#) {
        return None;
    }
    let (value, rest) = string(trim(trim(rest).strip_prefix(':')?))?;
    Some(((key, value), trim(rest)))
}

/// Removes JSON's white space in front of `text`.
fn trim(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

/// Parses a string. Returns it with its quotes, and the text behind it.
fn string(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(text.split_at(at + 1));
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    /// Redacts `json`, in which `T` is a token.
    fn redacted(json: &str) -> String {
        redact(&json.replace('T', TOKEN)).into_owned()
    }

    #[test]
    fn handles_lose_their_tokens_wherever_they_are() {
        assert_eq!(
            redacted(r#"[{"object":"jobs","token":"T"},{"deep":[{"token":"T","object":"seen"}]},1.50]"#),
            r#"[{"object":"jobs"},{"deep":[{"object":"seen"}]},1.50]"#
        );
        assert_eq!(
            redacted("{ \"object\" : \"a\\\"b\" ,\n\"token\":\t\"T\" }"),
            r#"{"object":"a\"b"}"#
        );
    }

    #[test]
    fn other_data_stays_as_it_is() {
        for json in [
            r#"{"token":"T","user":1}"#,
            r#"{"object":"jobs","token":"not one"}"#,
            r#"{"object":"jobs","token":"T","more":1}"#,
            r#"["{\"object\":\"jobs\",\"token\":\"T\"}"]"#,
            r#"{"token":7}"#,
            "[1]",
        ] {
            assert_eq!(redacted(json), json.replace('T', TOKEN));
            assert!(matches!(redact(json), Cow::Borrowed(_)), "{json}");
        }
    }

    #[test]
    fn a_text_that_ends_early_is_no_error() {
        let json = format!(r#"{{"object":"jobs","token":"{TOKEN}"}}"#);
        for end in 0..json.len() {
            assert_eq!(redact(&json[..end]), json[..end]);
        }
        let _ = redact("\"token\"\"\\");
    }
}
