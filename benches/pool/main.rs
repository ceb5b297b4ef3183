//! Measures the pool as a whole, and comparable pools of other projects on request.
//!
//! ```text
//! cargo bench --bench pool -- [--peers] [--rounds N] [--only TEXT] [--stream]
//! ```
//!
//! Every round takes each measurement once, so that other load on the machine affects all of them alike. The figures are
//! ratios of medians within one run. The pool's processes and the process of the throughput limit ([`limit`]) are re-executed
//! copies of this program.

mod breakdown;
mod large;
mod latency;
mod limit;
mod measure;
mod memory;
mod objects;
mod peers;
mod programs;
mod scaling;
mod setup;
mod table;
mod throughput;
mod work;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use measure::{Measured, Samples};
use setup::Setup;

/// Measures the pool as a whole.
#[derive(Parser)]
struct Options {
    /// Measure other pools beside it; needs Python, and installs what it needs into the target folder.
    #[arg(long)]
    peers: bool,
    /// How often each measurement is taken.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only measurements whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Stream one and ten million tasks, and show the memory of each process; takes some minutes.
    #[arg(long)]
    stream: bool,
    /// Passed on by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

type Measurement = fn(&Setup) -> Result<Samples>;

/// The measurements, in the order in which they are taken. Those that are compared with each other are adjacent.
const MEASUREMENTS: &[(&str, Measurement)] = &[
    ("limit", limit::throughput),
    ("tasks", throughput::plain),
    ("callbacks", throughput::with_callback),
    ("map", throughput::map),
    ("map of peers", peers::map),
    ("files", throughput::files),
    ("CPU time", breakdown::plain),
    ("CPU time, callbacks", breakdown::with_callback),
    ("multiprocessing", peers::multiprocessing),
    ("imap_unordered", peers::imap_unordered),
    ("futures", peers::futures),
    ("pebble", peers::pebble),
    ("wasmtime", peers::wasmtime),
    ("latency", latency::submit_and_wait),
    ("latency of peers", peers::latency),
    ("first result", latency::first_result),
    ("first result of peers", peers::first_result),
    ("exec", latency::exec),
    ("memory", memory::idle),
    ("memory of peers", peers::memory),
    ("overshoot", latency::overshoot),
    ("overshoot of peers", peers::overshoot),
    ("replacement", latency::replacement),
    ("payload", work::payload),
    ("payload of peers", peers::payload),
    ("computing", work::computing),
    ("computing programs", programs::relative),
    ("mixed", work::mixed),
    ("writing", work::writes),
    ("objects", objects::shared),
    ("objects of peers", objects::of_multiprocessing),
    ("workers", scaling::workers),
    ("number of tasks", scaling::tasks),
];

fn main() -> Result<()> {
    mpwasm::init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == limit::COMMAND) {
        return limit::main(&args[1..]);
    }
    let options = Options::parse();
    let python = options.peers.then(python).transpose()?;
    let setup = Setup::new(python)?;
    let mut measured = Measured::default();
    for round in 1..=options.rounds {
        for (name, measure) in MEASUREMENTS
            .iter()
            .filter(|(name, _)| name.contains(&options.only))
        {
            eprintln!("round {round} of {}: {name}", options.rounds);
            measured.add(measure(&setup).with_context(|| format!("the measurement of {name} failed"))?);
        }
    }
    table::figures(&measured);
    println!();
    table::all(&measured);
    if options.stream {
        println!();
        println!("| largest memory, MiB | parent | dispatcher | worker |");
        println!("|---|---|---|---|");
        for tasks in [1_000_000, 10_000_000] {
            eprintln!("streaming {tasks} tasks");
            let peaks = memory::streamed(&setup, tasks)?;
            let of = |role| peaks.get(role).copied().unwrap_or_default();
            println!(
                "| {tasks} tasks | {:.1} | {:.1} | {:.1} |",
                of("parent"),
                of("dispatcher"),
                of("worker")
            );
        }
    }
    Ok(())
}

/// Installs the peers at the versions of `benches/peers/requirements.txt`. Returns the Python that has them.
fn python() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let python = folder.join("bin/python");
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/peers/requirements.txt");
    if !python.exists() {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(&folder)).context("the peers need Python 3 with venv")?;
    }
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ])
        .arg(peers))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
