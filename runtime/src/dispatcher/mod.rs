//! Process 2: the dispatcher keeps the workers busy, and runs the guests' callbacks.
//!
//! One thread owns all state and never waits for anybody: [`event_loop`] turns what the parent, the workers and the
//! callback thread say into events of the [`schedule`], which decides; [`crew`] does to the worker processes what
//! it decided; [`callbacks`] runs guests' callbacks on a thread of its own and then lets the outcome go to the
//! parent. When the parent dies, the dispatcher takes its workers along.

mod callback_thread;
mod callbacks;
mod crew;
mod event_loop;
mod frames;
pub mod schedule;

use std::os::fd::AsFd;

use crew::Crew;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::jail::{self, OomScore};
use crate::process;
use crate::wire::messages::ToDispatcher;

/// A re-executed copy of the binary becomes the dispatcher here. Returns when the pool is over: with the reason,
/// when that is none of the parent's making.
pub fn main() -> Result<(), String> {
    let mut parent = process::enter()?;
    let ToDispatcher::Start { settings, jail } = parent.receive().map_err(|error| error.to_string())? else {
        return Err("the first message was not a start".to_owned());
    };
    let tasks = parent.take_descriptor().ok_or("the pipe of tasks is missing")?;
    // Each worker takes three descriptors; the usual soft limit is for programs that use `select`.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    process::set_nonblocking(tasks.as_fd()).map_err(|error| error.to_string())?;
    let mut score = None;
    if let Some(plan) = &jail {
        score = OomScore::open();
        jail::shut_in(process::Role::Dispatcher, plan)
            .and_then(|()| jail::lock(process::Role::Dispatcher, plan))
            .map_err(|error| error.to_string())?;
    }
    let crew = Crew::new(&settings, jail, score);
    event_loop::EventLoop::new(parent, tasks, settings, crew)
        .map_err(|error| error.to_string())?
        .run();
    Ok(())
}
