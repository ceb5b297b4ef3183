//! What can't be undone is tried by a copy of this process, which ends with it.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use crate::process::set_parent_death_signal;

/// Exit code of a copy that did not come to the end of its attempt: no error of the system's has this number.
const BROKEN: i32 = 255;

/// Lets a copy of this process make an attempt. Nobody hears of it but the caller: its end raises no SIGCHLD, and no signal
/// reaches it, whose handler would tell this process's own threads. It dies with this thread, until the attempt changes its
/// rights.
///
/// What is returned within is how the attempt ended: a failure that has no number is EIO.
///
/// # Safety
/// The copy has one thread, and in its memory the others stand still wherever they were. So `attempt` makes system calls,
/// and takes no lock and no memory.
///
/// # Errors
/// Why there was no copy, or why it did not come to the attempt's end.
pub unsafe fn in_a_copy(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<nix::Result<()>> {
    let this = Pid::this();
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // Not the C library's fork: that runs what other parts of this program have registered for it.
    // SAFETY: like a fork, with all of the process's memory copied. Of what the child does the caller vouches for the
    // attempt, and the rest are numbers and system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        try_and_end(attempt, this);
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
            BROKEN => Err(io::Error::other("a copy of this process broke down")),
            number => Ok(Err(Errno::from_raw(number))),
        },
    }
}

/// What the copy of `parent` does. It never returns to what this process would go on with, not even by a panic.
fn try_and_end(attempt: impl FnOnce() -> io::Result<()>, parent: Pid) -> ! {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            exit(BROKEN);
        }
    }
    let _end = End;
    // When the parent was gone before that, nobody waits for the rest.
    if set_parent_death_signal().is_err() || getppid() != parent {
        exit(BROKEN);
    }
    let number = |error: io::Error| error.raw_os_error().filter(|number| (1..BROKEN).contains(number));
    exit(attempt().map_or_else(|error| number(error).unwrap_or(libc::EIO), |()| 0))
}

fn exit(code: i32) -> ! {
    // SAFETY: _exit takes any code and has no precondition.
    unsafe { libc::_exit(code) }
}

/// Waits for a copy's exit code.
fn wait_for(child: Pid) -> io::Result<i32> {
    loop {
        // A child without a signal is found in this way only.
        match waitpid(child, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(_) => return Ok(BROKEN),
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
    /// As [`in_a_copy`].
    unsafe fn ended(attempt: impl FnOnce() -> io::Result<()>) -> nix::Result<()> {
        // SAFETY: the caller's.
        unsafe { in_a_copy(attempt) }.unwrap()
    }

    #[test]
    fn what_a_copy_does_is_told_and_changes_nothing_here() {
        let here = std::env::current_dir().unwrap();
        let mask = SigSet::thread_get_mask().unwrap();
        // SAFETY: it is a system call.
        assert_eq!(unsafe { ended(|| Ok(chdir(c"/")?)) }, Ok(()));
        assert_eq!(std::env::current_dir().unwrap(), here);
        // SAFETY: it is none.
        assert_eq!(unsafe { ended(|| Err(Errno::EXDEV.into())) }, Err(Errno::EXDEV));
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    }

    #[test]
    fn a_failure_without_a_number_is_one_all_the_same() {
        for error in [0, -1, BROKEN, 256] {
            // SAFETY: it is no system call.
            let told = unsafe { ended(|| Err(io::Error::from_raw_os_error(error))) };
            assert_eq!(told, Err(Errno::EIO), "{error}");
        }
        // SAFETY: likewise.
        let told = unsafe { ended(|| Err(io::ErrorKind::InvalidInput.into())) };
        assert_eq!(told, Err(Errno::EIO));
    }

    #[test]
    fn a_copy_that_does_not_come_to_the_end_has_not_tried_it() {
        let panic = || resume_unwind(Box::new(()));
        // The memory that a panic takes, so that the copy finds it where this thread left it, and takes no lock.
        catch_unwind(panic).unwrap_err();
        // SAFETY: see above.
        let panicked = unsafe { in_a_copy(panic) }.unwrap_err();
        // SAFETY: it is a system call.
        let killed = unsafe { in_a_copy(|| Ok(kill(Pid::this(), Signal::SIGKILL)?)) }.unwrap_err();
        for error in [panicked, killed] {
            assert_eq!(error.to_string(), "a copy of this process broke down");
        }
    }

    /// Whether all who could write to it are gone, soon.
    fn ends(mut reader: PipeReader) -> bool {
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(reader.read(&mut [0]).is_ok()));
        ended.recv_timeout(Duration::from_secs(20)) == Ok(true)
    }

    #[test]
    fn a_copy_that_waits_does_not_outlive_who_started_it() {
        let (reader, writer) = io::pipe().unwrap();
        let kill_starter_and_wait = || {
            kill(getppid(), Signal::SIGKILL)?;
            sleep(60);
            Ok(())
        };
        // SAFETY: these are system calls.
        let starter = || unsafe { in_a_copy(kill_starter_and_wait) }.map(drop);
        // SAFETY: likewise; it does not come to the end, where it would take memory.
        unsafe { in_a_copy(starter) }.unwrap_err();
        drop(writer);
        assert!(ends(reader));
    }
}
