//! Reduces messages to patterns, so that failures with the same cause form one group.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// Longest part of a message that a pattern is made of: 512 bytes. Messages that begin with the same 512 bytes are one group.
const MAX_MESSAGE: usize = 512;

/// The parts of a message that differ between failures with the same cause. At each position the first alternative wins.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?x)
        (?<text>"(?:[^"\\]|\\[^\n])*")
        | (?<before>^|[\t\n\r\x20(\[{=:,])(?:
            (?<single>'[^'\n]*')
            | (?<path>(?:~|\.{0,2})/[^\x00-\x20"'()\[\]{}<>:;,]+ | [0-9A-Za-z_.@%+~-]+(?:/[0-9A-Za-z_.@%+~-]+)+\.[0-9A-Za-z_]+)
          )
        | (?<hex>\b0[xX][0-9a-fA-F]+\b | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)
        | (?<digest>\b[0-9a-fA-F]{8,}\b)
        | (?<digits>[0-9]+(?:[.,][0-9]+)*)
    "#;
    Regex::new(pattern).expect("the pattern is a constant that the tests compile")
});

/// Returns the message with numbers, hexadecimal digits, paths and quoted text replaced by placeholders.
pub fn pattern(message: &str) -> Cow<'_, str> {
    let end = message.floor_char_boundary(MAX_MESSAGE);
    VARIABLE.replace_all(&message[..end], |found: &Captures<'_>| {
        let is = |name| found.name(name).is_some();
        let placeholder = match () {
            () if is("text") => "\"<text>\"",
            () if is("single") => "'<text>'",
            () if is("path") => "<path>",
            () if is("hex") => "<hex>",
            () if found
                .name("digest")
                .is_some_and(|digest| !is_decimal(digest.as_str())) =>
            {
                "<hex>"
            }
            () => "<n>",
        };
        let before = found.name("before").map_or("", |before| before.as_str());
        format!("{before}{placeholder}")
    })
}

fn is_decimal(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_failures_of_one_cause_is_replaced() {
        for (message, expected) in [
            (
                "the deadline passed in `runnable`",
                "the deadline passed in `runnable`",
            ),
            ("no item 17 of 1,000 in 0.25s", "no item <n> of <n> in <n>s"),
            ("123456789 of 12345678", "<n> of <n>"),
            ("task12 failed", "task<n> failed"),
            ("at 0xdeadBEEF and 0x1", "at <hex> and <hex>"),
            ("digest 5f2a9c01d4 differs", "digest <hex> differs"),
            ("id 123e4567-e89b-12d3-a456-426614174000", "id <hex>"),
            ("cannot open /data/a b.txt", "cannot open <path> b.txt"),
            ("cannot open '/data/a b.txt'", "cannot open '<text>'"),
            ("panicked at src/lib.rs:31:5", "panicked at <path>:<n>:<n>"),
            ("(./x/y-1.json) ~/z", "(<path>) <path>"),
            (r#"expected "a\"b" here"#, "expected \"<text>\" here"),
            ("can't and won't", "can't and won't"),
            ("x='1', y='2'", "x='<text>', y='<text>'"),
            ("and/or 3 tasks/s", "and/or <n> tasks/s"),
            ("größe 7 → ü", "größe <n> → ü"),
            ("an open \"quote 7", "an open \"quote <n>"),
            ("", ""),
        ] {
            assert_eq!(pattern(message), expected, "{message}");
        }
    }

    #[test]
    fn a_pattern_is_bounded_and_cut_between_characters() {
        assert_eq!(pattern(&"ä".repeat(10_000)).len(), MAX_MESSAGE);
        let odd = format!("x{}", "ä".repeat(10_000));
        assert_eq!(pattern(&odd).len(), MAX_MESSAGE - 1);
        assert!(pattern(&"'a' 1 ".repeat(10_000)).len() <= 3 * MAX_MESSAGE);
    }
}
