//! The thread that runs guests, in a process whose first thread becomes the watchdog.
//!
//! It has a stack of known size, which the engine's own limit relies on, and it begins when the jail is locked around
//! both threads: what a thread asks of the kernel for its own start is not in the jail's lists.

use mpwasm_system::process;
use std::io;
use std::sync::{Arc, Barrier};

use mpwasm_sandbox::jail;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::thread_stack;

/// Starts the thread with room for a guest's `stack` of so many bytes, locks the jail (if there is one) around it and the calling thread, and lets it `run`. The
/// calling thread's timers are exact from here on, and so are the other's.
///
/// # Errors
/// With why the process can't go on.
pub fn start(
    role: Role,
    stack: u64,
    plan: Option<&SandboxOptions>,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), String> {
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
            other.wait(); // it is up
            other.wait(); // the jail is locked
            run();
        })
        .map_err(|error: io::Error| no_stack(stack, &error))?;
    barrier.wait();
    if let Some(plan) = plan {
        jail::lock_down(role, plan).map_err(|error| error.to_string())?;
    }
    barrier.wait();
    Ok(())
}

/// Says that there can be no thread for guests with this stack.
#[must_use]
pub fn no_stack(stack: u64, error: &io::Error) -> String {
    format!("no thread can have a guest's stack of {stack} bytes (--stack): {error}")
}
