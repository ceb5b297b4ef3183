//! The quantities whose percentiles a report shows.

use crate::report::{Distribution, Report};
use crate::text::figures::{duration, size};

/// A quantity with its name, and how it is written.
pub type Quantity<'a> = (&'static str, &'a Distribution, fn(u64) -> String);

/// Returns the quantities that are known, in the order in which they are shown.
pub fn known(report: &Report) -> impl Iterator<Item = Quantity<'_>> {
    let quantities: [Quantity<'_>; 5] = [
        ("queue time", &report.queue_us, duration),
        ("run time", &report.run_us, duration),
        ("CPU time", &report.cpu_us, duration),
        ("memory", &report.memory_peak, size),
        ("stdout", &report.stdout_bytes, size),
    ];
    quantities
        .into_iter()
        .filter(|(_, distribution, _)| distribution.max > 0)
}
