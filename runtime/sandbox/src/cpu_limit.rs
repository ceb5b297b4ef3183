//! Limits the CPU time of a process that runs guests, as a last resort when all other steps of a timeout fail.
//!
//! Should all watchdogs fail, the kernel ends the process when it has used far more CPU time than its tasks may. The limit
//! holds for the whole process and counts from its start, so it has to grow with each task. It grows in large steps, so
//! that most tasks cost no system call.

use std::time::Duration;

use crate::jail;
use mpwasm_system::clock::process_cpu;

/// CPU time by which the limit exceeds what the next task may use: 10 minutes. Tasks and the watchdog may use half of it
/// before the limit has to be raised again.
const SLACK: Duration = Duration::from_secs(600);

/// The current limit of CPU time of this process.
#[derive(Debug)]
pub struct CpuLimit {
    /// Whether a limit is set. It is set only in a sandboxed process.
    is_enabled: bool,
    limit: Duration,
}

impl CpuLimit {
    /// Creates the state of a process without a limit. [`reserve`](Self::reserve) sets one if it `is_enabled`.
    pub fn new(is_enabled: bool) -> Self {
        Self {
            is_enabled,
            limit: Duration::ZERO,
        }
    }

    /// Raises the limit if a task that may run for `timeout` could reach it. The task's thread has `used` this much CPU time.
    pub fn reserve(&mut self, timeout: Duration, used: Duration) {
        let needed = used.saturating_add(timeout).saturating_add(SLACK / 2);
        if !self.is_enabled || needed <= self.limit {
            return;
        }
        self.limit = process_cpu().saturating_add(timeout).saturating_add(SLACK);
        // If it can't be set, the other steps of a timeout still work.
        let _ = jail::set_cpu_limit(self.limit);
    }
}
