//! Normalizes the inherited signal mask, signal dispositions and resource limits.
//!
//! In the processes of a pool, the library does this.

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Stack of the command line's first thread: the default of Linux. Parsing the options takes some hundred KiB.
const MAIN_STACK: u64 = 8 << 20;
/// Smallest stack with which the command line starts: twice the deepest use seen in the command line or a child.
const MIN_MAIN_STACK: u64 = 512 << 10;

/// Sets the signal mask, dispositions and limits that the command line relies on. Must be called before there are threads.
///
/// # Errors
/// When the limit of the stack is too low and cannot be raised.
pub fn normalize() -> anyhow::Result<()> {
    // A blocked SIGTERM or SIGINT would not end a run.
    let _ = SigSet::empty().thread_set_mask();
    // With SIGCHLD ignored, the exit status of children is lost.
    set(Signal::SIGCHLD, SigHandler::SigDfl);
    // With SIGXFSZ ignored, a write beyond the file size limit fails with an error instead of ending the run.
    set(Signal::SIGXFSZ, SigHandler::SigIgn);
    // The usual soft limit only protects programs that use `select`.
    raise(Resource::RLIMIT_NOFILE, u64::MAX);
    raise(Resource::RLIMIT_STACK, MAIN_STACK);
    match getrlimit(Resource::RLIMIT_STACK) {
        Ok((soft, _)) if soft < MIN_MAIN_STACK => Err(anyhow!(
            "the limit of the stack (ulimit -s) is {soft} bytes, and mpwasm needs {MIN_MAIN_STACK}: raise it"
        )),
        _ => Ok(()),
    }
}

/// Returns whether a signal is ignored. A process inherits this from its parent.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, the call only writes the current one through the valid pointer, and it is read only if the
    // call succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn set(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal and its default action run no code of this process.
    let _ = unsafe { sigaction(signal, &action) };
}

/// Raises a soft limit to `least`, or to the hard limit if that is lower.
fn raise(resource: Resource, least: u64) {
    if let Ok((soft, hard)) = getrlimit(resource) {
        let least = least.min(hard);
        if soft < least {
            let _ = setrlimit(resource, least, hard);
        }
    }
}
