//! The pipe through which the parent sends tasks.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};

use super::{EventLoop, ParentLost};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::Submission;
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_scheduler::ScheduledTask;
use mpwasm_system::clock;
use mpwasm_system::epoll::Watched;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::task::TaskSpec;

/// Bytes that one read of the pipe takes: some hundred tasks, which stay in the CPU's cache until they are sent on. The rest of
/// a frame that has begun to arrive is read in pieces that double, as large payloads take fewer calls then.
const READ_SIZE: usize = 16 << 10;

/// The pipe, and the bytes that were read from it.
#[derive(Debug)]
pub(super) struct TaskPipe {
    pub(super) file: Watched<File>,
    inbox: ReceiveBuffer,
    /// Whether more may come: false after the exit message.
    pub(super) is_open: bool,
    /// All tasks with smaller ids have arrived. Ids ascend, and some are skipped.
    pub(super) next_id: DispatchId,
    /// Tasks that were cancelled before they arrived. Cancellations come through the socket, which is faster.
    pub(super) cancelled: HashSet<DispatchId>,
}

impl TaskPipe {
    /// Creates the state of a pipe from which nothing was read, with frames of at most `max_frame` bytes.
    pub(super) fn new(file: Watched<File>, max_frame: usize) -> Self {
        Self {
            file,
            inbox: ReceiveBuffer::new(max_frame),
            is_open: true,
            next_id: DispatchId(0),
            cancelled: HashSet::new(),
        }
    }
}

impl EventLoop {
    /// Reads what has arrived in the pipe and passes complete tasks to the scheduler.
    pub(super) fn read_tasks(&mut self) -> Result<(), ParentLost> {
        let pending = self.pipe.inbox.pending();
        let space = self.pipe.inbox.space();
        let len = space.len().min(pending.max(READ_SIZE));
        match self.pipe.file.read(&mut space[..len]) {
            // The end of the file without an exit message: the parent has died.
            Ok(0) => return Err(ParentLost),
            Ok(count) => self.pipe.inbox.filled(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(ParentLost),
        }
        let lost = |_: FrameError| ParentLost;
        while let Some(frame) = self.pipe.inbox.next_frame().map_err(lost)? {
            match decode(frame.bytes).map_err(lost)? {
                Submission::Task { id, retry, spec } => {
                    let spec = spec.map(|input| frame.keep(input));
                    self.accept(ScheduledTask::new(id, spec, retry))?;
                }
                Submission::Exit => {
                    self.pipe.is_open = false;
                    self.scheduler.drain();
                }
            }
        }
        Ok(())
    }

    /// Passes a task or chunk to the scheduler.
    fn accept(&mut self, task: ScheduledTask) -> Result<(), ParentLost> {
        let TaskSpec { guest, input, .. } = &task.spec;
        if guest.index() >= self.workers.guests() || !input.is_well_formed() {
            return Err(ParentLost);
        }
        let ids = u64::from(input.count());
        let id = task.id;
        self.scheduler.accept(task, &mut self.workers);
        self.pipe.next_id = DispatchId::from_first(id.first() + ids);
        // The lookup is skipped when there are none, as this runs for every task.
        if !self.pipe.cancelled.is_empty() && self.pipe.cancelled.remove(&id) {
            self.scheduler.cancel(id, clock::now(), &mut self.workers);
        }
        Ok(())
    }
}
