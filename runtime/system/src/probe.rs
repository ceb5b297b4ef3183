//! Tries operations that cannot be undone in a forked process.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use crate::process::set_parent_death_signal;

/// Exit code of a fork that did not complete its attempt. No errno has this value.
const INCOMPLETE: i32 = 255;

/// Calls `attempt` in a fork of this process and returns its result. An error without an errno becomes `EIO`.
///
/// The rest of the program does not notice: the end of the fork raises no SIGCHLD, and all signals are blocked in it, whose
/// handlers could write to descriptors of this process. The fork dies with the calling thread, unless `attempt` changes its
/// credentials.
///
/// # Safety
/// The fork has one thread, and its memory is a copy in which other threads may hold locks. So `attempt` must make system calls
/// only, and must neither lock nor allocate.
///
/// # Errors
/// Fails if the fork cannot be created, or does not complete the attempt.
pub unsafe fn in_fork(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<nix::Result<()>> {
    let this = Pid::this();
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // The C library's fork would run handlers that other parts of this program have registered (pthread_atfork(3)).
    // SAFETY: without flags, clone copies the memory like fork. The caller guarantees that the attempt neither locks nor allocates,
    // and the rest of the child's code only makes system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        run_and_exit(attempt, this);
    }
    let error = io::Error::last_os_error();
    mask.thread_set_mask()?;
    match pid {
        -1 => Err(io::Error::new(
            error.kind(),
            format!("a copy of this process can't be made: {error}"),
        )),
        pid => match wait_for(Pid::from_raw(pid as i32))? {
            0 => Ok(Ok(())),
            INCOMPLETE => Err(io::Error::other("a copy of this process broke down")),
            number => Ok(Err(Errno::from_raw(number))),
        },
    }
}

/// Runs the attempt in the fork of `parent`. Never returns into the caller's code, not even by a panic.
fn run_and_exit(attempt: impl FnOnce() -> io::Result<()>, parent: Pid) -> ! {
    struct ExitOnDrop;
    impl Drop for ExitOnDrop {
        fn drop(&mut self) {
            exit(INCOMPLETE);
        }
    }
    let _end = ExitOnDrop;
    // The parent may have died before the signal was requested.
    if set_parent_death_signal().is_err() || getppid() != parent {
        exit(INCOMPLETE);
    }
    let number = |error: io::Error| {
        error
            .raw_os_error()
            .filter(|number| (1..INCOMPLETE).contains(number))
    };
    exit(attempt().map_or_else(|error| number(error).unwrap_or(libc::EIO), |()| 0))
}

fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Waits for the fork and returns its exit code.
fn wait_for(child: Pid) -> io::Result<i32> {
    loop {
        // Only __WALL finds a child without an exit signal.
        match waitpid(child, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(_) => return Ok(INCOMPLETE),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};
    use std::panic::{catch_unwind, resume_unwind};
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{chdir, sleep};

    use super::*;

    /// # Safety
    /// Same as [`in_fork`].
    unsafe fn result_of(attempt: impl FnOnce() -> io::Result<()>) -> nix::Result<()> {
        // SAFETY: guaranteed by the caller.
        unsafe { in_fork(attempt) }.unwrap()
    }

    #[test]
    fn a_fork_returns_its_result_and_changes_nothing_in_this_process() {
        let here = std::env::current_dir().unwrap();
        let mask = SigSet::thread_get_mask().unwrap();
        // SAFETY: the attempt is a system call.
        assert_eq!(unsafe { result_of(|| Ok(chdir(c"/")?)) }, Ok(()));
        assert_eq!(std::env::current_dir().unwrap(), here);
        // SAFETY: the attempt does nothing.
        let refused = unsafe { result_of(|| Err(Errno::EXDEV.into())) };
        assert_eq!(refused, Err(Errno::EXDEV));
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }

    #[test]
    fn an_error_without_an_errno_is_eio() {
        for error in [0, -1, INCOMPLETE, 256] {
            // SAFETY: the attempt neither locks nor allocates.
            let result = unsafe { result_of(|| Err(io::Error::from_raw_os_error(error))) };
            assert_eq!(result, Err(Errno::EIO), "{error}");
        }
        // SAFETY: the attempt neither locks nor allocates.
        let result = unsafe { result_of(|| Err(io::ErrorKind::InvalidInput.into())) };
        assert_eq!(result, Err(Errno::EIO));
    }

    #[test]
    fn a_fork_that_does_not_complete_is_an_error() {
        let panic = || resume_unwind(Box::new(()));
        // Makes the allocations of a panic in this thread first, so that the fork needs no lock.
        catch_unwind(panic).unwrap_err();
        // SAFETY: the panic neither locks nor allocates, as prepared above.
        let panicked = unsafe { in_fork(panic) }.unwrap_err();
        // SAFETY: the attempt is a system call.
        let killed = unsafe { in_fork(|| Ok(kill(Pid::this(), Signal::SIGKILL)?)) }.unwrap_err();
        for error in [panicked, killed] {
            assert_eq!(error.to_string(), "a copy of this process broke down");
        }
    }

    /// Returns whether all writers of the pipe are closed within 20 s.
    fn ends(mut reader: PipeReader) -> bool {
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(reader.read(&mut [0]).is_ok()));
        ended.recv_timeout(Duration::from_secs(20)) == Ok(true)
    }

    #[test]
    fn a_fork_does_not_outlive_its_parent() {
        let (reader, writer) = io::pipe().unwrap();
        let kill_starter_and_wait = || {
            kill(getppid(), Signal::SIGKILL)?;
            sleep(60);
            Ok(())
        };
        // SAFETY: the attempt makes system calls only.
        let starter = || unsafe { in_fork(kill_starter_and_wait) }.map(drop);
        // SAFETY: likewise. It dies before it would allocate.
        unsafe { in_fork(starter) }.unwrap_err();
        drop(writer);
        assert!(ends(reader));
    }
}
