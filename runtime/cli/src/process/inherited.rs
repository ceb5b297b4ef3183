//! Sets the signal mask, dispositions and limits that the command line relies on, whatever the process inherited.
//!
//! The processes of a pool do this for themselves, in the library.

use anyhow::anyhow;
use mpwasm_types::settings::{MAIN_STACK, MIN_MAIN_STACK};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Sets them for this process. Must be called before it has threads.
///
/// # Errors
/// When the limit of the stack is too low and cannot be raised.
pub fn settle() -> anyhow::Result<()> {
    // A blocked SIGTERM or SIGINT would not end a run.
    let _ = SigSet::empty().thread_set_mask();
    // How children end is hidden by an ignored SIGCHLD.
    set(Signal::SIGCHLD, SigHandler::SigDfl);
    // A file that would grow past its limit is an error that names the file, and not the end of the run.
    set(Signal::SIGXFSZ, SigHandler::SigIgn);
    // The usual soft limit is for programs that use `select`.
    raise(Resource::RLIMIT_NOFILE, u64::MAX);
    raise(Resource::RLIMIT_STACK, MAIN_STACK);
    match getrlimit(Resource::RLIMIT_STACK) {
        Ok((soft, _)) if soft < MIN_MAIN_STACK => Err(anyhow!(
            "the limit of the stack (ulimit -s) is {soft} bytes, and mpwasm needs {MIN_MAIN_STACK}: raise it"
        )),
        _ => Ok(()),
    }
}

/// Whether a signal is ignored, as it is when the starter of this process ignored it.
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
