//! Measures the CPU time per task of each process.

use std::fs;

use anyhow::{Context, Result};

use super::measure::Samples;
use super::setup::{Setup, WORKERS};

/// Tasks of one measurement.
const TASKS: u64 = 300_000;

/// Measures the CPU time per task of each process, in microseconds.
pub fn plain(setup: &Setup) -> Result<Samples> {
    let [parent, dispatcher, workers] = microseconds(setup, "noop")?;
    Ok(vec![
        ("CPU time: parent", parent),
        ("CPU time: dispatcher", dispatcher),
        ("CPU time: workers", workers),
        ("CPU time: all", parent + dispatcher + workers),
    ])
}

/// Measures the same with a callback for each task.
pub fn with_callback(setup: &Setup) -> Result<Samples> {
    let [parent, dispatcher, workers] = microseconds(setup, "called")?;
    Ok(vec![
        ("CPU time, callbacks: parent", parent),
        ("CPU time, callbacks: dispatcher", dispatcher),
        ("CPU time, callbacks: workers", workers),
        ("CPU time, callbacks: all", parent + dispatcher + workers),
    ])
}

fn microseconds(setup: &Setup, model: &str) -> Result<[f64; 3]> {
    let (pool, guest, counter) = setup.pool(WORKERS)?;
    let model = guest.model(model)?;
    let mut pushed = 0;
    let mut push = |count| {
        pushed += count;
        pool.push_all((0..count).map(|_| model.task(())))?;
        counter.wait_for(pushed)
    };
    push(10_000)?;
    let dispatcher = pool.dispatcher_pid();
    let workers = children(dispatcher)?;
    let used = || -> Result<[u64; 3]> {
        let workers = workers.iter().map(|&pid| nanoseconds(pid)).sum::<Result<u64>>()?;
        Ok([
            nanoseconds(std::process::id())?,
            nanoseconds(dispatcher)?,
            workers,
        ])
    };
    let before = used()?;
    push(TASKS)?;
    let after = used()?;
    pool.stop()?;
    Ok(std::array::from_fn(|process| {
        (after[process] - before[process]) as f64 / 1e3 / TASKS as f64
    }))
}

/// Returns the child processes of a process.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        children.extend(
            list.split_whitespace()
                .map(str::parse::<u32>)
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    Ok(children)
}

/// Returns the CPU time that a process has used so far, in nanoseconds.
fn nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let time = text.split(' ').next().context("schedstat is empty")?;
        sum += time.parse::<u64>()?;
    }
    Ok(sum)
}
