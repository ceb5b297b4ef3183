//! The pipe through which the parent sends tasks.

use std::collections::HashSet;
use std::fs::File;

use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_system::epoll::Watched;
use mpwasm_types::ids::DispatchId;

/// The pipe, and the bytes that were read from it.
#[derive(Debug)]
pub(super) struct TaskPipeReader {
    pub file: Watched<File>,
    pub inbox: ReceiveBuffer,
    /// Whether more may come: false after the exit message.
    pub is_open: bool,
    /// All tasks with smaller ids have arrived. Ids ascend, and some are skipped.
    pub next_id: DispatchId,
    /// Tasks that were cancelled before they arrived. Cancellations come through the socket, which is faster.
    pub cancelled: HashSet<DispatchId>,
}

impl TaskPipeReader {
    /// Creates the state of a pipe from which nothing was read, with frames of at most `max_frame` bytes.
    pub fn new(file: Watched<File>, max_frame: usize) -> Self {
        Self {
            file,
            inbox: ReceiveBuffer::new(max_frame),
            is_open: true,
            next_id: DispatchId(0),
            cancelled: HashSet::new(),
        }
    }
}
