//! What a page shows.

use std::sync::Arc;

use mpwasm_types::ids::{TaskId, WorkerNumber};

use crate::report::Report;
use crate::timeline::Timeline;

/// A report that can be written as a page.
#[derive(Debug)]
pub struct ReportPage {
    /// What it says.
    pub report: Report,
    /// What workers did over time, if start times are known.
    pub timeline: Option<Timeline>,
    /// The tasks, if there are few.
    pub single: Option<Vec<SingleTask>>,
    /// Most entries of lists of workers and logs.
    pub top: usize,
}

/// A task that the timeline shows by itself.
#[derive(Debug)]
pub struct SingleTask {
    /// The log with its record.
    pub log: Arc<str>,
    /// Its id.
    pub id: TaskId,
    /// Its key, which may be cut.
    pub key: Option<String>,
    /// Its status.
    pub status: &'static str,
    /// Whether it or its callback failed.
    pub has_failed: bool,
    /// The worker of its last attempt.
    pub worker: WorkerNumber,
    /// When its last attempt began: microseconds since the Unix epoch.
    pub start_us: u64,
    /// Microseconds of its last attempt.
    pub run_us: u64,
}
