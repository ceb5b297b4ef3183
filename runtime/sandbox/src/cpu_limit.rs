//! The last backstop behind the timeout ladder: should all who watch a process that runs guests fail, the kernel ends it
//! when it has used far more processor time than its tasks may.
//!
//! The limit is one of the whole process and counts from its start, so it has to grow as tasks come. It grows by much
//! at once, so that it costs a task no system call.

use std::time::Duration;

use crate::jail;
use mpwasm_system::clock::process_cpu;

/// Processor time that the limit leaves beyond what the next task may use. Half of it may go to other tasks, and to
/// the watchdog, before the limit grows again.
const SLACK: Duration = Duration::from_secs(600);

/// The limit that stands.
#[derive(Debug)]
pub struct CpuLimit {
    /// Without a jail there is none.
    is_kept: bool,
    limit: Duration,
}

impl CpuLimit {
    /// No limit yet.
    pub fn new(is_kept: bool) -> Self {
        Self {
            is_kept,
            limit: Duration::ZERO,
        }
    }

    /// A task begins that may run for so long, on a thread that has `used` so much.
    pub fn reserve(&mut self, timeout: Duration, used: Duration) {
        let needed = used.saturating_add(timeout).saturating_add(SLACK / 2);
        if !self.is_kept || needed <= self.limit {
            return;
        }
        self.limit = process_cpu().saturating_add(timeout).saturating_add(SLACK);
        // A limit that can't be set is one that the kernel does not keep: the ladder's other rungs stand.
        let _ = jail::processor_time(self.limit);
    }
}
