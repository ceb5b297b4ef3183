//! Steps that run at the same time. Each is a process of its own, so that its output can be shown in one piece.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::context::Context;
use super::step::{Step, run_alone};
use crate::command::{command, show};

/// The end of a step that ran in another process.
struct Ended {
    name: &'static str,
    about: &'static str,
    output: Result<Output>,
    took: Duration,
}

/// Runs steps at the same time, and shows the output of each when it ends. Those that pass are added to `passed`, with their
/// times. All run to their end, also if one fails.
pub fn run(
    context: &Context,
    steps: &[&'static Step],
    passed: &mut Vec<(&'static str, Duration)>,
) -> Result<()> {
    if steps.len() < 2 {
        return run_alone(context, steps, passed);
    }
    let names: Vec<_> = steps.iter().map(|step| step.name).collect();
    println!("\n== at the same time: {}", names.join(", "));
    let program = std::env::current_exe().context("this program has no file")?;
    let report = |step: &str| context.scratch.path().join(format!("{step}.not-checked"));
    let (sender, ended) = mpsc::channel();
    let failed = thread::scope(|scope| {
        for step in steps {
            let mut command = command(&program.to_string_lossy());
            command.args(["ci", step.name, "--part"]).arg(report(step.name));
            let sender = sender.clone();
            // The receiver lives until all have ended.
            scope.spawn(move || sender.send(run_step(step, command)));
        }
        drop(sender);
        let mut failed = Vec::new();
        for step in ended {
            show_step(&step);
            match step.output {
                Ok(output) if output.status.success() => passed.push((step.name, step.took)),
                Ok(_) => failed.push(step.name.to_owned()),
                Err(error) => failed.push(format!("{} ({error:#})", step.name)),
            }
        }
        failed
    });
    for name in names {
        let report = read_report(&report(name));
        context.not_checked.borrow_mut().extend(report);
    }
    if !failed.is_empty() {
        bail!("these steps failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs the command of a step, with its stderr in its stdout.
fn run_step(step: &Step, command: Command) -> Ended {
    let started = Instant::now();
    let output = merged(command);
    Ended {
        name: step.name,
        about: step.about,
        output,
        took: started.elapsed(),
    }
}

/// Runs a command, and returns its output with stdout and stderr in the order in which they were written.
fn merged(mut command: Command) -> Result<Output> {
    let line = show(&command);
    let (mut reader, writer) = std::io::pipe()?;
    command
        .stdin(std::process::Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    // Its ends of the pipe are closed with it, so that the child's end is the end of the stream.
    drop(command);
    let mut stdout = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut stdout)?;
    Ok(Output {
        status: child.wait()?,
        stdout,
        stderr: Vec::new(),
    })
}

fn show_step(step: &Ended) {
    println!(
        "\n== {} ({:.0} s): {}",
        step.name,
        step.took.as_secs_f64(),
        step.about
    );
    if let Ok(output) = &step.output {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            println!("== {} failed", step.name);
        }
    }
}

/// What a step could not check. A step that failed has left no file.
fn read_report(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_step_is_in_its_order() {
        let mut shell = command("sh");
        shell.args(["-c", "echo a; echo b >&2; echo c; exit 3"]);
        let output = merged(shell).unwrap();
        assert_eq!(output.stdout, b"a\nb\nc\n");
        assert_eq!(output.status.code(), Some(3));
        assert!(merged(command("/nowhere")).is_err());
    }
}
