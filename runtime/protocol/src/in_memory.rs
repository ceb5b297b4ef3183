//! Sends messages in a sealed memory file.
//!
//! A process that was just spawned may not be reading yet, and its starter must not wait for it. The capacity of a socket
//! depends on the settings of the system, and a message with descriptions of guests can have any size. So only a frame of a
//! few bytes goes through the socket, and the file descriptor of a file with the message goes along.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::channel::{Channel, ReceiveError, try_send_with};
use super::frame::{decode, encode};
use super::messages::MAX_SETUP;
use mpwasm_system::memory_file::sealed_memory;

/// Name of the files, shown in `/proc`.
const NAME: &CStr = c"mpwasm-message";

/// Sent in place of the message, with the file.
#[derive(Debug, Serialize, Deserialize)]
struct FileAnnouncement {
    /// Size of the file.
    bytes: u64,
}

/// Writes a message to a memory file, and seals the file against changes.
///
/// # Errors
/// When no memory or file descriptor is left.
pub fn write<M: Serialize>(message: &M) -> io::Result<File> {
    sealed_memory(NAME, &encode(message))
}

/// Reads a message that [`write`](write()) has written.
///
/// # Errors
/// When the file cannot be read, is larger than [`MAX_SETUP`], or holds another message.
pub fn read<M: DeserializeOwned>(file: OwnedFd) -> Result<M, ReceiveError> {
    let mut file = File::from(file);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_SETUP as u64).read_to_end(&mut bytes)?;
    Ok(decode(&bytes)?)
}

/// Sends a message of any size, and file descriptors, to a process that may not be reading yet. Never waits.
///
/// At most [`MAX_FDS`](super::channel::MAX_FDS) - 1 file descriptors can go along.
///
/// # Errors
/// When no memory or file descriptor is left, the other end is closed, or the socket is full. It is not full if nothing
/// was sent before.
pub fn send<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(message);
    let file = sealed_memory(NAME, &bytes)?;
    let announcement = FileAnnouncement {
        bytes: bytes.len() as u64,
    };
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(descriptors);
    try_send_with(socket, &announcement, &all)
}

/// Waits for a message that was sent with [`send`]. Then [`Channel::take_descriptor`] returns the file descriptors that came
/// with it.
///
/// # Errors
/// When the other end is closed, or sent something else.
pub fn receive<M: DeserializeOwned>(channel: &mut Channel) -> Result<M, ReceiveError> {
    let FileAnnouncement { .. } = channel.receive()?;
    let missing = || io::Error::other("the descriptor of a message in memory is missing");
    read(channel.take_descriptor().ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{MAX_FDS, pair};
    use nix::sys::socket::{setsockopt, sockopt};

    #[test]
    fn a_message_of_any_size_is_sent_to_a_process_that_does_not_read() {
        let (ours, theirs) = pair().unwrap();
        // The smallest buffer that the kernel gives.
        setsockopt(&ours, sockopt::SndBuf, &1).unwrap();
        let text = "x".repeat(20 << 20);
        let (_reader, writer) = io::pipe().unwrap();
        let descriptors = vec![writer.as_fd(); MAX_FDS - 1];
        send(ours.as_fd(), &text, &descriptors).unwrap();
        let mut receiver = Channel::with_descriptors(theirs, 100);
        assert!(receive::<String>(&mut receiver).unwrap() == text);
        for number in 1..MAX_FDS {
            assert!(receiver.take_descriptor().is_some(), "descriptor {number}");
        }
        assert!(receiver.take_descriptor().is_none());
    }

    #[test]
    fn what_is_not_the_expected_message_is_refused() {
        let file = write(&"text").unwrap();
        assert!(matches!(read::<u8>(file.into()), Err(ReceiveError::Frame(_))));
        let (ours, theirs) = pair().unwrap();
        Channel::new(ours, 100)
            .send(&FileAnnouncement { bytes: 1 })
            .unwrap();
        let error = receive::<String>(&mut Channel::with_descriptors(theirs, 100)).unwrap_err();
        assert!(error.to_string().contains("descriptor"), "{error}");
    }
}
