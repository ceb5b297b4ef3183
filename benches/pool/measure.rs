//! Samples by name, and their statistics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The values of one run of a measurement, by name.
pub type Samples = Vec<(&'static str, f64)>;

/// The samples of all runs, by name.
#[derive(Debug, Default)]
pub struct Measured(BTreeMap<&'static str, Vec<f64>>);

impl Measured {
    /// Adds samples.
    pub fn add(&mut self, samples: Samples) {
        for (name, value) in samples {
            self.0.entry(name).or_default().push(value);
        }
    }

    /// Returns the median of the samples with this name.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|values| percentile(values, 50))
    }

    /// Returns the minimum, median, maximum and number of samples, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, [f64; 3], usize)> {
        self.0.iter().map(|(name, values)| {
            let at = |percent| percentile(values, percent);
            (*name, [at(0), at(50), at(100)], values.len())
        })
    }
}

/// Returns the value below which `percent` per cent of the values are. Panics without values.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Returns the rate per second.
pub fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Returns the time that `run` takes, in seconds.
pub fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<f64, E> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Converts to milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
