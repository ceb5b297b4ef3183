//! Measures comparable pools with the same tasks: Python's multiprocessing and concurrent.futures, pebble, and `wasmtime run`
//! as a process per task. Peers that are not installed are skipped.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::latency::first_line;
use super::measure::{Samples, per_second, timed};
use super::memory::idle_memory;
use super::setup::Setup;

/// Number of runs of `wasmtime` in one measurement.
const WASMTIME_RUNS: u64 = 20;

/// Runs a measurement of the script, which prints one number.
fn number(setup: &Setup, name: &'static str, args: &[&str]) -> Result<Samples> {
    Ok(setup
        .peer_number(args)?
        .map(|value| (name, value))
        .into_iter()
        .collect())
}

/// Measures `Pool.apply_async` with a callback.
pub fn multiprocessing(setup: &Setup) -> Result<Samples> {
    number(setup, "multiprocessing: apply_async", &["apply_async", "40000"])
}

/// Measures `Pool.imap_unordered`, items one by one.
pub fn imap_unordered(setup: &Setup) -> Result<Samples> {
    number(
        setup,
        "multiprocessing: imap_unordered",
        &["imap_unordered", "60000"],
    )
}

/// Measures `ProcessPoolExecutor.submit`.
pub fn futures(setup: &Setup) -> Result<Samples> {
    number(setup, "concurrent.futures: submit", &["futures", "10000"])
}

/// Measures `ProcessPoolExecutor.map` in chunks of 100.
pub fn map(setup: &Setup) -> Result<Samples> {
    number(
        setup,
        "concurrent.futures: map, chunks of 100",
        &["futures_map", "500000"],
    )
}

/// Measures `pebble.ProcessPool.schedule` with a timeout.
pub fn pebble(setup: &Setup) -> Result<Samples> {
    number(setup, "pebble: schedule", &["pebble", "10000"])
}

/// Measures `Pool.apply`, one after the other.
pub fn latency(setup: &Setup) -> Result<Samples> {
    number(setup, "multiprocessing: apply, us", &["latency", "2000"])
}

/// Measures 1 MiB to a process of `ProcessPoolExecutor` and back.
pub fn payload(setup: &Setup) -> Result<Samples> {
    number(setup, "concurrent.futures: 1 MiB, MB/s", &["payload", "300"])
}

/// Measures how long after its timeout a task of pebble ends.
pub fn overshoot(setup: &Setup) -> Result<Samples> {
    number(setup, "pebble: overshoot p50, ms", &["overshoot", "5"])
}

/// Measures the time from the start of a process with a `multiprocessing.Pool` of five to its first result.
pub fn first_result(setup: &Setup) -> Result<Samples> {
    let Some(mut command) = setup.peer_command(&["first", "5"]) else {
        return Ok(Vec::new());
    };
    Ok(vec![(
        "multiprocessing: first result, ms",
        first_line(&mut command)?,
    )])
}

/// Measures the memory of an idle `multiprocessing.Pool` of five.
pub fn memory(setup: &Setup) -> Result<Samples> {
    let Some(mut command) = setup.peer_command(&["idle", "5"]) else {
        return Ok(Vec::new());
    };
    Ok(vec![(
        "multiprocessing: memory, MiB",
        idle_memory(&mut command, String::new(), 1)?,
    )])
}

/// Measures one process of the wasmtime command line per task.
pub fn wasmtime(setup: &Setup) -> Result<Samples> {
    let version = Command::new("wasmtime")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if setup.python.is_none() || version.is_err() {
        return Ok(Vec::new());
    }
    let guest = setup.file("empty.wat");
    std::fs::write(&guest, "(module (func (export \"_start\")))")?;
    let seconds = timed(|| {
        for _ in 0..WASMTIME_RUNS {
            let status = Command::new("wasmtime").arg("run").arg(&guest).status()?;
            ensure!(status.success(), "wasmtime run failed");
        }
        anyhow::Ok(())
    })?;
    Ok(vec![("wasmtime run", per_second(WASMTIME_RUNS, seconds))])
}
