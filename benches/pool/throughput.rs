//! Measures tasks per second: through the library without and with callbacks, as a map in chunks, and from file to file.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::measure::{Samples, per_second, timed};
use super::setup::{Setup, WORKERS};

/// Number of tasks in one measurement.
const TASKS: u64 = 200_000;
/// Number of items of a map in one measurement.
const ITEMS: u64 = 1_000_000;
/// Number of items per chunk.
const CHUNK: usize = 100;
/// Number of tasks that run before the measurement.
const WARM_UP: u64 = 10_000;

/// Measures tasks without callbacks through the library.
pub fn plain(setup: &Setup) -> Result<Samples> {
    Ok(vec![("tasks", through_library(setup, "noop", WORKERS, TASKS)?)])
}

/// Measures tasks with callbacks through the library.
pub fn with_callback(setup: &Setup) -> Result<Samples> {
    Ok(vec![(
        "tasks, callbacks",
        through_library(setup, "called", WORKERS, TASKS)?,
    )])
}

/// Measures the items of a map in chunks. The items of a chunk share an instance.
pub fn map(setup: &Setup) -> Result<Samples> {
    let (pool, guest, _) = setup.pool(WORKERS)?;
    let model = guest.model("ignore")?;
    let run = |count: u64| {
        let results = pool.map(&model, 0..count)?.chunk_size(CHUNK);
        let ok = results.filter(|outcome| outcome.result.is_ok()).count() as u64;
        ensure!(ok == count, "only {ok} items of {count} ended well");
        anyhow::Ok(())
    };
    run(ITEMS / 10)?;
    let seconds = timed(|| run(ITEMS))?;
    pool.stop()?;
    Ok(vec![("map, chunks of 100", per_second(ITEMS, seconds))])
}

/// Measures a run from a file of task lines to a file of records.
pub fn files(setup: &Setup) -> Result<Samples> {
    let (tasks, results) = (setup.file("tasks"), setup.file("results"));
    if !tasks.exists() {
        write_tasks(&tasks, TASKS)?;
    }
    // The time includes the start of the processes, as it does for users.
    let seconds = timed(|| {
        let status = setup
            .mpwasm()
            .args([
                "run",
                &setup.model("noop"),
                "--size",
                &WORKERS.to_string(),
                "--tasks",
            ])
            .arg(&tasks)
            .arg("--results")
            .arg(&results)
            .arg("--overwrite")
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "the run failed: {status}");
        anyhow::Ok(())
    })?;
    Ok(vec![("tasks, file to file", per_second(TASKS, seconds))])
}

/// Returns the tasks per second of a pool.
pub fn through_library(setup: &Setup, model: &str, size: u32, count: u64) -> Result<f64> {
    let (pool, guest, counter) = setup.pool(size)?;
    let model = guest.model(model)?;
    let warm_up = WARM_UP.min(count);
    pool.push_all((0..warm_up).map(|_| model.task(())))?;
    counter.wait_for(warm_up)?;
    let seconds = timed(|| {
        pool.push_all((0..count).map(|_| model.task(())))?;
        counter.wait_for(warm_up + count)
    })?;
    pool.stop()?;
    Ok(per_second(count, seconds))
}

/// Writes a file of `count` task lines.
pub fn write_tasks(path: &std::path::Path, count: u64) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for _ in 0..count {
        file.write_all(b"[]\n")?;
    }
    file.flush()?;
    Ok(())
}
