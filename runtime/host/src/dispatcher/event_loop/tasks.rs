//! Reads tasks from the pipe of the parent.

use std::io::{self, Read};

use super::{EventLoop, ParentLost};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::Submission;
use mpwasm_scheduler::ScheduledTask;
use mpwasm_system::clock;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::task::TaskSpec;

/// Bytes that one read of the pipe takes: some hundred tasks, which stay in the CPU's cache until they are sent on. The rest of
/// a frame that has begun to arrive is read in pieces that double, as large payloads take fewer calls then.
const READ_SIZE: usize = 16 << 10;

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
