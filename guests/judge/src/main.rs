//! A small judge for programming contests: runs untrusted programs with the tests of a problem.
//!
//! ```text
//! judge PROBLEM SUBMISSION.wasm...
//! ```
//!
//! It shows how a program embeds mpwasm. Each submission is a *command* (a program that reads stdin and writes stdout).
//! Each pair of submission and test is a task of one pool. A submission can't affect the verdicts on the others. This file
//! has the options and the pool. [`problem`] reads the tests, [`running`] runs them, [`verdict`] derives the verdict from
//! an outcome, and [`table`] formats the verdicts.

mod problem;
mod running;
mod table;
mod verdict;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use mpwasm::{Error, Guest, Interrupt, Pool, Retry, Settings};

use problem::Problem;
use verdict::Judged;

/// Largest number of tests in flight per worker: 4. It is large enough that no worker idles, and bounds the results that are
/// held in memory.
const AHEAD: usize = 4;

/// Judges submissions: compiled WebAssembly commands that read the input from stdin and write the output to stdout.
#[derive(Debug, Parser)]
struct Args {
    /// Folder with the tests: 1.in, 1.out, 2.in, 2.out and so on.
    problem: PathBuf,
    /// Compiled programs, for wasm32-wasip1.
    #[arg(required = true, value_name = "SUBMISSION.wasm")]
    submissions: Vec<PathBuf>,
    /// Worker processes [default: CPUs available].
    #[arg(long, value_name = "N")]
    size: Option<u32>,
    /// Instructions that a submission may execute per test: the measure of time that is the same on every machine, however
    /// busy it is.
    #[arg(long, value_name = "N", default_value_t = 10_000_000_000)]
    fuel: u64,
    /// Time that may pass per test, whatever the submission does: for those that wait instead of computing.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How a submission is stopped at its timeout: `epoch` by checks in its code, which make submissions that compute slower,
    /// `signal` by a signal to its thread, `kill` with its worker process.
    #[arg(long, value_enum, default_value_t = Stop::Epoch)]
    interrupt: Stop,
    /// Memory per test.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory: ByteSize,
}

/// [`Interrupt`] as a value of an option.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stop {
    Epoch,
    Signal,
    Kill,
}

impl From<Stop> for Interrupt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Epoch => Self::Epoch,
            Stop::Signal => Self::Signal,
            Stop::Kill => Self::Kill,
        }
    }
}

fn main() -> ExitCode {
    // This comes first: in a re-executed copy of this program it runs the dispatcher, a worker or the compiler, and exits.
    mpwasm::init();

    let args = Args::parse();
    match judge(&args) {
        Ok(judged) => match writeln!(io::stdout(), "{}", table::of(&judged)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error.into()),
            _ => ExitCode::SUCCESS,
        },
        Err(error) => failed(&error),
    }
}

/// Reports that the judge itself failed. There are no verdicts then.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("judge: {error:#}");
    ExitCode::FAILURE
}

fn judge(args: &Args) -> Result<Vec<Judged>> {
    let problem = Problem::read(&args.problem)?;
    let size = args.size.unwrap_or(Settings::default().size);
    let pool = Pool::builder()
        .size(size)
        .fuel(args.fuel)
        .timeout(args.timeout)
        .interrupt(args.interrupt.into())
        .memory(args.memory.as_u64())
        // A submission can't end its worker, so a worker that dies says nothing about it: the task is retried.
        .retry(Retry::times(2))
        .start()?;

    // All submissions are compiled and checked before any runs. One that can't be loaded does not stop the others.
    let guests = args.submissions.iter().map(|path| load(&pool, path));
    let guests: Vec<_> = guests.collect::<Result<_>>()?;

    let results = running::run_tests(&pool, &problem, guests, AHEAD * size as usize)?;
    pool.stop()?; // all processes have ended

    let judged = args.submissions.iter().zip(results);
    Ok(judged.map(|(path, results)| Judged::new(path, results)).collect())
}

/// Loads a submission. Returns the reason if the file can't be run.
///
/// # Errors
/// Returns the error of the pool.
fn load(pool: &Pool, path: &Path) -> Result<Result<Guest, String>> {
    if !is_compiled(path).with_context(|| path.display().to_string())? {
        return Ok(Err("it is no compiled WebAssembly".into()));
    }
    match pool.load(path) {
        Ok(guest) if guest.info().is_command => Ok(Ok(guest)),
        Ok(_) => Ok(Err("it is no program: it exports no `_start`".into())),
        Err(Error::NotWasm { why, .. } | Error::Compile { why, .. }) => Ok(Err(why)),
        Err(Error::Refused { reasons, .. }) => Ok(Err(reasons.join("; "))),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether the file is compiled WebAssembly. The pool would accept the text format, too.
fn is_compiled(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut beginning)?;
    Ok(beginning == b"\0asm")
}
