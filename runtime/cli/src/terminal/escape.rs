//! Escapes JSON for terminals.

use std::borrow::Cow;
use std::fmt::Write as _;

use mpwasm::escape::escape;

/// Replaces terminal control characters in JSON text by `\u` escapes.
///
/// In valid JSON such characters occur only within strings, where the escape has the same meaning.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| {
        let mut buffer = [0; 4];
        let alone: &str = c.encode_utf8(&mut buffer);
        !(' '..='~').contains(&c) && escape(alone) != alone
    };
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_control(c) {
            out.push(c);
        } else if c.is_ascii_whitespace() {
            out.push(' '); // valid JSON has it only between tokens
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}
