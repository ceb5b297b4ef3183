//! One worker process: its socket, its page and the phases of its start.

use std::fs::File;
use std::io;
use std::process::ExitStatus;

use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::page::Slots;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_sandbox::child::{EXIT_WATCHDOG, Process};
use mpwasm_sandbox::jail::violation;
use mpwasm_scheduler::WorkerExit;
use mpwasm_system::epoll::{Interest, Watched};
use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
use mpwasm_types::objects::ObjectKind;
use mpwasm_types::time::Time;

/// The phases of a worker's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerPhase {
    /// The process was spawned. Its first frame must be the hello.
    Started,
    /// The handshake is done, and it loads its guests.
    Loading,
    /// It runs tasks.
    Ready,
}

/// The wait of a running task for a shared object.
#[derive(Debug)]
pub struct RunningWait {
    /// What the object is.
    pub kind: ObjectKind,
    /// Its label.
    pub object: String,
    /// The operation that waits.
    pub operation: String,
    /// When the worker reported it.
    pub since: Time,
}

/// A worker process, as the dispatcher sees it.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The child process. The event loop waits for its end.
    pub child: Watched<Process>,
    /// Its socket. The event loop waits for its messages.
    pub channel: Watched<Channel>,
    /// Messages that its socket has not taken yet.
    pub outgoing: SendBuffer,
    /// The phase of its start.
    pub phase: WorkerPhase,
    /// Whether more can be read from its socket.
    pub(super) is_open: bool,
    /// The reason that it gave why it can't start.
    pub unable: Option<String>,
    /// Bytes that the running task has printed and logged.
    pub printed: u64,
    /// The wait of the running task, as the worker has reported it.
    pub wait: Option<RunningWait>,
    /// Whether its socket was full after the last send.
    pub(super) is_full: bool,
    /// The slots of the page through which it claims tasks.
    pub(super) slots: Slots,
    /// The pipe of cancellations to its watchdog. Closing it ends the worker.
    pub(super) control: Option<File>,
}

impl WorkerProcess {
    /// Returns whether more can be read from its socket.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Sets what the event loop waits for on its socket. `reads` says whether the messages of workers are read now.
    ///
    /// # Errors
    /// As [`Watched::set`].
    pub(super) fn watch(&mut self, reads: bool) -> io::Result<()> {
        let is_read = self.is_open && reads;
        self.channel
            .set(Interest::of(is_read, is_read && !self.outgoing.is_empty()))
    }
}

/// Returns how a worker ended. `violation` is the number of the forbidden system call that ended it. The worker itself
/// reports the number, so it is used in messages only.
pub(super) fn exit(status: ExitStatus, violation: Option<u64>) -> WorkerExit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(EXIT_WATCHDOG), _) => WorkerExit::Watchdog,
        (Some(code), _) => WorkerExit::Code(code),
        (None, Some(libc::SIGSYS)) => WorkerExit::Forbidden(violation.map(violation::name)),
        (None, signal) => WorkerExit::Signal(signal.unwrap_or_default()),
    }
}

/// Returns the part of a guest's description that a worker needs: which exports it calls.
pub(super) fn for_worker(info: &GuestInfo) -> GuestInfo {
    let models = info.models.iter().map(|model| ModelInfo {
        name: String::new(),
        runnable: model.runnable.clone(),
        callback: None,
        error_callback: None,
        final_callback: None,
    });
    GuestInfo {
        models: models.collect(),
        is_command: info.is_command,
        has_initialize: info.has_initialize,
        ..GuestInfo::default()
    }
}
