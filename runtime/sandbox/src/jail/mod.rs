//! The sandbox of a child process: what it can still request from the kernel when a guest has broken out of WebAssembly.
//!
//! It consists of layers, which every child applies in the same order. What comes before them, at the start of a process,
//! is in [`child`](crate::child): an empty environment, a process group of its own, no file descriptor but the ones it
//! needs.
//!
//! [`isolate`] is called while the process has one thread, since these layers apply to a thread and not to a process. It
//! fails if there are more threads:
//!
//! 1. no core dumps ([`limits`]), since they would write a guest's data to disk;
//! 2. the out-of-memory score ([`limits`]), so that the kernel kills a worker before the processes that manage it. The
//!    score is a file, so it is set before Landlock. Workers can't write theirs any more, and inherit it;
//! 3. namespaces ([`privileges`]): an empty network, and no System V objects. Workers inherit those of the dispatcher. It
//!    needs a capability, so it comes before step 5;
//! 4. another user, if requested ([`privileges`]);
//! 5. no capabilities, and no way to gain them again ([`privileges`]);
//! 6. no new privileges ([`privileges`]), on which steps 8 and 11 depend;
//! 7. the parent-death signal once more, since steps 3 to 5 clear it;
//! 8. Landlock ([`files`]): no files but those that are granted, no TCP, no signals to processes outside, no abstract
//!    sockets of processes outside.
//!
//! [`lock_down`] is called when the guests are loaded and all threads are running:
//!
//! 9. no further process, thread, file descriptor, or byte in a file, as far as the role permits ([`limits`]);
//! 10. not dumpable ([`privileges`]), so that no process of the same user can attach to it. After this step root owns the
//!     files below /proc/self, so it comes after the engine has opened some;
//! 11. seccomp, on all threads at once ([`seccomp`]): only the system calls that the role still needs, and no new
//!     executable memory. Any other system call ends the process with SIGSYS, and [`violation`] reports its number.
//!
//! A worker is spawned by the dispatcher and inherits its sandbox. So the dispatcher's layers allow what a worker needs to
//! start. SECURITY.md says what that means for a dispatcher that was taken over.
//!
//! The parent decides which layers are applied ([`SandboxOptions`]). A child that can't apply one of them does not run.
//! Before it spawns a child, the parent probes with a copy of itself what would otherwise fail in the child
//! ([`probe`](mpwasm_system::probe)): whether a directory can be entered from the sandbox, and whether scratch directories
//! and namespaces can be created. In addition, the parent limits the memory of all children together ([`MemoryCgroup`]),
//! if the machine permits it.

mod allow_list;
mod cgroup;
mod error;
mod files;
mod layers;
mod limits;
mod privileges;
mod seccomp;
pub mod violation;

use mpwasm_system::process;
use mpwasm_system::process::set_parent_death_signal;
use mpwasm_types::grants::OpenDir;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;

pub use cgroup::{CgroupError, DISPATCHER_MEMORY, MemoryCgroup, WORKER_OVERHEAD};
pub use error::JailError;
pub use layers::{LayerState, SandboxLayer, available_options, missing_layers};
pub use limits::{BASE_DESCRIPTORS, OomScore, set_cpu_limit};
pub use privileges::probe_access;

/// Applies steps 1 to 8. The process must have one thread. `dirs` are the directories that are granted to its tasks, or to
/// those of its workers.
///
/// # Errors
/// When a layer of the options can't be applied, or the process has more than one thread. It must not run a guest then.
pub fn isolate<'a>(
    role: Role,
    options: &SandboxOptions,
    dirs: impl IntoIterator<Item = &'a OpenDir>,
) -> Result<(), JailError> {
    require_one_thread()?;
    limits::apply(role)?;
    if role != Role::Worker {
        // Optional: `mpwasm doctor` reports when they are missing. A worker inherits those of its dispatcher.
        let _ = privileges::enter_namespaces(options.user);
        if let Some(user) = options.user {
            privileges::become_user(user)?;
        }
    }
    privileges::drop_capabilities()?;
    privileges::no_new_privileges()?;
    set_parent_death_signal().map_err(|error| JailError::new("the parent-death signal", error))?;
    if options.landlock {
        files::restrict(role, dirs)?;
    }
    Ok(())
}

/// Checks that this is the only thread, since the layers would not apply to others.
fn require_one_thread() -> Result<(), JailError> {
    let fail = |why: String| JailError::new("its threads", why);
    match process::thread_count().map_err(|error| fail(error.to_string()))? {
        1 => Ok(()),
        threads => Err(fail(format!(
            "there are {threads} already, and it would stand around one; is mpwasm::init() the first in main?"
        ))),
    }
}

/// Applies steps 9 to 11. All threads must be running, except in the dispatcher, which may start more.
///
/// # Errors
/// When a layer of the options can't be applied. The process must not run a guest then.
pub fn lock_down(role: Role, options: &SandboxOptions) -> Result<(), JailError> {
    limits::forbid_new_resources(role, options.files)?;
    privileges::not_dumpable()?;
    if options.seccomp {
        violation::install_handler(role)?;
        seccomp::restrict(role, options.files)?;
    }
    Ok(())
}
