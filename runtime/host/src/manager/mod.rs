//! The manager process: holds the objects that tasks share.
//!
//! One thread runs an event loop around the state machine of [`mpwasm_objects`]. Its clients are the program that has started it, the
//! dispatchers of pools, and the processes that run guests. It runs no guest code and has no engine. A worker that was taken over can
//! send it anything: frames are bounded and checked, a client that breaks the protocol is disconnected, and one that does not read its
//! replies is not read either. It ends when its owner closes the connection.

mod connection;
mod connections;
mod event_loop;
mod numbers;
mod request;

use std::rc::Rc;

use crate::error::ChildError;
use event_loop::ManagerLoop;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{ManagerStart, object_owner_frame};
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_system::epoll::Epoll;
use mpwasm_system::process;
use mpwasm_types::role::Role;

/// Runs the manager until its owner closes the connection.
///
/// # Errors
/// When it can't start, or the kernel can't wait for its clients.
pub fn main() -> Result<(), ChildError> {
    let mut owner = child::start_up()?;
    let ManagerStart { memory, jail } = in_memory::receive(&mut owner)?;
    owner.inbox().set_max(object_owner_frame(memory));
    // Before the sandbox is set up, which forbids creating one.
    let epoll = Rc::new(Epoll::new()?);
    process::exact_timers();
    if let Some(plan) = &jail {
        jail::isolate(Role::Manager, plan, [])?;
        jail::lock_down(Role::Manager, plan)?;
    }
    Ok(ManagerLoop::new(&epoll, owner, memory).run()?)
}
