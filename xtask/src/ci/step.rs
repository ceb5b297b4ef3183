//! The named steps.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::context::Context;

/// A named check.
pub struct Step {
    pub name: &'static str,
    pub about: &'static str,
    pub check: fn(&Context) -> Result<()>,
    /// Whether no other step may run at the same time.
    pub is_alone: bool,
}

/// A step that can run beside others: it measures no time and builds nothing that they change.
pub const fn step(name: &'static str, about: &'static str, check: fn(&Context) -> Result<()>) -> Step {
    let is_alone = false;
    Step {
        name,
        about,
        check,
        is_alone,
    }
}

/// A step that runs while no other does.
pub const fn alone(name: &'static str, about: &'static str, check: fn(&Context) -> Result<()>) -> Step {
    Step {
        is_alone: true,
        ..step(name, about, check)
    }
}

/// Runs steps one after the other, up to the first that fails. Those that pass are added to `passed`, with their times.
pub fn run_alone(
    context: &Context,
    steps: &[&Step],
    passed: &mut Vec<(&'static str, Duration)>,
) -> Result<()> {
    for step in steps {
        println!("\n== {}: {}", step.name, step.about);
        let started = Instant::now();
        let result = (step.check)(context);
        let took = started.elapsed();
        result.with_context(|| format!("the step {} failed after {:.0} s", step.name, took.as_secs_f64()))?;
        passed.push((step.name, took));
    }
    Ok(())
}
