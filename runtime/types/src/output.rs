//! Bounds of the output and log lines of tasks, and of those that nothing reads.

use std::time::Duration;

use crate::outcome::MAX_FAILURE_MESSAGE;

/// Longest log line in a message: the message of a callback's failure and a sentence around it.
pub const MAX_LOG_TEXT: usize = MAX_FAILURE_MESSAGE + (1 << 10);
/// Bytes that a log line takes of the output cap beside its text: each is a message of its own.
pub const LOG_LINE_COST: usize = 16;
/// Log cap of a command whose output has no cap. Its log is not streamed and may stay in memory.
const MAX_STREAMED_LOG: u64 = 1 << 20;
/// Bytes of log lines and warnings that wait unread where a child does not wait for its reader: more than a command may log with
/// every byte escaped. Lines beyond that are dropped.
pub const MAX_UNREAD_LOG: usize = 32 << 20;
/// Time without a reader after which output of a child past its deadline is dropped: longer than a worker takes to end.
pub const UNREAD_OUTPUT_TIMEOUT: Duration = Duration::from_millis(250);

/// Returns how many bytes a task may log under this output cap.
#[must_use]
pub const fn log_cap(max_output: u64) -> u64 {
    match max_output {
        u64::MAX => MAX_STREAMED_LOG,
        capped => capped,
    }
}
