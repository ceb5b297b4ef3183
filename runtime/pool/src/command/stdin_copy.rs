//! Copies a source of this process into the pipe that is a child's stdin, on a thread of its own.
//!
//! The thread ends with the source or with the child, even while it waits for the source. It reads ahead at most one
//! piece.

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use nix::poll::{PollFd, PollFlags};

use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::{PIPE_PIECE, poll_until};
use mpwasm_types::time::Time;

/// Bytes per copy: a quarter of a pipe, so that little is read ahead.
const PIECE: usize = 16 << 10;

/// A source of stdin.
#[derive(Debug)]
pub enum StdinSource {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file that is read until its end.
    Stream(File),
}

/// A source and the pipe into which it is copied. By default there is nothing to copy.
#[derive(Debug, Default)]
pub struct StdinCopy(Option<(StdinSource, PipeWriter)>);

impl StdinCopy {
    /// Creates a copy that has not started.
    pub fn new(source: StdinSource, pipe: PipeWriter) -> Self {
        Self(Some((source, pipe)))
    }

    /// Starts to copy. The thread ends soon after the child.
    ///
    /// # Errors
    /// When the system is out of threads.
    pub fn start(self) -> io::Result<()> {
        let Some((source, mut pipe)) = self.0 else {
            return Ok(());
        };
        // A write error means that the child no longer reads.
        if let StdinSource::Bytes(bytes) = &source
            && bytes.len() <= PIPE_PIECE
        {
            let _ = without_signals(|| pipe.write_all(bytes));
            return Ok(());
        }
        let feed = move || {
            without_signals(|| match source {
                StdinSource::Bytes(bytes) => drop(pipe.write_all(&bytes)),
                StdinSource::Stream(source) => copy(source, pipe),
            });
        };
        let thread = thread::Builder::new().name("mpwasm-stdin".to_owned());
        thread.spawn(feed).map(drop)
    }
}

/// Copies until the source ends or the pipe's reader is gone. Blocks while the pipe is full.
fn copy(mut source: File, mut pipe: PipeWriter) {
    let mut piece = vec![0; PIECE];
    loop {
        // POLLERR reports a pipe without readers, whatever is polled for.
        let mut fds = [
            PollFd::new(source.as_fd(), PollFlags::POLLIN),
            PollFd::new(pipe.as_fd(), PollFlags::empty()),
        ];
        if poll_until(&mut fds, Time::NEVER).is_err() || fds[1].any() == Some(true) {
            return;
        }
        match source.read(&mut piece) {
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // A read error ends the child's stdin.
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if pipe.write_all(&piece[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_silent_is_left_when_the_child_is_gone_and_nothing_of_it_is_taken() {
        let (mut source, mut source_writer) = io::pipe().unwrap();
        let (child, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(source.try_clone().unwrap()));
        let copies = thread::spawn(move || copy(file, pipe));
        drop(child);
        copies.join().unwrap();
        source_writer.write_all(b"x").unwrap();
        drop(source_writer);
        let mut left = Vec::new();
        source.read_to_end(&mut left).unwrap();
        assert_eq!(left, b"x");
    }

    #[test]
    fn all_bytes_arrive_and_then_the_end() {
        for count in [1, PIPE_PIECE, 1 << 20] {
            let (mut child, pipe) = io::pipe().unwrap();
            let bytes: Vec<u8> = (0..count).map(|n| n as u8).collect();
            StdinCopy::new(StdinSource::Bytes(bytes.clone()), pipe)
                .start()
                .unwrap();
            let mut read = Vec::new();
            child.read_to_end(&mut read).unwrap();
            assert!(read == bytes);
        }
    }
}
