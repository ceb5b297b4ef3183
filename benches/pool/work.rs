//! Measures tasks that are not no-ops: computing tasks, large payloads, and short tasks among long ones.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mpwasm::{Cache, Pool};

use super::limit;
use super::measure::{Samples, per_second, percentile, timed};
use super::setup::{COPY, Counter, Setup, WORKERS, WRITE};

/// Rounds of a task that computes for about 20 ms.
const ROUNDS: u64 = 10_000_000;
/// Tasks per worker, or per plain process.
const TASKS: u64 = 40;

/// Measures tasks of 20 ms in the pool, and the same number in plain processes that run the same code in the same engine.
pub fn computing(setup: &Setup) -> Result<Samples> {
    let plain = limit::run(setup, "compute.runnable", &format!("[{ROUNDS}]"), TASKS, WORKERS)?;
    let (pool, guest, counter) = setup.pool(WORKERS)?;
    let model = guest.model("compute")?;
    let warm_up = u64::from(WORKERS) * 4;
    pool.push_all((0..warm_up).map(|_| model.task([ROUNDS])))?;
    counter.wait_for(warm_up)?;
    let all = TASKS * u64::from(WORKERS);
    let seconds = timed(|| {
        pool.push_all((0..all).map(|_| model.task([ROUNDS])))?;
        counter.wait_for(warm_up + all)
    })?;
    pool.stop()?;
    Ok(vec![("computing, of plain processes", plain.seconds / seconds)])
}

/// Measures tasks that return their args of 1 MiB, in MB per second.
pub fn payload(setup: &Setup) -> Result<Samples> {
    const TASKS: u64 = 300;
    let counter = Counter::default();
    let pool = Pool::builder()
        .size(WORKERS)
        .cache(Cache::at(setup.file("cache")))
        .reporter(counter.clone())
        .start()?;
    let guest = pool.load_bytes("copy.wat", COPY.as_bytes())?;
    let text = "x".repeat(1 << 20);
    let push = |count: u64| pool.push_all((0..count).map(|_| guest.task([&text])));
    push(20)?;
    counter.wait_for(20)?;
    let seconds = timed(|| {
        push(TASKS)?;
        counter.wait_for(20 + TASKS)
    })?;
    pool.stop()?;
    Ok(vec![("1 MiB echoed, MB/s", (TASKS << 20) as f64 / 1e6 / seconds)])
}

/// Measures tasks that write 4 MiB or 16 MiB of memory, a word per page, in tasks per second.
pub fn writes(setup: &Setup) -> Result<Samples> {
    let rate = |mib: u64, tasks: u64| -> Result<f64> {
        let counter = Counter::default();
        let pool = Pool::builder()
            .size(WORKERS)
            .cache(Cache::at(setup.file("cache")))
            .reporter(counter.clone())
            .start()?;
        let text = WRITE.replace("PAGES", &(mib * 16).to_string());
        let guest = pool.load_bytes("write.wat", text.as_bytes())?;
        pool.push_all((0..tasks / 10).map(|_| guest.task(())))?;
        counter.wait_for(tasks / 10)?;
        let seconds = timed(|| {
            pool.push_all((0..tasks).map(|_| guest.task(())))?;
            counter.wait_for(tasks / 10 + tasks)
        })?;
        pool.stop()?;
        Ok(per_second(tasks, seconds))
    };
    Ok(vec![
        ("tasks that write 4 MiB", rate(4, 4000)?),
        ("tasks that write 16 MiB", rate(16, 1000)?),
    ])
}

/// Measures short tasks among long ones: the share of the workers' time spent on tasks, and the wait of a short task.
pub fn mixed(setup: &Setup) -> Result<Samples> {
    const LONG: u64 = 20;
    const SHORT_PER_LONG: u64 = 500;
    let (pool, guest, counter) = setup.pool(WORKERS)?;
    let (long, short) = (guest.model("compute")?, guest.model("noop")?);
    let mut handles = Vec::new();
    let seconds = timed(|| {
        for _ in 0..LONG {
            handles.push((true, pool.submit(long.task([ROUNDS]))?));
            for _ in 0..SHORT_PER_LONG {
                handles.push((false, pool.submit(short.task(()))?));
            }
        }
        counter.wait_for(LONG * (1 + SHORT_PER_LONG))
    })?;
    let (mut busy, mut queued) = (0, Vec::new());
    for (is_long, handle) in handles {
        let usage = handle.wait().usage;
        busy += usage.run_us.context("it ran")?;
        if !is_long {
            queued.push(usage.queued_us.context("it ran")? as f64 / 1e3);
        }
    }
    pool.stop()?;
    let busy = Duration::from_micros(busy).as_secs_f64();
    ensure!(!queued.is_empty(), "short tasks ran");
    Ok(vec![
        ("mixed: workers busy", busy / (seconds * f64::from(WORKERS))),
        ("mixed: a short task waits p90, ms", percentile(&queued, 90)),
    ])
}
