//! The dispatcher process: assigns tasks to workers and runs the guests' callbacks.
//!
//! One thread owns all state and waits only for its descriptors. [`event_loop`] turns messages of the parent, the workers and
//! the callback thread into events of the [scheduler](mpwasm_scheduler), which makes the decisions. [`worker_set`] carries
//! them out on the worker processes. [`callbacks`] runs the guests' callbacks on a thread of their own, then sends the
//! outcomes to the parent. When the parent ends, the dispatcher kills its workers and exits.

mod callback_thread;
mod callbacks;
mod descriptor;
mod event_loop;
mod finished;
mod folds;
mod guest_artifact;
mod limits;
mod pause;
mod pool_connection;
mod status;
mod wake_up;
mod worker_messages;
mod worker_set;

pub use self::{
    worker_messages::{WorkerFault, WorkerMessage, parse as parse_worker_message},
    worker_set::WorkerPhase,
};

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::sys::stat::{Mode, umask};

use self::event_loop::EventLoop;
use self::pool_connection::PoolConnection;
use self::worker_set::{Dirs, WorkerSet, WorkerStreams};
use crate::error::ChildError;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{DispatcherStart, STATUS_LIMITS};
use mpwasm_protocol::request::Responder;
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::OomScore;
use mpwasm_sandbox::scratch;
use mpwasm_system::epoll::Epoll;
use mpwasm_system::poll;
use mpwasm_system::process;
use mpwasm_types::grants::{Granted, OpenDir};
use mpwasm_types::ids::WorkerId;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Settings, Terminals};

/// Runs the dispatcher until the pool ends.
///
/// # Errors
/// When the dispatcher can't start.
pub fn main() -> Result<(), ChildError> {
    DispatcherSetup::receive()?.run()
}

/// The start message of the parent, with the file descriptors that came with it.
#[derive(Debug)]
pub struct DispatcherSetup {
    parent: Channel,
    /// Requests of the parent.
    requests: Responder,
    tasks: OwnedFd,
    settings: Settings,
    /// Stdin of commands.
    stdin: Option<OwnedFd>,
    /// The streams of commands that are terminals.
    terminals: Terminals,
    /// The connection to the manager of shared objects.
    objects: Option<Arc<PoolConnection>>,
    /// The directories and variables that tasks are granted.
    granted: Granted,
    /// The sandbox of this process and its workers.
    pub jail: Option<SandboxOptions>,
    /// Most further workers while tasks wait for shared objects. `None` if the pool has no objects.
    lent_workers: Option<u32>,
    /// Whether the parent wants events of workers.
    events: bool,
}

impl DispatcherSetup {
    /// Waits for the start message.
    ///
    /// # Errors
    /// When the message or one of its file descriptors is missing.
    pub fn receive() -> Result<Self, ChildError> {
        let mut parent = child::start_up()?;
        let DispatcherStart {
            settings,
            stdin,
            terminals,
            objects,
            jail,
            events,
        } = in_memory::receive(&mut parent)?;
        let mut descriptor = |name| parent.take_descriptor().ok_or(ChildError::NoDescriptor(name));
        let tasks = descriptor("the pipe of tasks")?;
        let requests = descriptor("the socket for requests")?;
        let granted = Granted::new(settings.grants.clone(), || descriptor("a granted directory"))?;
        let stdin = match stdin {
            true => Some(descriptor("the stdin of commands")?),
            false => None,
        };
        let objects = match objects {
            true => Some(Arc::new(PoolConnection::new(descriptor(
                "the connection to the manager",
            )?))),
            false => None,
        };
        Ok(Self {
            parent,
            requests: Responder::new(requests, STATUS_LIMITS),
            tasks,
            lent_workers: objects.as_ref().map(|_| settings.lent_workers()),
            settings,
            stdin,
            terminals,
            objects,
            granted,
            jail,
            events,
        })
    }

    /// Sets up the sandbox and runs the pool to its end.
    ///
    /// # Errors
    /// When the pool can't be started.
    pub fn run(self) -> Result<(), ChildError> {
        process::keep_heap();
        poll::set_nonblocking(self.tasks.as_fd())?;
        // Before the sandbox is set up, which forbids creating one.
        let epoll = Rc::new(Epoll::new()?);
        // Also before the sandbox is set up, which forbids mounts.
        let scratch = self.make_scratch().map_err(ChildError::MakeScratch)?;
        let mut score = None;
        if let Some(plan) = &self.jail {
            score = OomScore::open();
            // Workers inherit its Landlock rules, so these must permit the directories of all workers.
            let dirs = self.granted.dirs.iter().chain(&scratch);
            jail::isolate(Role::Dispatcher, plan, dirs)?;
            jail::lock_down(Role::Dispatcher, plan)?;
        }
        let mut worker_set = WorkerSet::new(
            Rc::clone(&epoll),
            &self.settings,
            self.lent_workers,
            WorkerStreams {
                stdin: self.stdin,
                terminals: self.terminals,
            },
            Dirs {
                granted: self.granted.dirs,
                scratch,
            },
            self.jail,
            score,
        );
        if self.events {
            worker_set.report_events();
        }
        worker_set.connect(self.objects.clone());
        let event_loop = EventLoop::new(
            &epoll,
            self.parent,
            self.requests,
            self.tasks,
            self.settings,
            worker_set,
            self.objects,
        )?;
        Ok(event_loop.run()?)
    }

    /// Creates a scratch directory for each worker process that can exist at once, if tasks are granted one.
    fn make_scratch(&self) -> io::Result<Vec<OpenDir>> {
        let Some(size) = self.settings.grants.tmp else {
            return Ok(Vec::new());
        };
        // Workers inherit the umask. It must leave the owner's permissions, so that they can clear the files of their tasks.
        let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        umask(mask - Mode::S_IRWXU);
        let workers = self.settings.size + self.lent_workers.unwrap_or(0);
        let count = WorkerId::slots(workers, self.settings.tasks_per_process());
        let user = self.jail.as_ref().and_then(|plan| plan.user);
        let made = scratch::create(count, size, user)?;
        Ok(made.into_iter().map(OpenDir::scratch).collect())
    }
}
