//! Process 2: the dispatcher keeps the workers busy, and runs the guests' callbacks.
//!
//! One thread owns all state and never waits for anybody: [`event_loop`] turns what the parent, the workers and the
//! callback thread say into events of the [scheduler](mpwasm_scheduler), which decides; [`worker_set`] does to the worker processes what
//! it decided; [`callbacks`] runs guests' callbacks on a thread of its own and then lets the outcome go to the
//! parent. When the parent dies, the dispatcher takes its workers along.

mod callback_thread;
mod callbacks;
mod event_loop;
mod finished;
mod folds;
mod pause;
mod status;
mod worker_messages;
mod worker_set;

pub use self::{
    worker_messages::{WorkerMessage, parse as parse_worker_message},
    worker_set::WorkerPhase,
};

use mpwasm_system::poll;
use mpwasm_system::process;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mpwasm_scheduler::WorkerId;
use nix::sys::stat::{Mode, umask};
use worker_set::{Dirs, WorkerSet};

use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::DispatcherStart;
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::OomScore;
use mpwasm_sandbox::scratch;
use mpwasm_types::grants::{Granted, OpenDir};
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{Settings, Terminals};

/// A re-executed copy of the binary becomes the dispatcher here. Returns when the pool is over: with the reason,
/// when that is none of the parent's making.
pub fn main() -> Result<(), String> {
    Start::receive()?.run()
}

/// A guest as the dispatcher keeps it: workers and the callback thread make code of it.
#[derive(Debug)]
struct GuestArtifact {
    /// What the compiler found in it.
    info: GuestInfo,
    /// What the compiler made, sealed.
    artifact: File,
}

/// What the parent sends before anything else.
#[derive(Debug)]
pub struct Start {
    parent: Channel,
    tasks: OwnedFd,
    settings: Settings,
    /// What commands read.
    stdin: Option<OwnedFd>,
    /// Which of their streams are terminals.
    terminals: Terminals,
    /// What tasks get beside their args.
    granted: Granted,
    /// The walls to be built around this process and its workers.
    pub jail: Option<SandboxOptions>,
    /// Whether the parent wants to know what becomes of workers.
    events: bool,
}

impl Start {
    /// Waits for it.
    ///
    /// # Errors
    /// With why it does not come.
    pub fn receive() -> Result<Self, String> {
        let mut parent = child::start_up().map_err(|error| error.to_string())?;
        let DispatcherStart {
            settings,
            stdin,
            terminals,
            jail,
            events,
        } = in_memory::receive(&mut parent).map_err(|error| error.to_string())?;
        let tasks = parent.take_descriptor().ok_or("the pipe of tasks is missing")?;
        let granted = Granted::new(settings.grants.clone(), || {
            parent.take_descriptor().ok_or("a granted directory is missing")
        })?;
        let stdin = match stdin {
            true => Some(
                parent
                    .take_descriptor()
                    .ok_or("the stdin of commands is missing")?,
            ),
            false => None,
        };
        Ok(Self {
            parent,
            tasks,
            settings,
            stdin,
            terminals,
            granted,
            jail,
            events,
        })
    }

    /// Builds the jail, and runs the pool to its end.
    ///
    /// # Errors
    /// With why it can't be run.
    pub fn run(self) -> Result<(), String> {
        process::keep_heap();
        poll::set_nonblocking(self.tasks.as_fd()).map_err(|error| error.to_string())?;
        // While this process may still mount something.
        let scratch = self
            .make_scratch()
            .map_err(|error| format!("the scratch directories can't be made: {error}"))?;
        let mut score = None;
        if let Some(plan) = &self.jail {
            score = OomScore::open();
            // What its workers have, it has to have.
            let dirs = self.granted.dirs.iter().chain(&scratch);
            jail::isolate(Role::Dispatcher, plan, dirs)
                .and_then(|()| jail::lock_down(Role::Dispatcher, plan))
                .map_err(|error| error.to_string())?;
        }
        let worker_set = WorkerSet::new(
            &self.settings,
            self.stdin,
            self.terminals,
            Dirs {
                granted: self.granted.dirs,
                scratch,
            },
            self.jail,
            score,
            self.events,
        );
        event_loop::EventLoop::new(self.parent, self.tasks, self.settings, worker_set)
            .map_err(|error| error.to_string())?
            .run();
        Ok(())
    }

    /// A scratch directory for each process that there can be at once, where tasks are granted one.
    fn make_scratch(&self) -> io::Result<Vec<OpenDir>> {
        let Some(size) = self.settings.grants.tmp else {
            return Ok(Vec::new());
        };
        // What workers make there they must be able to clear, whatever this user's mask says. They inherit it.
        let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        umask(mask - Mode::S_IRWXU);
        let count = WorkerId::slots(self.settings.size, self.settings.tasks_per_process());
        let user = self.jail.as_ref().and_then(|plan| plan.user);
        let made = scratch::create(count, size, user)?;
        Ok(made.into_iter().map(OpenDir::scratch).collect())
    }
}
