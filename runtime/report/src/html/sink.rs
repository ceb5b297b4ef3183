//! Collects what the page shows.

use std::io;
use std::sync::Arc;

use crate::aggregator::Aggregator;
use crate::failure_groups::cut;
use crate::html::page::{ReportPage, SingleTask};
use crate::log_reader::RecordSink;
use crate::record::TaskRecord;
use crate::report::BadLines;

/// Most tasks that a timeline shows one by one: 2000, as many as a screen has columns. More are shown in bins.
const MAX_SINGLE: usize = 2000;

/// Longest key of a task on the timeline, in characters.
const MAX_LABEL: usize = 60;

/// Makes a [`ReportPage`] of the records that it gets.
#[derive(Debug)]
pub struct PageBuilder {
    top: usize,
    aggregator: Aggregator,
    log: Arc<str>,
    /// The tasks, or `None` once there are too many.
    single: Option<Vec<SingleTask>>,
}

impl PageBuilder {
    /// Returns a builder of a page whose lists have at most `top` entries.
    #[must_use]
    pub fn new(top: usize) -> Self {
        Self {
            top,
            aggregator: Aggregator::new(top),
            log: Arc::from(""),
            single: Some(Vec::new()),
        }
    }

    /// Returns the page, with the lines that are no records.
    #[must_use]
    pub fn finish(self, bad_lines: BadLines) -> ReportPage {
        let (report, timeline) = self.aggregator.finish_with_timeline(bad_lines);
        ReportPage {
            report,
            timeline,
            single: self.single,
            top: self.top,
        }
    }
}

impl RecordSink for PageBuilder {
    fn begin_log(&mut self, name: &str) -> io::Result<()> {
        self.log = Arc::from(name);
        self.aggregator.begin_log(name)
    }

    fn record(&mut self, line: u64, record: &TaskRecord<'_>) -> io::Result<()> {
        if let Some(single) = &mut self.single
            && let (Some(worker), Some(start_us), Some(run_us)) =
                (record.worker, record.started_us, record.run_us)
        {
            if single.len() < MAX_SINGLE {
                single.push(SingleTask {
                    log: self.log.clone(),
                    id: record.id,
                    key: record.key.as_ref().map(|key| cut(key, MAX_LABEL)),
                    status: record.status.as_str(),
                    has_failed: !record.is_success(),
                    worker,
                    start_us,
                    run_us,
                });
            } else {
                self.single = None;
            }
        }
        self.aggregator.record(line, record)
    }
}
