//! Starts the thread that runs guests, in a process whose main thread becomes the watchdog.
//!
//! The thread's stack has a known size, as the engine's stack limit must fit into it. The thread starts before the last
//! layers of the sandbox are applied ([`jail::lock_down`]), because these forbid starting threads. It runs guest code after
//! that.

use std::sync::{Arc, Barrier};

use crate::error::ChildError;
use mpwasm_sandbox::jail;
use mpwasm_system::process;
use mpwasm_types::memory::thread_stack;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;

/// Starts a thread with room for a guest's stack of `stack` bytes, locks the process down as `plan` says, then calls `run` in
/// the new thread. Sets the timer slack of both threads to its minimum.
///
/// # Errors
/// When the thread can't be started or the process can't be locked down. The process must exit then.
pub fn start(
    role: Role,
    stack: u64,
    plan: Option<&SandboxOptions>,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), ChildError> {
    process::exact_timers();
    process::share_one_heap();
    process::keep_heap();
    let barrier = Arc::new(Barrier::new(2));
    let other = Arc::clone(&barrier);
    std::thread::Builder::new()
        .name(role.name().to_owned())
        .stack_size(thread_stack(stack))
        .spawn(move || {
            process::exact_timers();
            other.wait(); // this thread has started
            other.wait(); // the process is locked down
            run();
        })
        .map_err(|error| ChildError::NoStack { stack, error })?;
    barrier.wait();
    if let Some(plan) = plan {
        jail::lock_down(role, plan)?;
    }
    barrier.wait();
    Ok(())
}
