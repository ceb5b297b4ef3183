//! Summarises records.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mpwasm_types::ids::WorkerNumber;
use mpwasm_types::outcome::{CallbackStatus, Kind};

use crate::failure_groups::{FailureGroups, cut};
use crate::histogram::histogram;
use crate::log_reader::RecordSink;
use crate::periods::{Period, periods};
use crate::record::{RecordStatus, TaskRecord};
use crate::report::{
    BadLines, Bin, CallbackSummary, Distribution, Log, Report, Retries, TaskCounts, TaskSummary, TimeSpan,
    VERSION,
};
use crate::throughput::throughput;
use crate::timeline::{LogWorker, Timeline, TimelineTask};
use crate::top_list::TopList;
use crate::workers::{WorkerRun, workers};

/// Longest key or model in a report, in characters.
const MAX_NAME: usize = 200;

/// Stands for an unknown number in a [`TaskFigures`].
const UNKNOWN: u64 = u64::MAX;

/// The figures of a task that ran: 56 bytes. They are kept for each task, so that percentiles are exact.
#[derive(Clone, Copy, Debug)]
struct TaskFigures {
    started_us: u64,
    queued_us: u64,
    run_us: u64,
    cpu_us: u64,
    memory_peak: u64,
    worker: WorkerNumber,
    pid: u32,
    log: u32,
    has_failed: bool,
}

/// A task's place in the order of a list: by a figure, then by log and line.
type Rank = (Reverse<u64>, String, u64);

/// Makes a [`Report`] of the records that it gets.
///
/// The report does not depend on the order of the logs, but for the patterns of messages if there are more than 2000 of one kind.
#[derive(Debug)]
pub struct Aggregator {
    top: usize,
    logs: Vec<Log>,
    /// The name of the last log.
    name: Arc<str>,
    /// The tasks of each log are beside each other.
    rows: Vec<TaskFigures>,
    /// Attempts before the last ones.
    earlier: Vec<WorkerRun>,
    by_status: [u64; Kind::ALL.len() + 1],
    stdout_bytes: Vec<u64>,
    output_truncated: u64,
    slowest: TopList<Rank, TaskSummary>,
    largest_memory: TopList<Rank, TaskSummary>,
    largest_output: TopList<Rank, TaskSummary>,
    failures: FailureGroups,
    retries: Retries,
    most_attempts: TopList<Rank, TaskSummary>,
    callbacks: CallbackSummary,
    failed_callbacks: TopList<Rank, TaskSummary>,
}

impl Aggregator {
    /// Returns an aggregator whose lists have at most `top` entries.
    #[must_use]
    pub fn new(top: usize) -> Self {
        Self {
            top,
            logs: Vec::new(),
            name: Arc::from(""),
            rows: Vec::new(),
            earlier: Vec::new(),
            by_status: Default::default(),
            stdout_bytes: Vec::new(),
            output_truncated: 0,
            slowest: TopList::new(top),
            largest_memory: TopList::new(top),
            largest_output: TopList::new(top),
            failures: FailureGroups::default(),
            retries: Retries {
                tasks: 0,
                attempts: 0,
                succeeded: 0,
                by_kind: BTreeMap::new(),
                most: Vec::new(),
            },
            most_attempts: TopList::new(top),
            callbacks: CallbackSummary {
                ok: 0,
                none: 0,
                skipped: 0,
                failed: 0,
                by_kind: BTreeMap::new(),
                first_failed: Vec::new(),
            },
            failed_callbacks: TopList::new(top),
        }
    }

    fn add_row(&mut self, log: u32, record: &TaskRecord<'_>) {
        let (Some(worker), Some(run_us)) = (record.worker, record.run_us) else {
            return;
        };
        self.rows.push(TaskFigures {
            started_us: record.started_us.unwrap_or(UNKNOWN),
            queued_us: record.queued_us.unwrap_or(UNKNOWN),
            run_us,
            cpu_us: record.cpu_us.unwrap_or(UNKNOWN),
            memory_peak: record.memory_peak.unwrap_or(UNKNOWN),
            worker,
            pid: record.pid.unwrap_or_default(),
            log,
            has_failed: !record.is_success(),
        });
    }

    fn add_attempts(&mut self, log: u32, record: &TaskRecord<'_>) {
        if record.attempts < 2 {
            return;
        }
        self.retries.tasks += 1;
        self.retries.attempts += u64::from(record.attempts - 1);
        self.retries.succeeded += u64::from(record.status == RecordStatus::Ok);
        for attempt in &record.tried {
            *self.retries.by_kind.entry(attempt.kind.as_str()).or_default() += 1;
            self.earlier.push(WorkerRun {
                log,
                worker: attempt.worker,
                pid: attempt.pid,
                is_last: false,
                has_failed: true,
                run_us: attempt.run_us,
                cpu_us: 0,
            });
        }
    }

    fn add_callback(&mut self, status: CallbackStatus) {
        match status {
            CallbackStatus::Ok => self.callbacks.ok += 1,
            CallbackStatus::None => self.callbacks.none += 1,
            CallbackStatus::Skipped => self.callbacks.skipped += 1,
            CallbackStatus::Failed(kind) => {
                self.callbacks.failed += 1;
                *self.callbacks.by_kind.entry(kind.as_str()).or_default() += 1;
            }
        }
    }

    /// Returns the report, and what workers did over time. Without start times that is unknown.
    #[must_use]
    pub(crate) fn finish_with_timeline(mut self, bad_lines: BadLines) -> (Report, Option<Timeline>) {
        self.order_logs();
        let timeline = Timeline::new(row_periods(&self.rows), || {
            self.rows.iter().filter_map(TaskFigures::timeline_task)
        });
        (self.finish(bad_lines), timeline)
    }

    /// Returns the report, with the lines that are no records.
    #[must_use]
    pub fn finish(mut self, bad_lines: BadLines) -> Report {
        self.order_logs();
        let names: Vec<_> = self.logs.iter().map(|log| log.name.clone()).collect();
        let all = row_periods(&self.rows);
        let time = time_span(&all, &self.rows);
        for rows in self.rows.chunk_by(|a, b| a.log == b.log) {
            self.logs[rows[0].log as usize].time = time_span(&row_periods(rows), rows);
        }
        let wall_us: Vec<_> = self.logs.iter().map(|log| Some(log.time?.wall_us)).collect();
        let runs = self
            .rows
            .iter()
            .map(TaskFigures::worker_run)
            .chain(self.earlier.iter().copied());
        let workers = workers(runs, &names, &wall_us);
        let ends = self
            .rows
            .iter()
            .filter_map(|row| Some((row.time()?.end, row.has_failed)));
        let (queue_us, queue_histogram) = self.distribution_and_histogram(|row| row.queued_us);
        let (run_us, run_histogram) = self.distribution_and_histogram(|row| row.run_us);
        Report {
            version: VERSION,
            tasks: self.task_counts(),
            time,
            queue_us,
            queue_histogram,
            run_us,
            run_histogram,
            cpu_us: self.distribution(|row| row.cpu_us),
            memory_peak: self.distribution(|row| row.memory_peak),
            throughput: throughput(&all, ends),
            workers,
            stdout_bytes: distribution(&sorted(self.stdout_bytes)),
            output_truncated: self.output_truncated,
            slowest: self.slowest.into_values(),
            largest_memory: self.largest_memory.into_values(),
            largest_output: self.largest_output.into_values(),
            failures: self.failures.into_failures(self.top),
            retries: Retries {
                most: self.most_attempts.into_values(),
                ..self.retries
            },
            callbacks: CallbackSummary {
                first_failed: self.failed_callbacks.into_values(),
                ..self.callbacks
            },
            logs: self.logs,
            bad_lines,
        }
    }

    /// Sorts the logs by name.
    fn order_logs(&mut self) {
        let mut order: Vec<_> = (0..self.logs.len()).collect();
        order.sort_by(|a, b| self.logs[*a].name.cmp(&self.logs[*b].name));
        let mut new_index = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            new_index[*old] = new as u32;
        }
        self.logs.sort_by(|a, b| a.name.cmp(&b.name));
        for row in &mut self.rows {
            row.log = new_index[row.log as usize];
        }
        if !order.is_sorted() {
            self.rows.sort_by_key(|row| row.log);
        }
        for run in &mut self.earlier {
            run.log = new_index[run.log as usize];
        }
    }

    fn task_counts(&self) -> TaskCounts {
        let total = self.by_status.iter().sum();
        let ok = self.by_status[RecordStatus::Ok.index()];
        let by_status = RecordStatus::all().map(|status| (status.as_str(), self.by_status[status.index()]));
        TaskCounts {
            total,
            ok,
            failed: total - ok,
            ran: self.rows.len() as u64,
            by_status: by_status.collect(),
        }
    }

    /// Returns the known values of a figure, sorted.
    fn sorted(&self, figure: impl Fn(&TaskFigures) -> u64) -> Vec<u64> {
        let figures = self.rows.iter().map(figure);
        sorted(figures.filter(|figure| *figure != UNKNOWN).collect())
    }

    fn distribution(&self, figure: impl Fn(&TaskFigures) -> u64) -> Distribution {
        distribution(&self.sorted(figure))
    }

    fn distribution_and_histogram(&self, figure: impl Fn(&TaskFigures) -> u64) -> (Distribution, Vec<Bin>) {
        let values = self.sorted(figure);
        (distribution(&values), histogram(&values))
    }
}

impl RecordSink for Aggregator {
    fn begin_log(&mut self, name: &str) -> io::Result<()> {
        self.name = Arc::from(name);
        self.logs.push(Log {
            name: name.to_owned(),
            records: 0,
            failed: 0,
            time: None,
        });
        Ok(())
    }

    fn record(&mut self, line: u64, record: &TaskRecord<'_>) -> io::Result<()> {
        let index = self.logs.len().saturating_sub(1) as u32;
        let Some(log) = self.logs.last_mut() else {
            return Err(io::Error::other("a record came before the first log"));
        };
        log.records += 1;
        log.failed += u64::from(!record.is_success());
        let name = self.name.clone();
        self.by_status[record.status.index()] += 1;
        self.stdout_bytes.push(record.stdout_bytes);
        self.output_truncated += u64::from(record.output_truncated);
        self.add_row(index, record);
        self.add_attempts(index, record);
        self.add_callback(record.callback);
        let summary = || summary(&name, line, record);
        self.failures.add(&name, line, record, summary);
        let rank = |figure: u64| (Reverse(figure), name.to_string(), line);
        let add = |list: &mut TopList<Rank, TaskSummary>, figure: u64| {
            // Most tasks are in no list, and need no copy of the name.
            if list.has_room_for(|last| Reverse(figure) <= last.0) {
                list.add(rank(figure), summary);
            }
        };
        record
            .run_us
            .into_iter()
            .for_each(|run| add(&mut self.slowest, run));
        let memory = record.memory_peak.filter(|memory| *memory > 0);
        memory
            .into_iter()
            .for_each(|memory| add(&mut self.largest_memory, memory));
        if record.stdout_bytes > 0 {
            add(&mut self.largest_output, record.stdout_bytes);
        }
        if record.attempts > 1 {
            add(&mut self.most_attempts, record.attempts.into());
        }
        if matches!(record.callback, CallbackStatus::Failed(_)) {
            add(&mut self.failed_callbacks, 0);
        }
        Ok(())
    }
}

impl TaskFigures {
    /// Returns the time from acceptance to the end, if it is known.
    fn time(&self) -> Option<Period> {
        let queued = if self.queued_us == UNKNOWN {
            0
        } else {
            self.queued_us
        };
        (self.started_us != UNKNOWN).then(|| Period {
            start: self.started_us.saturating_sub(queued),
            end: self.started_us.saturating_add(self.run_us),
        })
    }

    fn timeline_task(&self) -> Option<TimelineTask> {
        (self.started_us != UNKNOWN).then_some(TimelineTask {
            worker: LogWorker {
                log: self.log,
                worker: self.worker,
            },
            start_us: self.started_us,
            run_us: self.run_us,
            has_failed: self.has_failed,
        })
    }

    fn worker_run(&self) -> WorkerRun {
        WorkerRun {
            log: self.log,
            worker: self.worker,
            pid: self.pid,
            is_last: true,
            has_failed: self.has_failed,
            run_us: self.run_us,
            cpu_us: if self.cpu_us == UNKNOWN { 0 } else { self.cpu_us },
        }
    }
}

fn row_periods(rows: &[TaskFigures]) -> Vec<Period> {
    periods(rows.iter().filter_map(TaskFigures::time).collect())
}

fn time_span(periods: &[Period], rows: &[TaskFigures]) -> Option<TimeSpan> {
    let (first, last) = (periods.first()?, periods.last()?);
    let wall_us = periods
        .iter()
        .map(|period| period.length())
        .fold(0, u64::saturating_add);
    let (mut ended, mut cpu_us) = (0_u64, 0_u64);
    for row in rows.iter().filter(|row| row.started_us != UNKNOWN) {
        ended += 1;
        cpu_us = cpu_us.saturating_add(row.worker_run().cpu_us);
    }
    Some(TimeSpan {
        first_us: first.start,
        last_us: last.end,
        wall_us,
        cpu_us,
        tasks_per_second: (wall_us > 0).then(|| ended as f64 / (wall_us as f64 / 1e6)),
    })
}

fn sorted(mut values: Vec<u64>) -> Vec<u64> {
    values.sort_unstable();
    values
}

/// Returns the distribution of sorted values.
fn distribution(values: &[u64]) -> Distribution {
    let (Some(min), Some(max)) = (values.first(), values.last()) else {
        return Distribution::default();
    };
    let percentile = |percent: usize| values[(values.len() * percent).div_ceil(100) - 1];
    let sum: u128 = values.iter().map(|value| u128::from(*value)).sum();
    let count = values.len() as u64;
    let bounded = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
    Distribution {
        count,
        sum: bounded(sum),
        mean: bounded(sum / u128::from(count)),
        min: *min,
        p50: percentile(50),
        p90: percentile(90),
        p99: percentile(99),
        max: *max,
    }
}

fn summary(log: &str, line: u64, record: &TaskRecord<'_>) -> TaskSummary {
    TaskSummary {
        log: log.to_owned(),
        line,
        id: record.id,
        key: record.key.as_ref().map(|key| cut(key, MAX_NAME)),
        model: cut(&record.model, MAX_NAME),
        status: record.status.as_str(),
        callback: record.callback.as_str(),
        attempts: record.attempts,
        worker: record.worker,
        started_us: record.started_us,
        queued_us: record.queued_us,
        run_us: record.run_us,
        cpu_us: record.cpu_us,
        memory_peak: record.memory_peak,
        stdout_bytes: record.stdout_bytes,
    }
}

#[cfg(test)]
mod tests;
