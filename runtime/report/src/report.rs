//! The summary of records. Its JSON form is documented in `docs/reporting.md` and `docs/reference/report.schema.json`.

use std::collections::BTreeMap;

use mpwasm_types::ids::{TaskId, WorkerNumber};
use serde::Serialize;

/// Version of the JSON form. It changes when a field is removed or changes its meaning, and not when one is added.
pub const VERSION: u32 = 1;

/// The summary of all records of one or more logs.
///
/// `first_us`, `last_us`, `start_us` and `started_us` are microseconds since the Unix epoch. Other names with `_us` are durations
/// in microseconds. Text of guests is as it was, not escaped.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Version of this form: 1.
    pub version: u32,
    /// The logs, by name.
    pub logs: Vec<Log>,
    /// Numbers of tasks by outcome.
    pub tasks: TaskCounts,
    /// When tasks ran. `null` if no record has a start time.
    pub time: Option<TimeSpan>,
    /// Microseconds from acceptance to the start of the last attempt, over the tasks that ran.
    pub queue_us: Distribution,
    /// The queue times in bins.
    pub queue_histogram: Vec<Bin>,
    /// Microseconds of wall time of the last attempt, over the tasks that ran.
    pub run_us: Distribution,
    /// The run times in bins.
    pub run_histogram: Vec<Bin>,
    /// Microseconds of CPU time of the last attempt, over the tasks for which it is known.
    pub cpu_us: Distribution,
    /// Largest size of the linear memory, bytes, over the tasks for which it is known.
    pub memory_peak: Distribution,
    /// Bytes written to stdout, over all tasks.
    pub stdout_bytes: Distribution,
    /// Number of tasks whose output was cut.
    pub output_truncated: u64,
    /// Tasks that ended, over time. `null` if no record has a start time.
    pub throughput: Option<Throughput>,
    /// The tasks with the longest last attempts.
    pub slowest: Vec<TaskSummary>,
    /// The tasks with the largest linear memory.
    pub largest_memory: Vec<TaskSummary>,
    /// The tasks with the most output.
    pub largest_output: Vec<TaskSummary>,
    /// Failed tasks by kind and message.
    pub failures: Failures,
    /// Tasks that were tried more than once.
    pub retries: Retries,
    /// How callbacks ended.
    pub callbacks: CallbackSummary,
    /// Each worker of each log.
    pub workers: Vec<Worker>,
    /// Lines that are no records.
    pub bad_lines: BadLines,
}

/// A log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Log {
    /// The name of the file.
    pub name: String,
    /// Number of records.
    pub records: u64,
    /// Number of records of tasks or callbacks that failed.
    pub failed: u64,
    /// When tasks ran. `null` if no record has a start time.
    pub time: Option<TimeSpan>,
}

/// Numbers of tasks by outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TaskCounts {
    /// All tasks.
    pub total: u64,
    /// Tasks that succeeded, whatever their callbacks did.
    pub ok: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that ran.
    pub ran: u64,
    /// Number of tasks of each status.
    pub by_status: BTreeMap<&'static str, u64>,
}

/// The time in which tasks ran.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TimeSpan {
    /// When the first task was accepted.
    pub first_us: u64,
    /// When the last task ended.
    pub last_us: u64,
    /// Microseconds in which at least one task waited or ran. Gaps of less than a minute, or of less than a hundredth of the
    /// whole time, are included.
    pub wall_us: u64,
    /// CPU time of all tasks, microseconds.
    pub cpu_us: u64,
    /// Tasks that ended per second of `wall_us`. `null` if that is zero.
    pub tasks_per_second: Option<f64>,
}

/// The distribution of a quantity over tasks. The percentiles are exact: the smallest value that at least so many percent of the
/// values do not exceed. All are 0 if `count` is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// Number of values.
    pub count: u64,
    /// Sum of the values.
    pub sum: u64,
    /// Arithmetic mean, rounded down.
    pub mean: u64,
    /// Smallest value.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest value.
    pub max: u64,
}

/// The number of times in a range. The bins of a histogram follow each other without gaps, and their widths are round numbers:
/// equal ones, or growing ones if the largest time is at least ten times the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Bin {
    /// The smallest time of the bin, microseconds.
    pub from_us: u64,
    /// The time at which the next bin begins, microseconds.
    pub to_us: u64,
    /// Number of times in the bin.
    pub count: u64,
}

/// Tasks that ended, over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Throughput {
    /// Length of each interval, microseconds.
    pub width_us: u64,
    /// The intervals in their order. Times in which no task waited or ran are left out.
    pub intervals: Vec<Interval>,
}

/// An interval of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interval {
    /// Its start.
    pub start_us: u64,
    /// Number of tasks that ended in it.
    pub ended: u64,
    /// Number of these tasks that failed, or whose callbacks did.
    pub failed: u64,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TaskSummary {
    /// The log with its record.
    pub log: String,
    /// The line of its record, from 1.
    pub line: u64,
    /// Its id.
    pub id: TaskId,
    /// Its key, cut at 200 characters.
    pub key: Option<String>,
    /// Its model, cut at 200 characters.
    pub model: String,
    /// Its status.
    pub status: &'static str,
    /// How its callback ended.
    pub callback: &'static str,
    /// Number of attempts.
    pub attempts: u32,
    /// The worker of its last attempt.
    pub worker: Option<WorkerNumber>,
    /// When its last attempt began.
    pub started_us: Option<u64>,
    /// Microseconds from acceptance to the start of its last attempt.
    pub queued_us: Option<u64>,
    /// Microseconds of wall time of its last attempt.
    pub run_us: Option<u64>,
    /// Microseconds of CPU time of its last attempt.
    pub cpu_us: Option<u64>,
    /// Largest size of its linear memory, bytes.
    pub memory_peak: Option<u64>,
    /// Bytes that it wrote to its stdout.
    pub stdout_bytes: u64,
}

/// Failed tasks by kind and message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Failures {
    /// Number of groups.
    pub groups_total: u64,
    /// The largest groups.
    pub groups: Vec<FailureGroup>,
}

/// Failed tasks of one kind, with messages that differ only in numbers, hexadecimal digits, paths and quoted text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FailureGroup {
    /// The kind.
    pub kind: &'static str,
    /// The message with placeholders. `null` for the tasks that were not grouped, as there were too many different messages.
    pub pattern: Option<String>,
    /// Number of tasks.
    pub count: u64,
    /// The first of the tasks.
    pub example: TaskSummary,
    /// Its message, cut at 1000 characters.
    pub message: String,
    /// The innermost frame of its backtrace, cut at 300 characters.
    pub frame: Option<String>,
}

/// Tasks that were tried more than once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Retries {
    /// Number of tasks.
    pub tasks: u64,
    /// Number of attempts after the first ones.
    pub attempts: u64,
    /// Number of these tasks that succeeded in the end.
    pub succeeded: u64,
    /// Number of attempts before the last ones, by the kind of their failure.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// The tasks with the most attempts.
    pub most: Vec<TaskSummary>,
}

/// How callbacks ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CallbackSummary {
    /// Callbacks that succeeded.
    pub ok: u64,
    /// Tasks without a callback.
    pub none: u64,
    /// Callbacks that were off.
    pub skipped: u64,
    /// Callbacks that failed.
    pub failed: u64,
    /// Callbacks that failed, by kind.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// The first tasks whose callbacks failed.
    pub first_failed: Vec<TaskSummary>,
}

/// A worker of one log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Worker {
    /// The log.
    pub log: String,
    /// The worker's number, from 0.
    pub worker: WorkerNumber,
    /// Number of tasks whose last attempt it ran.
    pub tasks: u64,
    /// Number of these tasks that failed, or whose callbacks did.
    pub failed: u64,
    /// Number of processes that it consisted of, one after another.
    pub processes: u64,
    /// Microseconds in which it ran tasks, with all attempts.
    pub busy_us: u64,
    /// CPU time of the tasks, microseconds.
    pub cpu_us: u64,
    /// `busy_us` as a part of the log's `wall_us`, from 0 to 1. `null` if that is unknown or zero.
    pub busy_share: Option<f64>,
}

/// Lines that are no records.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BadLines {
    /// Number of lines.
    pub total: u64,
    /// Lines that are longer than 64 MiB.
    pub too_long: u64,
    /// Lines that are not UTF-8.
    pub not_utf8: u64,
    /// Lines that are not JSON.
    pub not_json: u64,
    /// Lines that are JSON, but no records.
    pub not_record: u64,
    /// Last lines that lack an end and are no records: the writer was killed.
    pub torn: u64,
    /// The first of the lines by log and number, at most 10.
    pub first: Vec<BadLine>,
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BadLine {
    /// The log.
    pub log: String,
    /// Its number, from 1.
    pub line: u64,
    /// The reason.
    pub reason: BadLineReason,
    /// What the parser says.
    pub why: Option<String>,
}

/// Why a line is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadLineReason {
    /// It is longer than the limit.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// It is not JSON.
    NotJson,
    /// It is JSON, but no record.
    NotRecord,
    /// It is the last line, lacks an end, and is no record: the writer was killed.
    Torn,
}

impl BadLineReason {
    /// Returns the reason as a part of a sentence about the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "longer than 64 MiB",
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not JSON",
            Self::NotRecord => "JSON, but no record",
            Self::Torn => "cut off",
        }
    }
}

#[cfg(test)]
mod tests;
