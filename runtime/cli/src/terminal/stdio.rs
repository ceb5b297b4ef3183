//! Unbuffered access to the standard streams, and mpwasm's own messages on stderr.
//!
//! Another process that shares a descriptor may have made it non-blocking. Reads and writes then wait until it is ready.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::thread;

use anyhow::Context;
use mpwasm::escape::{escape, escape_bytes};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::process::exit::{ExitError, OrExit};
use crate::terminal::escape::escape_json;
use crate::terminal::progress::{self, AboveBar};

/// Error for a descriptor that was closed at the start, or is open for reading only.
pub const NOT_OPEN: &str = "it is closed, or not open for writing";

/// An unbuffered file, pipe or terminal whose reads and writes block.
pub struct BlockingFile(File);

impl BlockingFile {
    /// Duplicates standard input.
    pub fn stdin() -> io::Result<Self> {
        Self::duplicate(io::stdin().as_fd())
    }

    /// Duplicates standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::duplicate(io::stdout().as_fd())
    }

    /// Duplicates standard error.
    pub fn stderr() -> io::Result<Self> {
        Self::duplicate(io::stderr().as_fd())
    }

    fn duplicate(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(File::from(fd.try_clone_to_owned()?)))
    }

    /// Returns whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Returns whether it is open for writing.
    pub fn is_writable(&self) -> bool {
        // If the flags can't be read, the first write fails instead.
        fcntl(&self.0, FcntlArg::F_GETFL).map_or(true, |flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
    }

    /// Returns whether it is a pipe or a socket, whose reader can close it.
    pub fn has_other_end(&self) -> bool {
        self.0.metadata().is_ok_and(|metadata| {
            let kind = metadata.file_type();
            kind.is_fifo() || kind.is_socket()
        })
    }

    /// Duplicates the open file.
    pub fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// Returns a writer to it. On a terminal the writer keeps the progress bar intact.
    pub fn writer(self) -> Box<dyn Write + Send> {
        if self.is_terminal() {
            Box::new(AboveBar::new(self))
        } else {
            Box::new(self)
        }
    }

    /// Returns whether both refer to the same file, pipe or terminal.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self.0.metadata(), other.0.metadata()) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }

    /// Calls `transfer` again whenever the descriptor becomes ready, until it no longer returns `WouldBlock`.
    fn when_ready(
        &self,
        ready: PollFlags,
        mut transfer: impl FnMut(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match transfer(&self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // After EINTR, the transfer is tried once more.
                    let _ = poll(&mut [PollFd::new(self.0.as_fd(), ready)], PollTimeout::NONE);
                }
                result => return result,
            }
        }
    }
}

impl From<File> for BlockingFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl AsFd for BlockingFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for BlockingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_ready(PollFlags::POLLIN, |mut file| file.read(buffer))
    }
}

impl Write for BlockingFile {
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

/// A writer that drops what it can't write, for stderr: a closed stderr must not end a run.
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

/// Returns whether text for people may have colours on a terminal: unless `NO_COLOR` is set.
pub fn permits_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes the result of a sub-command to stdout: its bytes, or escaped on a terminal. A closed pipe is no error.
pub fn write_result(bytes: &[u8]) -> Result<(), ExitError> {
    let write = |mut stdout: BlockingFile| match stdout.is_terminal() {
        true => stdout.write_all(&escape_bytes(bytes)),
        false => stdout.write_all(bytes),
    };
    match BlockingFile::stdout().and_then(write) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to stdout").or_internal(),
    }
}

/// Prints `mpwasm: text` on stderr, escaped. A failure to write is ignored.
pub fn print_message(text: &str) {
    if let Ok(stderr) = BlockingFile::stderr() {
        let _ = AboveBar::new(stderr).write_all(&message_line(text));
    }
}

/// Returns the line `mpwasm: text`, escaped.
pub fn message_line(text: &str) -> Vec<u8> {
    format!("mpwasm: {}\n", escape(text)).into_bytes()
}

/// Prints one line of JSON on stderr, escaped, as parts of it may come from guests.
pub fn print_json(json: &str) {
    if let Ok(mut stderr) = BlockingFile::stderr() {
        let _ = stderr.write_all(format!("{}\n", escape_json(json)).as_bytes());
    }
}

/// Like [`print_message`], but drops the message instead of waiting for the reader of stderr. For the thread that handles
/// signals.
pub fn try_print_message(text: &str) {
    if progress::is_shown() {
        // Drawing the bar can block on the terminal.
        let text = text.to_owned();
        thread::spawn(move || print_message(&text));
        return;
    }
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|n| n > 0) {
        print_message(text);
    }
}
