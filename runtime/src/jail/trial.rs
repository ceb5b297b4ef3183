//! What can't be undone is tried by a copy of this process, which ends with it.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Lets a copy of this process make an attempt. Nobody hears of it but the caller: its end raises no SIGCHLD, and no signal
/// reaches it, whose handler would tell this process's own threads.
///
/// # Safety
/// The copy has one thread, and in its memory the others stand still wherever they were. So `attempt` makes system calls,
/// and takes no lock and no memory.
///
/// # Errors
/// That of the attempt, or why it could not be made.
pub unsafe fn in_a_copy(attempt: impl FnOnce() -> nix::Result<()>) -> io::Result<()> {
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // Not the C library's fork: that runs what other parts of this program have registered for it.
    // SAFETY: like a fork, with all of the process's memory copied. Of what the child does the caller vouches for the
    // attempt, and the rest are numbers and a system call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        let code = attempt().map_or_else(|errno| errno as i32, |()| 0);
        // SAFETY: _exit takes any code and has no precondition.
        unsafe { libc::_exit(code) }
    }
    let error = io::Error::last_os_error();
    mask.thread_set_mask()?;
    match pid {
        -1 => Err(error),
        pid => match wait_for(Pid::from_raw(pid as i32)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Err(io::Error::other("it can't be tried")),
        },
    }
}

/// Waits for a child's exit code; `None` when it has none.
fn wait_for(child: Pid) -> Option<i32> {
    loop {
        // A child without a signal is found in this way only.
        match waitpid(child, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(_, code)) => return Some(code),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, kill};

    use super::*;

    #[test]
    fn what_a_copy_does_is_told_and_changes_nothing_here() {
        let here = std::env::current_dir().unwrap();
        let mask = SigSet::thread_get_mask().unwrap();
        let leave = || nix::unistd::chdir(c"/");
        // SAFETY: it is a system call.
        unsafe { in_a_copy(leave) }.unwrap();
        assert_eq!(std::env::current_dir().unwrap(), here);
        // SAFETY: it is none.
        let error = unsafe { in_a_copy(|| Err(Errno::EXDEV)) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
        // SAFETY: it is a system call.
        let error = unsafe { in_a_copy(|| kill(Pid::this(), Signal::SIGKILL)) }.unwrap_err();
        assert_eq!(error.to_string(), "it can't be tried");
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }
}
