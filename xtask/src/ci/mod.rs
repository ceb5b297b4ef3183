//! `cargo xtask ci`: the checks that a change has to pass, as named steps.
//!
//! The first steps run at the same time, each as a process of its own. The others run one after the other, since tests and
//! benchmarks measure time.

mod checks;
mod context;
mod demo;
mod guests;
mod memory;
mod ordinary_user;
mod packages;
mod parallel;
mod report_page;
mod step;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::repository::Repository;
use crate::structure;
use context::Context;
use step::{Step, alone, run_alone, step};

/// All steps, in the order in which they run: those that do not disturb each other come first.
const STEPS: &[Step] = &[
    step("format", "rustfmt, and the lock file of fuzz/", checks::format),
    step(
        "dependencies",
        "licences, bans, sources and advisories of dependencies",
        checks::dependencies,
    ),
    step(
        "structure",
        "arrows between crates and files, length of files, names of types, lints",
        |context| structure::check(&context.repository),
    ),
    step("clippy", "lints of host and guest code", checks::clippy),
    step("documentation", "rustdoc without warnings", checks::documentation),
    step(
        "packages",
        "that each published crate compiles from its archive, and their publication",
        packages::check,
    ),
    alone("tests", "all tests (README)", checks::tests),
    alone(
        "memory",
        "the most memory of each process over the hostile corpus (SECURITY.md)",
        memory::show,
    ),
    alone("demo", "the demo of the README", demo::check),
    alone("c-guests", "C guests with Debian's clang", guests::c_guests),
    alone(
        "report-page",
        "the page of `mpwasm report` in Chromium",
        report_page::check,
    ),
    alone("judge", "the example guests/judge", guests::judge),
    alone(
        "ordinary-user",
        "the tests of processes again, as a user who owns nothing",
        ordinary_user::check,
    ),
    alone("counts", "bounds on system calls per task", checks::counts),
    alone("benchmarks", "that the benchmarks run", checks::benchmarks),
];

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Steps to run, in their usual order; all of them if none is named.
    steps: Vec<String>,
    /// Show the steps instead of running them.
    #[arg(long)]
    list: bool,
    /// Run one step for another process of this program, and write to this file what could not be checked.
    #[arg(long, hide = true, requires = "steps")]
    part: Option<PathBuf>,
}

/// Runs the steps up to the first that fails, and shows how long each took.
pub fn run(repository: Repository, options: &Options) -> Result<()> {
    if options.list {
        STEPS
            .iter()
            .for_each(|step| println!("{:14} {}", step.name, step.about));
        return Ok(());
    }
    let steps = selected(&options.steps)?;
    std::env::set_current_dir(&repository.root)?;
    let context = Context {
        repository,
        scratch: tempfile::tempdir()?,
        not_checked: RefCell::default(),
    };
    if options.part.is_none() {
        report_page::fetch_assets(&context);
    }
    if let Some(report) = &options.part {
        for step in steps {
            (step.check)(&context)?;
        }
        return Ok(fs::write(report, context.not_checked.borrow().join("\n"))?);
    }
    let started = Instant::now();
    let mut passed: Vec<(&str, Duration)> = Vec::new();
    let (alone, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| step.is_alone);
    let result =
        parallel::run(&context, &others, &mut passed).and_then(|()| run_alone(&context, &alone, &mut passed));
    println!("\n{}", summary(&passed, started.elapsed()));
    result?;
    for what in context.not_checked.borrow().iter() {
        println!("NOT CHECKED: {what}");
    }
    context.show_retries();
    println!("\n== all passed");
    Ok(())
}

/// The named steps in the order of [`STEPS`].
fn selected(names: &[String]) -> Result<Vec<&'static Step>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        bail!("there is no step {unknown}: `cargo xtask ci --list` shows all");
    }
    let is_wanted = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(is_wanted).collect())
}

/// A table of the steps that passed, their times, and the time of all.
fn summary(passed: &[(&str, Duration)], total: Duration) -> String {
    let rows = passed.iter().copied().chain([("total", total)]);
    let row = |(name, took): (&str, Duration)| format!("| {name:14} | {:>8.1} |\n", took.as_secs_f64());
    format!(
        "| passed         |  seconds |\n|----------------|----------|\n{}",
        rows.map(row).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_steps_run_in_their_usual_order() {
        let names = |steps: Vec<&Step>| steps.iter().map(|step| step.name).collect::<Vec<_>>();
        let wanted = ["demo".to_owned(), "format".to_owned()];
        assert_eq!(names(selected(&wanted).unwrap()), ["format", "demo"]);
        assert_eq!(selected(&[]).unwrap().len(), STEPS.len());
        assert!(selected(&["fromat".to_owned()]).is_err());
    }

    #[test]
    fn steps_that_can_run_beside_others_come_first() {
        assert!(STEPS.is_sorted_by_key(|step| step.is_alone));
        assert!(STEPS.iter().any(|step| step.name == "tests" && step.is_alone));
    }

    #[test]
    fn the_summary_has_a_row_for_each_step_and_the_total() {
        let passed = [
            ("format", Duration::from_secs(2)),
            ("clippy", Duration::from_millis(500)),
        ];
        let table = summary(&passed, Duration::from_millis(2100));
        assert!(table.contains("| format         |      2.0 |\n"), "{table}");
        assert!(table.ends_with("| total          |      2.1 |\n"), "{table}");
    }
}
