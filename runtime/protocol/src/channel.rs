//! Moving frames and descriptors over a Unix stream socket or a pipe.
//!
//! A [`Channel`] is used in one of two ways: a child that has nothing else to do blocks in [`Channel::receive`];
//! an event loop calls [`Channel::fill`] when poll says so, and never waits. Descriptors travel with the frame
//! that speaks of them (`SCM_RIGHTS`), and only a channel that was made for it takes any: what an untrusted
//! process sends unasked is closed by the kernel.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recv,
    recvmsg, send, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::frame::{FrameError, decode, put};
use super::receive_buffer::ReceiveBuffer;

/// Descriptors that one frame may carry: the kernel's limit (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// Why nothing (more) can be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The other process closed its end or died.
    #[error("the other end was closed")]
    Closed,
    /// The other process does not speak our language.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The kernel said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a look for new bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Something came.
    Some,
    /// Nothing is there right now.
    Nothing,
    /// The other end is closed; nothing will ever come again.
    Closed,
}

/// A connected socket with its unhandled input. Output is written by [`send_all`] or by an
/// [`SendBuffer`](super::send_buffer::SendBuffer).
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    inbox: ReceiveBuffer,
    /// Descriptors that came and that no frame has claimed yet; `None` takes none.
    descriptors: Option<VecDeque<OwnedFd>>,
    /// Whether the last look found less than there was room for.
    is_drained: bool,
}

/// Two connected stream sockets, closed on exec.
///
/// # Errors
/// When no descriptors are left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

impl Channel {
    /// A channel that accepts frames of at most `max` bytes, and no descriptors.
    #[must_use]
    pub fn new(socket: OwnedFd, max: usize) -> Self {
        Self {
            socket,
            inbox: ReceiveBuffer::new(max),
            descriptors: None,
            is_drained: true,
        }
    }

    /// A channel to a process of higher trust: descriptors may come with frames.
    #[must_use]
    pub fn with_descriptors(socket: OwnedFd, max: usize) -> Self {
        Self {
            socket,
            inbox: ReceiveBuffer::new(max),
            descriptors: Some(VecDeque::new()),
            is_drained: true,
        }
    }

    /// The frames that have arrived.
    pub fn inbox(&mut self) -> &mut ReceiveBuffer {
        &mut self.inbox
    }

    /// Whether the last look found all that was there.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// The next descriptor that came; the frame that speaks of it has been read.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.as_mut()?.pop_front()
    }

    /// Reads what is there, once, without waiting.
    ///
    /// # Errors
    /// Whatever the kernel says, but for an end of file and for nothing to read.
    pub fn fill(&mut self) -> io::Result<Filled> {
        self.read(MsgFlags::MSG_DONTWAIT)
    }

    /// Waits for bytes.
    ///
    /// # Errors
    /// Whatever the kernel says, but for an end of file.
    pub fn wait(&mut self) -> io::Result<Filled> {
        self.read(MsgFlags::empty())
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the other end is closed, broken, or does not speak our language.
    pub fn receive<'a, M: Deserialize<'a>>(&'a mut self) -> Result<M, ReceiveError> {
        while !self.inbox.has_frame() {
            if self.wait()? == Filled::Closed {
                return Err(ReceiveError::Closed);
            }
        }
        let frame = self.inbox.next_message()?.ok_or(ReceiveError::Closed)?;
        Ok(decode(frame)?)
    }

    /// Sends one message and waits until the kernel has all of it.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send<M: Serialize>(&self, message: &M) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        send_all(self.socket.as_fd(), &bytes)
    }

    /// Sends one message with the descriptors that it speaks of.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send_with<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        Self::send_over(self.socket.as_fd(), message, descriptors)
    }

    /// As [`Channel::send_with`], by who has only the socket.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send_over<M: Serialize>(
        socket: BorrowedFd<'_>,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        let sent = send_first(socket, &bytes, descriptors, MsgFlags::empty())?;
        send_all(socket, &bytes[sent..])
    }

    fn read(&mut self, flags: MsgFlags) -> io::Result<Filled> {
        let space = self.inbox.space();
        let room = space.len();
        let received = match &mut self.descriptors {
            None => recv(self.socket.as_raw_fd(), space, flags),
            Some(queue) => receive_with(self.socket.as_fd(), space, queue, flags),
        };
        self.is_drained = received.is_ok_and(|count| count < room) || received.is_err();
        match received {
            // What a killed process leaves behind when it had unread input is a reset, not an end of file.
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Filled::Closed),
            Ok(count) => {
                self.inbox.filled(count);
                Ok(Filled::Some)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Filled::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends as much of `bytes` as the kernel takes at once, and all descriptors, without waiting. Returns how much.
///
/// # Errors
/// When the kernel takes nothing, and when the other end is closed.
pub(super) fn send_now(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    send_first(socket, bytes, descriptors, MsgFlags::MSG_DONTWAIT)
}

/// Sends as much of `bytes` as the kernel takes in one call, and all descriptors.
fn send_first(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<usize> {
    assert!(descriptors.len() <= MAX_FDS, "a frame carries few descriptors");
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        let slices = [IoSlice::new(bytes)];
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &slices, &rights, flags, None) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

fn receive_with(
    socket: BorrowedFd<'_>,
    space: &mut [u8],
    queue: &mut VecDeque<OwnedFd>,
    flags: MsgFlags,
) -> nix::Result<usize> {
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(space)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
                queue.push_back(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok(message.bytes)
}

/// Writes all of `bytes`, waiting where it must. A closed other end is an error, never a signal.
///
/// # Errors
/// When the other end is closed or broken.
pub fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    use nix::sys::socket::{Shutdown, shutdown};

    #[test]
    fn messages_and_their_descriptors_arrive_together() {
        let (ours, theirs) = pair().unwrap();
        // Closed on exec: a child of another test must not hold it.
        let (mut reader, writer) = io::pipe().unwrap();
        let sender = Channel::new(ours, 100);
        sender.send_with(&"take this", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut receiver = Channel::with_descriptors(theirs, 100);
        assert_eq!(receiver.receive::<&str>().unwrap(), "take this");
        let mut file = File::from(receiver.take_descriptor().unwrap());
        file.write_all(b"through").unwrap();
        drop(file);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert_eq!(got, "through");
        assert!(receiver.take_descriptor().is_none());
    }

    #[test]
    fn descriptors_that_nobody_asked_for_are_not_kept() {
        let (ours, theirs) = pair().unwrap();
        // Closed on exec: a child of another test must not hold it.
        let (mut reader, writer) = io::pipe().unwrap();
        Channel::new(ours, 100)
            .send_with(&1_u8, &[writer.as_fd()])
            .unwrap();
        drop(writer);
        let mut receiver = Channel::new(theirs, 100);
        assert_eq!(receiver.receive::<u8>().unwrap(), 1);
        assert!(receiver.take_descriptor().is_none());
        // The only writer is gone: the kernel closed the copy that was in flight.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_closed_end_is_an_error_and_not_a_signal() {
        let (ours, theirs) = pair().unwrap();
        // Before it is dropped: a child of another test has a copy of it, until it executes something.
        shutdown(theirs.as_raw_fd(), Shutdown::Both).unwrap();
        drop(theirs);
        let mut channel = Channel::new(ours, 100);
        assert!(channel.send(&1_u8).is_err());
        assert!(matches!(channel.receive::<u8>(), Err(ReceiveError::Closed)));
    }
}
