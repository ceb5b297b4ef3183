//! Reads lines of bounded length.

use std::io::{self, BufRead};

/// Most memory that is kept between lines: 1 MiB.
const KEPT_BUFFER: usize = 1 << 20;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The bytes of a line that ends with a newline.
    Whole(&'a [u8]),
    /// The bytes of the last line if it lacks a newline.
    Unterminated(&'a [u8]),
    /// A line that is longer than the limit. Its bytes were skipped.
    TooLong,
}

/// Reads lines, and skips those that are too long without keeping them in memory.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    longest: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    /// Returns a reader that keeps at most `longest` bytes of a line.
    pub fn new(reader: R, longest: usize) -> Self {
        Self {
            reader,
            longest,
            buffer: Vec::new(),
        }
    }

    /// Reads the next line. `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        let mut is_too_long = false;
        let mut is_empty = true;
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if chunk.is_empty() {
                return Ok(match (is_empty, is_too_long) {
                    (true, _) => None,
                    (false, true) => Some(Line::TooLong),
                    (false, false) => Some(Line::Unterminated(&self.buffer)),
                });
            }
            is_empty = false;
            let newline = memchr::memchr(b'\n', chunk);
            let part = &chunk[..newline.unwrap_or(chunk.len())];
            let consumed = newline.map_or(chunk.len(), |newline| newline + 1);
            is_too_long |= self.buffer.len() + part.len() > self.longest;
            if is_too_long {
                self.buffer = Vec::new();
            } else {
                keep(&mut self.buffer, part, self.longest);
            }
            self.reader.consume(consumed);
            if newline.is_some() {
                return Ok(Some(match is_too_long {
                    true => Line::TooLong,
                    false => Line::Whole(&self.buffer),
                }));
            }
        }
    }
}

/// Adds a part of a line. The buffer grows as a `Vec` does, but not beyond the longest line.
fn keep(buffer: &mut Vec<u8>, part: &[u8], longest: usize) {
    let length = buffer.len();
    if buffer.capacity() - length < part.len() {
        let wanted = (2 * buffer.capacity()).clamp(length + part.len(), longest);
        buffer.reserve_exact(wanted - length);
    }
    buffer.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_the_same_however_they_are_buffered() {
        let text: &[u8] = b"one\n\ntoo long\nfour\nfive";
        for capacity in 1..=text.len() {
            let mut lines = LineReader::new(BufReader::with_capacity(capacity, text), 4);
            assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"one")));
            assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"")));
            assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
            assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"four")));
            assert_eq!(lines.next().unwrap(), Some(Line::Unterminated(b"five")));
            assert_eq!(lines.next().unwrap(), None);
        }
    }

    #[test]
    fn the_buffer_is_no_larger_than_the_longest_line() {
        let (longest, long) = (5 << 20, vec![b'x'; 5 << 20]);
        let text = [&long[..], b"\nshort\n"].concat();
        let mut lines = LineReader::new(BufReader::new(&*text), longest);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(&long)));
        assert_eq!(lines.buffer.capacity(), longest);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"short")));
        assert_eq!(lines.buffer.capacity(), KEPT_BUFFER);
    }

    #[test]
    fn a_long_line_takes_no_memory() {
        let endless = BufReader::new(io::Read::take(io::repeat(b'x'), 100 << 20));
        let mut lines = LineReader::new(endless, 1 << 20);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.buffer.capacity(), 0);
        assert_eq!(lines.next().unwrap(), None);
    }
}
