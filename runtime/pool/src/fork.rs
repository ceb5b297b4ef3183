//! Distinguishes the process that started a pool from its forks.
//!
//! A fork has copies of the pool's handles and descriptors, but none of its threads. A lock may be held forever there, by
//! a thread that the fork does not have. So each call checks [`Owner::is_here`] first, and a fork takes no locks.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Number of forks between the original process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The process that a pool belongs to.
#[derive(Debug)]
pub struct Owner(u64);

impl Owner {
    /// Returns the current process as owner.
    pub fn this() -> Self {
        static WATCH: Once = Once::new();
        extern "C" fn in_the_fork() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        WATCH.call_once(|| {
            // SAFETY: the function increments an atomic, which is safe in a fork of a process with many threads.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_fork)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Returns whether this process is the owner. Makes no system call.
    pub fn is_here(&self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    /// Checks that this process is the owner.
    ///
    /// # Errors
    /// [`Error::Forked`] in a fork.
    pub fn check(&self) -> Result<(), Error> {
        match self.is_here() {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }
}
