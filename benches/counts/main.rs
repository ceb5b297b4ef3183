//! Counts that do not depend on how busy the machine is, with bounds: the system calls that one more task costs, in all
//! processes together. CI runs this, so that no change adds one per task unnoticed.
//!
//! ```text
//! cargo bench --bench counts
//! ```
//!
//! strace counts only the calls that it is asked for, and the rest runs at full speed; so each kind has a run of its own.
//! A run of few tasks is subtracted from a run of many. The rest is the cost of the tasks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

/// Tasks of the two runs.
const FEW: u64 = 10_000;
const MANY: u64 = 50_000;

/// Calls that send and receive, or wait for that: one of them should serve many tasks.
const MESSAGES: &str = "sendto,sendmsg,write,writev,recvfrom,recvmsg,read,poll,ppoll,futex";

/// A kind of call, and how many of it a task may cost.
struct Kind {
    name: &'static str,
    /// In strace's language.
    calls: &'static str,
    bounds: [Bound; 2],
}

/// By model of the fixture.
struct Bound {
    model: &'static str,
    most: f64,
}

const fn of(without: f64, with: f64) -> [Bound; 2] {
    let (noop, called) = ("noop", "called");
    [
        Bound {
            model: noop,
            most: without,
        },
        Bound {
            model: called,
            most: with,
        },
    ]
}

/// The bounds leave room for half a call: how well messages travel together depends on the machine a little, but one more
/// call per task is always seen.
const KINDS: &[Kind] = &[
    Kind {
        name: "resetting the instance",
        calls: "ioctl,madvise",
        bounds: of(1.5, 1.5),
    },
    Kind {
        name: "messages",
        calls: MESSAGES,
        bounds: of(0.6, 0.9),
    },
    Kind {
        // To trace a reading of the clock makes a task long, and with a long task the clock is read.
        name: "processor time",
        calls: "clock_gettime",
        bounds: of(1.5, 1.5),
    },
    Kind {
        name: "all others",
        calls: "!ioctl,madvise,clock_gettime,sendto,sendmsg,write,writev,recvfrom,recvmsg,read,poll,ppoll,futex",
        bounds: of(0.1, 0.1),
    },
];

fn main() -> Result<ExitCode> {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    ensure!(
        strace.is_ok(),
        "strace is needed to count system calls, and is not installed"
    );
    let scratch = tempfile::tempdir()?;
    let guest = guest()?;
    for count in [FEW, MANY] {
        fs::write(
            scratch.path().join(count.to_string()),
            "[]\n".repeat(count as usize),
        )?;
    }
    let mut is_well = true;
    println!("| system calls per task | callback | counted | at most |");
    println!("|---|---|---|---|");
    for Kind { name, calls, bounds } in KINDS {
        for Bound { model, most } in bounds {
            let count = |tasks| calls_of(scratch.path(), &guest, model, calls, tasks);
            let per_task = count(MANY)?.saturating_sub(count(FEW)?) as f64 / (MANY - FEW) as f64;
            let callback = if *model == "called" { "yes" } else { "no" };
            println!("| {name} | {callback} | {per_task:.3} | {most} |");
            is_well &= per_task <= *most;
        }
    }
    if is_well {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("a task costs more system calls than it may: see the table");
    Ok(ExitCode::FAILURE)
}

/// The fixture, built as users build theirs.
fn guest() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO_BIN_EXE_mpwasm"))
        .arg("build")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/fixture"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the guest can't be built");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Counts these calls of a run of `tasks` tasks, from its start to its end.
fn calls_of(scratch: &Path, guest: &Path, model: &str, calls: &str, tasks: u64) -> Result<u64> {
    let summary = scratch.join("summary");
    let output = Command::new("strace")
        .args(["--follow-forks", "--seccomp-bpf", "--summary-only", "-e"])
        .arg(format!("trace={calls}"))
        .arg("--output")
        .arg(&summary)
        .args([env!("CARGO_BIN_EXE_mpwasm"), "run", "--size", "2"])
        .arg(format!("{}#{model}", guest.display()))
        .arg("--tasks")
        .arg(scratch.join(tasks.to_string()))
        .arg("--results")
        .arg(scratch.join("results"))
        .arg("--overwrite")
        .env("MPWASM_CACHE_DIR", scratch.join("cache"))
        .output()?;
    ensure!(
        output.status.success(),
        "the run under strace failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = fs::read_to_string(&summary)?;
    // The last line: per cent, seconds, microseconds per call, calls, errors if there were any, "total".
    let total = text.lines().rfind(|line| line.ends_with(" total"));
    let number = total.and_then(|line| line.split_whitespace().nth(3));
    Ok(number.with_context(|| format!("strace said {text:?}"))?.parse()?)
}
