//! Buffers messages that are to be sent through a socket.
//!
//! Messages are encoded into one buffer. Large payloads are not copied into it: the buffer shares them, and sends them from
//! where they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, UnixAddr, send, sendmsg};
use serde::Serialize;

use super::channel;
use super::channel::MAX_FDS;
use super::frame::{announce, put};
use mpwasm_types::memory::{LARGE_PAYLOAD, MAX_RETAINED_BUFFER};

/// Largest number of pieces in one system call: 8.
const PIECES: usize = 8;

/// Holds the bytes that are to be sent to a process that may not be reading, so that the sender need not wait.
#[derive(Debug, Default)]
pub struct SendBuffer {
    /// Pieces to be sent before `bytes`: large payloads, each after the bytes that precede it.
    before: VecDeque<Bytes>,
    /// Number of bytes in `before`.
    before_len: usize,
    bytes: Vec<u8>,
    /// Number of bytes of `bytes` that were sent; zero unless `before` is empty.
    sent: usize,
    /// File descriptors that go along with the next byte.
    descriptors: VecDeque<Arc<OwnedFd>>,
}

impl SendBuffer {
    /// Appends a message.
    pub fn put<M: Serialize>(&mut self, message: &M) {
        put(&mut self.bytes, message);
    }

    /// Appends a message with the file descriptor that it refers to. The descriptor arrives with an earlier byte or with the message.
    pub fn put_with<M: Serialize>(&mut self, message: &M, descriptor: Arc<OwnedFd>) {
        self.put(message);
        self.descriptors.push_back(descriptor);
    }

    /// Appends the message that ends with this payload. A large payload is shared, not copied.
    ///
    /// # Panics
    /// When the message that `message` returns does not end with the payload that it gets.
    pub fn put_shared<'a, M: Serialize>(&mut self, payload: &'a Bytes, message: impl FnOnce(&'a [u8]) -> M) {
        let is_large = payload.len() >= LARGE_PAYLOAD;
        let start = self.bytes.len();
        self.put(&message(if is_large { &[] } else { payload }));
        if is_large {
            announce(&mut self.bytes, start, payload.len());
            let mut before = Bytes::from(std::mem::take(&mut self.bytes));
            before.advance(std::mem::take(&mut self.sent));
            self.before_len += before.len() + payload.len();
            self.before.extend([before, payload.clone()]);
        }
    }

    /// Appends a message whose payload of `len` bytes follows: the caller sends it, and [appends](Self::append) what it can't send.
    ///
    /// # Panics
    /// When the message does not end with an empty payload.
    pub fn put_before_payload<M: Serialize>(&mut self, message: &M, len: usize) {
        let start = self.bytes.len();
        self.put(message);
        announce(&mut self.bytes, start, len);
    }

    /// Appends the rest of a payload whose message has been sent.
    pub fn append(&mut self, rest: &[u8]) {
        self.bytes.extend_from_slice(rest);
    }

    /// Returns a copy of the bytes that are not sent.
    #[must_use]
    pub fn unsent(&self) -> Vec<u8> {
        let before = self.before.iter().map(|part| &part[..]);
        before
            .chain([&self.bytes[self.sent..]])
            .flatten()
            .copied()
            .collect()
    }

    /// Discards the bytes that are not sent.
    pub fn clear(&mut self) {
        self.advance(self.len());
        self.reclaim();
    }

    /// Returns the number of bytes that are not sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before_len + self.bytes.len() - self.sent
    }

    /// Returns whether all bytes are sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends as many bytes as the socket accepts without waiting.
    ///
    /// # Errors
    /// When the other end is closed or broken. The remaining bytes are lost.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(socket, MsgFlags::MSG_DONTWAIT)
    }

    /// Sends all bytes, and waits until the kernel has accepted them.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send_all(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(socket, MsgFlags::empty())
    }

    /// Sends all bytes, and then the message that ends with this payload, which is not copied. Waits until the kernel has
    /// accepted them.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    ///
    /// # Panics
    /// When the message does not end with an empty payload.
    pub fn send_payload<M: Serialize>(
        &mut self,
        socket: BorrowedFd<'_>,
        message: &M,
        payload: &[u8],
    ) -> io::Result<()> {
        self.put_before_payload(message, payload.len());
        self.send_all(socket)?;
        // In a call of its own: a sandboxed worker may not call sendmsg, which could carry file descriptors.
        channel::send_all(socket, payload)
    }

    fn send(&mut self, socket: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<()> {
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        while !self.is_empty() {
            let unsent = &self.bytes[self.sent..];
            let sent = if !self.descriptors.is_empty() {
                let first = self.before.front().map_or(unsent, |part| &part[..]);
                let count = self.descriptors.len().min(MAX_FDS);
                let along: Vec<BorrowedFd<'_>> =
                    self.descriptors.range(..count).map(|fd| fd.as_fd()).collect();
                let sent = channel::send_first(socket, first, &along, flags);
                self.descriptors.drain(..if sent.is_ok() { count } else { 0 });
                sent
            } else if self.before.is_empty() {
                retry_on_signal(|| send(socket.as_raw_fd(), unsent, flags))
            } else {
                let parts = self.before.iter().map(|part| &part[..]).chain([unsent]);
                let pieces: Vec<IoSlice<'_>> = parts.take(PIECES).map(IoSlice::new).collect();
                retry_on_signal(|| sendmsg::<UnixAddr>(socket.as_raw_fd(), &pieces, &[], flags, None))
            };
            match sent {
                Ok(count) => self.advance(count),
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        self.reclaim();
        Ok(())
    }

    /// Removes `count` bytes, which were sent.
    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.before.front_mut() {
            let part = count.min(first.len());
            first.advance(part);
            self.before_len -= part;
            count -= part;
            if first.has_remaining() {
                return;
            }
            self.before.pop_front();
        }
        self.sent += count;
    }

    /// Frees the space of sent bytes: when all are sent, or when more than half are, so that each byte is moved at most once
    /// on average.
    fn reclaim(&mut self) {
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > MAX_RETAINED_BUFFER {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Repeats a system call that a signal has interrupted.
fn retry_on_signal(mut call: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use crate::channel::{Channel, pair};
    use serde_bytes::Bytes as Payload;

    #[test]
    fn a_reader_that_stops_neither_blocks_the_sender_nor_loses_messages() {
        let (ours, theirs) = pair().unwrap();
        let mut outgoing = SendBuffer::default();
        let message = vec![5_u8; 100_000];
        for _ in 0..20 {
            outgoing.put(&message);
            outgoing.flush(ours.as_fd()).unwrap();
        }
        assert!(!outgoing.is_empty(), "the socket is full");
        let mut receiver = Channel::new(theirs, 200_000);
        for _ in 0..20 {
            while !receiver.inbox().has_frame() {
                outgoing.flush(ours.as_fd()).unwrap();
                receiver.fill().unwrap();
            }
            assert_eq!(receiver.receive::<Vec<u8>>().unwrap(), message);
        }
        assert!(outgoing.is_empty());
    }

    #[test]
    fn large_payloads_keep_their_place_among_small_messages() {
        let (ours, theirs) = pair().unwrap();
        let mut outgoing = SendBuffer::default();
        let payload = |i: usize| Bytes::from(vec![i as u8; if i.is_multiple_of(3) { 300_000 } else { i }]);
        let mut waiting = 0;
        for i in 0..30 {
            let bytes = payload(i);
            outgoing.put_shared(&bytes, |bytes| (i, Payload::new(bytes)));
            outgoing.put(&(i, Payload::new(b"small")));
            // Some bytes are sent at once, some later.
            waiting = waiting.max(outgoing.len());
            if i % 7 == 0 {
                outgoing.flush(ours.as_fd()).unwrap();
            }
        }
        assert!(waiting > 2_000_000, "{waiting}");
        let mut receiver = Channel::new(theirs, 400_000);
        for i in 0..30 {
            for bytes in [payload(i), Bytes::from_static(b"small")] {
                while !receiver.inbox().has_frame() {
                    outgoing.flush(ours.as_fd()).unwrap();
                    receiver.fill().unwrap();
                }
                let message: (usize, &Payload) = receiver.receive().unwrap();
                assert!(message == (i, Payload::new(&bytes)), "{i}");
            }
        }
        assert!(outgoing.is_empty() && outgoing.before.is_empty());
    }

    #[test]
    fn sent_bytes_are_not_sent_again_with_a_payload() {
        let (ours, theirs) = pair().unwrap();
        let mut outgoing = SendBuffer::default();
        const SMALL: usize = 1000;
        for number in 0..SMALL {
            outgoing.put(&(number, Payload::new(&[1; 1000])));
        }
        outgoing.flush(ours.as_fd()).unwrap();
        assert!(outgoing.sent > 0, "a part of the buffer is sent");
        let large = Bytes::from(vec![2; 1 << 20]);
        outgoing.put_shared(&large, |large| (SMALL, Payload::new(large)));
        let mut receiver = Channel::new(theirs, 2 << 20);
        for number in 0..=SMALL {
            while !receiver.inbox().has_frame() {
                outgoing.flush(ours.as_fd()).unwrap();
                receiver.fill().unwrap();
            }
            let (read, payload): (usize, &Payload) = receiver.receive().unwrap();
            let wanted: &[u8] = if number < SMALL { &[1; 1000] } else { &large };
            assert!(read == number && **payload == *wanted, "{number} {read}");
        }
        assert!(outgoing.is_empty());
    }

    #[test]
    fn a_message_with_a_payload_is_sent_after_those_before_it() {
        let (ours, theirs) = pair().unwrap();
        let sender = std::thread::spawn(move || {
            let mut outgoing = SendBuffer::default();
            outgoing.put(&"before");
            let message = ("with", Payload::new(&[]));
            let payload = vec![5; 1 << 20];
            outgoing.send_payload(ours.as_fd(), &message, &payload).unwrap();
            assert!(outgoing.is_empty());
        });
        let mut receiver = Channel::new(theirs, 2 << 20);
        assert_eq!(receiver.receive::<&str>().unwrap(), "before");
        let (with, payload): (&str, &Payload) = receiver.receive().unwrap();
        assert!(payload.len() == 1 << 20 && payload.iter().all(|&byte| byte == 5));
        assert_eq!(with, "with");
        sender.join().unwrap();
    }

    #[test]
    fn clear_discards_all_messages() {
        let mut outgoing = SendBuffer::default();
        let bytes = Bytes::from(vec![0; LARGE_PAYLOAD]);
        outgoing.put_shared(&bytes, Payload::new);
        outgoing.put(&"small");
        outgoing.clear();
        assert!(outgoing.is_empty());
        assert!(bytes.is_unique());
    }
}
