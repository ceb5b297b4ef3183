//! The writing end of the pipe to the dispatcher: tasks are sent in the order in which they were accepted.
//!
//! A full pipe blocks the pushing thread: that is the backpressure of tasks. Tasks that are pushed together are sent in one write.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags};

use crate::backend::TaskSender;
use mpwasm_protocol::frame::put;
use mpwasm_protocol::messages::Submission;
use mpwasm_system::inherited;
use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::poll_until;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::memory::MAX_RETAINED_BUFFER;
use mpwasm_types::retry::Retry;
use mpwasm_types::task::TaskSpec;
use mpwasm_types::time::Time;

/// Size at which a batch is written, bytes: the default capacity of a pipe.
const BATCH: usize = 64 << 10;

/// Writes tasks into the pipe in batches.
#[derive(Debug)]
pub struct TaskPipeWriter {
    pipe: File,
    batch: Vec<u8>,
    /// SIGPIPE has its default action in this program and must be blocked during writes, or a dead dispatcher would end the
    /// program. Looked up once, as blocking it costs two system calls per write.
    blocks_signals: bool,
}

impl TaskPipeWriter {
    /// Creates a writer for `pipe`, which must be non-blocking.
    pub fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: File::from(pipe),
            batch: Vec::new(),
            blocks_signals: inherited::writes_raise_sigpipe(),
        }
    }
}

impl TaskSender for TaskPipeWriter {
    fn wait_for_room(&mut self, bytes: usize) {
        if self.batch.len() + bytes > BATCH {
            self.flush();
        }
        // Only the first task of a batch can find the pipe full.
        if self.batch.is_empty() {
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLOUT)];
            let _ = poll_until(&mut fds, Time::NEVER);
        }
    }

    #[inline]
    fn submit(&mut self, id: DispatchId, spec: TaskSpec<&[u8]>, retry: Option<Retry>) {
        put(&mut self.batch, &Submission::Task { id, retry, spec });
    }

    fn finish(&mut self) {
        put(&mut self.batch, &Submission::Exit);
        self.flush();
    }

    fn flush(&mut self) {
        let mut rest = &self.batch[..];
        while !rest.is_empty() {
            let written = match self.blocks_signals {
                true => without_signals(|| self.pipe.write(rest)),
                false => self.pipe.write(rest),
            };
            match written {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll_until(&mut fds, Time::NEVER);
                }
                // The dispatcher is gone. The receiver gives the accepted tasks their outcomes.
                Err(_) => break,
            }
        }
        self.batch.clear();
        if self.batch.capacity() > MAX_RETAINED_BUFFER {
            self.batch = Vec::new();
        }
    }
}
