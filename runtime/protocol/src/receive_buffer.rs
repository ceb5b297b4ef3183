//! Divides received bytes into frames.
//!
//! Small frames follow one another in one buffer. A large frame gets a buffer of its own, which the kernel writes to. A
//! reader that keeps its payload shares that buffer, so that the payload is not copied.

use bytes::{Bytes, BytesMut};

use super::frame::{FrameError, HEADER};
use mpwasm_types::memory::{LARGE_PAYLOAD, MAX_RETAINED_BUFFER};

/// Smallest number of bytes to request from the kernel at once: 64 KiB.
const CHUNK: usize = 64 << 10;

/// A received frame: the bytes of one message.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// All of its bytes.
    pub bytes: &'a [u8],
    /// Its buffer, if it has one of its own.
    own: Option<&'a Bytes>,
}

impl Frame<'_> {
    /// Returns `part` in a form that outlives the frame. It shares the buffer if it is most of a large frame; otherwise it is a
    /// copy.
    ///
    /// # Panics
    /// When `part` is no part of this frame.
    #[must_use]
    pub fn keep(&self, part: &[u8]) -> Bytes {
        match self.own {
            Some(own) if part.len() > own.len() / 2 => own.slice_ref(part),
            _ => Bytes::copy_from_slice(part),
        }
    }
}

/// Holds received bytes until they are handled.
#[derive(Debug)]
pub struct ReceiveBuffer {
    /// Small frames, and the beginning of the next one.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
    /// A large frame that is being received. It precedes all in `bytes`.
    large: Option<LargeFrame>,
    /// The large frame that was returned last. Its buffer is reused unless a reader has kept a part of it.
    last: Bytes,
}

/// A large frame, without its header.
#[derive(Debug)]
struct LargeFrame {
    /// Only the first `filled` bytes are received.
    bytes: BytesMut,
    filled: usize,
    len: usize,
}

impl LargeFrame {
    /// Starts a frame of `len` bytes, of which `begun` were received with its header. Reuses the buffer of `last`.
    fn new(begun: &[u8], len: usize, last: Bytes) -> Self {
        // A reader that keeps a part of this frame keeps the buffer, so it must not be much larger than the frame.
        let fits = |bytes: &BytesMut| bytes.capacity() <= 2 * len;
        let mut bytes = last.try_into_mut().ok().filter(fits).unwrap_or_default();
        bytes.truncate(len);
        // This reserves address space. The kernel provides memory as bytes arrive.
        bytes.reserve(len.min(MAX_RETAINED_BUFFER).saturating_sub(bytes.len()));
        if bytes.len() < begun.len() {
            bytes.resize(begun.len(), 0);
        }
        bytes[..begun.len()].copy_from_slice(begun);
        Self {
            bytes,
            filled: begun.len(),
            len,
        }
    }

    fn is_whole(&self) -> bool {
        self.filled == self.len
    }

    /// Returns room for more bytes. The buffer grows to at most twice what has arrived.
    fn space(&mut self) -> &mut [u8] {
        let wanted = (self.filled * 2).max(self.filled + CHUNK).min(self.len);
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.filled..]
    }
}

impl ReceiveBuffer {
    /// Creates a buffer that refuses frames of more than `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            max,
            large: None,
            last: Bytes::new(),
        }
    }

    /// Returns the buffer with its contents, and leaves an empty one. The caller puts it back later. Bytes that are received
    /// meanwhile are lost.
    #[must_use]
    pub fn lend(&mut self) -> Self {
        let max = self.max;
        std::mem::replace(self, Self::new(max))
    }

    /// Returns the number of bytes that were received and not returned: after [`ReceiveBuffer::next_message`] returned `None`,
    /// those of an incomplete frame.
    #[must_use]
    pub fn pending(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| HEADER + large.filled);
        large + self.end - self.start
    }

    /// Accepts frames of at most `max` bytes from now on.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Returns room for more bytes, which is never empty. Call [`ReceiveBuffer::filled`] with the number of received bytes.
    ///
    /// Whatever length a header announces, at most [`MAX_RETAINED_BUFFER`] bytes of address space are allocated at once,
    /// and then at most twice what has arrived.
    pub fn space(&mut self) -> &mut [u8] {
        if self.last.len() > MAX_RETAINED_BUFFER {
            self.last = Bytes::new();
        }
        if self.large.is_none() {
            self.large = self.begin_large();
        }
        if let Some(large) = self.large.as_mut().filter(|large| !large.is_whole()) {
            return large.space();
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
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

    /// Marks the first `count` bytes of [`ReceiveBuffer::space`] as received.
    ///
    /// # Panics
    /// When there was less space.
    pub fn filled(&mut self, count: usize) {
        let (filled, len) = match self.large.as_mut().filter(|large| !large.is_whole()) {
            Some(large) => (&mut large.filled, large.bytes.len()),
            None => (&mut self.end, self.bytes.len()),
        };
        *filled += count;
        assert!(*filled <= len, "there was space for all received bytes");
    }

    /// Returns the bytes of the next frame; `None` when it is incomplete.
    ///
    /// # Errors
    /// When the next frame is over the limit. No further frame can be read then.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.next_frame()?.map(|frame| frame.bytes))
    }

    /// Returns the next frame, of which a part can be kept; `None` when it is incomplete.
    ///
    /// # Errors
    /// As [`ReceiveBuffer::next_message`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.is_whole()) {
            self.last = large.bytes.freeze();
            let bytes = &self.last;
            let own = Some(bytes);
            return Ok(Some(Frame { bytes, own }));
        }
        let Some(len) = self.announced()? else {
            return Ok(None);
        };
        let from = self.start + HEADER;
        if self.end - from < len {
            return Ok(None);
        }
        self.start = from + len;
        Ok(Some(Frame {
            bytes: &self.bytes[from..from + len],
            own: None,
        }))
    }

    /// Returns whether [`ReceiveBuffer::next_message`] would return a frame or an error.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        match (&self.large, self.announced()) {
            (Some(large), _) => large.is_whole(),
            (None, Ok(None)) => false,
            (None, Ok(Some(len))) => self.end - self.start - HEADER >= len,
            (None, Err(_)) => true,
        }
    }

    /// Moves the beginning of a large frame from the common buffer to a buffer of its own.
    fn begin_large(&mut self) -> Option<LargeFrame> {
        // An error is ignored here, since `next_frame` will return it.
        let len = self.announced().ok()??;
        let begun = self.start + HEADER..self.end;
        if len < LARGE_PAYLOAD || begun.len() >= len {
            return None;
        }
        self.start = self.end;
        let last = std::mem::take(&mut self.last);
        Some(LargeFrame::new(&self.bytes[begun], len, last))
    }

    /// Returns the length of the frame that begins in the common buffer.
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
    use crate::frame::{decode, put};
    use proptest::prelude::*;

    fn feed(inbox: &mut ReceiveBuffer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = inbox.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// Encodes a message of `payload` bytes.
    fn framed(payload: usize, byte: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, &vec![byte; payload]);
        bytes
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_arrives() {
        let mut inbox = ReceiveBuffer::new(100);
        feed(&mut inbox, &101_u32.to_le_bytes());
        assert!(inbox.has_frame());
        assert_eq!(
            inbox.next_message().unwrap_err(),
            FrameError::TooLarge { len: 101, max: 100 }
        );
    }

    #[test]
    fn an_announced_large_frame_takes_no_memory_until_it_arrives() {
        let mut inbox = ReceiveBuffer::new(1 << 30);
        feed(&mut inbox, &(1_u32 << 30).to_le_bytes());
        assert!(inbox.next_message().unwrap().is_none());
        assert!(inbox.space().len() <= CHUNK);
        assert!(inbox.large.unwrap().bytes.capacity() <= MAX_RETAINED_BUFFER);
    }

    #[test]
    fn the_memory_of_a_large_frame_is_freed() {
        let mut inbox = ReceiveBuffer::new(16 << 20);
        feed(&mut inbox, &framed(8 << 20, 7));
        assert!(inbox.next_message().unwrap().is_some());
        inbox.space();
        assert!(inbox.last.is_empty());
        assert!(inbox.bytes.capacity() <= 4 * CHUNK);
    }

    #[test]
    fn the_memory_of_a_payload_of_1_mib_is_reused() {
        let mut inbox = ReceiveBuffer::new(16 << 20);
        let mut places = [1 << 20, 1 << 19, 1 << 20].map(|len| {
            feed(&mut inbox, &framed(len, 7));
            inbox.next_message().unwrap().unwrap().as_ptr()
        });
        places.sort_unstable();
        assert_eq!(places[0], places[2]);
    }

    #[test]
    fn a_kept_part_is_no_copy_and_is_not_overwritten() {
        let mut inbox = ReceiveBuffer::new(16 << 20);
        let bytes = framed(1 << 20, 7);
        feed(&mut inbox, &bytes);
        let frame = inbox.next_frame().unwrap().unwrap();
        let kept = frame.keep(&frame.bytes[3..]);
        let little = frame.keep(&frame.bytes[..10]);
        assert_eq!(kept.as_ptr(), frame.bytes[3..].as_ptr());
        assert_ne!(
            little.as_ptr(),
            frame.bytes.as_ptr(),
            "a small part must not keep the whole buffer"
        );
        feed(&mut inbox, &framed(1 << 20, 8));
        let next = inbox.next_frame().unwrap().unwrap();
        assert!(decode::<&[u8]>(next.bytes).unwrap() == [8; 1 << 20]);
        assert!(kept == decode::<&[u8]>(&bytes[HEADER..]).unwrap());
        assert_eq!(little, bytes[HEADER..HEADER + 10]);
    }

    /// A part is charged by its length, so it must not keep much more memory.
    #[test]
    fn a_kept_part_is_not_in_a_much_larger_buffer() {
        let mut inbox = ReceiveBuffer::new(16 << 20);
        for len in [4 << 20, 2 * LARGE_PAYLOAD] {
            feed(&mut inbox, &framed(len - 9, 7));
            let frame = inbox.next_frame().unwrap().unwrap();
            assert!(frame.keep(&frame.bytes[3..]).len() > len / 2);
        }
        let buffer = inbox.last.try_into_mut().expect("no part of it is kept any more");
        assert!(buffer.capacity() <= 4 * LARGE_PAYLOAD, "{}", buffer.capacity());
    }

    proptest! {
        #[test]
        fn messages_survive_any_fragmentation(
            lengths in prop::collection::vec(prop_oneof![9 => 0..300_usize, 1 => LARGE_PAYLOAD - 9..3 * LARGE_PAYLOAD], 0..40),
            cuts in prop::collection::vec(prop_oneof![1..500_usize, 1..200_000_usize], 1..50),
        ) {
            let messages: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, &len)| vec![i as u8; len]).collect();
            let mut stream = Vec::new();
            for message in &messages {
                put(&mut stream, message);
            }
            let mut inbox = ReceiveBuffer::new(4 * LARGE_PAYLOAD);
            let mut received = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                feed(&mut inbox, now);
                rest = later;
                loop {
                    let has_frame = inbox.has_frame();
                    let Some(frame) = inbox.next_message().unwrap() else {
                        prop_assert!(!has_frame);
                        break;
                    };
                    prop_assert!(has_frame);
                    received.push(decode::<&[u8]>(frame).unwrap().to_vec());
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(received == messages);
            prop_assert_eq!(inbox.pending(), 0);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut inbox = ReceiveBuffer::new(64);
            feed(&mut inbox, &bytes);
            while let Ok(Some(frame)) = inbox.next_message() {
                let _ = decode::<(u64, String, Option<Vec<u8>>)>(frame);
            }
        }
    }
}
