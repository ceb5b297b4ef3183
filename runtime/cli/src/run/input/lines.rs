//! Reads a stream of lines in bounded memory.

use std::io::{self, ErrorKind, Read};
use std::mem;

/// Size of one read: 256 KiB.
const CHUNK: usize = 256 << 10;
/// Most bytes of a line besides the args: 64 KiB for the other fields of its object.
const SLACK: u64 = 64 << 10;

/// The UTF-8 byte-order mark, which some editors put at the start of a file. It is no part of the first line.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A stream of lines. Its memory is bounded by the longest allowed line.
pub struct InputLines<R> {
    source: R,
    delimiter: u8,
    buffer: Vec<u8>,
    /// Start of the next line in `buffer`.
    start: usize,
    /// End of the part of that line that has no newline.
    scanned: usize,
    /// Whether that line is too long, and its beginning was dropped.
    skipping: bool,
    longest: usize,
    number: u64,
    at_end: bool,
    /// Whether the stream's first bytes were read, and a byte-order mark was skipped.
    begun: bool,
}

/// A line, without its delimiter.
#[derive(Debug, PartialEq, Eq)]
pub enum InputLine<'a> {
    /// Its bytes.
    Bytes(&'a [u8]),
    /// It was longer than allowed, and was dropped.
    TooLong,
}

impl<R: Read> InputLines<R> {
    /// Returns the lines of `source`, for tasks whose args have at most `max_args` bytes.
    pub fn new(source: R, max_args: u64) -> Self {
        Self::with_longest(
            source,
            usize::try_from(max_args.saturating_add(SLACK)).unwrap_or(usize::MAX),
        )
    }

    fn with_longest(source: R, longest: usize) -> Self {
        Self {
            source,
            delimiter: b'\n',
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            skipping: false,
            longest,
            number: 0,
            at_end: false,
            begun: false,
        }
    }

    /// Sets the delimiter. Must be called before the first read.
    pub fn set_delimiter(&mut self, delimiter: u8) {
        self.delimiter = delimiter;
    }

    /// Returns the delimiter.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Returns the source.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// Returns the next line that was read, with its number from 1; `None` if more must be read.
    pub fn next_buffered(&mut self) -> Option<(u64, InputLine<'_>)> {
        self.skip_byte_order_mark();
        let delimiter = self.delimiter;
        let newline = self.buffer[self.scanned..]
            .iter()
            .position(|byte| *byte == delimiter);
        let end = match newline {
            Some(offset) => self.scanned + offset,
            None => {
                self.scanned = self.buffer.len();
                if self.skipping || self.scanned - self.start > self.longest {
                    self.skipping = true;
                    self.start = self.scanned;
                }
                let has_rest = self.skipping || self.start < self.buffer.len();
                if !(self.at_end && has_rest) {
                    return None;
                }
                self.buffer.len()
            }
        };
        let line = self.start..end;
        self.start = self.buffer.len().min(end + 1);
        self.scanned = self.start;
        self.begun = true;
        self.number += 1;
        let too_long = mem::take(&mut self.skipping) || line.len() > self.longest;
        let line = if too_long {
            InputLine::TooLong
        } else {
            InputLine::Bytes(&self.buffer[line])
        };
        Some((self.number, line))
    }

    fn skip_byte_order_mark(&mut self) {
        if self.begun || self.buffer.len() < BYTE_ORDER_MARK.len() {
            return;
        }
        self.begun = true;
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.start = BYTE_ORDER_MARK.len();
            self.scanned = self.scanned.max(self.start);
        }
    }

    /// Reads once, which may block. Returns false at the end of the stream, if all lines were returned.
    pub fn read_more(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        let kept = self.buffer.len();
        if kept == 0 {
            self.buffer.shrink_to(CHUNK); // after a long line
        }
        self.buffer.resize(kept + CHUNK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        self.at_end = read? == 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one piece per read.
    pub struct Pieces(pub Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn read_all(source: impl Read, longest: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = InputLines::with_longest(source, longest);
        let mut all = Vec::new();
        loop {
            while let Some((number, line)) = lines.next_buffered() {
                all.push((
                    number,
                    match line {
                        InputLine::Bytes(bytes) => Some(bytes.to_vec()),
                        InputLine::TooLong => None,
                    },
                ));
            }
            if !lines.read_more().unwrap() {
                return all;
            }
        }
    }

    fn texts(lines: Vec<(u64, Option<Vec<u8>>)>) -> Vec<String> {
        let text =
            |bytes: Option<Vec<u8>>| bytes.map_or("TOO LONG".into(), |b| String::from_utf8(b).unwrap());
        lines
            .into_iter()
            .map(|(number, bytes)| format!("{number}:{}", text(bytes)))
            .collect()
    }

    #[test]
    fn lines_are_numbered_from_one_and_the_last_may_lack_its_newline() {
        assert_eq!(texts(read_all(&b"a\n\nb"[..], 10)), ["1:a", "2:", "3:b"]);
        assert_eq!(texts(read_all(&b"a\n"[..], 10)), ["1:a"]);
        assert!(read_all(&b""[..], 10).is_empty());
    }

    #[test]
    fn a_byte_order_mark_at_the_start_is_no_part_of_the_first_line() {
        let mark = "\u{feff}";
        let all = |text: &str| texts(read_all(text.as_bytes(), 10));
        assert_eq!(
            all(&format!("{mark}a\n{mark}b\n")),
            ["1:a", &format!("2:{mark}b")]
        );
        assert_eq!(all(&format!("{mark}{mark}")), [format!("1:{mark}")]);
        assert_eq!(all(&format!("{mark}\na")), ["1:", "2:a"]);
        assert!(all(mark).is_empty(), "a file of nothing else has no line");
        let pieces = Pieces(vec![b"\xef", b"\xbb", b"\xbfa\n\xef\xbb\xbf"]);
        assert_eq!(texts(read_all(pieces, 10)), ["1:a", "2:\u{feff}"]);
        assert_eq!(
            texts(read_all(Pieces(vec![b"a\n", b"\xef\xbb\xbfb"]), 10)),
            ["1:a", "2:\u{feff}b"]
        );
    }

    #[test]
    fn a_line_may_end_with_another_byte() {
        let mut lines = InputLines::with_longest(&b"a\nb\0\0c"[..], 10);
        lines.set_delimiter(b'\0');
        let mut all = Vec::new();
        loop {
            while let Some((number, line)) = lines.next_buffered() {
                all.push(format!("{number}:{line:?}"));
            }
            if !lines.read_more().unwrap() {
                break;
            }
        }
        assert_eq!(all, ["1:Bytes([97, 10, 98])", "2:Bytes([])", "3:Bytes([99])"]);
    }

    #[test]
    fn a_line_may_come_in_pieces_and_a_piece_may_hold_many_lines() {
        let pieces = Pieces(vec![b"a", b"b", b"c\nd\ne", b"\n", b"f"]);
        assert_eq!(texts(read_all(pieces, 10)), ["1:abc", "2:d", "3:e", "4:f"]);
    }

    #[test]
    fn a_buffered_line_is_returned_before_more_is_read() {
        let mut lines = InputLines::with_longest(Pieces(vec![b"a\nb", b"never asked for"]), 10);
        assert!(lines.read_more().unwrap());
        assert_eq!(lines.next_buffered(), Some((1, InputLine::Bytes(b"a"))));
        assert_eq!(lines.next_buffered(), None);
        assert_eq!(lines.source.0.len(), 1);
    }

    #[test]
    fn a_line_of_the_longest_length_is_a_line_and_one_byte_more_is_too_long() {
        assert_eq!(
            texts(read_all(&b"1234\n12345\n123456\n1\n"[..], 4)),
            ["1:1234", "2:TOO LONG", "3:TOO LONG", "4:1"]
        );
        assert_eq!(texts(read_all(&b"12345"[..], 4)), ["1:TOO LONG"]);
        let pieces = Pieces(vec![b"12", b"34", b"56", b"78\n9", b"\n123456"]);
        assert_eq!(texts(read_all(pieces, 4)), ["1:TOO LONG", "2:9", "3:TOO LONG"]);
    }

    #[test]
    fn a_line_without_end_is_not_buffered() {
        let endless = io::repeat(b'x').take(64 << 20);
        let mut lines = InputLines::with_longest(endless, 1 << 20);
        while lines.read_more().unwrap() {
            assert!(lines.buffer.capacity() <= 4 << 20, "{}", lines.buffer.capacity());
            if let Some((number, line)) = lines.next_buffered() {
                assert_eq!((number, line), (1, InputLine::TooLong));
                return;
            }
        }
        panic!("the line was never reported");
    }
}
