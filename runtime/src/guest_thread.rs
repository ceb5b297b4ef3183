//! The thread that runs guests, in a process whose first thread becomes the watchdog.
//!
//! It has a stack of known size, which the engine's own limit relies on, and it begins when the jail is locked around
//! both threads: what a thread asks of the kernel for its own start is not in the jail's lists.

use std::io;
use std::sync::{Arc, Barrier};

use crate::jail::{self, Plan};
use crate::process::{self, Role};
use crate::settings::TASK_THREAD_STACK;

/// Starts the thread, locks the jail (if there is one) around it and the calling thread, and lets it `run`. The
/// calling thread's timers are exact from here on, and so are the other's.
///
/// # Errors
/// With why the process can't go on.
pub fn start(role: Role, plan: Option<&Plan>, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    process::exact_timers();
    process::share_one_heap();
    process::keep_heap();
    let barrier = Arc::new(Barrier::new(2));
    let other = Arc::clone(&barrier);
    std::thread::Builder::new()
        .name(role.name().to_owned())
        .stack_size(TASK_THREAD_STACK)
        .spawn(move || {
            process::exact_timers();
            other.wait(); // it is up
            other.wait(); // the jail is locked
            run();
        })
        .map_err(|error: io::Error| error.to_string())?;
    barrier.wait();
    if let Some(plan) = plan {
        jail::lock(role, plan).map_err(|error| error.to_string())?;
    }
    barrier.wait();
    Ok(())
}
