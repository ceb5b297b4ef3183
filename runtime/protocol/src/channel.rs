//! Moves frames and file descriptors over a Unix stream socket.
//!
//! A [`Channel`] is used in one of two ways. A child that has nothing else to do blocks in [`Channel::receive`]. An event
//! loop calls [`Channel::fill`] when the socket is readable, and never waits. File descriptors travel with the frame that
//! refers to them (`SCM_RIGHTS`). Only a channel that was created for it accepts any; otherwise the kernel closes those
//! that an untrusted process sends.

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

/// Largest number of file descriptors with a frame: 253, the limit of the kernel (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// Reports why no message can be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The other process has closed its end or ended.
    #[error("the other end was closed")]
    Closed,
    /// The other process has sent an invalid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A system call has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of reading from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Bytes were read.
    Some,
    /// There are no bytes at present.
    Nothing,
    /// The other end is closed, and all bytes were read.
    Closed,
}

/// A connected socket with a buffer of received frames. Frames are sent directly, by [`send_all`], or by a
/// [`SendBuffer`](super::send_buffer::SendBuffer).
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    inbox: ReceiveBuffer,
    /// File descriptors that were received but not taken; `None` if none are accepted.
    descriptors: Option<VecDeque<OwnedFd>>,
    /// Whether the last read returned less than the buffer had room for.
    is_drained: bool,
}

/// Returns two connected stream sockets, which are closed on exec.
///
/// # Errors
/// When no file descriptors are left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

impl Channel {
    /// Creates a channel that accepts frames of at most `max` bytes, and no file descriptors.
    #[must_use]
    pub fn new(socket: OwnedFd, max: usize) -> Self {
        Self {
            socket,
            inbox: ReceiveBuffer::new(max),
            descriptors: None,
            is_drained: true,
        }
    }

    /// Creates a channel to a process of higher trust: it accepts file descriptors, too.
    #[must_use]
    pub fn with_descriptors(socket: OwnedFd, max: usize) -> Self {
        Self {
            socket,
            inbox: ReceiveBuffer::new(max),
            descriptors: Some(VecDeque::new()),
            is_drained: true,
        }
    }

    /// Returns the same channel, which accepts file descriptors from now on.
    #[must_use]
    pub fn accepting_descriptors(mut self) -> Self {
        self.descriptors = Some(VecDeque::new());
        self
    }

    /// Returns the buffer of received frames.
    pub fn inbox(&mut self) -> &mut ReceiveBuffer {
        &mut self.inbox
    }

    /// Returns whether the last read returned all bytes that had arrived.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Returns the next file descriptor that was received. Call it after reading the frame that refers to it.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.as_mut()?.pop_front()
    }

    /// Returns the number of file descriptors that were received and not taken.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors.as_ref().map_or(0, VecDeque::len)
    }

    /// Reads the bytes that have arrived, once, without waiting.
    ///
    /// # Errors
    /// When the socket is broken. An end of file is no error, nor are missing bytes.
    pub fn fill(&mut self) -> io::Result<Filled> {
        self.read(MsgFlags::MSG_DONTWAIT)
    }

    /// Waits until bytes arrive, and reads them.
    ///
    /// # Errors
    /// When the socket is broken. An end of file is no error.
    pub fn wait(&mut self) -> io::Result<Filled> {
        self.read(MsgFlags::empty())
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the other end is closed or broken, or has sent an invalid frame.
    pub fn receive<'a, M: Deserialize<'a>>(&'a mut self) -> Result<M, ReceiveError> {
        while !self.inbox.has_frame() {
            if self.wait()? == Filled::Closed {
                return Err(ReceiveError::Closed);
            }
        }
        let frame = self.inbox.next_message()?.ok_or(ReceiveError::Closed)?;
        Ok(decode(frame)?)
    }

    /// Sends one message, and waits until the kernel has accepted all of it.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send<M: Serialize>(&self, message: &M) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        send_all(self.socket.as_fd(), &bytes)
    }

    /// Sends one message with the file descriptors that it refers to.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn send_with<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        Self::send_over(self.socket.as_fd(), message, descriptors)
    }

    /// Does the same as [`Channel::send_with`] over a socket without a channel.
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
            // A process that is killed while it has unread input causes a reset instead of an end of file.
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

/// Sends as many of `bytes` as the kernel accepts, and all file descriptors, without waiting. Returns the number of bytes.
///
/// # Errors
/// When the kernel accepts none, and when the other end is closed.
pub(super) fn send_now(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    Ok(send_first(socket, bytes, descriptors, MsgFlags::MSG_DONTWAIT)?)
}

/// Sends one small message with the file descriptors that it refers to, without waiting.
///
/// # Errors
/// When the other end is closed, or the socket is full. Nothing was sent then.
pub fn try_send_with<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    put(&mut bytes, message);
    // The kernel accepts so few bytes as a whole or not at all.
    match send_now(socket, &bytes, descriptors)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(Errno::EAGAIN.into()),
    }
}

/// Sends as many of `bytes` as the kernel accepts in one call, and all file descriptors.
pub(super) fn send_first(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> nix::Result<usize> {
    assert!(
        descriptors.len() <= MAX_FDS,
        "a frame carries at most MAX_FDS file descriptors"
    );
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    loop {
        let slices = [IoSlice::new(bytes)];
        match sendmsg::<UnixAddr>(socket.as_raw_fd(), &slices, &rights, flags, None) {
            Err(Errno::EINTR) => {}
            other => return other,
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
                // SAFETY: the kernel has just created this file descriptor, and nothing else owns it.
                queue.push_back(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok(message.bytes)
}

/// Sends all of `bytes`, and waits until the kernel has accepted them. A closed other end raises no signal.
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

/// Sends as many of `bytes` as the socket accepts without waiting, and returns how many these are.
///
/// # Errors
/// When the other end is closed or broken.
pub fn send_some(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(
            socket.as_raw_fd(),
            bytes,
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        ) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            sent => return Ok(sent?),
        }
    }
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
        // They are closed on exec, so that a child of another test does not hold them.
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
    fn descriptors_are_not_kept_by_a_channel_that_accepts_none() {
        let (ours, theirs) = pair().unwrap();
        // They are closed on exec, so that a child of another test does not hold them.
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
        // Dropping it is not enough: a child of another test has a copy of it until its exec.
        shutdown(theirs.as_raw_fd(), Shutdown::Both).unwrap();
        drop(theirs);
        let mut channel = Channel::new(ours, 100);
        assert!(channel.send(&1_u8).is_err());
        assert!(matches!(channel.receive::<u8>(), Err(ReceiveError::Closed)));
    }
}
