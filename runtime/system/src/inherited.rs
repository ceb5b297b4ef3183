//! Resets the signal mask, the ignored signals and the soft resource limits that a child inherits. A child of the pool calls
//! [`reset`] first.
//!
//! A program that embeds the pool keeps its own mask and dispositions. [`without_signals`] blocks the signals that a write in
//! its process could raise.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

use crate::limit_names::{explain, limit_behind};

/// Signals that a failed write raises in the writing thread. They end the process unless it ignores them.
const OF_WRITES: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];

/// Soft limits that a child raises to their hard limits. The soft limits are defaults for interactive programs.
const RAISED: [Resource; 6] = [
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_AS,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_CPU,
];

/// Returns the error with the resource limit of this process that may have caused it, if any.
#[must_use]
pub fn explained(error: io::Error) -> io::Error {
    match error.raw_os_error().and_then(limit_behind) {
        Some(_) => io::Error::new(error.kind(), explain(&error)),
        None => error,
    }
}

/// Sets the signal mask, dispositions and soft limits of a child, whatever it inherited.
///
/// # Errors
/// Fails if the kernel refuses to change the signal mask or a disposition.
pub fn reset() -> io::Result<()> {
    for signal in Signal::iterator() {
        if OF_WRITES.contains(&signal) {
            // A failed write is an error and does not end the process.
            set(signal, SigHandler::SigIgn)?;
        } else if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) && is_ignored(signal)? {
            // An ignored SIGCHLD hides how workers end. Other ignored signals keep a stuck process from being ended.
            set(signal, SigHandler::SigDfl)?;
        }
    }
    // A trap of a guest is a signal. If it were blocked, the kernel would end the process instead of calling the handler.
    SigSet::empty().thread_set_mask()?;
    for resource in RAISED {
        raise(resource);
    }
    Ok(())
}

/// Raises a soft limit to its hard limit. If that fails, the limit stays, and whatever exceeds it reports the error.
fn raise(resource: Resource) {
    if let Ok((soft, hard)) = getrlimit(resource)
        && soft < hard
    {
        let _ = setrlimit(resource, hard, hard);
    }
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, the call only writes the current one to the pointer, which is valid.
    if unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has written the action.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

fn set(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal and its default action run no code of this process.
    unsafe { sigaction(signal, &action) }
        .map(drop)
        .map_err(Errno::into)
}

/// Returns whether a write to a pipe without a reader ends this process. Rust's runtime ignores the signal, but a program may
/// undo that.
#[must_use]
pub fn writes_raise_sigpipe() -> bool {
    !is_ignored(Signal::SIGPIPE).unwrap_or(false)
}

/// Calls `write` with the signals of writes blocked, so that a failure is only its result.
pub fn without_signals<T>(write: impl FnOnce() -> T) -> T {
    let blocked: SigSet = OF_WRITES.into_iter().collect();
    let pending = pending();
    let Ok(mask) = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return write();
    };
    let result = write();
    for signal in OF_WRITES {
        // A signal raised by the write is pending for this thread. One that was pending before is left to the program.
        if !pending.contains(signal) {
            take(signal);
        }
    }
    let _ = mask.thread_set_mask();
    result
}

/// Returns the pending signals of this thread or process.
fn pending() -> SigSet {
    let mut set = SigSet::empty();
    let mut raw = *set.as_ref();
    // SAFETY: the pointer is valid for the set that the call writes.
    if unsafe { libc::sigpending(&raw mut raw) } == 0 {
        // SAFETY: the call succeeded, so the kernel has written a valid set.
        set = unsafe { SigSet::from_sigset_t_unchecked(raw) };
    }
    set
}

/// Consumes a pending signal, if there is one. Does not wait.
fn take(signal: Signal) {
    let set = SigSet::from(signal);
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: set and time are valid, and nothing is written to the null pointer.
    unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &raw const at_once) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_write_without_signals_to_a_pipe_without_a_reader_fails_and_leaves_no_signal_pending() {
        // In a forked process, since all threads share dispositions.
        let attempt = || {
            set(Signal::SIGPIPE, SigHandler::SigDfl)?;
            SigSet::empty().thread_set_mask()?;
            let (reader, writer) = nix::unistd::pipe()?;
            drop(reader);
            let result = without_signals(|| (&std::fs::File::from(writer)).write(b"x").map(drop));
            let is_broken = result.is_err_and(|error| error.raw_os_error() == Some(libc::EPIPE));
            // A signal that is still pending would end this process.
            SigSet::empty().thread_set_mask()?;
            is_broken.then_some(()).ok_or_else(|| Errno::EINVAL.into())
        };
        // SAFETY: it makes system calls, and neither locks nor allocates.
        assert_eq!(unsafe { crate::probe::in_fork(attempt) }.unwrap(), Ok(()));
    }
}
