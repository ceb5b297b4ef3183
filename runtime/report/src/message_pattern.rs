//! Reduces messages to patterns, so that failures with the same cause form one group.

use std::borrow::Cow;

/// Longest part of a message that a pattern is made of: 512 bytes. Messages that begin with the same 512 bytes are one group.
const MAX_MESSAGE: usize = 512;

/// Fewest hexadecimal digits of a digest, such as the abbreviated name of a commit.
const MIN_DIGEST: usize = 8;

/// The number of hexadecimal digits of each part of a UUID.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// Returns the message with numbers, hexadecimal digits, paths and quoted text replaced by placeholders.
pub fn pattern(message: &str) -> Cow<'_, str> {
    let text = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        unquoted: 0,
    };
    let mut pattern = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match scanner.variable_at(at) {
            Some((end, placeholder)) => {
                pattern.push_str(&text[copied..at]);
                pattern.push_str(placeholder);
                copied = end;
                at = end;
            }
            None => at += 1,
        }
    }
    match copied {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(pattern + &text[copied..]),
    }
}

/// Finds the parts of a message that differ between failures with the same cause, in a time that grows with its length only.
struct Scanner<'a> {
    bytes: &'a [u8],
    /// A `"` before this position has no end.
    unquoted: usize,
}

impl Scanner<'_> {
    /// Returns the end and the placeholder of the variable part at a position. It begins and ends beside an ASCII character.
    fn variable_at(&mut self, at: usize) -> Option<(usize, &'static str)> {
        let first = self.bytes[at];
        if first == b'"' {
            return Some((self.text(at)?, "\"<text>\""));
        }
        if self.begins_word(at) {
            if let Some(end) = self.single_quoted(at) {
                return Some((end, "'<text>'"));
            }
            if let Some(end) = self.path(at).or_else(|| self.relative_path(at)) {
                return Some((end, "<path>"));
            }
        }
        if let Some(end) = self.hexadecimal(at) {
            return Some((end, "<hex>"));
        }
        first.is_ascii_digit().then(|| (self.number(at), "<n>"))
    }

    /// Whether quoted text or a path may begin here: they come first, or after a blank, a bracket or a separator.
    fn begins_word(&self, at: usize) -> bool {
        at == 0 || b"\t\n\r ([{=:,".contains(&self.bytes[at - 1])
    }

    /// Text in double quotes, with escapes by backslashes.
    fn text(&mut self, from: usize) -> Option<usize> {
        if from < self.unquoted {
            return None;
        }
        let mut at = from + 1;
        loop {
            match self.bytes.get(at..)? {
                [b'"', ..] => return Some(at + 1),
                [b'\\', b'\n', ..] | [b'\\'] | [] => break,
                [b'\\', ..] => at += 2,
                _ => at += 1,
            }
        }
        // The escapes after a `"` on the way are the same, so it has no end either.
        self.unquoted = at;
        None
    }

    /// Text in single quotes on one line. An apostrophe within a word is none.
    fn single_quoted(&self, from: usize) -> Option<usize> {
        if self.bytes[from] != b'\'' {
            return None;
        }
        let end = self.run(from + 1, |byte| byte != b'\'' && byte != b'\n');
        (self.bytes.get(end) == Some(&b'\'')).then_some(end + 1)
    }

    /// A path that begins with `/`, `./`, `../` or `~/`.
    fn path(&self, from: usize) -> Option<usize> {
        let slash = match &self.bytes[from..] {
            [b'/', ..] => from,
            [b'~' | b'.', b'/', ..] => from + 1,
            [b'.', b'.', b'/', ..] => from + 2,
            _ => return None,
        };
        let end = self.run(slash + 1, |byte| {
            byte > b' ' && !b"\"'()[]{}<>:;,".contains(&byte)
        });
        (end > slash + 1).then_some(end)
    }

    /// A path that begins with a name: it has a `/`, and a file name with an extension.
    fn relative_path(&self, from: usize) -> Option<usize> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@%+~-".contains(&byte);
        let is_extension = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let mut path = None;
        let mut slash = self.run(from, is_name);
        while slash > from && self.bytes.get(slash) == Some(&b'/') {
            let name = slash + 1;
            let end = self.run(name, is_name);
            if end == name {
                break;
            }
            let dots = (name + 1..end).rev().filter(|at| self.bytes[*at] == b'.');
            let mut extensions = dots.map(|dot| (dot + 1, self.run(dot + 1, is_extension)));
            if let Some((_, end)) = extensions.find(|(start, end)| start < end) {
                path = Some(end);
            }
            slash = end;
        }
        path
    }

    /// A hexadecimal number with the prefix `0x`, a UUID, or a digest, which has a letter.
    fn hexadecimal(&self, from: usize) -> Option<usize> {
        if from > 0 && is_word(self.bytes[from - 1]) {
            return None;
        }
        let digits = |from| self.run(from, |byte| byte.is_ascii_hexdigit());
        let (start, end) = match &self.bytes[from..] {
            [b'0', b'x' | b'X', ..] => (from + 2, digits(from + 2)),
            _ => (from, digits(from)),
        };
        let is_digest = || {
            let digest = &self.bytes[from..end];
            digest.len() >= MIN_DIGEST && !digest.iter().all(u8::is_ascii_digit)
        };
        let is_end = |end: usize| self.bytes.get(end).is_none_or(|byte| !is_word(*byte));
        match self.uuid(from) {
            Some(end) if is_end(end) => Some(end),
            _ if is_end(end) && (start > from && end > start || is_digest()) => Some(end),
            _ => None,
        }
    }

    fn uuid(&self, from: usize) -> Option<usize> {
        let mut end = from;
        for (part, digits) in UUID.into_iter().enumerate() {
            // Without the hyphen there are no more digits.
            let start = end + usize::from(part > 0 && self.bytes.get(end) == Some(&b'-'));
            end = self.run(start, |byte| byte.is_ascii_hexdigit());
            if end - start != digits {
                return None;
            }
        }
        Some(end)
    }

    /// A decimal number with any separators.
    fn number(&self, from: usize) -> usize {
        let mut end = self.run(from, |byte| byte.is_ascii_digit());
        while let Some([b'.' | b',', b'0'..=b'9', ..]) = self.bytes.get(end..) {
            end = self.run(end + 1, |byte| byte.is_ascii_digit());
        }
        end
    }

    /// Returns the end of the bytes from a position that are all of a class.
    fn run(&self, from: usize, is_in_class: impl Fn(u8) -> bool) -> usize {
        let bytes = self.bytes[from..].iter();
        from + bytes.take_while(|byte| is_in_class(**byte)).count()
    }
}

/// Whether a byte is part of a word, such as a name. Other than ASCII characters are none.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
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
            ("12345678.5 s, 1.2.3, 4.", "<n> s, <n>, <n>."),
            ("task12 failed", "task<n> failed"),
            ("at 0xdeadBEEF and 0x1", "at <hex> and <hex>"),
            ("digest 5f2a9c01d4 differs", "digest <hex> differs"),
            (
                "5f2a9c01d4g, 5f2a9c0 and x5f2a9c01d4",
                "<n>f<n>a<n>c<n>d<n>g, <n>f<n>a<n>c<n> and x<n>f<n>a<n>c<n>d<n>",
            ),
            ("0x and 0xdeadg", "<n>x and <n>xdeadg"),
            ("id 123e4567-e89b-12d3-a456-426614174000", "id <hex>"),
            (
                "id 123e4567-e89b-12d3-a456-42661417400",
                "id <hex>-e<n>b-<n>d<n>-a<n>-<n>",
            ),
            ("cannot open /data/a b.txt", "cannot open <path> b.txt"),
            ("cannot open '/data/a b.txt'", "cannot open '<text>'"),
            ("panicked at src/lib.rs:31:5", "panicked at <path>:<n>:<n>"),
            ("(./x/y-1.json) ~/z", "(<path>) <path>"),
            (
                "in a/b.c/d, a//b.c, a/b. and a/b.tar.gz",
                "in <path>/d, a//b.c, a/b. and <path>",
            ),
            ("../x=/y / ... ~x", "<path> / ... ~x"),
            (r#"expected "a\"b" here"#, "expected \"<text>\" here"),
            ("can't and won't", "can't and won't"),
            ("x='1', y='2'", "x='<text>', y='<text>'"),
            ("and/or 3 tasks/s", "and/or <n> tasks/s"),
            ("größe 7 → ü", "größe <n> → ü"),
            ("an open \"quote 7", "an open \"quote <n>"),
            (
                r#"an open "quote with \" and \"x 7"#,
                r#"an open "quote with \" and \"x <n>"#,
            ),
            ("\"a\\\n\"b\"", "\"a\\\n\"<text>\""),
            ("it's 'a\nb' or 'c'", "it's 'a\nb' or '<text>'"),
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
