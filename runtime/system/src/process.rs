//! Queries and configures this process: role, exit, threads, heap and descriptors.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mpwasm_types::role::Role;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Bytes of freed heap that a process keeps: 16 MiB. It held the payloads that waited or ran, and getting its pages from the kernel
/// again costs more than copying the next ones into them.
const RETAINED_HEAP: i32 = 16 << 20;

/// Prefix of a child's first argument, before its role.
pub const MARKER: &str = "--mpwasm-child=";

/// Returns the role of this process. `None` in a parent.
#[must_use]
pub fn role() -> Option<Role> {
    let first = std::env::args_os().nth(1)?;
    let name = first.to_str()?.strip_prefix(MARKER)?;
    Role::ALL.into_iter().find(|role| role.name() == name)
}

/// Returns the number of this process's threads.
///
/// # Errors
/// Fails without `/proc`.
pub fn thread_count() -> io::Result<usize> {
    // The link count of a directory is that of its subdirectories plus two. The sandbox may forbid listing it.
    let links = std::fs::metadata("/proc/self/task")
        .map_err(without_proc)?
        .nlink();
    Ok(usize::try_from(links.saturating_sub(2)).unwrap_or(usize::MAX))
}

/// Explains an error that something was not found if the reason is a missing `/proc`.
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

/// Ends this process immediately, without exit handlers. For a watchdog, since another thread may be in any state.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Raises the soft limit of open descriptors to at least `count`, as far as the hard limit allows, and returns the hard limit. A
/// sufficient soft limit is kept, since programs that use `select` rely on it.
pub fn allow_descriptors(count: u64) -> u64 {
    // If the limits cannot be read, the error of a refused descriptor names them.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    if soft < count {
        // Twice as many, so that this call is rare.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, count.saturating_mul(2).min(hard), hard);
    }
    hard
}

/// Returns the number of CPUs that the calling thread may use; 1 if that is not known. Reads no file, so that it works in a sandbox.
#[must_use]
pub fn cpu_count() -> usize {
    sched_getaffinity(Pid::from_raw(0)).map_or(1, |allowed| {
        let is_set = |cpu: &usize| allowed.is_set(*cpu) == Ok(true);
        (0..CpuSet::count()).filter(is_set).count().max(1)
    })
}

/// Sets the timer slack of the calling thread to 1 ns instead of 50 µs. For threads that enforce deadlines.
pub fn exact_timers() {
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Makes the allocator retain up to [`RETAINED_HEAP`] freed bytes.
pub fn keep_heap() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt only sets a parameter of the allocator.
        let _ = unsafe { libc::mallopt(threshold, RETAINED_HEAP) };
    }
}

/// Makes the heaps of all threads never shrink. glibc gives each thread a heap of its own, and the first one that shrinks reads
/// /proc/sys/vm/overcommit_memory, which the sandbox forbids. For a process with one job, whose threads would wait for each
/// other with [`share_one_heap`].
pub fn never_shrink_heaps() {
    #[cfg(target_env = "gnu")]
    for (option, bytes) in [
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        // Setting the other option freezes this one at its small initial value.
        (libc::M_MMAP_THRESHOLD, RETAINED_HEAP),
    ] {
        // SAFETY: mallopt only sets a parameter of the allocator.
        let _ = unsafe { libc::mallopt(option, bytes) };
    }
}

/// Sets the soft and hard limit of descriptors to `most`, or to the hard limit if that is lower.
///
/// # Errors
/// Fails if the kernel refuses.
pub fn limit_files(most: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = most.min(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Makes all threads that start from now on share one heap. glibc gives each thread its own, and the first one that shrinks reads
/// /proc/sys/vm/overcommit_memory, which the sandbox forbids.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator, which takes effect when a thread first allocates.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Requests SIGKILL for this process when the thread that started it ends. A child does so at its start, and again after its
/// credentials have changed, as the kernel then clears the request.
///
/// # Errors
/// When the kernel refuses.
pub fn set_parent_death_signal() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
}
