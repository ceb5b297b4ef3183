//! Measures how throughput depends on the number of workers and the number of tasks.

use anyhow::Result;

use super::measure::Samples;
use super::setup::{Setup, WORKERS};
use super::throughput::through_library;

/// Measures throughput with fewer and with more workers than CPUs.
pub fn workers(setup: &Setup) -> Result<Samples> {
    let of = |size| through_library(setup, "noop", size, 100_000);
    Ok(vec![
        ("tasks, 1 worker", of(1)?),
        ("tasks, 4 workers", of(4)?),
        ("tasks, 8 workers", of(8)?),
    ])
}

/// Measures throughput with few tasks and with many.
pub fn tasks(setup: &Setup) -> Result<Samples> {
    let of = |count| through_library(setup, "noop", WORKERS, count);
    Ok(vec![
        ("tasks, 1 000 of them", of(1_000)?),
        ("tasks, 1 000 000 of them", of(1_000_000)?),
    ])
}
