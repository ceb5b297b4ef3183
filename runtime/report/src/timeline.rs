//! What each worker did over time, in a bounded number of bins.

use std::collections::BTreeSet;

use mpwasm_types::ids::WorkerNumber;

use crate::periods::Period;

/// Most lanes of a timeline: 64. Workers share lanes if there are more of them.
const MAX_LANES: usize = 64;

/// Most bins of a lane: 4096, several for each pixel of a screen.
const MAX_BINS: u64 = 4096;

/// Most bins of all lanes: 100,000, so that a page has at most about a megabyte of them.
const MAX_CELLS: u64 = 100_000;

/// The last attempt of a task.
#[derive(Clone, Copy, Debug)]
pub struct TimelineTask {
    /// Its worker.
    pub worker: LogWorker,
    /// When it began: microseconds since the Unix epoch.
    pub start_us: u64,
    /// Microseconds that it ran.
    pub run_us: u64,
    /// Whether the task or its callback failed.
    pub has_failed: bool,
}

/// A worker of one of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogWorker {
    /// Number of the log.
    pub log: u32,
    /// The worker's number.
    pub worker: WorkerNumber,
}

/// What workers did over time. Times are microseconds from the start of the first period, without the gaps between periods.
#[derive(Debug)]
pub struct Timeline {
    periods: Vec<Period>,
    workers: Vec<LogWorker>,
    /// Number of workers of each lane but the last, which may have fewer.
    workers_per_lane: usize,
    /// Sum of the periods, microseconds.
    pub length_us: u64,
    /// Width of each bin, microseconds.
    pub width_us: u64,
    /// The bins of each lane.
    pub lanes: Vec<Vec<Cell>>,
}

/// What the workers of a lane did in a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Microseconds in which they ran tasks, in total.
    pub busy_us: u64,
    /// Number of tasks that ended.
    pub ended: u64,
    /// Number of these tasks that failed, or whose callbacks did.
    pub failed: u64,
}

impl Timeline {
    /// Returns the timeline of tasks that are all within the periods, or `None` without tasks.
    pub fn new<T: Iterator<Item = TimelineTask>>(
        periods: Vec<Period>,
        tasks: impl Fn() -> T,
    ) -> Option<Self> {
        let workers: BTreeSet<_> = tasks().map(|task| task.worker).collect();
        let workers: Vec<_> = workers.into_iter().collect();
        if workers.is_empty() {
            return None;
        }
        let workers_per_lane = workers.len().div_ceil(MAX_LANES);
        let lanes = workers.len().div_ceil(workers_per_lane);
        let lengths = periods.iter().map(|period| period.length());
        let length_us = lengths.fold(0, u64::saturating_add);
        let width_us = length_us / MAX_BINS.min(MAX_CELLS / lanes as u64) + 1;
        let bins = (length_us / width_us + 1) as usize;
        let mut timeline = Self {
            periods,
            workers,
            workers_per_lane,
            length_us,
            width_us,
            lanes: vec![vec![Cell::default(); bins]; lanes],
        };
        timeline.add_all(tasks());
        Some(timeline)
    }

    fn add_all(&mut self, tasks: impl Iterator<Item = TimelineTask>) {
        // A task that fills many bins changes two numbers: that of tasks that began to fill bins, and that of those that ceased.
        let bins = self.lanes[0].len();
        let mut changes = vec![vec![0_i64; bins + 1]; self.lanes.len()];
        for task in tasks {
            let Some(lane) = self.lane(task.worker) else {
                continue;
            };
            let start = self.position(task.start_us);
            let end = start.saturating_add(task.run_us).min(self.length_us);
            let (first, last) = (self.bin(start), self.bin(end));
            let width = self.width_us;
            let cells = &mut self.lanes[lane];
            if first == last {
                cells[first].busy_us = cells[first].busy_us.saturating_add(end - start);
            } else {
                let in_first = (first as u64 + 1) * width - start;
                let in_last = end - last as u64 * width;
                cells[first].busy_us = cells[first].busy_us.saturating_add(in_first);
                cells[last].busy_us = cells[last].busy_us.saturating_add(in_last);
                changes[lane][first + 1] += 1;
                changes[lane][last] -= 1;
            }
            cells[last].ended += 1;
            cells[last].failed += u64::from(task.has_failed);
        }
        for (cells, changes) in self.lanes.iter_mut().zip(changes) {
            let mut filling = 0_i64;
            for (cell, change) in cells.iter_mut().zip(changes) {
                filling += change;
                let full = self.width_us.saturating_mul(filling.unsigned_abs());
                cell.busy_us = cell.busy_us.saturating_add(full);
            }
        }
    }

    /// Returns the lane of a worker.
    pub fn lane(&self, worker: LogWorker) -> Option<usize> {
        let index = self.workers.binary_search(&worker).ok()?;
        Some(index / self.workers_per_lane)
    }

    /// Returns the workers of a lane, of which there is at least one.
    pub fn workers(&self, lane: usize) -> &[LogWorker] {
        let start = lane * self.workers_per_lane;
        &self.workers[start..self.workers.len().min(start + self.workers_per_lane)]
    }

    /// Returns the place of a time on the timeline. The input is in microseconds since the Unix epoch.
    pub fn position(&self, unix_us: u64) -> u64 {
        let mut before: u64 = 0;
        for period in &self.periods {
            if unix_us <= period.end {
                return before.saturating_add(unix_us.saturating_sub(period.start));
            }
            before = before.saturating_add(period.length());
        }
        before
    }

    /// Returns the periods, between which nothing ran.
    pub fn periods(&self) -> &[Period] {
        &self.periods
    }

    fn bin(&self, position: u64) -> usize {
        (position / self.width_us) as usize
    }
}

#[cfg(test)]
mod tests;
