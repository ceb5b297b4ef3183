//! The demo of the README: five workers, ten tasks of which about half run into their timeout.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::context::Context;
use crate::command::{Run as _, show};

const DEMO: &[&str] = &["run", "--release", "--", "run", "--size", "5", "guests/demo"];

/// Tasks of the demo.
const TASKS: usize = 10;
/// Workers of the demo.
const WORKERS: usize = 5;
/// Runs in which all workers may come to run a task. On a busy machine one may start too late for that.
const RUNS: u32 = 3;

/// Runs the demo as the README says, and once more with records.
pub fn check(context: &Context) -> Result<()> {
    printed(context)?;
    recorded(context)?;
    let stats = context
        .cargo_with_own_cache(&["run", "--release", "--", "cache", "stats"])
        .stdout_of()?;
    print!("{stats}");
    ensure!(
        stats.lines().any(|line| line == "guests    1"),
        "the cache does not have the one guest of the demo"
    );
    Ok(())
}

/// Checks what the demo prints.
fn printed(context: &Context) -> Result<()> {
    let mut command = context.cargo_with_own_cache(DEMO);
    let line = show(&command);
    println!("$ {line}");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    let text = String::from_utf8(output.stdout)?;
    print!("{text}");
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "`{line}` ended with {}",
        output.status
    );
    let begins = text
        .lines()
        .filter(|line| line.starts_with("runnable in process"))
        .count();
    ensure!(
        begins == TASKS,
        "{begins} tasks said in which process they run, not {TASKS}"
    );
    let callbacks = text
        .lines()
        .filter(|line| line.contains("callback in process"))
        .count();
    ensure!(
        callbacks == TASKS,
        "{callbacks} callbacks said in which process they run, not {TASKS}"
    );
    Ok(())
}

/// Checks the records of the demo.
fn recorded(context: &Context) -> Result<()> {
    let path = context.scratch.path().join("records");
    for run in 1..=RUNS {
        let mut command = context.cargo_with_own_cache(DEMO);
        command.arg("--results").arg(&path).arg("--overwrite");
        run_demo(&mut command)?;
        let records = Records::read(&path)?;
        if records.workers.len() == WORKERS || run == RUNS {
            return records.check();
        }
        println!(
            "run {run} of {RUNS}: {} of {WORKERS} workers ran a task; once more",
            records.workers.len()
        );
    }
    Ok(())
}

/// Runs the demo, which exits with 1 if a task ran into its timeout.
fn run_demo(command: &mut Command) -> Result<()> {
    let line = show(command);
    println!("$ {line}");
    command
        .status()
        .with_context(|| format!("cannot start `{line}`"))
        .map(drop)
}

/// What the records of the demo say.
struct Records {
    statuses: Vec<String>,
    workers: BTreeSet<u64>,
    processes: BTreeSet<u64>,
}

impl Records {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let records: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let numbers = |field: &str| {
            records
                .iter()
                .filter_map(|record| record[field].as_u64())
                .collect()
        };
        Ok(Self {
            statuses: records
                .iter()
                .filter_map(|record| Some(record["status"].as_str()?.to_owned()))
                .collect(),
            workers: numbers("worker"),
            processes: numbers("pid"),
        })
    }

    fn check(&self) -> Result<()> {
        let with = |wanted: &str| self.statuses.iter().filter(|status| *status == wanted).count();
        let (ok, timeouts) = (with("ok"), with("timeout"));
        ensure!(
            ok + timeouts == TASKS,
            "{ok} tasks are ok and {timeouts} timed out, which is not {TASKS}"
        );
        let workers = self.workers.len();
        ensure!(workers == WORKERS, "{workers} workers ran tasks, not {WORKERS}");
        // A worker that does not end a task at its timeout is replaced.
        let processes = self.processes.len();
        ensure!(
            (WORKERS..=WORKERS + timeouts).contains(&processes),
            "{processes} processes ran tasks, with {timeouts} timeouts"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(change: impl Fn(u64, &mut Value)) -> Records {
        let line = |id: u64| {
            let status = if id < 5 { "ok" } else { "timeout" };
            let mut record =
                serde_json::json!({"id": id, "status": status, "worker": id % 5, "pid": 100 + id % 5});
            change(id, &mut record);
            format!("{record}\n")
        };
        Records::parse(&(0..10).map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn ten_tasks_in_five_workers_pass() {
        records(|_, _| ()).check().unwrap();
        records(|id, record| record["pid"] = (100 + id).into())
            .check()
            .unwrap();
    }

    #[test]
    fn other_statuses_and_other_numbers_of_workers_and_processes_fail() {
        assert!(
            records(|_, record| record["status"] = "crash".into())
                .check()
                .is_err()
        );
        assert!(
            records(|id, record| record["worker"] = (id % 4).into())
                .check()
                .is_err()
        );
        assert!(records(|_, record| record["pid"] = 1.into()).check().is_err());
        let replaced_without_timeout = records(|id, record| {
            record["status"] = "ok".into();
            record["pid"] = id.into();
        });
        assert!(replaced_without_timeout.check().is_err());
    }
}
