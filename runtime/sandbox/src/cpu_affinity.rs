//! Keeps the workers of a pool apart.
//!
//! A worker that goes through short tasks sleeps and wakes up thousands of times in a second, and where a thread wakes up
//! the kernel decides by who woke it: it tends to leave two workers on one processor, beside a dispatcher that is hardly
//! seen on the other. So each worker has a processor as its home, and goes there by itself when it finds itself elsewhere
//! in the middle of many tasks. It is not tied to it: before and after, the kernel may move it as it sees fit, and with
//! long or few tasks nothing is done at all.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// With so many tasks at once, and more, it is worth the way.
const MANY: u32 = 8;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// The processor that a worker should be on.
#[derive(Debug)]
pub struct CpuAffinity {
    processor: Option<u32>,
}

impl CpuAffinity {
    /// A home on this processor; `None` is anywhere.
    pub fn new(processor: Option<u32>) -> Self {
        Self { processor }
    }

    /// So many tasks are done, and the next ones are there: the calling thread goes home, if it is worth it.
    pub fn restore(&self, tasks: u32) {
        if let Some(processor) = self.processor
            && tasks >= MANY
            && current_cpu() != Some(processor)
        {
            // Where it can't go, it is as well off here.
            let _ = migrate(processor);
        }
    }
}

/// The processors of the machine that this process may use.
pub fn allowed_cpus() -> Vec<u32> {
    let Ok(allowed) = sched_getaffinity(SELF) else {
        return Vec::new();
    };
    let all = 0..u32::try_from(CpuSet::count()).unwrap_or(u32::MAX);
    all.filter(|&processor| allowed.is_set(processor as usize) == Ok(true))
        .collect()
}

/// Moves the calling thread to `processor`, which it may leave at once. Returns where it was then.
///
/// # Errors
/// When it may not be there: what it is allowed may have changed since it was given its home.
fn migrate(processor: u32) -> nix::Result<Option<u32>> {
    let before = sched_getaffinity(SELF)?;
    if !before.is_set(processor as usize)? {
        return Err(Errno::EINVAL);
    }
    let mut there = CpuSet::new();
    there.set(processor as usize)?;
    sched_setaffinity(SELF, &there)?;
    let arrived = current_cpu();
    sched_setaffinity(SELF, &before)?;
    Ok(arrived)
}

/// The processor that the calling thread is on; no system call, where the C library knows it.
fn current_cpu() -> Option<u32> {
    // SAFETY: it has no arguments and touches no memory of ours.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_to_any_processor_that_it_may_use_and_is_not_tied_to_it() {
        let all = allowed_cpus();
        assert!(!all.is_empty());
        for &processor in &all {
            assert_eq!(migrate(processor), Ok(Some(processor)));
            assert_eq!(allowed_cpus(), all);
        }
    }

    #[test]
    fn a_thread_stays_where_it_may_be() {
        let all = allowed_cpus();
        let mut one = CpuSet::new();
        one.set(all[0] as usize).unwrap();
        sched_setaffinity(SELF, &one).unwrap();
        for processor in [all.len() as u32 + all[0], 1023, 1_000_000] {
            assert!(migrate(processor).is_err());
            CpuAffinity::new(Some(processor)).restore(MANY);
            assert_eq!(allowed_cpus(), all[..1]);
        }
    }
}
