//! Talking to a child on three streams at once: what is written and read so far, over as many calls as it takes.

use mpwasm_system::clock;
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use super::stdio::{ChildStderr, ChildStdin, ChildStdout};
use crate::error::Error;
use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::{PIPE_PIECE, poll_until};
use mpwasm_types::time::Time;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub struct Communication {
    input: Vec<u8>,
    written: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Bytes that may still be kept.
    room: u64,
    truncated: bool,
}

impl Communication {
    /// One that keeps at most `max` bytes of what it reads.
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

    /// More to be written, if anything is.
    ///
    /// # Errors
    /// [`Error::BadSetting`] when there is no stdin (any more).
    pub fn add(&mut self, input: Vec<u8>, stdin: Option<&ChildStdin>) -> Result<(), Error> {
        if input.is_empty() {
            return Ok(());
        }
        if stdin.is_none() {
            let why = "there is input for a command whose stdin is not piped, or closed";
            return Err(Error::BadSetting(why.to_owned()));
        }
        self.input.drain(..self.written);
        self.written = 0;
        self.input.extend_from_slice(&input);
        Ok(())
    }

    /// Writes and reads until each of the three is at its end; then they are gone.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when they are not by then; [`Error::Io`].
    pub fn run(
        &mut self,
        stdin: &mut Option<ChildStdin>,
        stdout: &mut Option<ChildStdout>,
        stderr: &mut Option<ChildStderr>,
        until: Option<Instant>,
    ) -> Result<(), Error> {
        let mut piece = vec![0; PIECE];
        let mut passed = false;
        loop {
            if self.written == self.input.len() {
                *stdin = None;
            }
            if stdin.is_none() && stdout.is_none() && stderr.is_none() {
                return Ok(());
            }
            // Also while there is always something to be read.
            if passed && until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::TimedOut);
            }
            passed = true;
            let [to_write, to_read, to_read_too] = ready(stdin, stdout, stderr, until)?;
            if let Some(pipe) = stdin.as_mut().filter(|_| to_write) {
                let rest = &self.input[self.written..];
                match without_signals(|| pipe.write(&rest[..rest.len().min(PIPE_PIECE)])) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A child that reads no more does not want the rest.
                    Err(_) => self.written = self.input.len(),
                }
            }
            if let Some(pipe) = stdout.as_mut().filter(|_| to_read) {
                let count = read(pipe, &mut piece)?;
                if count == Some(0) {
                    *stdout = None;
                }
                let kept = self.keep(count);
                self.stdout.extend_from_slice(&piece[..kept]);
            }
            if let Some(pipe) = stderr.as_mut().filter(|_| to_read_too) {
                let count = read(pipe, &mut piece)?;
                if count == Some(0) {
                    *stderr = None;
                }
                let kept = self.keep(count);
                self.stderr.extend_from_slice(&piece[..kept]);
            }
        }
    }

    /// How many of the bytes that were read are kept.
    fn keep(&mut self, count: Option<usize>) -> usize {
        let count = count.unwrap_or(0);
        let kept = self.room.min(count as u64);
        self.room -= kept;
        self.truncated |= kept < count as u64;
        // At most `count`, which is a `usize`.
        kept as usize
    }

    /// What was read of stdout and of stderr, and whether there was more.
    pub fn take(&mut self) -> (Vec<u8>, Vec<u8>, bool) {
        (
            mem::take(&mut self.stdout),
            mem::take(&mut self.stderr),
            self.truncated,
        )
    }
}

/// Which of them can be written or read without a wait; waits until one can.
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

/// Reads from a pipe that is ready; `None` when it was not after all.
fn read(pipe: &mut impl Read, piece: &mut [u8]) -> Result<Option<usize>, Error> {
    match pipe.read(piece) {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
