//! Encodes messages as frames: a length (u32, little endian), followed by one message in postcard's format.
//!
//! The reader of a frame does not trust its writer. It refuses a length over the limit before it allocates anything. Its
//! memory grows only as bytes arrive. A message that does not use its whole frame is an error.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// Bytes of the length in front of a message: 4.
pub(super) const HEADER: usize = 4;

/// Reports why received bytes are no valid frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The length in front is over the limit.
    #[error("a frame of {len} bytes; at most {max} are allowed")]
    TooLarge {
        /// The length in the header.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("a frame that is no message: {0}")]
    Malformed(postcard::Error),
    /// A text or list is longer than its bound, or a value is not allowed by its type.
    #[error("a frame with a text, a list or a value that its message may not have")]
    OutOfBounds,
    /// Bytes follow the message.
    #[error("a frame with {0} bytes behind its message")]
    Trailing(usize),
}

/// Appends `message` as one frame to `buffer`.
///
/// # Panics
/// When the message is larger than 4 GiB. The limits of [`mpwasm_types::settings`] are far below.
pub fn put<M: Serialize>(buffer: &mut Vec<u8>, message: &M) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    write(buffer, message);
    set_len(&mut buffer[start..], 0);
}

/// Gives the last message of `buffer`, whose frame begins at `start`, a payload of `payload` bytes in place of its empty one.
/// The caller sends the payload itself after the buffer, without copying it.
///
/// # Panics
/// As [`put`], and when the message does not end with an empty byte string.
pub fn announce(buffer: &mut Vec<u8>, start: usize, payload: usize) {
    // A byte string is encoded as its length, a varint, followed by its bytes.
    assert_eq!(buffer.pop(), Some(0), "the message ends with an empty payload");
    write(buffer, &payload);
    set_len(&mut buffer[start..], payload);
}

/// Encodes `message` without the length in front. A file needs none, as it has a length of its own.
#[must_use]
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, message);
    bytes
}

fn write<M: Serialize>(buffer: &mut Vec<u8>, message: &M) {
    postcard::serialize_with_flavor(message, VecWriter(buffer))
        .expect("all messages can be serialized, and a Vec accepts all bytes");
}

/// Writes the length of a frame that has `payload` more bytes than are in `frame`.
fn set_len(frame: &mut [u8], payload: usize) {
    let len =
        u32::try_from(frame.len() - HEADER + payload).expect("the limits of messages are far below 4 GiB");
    frame[..HEADER].copy_from_slice(&len.to_le_bytes());
}

/// Lets postcard append to a `Vec`. Its own flavor for that goes through iterators, and takes twice as long.
struct VecWriter<'a>(&'a mut Vec<u8>);

impl Flavor for VecWriter<'_> {
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

/// Decodes the message in a frame.
///
/// # Errors
/// When the bytes are no such message, or more than it.
pub fn decode<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<M, FrameError> {
    let (message, rest) = take(frame)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(FrameError::Trailing(rest.len()))
    }
}

/// Decodes the value with which a frame begins, whatever follows it.
///
/// # Errors
/// When the bytes do not begin with such a value.
pub(super) fn decode_prefix<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<M, FrameError> {
    take(frame).map(|(value, _)| value)
}

fn take<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(M, &'a [u8]), FrameError> {
    postcard::take_from_bytes(bytes).map_err(|error| match error {
        // Only decoders that are not postcard's own return it. Their message does not come with it.
        postcard::Error::SerdeDeCustom => FrameError::OutOfBounds,
        error => FrameError::Malformed(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_a_message_are_an_error() {
        assert_eq!(decode::<u8>(&[1, 2, 3]), Err(FrameError::Trailing(2)));
    }

    #[test]
    fn an_announced_payload_makes_the_same_frame() {
        for len in [1, 127, 128, 300, 1 << 20] {
            let payload = vec![7; len];
            let message = |payload| (1_u8, "before", serde_bytes::Bytes::new(payload));
            let (mut whole, mut around) = (vec![9], vec![9]);
            put(&mut whole, &message(&payload));
            put(&mut around, &message(&[]));
            announce(&mut around, 1, len);
            around.extend(&payload);
            assert!(around == whole, "{len}");
        }
    }
}
