//! Measures programs that compute: the CPU time of a task in the pool, relative to the same code in the engine without
//! checks.

use anyhow::{Context, Result};
use mpwasm::{Cache, Interrupt, Pool};

use super::limit::{self, Checks};
use super::measure::{Samples, percentile};
use super::setup::{Counter, Setup};

/// The programs of the guest `programs`, with a size for which each takes about 20 ms. After them come the names of the samples.
const PROGRAMS: [(&str, u32, [&str; 3]); 9] = [
    (
        "matrix",
        200,
        [
            "program matrix, epoch",
            "program matrix, signal",
            "program matrix, kill",
        ],
    ),
    (
        "sieve",
        3_000_000,
        [
            "program sieve, epoch",
            "program sieve, signal",
            "program sieve, kill",
        ],
    ),
    (
        "mandelbrot",
        250,
        [
            "program mandelbrot, epoch",
            "program mandelbrot, signal",
            "program mandelbrot, kill",
        ],
    ),
    (
        "bodies",
        60_000,
        [
            "program bodies, epoch",
            "program bodies, signal",
            "program bodies, kill",
        ],
    ),
    (
        "hash",
        200_000,
        [
            "program hash, epoch",
            "program hash, signal",
            "program hash, kill",
        ],
    ),
    (
        "fibonacci",
        30,
        [
            "program fibonacci, epoch",
            "program fibonacci, signal",
            "program fibonacci, kill",
        ],
    ),
    (
        "sort",
        150_000,
        [
            "program sort, epoch",
            "program sort, signal",
            "program sort, kill",
        ],
    ),
    (
        "json",
        4_000,
        [
            "program json, epoch",
            "program json, signal",
            "program json, kill",
        ],
    ),
    (
        "match",
        60_000,
        [
            "program match, epoch",
            "program match, signal",
            "program match, kill",
        ],
    ),
];
/// Runs of a program.
const TASKS: u64 = 11;
/// The choices, with the names of their geometric mean and worst program.
const CHOICES: [(Interrupt, [&str; 2]); 3] = [
    (
        Interrupt::Epoch,
        ["programs, epoch, mean", "programs, epoch, worst"],
    ),
    (
        Interrupt::Signal,
        ["programs, signal, mean", "programs, signal, worst"],
    ),
    (Interrupt::Kill, ["programs, kill, mean", "programs, kill, worst"]),
];

/// Measures the CPU time of each program with each choice, of its time in the plain engine.
pub fn relative(setup: &Setup) -> Result<Samples> {
    let pools = CHOICES.map(|(interrupt, _)| pool(setup, interrupt));
    let mut samples = Samples::new();
    let mut ratios = [const { Vec::new() }; CHOICES.len()];
    for (program, size, names) in PROGRAMS {
        let call = (&*format!("{program}.runnable"), &*format!("[{size}]"));
        let plain = limit::run_guest(&setup.programs, Checks::Off, call, TASKS, 1)?;
        let plain = plain.processor_seconds / TASKS as f64;
        for (choice, pool) in pools.iter().enumerate() {
            let (pool, guest) = pool.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let model = guest.model(program)?;
            let run = |_| {
                let usage = pool.submit(model.task([size]))?.wait().usage;
                Ok(usage.cpu_us.context("it ran")? as f64 / 1e6)
            };
            let seconds = (0..TASKS).map(run).collect::<Result<Vec<_>>>()?;
            let ratio = percentile(&seconds, 50) / plain;
            samples.push((names[choice], ratio));
            ratios[choice].push(ratio);
        }
    }
    for ((_, [mean, worst]), ratios) in CHOICES.iter().zip(&ratios) {
        let logs = ratios.iter().map(|ratio: &f64| ratio.ln()).sum::<f64>();
        samples.push((mean, (logs / ratios.len() as f64).exp()));
        samples.push((worst, percentile(ratios, 100)));
    }
    for pool in pools {
        pool?.0.stop()?;
    }
    Ok(samples)
}

/// Starts a pool of one worker, and loads the programs.
fn pool(setup: &Setup, interrupt: Interrupt) -> Result<(Pool, mpwasm::Guest)> {
    let pool = Pool::builder()
        .size(1)
        .interrupt(interrupt)
        .cache(Cache::at(setup.file("cache")))
        .reporter(Counter::default())
        .start()?;
    let guest = pool.load(&setup.programs)?;
    Ok((pool, guest))
}
