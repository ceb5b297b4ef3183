//! Frames: a length (u32, little endian), then so many bytes of one postcard message.
//!
//! The reader of a frame does not trust its writer: a length past the cap is refused before anything is
//! allocated for it, memory grows only as bytes really arrive, and a message that does not use up its frame is an
//! error.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::settings::KEPT_BUFFER;

/// Bytes of the length in front of a message.
const HEADER: usize = 4;
/// What a reader asks the kernel for at once.
const CHUNK: usize = 64 << 10;

/// Why a byte stream is no sequence of frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length in front is over the cap.
    #[error("a frame of {len} bytes; at most {max} are allowed")]
    TooLarge {
        /// What the header said.
        len: usize,
        /// The cap.
        max: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("a frame that is no message: {0}")]
    Malformed(postcard::Error),
    /// There are bytes behind the message.
    #[error("a frame with {0} bytes behind its message")]
    Trailing(usize),
}

/// Appends `message` as one frame to `buffer`.
///
/// # Panics
/// When the message is larger than 4 GiB: the caps of [`crate::settings`] are far below.
pub fn put<M: Serialize>(buffer: &mut Vec<u8>, message: &M) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    postcard::serialize_with_flavor(message, Appender(buffer))
        .expect("our messages serialize, and a Vec takes all bytes");
    let len = u32::try_from(buffer.len() - start - HEADER).expect("messages are capped far below 4 GiB");
    buffer[start..start + HEADER].copy_from_slice(&len.to_le_bytes());
}

/// Where postcard writes to. Its own way to extend something goes through iterators, and costs twice as much.
struct Appender<'a>(&'a mut Vec<u8>);

impl Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes the message in a frame that [`Inbox::next`] returned.
///
/// # Errors
/// When the bytes are no such message, or more than it.
pub fn decode<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<M, FrameError> {
    let (message, rest) = postcard::take_from_bytes(frame).map_err(FrameError::Malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(FrameError::Trailing(rest.len()))
    }
}

/// Received bytes that are not yet handled, cut into frames.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

impl Inbox {
    /// An inbox that refuses frames of more than `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            max,
        }
    }

    /// Bytes that have arrived and were not handed out: after [`Inbox::next`] had none, those of a frame that has begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.end - self.start
    }

    /// From now on frames of at most `max` bytes are accepted.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Room for more bytes, never empty. Say with [`Inbox::filled`] how many came.
    ///
    /// At most twice what has already arrived is allocated, whatever length a header announces.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > KEPT_BUFFER {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.end < CHUNK {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let wanted = (self.end + CHUNK).max(self.end * 2);
            if self.bytes.len() < self.end + CHUNK {
                self.bytes.resize(wanted, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `count` bytes were written to [`Inbox::space`].
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "no more bytes than there was space");
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the next frame is over the cap: the stream can't be read any further.
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(len) = self.announced()? else {
            return Ok(None);
        };
        let from = self.start + HEADER;
        if self.end - from < len {
            return Ok(None);
        }
        self.start = from + len;
        Ok(Some(&self.bytes[from..from + len]))
    }

    /// Whether a whole frame is waiting (or an error that [`Inbox::next`] will report).
    #[must_use]
    pub fn has_frame(&self) -> bool {
        match self.announced() {
            Ok(None) => false,
            Ok(Some(len)) => self.end - self.start - HEADER >= len,
            Err(_) => true,
        }
    }

    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.bytes[self.start..self.end].first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*header) as usize;
        if len > self.max {
            Err(FrameError::TooLarge { len, max: self.max })
        } else {
            Ok(Some(len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(inbox: &mut Inbox, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = inbox.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn a_frame_over_the_cap_is_refused_before_it_arrives() {
        let mut inbox = Inbox::new(100);
        feed(&mut inbox, &101_u32.to_le_bytes());
        assert!(inbox.has_frame());
        assert_eq!(
            inbox.next().unwrap_err(),
            FrameError::TooLarge { len: 101, max: 100 }
        );
    }

    #[test]
    fn an_announced_giant_costs_no_memory_until_it_arrives() {
        let mut inbox = Inbox::new(1 << 30);
        feed(&mut inbox, &(1_u32 << 30).to_le_bytes());
        assert!(inbox.next().unwrap().is_none());
        assert!(inbox.space().len() <= 4 * CHUNK);
    }

    #[test]
    fn memory_of_a_giant_is_given_back() {
        let mut inbox = Inbox::new(16 << 20);
        let mut bytes = Vec::new();
        put(&mut bytes, &vec![7_u8; 8 << 20]);
        feed(&mut inbox, &bytes);
        assert!(inbox.next().unwrap().is_some());
        inbox.space();
        assert!(inbox.bytes.len() <= KEPT_BUFFER);
    }

    #[test]
    fn memory_of_a_payload_of_1_mib_is_kept_for_the_next_one() {
        let mut inbox = Inbox::new(16 << 20);
        let mut bytes = Vec::new();
        put(&mut bytes, &vec![7_u8; 1 << 20]);
        feed(&mut inbox, &bytes);
        assert!(inbox.next().unwrap().is_some());
        assert!(inbox.space().len() > 1 << 20);
    }

    #[test]
    fn bytes_behind_a_message_are_an_error() {
        assert_eq!(decode::<u8>(&[1, 2, 3]), Err(FrameError::Trailing(2)));
    }

    proptest! {
        #[test]
        fn messages_survive_any_fragmentation(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..40),
            cuts in prop::collection::vec(1_usize..500, 1..50),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                put(&mut stream, message);
            }
            let mut inbox = Inbox::new(1000);
            let mut received = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                feed(&mut inbox, now);
                rest = later;
                while let Some(frame) = inbox.next().unwrap() {
                    received.push(decode::<Vec<u8>>(frame).unwrap());
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(received, messages);
            prop_assert_eq!(inbox.start, inbox.end);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut inbox = Inbox::new(64);
            feed(&mut inbox, &bytes);
            while let Ok(Some(frame)) = inbox.next() {
                let _ = decode::<(u64, String, Option<Vec<u8>>)>(frame);
            }
        }
    }
}
