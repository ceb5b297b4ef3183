//! Sources and destinations of a child's streams, and this process's ends of those that are pipes.
//!
//! [`stdin_copy`](super::stdin_copy) copies a source into the child's stdin; [`delivery`](super::delivery) writes the child's
//! output to its destinations.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::delivery::Outlet;
use super::stdin_copy::{StdinCopy, StdinSource};
use mpwasm_system::inherited::without_signals;

/// Connection of a child's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing: stdin is empty, and output is dropped.
    Null,
    /// The stream of this process. The child never has its descriptor: mpwasm copies the data, and reads ahead of the
    /// child by up to the size of a pipe.
    ///
    /// Children that inherit stdin at the same time share it, like programs in a shell: each piece goes to an arbitrary
    /// one of them. Data that was read ahead for a child that ends is lost to the others.
    Inherit,
    /// A pipe. Its other end is a field of the [`Child`](super::Child).
    Piped,
}

/// Source of a child's stdin. It is converted from [`Stdio`], from bytes or text, from a file (or anything else that can
/// be read like one), from the reading end of a pipe, or from a [`ChildStdout`].
///
/// The end of a pipe is passed to the child as it is. It is non-blocking from then on, and no other process should read
/// it.
#[derive(Debug)]
pub struct Input(InputKind);

#[derive(Debug)]
enum InputKind {
    Stdio(Stdio),
    Bytes(Vec<u8>),
    Pipe(PipeReader),
    File(File),
}

/// Destination of a child's stdout or stderr. It is converted from [`Stdio`], from a file, or from the writing end of a
/// pipe. It receives what the child wrote, byte for byte; output to a terminal is [escaped](mpwasm_types::escape).
#[derive(Debug)]
pub struct Sink(SinkKind);

#[derive(Debug)]
enum SinkKind {
    Stdio(Stdio),
    File(File),
}

impl From<Stdio> for Input {
    fn from(stdio: Stdio) -> Self {
        Self(InputKind::Stdio(stdio))
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self(InputKind::Bytes(bytes))
    }
}

impl From<&[u8]> for Input {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Input {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<PipeReader> for Input {
    fn from(pipe: PipeReader) -> Self {
        Self(InputKind::Pipe(pipe))
    }
}

impl From<ChildStdout> for Input {
    fn from(stdout: ChildStdout) -> Self {
        stdout.0.into()
    }
}

impl From<File> for Input {
    fn from(file: File) -> Self {
        Self(InputKind::File(file))
    }
}

impl From<Stdio> for Sink {
    fn from(stdio: Stdio) -> Self {
        Self(SinkKind::Stdio(stdio))
    }
}

impl From<File> for Sink {
    fn from(file: File) -> Self {
        Self(SinkKind::File(file))
    }
}

impl From<PipeWriter> for Sink {
    fn from(pipe: PipeWriter) -> Self {
        Self(SinkKind::File(OwnedFd::from(pipe).into()))
    }
}

impl Input {
    /// Opens the source: the child's end and, where needed, this process's end or copy.
    pub(super) fn open(self) -> io::Result<OpenStdin> {
        let fed = |source| -> io::Result<OpenStdin> {
            let (reader, writer) = io::pipe()?;
            let is_terminal = matches!(&source, StdinSource::Stream(file) if file.is_terminal());
            Ok(OpenStdin {
                pipe: Some(reader),
                parent_end: None,
                copy: StdinCopy::new(source, writer),
                is_terminal,
            })
        };
        match self.0 {
            InputKind::Stdio(Stdio::Null) => Ok(OpenStdin::default()),
            InputKind::Stdio(Stdio::Inherit) => {
                let stdin = io::stdin().as_fd().try_clone_to_owned()?;
                fed(StdinSource::Stream(stdin.into()))
            }
            InputKind::Stdio(Stdio::Piped) => {
                let (reader, writer) = io::pipe()?;
                Ok(OpenStdin {
                    pipe: Some(reader),
                    parent_end: Some(ChildStdin(writer)),
                    copy: StdinCopy::default(),
                    is_terminal: false,
                })
            }
            InputKind::Bytes(bytes) if bytes.is_empty() => Ok(OpenStdin::default()),
            InputKind::Bytes(bytes) => fed(StdinSource::Bytes(bytes)),
            InputKind::Pipe(pipe) => Ok(OpenStdin {
                pipe: Some(pipe),
                parent_end: None,
                copy: StdinCopy::default(),
                is_terminal: false,
            }),
            InputKind::File(file) => fed(StdinSource::Stream(file)),
        }
    }
}

/// A child's stdin, opened.
#[derive(Debug, Default)]
pub(super) struct OpenStdin {
    /// The reading end of the pipe, for the child.
    pub(super) pipe: Option<PipeReader>,
    /// The writing end for the caller, if stdin is piped.
    pub(super) parent_end: Option<ChildStdin>,
    /// The source that is copied into it.
    pub(super) copy: StdinCopy,
    /// Whether it comes from a terminal.
    pub(super) is_terminal: bool,
}

/// An opened destination, and this process's end if it is piped.
pub(super) struct OpenSink {
    pub(super) outlet: Outlet,
    pub(super) parent_end: Option<PipeReader>,
}

impl Sink {
    pub(super) fn open_stdout(self) -> io::Result<OpenSink> {
        self.open(io::stdout().as_fd())
    }

    pub(super) fn open_stderr(self) -> io::Result<OpenSink> {
        self.open(io::stderr().as_fd())
    }

    fn open(self, own: BorrowedFd<'_>) -> io::Result<OpenSink> {
        let file = match self.0 {
            SinkKind::Stdio(Stdio::Null) => {
                return Ok(OpenSink {
                    outlet: Outlet::null(),
                    parent_end: None,
                });
            }
            SinkKind::Stdio(Stdio::Piped) => {
                let (reader, writer) = io::pipe()?;
                return Ok(OpenSink {
                    outlet: Outlet::pipe(writer)?,
                    parent_end: Some(reader),
                });
            }
            SinkKind::Stdio(Stdio::Inherit) => own.try_clone_to_owned()?.into(),
            SinkKind::File(file) => file,
        };
        Ok(OpenSink {
            outlet: Outlet::shared(file),
            parent_end: None,
        })
    }
}

/// This process's ends of the pipes to a child.
#[derive(Debug)]
pub(super) struct ParentEnds {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// The writing end of a child's stdin. Dropping it closes the stdin.
///
/// A write blocks while the child does not read, and fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the child
/// has ended.
#[derive(Debug)]
pub struct ChildStdin(PipeWriter);

/// The reading end of a child's stdout. It ends when the child does. After it is dropped, the child's next write ends the child.
#[derive(Debug)]
pub struct ChildStdout(pub(super) PipeReader);

/// The reading end of a child's stderr. It ends when the child does. After it is dropped, further output is dropped.
#[derive(Debug)]
pub struct ChildStderr(pub(super) PipeReader);

impl Write for ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        without_signals(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for ChildStdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Implements reading and access to the descriptor.
macro_rules! readers {
    ($($name:ident),*) => {$(
        impl Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
    )*};
}

readers!(ChildStdout, ChildStderr);
