//! Replaces what a process inherits from its starter and must not depend on: the signal mask, ignored signals and soft
//! resource limits. A child of the pool does this first ([`settle_child`]).
//!
//! A program that embeds the pool keeps its own mask and dispositions. Where a write in its process could raise a
//! signal, [`shielded`] holds that signal back.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

use crate::limit_names::{explain, limit_behind};

/// Signals that a write raises in the writing thread: they end the process, unless it ignores them.
const OF_WRITES: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];

/// Soft limits that a child raises to their hard limits. What a child needs is then bounded by what its starter
/// enforces, and not by a default for interactive programs.
const RAISED: [Resource; 6] = [
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_AS,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_CPU,
];

/// Adds to an error the limit of this process that may have caused it, if there is one.
pub fn explained(error: io::Error) -> io::Error {
    match error.raw_os_error().and_then(limit_behind) {
        Some(_) => io::Error::new(error.kind(), explain(&error)),
        None => error,
    }
}

/// Gives a child the signal mask, the dispositions and the soft limits that it relies on, whatever its starter had.
///
/// # Errors
/// When the kernel refuses to change the signal mask or a disposition.
pub fn settle_child() -> io::Result<()> {
    for signal in Signal::iterator() {
        if OF_WRITES.contains(&signal) {
            // A write that fails is an error of the write, and not the end of the process.
            set(signal, SigHandler::SigIgn)?;
        } else if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) && is_ignored(signal)? {
            // An ignored SIGCHLD hides how workers end. Others keep a stuck process from being ended.
            set(signal, SigHandler::SigDfl)?;
        }
    }
    // A trap of a guest is a signal: where that is blocked, the kernel ends the process instead of calling the handler.
    SigSet::empty().thread_set_mask()?;
    for resource in RAISED {
        raise(resource);
    }
    Ok(())
}

/// Raises a soft limit to its hard limit. Where that fails, the limit stays, and what it prevents is reported there.
fn raise(resource: Resource) {
    if let Ok((soft, hard)) = getrlimit(resource)
        && soft < hard
    {
        let _ = setrlimit(resource, hard, hard);
    }
}

fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the current one to where the pointer leads.
    if unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has written the action.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

fn set(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: to ignore a signal, or its default action, runs no code of this process.
    unsafe { sigaction(signal, &action) }
        .map(drop)
        .map_err(Errno::into)
}

/// Whether a write of this process to a pipe without a reader ends the process. Rust's runtime sees to it that it
/// doesn't; a program may undo that.
pub fn writes_need_a_shield() -> bool {
    !is_ignored(Signal::SIGPIPE).unwrap_or(false)
}

/// Calls `write` with the signals that writes raise held back: then only its result says that it failed.
pub fn shielded<T>(write: impl FnOnce() -> T) -> T {
    let held_back: SigSet = OF_WRITES.into_iter().collect();
    let pending = pending();
    let Ok(mask) = held_back.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return write();
    };
    let result = write();
    for signal in OF_WRITES {
        // What was raised goes to this thread. What had been sent to it before stays for the program.
        if !pending.contains(signal) {
            take(signal);
        }
    }
    let _ = mask.thread_set_mask();
    result
}

/// Signals that wait for this thread or process.
fn pending() -> SigSet {
    let mut set = SigSet::empty();
    let mut raw = *set.as_ref();
    // SAFETY: the call writes a set to where the pointer leads, which is one.
    if unsafe { libc::sigpending(&raw mut raw) } == 0 {
        // SAFETY: the call has succeeded, so this is a set that the kernel made.
        set = unsafe { SigSet::from_sigset_t_unchecked(raw) };
    }
    set
}

/// Takes a signal from those that wait, if it is there. Does not wait.
fn take(signal: Signal) {
    let set = SigSet::from(signal);
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the set and the time are valid, and without a third pointer nothing is written.
    unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &raw const at_once) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_shielded_write_to_a_pipe_without_a_reader_is_an_error_and_leaves_no_signal_behind() {
        // In a copy of this process, as dispositions are shared by all threads.
        let attempt = || {
            set(Signal::SIGPIPE, SigHandler::SigDfl)?;
            SigSet::empty().thread_set_mask()?;
            let (reader, writer) = nix::unistd::pipe()?;
            drop(reader);
            let result = shielded(|| (&std::fs::File::from(writer)).write(b"x").map(drop));
            let is_broken = result.is_err_and(|error| error.raw_os_error() == Some(libc::EPIPE));
            // It would end this process if it still waited.
            SigSet::empty().thread_set_mask()?;
            is_broken.then_some(()).ok_or_else(|| Errno::EINVAL.into())
        };
        // SAFETY: it makes system calls, and neither takes a lock nor memory.
        assert_eq!(unsafe { crate::probe::in_a_copy(attempt) }.unwrap(), Ok(()));
    }
}
