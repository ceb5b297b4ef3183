//! `mpwasm run`: runs the tasks of guests in a pool.
//!
//! The main thread handles events ([`end::wait`]) and never blocks on anything else. One thread feeds the pool, another waits for
//! its end. When the pool has ended the run is over, even if the feeder still waits for input.

pub mod end;
pub mod feeder;
pub mod guests;
pub mod input;
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
use mpwasm::{Cache, LogLevel, Pool, Settings};

use crate::process::exit::{Exit, Failure, OrExit};
use crate::process::readers;
use crate::process::signals::{self, SignalRequest};
use crate::run::end::halt::{Halt, HaltMode};
use crate::run::end::{RunDeadline, RunEnd, RunEvent};
use crate::run::feeder::Feeder;
use crate::run::options::RunArgs;
use crate::run::output::failure::OutputKind;
use crate::run::output::options::{OutputOptions, SummaryFormat};
use crate::run::output::order::OutputOrder;
use crate::run::output::reporter::{HaltHook, ReporterOptions, RunReporter};
use crate::run::output::results::ResultsTarget;
use crate::run::output::shared_reporter::SharedReporter;
use crate::run::output::tags::LineTagger;
use crate::run::output::task_metadata::TaskMetadata;
use crate::run::plan::Plan;
use crate::terminal::progress::{self, ProgressCounter};
use crate::terminal::stdio::{self, BestEffort, Descriptor};

/// The pool, once it is started. Weak, so that the signal handler does not keep it alive.
type StartedPool = Arc<OnceLock<Weak<Pool>>>;

/// Runs the tasks, and prints errors and the summary on stderr.
///
/// The process should then exit with the returned code, even if threads still run: the feeder may wait for input.
///
/// # Errors
/// When no task ran. The caller prints the error.
pub fn run(args: RunArgs, min_level: LogLevel) -> Result<Exit, Failure> {
    let Plan {
        settings,
        cache,
        guests,
        source,
        results,
        results_dir,
        shows_bar,
        output,
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
    let task_metadata = (is_log || output.tag).then(|| Arc::new(TaskMetadata::new(is_log, output.tag)));
    let order = output.keep_order.then(|| OutputOrder::new(settings.size));
    let counter = match shows_bar {
        true => ProgressCounter::show(),
        false => ProgressCounter::default(),
    };
    let options = ReporterOptions {
        order: order.clone(),
        task_metadata: task_metadata.clone(),
        tags: task_metadata.clone().filter(|_| output.tag).map(LineTagger::new),
        halt: output
            .halt
            .map(|halt| HaltHook::new(halt, on_halt(&started_pool, &events))),
        results_dir,
    };
    let reporter = start_reporter(results.as_ref(), min_level, options, &events)?;
    let bar = shows_bar.then(|| counter.clone());
    let pool = start_pool(settings, cache, &reporter, bar)?;
    started_pool.get_or_init(|| Arc::downgrade(&pool));

    let waiter = Arc::clone(&pool);
    spawn("waiter", &events, move || RunEvent::PoolEnded(waiter.join())).or_internal()?;
    let feeder = Feeder {
        pool: Arc::clone(&pool),
        guests,
        source,
        results,
        task_metadata,
        order,
        earlier: output.earlier(),
        dry_run: output.dry_run,
        reporter: reporter.clone(),
        counter,
    };
    spawn("feeder", &events, move || RunEvent::FeedEnded(feeder.feed())).or_internal()?;

    let end = end::wait(&pool, &inbox, deadline);
    print_end(end, &pool, &reporter, started.elapsed(), &output)
}

/// Prints errors and the summary at the end of the run, and returns the exit code.
fn print_end(
    end: RunEnd,
    pool: &Pool,
    reporter: &SharedReporter,
    wall: Duration,
    output: &OutputOptions,
) -> Result<Exit, Failure> {
    progress::clear();
    let mut reporter = reporter.lock();
    reporter.finish();
    if !end.all_pushed && end.feed_failure.is_none() {
        reporter.cut_short();
    }
    let output_failure = reporter.failure();
    let values = pool.final_values();
    let lost = values.iter().any(|value| value.result.is_err());
    let exit = end.exit(output_failure, reporter.counts().any_failure(), lost);
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
            for line in reporter.counts().final_values(&values) {
                stdio::print_message(&line);
            }
            stdio::print_message(&reporter.counts().summary(wall));
        }
        SummaryFormat::Json => stdio::print_json(&reporter.counts().json(wall, &values)),
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
/// The reporter calls it before it confirms the outcome that met the condition, so that no further task begins.
fn on_halt(started_pool: &StartedPool, events: &Sender<RunEvent>) -> impl FnOnce(Halt) + Send + 'static {
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

/// Returns the reporter of the run, and watches the readers of its outputs.
fn start_reporter(
    results: Option<&ResultsTarget>,
    min_level: LogLevel,
    options: ReporterOptions,
    events: &Sender<RunEvent>,
) -> Result<SharedReporter, Failure> {
    let targets = print_targets(results).or_internal()?;
    let events = events.clone();
    let on_failure = move || drop(events.send(RunEvent::OutputFailed));
    let reporter = RunReporter::new(Prints::new(targets), min_level, on_failure).with_options(options);
    let reporter = SharedReporter::new(reporter);
    let watched = reporter.clone();
    watched_outputs(results)
        .and_then(|outputs| readers::watch(outputs, move |output| watched.reader_closed(output)))
        .context("cannot watch the readers of the output")
        .or_internal()?;
    Ok(reporter)
}

/// Returns where guests' output goes: to stderr if the records go to stdout, otherwise to the same stream as in the guest.
fn print_targets(results: Option<&ResultsTarget>) -> io::Result<Targets> {
    let (stdout, stderr) = (Descriptor::stdout()?, Descriptor::stderr()?);
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
fn watched_outputs(results: Option<&ResultsTarget>) -> io::Result<Vec<(Descriptor, OutputKind)>> {
    let stdout = Descriptor::stdout()?;
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
    settings: Settings,
    cache: Option<Cache>,
    reporter: &SharedReporter,
    bar: Option<ProgressCounter>,
) -> Result<Arc<Pool>, Failure> {
    let mut builder = Pool::builder().settings(settings).reporter(reporter.clone());
    if let Some(bar) = bar {
        builder = builder.reporter(bar);
    }
    if let Some(cache) = cache {
        builder = builder.cache(cache);
    }
    let pool = builder.start().map_err(|error| match error {
        mpwasm::Error::BadSetting(_) | mpwasm::Error::Grant { .. } => Failure::usage(error),
        error => Failure::internal(anyhow!(error).context("cannot start the pool")),
    })?;
    Ok(Arc::new(pool))
}
