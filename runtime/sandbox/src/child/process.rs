//! A spawned child: killing, stopping and reaping it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use mpwasm_system::clock;
use mpwasm_system::poll::{is_readable, poll_until};
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::REAP_TIMEOUT;
use nix::poll::{PollFd, PollFlags};

/// Exit code that is reported for a process whose exit status is lost, since other code of this process has reaped it.
const UNKNOWN_EXIT: i32 = 127;

/// A child process that has not been reaped. Dropping it kills and reaps it.
///
/// Its descriptor ([`AsFd`]) becomes readable when the process has ended.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let pid = rustix::process::Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pidfd }),
            Err(errno) => {
                // Without the descriptor the pool could not wait for its end.
                let _ = child.kill();
                let _ = child.wait();
                Err(errno.into())
            }
        }
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL. It can't reach another process that has got the same process id meanwhile.
    pub fn kill(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Stops it until [`Process::resume`]. SIGKILL also ends a stopped process.
    pub fn stop(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::STOP);
    }

    /// Continues it after [`Process::stop`].
    pub fn resume(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::CONT);
    }

    /// Reaps it if it has ended. Never waits.
    pub fn try_reap(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|_| {
            // Other code of this process has reaped it: a program that ignores SIGCHLD, or waits for any child. The
            // exit status is lost, but the pidfd still tells that the process has ended.
            is_readable(self.pidfd.as_fd()).then(|| ExitStatus::from_raw(UNKNOWN_EXIT << 8))
        })
    }

    /// Waits until `deadline` for its end, and reaps it.
    pub fn wait_until(&mut self, deadline: Time) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.try_reap() {
                return Some(status);
            }
            if clock::now() >= deadline {
                return None;
            }
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll_until(&mut fds, deadline);
        }
    }

    /// Kills and reaps it. Returns `None` when it has not ended after `timeout`: a process in uninterruptible sleep can't
    /// be killed.
    pub fn kill_and_reap(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.kill();
        self.wait_until(clock::now() + timeout)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap(REAP_TIMEOUT);
    }
}
