//! The compiler: a process of its own that compiles one guest and exits.
//!
//! What it reads is untrusted, and what a compiler does with it is outside of what the engine promises: so it has a
//! memory limit here, a time limit in the parent, a jail around it, and nothing else to lose. It runs no guest code. The artifact is
//! data to the parent, which alone decides that it may be loaded.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};

use nix::poll::{PollFd, PollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::guest::{Compiled, compile};
use crate::jail;
use crate::process::{self, Role, exit_now, poll_until};
use crate::time::Time;
use crate::wire::messages::{FromCompiler, ToCompiler};

/// Address space of the compiler, bytes. Cranelift needs some hundred times the size of a large function.
const MEMORY: u64 = 4 << 30;

/// A re-executed copy of the binary becomes the compiler here.
pub fn main() -> Result<(), String> {
    let mut parent = process::enter()?;
    let ToCompiler {
        engine,
        timeout,
        jail,
    } = parent.receive().map_err(|error| error.to_string())?;
    let mut guest = File::from(parent.take_descriptor().ok_or("the guest is missing")?);
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).map_err(|error| error.to_string())?;
    let memory = MEMORY.min(hard);
    setrlimit(Resource::RLIMIT_AS, memory, memory).map_err(|error| error.to_string())?;
    if let Some(plan) = &jail {
        jail::shut_in(Role::Compiler, plan, [])
            .and_then(|()| jail::processor_time(timeout))
            .map_err(|error| error.to_string())?;
    }
    let life = parent
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| error.to_string())?;
    let up = Arc::new(Barrier::new(2));
    let watches = Arc::clone(&up);
    std::thread::spawn(move || {
        watches.wait();
        // The parent sends nothing more: what can be read is the end.
        let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
        let _ = poll_until(&mut fds, Time::NEVER);
        exit_now(0);
    });
    let mut bytes = Vec::new();
    guest
        .rewind()
        .and_then(|()| guest.read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    // What a thread needs for its start is not in the jail's list.
    up.wait();
    if let Some(plan) = &jail {
        jail::lock(Role::Compiler, plan).map_err(|error| error.to_string())?;
    }
    let compiled = compile(&bytes, &engine);
    let answer = match &compiled {
        Compiled::Accepted { info, artifact } => FromCompiler::Accepted {
            info: info.clone(),
            artifact,
        },
        Compiled::Refused(info) => FromCompiler::Refused(info.clone()),
        Compiled::NotWasm(why) => FromCompiler::NotWasm(why),
    };
    parent.send(&answer).map_err(|error| error.to_string())
}
