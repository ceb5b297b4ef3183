//! Numbers: samples by name, and what is made of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Results of one run of a measurement: values by name.
pub type Samples = Vec<(&'static str, f64)>;

/// All samples so far.
#[derive(Debug, Default)]
pub struct Measured(BTreeMap<&'static str, Vec<f64>>);

impl Measured {
    /// Adds samples.
    pub fn add(&mut self, samples: Samples) {
        for (name, value) in samples {
            self.0.entry(name).or_default().push(value);
        }
    }

    /// The median of what was measured under this name.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|values| percentile(values, 50))
    }

    /// Smallest, median and largest, and how many there are, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, [f64; 3], usize)> {
        self.0.iter().map(|(name, values)| {
            let at = |percent| percentile(values, percent);
            (*name, [at(0), at(50), at(100)], values.len())
        })
    }
}

/// The value below which `percent` per cent of the values are. Panics without values.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

/// How many in a second.
pub fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// How long it took, in seconds.
pub fn timed<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<f64, E> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64())
}

/// In milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
