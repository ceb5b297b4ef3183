//! Sets what the command line relies on, whatever its starter has left: the signal mask, dispositions, limits.
//!
//! The processes of a pool do this for themselves, in the library.

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Stack of the first thread, bytes: what Linux gives by default. Reading the options takes some hundred KiB of it.
const STACK: u64 = 8 << 20;

/// Least stack, bytes: twice as much as the deepest call of the command line or of a child was seen to take.
const LEAST_STACK: u64 = 512 << 10;

/// Settles this process. Must be called before it has threads.
///
/// # Errors
/// When it can't have what it needs.
pub fn settle() -> anyhow::Result<()> {
    // Blocked signals would neither end a run nor tell of it.
    let _ = SigSet::empty().thread_set_mask();
    // How children end is hidden by an ignored SIGCHLD.
    set(Signal::SIGCHLD, SigHandler::SigDfl);
    // A file that would grow past its limit is an error that names the file, and not the end of the run.
    set(Signal::SIGXFSZ, SigHandler::SigIgn);
    // The usual soft limit is for programs that use `select`.
    raise(Resource::RLIMIT_NOFILE, u64::MAX);
    raise(Resource::RLIMIT_STACK, STACK);
    match getrlimit(Resource::RLIMIT_STACK) {
        Ok((soft, _)) if soft < LEAST_STACK => Err(anyhow!(
            "the limit of the stack (ulimit -s) is {soft} bytes, and mpwasm needs {LEAST_STACK}: raise it"
        )),
        _ => Ok(()),
    }
}

/// Whether the starter of this process has ignored a signal, and nobody has changed that.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the current one to where the pointer leads, and it is read only
    // when the call has succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn set(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: to ignore a signal, or its default action, runs no code of this process.
    let _ = unsafe { sigaction(signal, &action) };
}

/// Raises a soft limit to `least`, or as far as the hard limit lets it be.
fn raise(resource: Resource, least: u64) {
    if let Ok((soft, hard)) = getrlimit(resource) {
        let least = least.min(hard);
        if soft < least {
            let _ = setrlimit(resource, least, hard);
        }
    }
}
