//! Writes to and reads from a child's three streams at once. Its state survives a timeout, so that the call can be repeated.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use super::stdio::{ChildStderr, ChildStdin, ChildStdout};
use crate::error::Error;
use crate::invalid_setting::InvalidSetting;
use mpwasm_system::clock;
use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::{PIPE_PIECE, poll_until};
use mpwasm_types::time::Time;

/// Bytes per read: the default capacity of a pipe.
const PIECE: usize = 64 << 10;

/// Input that was not written yet and output that was read so far.
#[derive(Debug)]
pub struct Communication {
    input: Vec<u8>,
    written: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Number of bytes that may still be stored.
    room: u64,
    truncated: bool,
}

impl Communication {
    /// Creates a state that stores at most `max` bytes of output.
    pub fn new(max: u64) -> Self {
        Self {
            input: Vec::new(),
            written: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            room: max,
            truncated: false,
        }
    }

    /// Adds input.
    ///
    /// # Errors
    /// [`Error::BadSetting`] when there is no stdin, or when it was closed.
    pub fn add(&mut self, input: Vec<u8>, stdin: Option<&ChildStdin>) -> Result<(), Error> {
        if input.is_empty() {
            return Ok(());
        }
        if stdin.is_none() {
            return Err(InvalidSetting::NoStdin.into());
        }
        self.input.drain(..self.written);
        self.written = 0;
        self.input.extend_from_slice(&input);
        Ok(())
    }

    /// Writes and reads until each of the three streams is at its end and closed.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when the timeout passes first; [`Error::Io`].
    pub fn run(
        &mut self,
        stdin: &mut Option<ChildStdin>,
        stdout: &mut Option<ChildStdout>,
        stderr: &mut Option<ChildStderr>,
        until: Option<Instant>,
    ) -> Result<(), Error> {
        let mut piece = vec![0; PIECE];
        let mut has_polled = false;
        loop {
            if self.written == self.input.len() {
                *stdin = None;
            }
            if stdin.is_none() && stdout.is_none() && stderr.is_none() {
                return Ok(());
            }
            // Checked here as well, as a child may write without pause.
            if has_polled && until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::TimedOut);
            }
            has_polled = true;
            let [stdin_ready, stdout_ready, stderr_ready] = ready(stdin, stdout, stderr, until)?;
            if let Some(pipe) = stdin.as_mut().filter(|_| stdin_ready) {
                let rest = &self.input[self.written..];
                match without_signals(|| pipe.write(&rest[..rest.len().min(PIPE_PIECE)])) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // The child has closed its stdin: drop the rest.
                    Err(_) => self.written = self.input.len(),
                }
            }
            if let Some(pipe) = stdout.as_mut().filter(|_| stdout_ready) {
                let count = read(pipe, &mut piece)?;
                if count == Some(0) {
                    *stdout = None;
                }
                let kept = self.keep(count);
                self.stdout.extend_from_slice(&piece[..kept]);
            }
            if let Some(pipe) = stderr.as_mut().filter(|_| stderr_ready) {
                let count = read(pipe, &mut piece)?;
                if count == Some(0) {
                    *stderr = None;
                }
                let kept = self.keep(count);
                self.stderr.extend_from_slice(&piece[..kept]);
            }
        }
    }

    /// Returns how many of the bytes read are stored.
    fn keep(&mut self, count: Option<usize>) -> usize {
        let count = count.unwrap_or(0);
        let kept = self.room.min(count as u64);
        self.room -= kept;
        self.truncated |= kept < count as u64;
        // At most `count`, which is a `usize`.
        kept as usize
    }

    /// Takes the stored stdout and stderr, and returns whether output was dropped.
    pub fn take(&mut self) -> (Vec<u8>, Vec<u8>, bool) {
        (
            mem::take(&mut self.stdout),
            mem::take(&mut self.stderr),
            self.truncated,
        )
    }
}

/// Waits until a stream is ready. Returns which of them are.
fn ready(
    stdin: &Option<ChildStdin>,
    stdout: &Option<ChildStdout>,
    stderr: &Option<ChildStderr>,
    until: Option<Instant>,
) -> Result<[bool; 3], Error> {
    let until = until.map_or(Time::NEVER, |until| {
        clock::now() + until.saturating_duration_since(Instant::now())
    });
    let streams = [
        stdin.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::POLLOUT)),
        stdout.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::POLLIN)),
        stderr.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::POLLIN)),
    ];
    let mut fds: Vec<_> = streams
        .iter()
        .flatten()
        .map(|&(fd, what)| PollFd::new(fd, what))
        .collect();
    poll_until(&mut fds, until)?;
    let mut polled = fds.iter().map(|fd| fd.any() == Some(true));
    let ready = streams.map(|stream| stream.is_some() && polled.next() == Some(true));
    if ready == [false; 3] {
        return Err(Error::TimedOut);
    }
    Ok(ready)
}

/// Reads from a pipe. Returns `None` when it was not ready after all.
fn read(pipe: &mut impl Read, piece: &mut [u8]) -> Result<Option<usize>, Error> {
    match pipe.read(piece) {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
