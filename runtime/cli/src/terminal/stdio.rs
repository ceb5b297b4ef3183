//! The three standard descriptors, without the buffers that Rust's own handles put around them, and mpwasm's own
//! lines on stderr.
//!
//! A descriptor that somebody else made non-blocking (they share it with us) is waited for, as if it blocked.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::thread;

use anyhow::Context;
use mpwasm::escape::{escape, escape_bytes};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process::exit::{Failure, OrExit};
use crate::run::output::records::escape_json;
use crate::terminal::progress::{self, AboveBar};

/// Why nothing can be written to a descriptor that was closed at the start, or is open for reading only.
pub const NOT_OPEN: &str = "it is closed, or not open for writing";

/// A file, pipe or terminal that is read and written without a buffer, and always blocks.
pub struct Descriptor(File);

impl Descriptor {
    /// A duplicate of standard input.
    pub fn stdin() -> io::Result<Self> {
        Self::duplicate(io::stdin().as_fd())
    }

    /// A duplicate of standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::duplicate(io::stdout().as_fd())
    }

    /// A duplicate of standard error.
    pub fn stderr() -> io::Result<Self> {
        Self::duplicate(io::stderr().as_fd())
    }

    fn duplicate(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(File::from(fd.try_clone_to_owned()?)))
    }

    /// Whether a terminal interprets what is written here.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Whether it is open for writing.
    pub fn is_writable(&self) -> bool {
        // Of a descriptor that can't be asked, the first write tells.
        fcntl(&self.0, FcntlArg::F_GETFL).map_or(true, |flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
    }

    /// Whether it leads to somebody who can go away: through a pipe or a socket.
    pub fn has_other_end(&self) -> bool {
        self.0.metadata().is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_socket()
        })
    }

    /// A second handle of the open file.
    pub fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// What writes there, and lets a bar on a terminal be.
    pub fn writer(self) -> Box<dyn Write + Send> {
        if self.is_terminal() {
            Box::new(AboveBar::new(self))
        } else {
            Box::new(self)
        }
    }

    /// Whether both lead to the same file, pipe or terminal.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self.0.metadata(), other.0.metadata()) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }

    /// Repeats `transfer` until the descriptor is ready for it.
    fn when_ready(
        &self,
        ready: PollFlags,
        mut transfer: impl FnMut(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match transfer(&self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // An interrupted wait only leads to one more attempt.
                    let _ = poll(&mut [PollFd::new(self.0.as_fd(), ready)], PollTimeout::NONE);
                }
                result => return result,
            }
        }
    }
}

impl From<File> for Descriptor {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Descriptor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::POLLIN, |mut file| file.read(buffer))
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::POLLOUT, |mut file| file.write(bytes))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EBADF) => io::Error::other(NOT_OPEN),
                _ => error,
            })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer whose failures are nobody's concern: what cannot be written is dropped. For stderr, which nobody has to
/// read.
pub struct BestEffort<W>(pub W);

impl<W: Write> Write for BestEffort<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Ok(0) | Err(_) => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what a sub-command was asked for to stdout: byte for byte, but escaped on a terminal. A reader that went away is
/// no failure.
pub fn answer(bytes: &[u8]) -> Result<(), Failure> {
    let write = |mut stdout: Descriptor| match stdout.is_terminal() {
        true => stdout.write_all(&escape_bytes(bytes)),
        false => stdout.write_all(bytes),
    };
    match Descriptor::stdout().and_then(write) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout").or_internal(),
    }
}

/// One line of mpwasm's own on stderr: `mpwasm: text`, made inert. A stderr that cannot be written is no error.
pub fn say(text: &str) {
    if let Ok(stderr) = Descriptor::stderr() {
        let _ = AboveBar::new(stderr).write_all(&own_line(text));
    }
}

/// A line of mpwasm's own: `mpwasm: text`, made inert.
pub fn own_line(text: &str) -> Vec<u8> {
    format!("mpwasm: {}\n", escape(text)).into_bytes()
}

/// One line of JSON on stderr, for programs; guests may have written of it.
pub fn say_json(json: &str) {
    if let Ok(mut stderr) = Descriptor::stderr() {
        let _ = stderr.write_all(format!("{}\n", escape_json(json)).as_bytes());
    }
}

/// As [`say`], but says nothing where it would have to wait for a reader of stderr: for the thread that must go on
/// answering signals.
pub fn say_without_waiting(text: &str) {
    if progress::is_shown() {
        // Whoever draws the bar may wait for the terminal.
        let text = text.to_owned();
        thread::spawn(move || say(&text));
        return;
    }
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|n| n > 0) {
        say(text);
    }
}
