//! Measures latencies: of a single task, of the first result of a new process, of the replacement of a killed worker, and of
//! the end of a task after its deadline.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mpwasm::{Guest, Interrupt, Kind, Pool, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::measure::{Samples, milliseconds, percentile};
use super::setup::{Setup, WORKERS};

/// Number of workers when the time to the first result is measured.
pub const FIRST_RESULT_WORKERS: &str = "5";

/// Number of loaded guests besides the one whose task runs.
const GUESTS_BESIDE: usize = 999;

/// Measures the time from the submission of a task to its result, with one task at a time.
pub fn submit_and_wait(setup: &Setup) -> Result<Samples> {
    const TASKS: usize = 2000;
    let (pool, guest, _) = setup.pool(WORKERS)?;
    let model = guest.model("noop")?;
    let mut micros = Vec::new();
    for _ in 0..TASKS {
        let started = Instant::now();
        let outcome = pool.submit(model.task(()))?.wait();
        micros.push(milliseconds(started.elapsed()) * 1e3);
        ensure!(outcome.is_success(), "the task failed: {outcome:?}");
    }
    pool.stop()?;
    Ok(vec![(
        "submit and wait, us",
        percentile(&micros[TASKS / 10..], 50),
    )])
}

/// Measures the time from the start of a process to its first record.
pub fn first_result(setup: &Setup) -> Result<Samples> {
    let mut command = setup.mpwasm();
    command
        .args(["run", &setup.model("noop"), "--size", FIRST_RESULT_WORKERS])
        .args(["--args", "[]", "--results", "-"]);
    // An unmeasured run fills the cache.
    first_line(&mut command)?;
    Ok(vec![("start to first result, ms", first_line(&mut command)?)])
}

/// Measures `mpwasm exec` of a command whose compiled form has 38 MB, above that of an empty one. Both are in the cache.
pub fn exec(setup: &Setup) -> Result<Samples> {
    const RUNS: usize = 15;
    let (large, empty) = (setup.file("large.wasm"), setup.file("empty.wat"));
    if !large.exists() {
        std::fs::write(&large, super::large::module())?;
        std::fs::write(
            &empty,
            r#"(module (memory (export "memory") 1) (func (export "_start")))"#,
        )?;
    }
    let run = |guest: &Path| {
        let started = Instant::now();
        let mut command = setup.mpwasm();
        let status = command
            .args(["exec", "--compile-timeout", "10m"])
            .arg(guest)
            .status()?;
        ensure!(status.success(), "{command:?} ended with {status}");
        anyhow::Ok(milliseconds(started.elapsed()))
    };
    // The first run compiles. The cache leads to what a second one has read from the third on, if nothing has just changed.
    run(&large)?;
    run(&empty)?;
    std::thread::sleep(Duration::from_secs(2));
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..=RUNS {
        times[0].push(run(&large)?);
        times[1].push(run(&empty)?);
    }
    let [large, empty] = times.map(|times| percentile(&times[1..], 50));
    Ok(vec![
        ("exec of a large command, above an empty one, ms", large - empty),
        ("exec of an empty command, ms", empty),
    ])
}

/// Returns the milliseconds from the start of a process to the first line that it prints.
pub fn first_line(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let elapsed = milliseconds(started.elapsed());
    let status = child.wait()?;
    ensure!(
        status.success() && !line.is_empty(),
        "{command:?} ended with {status}"
    );
    Ok(elapsed)
}

/// Measures the time from the kill of the only worker to the next result, in a pool with one guest and with a thousand.
pub fn replacement(setup: &Setup) -> Result<Samples> {
    let (pool, guest, _) = setup.pool(1)?;
    let one = kill_to_next_task(&pool, &guest)?;
    let folder = setup.guests(GUESTS_BESIDE)?;
    let beside: Vec<Guest> = (0..GUESTS_BESIDE)
        .map(|number| pool.load(folder.join(format!("{number}.wat"))))
        .collect::<Result<_, _>>()?;
    let thousand = kill_to_next_task(&pool, &guest)?;
    drop(beside);
    pool.stop()?;
    Ok(vec![
        ("kill to next task, ms", one),
        ("kill to next task, 1 000 guests, ms", thousand),
    ])
}

/// Returns the median of the milliseconds from SIGKILL of the only worker to the result of the next task.
fn kill_to_next_task(pool: &Pool, guest: &Guest) -> Result<f64> {
    const KILLS: usize = 20;
    let model = guest.model("pid")?;
    let pid = |handle: TaskHandle| -> Result<i32> {
        let outcome = handle.wait();
        let pid = outcome.result.map_err(anyhow::Error::from)?;
        Ok(pid.get().parse()?)
    };
    let mut worker = pid(pool.submit(model.task(()))?)?;
    let mut times = Vec::new();
    for _ in 0..KILLS {
        let started = Instant::now();
        kill(Pid::from_raw(worker), Signal::SIGKILL)?;
        let next = pid(pool.submit(model.task(()))?)?;
        times.push(milliseconds(started.elapsed()));
        ensure!(next != worker, "a worker that was killed ran a task");
        worker = next;
    }
    Ok(percentile(&times, 50))
}

/// Measures how long after its deadline an endless task ends, with each way to stop it.
pub fn overshoot(setup: &Setup) -> Result<Samples> {
    const TASKS: usize = 20;
    const TIMEOUT: Duration = Duration::from_millis(100);
    let mut samples = Samples::new();
    for (interrupt, [p50, p90]) in [
        (Interrupt::Epoch, ["overshoot p50, ms", "overshoot p90, ms"]),
        (
            Interrupt::Signal,
            ["overshoot with signal p50, ms", "overshoot with signal p90, ms"],
        ),
        (
            Interrupt::Kill,
            ["overshoot with kill p50, ms", "overshoot with kill p90, ms"],
        ),
    ] {
        let (pool, guest) = setup.pool_with(interrupt)?;
        let model = guest.model("spin")?;
        let late = (0..TASKS)
            .map(|_| overshoot_of(&pool, model.task(()).timeout(TIMEOUT), TIMEOUT))
            .collect::<Result<Vec<_>>>()?;
        pool.stop()?;
        samples.push((p50, percentile(&late, 50)));
        samples.push((p90, percentile(&late, 90)));
    }
    Ok(samples)
}

fn overshoot_of(pool: &Pool, task: mpwasm::Task, timeout: Duration) -> Result<f64> {
    let outcome = pool.submit(task)?.wait();
    let kind = outcome.result.as_ref().map_err(|error| error.kind).err();
    ensure!(kind == Some(Kind::Timeout), "it ended otherwise: {outcome:?}");
    let run = Duration::from_micros(outcome.usage.run_us.context("it ran")?);
    Ok(milliseconds(run.saturating_sub(timeout)))
}
