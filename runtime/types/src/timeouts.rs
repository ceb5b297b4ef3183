//! The timeouts by which a task that does not end is stopped, and its process reaped.
//!
//! A task that does not end at its deadline is stopped in four steps: the watchdog interrupts it in the engine, its sleeps end, the
//! watchdog ends the worker process, and the dispatcher sends SIGKILL. Each grace is longer than the one before it.

use std::time::Duration;

/// Third step: time after a task's deadline at which the worker exits together with the task.
pub const WATCHDOG_GRACE: Duration = Duration::from_millis(100);
/// Fourth step: time after a task's deadline at which the dispatcher kills the worker.
pub const DISPATCHER_GRACE: Duration = Duration::from_millis(150);
/// Time from SIGKILL until a worker must be reaped. After that (state D) it is abandoned.
pub const REAP_TIMEOUT: Duration = Duration::from_secs(5);
