//! Escapes text from guests and task lines before it is displayed.
//!
//! A guest chooses its export names, its log lines and its output. Unescaped, they could move a terminal's cursor, set its
//! title, reorder a line (bidirectional overrides) or hide in it (zero-width characters). Here every such character becomes a
//! visible escape sequence. JSON that is written to a file has its own escapes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};

/// Longest name from a guest, or key of a task, that a message shows, in characters.
pub const MAX_DISPLAYED_NAME: usize = 64;
/// Longest message of the engine about a refused guest that is shown, in characters. It may quote the guest.
pub const MAX_DISPLAYED_ERROR: usize = 1000;

/// Untrusted text for display: a path, a name from a guest, a message from a process of lower trust. It is formatted with
/// [`escape`], so it can neither control a terminal nor add a line.
///
/// `clippy.toml` disallows the methods and macros that would display such text unescaped.
///
/// ```
/// # use mpwasm_types as mpwasm;
/// use mpwasm::escape::Untrusted;
///
/// let path = std::path::Path::new("a\u{1b}[2Jb");
/// assert_eq!(format!("cannot read {}", Untrusted::from(path)), r"cannot read a\u{1b}[2Jb");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted<'a>(Cow<'a, str>);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape(&self.0))
    }
}

/// Wraps text, a path, or an operating system's string. Bytes that are not UTF-8 become U+FFFD.
impl<'a, T: AsRef<OsStr> + ?Sized> From<&'a T> for Untrusted<'a> {
    fn from(text: &'a T) -> Self {
        Self(text.as_ref().to_string_lossy())
    }
}

/// Escapes the characters of `text` that could deceive a terminal or a reader: control characters (including newline, tab and
/// ESC), bidirectional controls, zero-width and other invisible format characters, line and paragraph separators.
///
/// The result is one line. Newline, carriage return and tab become `\n`, `\r`, `\t`, the others `\u{1b}`. Other characters,
/// including backslashes, are unchanged: the result is for people and cannot be parsed back.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_harmful) else {
        return Cow::Borrowed(text);
    };
    let mut safe = String::with_capacity(text.len() + 16);
    safe.push_str(&text[..first]);
    for c in text[first..].chars() {
        push_escaped(&mut safe, c);
    }
    Cow::Owned(safe)
}

/// Escapes output of a guest for a terminal. Newlines and tabs are kept, the other characters are escaped as by [`escape`], and
/// bytes that are not UTF-8 become `\xff`.
///
/// A character that is cut at either end of `bytes` counts as not UTF-8, so pass whole lines.
#[must_use]
pub fn escape_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(|c| is_harmful(c) && !matches!(c, '\n' | '\t'))
    {
        return Cow::Borrowed(bytes);
    }
    let mut safe = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => safe.push(c),
                _ => push_escaped(&mut safe, c),
            }
        }
        for byte in chunk.invalid() {
            write!(safe, "\\x{byte:02x}").expect("writing to a String does not fail");
        }
    }
    Cow::Owned(safe.into_bytes())
}

fn push_escaped(safe: &mut String, c: char) {
    match c {
        '\n' => safe.push_str("\\n"),
        '\r' => safe.push_str("\\r"),
        '\t' => safe.push_str("\\t"),
        _ if is_harmful(c) => {
            write!(safe, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String does not fail");
        }
        _ => safe.push(c),
    }
}

/// Returns whether `c` is a control character, is invisible, or changes how other characters are displayed.
fn is_harmful(c: char) -> bool {
    // Fast path: most output is ASCII.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{9f}'               // C1 controls: 0x9b alone starts an escape sequence
        | '\u{ad}'                        // soft hyphen
        | '\u{34f}'                       // combining grapheme joiner
        | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{115f}' | '\u{1160}'         // Hangul fillers: letters that show nothing
        | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'         // zero-width space and joiners, left-to-right and right-to-left mark
        | '\u{2028}'..='\u{202e}'         // line and paragraph separator, embeddings and overrides
        | '\u{2060}'..='\u{206f}'         // word joiner, invisible operators, isolates
        | '\u{3164}' | '\u{ffa0}'
        | '\u{feff}'                      // byte order mark
        | '\u{fff0}'..='\u{fffb}'         // interlinear annotations
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'       // tags and further variation selectors: invisible text
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_borrowed_unchanged() {
        for text in [
            "",
            "runnable",
            "größe → 東京 🎉",
            r"C:\temp\new {\u{1b}}",
            "a\"b'c",
        ] {
            assert!(matches!(escape(text), Cow::Borrowed(t) if t == text), "{text}");
        }
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(escape("a\nb\r\nc\td"), r"a\nb\r\nc\td");
        assert_eq!(
            escape("a\u{2028}b\u{2029}c\u{85}d"),
            r"a\u{2028}b\u{2029}c\u{85}d"
        );
        assert_eq!(escape("a\u{b}b\u{c}c"), r"a\u{b}b\u{c}c");
    }

    #[test]
    fn a_terminal_gets_no_control_sequences() {
        assert_eq!(escape("\u{1b}]0;title\u{7}"), r"\u{1b}]0;title\u{7}");
        assert_eq!(escape("\u{9b}2J\u{7f}\0"), r"\u{9b}2J\u{7f}\u{0}");
    }

    #[test]
    fn characters_that_deceive_readers_are_escaped() {
        assert_eq!(escape("safe\u{202e}cod.exe"), r"safe\u{202e}cod.exe");
        assert_eq!(
            escape("a\u{200b}b\u{feff}c\u{2066}d"),
            r"a\u{200b}b\u{feff}c\u{2066}d"
        );
        assert_eq!(escape("\u{e0041}\u{ad}\u{61c}"), r"\u{e0041}\u{ad}\u{61c}");
    }

    #[test]
    fn no_character_of_the_general_categories_control_and_format_gets_through() {
        for c in (0..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|c| c.is_control())
        {
            assert!(!escape(&c.to_string()).contains(c), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn printed_bytes_keep_their_lines() {
        let plain = "x\ty\nä\n".as_bytes();
        assert!(matches!(escape_bytes(plain), Cow::Borrowed(b) if b == plain));
        assert_eq!(&*escape_bytes(b"a\x1b[31mb\r\nc"), b"a\\u{1b}[31mb\\r\nc");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_escaped_one_by_one() {
        assert_eq!(&*escape_bytes(b"a\xff\xfeb\xc3"), b"a\\xff\\xfeb\\xc3");
        // A C1 control as a single byte is no UTF-8, and as two bytes it is a control character.
        assert_eq!(&*escape_bytes(b"\x9b2J\xc2\x9b2J"), b"\\x9b2J\\u{9b}2J");
    }
}
