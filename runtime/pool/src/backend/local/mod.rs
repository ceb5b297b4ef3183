//! The local backend: tasks run in the workers of a dispatcher, which is a child of this process.
//!
//! [`task_pipe`] writes tasks into the pipe to the dispatcher, [`LocalBackend`] sends messages over the socket, which must not wait
//! behind tasks, and [`dispatcher`] reads the socket. [`requests`] have a socket of their own.

pub(crate) mod diagnostics;
pub(crate) mod dispatcher;
pub(crate) mod requests;
pub(crate) mod start;
pub(crate) mod task_pipe;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::backend::REPLY_TIMEOUT;
use crate::backend::local::requests::Requests;
use crate::backend::{Backend, NewGuest};
use crate::child_process;
use crate::error::Error;
use crate::sync::Mutex;
use mpwasm_protocol::channel::{Channel, send_all};
use mpwasm_protocol::frame::put;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{ControlRequest, StatusReply, StatusRequest, ToDispatcher};
use mpwasm_protocol::request::RequestError;
use mpwasm_sandbox::child::Process;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::clock;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::settings::Settings;
use mpwasm_types::time::Time;

/// Longest time that a dispatcher may take to terminate before it is killed. Killing workers and reporting takes milliseconds.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// Talks to the dispatcher over its socket.
#[derive(Debug)]
pub struct LocalBackend {
    /// For messages that must not wait behind tasks.
    socket: Mutex<OwnedFd>,
    /// For requests, whose replies must not wait behind outcomes.
    requests: Requests,
    /// The dispatcher's process id.
    pid: u32,
    settings: Settings,
    /// The memory cgroup around the pool's processes, if one could be created.
    memory: Option<Arc<MemoryCgroup>>,
    kill_switch: Arc<KillSwitch>,
}

/// When the dispatcher is killed, after the pool was terminated.
#[derive(Debug)]
struct KillSwitch {
    /// Readable once the pool was terminated.
    set: EventFd,
    /// [`Time::NEVER`] before.
    at: AtomicU64,
}

impl KillSwitch {
    fn new() -> io::Result<Self> {
        Ok(Self {
            set: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
            at: AtomicU64::new(Time::NEVER.0),
        })
    }

    /// Sets the time at which the dispatcher is killed: after [`KILL_TIMEOUT`]. A second call does not extend it.
    fn set(&self) {
        let at = (clock::now() + KILL_TIMEOUT).0;
        let _ = self
            .at
            .compare_exchange(Time::NEVER.0, at, Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.set.write(1);
    }

    /// Returns when the dispatcher is killed.
    fn at(&self) -> Time {
        Time(self.at.load(Ordering::SeqCst))
    }
}

impl LocalBackend {
    fn send_with(&self, message: &ToDispatcher, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let socket = self.socket.lock();
        Channel::send_over(socket.as_fd(), message, descriptors).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
            _ => Error::Io(error),
        })
    }
}

impl Backend for LocalBackend {
    fn load(&self, guest: &NewGuest<'_>) -> Result<(), Error> {
        if let Some(memory) = &self.memory {
            memory.raise_for_guests(&self.settings, guest.index.0 + 1);
        }
        let info = in_memory::write(&for_dispatcher(guest.info))?;
        let mut descriptors = vec![info.as_fd(), guest.artifact.as_fd()];
        descriptors.extend(guest.checked_artifact.map(AsFd::as_fd));
        let has_checked = guest.checked_artifact.is_some();
        self.send_with(&ToDispatcher::Load { has_checked }, &descriptors)
    }

    fn control(&self, request: ControlRequest) {
        if request == ControlRequest::Terminate {
            self.kill_switch.set();
        }
        let mut bytes = Vec::new();
        put(&mut bytes, &ToDispatcher::Control(request));
        // The receiver notices a dead dispatcher.
        let _ = send_all(self.socket.lock().as_fd(), &bytes);
    }

    fn status(&self, request: StatusRequest) -> Result<StatusReply, RequestError> {
        self.requests.ask(request, clock::now() + REPLY_TIMEOUT)
    }

    fn limit(&self, process: &Process) {
        child_process::limit(process, self.memory.as_deref());
    }

    fn dispatcher_pid(&self) -> Option<u32> {
        Some(self.pid)
    }
}

/// Returns a guest's description without the texts that are only shown to users.
fn for_dispatcher(info: &GuestInfo) -> GuestInfo {
    GuestInfo {
        models: info.models.clone(),
        imports: Vec::new(),
        warnings: Vec::new(),
        refusals: Vec::new(),
        ..*info
    }
}
