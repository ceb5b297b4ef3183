//! Waits for events, with limits after which a test fails rather than hangs.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// Longer than any run here takes on a busy machine. A run that takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// Waits until the descriptor is readable. Returns false when that takes longer than `limit`.
pub fn wait_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
}

/// Panics when one of the processes behind these pidfds has not ended within `limit`.
pub fn assert_all_end(pidfds: &[OwnedFd], limit: Duration) {
    let end = Instant::now() + limit;
    for fd in pidfds {
        assert!(
            wait_readable(fd, end.saturating_duration_since(Instant::now())),
            "a process is left"
        );
    }
}

/// Polls until `look` returns a value, for conditions that the kernel does not announce. Panics after [`HANGS`].
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + HANGS;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not happen");
        // The loop sleeps between polls. A thread that only yields would be starved by threads that compute.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
