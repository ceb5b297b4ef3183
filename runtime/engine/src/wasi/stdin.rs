//! A command's stdin: the stdin of its task, followed by a pipe, if there is one. For other guests it is empty.
//!
//! A read blocks the thread that runs the guest until there is something to read, or until the call's deadline.

use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use nix::errno::Errno;
use nix::poll::PollFlags;
use tokio::io::{AsyncRead, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::deadline::{Deadline, InterruptCause};
use crate::failure::StopReason;
use mpwasm_types::time::Time;

/// Largest number of bytes read from the pipe at once: 64 KiB, its usual capacity.
const PIECE: usize = 64 << 10;

/// The stdin of one call at a time, shared with the stream inside the WASI context.
#[derive(Debug)]
pub(crate) struct Stdin {
    deadline: Arc<Deadline>,
    pipe: OnceLock<OwnedFd>,
    left: Mutex<Unread>,
}

/// The part of stdin that the running call has not read.
#[derive(Debug, Default)]
struct Unread {
    own: Bytes,
    /// Whether the call may also read the pipe, which has not ended yet.
    pipe: bool,
}

/// What a read would return at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// At least this number of bytes.
    Bytes(u64),
    /// The end.
    End,
}

impl Stdin {
    pub(crate) fn new(deadline: Arc<Deadline>) -> Self {
        Self {
            deadline,
            pipe: OnceLock::new(),
            left: Mutex::default(),
        }
    }

    /// Sets the pipe that commands read. It must be non-blocking, and the deadline must allow waits.
    pub(crate) fn connect(&self, pipe: OwnedFd) {
        let _ = self.pipe.set(pipe); // set once per process
    }

    /// Opens stdin for a command whose task has the stdin `own`.
    pub(crate) fn open(&self, own: &[u8]) {
        *self.left() = Unread {
            own: Bytes::copy_from_slice(own),
            pipe: self.pipe.get().is_some(),
        };
    }

    /// Closes stdin, which is empty until it is opened again.
    pub(crate) fn close(&self) {
        *self.left() = Unread::default();
    }

    /// Reads at most `size` bytes. Waits for the first of them. Returns none at the end.
    ///
    /// # Errors
    /// Returns an error if the deadline passes meanwhile, or the call is cancelled.
    fn take(&self, size: usize) -> Result<Bytes, InterruptCause> {
        let mut left = self.left();
        if size == 0 || !left.own.is_empty() || !left.pipe {
            let size = size.min(left.own.len());
            return Ok(left.own.split_to(size));
        }
        let pipe = self.pipe.get().expect("it was there when the call began");
        let mut piece = vec![0; size.min(PIECE)];
        loop {
            self.deadline.wait_readable(pipe.as_fd(), Time::NEVER)?;
            match nix::unistd::read(pipe, &mut piece) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // For the guest, a pipe that cannot be read is at its end.
                Ok(0) | Err(_) => {
                    left.pipe = false;
                    return Ok(Bytes::new());
                }
                Ok(count) => {
                    piece.truncate(count);
                    return Ok(piece.into());
                }
            }
        }
    }

    /// Waits until there is something to read or the end is reached, but not past `t`. Returns `None` if neither is the case.
    ///
    /// # Errors
    /// Returns an error if the deadline passes meanwhile, or the call is cancelled.
    pub(crate) fn wait_until(&self, t: Time) -> Result<Option<Readiness>, InterruptCause> {
        let left = self.left();
        if left.own.is_empty() && left.pipe {
            let pipe = self.pipe.get().expect("it was there when the call began");
            let found = self.deadline.wait_readable(pipe.as_fd(), t)?;
            return Ok(match found {
                found if found.contains(PollFlags::POLLIN) => Some(Readiness::Bytes(1)),
                found if found.is_empty() => None,
                _ => Some(Readiness::End),
            });
        }
        if let Some(interrupt) = self.deadline.interrupted() {
            return Err(interrupt);
        }
        Ok(Some(match left.own.len() {
            0 => Readiness::End,
            count => Readiness::Bytes(count as u64),
        }))
    }

    fn left(&self) -> MutexGuard<'_, Unread> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stdin, for wasmtime-wasi. It is always ready, since a read blocks by itself.
#[derive(Clone)]
pub(crate) struct StdinReader {
    pub(crate) stdin: Arc<Stdin>,
    /// Whether stdin is a terminal for the guest.
    pub(crate) is_terminal: bool,
}

impl IsTerminal for StdinReader {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl StdinStream for StdinReader {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

impl Pollable for StdinReader {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl InputStream for StdinReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match self.stdin.take(size) {
            Err(interrupt) => Err(StreamError::Trap(StopReason::Interrupted(interrupt).into())),
            Ok(bytes) if bytes.is_empty() && size > 0 => Err(StreamError::Closed),
            Ok(bytes) => Ok(bytes),
        }
    }
}

impl AsyncRead for StdinReader {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(match self.stdin.take(buffer.remaining()) {
            Err(_) => Err(std::io::ErrorKind::Interrupted.into()),
            Ok(bytes) => {
                buffer.put_slice(&bytes);
                Ok(())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::testing::{Rig, command, invocation};

    /// Copies stdin to stdout, in pieces of at most five bytes.
    const CAT: &str = "(loop $more
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 5))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)) (then unreachable))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $more (i32.load (i32.const 4))))";

    fn connected(body: &str) -> (Rig, std::io::PipeWriter) {
        let mut rig = Rig::new(&command(body));
        let (reader, writer) = std::io::pipe().unwrap();
        mpwasm_system::poll::set_nonblocking(reader.as_fd()).unwrap();
        rig.executor.set_stdin(reader.into()).unwrap();
        (rig, writer)
    }

    #[test]
    fn the_pipe_is_read_after_the_tasks_own_until_both_have_ended() {
        let (mut rig, mut writer) = connected(CAT);
        let writes = std::thread::spawn(move || {
            for part in ["and ", "then ", "more"] {
                writer.write_all(part.as_bytes()).unwrap();
            }
        });
        let report = rig.command(&invocation(&[], b"first "));
        writes.join().unwrap();
        assert_eq!(
            report.result.as_deref(),
            Ok(r#"{"exit_code":0,"stdout":"first and then more","stderr":""}"#)
        );
    }

    #[test]
    fn a_read_of_what_does_not_come_ends_at_the_deadline() {
        let (mut rig, _writer) = connected(CAT);
        let failure = rig.command_timed_out(&invocation(&[], b"some"));
        assert_eq!(failure.data.as_deref(), Some(r#"{"stdout":"some","stderr":""}"#));
    }

    #[test]
    fn a_read_of_what_does_not_come_ends_when_the_call_is_cancelled() {
        let body = format!("(call $log (i32.const 3) (i32.const 0) (i32.const 0)) {CAT}");
        let (mut rig, _writer) = connected(&body);
        rig.cancelled_in_wait(|rig| rig.command(&invocation(&[], b"")));
    }

    #[test]
    fn a_poll_waits_for_the_pipe_and_for_clocks() {
        // Stdin, and the monotonic clock for an hour, or a millisecond when there is an argument.
        let body = "(i32.store8 (i32.const 8) (i32.const 1))
             (drop (call $args_sizes_get (i32.const 512) (i32.const 516)))
             (i64.store (i32.const 48) (i64.const 7)) (i32.store (i32.const 64) (i32.const 1))
             (i64.store (i32.const 72) (select (i64.const 1000000) (i64.const 3600000000000)
               (i32.gt_u (i32.load (i32.const 512)) (i32.const 1))))
             (drop (call $poll_oneoff (i32.const 0) (i32.const 1000) (i32.const 2) (i32.const 2000)))
             (i32.store8 (i32.const 3000) (i32.add (i32.const 48) (i32.load (i32.const 2000))))
             (i32.store8 (i32.const 3001) (i32.add (i32.const 48) (i32.load (i32.const 1000))))
             (i32.store8 (i32.const 3002) (i32.add (i32.const 48) (i32.load16_u (i32.const 1024))))
             (i32.store (i32.const 0) (i32.const 3000)) (i32.store (i32.const 4) (i32.const 3))
             (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))";
        let (mut rig, mut writer) = connected(body);
        let mut polled = |args: &[&str]| {
            let result = rig.command(&invocation(args, b"")).result.unwrap();
            result["{\"exit_code\":0,\"stdout\":\"".len()..][..3].to_owned()
        };
        assert_eq!(polled(&["soon"]), "170", "one event: the clock");
        writer.write_all(b"x").unwrap();
        assert_eq!(polled(&[]), "100", "one event: something to read");
        drop(writer);
        assert_eq!(polled(&[]), "100", "what was not read is still there");
    }
}
