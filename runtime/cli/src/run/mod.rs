//! `mpwasm run`: runs the tasks of guests in a pool.
//!
//! The main thread handles events ([`end::wait`]) and never blocks on anything else. One thread feeds the pool, another waits for
//! its end. When the pool has ended the run is over, even if the feeder still waits for input.

pub mod end;
pub mod feeder;
pub mod guests;
pub mod input;
pub mod objects;
pub mod options;
pub mod output;
pub mod plan;
pub mod resume;
pub mod retry;
pub mod status;

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use mpwasm::internal::prints::{Prints, Target, Targets};
use mpwasm::{Builder, Cache, LogLevel, Pool};

use crate::process::exit::{Exit, ExitError, OrExit};
use crate::process::readers;
use crate::process::signals::{self, SignalRequest};
use crate::run::end::halt::{Halt, HaltMode, HaltReporter};
use crate::run::end::{RunDeadline, RunEnd, RunEvent, RunningPool};
use crate::run::feeder::Feeder;
use crate::run::options::RunArgs;
use crate::run::output::failure::{OutputFailure, OutputFailures, OutputKind};
use crate::run::output::options::{OutputOptions, SummaryFormat};
use crate::run::output::order::OutputOrder;
use crate::run::output::reporters::ReporterParts;
use crate::run::output::results::ResultsTarget;
use crate::run::output::summary::RunSummary;
use crate::run::plan::Plan;
use crate::terminal::progress::{self, ProgressCounter};
use crate::terminal::stdio::{self, BestEffort, BlockingFile};

/// The pool, once it is started. Weak, so that the signal handler does not keep it alive.
type StartedPool = Arc<OnceLock<Weak<Pool>>>;

/// Runs the tasks, and prints errors and the summary on stderr.
///
/// The process should then exit with the returned code, even if threads still run: the feeder may wait for input.
///
/// # Errors
/// When no task ran. The caller prints the error.
pub fn run(args: RunArgs, min_level: LogLevel) -> Result<Exit, ExitError> {
    let Plan {
        settings,
        cache,
        guests,
        source,
        results,
        folders,
        shows_bar,
        output,
        objects,
        total_timeout,
    } = Plan::new(args)?;
    let (events, inbox) = mpsc::channel();
    let started_pool = StartedPool::default();
    signals::listen(on_signal(&started_pool, &events))
        .context("cannot listen for signals")
        .or_internal()?;

    let started = Instant::now();
    let deadline = total_timeout.map(|total| RunDeadline::new(started, total));
    let is_log = results.as_ref().is_some_and(ResultsTarget::is_log);
    let failures = watch_outputs(results.as_ref(), &started_pool, &events)?;
    let parts = ReporterParts {
        prints: Prints::new(print_targets(results.as_ref()).or_internal()?),
        min_level,
        has_records: results.is_some(),
        is_log,
        has_tags: output.tag,
        order: output.keep_order.then(|| OutputOrder::new(settings.size)),
        folders,
        halt: output
            .halt
            .map(|halt| HaltReporter::new(halt, on_halt(&started_pool, &events))),
    };
    let builder = objects::grant(objects.as_ref(), Pool::builder().settings(settings));
    let (builder, handles) = parts.add_to(builder, &failures);
    let bar = shows_bar.then(ProgressCounter::show);
    let counter = bar.clone().unwrap_or_default();
    let pool = start_pool(builder, cache, bar)?;
    started_pool.get_or_init(|| Arc::downgrade(&pool));

    let skipped = Arc::default();
    let feeder = Feeder {
        pool: Arc::clone(&pool),
        guests,
        source,
        results,
        reporters: handles,
        earlier: output.earlier(),
        dry_run: output.dry_run,
        skipped: Arc::clone(&skipped),
        counter,
    };
    spawn_threads(feeder, &events).or_internal()?;
    let run = RunningPool::new(&pool, objects);
    let mut end = end::wait(&run, &inbox, deadline);
    let wall = started.elapsed();
    end.objects = run.finish_objects();
    let is_resumable = is_log && skipped.get().is_some();
    let skipped = skipped.get().copied().unwrap_or_default();
    let summary = RunSummary::new(&pool.stats(), skipped, is_resumable, end.is_cut_short());
    print_end(end, &summary, failures.take_first(), &pool, wall, &output)
}

/// Prints errors and the summary at the end of the run, and returns the exit code.
fn print_end(
    end: RunEnd,
    summary: &RunSummary,
    output_failure: Option<OutputFailure>,
    pool: &Pool,
    wall: Duration,
    output: &OutputOptions,
) -> Result<Exit, ExitError> {
    progress::clear();
    let output_failure = output_failure.as_ref();
    let values = pool.final_values();
    let lost = values.iter().any(|value| value.result.is_err());
    let exit = end.exit(output_failure, summary.any_failure(), lost);
    if exit == Exit::Usage
        && let Some(failure) = end.feed_failure
    {
        return Err(failure);
    }
    for problem in end.problems(output_failure) {
        stdio::print_message(&problem);
    }
    match output.summary {
        _ if output.dry_run => {}
        SummaryFormat::Text => {
            for line in summary.final_values(&values) {
                stdio::print_message(&line);
            }
            stdio::print_message(&summary.text(wall));
        }
        SummaryFormat::Json => stdio::print_json(&summary.json(wall, &values)),
    }
    Ok(exit)
}

/// Returns the handler of signals. An event that can't be sent is dropped, as the run is then over.
fn on_signal(
    started_pool: &StartedPool,
    events: &Sender<RunEvent>,
) -> impl FnMut(SignalRequest) + Send + 'static {
    let (started_pool, events) = (Arc::clone(started_pool), events.clone());
    let pool = move || started_pool.get().and_then(Weak::upgrade);
    move |request| match request {
        SignalRequest::End(signal) => drop(events.send(RunEvent::Signal(signal))),
        SignalRequest::Status => drop(events.send(RunEvent::StatusRequested)),
        SignalRequest::Stop => {
            drop(events.send(RunEvent::Stopping));
            pool().iter().for_each(|pool| pool.pause());
        }
        SignalRequest::Continue(stopped) => {
            pool().iter().for_each(|pool| pool.resume());
            drop(events.send(RunEvent::Continued(stopped)));
        }
    }
}

/// Returns the action of `--halt`: ends the pool and sends an event.
///
/// The reporter calls it before the pool confirms the outcome that met the condition, so that no further task begins.
fn on_halt(started_pool: &StartedPool, events: &Sender<RunEvent>) -> impl Fn(Halt) + Send + 'static {
    let (started_pool, events) = (Arc::clone(started_pool), events.clone());
    move |halt| {
        if let Some(pool) = started_pool.get().and_then(Weak::upgrade) {
            match halt.when {
                HaltMode::Now => pool.terminate(),
                HaltMode::Soon => pool.interrupt(),
            }
        }
        drop(events.send(RunEvent::Halted(halt))); // without a receiver the run is over
    }
}

/// Starts the thread that waits for the end of the pool, and that of the feeder.
fn spawn_threads(feeder: Feeder, events: &Sender<RunEvent>) -> io::Result<()> {
    let pool = Arc::clone(&feeder.pool);
    spawn("waiter", events, move || RunEvent::PoolEnded(pool.join()))?;
    spawn("feeder", events, move || RunEvent::FeedEnded(feeder.feed()))
}

/// Starts a thread that ends with an event, even if it panics.
fn spawn(
    name: &str,
    events: &Sender<RunEvent>,
    work: impl FnOnce() -> RunEvent + Send + 'static,
) -> io::Result<()> {
    let events = events.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        let event = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(RunEvent::Panicked);
        drop(events.send(event)); // without a receiver the run is over
    })?;
    Ok(())
}

/// Returns the failures of the run's outputs, and watches the readers of the outputs.
fn watch_outputs(
    results: Option<&ResultsTarget>,
    started_pool: &StartedPool,
    events: &Sender<RunEvent>,
) -> Result<Arc<OutputFailures>, ExitError> {
    let (started_pool, events) = (Arc::clone(started_pool), events.clone());
    let failures = Arc::new(OutputFailures::new(move || {
        if let Some(pool) = started_pool.get().and_then(Weak::upgrade) {
            pool.terminate();
        }
        drop(events.send(RunEvent::OutputFailed)); // also ends a pool that is being started
    }));
    let watched = Arc::clone(&failures);
    watched_outputs(results)
        .and_then(|outputs| readers::watch(outputs, move |output| watched.reader_closed(output)))
        .context("cannot watch the readers of the output")
        .or_internal()?;
    Ok(failures)
}

/// Returns where guests' output goes: to stderr if the records go to stdout, otherwise to the same stream as in the guest.
fn print_targets(results: Option<&ResultsTarget>) -> io::Result<Targets> {
    let (stdout, stderr) = (BlockingFile::stdout()?, BlockingFile::stderr()?);
    let (on_stdout, on_stderr) = (stdout.is_terminal(), stderr.is_terminal());
    Ok(if matches!(results, Some(ResultsTarget::Stdout)) {
        Targets::One(Target::new(Box::new(BestEffort(stderr.writer())), on_stderr))
    } else if stdout.is_same_as(&stderr) {
        Targets::One(Target::new(stdout.writer(), on_stdout))
    } else {
        Targets::Apart {
            stdout: Target::new(stdout.writer(), on_stdout),
            stderr: Target::new(Box::new(BestEffort(stderr.writer())), on_stderr),
        }
    })
}

/// Returns the outputs whose readers are watched.
fn watched_outputs(results: Option<&ResultsTarget>) -> io::Result<Vec<(BlockingFile, OutputKind)>> {
    let stdout = BlockingFile::stdout()?;
    if matches!(results, Some(ResultsTarget::Stdout)) {
        return Ok(vec![(stdout, OutputKind::Records)]);
    }
    let mut outputs = vec![(stdout, OutputKind::Prints)];
    if let Some(file) = results.and_then(ResultsTarget::file) {
        outputs.push((file.try_clone()?.into(), OutputKind::Records));
    }
    Ok(outputs)
}

/// Starts the pool.
fn start_pool(
    mut builder: Builder,
    cache: Option<Cache>,
    bar: Option<ProgressCounter>,
) -> Result<Arc<Pool>, ExitError> {
    if let Some(bar) = bar {
        builder = builder.reporter(bar);
    }
    if let Some(cache) = cache {
        builder = builder.cache(cache);
    }
    let pool = builder.start().map_err(|error| match error {
        mpwasm::Error::BadSetting(_) | mpwasm::Error::Grant { .. } => ExitError::usage(error),
        error => ExitError::internal(anyhow!(error).context("cannot start the pool")),
    })?;
    Ok(Arc::new(pool))
}
