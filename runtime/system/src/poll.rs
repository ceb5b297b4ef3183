//! Waits for file descriptors.

use std::io;
use std::os::fd::BorrowedFd;

use mpwasm_types::time::Time;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::time::TimeSpec;

use crate::clock;

/// Bytes that can be written without blocking to a pipe that polls as writable: one page.
pub const PIPE_PIECE: usize = 4 << 10;

/// Waits until one of `fds` is ready, at most until `until`. A signal does not end the wait.
///
/// # Errors
/// Fails if a descriptor is invalid.
pub fn poll_until(fds: &mut [PollFd<'_>], until: Time) -> io::Result<()> {
    loop {
        let timeout = (until != Time::NEVER).then(|| TimeSpec::from(until.since(clock::now())));
        match nix::poll::ppoll(fds, timeout, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Returns whether `fd` can be read without blocking.
#[must_use]
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Sets `O_NONBLOCK` on `fd`.
///
/// # Errors
/// Fails if the descriptor is invalid.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok(())
}
