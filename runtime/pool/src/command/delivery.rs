//! Delivers a child's output to its destinations. It is the reporter of the child's pool.
//!
//! While the output is not read, the receiver thread waits here, and eventually the child blocks, too: that is the
//! backpressure. The wait ends when the child is killed, and a short time after its deadline.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, send};

use super::child_state::{ChildState, OutputCut};
use super::log_thread::LogThread;
use super::terminal_escape::TerminalEscape;
use crate::report::Reporter;
use crate::report::event::{LogLine, PrintedOutput};
use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::{PIPE_PIECE, poll_until, set_nonblocking};
use mpwasm_types::outcome::{Outcome, Stream};

/// Destination of one stream.
#[derive(Debug)]
pub struct Outlet {
    /// `None` when the output is dropped.
    to: Option<OutletFile>,
}

#[derive(Debug)]
struct OutletFile {
    file: File,
    mode: WriteMode,
    terminal_escape: Option<TerminalEscape>,
}

/// How a write avoids blocking on a slow reader.
#[derive(Clone, Copy, Debug)]
enum WriteMode {
    /// A regular file: a write does not wait for a reader.
    Blocking,
    /// The descriptor is non-blocking: a write takes what there is room for.
    Nonblocking,
    /// A blocking descriptor: after a poll, at most this many bytes are written, for which there is room unless others write too.
    Pieces(usize),
    /// A socket: each write passes `MSG_DONTWAIT`, as others share the descriptor's flags.
    Socket,
}

impl Outlet {
    /// Creates an outlet that drops all output.
    pub fn null() -> Self {
        Self { to: None }
    }

    /// Creates an outlet into a pipe with no other writers.
    pub fn pipe(pipe: PipeWriter) -> io::Result<Self> {
        set_nonblocking(pipe.as_fd())?;
        Ok(Self {
            to: Some(OutletFile {
                file: OwnedFd::from(pipe).into(),
                mode: WriteMode::Nonblocking,
                terminal_escape: None,
            }),
        })
    }

    /// Creates an outlet into a file that other processes may write to as well, and whose flags they share.
    pub fn shared(file: File) -> Self {
        let kind = file.metadata().map(|metadata| metadata.file_type());
        let terminal_escape = file.is_terminal().then(TerminalEscape::default);
        let (file, mode) = match kind {
            Ok(kind) if kind.is_socket() => (file, WriteMode::Socket),
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => match reopen_nonblocking(&file) {
                Some(own) => (own, WriteMode::Nonblocking),
                // A terminal polls as writable with room for one byte; a longer write could block.
                None if terminal_escape.is_some() => (file, WriteMode::Pieces(1)),
                None => (file, WriteMode::Pieces(PIPE_PIECE)),
            },
            _ => (file, WriteMode::Blocking),
        };
        Self {
            to: Some(OutletFile {
                file,
                mode,
                terminal_escape,
            }),
        }
    }

    /// Returns whether the destination is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.to
            .as_ref()
            .is_some_and(|target| target.terminal_escape.is_some())
    }

    fn write(&mut self, bytes: &[u8], state: &ChildState) -> Result<(), WriteError> {
        let Some(target) = &mut self.to else {
            return Ok(());
        };
        let result = match &mut target.terminal_escape {
            None => target.write(bytes, state),
            Some(terminal_escape) => {
                let shown = terminal_escape.escape(bytes);
                target.write(&shown, state)
            }
        };
        if result.is_err() {
            self.to = None;
        }
        result
    }

    /// Ends the stream. A pipe is closed.
    fn finish(&mut self, state: &ChildState) -> Result<(), WriteError> {
        let Some(mut target) = self.to.take() else {
            return Ok(());
        };
        match target.terminal_escape.as_mut().map(TerminalEscape::finish) {
            Some(rest) => target.write(&rest, state),
            None => Ok(()),
        }
    }
}

/// Opens the same pipe or terminal again, non-blocking and with flags of its own. Returns `None` when that fails, as for one of
/// another user, and for a descriptor that is not open for writing.
fn reopen_nonblocking(file: &File) -> Option<File> {
    let access = fcntl(file, FcntlArg::F_GETFL).ok()? & OFlag::O_ACCMODE.bits();
    if access == OFlag::O_RDONLY.bits() {
        return None;
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    File::options()
        .write(true)
        .custom_flags(flags.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .ok()
}

/// Why bytes were not delivered.
enum WriteError {
    /// The child was killed.
    Killed,
    /// The child's deadline has passed, and the bytes were not read.
    Late,
    /// A system call failed.
    Failed(io::Error),
}

impl OutletFile {
    fn write(&mut self, mut bytes: &[u8], state: &ChildState) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            if !matches!(self.mode, WriteMode::Blocking) {
                let changes = state.pause_changes();
                let mut fds = [
                    PollFd::new(self.file.as_fd(), PollFlags::POLLOUT),
                    PollFd::new(state.killed().as_fd(), PollFlags::POLLIN),
                ];
                poll_until(&mut fds, state.write_deadline()).map_err(WriteError::Failed)?;
                match fds.map(|fd| fd.any() == Some(true)) {
                    // Bytes that fit are written even after a kill.
                    [true, _] => {}
                    [false, true] => return Err(WriteError::Killed),
                    [false, false] if state.pause_changes() != changes => continue,
                    [false, false] => return Err(WriteError::Late),
                }
            }
            match self.write_some(bytes) {
                Ok(0) => return Err(WriteError::Failed(ErrorKind::WriteZero.into())),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(WriteError::Failed(error)),
            }
        }
        Ok(())
    }

    /// Writes what fits without blocking.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.mode {
            WriteMode::Blocking | WriteMode::Nonblocking => without_signals(|| self.file.write(bytes)),
            WriteMode::Pieces(most) => without_signals(|| self.file.write(&bytes[..bytes.len().min(most)])),
            WriteMode::Socket => {
                // A datagram socket takes each piece as one datagram.
                let piece = &bytes[..bytes.len().min(PIPE_PIECE)];
                let how = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(self.file.as_raw_fd(), piece, how)?)
            }
        }
    }
}

/// Delivers both streams of a child, and logs its lines.
#[derive(Debug)]
pub struct Delivery {
    stdout: Outlet,
    stderr: Outlet,
    log_thread: LogThread,
    state: Arc<ChildState>,
}

impl Delivery {
    /// Creates the reporter of a child with these destinations.
    pub fn new(stdout: Outlet, stderr: Outlet, state: &Arc<ChildState>) -> Self {
        Self {
            stdout,
            stderr,
            log_thread: LogThread::default(),
            state: Arc::clone(state),
        }
    }

    /// Handles the result of a write.
    ///
    /// # Errors
    /// When the failure ends the child. Further output is dropped then.
    fn handle_result(&mut self, stream: Stream, result: Result<(), WriteError>) -> io::Result<()> {
        let (cut, error) = match result {
            Ok(()) => return Ok(()),
            Err(WriteError::Killed) => {
                self.state.note_lost_output();
                return Ok(());
            }
            // A closed stderr does not end the child.
            Err(WriteError::Failed(_)) if stream == Stream::Stderr => return Ok(()),
            Err(WriteError::Late) => (OutputCut::Late, ErrorKind::TimedOut.into()),
            Err(WriteError::Failed(error)) => {
                let kind = error.kind();
                (OutputCut::Unwritten(Arc::new(error)), kind.into())
            }
        };
        self.state.cut_output(cut);
        (self.stdout, self.stderr) = (Outlet::null(), Outlet::null());
        Err(error)
    }
}

impl Reporter for Delivery {
    fn outcome(&mut self, _: &Outcome) -> io::Result<()> {
        self.log_thread.finish();
        let result = self.stderr.finish(&self.state);
        self.handle_result(Stream::Stderr, result)?;
        let result = self.stdout.finish(&self.state);
        self.handle_result(Stream::Stdout, result)
    }

    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        let outlet = match output.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let result = outlet.write(output.bytes, &self.state);
        self.handle_result(output.stream, result)
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        self.log_thread.log(line);
        Ok(())
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.log_thread.warn(text);
        Ok(())
    }
}
