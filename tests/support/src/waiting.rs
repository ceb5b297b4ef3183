//! Waiting for events, with limits beyond which a test fails rather than hangs.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::processes::pidfd;

/// Runs to the end; panics when that takes longer than `limit`.
pub fn run_within(limit: Duration, command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = pidfd(child.id());
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    assert!(wait_readable(&end, limit), "it took longer than {limit:?}");
    reader.join().unwrap()
}

/// Waits until the descriptor is readable. False when that takes longer than `limit`.
pub fn wait_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
}

/// Panics when one of the processes behind these descriptors has not ended `limit` from now.
pub fn assert_all_end(pidfds: &[OwnedFd], limit: Duration) {
    let end = Instant::now() + limit;
    for fd in pidfds {
        assert!(
            wait_readable(fd, end.saturating_duration_since(Instant::now())),
            "a process is left"
        );
    }
}

/// Looks again and again until there is an answer; panics after a minute. For what the kernel does not announce.
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not happen");
        // It rests between two looks: a thread that yields again and again is starved by those that compute.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
