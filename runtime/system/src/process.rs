//! This process: what it is for, how it ends, its threads, its heap and its descriptors.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mpwasm_types::role::Role;
use mpwasm_types::settings::RETAINED_HEAP;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The marker in front of a child's role, as its first argument.
pub const MARKER: &str = "--mpwasm-child=";

/// The role that this process was started for: `None` in a parent.
#[must_use]
pub fn role() -> Option<Role> {
    let first = std::env::args_os().nth(1)?;
    let name = first.to_str()?.strip_prefix(MARKER)?;
    Role::ALL.into_iter().find(|role| role.name() == name)
}

/// Returns the number of this process's threads.
///
/// # Errors
/// When there is no `/proc`.
pub fn thread_count() -> io::Result<usize> {
    // As every folder it counts itself, its name above, and those that are in it, which may not be listed in a jail.
    let links = std::fs::metadata("/proc/self/task")
        .map_err(without_proc)?
        .nlink();
    Ok(usize::try_from(links.saturating_sub(2)).unwrap_or(usize::MAX))
}

/// Returns the error, or what it comes from where something was not found because there is no `/proc`.
#[must_use]
pub fn without_proc(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound if !Path::new("/proc/self").exists() => io::Error::other(
            "there is no /proc, by which mpwasm finds its own executable and counts its threads: mount one, or give the \
             container one",
        ),
        _ => error,
    }
}

/// Ends this process at once, running nothing: for a watchdog, beside a thread that may be anywhere.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and has no precondition.
    unsafe { libc::_exit(code) }
}

/// Raises this process's soft limit of open descriptors to `count`, as far as the hard limit allows, which is returned. A
/// soft limit that is high enough stays: programs that use `select` rely on the usual one.
pub fn allow_descriptors(count: u64) -> u64 {
    // If the limits can't be read, the error of a refused descriptor tells what they are.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    if soft < count {
        // Twice as much, so that this happens seldom.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, count.saturating_mul(2).min(hard), hard);
    }
    hard
}

/// Timers of the calling thread fire when they are due, not up to 50 µs later as is the default: for threads that
/// keep deadlines.
pub fn exact_timers() {
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Lets the process keep up to [`RETAINED_HEAP`] bytes that were freed for what is allocated next.
pub fn keep_heap() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it sets a number of the allocator's.
        let _ = unsafe { libc::mallopt(threshold, RETAINED_HEAP) };
    }
}

/// Keeps the heaps of all threads as large as they have become. glibc gives each thread a heap of its own, and the first one
/// that shrinks reads /proc/sys/vm/overcommit_memory: at any time, and a jailed process may open nothing. For a process
/// with one job, whose threads should not wait for each other as they would with [`share_one_heap`].
pub fn never_shrink_heaps() {
    #[cfg(target_env = "gnu")]
    for (option, bytes) in [
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        // Fixed by the line above, at its small first value; this is what it becomes otherwise.
        (libc::M_MMAP_THRESHOLD, RETAINED_HEAP),
    ] {
        // SAFETY: it sets a number of the allocator's.
        let _ = unsafe { libc::mallopt(option, bytes) };
    }
}

/// Limits the descriptors of this process: to `most`, or less where it may not have so many.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_files(most: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = most.min(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Lets all threads that are started from now on allocate from one heap. glibc gives each its own, and the first one that
/// shrinks reads /proc/sys/vm/overcommit_memory: at any time, and a jailed process may open nothing.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator's, which takes effect when a thread first allocates.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Step 7, and at the start of every child: asks for SIGKILL when the thread that started this process ends. The kernel
/// forgets it when this process's rights change.
///
/// # Errors
/// When the kernel refuses.
pub fn set_parent_death_signal() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
}
