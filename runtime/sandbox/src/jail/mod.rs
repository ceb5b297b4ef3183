//! The second wall: what a child process can still ask of the kernel when a guest has broken out of WebAssembly.
//!
//! One sequence, the same for every child, in this order. What stands in front of it, at the start of a process, is
//! in `process.rs`: an empty environment, a process group of its own, no descriptor but the ones it needs.
//!
//! [`isolate`], while the process has one thread, since these walls stand around threads and not processes; with more it
//! refuses:
//!
//! 1. no core dumps ([`limits`]): they write what a guest knows to disk;
//! 2. the out-of-memory score ([`limits`]): a worker dies before those that look after it. It is a file, so it comes
//!    before the file system goes; workers can't write theirs any more and are started with it;
//! 3. namespaces ([`privileges`]): a network and System V objects of its own, empty both. Workers are born in their
//!    dispatcher's. It takes a capability, so it comes before those go;
//! 4. another user, where one was asked for ([`privileges`]);
//! 5. no capabilities, and none to be had again ([`privileges`]);
//! 6. no new privileges, which the next ones need ([`privileges`]);
//! 7. the parent-death signal, anew: 3 to 5 clear it;
//! 8. Landlock ([`files`]): no files but what is granted, no TCP, no signals to others, no abstract sockets of others.
//!
//! [`lock_down`], when the guests are loaded and the threads are there:
//!
//! 9. no further process, thread, descriptor, or byte in a file ([`limits`]);
//! 10. not dumpable ([`privileges`]): nobody of the same user may attach to it. After the engine has opened what it
//!     opens below /proc/self, which is root's from here on;
//! 11. seccomp, on all threads at once ([`syscalls`]): only the system calls that the role still needs, and no new
//!     executable memory. A forbidden one ends the process with SIGSYS, and [`violation`] says which one it was.
//!
//! A worker is started by the dispatcher and so lives behind the dispatcher's walls too, which must therefore let
//! through what a worker needs for its start. What that means for a dispatcher that was taken over is in SECURITY.md.
//!
//! The parent decides what is built ([`SandboxOptions`]). A child that can't build what the plan names does not run. What only a
//! child would find out otherwise, the parent has a copy of itself try before it starts one ([`probe`](mpwasm_system::probe)): whether a
//! directory can be entered behind the walls, whether there can be scratch directories or namespaces. Around all of a pool's
//! children it puts a limit of memory ([`MemoryCgroup`]), where the machine lets it.

mod allowed;
mod files;
mod limits;
mod memory;
mod plan;
mod privileges;
mod syscalls;
pub mod violation;

use mpwasm_system::process;
use mpwasm_system::process::set_parent_death_signal;
use mpwasm_types::grants::OpenDir;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;

pub use limits::{OomScore, processor_time};
pub use memory::MemoryCgroup;
pub use plan::{LayerState, SandboxLayer, missing, plan};
pub use privileges::try_to_enter;

/// What stands in the way of a wall.
#[derive(Debug, thiserror::Error)]
#[error("the jail can't be built: {step}: {why}")]
pub struct JailError {
    step: &'static str,
    why: String,
}

impl JailError {
    fn new(step: &'static str, why: impl std::fmt::Display) -> Self {
        Self {
            step,
            why: why.to_string(),
        }
    }
}

/// Steps 1 to 8. The process has one thread. `dirs` are what is granted to its tasks, or to those of its workers.
///
/// # Errors
/// When a wall of the plan can't be built, or the process has more than one thread: it must not run anything then.
pub fn isolate<'a>(
    role: Role,
    plan: &SandboxOptions,
    dirs: impl IntoIterator<Item = &'a OpenDir>,
) -> Result<(), JailError> {
    one_thread()?;
    limits::apply(role)?;
    if role != Role::Worker {
        // Its absence is told by `mpwasm doctor`; a worker is in its dispatcher's.
        let _ = privileges::enter_namespaces(plan.user);
        if let Some(user) = plan.user {
            privileges::become_user(user)?;
        }
    }
    privileges::drop_capabilities()?;
    privileges::no_new_privileges()?;
    set_parent_death_signal().map_err(|error| JailError::new("the parent-death signal", error))?;
    if plan.landlock {
        files::shut(role, dirs)?;
    }
    Ok(())
}

/// That there is no thread but this one, around which the walls will not stand.
fn one_thread() -> Result<(), JailError> {
    let fail = |why: String| JailError::new("its threads", why);
    match process::thread_count().map_err(|error| fail(error.to_string()))? {
        1 => Ok(()),
        threads => Err(fail(format!(
            "there are {threads} already, and it would stand around one; is mpwasm::init() the first in main?"
        ))),
    }
}

/// Steps 9 to 11. All threads that the process will have are there, but in the dispatcher.
///
/// # Errors
/// As [`isolate`].
pub fn lock_down(role: Role, plan: &SandboxOptions) -> Result<(), JailError> {
    limits::no_more(role, plan.files)?;
    privileges::not_dumpable()?;
    if plan.seccomp {
        violation::tell_of_violations(role)?;
        syscalls::restrict(role, plan.files)?;
    }
    Ok(())
}
