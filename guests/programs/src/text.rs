//! Text: parsing and matching.

use std::fmt::Write as _;

use crate::program::program;
use crate::sequence::next;

/// A reader of JSON that counts values and the bytes of strings. The text is well formed.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip(&mut self) -> u8 {
        while self.text[self.at] <= b' ' || self.text[self.at] == b',' || self.text[self.at] == b':' {
            self.at += 1;
        }
        self.text[self.at]
    }

    fn value(&mut self) -> u64 {
        match self.skip() {
            b'{' | b'[' => {
                self.at += 1;
                let mut count = 1;
                while !matches!(self.skip(), b'}' | b']') {
                    count += self.value();
                }
                self.at += 1;
                count
            }
            b'"' => self.string(),
            b't' | b'n' => self.word(4),
            b'f' => self.word(5),
            _ => self.number(),
        }
    }

    fn word(&mut self, len: usize) -> u64 {
        self.at += len;
        1
    }

    fn string(&mut self) -> u64 {
        self.at += 1;
        let mut bytes = Vec::new();
        while self.text[self.at] != b'"' {
            self.at += usize::from(self.text[self.at] == b'\\');
            bytes.push(self.text[self.at]);
            self.at += 1;
        }
        self.at += 1;
        bytes.len() as u64
    }

    fn number(&mut self) -> u64 {
        let mut number = 0.0;
        while matches!(self.text[self.at], b'0'..=b'9' | b'-' | b'.') {
            number = number * 10.0 + f64::from(self.text[self.at] & 15);
            self.at += 1;
        }
        number as u64 & 7
    }
}

program! {
    /// Writes a list of this many objects as JSON, and reads it three times.
    Json: |size| {
        let mut text = String::from("[");
        for id in 0..size {
            let comma = if id == 0 { "" } else { ", " };
            write!(
                text,
                r#"{comma}{{"id": {id}, "name": "a \"quoted\" name", "tags": ["x", "yy", "zzz"], "price": 12.5, "sold": true, "by": null}}"#
            )
            .expect("writing to a String does not fail");
        }
        text.push(']');
        (0..3)
            .map(|_| {
                Reader {
                    text: text.as_bytes(),
                    at: 0,
                }
                .value()
            })
            .sum()
    }
}

/// Returns whether the text begins with what the pattern describes: bytes, `.` for any, and `*` after one that may be repeated.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => true,
        [byte, b'*', rest @ ..] => {
            let mut at = 0;
            loop {
                if matches(rest, &text[at..]) {
                    return true;
                }
                match text.get(at) {
                    Some(found) if *byte == b'.' || byte == found => at += 1,
                    _ => return false,
                }
            }
        }
        [byte, rest @ ..] => match text {
            [first, text @ ..] => (*byte == b'.' || byte == first) && matches(rest, text),
            [] => false,
        },
    }
}

program! {
    /// Counts the places of a text of this many bytes at which a pattern matches.
    Match: |size| {
        let mut state = 7;
        let text: Vec<u8> = (0..size).map(|_| b'a' + (next(&mut state) % 4) as u8).collect();
        let places = 0..text.len();
        let is_match = |&at: &usize| matches(b"a.*b*cd", &text[at..(at + 40).min(text.len())]);
        places.filter(is_match).count() as u64
    }
}
