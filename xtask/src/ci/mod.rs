//! `cargo xtask ci`: the checks that a change has to pass, as named steps.
//!
//! The first steps run at the same time, each as a process of its own. The others run one after the other, since tests and
//! benchmarks measure time.

mod checks;
mod demo;
mod guests;
mod memory;
mod ordinary_user;
mod packages;
mod parallel;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::command::cargo;
use crate::repository::Repository;
use crate::structure;

/// A named check.
struct Step {
    name: &'static str,
    about: &'static str,
    check: fn(&Context) -> Result<()>,
    /// Whether no other step may run at the same time.
    is_alone: bool,
}

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
        "arrows between crates and files, length of files, lints",
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
    alone("judge", "the example guests/judge", guests::judge),
    alone(
        "ordinary-user",
        "the tests of processes again, as a user who owns nothing",
        ordinary_user::check,
    ),
    alone("counts", "bounds on system calls per task", checks::counts),
    alone("benchmarks", "that the benchmarks run", checks::benchmarks),
];

/// A step that can run beside others: it measures no time and builds nothing that they change.
const fn step(name: &'static str, about: &'static str, check: fn(&Context) -> Result<()>) -> Step {
    let is_alone = false;
    Step {
        name,
        about,
        check,
        is_alone,
    }
}

/// A step that runs while no other does.
const fn alone(name: &'static str, about: &'static str, check: fn(&Context) -> Result<()>) -> Step {
    Step {
        is_alone: true,
        ..step(name, about, check)
    }
}

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

/// What the steps share.
struct Context {
    repository: Repository,
    /// Removed at the end.
    scratch: TempDir,
    /// What a step had to leave out on this machine.
    not_checked: RefCell<Vec<String>>,
}

impl Context {
    /// Records that something could not be checked on this machine. The summary repeats it.
    fn not_checked(&self, what: &str) {
        println!("NOT CHECKED: {what}");
        self.not_checked.borrow_mut().push(what.to_owned());
    }

    /// The file to which tests append the name of each check that they tried again, as this user and as an ordinary one.
    fn retries(&self) -> PathBuf {
        self.scratch.path().join("retries")
    }

    /// Shows how often which test tried a check again.
    fn show_retries(&self) {
        for path in [self.retries(), self.scratch.path().join("tmp/retries")] {
            // Without retries there is no such file.
            let text = fs::read_to_string(path).unwrap_or_default();
            for (test, count) in counted(&text) {
                println!("RETRIED: {test}, {count} of its tries failed");
            }
        }
    }

    /// `cargo ARGS...` with an empty cache of compiled guests in place of the user's own.
    fn cargo_with_own_cache(&self, args: &[&str]) -> Command {
        let mut command = cargo(args);
        command.env("MPWASM_CACHE_DIR", self.scratch.path().join("cache"));
        command
    }
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

/// Runs steps one after the other, up to the first that fails. Those that pass are added to `passed`, with their times.
fn run_alone(context: &Context, steps: &[&Step], passed: &mut Vec<(&'static str, Duration)>) -> Result<()> {
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

/// Each line, and how often it is there.
fn counted(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line).or_default() += 1;
    }
    counts
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
    fn retries_are_counted_by_test() {
        let counts = counted("a::one\nb::two\na::one\n");
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("a::one", 2), ("b::two", 1)]
        );
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
