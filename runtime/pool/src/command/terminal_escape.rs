//! Escapes a child's output for a terminal. Characters that arrive in pieces are put together first.

use std::mem;

use mpwasm_types::escape::escape_bytes;

/// Escapes a stream piece by piece.
#[derive(Debug, Default)]
pub struct TerminalEscape {
    /// First bytes of a character whose rest has not arrived.
    torn: Vec<u8>,
}

impl TerminalEscape {
    /// Returns the escaped form of all complete characters so far.
    pub fn escape(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = mem::take(&mut self.torn);
        text.extend_from_slice(bytes);
        self.torn = text.split_off(text.len() - torn(&text));
        escape_bytes(&text).into_owned()
    }

    /// Returns the escaped rest at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        escape_bytes(&mem::take(&mut self.torn)).into_owned()
    }
}

/// Returns the length of an incomplete character at the end.
fn torn(text: &[u8]) -> usize {
    let last = text.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> Vec<u8> {
        let mut terminal_escape = TerminalEscape::default();
        let mut shown: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| terminal_escape.escape(piece))
            .collect();
        shown.extend(terminal_escape.finish());
        shown
    }

    #[test]
    fn a_terminal_gets_what_can_not_harm_it() {
        assert_eq!(shown(&[b"\x1b[2J\xff\r\nx"]), b"\\u{1b}[2J\\xff\\r\nx");
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        assert_eq!(shown(&[b"a\xe2\x82", b"\xac", b"\xe2"]), "a€\\xe2".as_bytes());
        assert_eq!(shown(&[b"\xff", b"\xc3", b"(\xc3"]), b"\\xff\\xc3(\\xc3");
    }
}
