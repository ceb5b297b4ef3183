//! The context of the running call: its process, its task, its deadline, its log.

use std::fmt;
use std::time::Duration;

use crate::host;

/// Returns the id of the operating-system process that runs this call: a worker in `runnable`, the dispatcher in the
/// callbacks. (`std::process::id` does not work in a guest.)
#[must_use]
pub fn pid() -> u32 {
    host::pid()
}

/// Returns the id of this call's task. Ids count from 0 in the order in which tasks were accepted.
#[must_use]
pub fn task_id() -> u64 {
    host::task_id()
}

/// Returns the number of this attempt of the task, counted from 1. It is above 1 only when the task is retried.
#[must_use]
pub fn attempt() -> u32 {
    host::attempt()
}

/// Returns the time until this call's deadline, in whole milliseconds; zero when it has passed.
///
/// A long computation can check it, to return a less exact result in time. On other targets than `wasm32` it is
/// practically unlimited.
///
/// ```
/// use std::time::Duration;
///
/// let mut estimate = 1.0;
/// for _ in 0..1000 {
///     if mpwasm_guest::remaining() < Duration::from_millis(50) {
///         break;
///     }
///     estimate = (estimate + 2.0 / estimate) / 2.0;
/// }
/// # assert!((estimate - 2.0_f64.sqrt()).abs() < 1e-9);
/// ```
#[must_use]
pub fn remaining() -> Duration {
    Duration::from_millis(host::remaining_ms())
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is wrong, or soon will be.
    Warn = 2,
    /// Information for operators.
    Info = 3,
    /// Information for finding a fault.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

/// Writes a structured log line, which the host tags with its level and the call it comes from.
///
/// It counts towards the task's `--max-output`. [`log!`](crate::log!) is the same with a format string.
///
/// ```
/// use mpwasm_guest::{Level, log};
///
/// log(Level::Warn, "the cache is cold");
/// log!(Level::Info, "read {} lines", 17);
/// ```
pub fn log(level: Level, message: impl fmt::Display) {
    host::log(level as i32, &message.to_string());
}

/// Writes a log line as [`log()`] does, with a format string and its arguments, as `println!` takes them.
///
/// ```
/// mpwasm_guest::log!(mpwasm_guest::Level::Debug, "{} of {}", 3, 10);
/// ```
#[macro_export]
macro_rules! log {
    ($level:expr, $($format:tt)+) => {
        $crate::log($level, ::std::format_args!($($format)+))
    };
}
