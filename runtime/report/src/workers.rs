//! Sums up what each worker did.

use std::collections::BTreeMap;

use mpwasm_types::ids::WorkerNumber;

use crate::report::Worker;

/// An attempt that a worker ran.
#[derive(Clone, Copy, Debug)]
pub struct WorkerRun {
    /// Number of the log.
    pub log: u32,
    /// The worker's number.
    pub worker: WorkerNumber,
    /// The worker's process id.
    pub pid: u32,
    /// Whether it was the last attempt of its task.
    pub is_last: bool,
    /// Whether the task or its callback failed.
    pub has_failed: bool,
    /// Wall time, microseconds.
    pub run_us: u64,
    /// CPU time, microseconds.
    pub cpu_us: u64,
}

/// Returns the workers of all logs by the logs' numbers and their own. `wall_us` has the wall time of each log, if it is known.
pub fn workers(
    runs: impl Iterator<Item = WorkerRun>,
    names: &[String],
    wall_us: &[Option<u64>],
) -> Vec<Worker> {
    let mut workers = BTreeMap::new();
    let mut processes = Vec::new();
    for run in runs {
        processes.push((run.log, run.worker, run.pid));
        let worker = workers.entry((run.log, run.worker)).or_insert_with(|| Worker {
            log: names[run.log as usize].clone(),
            worker: run.worker,
            tasks: 0,
            failed: 0,
            processes: 0,
            busy_us: 0,
            cpu_us: 0,
            busy_share: None,
        });
        worker.tasks += u64::from(run.is_last);
        worker.failed += u64::from(run.is_last && run.has_failed);
        worker.busy_us = worker.busy_us.saturating_add(run.run_us);
        worker.cpu_us = worker.cpu_us.saturating_add(run.cpu_us);
    }
    processes.sort_unstable();
    processes.dedup();
    for (log, worker, _) in processes {
        if let Some(worker) = workers.get_mut(&(log, worker)) {
            worker.processes += 1;
        }
    }
    for ((log, _), worker) in &mut workers {
        let wall = wall_us[*log as usize].filter(|wall| *wall > 0);
        worker.busy_share = wall.map(|wall| (worker.busy_us as f64 / wall as f64).min(1.0));
    }
    workers.into_values().collect()
}
