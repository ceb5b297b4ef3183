//! Where a child's streams come from and go to, and this process's ends of those that are pipes.
//!
//! How bytes get from a source into the child's stdin is [`feeding`](super::feeding), and from the child to where they
//! shall go [`delivery`](super::delivery).

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::delivery::Outlet;
use super::feeding::{Feed, OpenInput, Source};
use mpwasm_system::inherited::shielded;

/// What a stream of a child is connected to.
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

/// What a child reads. It is made `from` [`Stdio`], bytes or text, a file (or anything else that is read like one), the
/// reading end of a pipe, or a [`ChildStdout`].
///
/// The end of a pipe is handed over as it is: nobody else should read it, and it is non-blocking from then on.
#[derive(Debug)]
pub struct Input(Origin);

#[derive(Debug)]
enum Origin {
    Stdio(Stdio),
    Bytes(Vec<u8>),
    Pipe(PipeReader),
    File(File),
}

/// Where a child's stdout or stderr goes. It is made `from` [`Stdio`], a file, or the writing end of a pipe. All of them get
/// what the child wrote, byte for byte, but a terminal, which gets it [escaped](mpwasm_types::escape).
#[derive(Debug)]
pub struct Sink(Destination);

#[derive(Debug)]
enum Destination {
    Stdio(Stdio),
    File(File),
}

impl From<Stdio> for Input {
    fn from(stdio: Stdio) -> Self {
        Self(Origin::Stdio(stdio))
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Origin::Bytes(bytes))
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
        Self(Origin::Pipe(pipe))
    }
}

impl From<ChildStdout> for Input {
    fn from(stdout: ChildStdout) -> Self {
        stdout.0.into()
    }
}

impl From<File> for Input {
    fn from(file: File) -> Self {
        Self(Origin::File(file))
    }
}

impl From<Stdio> for Sink {
    fn from(stdio: Stdio) -> Self {
        Self(Destination::Stdio(stdio))
    }
}

impl From<File> for Sink {
    fn from(file: File) -> Self {
        Self(Destination::File(file))
    }
}

impl From<PipeWriter> for Sink {
    fn from(pipe: PipeWriter) -> Self {
        Self(Destination::File(OwnedFd::from(pipe).into()))
    }
}

impl Input {
    /// Opens it: what the child gets, and what this process has to do with it.
    pub(super) fn open(self) -> io::Result<OpenInput> {
        let fed = |source| -> io::Result<OpenInput> {
            let (reader, writer) = io::pipe()?;
            let is_terminal = matches!(&source, Source::Stream(file) if file.is_terminal());
            Ok(OpenInput {
                pipe: Some(reader),
                ours: None,
                feed: Feed::new(source, writer),
                is_terminal,
            })
        };
        match self.0 {
            Origin::Stdio(Stdio::Null) => Ok(OpenInput::default()),
            Origin::Stdio(Stdio::Inherit) => {
                let stdin = io::stdin().as_fd().try_clone_to_owned()?;
                fed(Source::Stream(stdin.into()))
            }
            Origin::Stdio(Stdio::Piped) => {
                let (reader, writer) = io::pipe()?;
                Ok(OpenInput {
                    pipe: Some(reader),
                    ours: Some(ChildStdin(writer)),
                    feed: Feed::default(),
                    is_terminal: false,
                })
            }
            Origin::Bytes(bytes) if bytes.is_empty() => Ok(OpenInput::default()),
            Origin::Bytes(bytes) => fed(Source::Bytes(bytes)),
            Origin::Pipe(pipe) => Ok(OpenInput {
                pipe: Some(pipe),
                ours: None,
                feed: Feed::default(),
                is_terminal: false,
            }),
            Origin::File(file) => fed(Source::Stream(file)),
        }
    }
}

/// A stream of output, ready to be written, and this process's end of it if it is a pipe to here.
pub(super) struct OpenSink {
    pub(super) outlet: Outlet,
    pub(super) ours: Option<PipeReader>,
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
            Destination::Stdio(Stdio::Null) => {
                return Ok(OpenSink {
                    outlet: Outlet::null(),
                    ours: None,
                });
            }
            Destination::Stdio(Stdio::Piped) => {
                let (reader, writer) = io::pipe()?;
                return Ok(OpenSink {
                    outlet: Outlet::pipe(writer)?,
                    ours: Some(reader),
                });
            }
            Destination::Stdio(Stdio::Inherit) => own.try_clone_to_owned()?.into(),
            Destination::File(file) => file,
        };
        Ok(OpenSink {
            outlet: Outlet::shared(file),
            ours: None,
        })
    }
}

/// This process's ends of the pipes to a child.
#[derive(Debug)]
pub(super) struct Opened {
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

/// The reading end of a child's stdout. It ends when the child does. Who drops it ends the child with its next write.
#[derive(Debug)]
pub struct ChildStdout(pub(super) PipeReader);

/// The reading end of a child's stderr. It ends when the child does. What nobody reads any more is dropped.
#[derive(Debug)]
pub struct ChildStderr(pub(super) PipeReader);

impl Write for ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        shielded(|| self.0.write(bytes))
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
