//! The data of the charts, as JSON for the script of the page.

use mpwasm_types::escape::escape;
use serde::Serialize;

use crate::html::charts::{cell_share, lane_name};
use crate::html::page::{ReportPage, SingleTask};
use crate::report::{Bin, Throughput};
use crate::timeline::{LogWorker, Timeline};

/// What the charts show. Times are microseconds; those of the timeline and the throughput begin with the first task.
#[derive(Debug, Serialize)]
pub struct Data {
    timeline: Option<TimelineData>,
    throughput: Option<ThroughputData>,
    queue: HistogramData,
    run: HistogramData,
}

#[derive(Debug, Serialize)]
struct TimelineData {
    length: u64,
    /// The start of each period since the Unix epoch, and its length.
    periods: Vec<(u64, u64)>,
    lanes: Vec<LaneData>,
    /// Width of each bin.
    width: u64,
    /// The tasks, or `null` if there are many.
    tasks: Option<Vec<TaskData>>,
}

/// A task: its lane, start and run time, whether it failed (0 or 1), and its name.
type TaskData = (usize, u64, u64, u8, String);

#[derive(Debug, Serialize)]
struct LaneData {
    label: String,
    name: String,
    /// For each bin, unless there are tasks: busy time in thousandths, tasks that ended, and tasks that failed.
    busy: Vec<u16>,
    ended: Vec<u64>,
    failed: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct ThroughputData {
    width: u64,
    starts: Vec<u64>,
    ended: Vec<u64>,
    failed: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct HistogramData {
    /// The edges of the bins, one more than there are bins.
    edges: Vec<u64>,
    counts: Vec<u64>,
}

impl Data {
    /// Returns the data of a page.
    pub fn of(page: &ReportPage) -> Self {
        let report = &page.report;
        let timeline = page.timeline.as_ref();
        let throughput = report.throughput.as_ref();
        Self {
            timeline: timeline.map(|timeline| timeline_data(timeline, page)),
            throughput: timeline
                .zip(throughput)
                .map(|(timeline, throughput)| throughput_data(throughput, timeline)),
            queue: histogram_data(&report.queue_histogram),
            run: histogram_data(&report.run_histogram),
        }
    }

    /// Returns JSON that can stand in an element of a page.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and texts are JSON");
        json.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    }
}

fn timeline_data(timeline: &Timeline, page: &ReportPage) -> TimelineData {
    let tasks = page.single.as_ref().map(|single| {
        let tasks = single.iter().filter_map(|task| task_data(task, timeline, page));
        tasks.collect::<Vec<_>>()
    });
    let lanes = timeline.lanes.iter().enumerate().map(|(lane, cells)| {
        // Tasks that are shown by themselves need no bins.
        let cells = if tasks.is_none() { &cells[..] } else { &[] };
        let busy = cells
            .iter()
            .map(|cell| (cell_share(cell, timeline, lane) * 1000.0).ceil() as u16);
        LaneData {
            label: lane_label(timeline, lane, page.report.logs.len() > 1),
            name: escape(&lane_name(timeline, lane, &page.report)).into_owned(),
            busy: busy.collect(),
            ended: cells.iter().map(|cell| cell.ended).collect(),
            failed: cells.iter().map(|cell| cell.failed).collect(),
        }
    });
    let periods = timeline.periods().iter();
    TimelineData {
        length: timeline.length_us,
        periods: periods.map(|period| (period.start, period.length())).collect(),
        lanes: lanes.collect(),
        width: timeline.width_us,
        tasks,
    }
}

fn task_data(task: &SingleTask, timeline: &Timeline, page: &ReportPage) -> Option<TaskData> {
    let log = page.report.logs.iter().position(|log| *log.name == *task.log)?;
    let lane = timeline.lane(LogWorker {
        log: log as u32,
        worker: task.worker,
    })?;
    let mut name = format!("task {} ({})", task.id, task.status);
    if let Some(key) = task.key.as_ref().filter(|key| !key.is_empty()) {
        name += &format!(" \"{}\"", escape(key));
    }
    let start = timeline.position(task.start_us);
    Some((lane, start, task.run_us, u8::from(task.has_failed), name))
}

/// Returns a short name of a lane: the number of its worker or its first and last one, behind the log's from 1 if there are several.
fn lane_label(timeline: &Timeline, lane: usize, several_logs: bool) -> String {
    let name = |worker: &LogWorker| match several_logs {
        true => format!("{}:{}", worker.log + 1, worker.worker),
        false => worker.worker.to_string(),
    };
    match timeline.workers(lane) {
        [] => String::new(),
        [one] => name(one),
        [first, .., last] => format!("{}–{}", name(first), name(last)),
    }
}

fn throughput_data(throughput: &Throughput, timeline: &Timeline) -> ThroughputData {
    let intervals = throughput.intervals.iter();
    ThroughputData {
        width: throughput.width_us,
        starts: intervals
            .clone()
            .map(|interval| timeline.position(interval.start_us))
            .collect(),
        ended: intervals.clone().map(|interval| interval.ended).collect(),
        failed: intervals.map(|interval| interval.failed).collect(),
    }
}

fn histogram_data(bins: &[Bin]) -> HistogramData {
    let last = bins.last().map(|bin| bin.to_us);
    HistogramData {
        edges: bins.iter().map(|bin| bin.from_us).chain(last).collect(),
        counts: bins.iter().map(|bin| bin.count).collect(),
    }
}
