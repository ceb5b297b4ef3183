//! Sources and destinations of a child's streams, and this process's ends of those that are pipes.
//!
//! [`stdin_copy`](super::stdin_copy) copies a source into the child's stdin; [`delivery`](super::delivery) writes the child's
//! output to its destinations.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::delivery::Outlet;
use super::stdin_copy::{OpenStdin, StdinCopy, StdinSource};
use mpwasm_system::inherited::without_signals;

/// Connection of a child's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing: stdin is at its end at once, what is written is dropped.
    Null,
    /// This process's own. The child never holds it: mpwasm copies, and reads ahead of the child by up to a pipe's size.
    ///
    /// Children that inherit stdin at the same time share it, as programs in a shell do: each piece of it goes to one of
    /// them, and which one is left to chance. What was read ahead for one that ends is lost to the others.
    Inherit,
    /// A pipe, whose other end is in the [`Child`](super::Child).
    Piped,
}

/// Source of a child's stdin. It is made `from` [`Stdio`], bytes or text, a file (or anything else that is read like one), the
/// reading end of a pipe, or a [`ChildStdout`].
///
/// The end of a pipe is handed over as it is: nobody else should read it, and it is non-blocking from then on.
#[derive(Debug)]
pub struct Input(InputKind);

#[derive(Debug)]
enum InputKind {
    Stdio(Stdio),
    Bytes(Vec<u8>),
    Pipe(PipeReader),
    File(File),
}

/// Where a child's stdout or stderr goes. It is made `from` [`Stdio`], a file, or the writing end of a pipe. All of them get
/// what the child wrote, byte for byte, but a terminal, which gets it [escaped](mpwasm_types::escape).
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

/// The writing end of a child's stdin. Dropping it is the end of that stdin.
///
/// A write waits while the child does not read, and fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when it has
/// ended.
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

/// Reading, and the descriptor.
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
