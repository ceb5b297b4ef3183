//! Counts the system calls per task in all processes together, and checks them against bounds. The counts do not depend on
//! the load of the machine. CI runs this benchmark, so that no change adds a system call per task unnoticed.
//!
//! ```text
//! cargo bench --bench counts
//! ```
//!
//! Each kind of system call has a run of its own, as strace slows down only the calls that it traces. The count of a run with
//! few tasks is subtracted from that of a run with many. The difference is the cost of the tasks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

/// Number of tasks of the two runs.
const FEW: u64 = 10_000;
const MANY: u64 = 50_000;

/// System calls that send, receive or wait. One of them should serve many tasks.
const MESSAGES: &str =
    "sendto,sendmsg,write,writev,recvfrom,recvmsg,read,poll,ppoll,epoll_ctl,epoll_pwait2,futex";

/// A kind of system call, and the largest number of calls per task.
struct Kind {
    name: &'static str,
    /// The system calls, as strace's `trace=` takes them.
    calls: &'static str,
    bounds: [Bound; 2],
}

/// The largest number of calls per task of a model of the fixture.
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

/// The kinds and their bounds. A bound leaves room for half a call per task: the size of batches depends slightly on the
/// machine, but one more call per task always exceeds it.
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
        // Tracing makes each reading of the CPU clock slow, and that clock is read around every slow task.
        name: "CPU time",
        calls: "clock_gettime",
        bounds: of(1.5, 1.5),
    },
    Kind {
        name: "all others",
        calls: "!ioctl,madvise,clock_gettime,sendto,sendmsg,write,writev,recvfrom,recvmsg,read,poll,ppoll,epoll_ctl,epoll_pwait2,futex",
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

/// Builds the fixture with `mpwasm build`, as users build their guests.
fn guest() -> Result<PathBuf> {
    let output = Command::new(env!("CARGO_BIN_EXE_mpwasm"))
        .arg("build")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/fixture"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the guest can't be built");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Counts these system calls in a whole run of `tasks` tasks.
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
