//! The writing end of the pipe to the dispatcher: tasks are sent in the order in which they were accepted.
//!
//! A full pipe blocks the pushing thread: that is the backpressure of tasks. Tasks that are pushed together are sent in one write.

use mpwasm_system::clock;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags};

use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::guest::{Guest, Task};
use crate::ledger::chunk::Chunk;
use crate::ledger::task::{Extras, PendingTask, Recipient};
use crate::pool::state::PoolState;
use mpwasm_protocol::frame::put;
use mpwasm_protocol::messages::Submission;
use mpwasm_system::inherited;
use mpwasm_system::inherited::without_signals;
use mpwasm_system::poll::poll_until;
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::settings::MAX_RETAINED_BUFFER;
use mpwasm_types::task::TaskSpec;
use mpwasm_types::time::Time;

/// Size at which a batch is written, bytes: the default capacity of a pipe.
const BATCH: usize = 64 << 10;

/// Writes tasks into the pipe in batches. The pool's lock around it keeps the order of ids and of the pipe the same.
#[derive(Debug)]
pub struct TaskPipe {
    pipe: File,
    batch: Vec<u8>,
    /// SIGPIPE has its default action in this program and must be blocked during writes, or a dead dispatcher would end the
    /// program. Looked up once, as blocking it costs two system calls per write.
    blocks_signals: bool,
}

impl TaskPipe {
    /// Creates a writer for `pipe`, which must be non-blocking.
    pub fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: File::from(pipe),
            batch: Vec::new(),
            blocks_signals: inherited::writes_raise_sigpipe(),
        }
    }

    /// Accepts a task and adds it to the batch; [`TaskPipe::flush`] sends it. Blocks when a full batch must be sent first.
    pub fn add(
        &mut self,
        task: Task,
        recipient: Recipient,
        shared: &Arc<PoolState>,
    ) -> Result<TaskId, Error> {
        let Task {
            guest,
            model,
            key,
            timeout,
            retry,
            args,
            token,
            stdin,
        } = task;
        let args = guest
            .belongs_to(shared.id)
            .and_then(|()| args.map_err(Error::from))
            .inspect_err(|_| self.flush())?;
        if self.batch.len() + args.get().len() + stdin.len() > BATCH {
            self.flush();
        }
        // Only the first task of a batch can find the pipe full.
        self.wait_for_room();
        let accepted = clock::now();
        let batch = &mut self.batch;
        let cancels = token.clone();
        let retry = retry.unwrap_or(shared.settings.retry);
        let entry = |id| {
            let spec = TaskSpec {
                guest: guest.index(),
                model,
                timeout,
                retry: retry.is_any().then_some(retry),
                input: guest.input(&args, &stdin),
            };
            put_task(batch, id, &spec);
            let extras = Extras {
                key,
                recipient,
                token,
                ..Extras::default()
            };
            PendingTask {
                guest,
                model,
                retries: retry.most(),
                args,
                accepted,
                extras: extras.boxed(),
            }
        };
        let id = shared.ledger.accept(entry).inspect_err(|_| self.flush())?;
        if let Some(token) = cancels {
            token.add_task(shared, DispatchId::from_first(id));
        }
        Ok(id)
    }

    /// Accepts the items of a chunk and adds the chunk to the batch; [`TaskPipe::flush`] sends it. Outcomes go to `results`.
    /// Returns the first item's id; the others follow in order.
    pub fn add_chunk(
        &mut self,
        guest: &Guest,
        spec: TaskSpec<Vec<u8>>,
        token: Option<CancellationToken>,
        results: (Arc<ResultQueue>, u64),
        shared: &Arc<PoolState>,
    ) -> Result<TaskId, Error> {
        guest.belongs_to(shared.id).inspect_err(|_| self.flush())?;
        if self.batch.len() + spec.input.bytes().len() > BATCH {
            self.flush();
        }
        self.wait_for_room();
        let chunk = Chunk {
            guest: guest.clone(),
            spec,
            accepted: clock::now(),
            results,
            token,
        };
        let (first, chunk) = shared.ledger.accept_chunk(chunk).inspect_err(|_| self.flush())?;
        if let Some(token) = &chunk.token {
            token.add_task(shared, DispatchId::from_first(first));
        }
        put_task(&mut self.batch, first, &chunk.spec);
        Ok(first)
    }

    /// Sends the exit message.
    pub fn exit(&mut self) {
        put(&mut self.batch, &Submission::Exit);
        self.flush();
    }

    /// Sends the batch.
    pub fn flush(&mut self) {
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

    /// Waits until the pipe has room, so that a task that has to wait is not accepted yet.
    fn wait_for_room(&self) {
        if self.batch.is_empty() {
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLOUT)];
            let _ = poll_until(&mut fds, Time::NEVER);
        }
    }
}

/// Appends the message with a task, or chunk, that begins with this id.
fn put_task(batch: &mut Vec<u8>, first: TaskId, spec: &TaskSpec<impl AsRef<[u8]>>) {
    let submission = Submission::Task {
        id: DispatchId::from_first(first),
        spec: spec.map(AsRef::as_ref),
    };
    put(batch, &submission);
}
