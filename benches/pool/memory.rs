//! Measures the memory of an idle pool, and of one while tasks stream through it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::breakdown::children;
use super::measure::Samples;
use super::setup::{Setup, WORKERS};

/// Measures the proportional set size (PSS) of a process and its descendants, with five workers that have each run a task.
pub fn idle(setup: &Setup) -> Result<Samples> {
    let mut command = setup.mpwasm();
    command.args([
        "run",
        &setup.model("sleep"),
        "--size",
        "5",
        "--tasks",
        "-",
        "--results",
        "-",
    ]);
    // The tasks are so long that each worker gets one. The records come when all have run.
    Ok(vec![(
        "memory of 5 idle workers, MiB",
        idle_memory(&mut command, "[200]\n".repeat(5), 5)?,
    )])
}

/// Starts a process, writes `input` to it, waits for `lines` lines, and returns its memory while it is idle, in MiB.
pub fn idle_memory(command: &mut Command, input: String, lines: usize) -> Result<f64> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    stdin.write_all(input.as_bytes())?;
    let mut output = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
    for _ in 0..lines {
        ensure!(
            output.read_line(&mut String::new())? > 0,
            "{command:?} ended early"
        );
    }
    let mut bytes = 0;
    for pid in family(child.id())? {
        bytes += kibibytes(pid, "smaps_rollup", "Pss:")? << 10;
    }
    drop(stdin);
    ensure!(child.wait()?.success(), "{command:?} failed");
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// Returns the peak memory by role while `tasks` tasks stream from stdin to a pipe of records, in MiB.
pub fn streamed(setup: &Setup, tasks: u64) -> Result<BTreeMap<String, f64>> {
    let mut child = setup
        .mpwasm()
        .args([
            "run",
            &setup.model("noop"),
            "--size",
            &WORKERS.to_string(),
            "--tasks",
            "-",
            "--results",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    let records = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
    let (seen, peaks) = std::sync::mpsc::channel();
    let pid = child.id();
    let reader = std::thread::spawn(move || -> Result<()> {
        for (count, record) in (1..).zip(records.split(b'\n')) {
            record?;
            // All processes still exist at this point, as stdin is open.
            if count == tasks {
                seen.send(peaks_of(pid))?;
            }
        }
        Ok(())
    });
    let line = b"[]\n".repeat(1000);
    for _ in 0..tasks / 1000 {
        stdin.write_all(&line)?;
    }
    stdin.flush()?;
    let peaks = peaks.recv().context("not all tasks were recorded")??;
    drop(stdin);
    reader.join().expect("the reader does not panic")?;
    finish(&mut child)?;
    Ok(peaks)
}

fn finish(child: &mut Child) -> Result<()> {
    let status = child.wait()?;
    ensure!(status.success(), "the run ended with {status}");
    Ok(())
}

/// Returns the peak memory by role: the parent, the dispatcher and the largest worker.
fn peaks_of(parent: u32) -> Result<BTreeMap<String, f64>> {
    let mut peaks = BTreeMap::new();
    for pid in family(parent)? {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        let role = command.split("--mpwasm-child=").nth(1).unwrap_or("parent");
        let role = role.trim_end_matches('\0').to_owned();
        let peak = kibibytes(pid, "status", "VmHWM:")? as f64 / 1024.0;
        let largest = peaks.entry(role).or_insert(peak);
        *largest = peak.max(*largest);
    }
    Ok(peaks)
}

/// Returns a process and all its descendants.
fn family(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut index = 0;
    while let Some(&pid) = all.get(index) {
        all.extend(children(pid)?);
        index += 1;
    }
    Ok(all)
}

/// Returns the number in the line `FIELD NUMBER kB` of a file in /proc.
fn kibibytes(pid: u32, file: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(number
        .with_context(|| format!("no {field} in {file}"))?
        .trim()
        .parse()?)
}
