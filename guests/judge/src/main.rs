//! A small judge of programming contests: untrusted programs, times the tests of a problem.
//!
//! ```text
//! judge PROBLEM SUBMISSION.wasm...
//! ```
//!
//! It shows how a program embeds mpwasm. Each submission is a *command* (a program that reads stdin and writes stdout),
//! and each submission times each test is a task of one pool. Whatever a submission does, the others are judged as if it
//! were not there. This file has the options and the pool; [`problem`] knows the tests, [`running`] runs them, [`verdict`]
//! knows what an outcome says of a submission, and [`table`] how that is shown.

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
use clap::Parser;
use mpwasm::{Error, Guest, Pool, Retry, Settings};

use problem::Problem;
use verdict::Judged;

/// Tests for each worker that are started before the result of the first of them is taken: so none of them idles, and no more
/// results are in memory.
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
    /// Memory per test.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory: ByteSize,
}

fn main() -> ExitCode {
    // First of all: a copy of this program becomes the dispatcher, a worker or the compiler here, and never returns.
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

/// The judge itself failed: nothing is said of the submissions.
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
        .memory(args.memory.as_u64())
        // A worker that dies says nothing of the submission, which can't make it die: try again.
        .retry(Retry::times(2))
        .start()?;

    // All are compiled and checked before any runs. One that is no program does not keep the others from running.
    let guests = args.submissions.iter().map(|path| load(&pool, path));
    let guests: Vec<_> = guests.collect::<Result<_>>()?;

    let trials = running::trials(&pool, &problem, guests, AHEAD * size as usize)?;
    pool.stop()?; // every process is gone

    let judged = args.submissions.iter().zip(trials);
    Ok(judged.map(|(path, trials)| Judged::new(path, trials)).collect())
}

/// The submission, ready to run, or why it is none.
///
/// # Errors
/// The pool's own.
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

/// Whether the file begins as compiled WebAssembly does. The pool would take its text form as well.
fn is_compiled(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut beginning)?;
    Ok(beginning == b"\0asm")
}
