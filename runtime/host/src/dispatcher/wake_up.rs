//! Wakes the event loop from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A wake-up of the event loop. Its descriptor is readable from [`WakeUp::wake`] until [`WakeUp::clear`].
#[derive(Debug)]
pub struct WakeUp {
    event: EventFd,
    /// Whether `event` is readable or about to be. One wake-up serves all that is sent until the event loop clears it.
    is_set: AtomicBool,
}

impl WakeUp {
    /// Creates a wake-up that is not set.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            is_set: AtomicBool::new(false),
        })
    }

    /// Wakes the event loop.
    pub fn wake(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            let _ = self.event.write(1);
        }
    }

    /// Clears the wake-up. The event loop calls it before it receives what was sent.
    pub fn clear(&self) {
        // The flag is set before the eventfd is written. If it is not readable yet, it will be, and this is called again.
        if self.is_set.load(Ordering::Relaxed) && self.event.read().is_ok() {
            // After the read: what is sent from here on wakes the event loop again. What was sent earlier can be received.
            self.is_set.swap(false, Ordering::AcqRel);
        }
    }
}

impl AsFd for WakeUp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_between_the_two_steps_of_a_wake_up_does_not_lose_it() {
        let wake_up = WakeUp::new().unwrap();
        // Another thread is about to write.
        wake_up.is_set.store(true, Ordering::Relaxed);
        wake_up.clear();
        wake_up.event.write(1).unwrap();
        wake_up.clear();
        assert!(wake_up.event.read().is_err(), "it is still readable");
        wake_up.wake();
        assert_eq!(wake_up.event.read(), Ok(1), "the next wake-up wakes again");
    }
}
