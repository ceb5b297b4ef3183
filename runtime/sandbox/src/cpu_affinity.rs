//! Spreads the workers of a pool over the CPUs.
//!
//! A worker of short tasks sleeps and wakes up thousands of times per second. The kernel places a thread that wakes up by
//! which thread woke it. It tends to leave two workers on one CPU, while the dispatcher hardly uses the other. So each
//! worker has a preferred CPU, to which it migrates when it finds itself on another one in the middle of many tasks. It
//! is not bound to that CPU: the kernel may move it at any time. With long or few tasks a worker does not migrate.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Smallest batch of tasks for which migrating pays off: 8. A migration takes three system calls.
const MIN_BATCH: u32 = 8;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// The preferred CPU of a worker.
#[derive(Debug)]
pub struct CpuAffinity {
    cpu: Option<u32>,
}

impl CpuAffinity {
    /// Creates a preference for `cpu`; for none, if that is `None`.
    pub fn new(cpu: Option<u32>) -> Self {
        Self { cpu }
    }

    /// Migrates the calling thread to its preferred CPU, if it is on another one and the last batch had enough `tasks`.
    /// Call it between two batches.
    pub fn restore(&self, tasks: u32) {
        if let Some(cpu) = self.cpu
            && tasks >= MIN_BATCH
            && current_cpu() != Some(cpu)
        {
            // If it fails, the tasks run just as well on this CPU.
            let _ = migrate(cpu);
        }
    }
}

/// Returns the CPUs that this process may use.
pub fn allowed_cpus() -> Vec<u32> {
    let Ok(allowed) = sched_getaffinity(SELF) else {
        return Vec::new();
    };
    let all = 0..u32::try_from(CpuSet::count()).unwrap_or(u32::MAX);
    all.filter(|&cpu| allowed.is_set(cpu as usize) == Ok(true))
        .collect()
}

/// Moves the calling thread to `cpu`, without binding it to that. Returns the CPU that it was on afterwards.
///
/// # Errors
/// When it may not use that CPU: its allowed CPUs may have changed since the worker was started.
fn migrate(cpu: u32) -> nix::Result<Option<u32>> {
    let before = sched_getaffinity(SELF)?;
    if !before.is_set(cpu as usize)? {
        return Err(Errno::EINVAL);
    }
    let mut only = CpuSet::new();
    only.set(cpu as usize)?;
    sched_setaffinity(SELF, &only)?;
    let arrived = current_cpu();
    sched_setaffinity(SELF, &before)?;
    Ok(arrived)
}

/// Returns the CPU that the calling thread is on. Makes no system call where the C library knows it.
fn current_cpu() -> Option<u32> {
    // SAFETY: it has no arguments and accesses no memory of this program.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_migrates_to_any_allowed_cpu_and_is_not_bound_to_it() {
        let all = allowed_cpus();
        assert!(!all.is_empty());
        for &cpu in &all {
            assert_eq!(migrate(cpu), Ok(Some(cpu)));
            assert_eq!(allowed_cpus(), all);
        }
    }

    #[test]
    fn a_thread_does_not_migrate_to_a_cpu_that_is_not_allowed() {
        let all = allowed_cpus();
        let mut one = CpuSet::new();
        one.set(all[0] as usize).unwrap();
        sched_setaffinity(SELF, &one).unwrap();
        for cpu in [all.len() as u32 + all[0], 1023, 1_000_000] {
            assert!(migrate(cpu).is_err());
            CpuAffinity::new(Some(cpu)).restore(MIN_BATCH);
            assert_eq!(allowed_cpus(), all[..1]);
        }
    }
}
